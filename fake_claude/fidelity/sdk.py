"""The official Python client as judge: the same programs with the fake and, where it is, with the real CLI.

``python -m fake_claude.fidelity.sdk [--claude PATH]`` needs ``claude-agent-sdk`` (0.2.187).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from fake_claude.api.server import ScriptedApi, make_app
from fake_claude.fidelity.masks import Ids, masked
from fake_claude.fidelity.run import WORDS
from fake_claude.install import install
from fake_claude.real_cli import VARIABLE
from fake_claude.script.finder import ScriptFinder

SDK_VERSION = "0.2.187"
Recorded = list[Any]

_OF_MESSAGE = {
    "SystemMessage": ("subtype",),
    "AssistantMessage": ("content", "model", "error"),
    "UserMessage": ("content",),
    "StreamEvent": ("event",),
    "ResultMessage": (
        "subtype",
        "is_error",
        "num_turns",
        "session_id",
        "result",
        "usage",
        "total_cost_usd",
        "errors",
    ),
}


def shown(value: Any) -> Any:
    """Return a value of the SDK as plain data."""
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    # Of messages only members that a user of the SDK reads: new versions of it add others, which say nothing of
    # a CLI.
    if hasattr(value, "__dataclass_fields__"):
        members = _OF_MESSAGE.get(type(value).__name__, tuple(value.__dataclass_fields__))
        return {"is": type(value).__name__, **{name: shown(getattr(value, name, None)) for name in members}}
    return value


class Programs:
    """What a user of the SDK writes."""

    def __init__(self, claude: Path, cwd: Path, env: dict[str, str]) -> None:
        self.sdk: Any = importlib.import_module("claude_agent_sdk")
        self._given = {"cli_path": str(claude), "cwd": str(cwd), "env": env}

    def options(self, **more: Any) -> Any:
        """Return the SDK's options."""
        return self.sdk.ClaudeAgentOptions(**self._given, **more)

    async def one_query(self) -> Recorded:
        """Ask once."""
        return [shown(m) async for m in self.sdk.query(prompt="one", options=self.options())]

    async def partial(self) -> Recorded:
        """Ask once, with the pieces."""
        options = self.options(include_partial_messages=True)
        return [shown(m) async for m in self.sdk.query(prompt="THINK", options=options)]

    async def two_turns(self) -> Recorded:
        """Talk twice."""
        recorded: Recorded = []
        async with self.sdk.ClaudeSDKClient(self.options()) as client:
            for prompt in ("one", "two"):
                await client.query(prompt)
                recorded += [shown(message) async for message in client.receive_response()]
        return recorded

    async def interrupt(self) -> Recorded:
        """Interrupt an answer at its first delta, then continue."""
        recorded: Recorded = []
        async with self.sdk.ClaudeSDKClient(self.options(include_partial_messages=True)) as client:
            await client.query("HOLD")
            async for message in client.receive_response():
                recorded.append(shown(message))
                if self._is_piece(message, "stub. "):
                    await client.interrupt()
            await client.query("after")
            recorded += [shown(message) async for message in client.receive_response()]
        return recorded

    def _is_piece(self, message: Any, text: str) -> bool:
        return (
            isinstance(message, self.sdk.StreamEvent) and message.event.get("delta", {}).get("text") == text
        )

    async def permission(self) -> Recorded:
        """Be asked about a tool: allow one, deny the next."""
        recorded: Recorded = []

        async def answer(name: str, given: dict[str, Any], _context: Any) -> Any:
            recorded.append(["asked", name, given])
            if "allowed" in given["command"]:
                return self.sdk.PermissionResultAllow()
            return self.sdk.PermissionResultDeny(message="not that")

        async with self.sdk.ClaudeSDKClient(self.options(can_use_tool=answer)) as client:
            for prompt in ("TOOL `touch allowed`", "TOOL `touch denied`"):
                await client.query(prompt)
                recorded += [shown(message) async for message in client.receive_response()]
        return recorded

    async def models(self) -> Recorded:
        """Change the model and the permission mode between turns."""
        recorded: Recorded = []
        async with self.sdk.ClaudeSDKClient(self.options()) as client:
            await client.set_model("claude-haiku-5-5")
            await client.set_permission_mode("acceptEdits")
            await client.query("one")
            recorded += [shown(message) async for message in client.receive_response()]
        return recorded

    async def resume(self) -> Recorded:
        """Continue in a new process."""
        first = [m async for m in self.sdk.query(prompt="one", options=self.options())]
        options = self.options(resume=first[-1].session_id)
        return [shown(m) async for m in self.sdk.query(prompt="two", options=options)]

    async def api_error(self) -> Recorded:
        """Meet an error of the API."""
        recorded: Recorded = []
        try:
            async for message in self.sdk.query(prompt="ERR403", options=self.options()):
                recorded.append(shown(message))
        except self.sdk.ClaudeSDKError as error:
            recorded.append([type(error).__name__, str(error).partition("\n")[0]])
        return recorded

    async def unknown_session(self) -> Recorded:
        """Resume what was never there."""
        recorded: Recorded = []
        options = self.options(resume="99999999-2222-4333-8444-55555555bbbb")
        try:
            async for message in self.sdk.query(prompt="x", options=options):
                recorded.append(shown(message))
        except self.sdk.ClaudeSDKError as error:
            recorded.append([type(error).__name__, str(error).partition("\n")[0]])
        return recorded

    def all(self) -> dict[str, Callable[[], Awaitable[Recorded]]]:
        """Return the programs by name."""
        names = [
            "one_query",
            "partial",
            "two_turns",
            "interrupt",
            "permission",
            "models",
            "resume",
            "api_error",
            "unknown_session",
        ]
        return {name: getattr(self, name) for name in names}


