"""Run tox so that TERM and HUP end it as Ctrl-C does; by itself it would die of them and leave its commands running."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}
"""What uv calls settings of pip, which it does not read itself."""


def uv_settings(listed: str) -> dict[str, str]:
    """The environment by which uv looks where pip does.

    Args:
        listed: What ``pip config list`` prints: ``global.index-url='https://…'``, ``:env:.find-links='/wheels'``.
    """
    found = {"UV_PYTHON_DOWNLOADS": "never", "UV_INDEX_STRATEGY": "unsafe-best-match"}  # both as pip does
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        setting = re.split(r"[.:]", name)[-1]
        if setting in UV and (words := shlex.split(value)):
            found[UV[setting]] = " ".join(" ".join(words).replace("\\n", " ").split())
    return found


def follow_pip() -> None:
    """Let uv look where pip does, unless the environment says otherwise."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    for name, value in uv_settings(listed).items():
        os.environ.setdefault(name, value)


def uv_works() -> int:
    """0 if uv can make an environment and finds a package."""
    follow_pip()
    with tempfile.TemporaryDirectory() as folder:
        uv = Path(sys.executable).with_name("uv")
        words = (["venv", folder], ["pip", "install", "--python", folder, "hatchling"])
        try:
            done = [
                subprocess.run([uv, "--quiet", *each], check=False, timeout=60).returncode for each in words
            ]
        except (OSError, subprocess.TimeoutExpired):
            return 1
    return max(done)


def main() -> None:
    """Run tox with the arguments of the command line."""
    from tox.run import run  # noqa: PLC0415 - the tests have no tox

    if Path(sys.executable).with_name("uv").exists():
        follow_pip()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a script starts with & ignores it
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            # Raised anew, not as KeyboardInterrupt: while it ends its commands, tox ignores SIGINT, and so all three.
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    # Known failures are judged on the day of the commit: what stands still turns red on no day of its own.
    day = subprocess.run(["git", "log", "-1", "--format=%cs"], capture_output=True, text=True, check=False)
    if day.returncode == 0:
        os.environ.setdefault("CHATGATE_TODAY", day.stdout.strip())
    run()


if __name__ == "__main__":
    if sys.argv[1:] == ["--uv-works"]:
        sys.exit(uv_works())
    main()
