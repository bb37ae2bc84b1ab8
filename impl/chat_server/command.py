"""``chat-server``: read the settings, serve until a signal says stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import uvloop

from chat_server import logging_setup as logs
from chat_server.app import database, make_app
from chat_server.errors import ChatError
from chat_server.owner_lock import CannotLock, Held, Locks, locked
from chat_server.printable import printable
from chat_server.private_files import NotPrivate, hide_memory, private_database, private_files, private_folder
from chat_server.processes.init import be_init_if_first
from chat_server.settings import Settings, SettingsError, variable
from chat_server.store.database import sqlite_file
from chat_server.web import devserver as dev
from chat_server.web.serving import bounds_of, raise_file_limit, serving
from fake_claude.install import install

NO_SANDBOX = (
    "CHAT_CLAUDE_TOOLS is set and CHAT_CLAUDE_WRAPPER is not: commands that Claude runs can read all that this user "
    "can, the database and other users' conversations too; docs/security.md has a recipe for a sandbox"
)

ELSEWHERE = (
    "this is {}, and only Linux shows which processes a claude has left behind; "
    "run the server in a container or a virtual machine"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; 0 after a clean stop, 2 for wrong settings, 1 when it cannot serve."""
    options = _parser().parse_args(argv)
    if sys.platform != "linux":
        print(f"chat-server: {ELSEWHERE.format(sys.platform)}", file=sys.stderr)
        return 1
    if argv is None:  # it is this process's own command
        be_init_if_first()
        hide_memory()
    logs.configure()
    try:
        settings = Settings.from_env(os.environ, **vars(options))
    except SettingsError as error:
        print(f"chat-server: {printable(str(error))}", file=sys.stderr)
        return 2
    try:
        with private_files(), _owned_data(settings) as locks:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                follow_sources = argv is None and settings.identity == "dev"
                again = runner.run(_serve(settings, locks.server, follow_sources=follow_sources))
            # The same command, on the same port; other descriptors are closed by exec.
            if again is not None:
                locks.hand_on()
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--port", str(again)])  # noqa: S606
    except (ChatError, Held, CannotLock, NotPrivate, OSError) as error:
        print(f"chat-server: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {version('chatgate')}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # it quotes what was given


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="chat-server",
        description="A web chat over the claude command-line tool. "
        "Each option is also an environment variable; docs/settings.md lists all of them.",
    )
    for name, kind, text in (
        ("host", str, "address to listen on"),
        ("port", int, "port to listen on; 0 takes a free one"),
        ("data", Path, "folder for history and the built-in fake"),
        ("claude", str, "path of the claude CLI; without it the built-in fake answers"),
    ):
        parser.add_argument(f"--{name}", type=kind, help=f"{text} ({variable(name)})")
    no_setting = argparse.SUPPRESS
    parser.add_argument("--version", action=_Version, nargs=0, default=no_setting, help="print it and exit")
    return parser


@contextmanager
def _owned_data(settings: Settings) -> Iterator[Locks]:
    """The data folder and a SQLite database are this server's alone (PROC-7), and no other user can read them.

    Raises:
        Held: Another server has them.
        CannotLock: They cannot be locked.
        NotPrivate: They stay open to others.
        Unavailable: CHAT_DATABASE is no address.
    """
    private_folder(settings.data)
    places = [(settings.data / "lock", f"the data folder {settings.data}")]
    file = sqlite_file(database(settings))
    if file is not None:
        places.append((file.with_name(f"{file.name}.lock"), f"the database {file}"))
    # First the locks: the files of a database that another server uses are left as they are.
    with locked(places) as locks:
        if file is not None:
            private_database(file)
        yield locks


async def _serve(settings: Settings, server: str, *, follow_sources: bool) -> int | None:
    """Serve until a signal says stop, or until the server's own code has changed: then the port to serve on again."""
    changed = False

    def restart() -> None:
        nonlocal changed
        changed = True
        stop.set()

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, stop.set)
    for folder in (settings.claude_cwd, settings.claude_home):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if settings.claude_tools and not settings.claude_wrapper:
        logging.getLogger(__name__).warning(NO_SANDBOX)
    if settings.identity == "dev" and not (settings.claude or settings.claude_tools):
        settings = dev.with_tools(settings)
    app = make_app(settings, command=[_claude(settings)], server=server)
    if settings.identity == "dev":
        dev.add_to(app, settings, restart=restart if follow_sources else None)
    raise_file_limit()
    async with serving(app, settings.host, settings.port, bounds_of(settings), grace=2.0) as (host, port):
        shown = f"[{host}]" if ":" in host else host
        print(f"Chat ready at http://{printable(shown)}:{port}/chat/", flush=True)
        gc.collect()
        # A full collection need not look at what the imports made: 45 ms in which nobody is served.
        gc.freeze()
        await stop.wait()
    return port if changed else None


def _claude(settings: Settings) -> str:
    if not settings.claude:
        return str(
            install(settings.data / "claude", script=dev.SCRIPTS if settings.identity == "dev" else None)
        )
    found = shutil.which(settings.claude)
    if found is None:
        logging.getLogger(__name__).warning(
            "claude executable not found: %s; every turn fails until it exists", settings.claude
        )
    program = found or settings.claude
    return str(Path(program).absolute()) if "/" in program else program  # it runs in a folder of its own
