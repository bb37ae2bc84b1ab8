"""Start a mutant: ``python -m chat_conformance.mutants.serve NAME PORT`` and what the server itself takes."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from chat_conformance.mutants import small
from chat_conformance.mutants.expectations import SMALL


def main(name: str, port: str, data: str, claude: str) -> int:
    """Serve until SIGTERM; ``name`` may be several mutants of the reference, joined by commas."""
    if name.removeprefix("twin-of-") in SMALL:
        asyncio.run(_serve_small(name, int(port), Path(claude)))
        return 0
    from chat_conformance.mutants.registry import put_in  # noqa: PLC0415 - small servers do without

    put_in(name.split(","), Path(f"{data}-code"))
    from chat_server.command import main as serve  # noqa: PLC0415 - same
    from chat_server.processes import init  # noqa: PLC0415 - same

    # The server does this when it is the command of its process, and here it is called with arguments.
    init.be_init_if_first()
    return serve(["--port", port, "--data", data, "--claude", claude])


async def _serve_small(name: str, port: int, claude: Path) -> None:
    kind = getattr(small, SMALL[name.removeprefix("twin-of-")][0])
    tiny = issubclass(kind, small.TinyChat)
    # The twin is the same server without the fault: the class from which the mutant is derived.
    if name.startswith("twin-of-"):
        kind = small.TinyChat if tiny else small.RawChat
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with small.serving(kind(claude) if tiny else kind(), port=port):
        print("Chat ready at", port, flush=True)  # noqa: T201 - what the target file waits for
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