@asynccontextmanager
async def api(gates: Path) -> AsyncIterator[str]:
    """Serve the texts of the table to the real CLI."""
    runner = web.AppRunner(
        make_app(ScriptedApi(ScriptFinder(str(WORDS)), gates)),
        handler_cancellation=True,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def play(claude: Path | None) -> dict[str, Recorded]:
    """Run every program with one CLI; ``None`` is the fake."""
    recorded: dict[str, Recorded] = {}
    with tempfile.TemporaryDirectory(prefix="sdk-") as name:
        folder = Path(name)
        async with api(folder / "gates") as url:
            # Each in a home of its own: a session that one leaves behind would be there for the next.
            for program in Programs(Path(), folder, {}).all():
                place = folder / program
                (place / "home").mkdir(parents=True)
                (place / "dir").mkdir()
                used = claude or install(place / "bin", gates=folder / "gates", script=WORDS)
                env = {
                    "HOME": str(place / "home"),
                    "ANTHROPIC_API_KEY": "sk-dummy",
                    "ANTHROPIC_BASE_URL": url,
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                }
                # A CLI that hangs is a failure to report, not a run that never ends.
                async with asyncio.timeout(120):
                    said = await Programs(used, place / "dir", env).all()[program]()
                names = {
                    str(place / "dir"): "<cwd>",
                    str(place / "home"): "<home>",
                    url.partition("://")[2]: "<api>",
                }
                ids = Ids()
                recorded[program] = [masked(message, names, ids) for message in said]
    return recorded


async def judge(claude: Path | None) -> int:
    """Print what the SDK made of both; return the number of programs that differ or failed to end in a result."""
    fake = await play(None)
    real = await play(claude) if claude else {}
    wrong = 0
    for name, recorded in fake.items():
        verdict = f"{len(recorded)} messages"
        if claude:
            same = recorded == real[name]
            verdict = f"same, {len(recorded)} messages" if same else "different"
            wrong += not same
            if not same:
                # With an end mark on both, the first difference may also be that one list goes on.
                for a, b in zip([*real[name], None], [*recorded, None], strict=False):
                    if a != b:
                        verdict += f"\n    real {json.dumps(a)[:600]}\n    fake {json.dumps(b)[:600]}"
                        break
        print(f"{name:<16} {verdict}")  # noqa: T201
    return wrong


def main() -> None:
    """Run the programs and exit 1 on any difference."""
    parser = argparse.ArgumentParser(
        "fake_claude.fidelity.sdk", description=(__doc__ or "").partition("\n")[0]
    )
    named = os.environ.get(VARIABLE)
    real = Path(named) if named else None
    parser.add_argument(
        "--claude", type=Path, default=real, help=f"the real CLI, where no network is (default: ${VARIABLE})"
    )
    given = parser.parse_args()
    sys.exit(1 if asyncio.run(judge(given.claude)) else 0)


if __name__ == "__main__":
    main()
