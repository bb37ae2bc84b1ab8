"""The fake, installed in a temporary folder and ready to be run."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import Run, read
from fake_claude.patience import patience

PATIENCE = patience(60.0)
"""Seconds after which a test that waits for the fake has failed."""

Message = dict[str, Any]
ONE_SHOT = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
JSON_ONLY = ["-p", "--output-format", "json"]
PERSISTENT = [*ONE_SHOT, "--input-format", "stream-json"]


@dataclass
class Done:
    """A run that ended."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[Message]:
        return [json.loads(line) for line in self.out.split("\n") if line]

    @property
    def result(self) -> Message:
        return next(message for message in reversed(self.messages) if message["type"] == "result")

    @property
    def text(self) -> str:
        """The streamed pieces joined."""
        events = [m["event"] for m in self.messages if m["type"] == "stream_event"]
        return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")

    @property
    def kinds(self) -> list[str]:
        return [kind(message) for message in self.messages]


def kind(message: Message) -> str:
    if message["type"] == "stream_event":
        return str(message["event"]["type"])
    return str(message.get("subtype", message["type"]))


def user(content: Any, **members: Any) -> str:
    return json.dumps({"type": "user", "message": {"role": "user", "content": content}, **members}) + "\n"


def control(subtype: str, request_id: str = "r", **members: Any) -> str:
    request = {"subtype": subtype, **members}
    return json.dumps({"type": "control_request", "request_id": request_id, "request": request}) + "\n"


class Fake:
    """One installed fake with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.cwd = folder / "cwd"
        self.home.mkdir()
        self.cwd.mkdir()
        self.launcher = install(folder / "bin", retry_scale=0.001)

    def script(self, toml: str) -> None:
        """Have this script played from now on."""
        path = self.folder / "script.toml"
        path.write_text("version = 1\n" + toml, encoding="utf-8")
        self.launcher = install(self.folder / "bin", script=path, retry_scale=0.001)

    @property
    def runs(self) -> list[Run]:
        return read(self.folder / "bin" / "ledger")

    def gate(self, name: str) -> Gate:
        return Gate(self.folder / "bin" / "gates", name)

    def env(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "ANTHROPIC_API_KEY": "sk-dummy", **more}

    async def start(self, *argv: str, **more: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            self.launcher,
            *argv,
            cwd=self.cwd,
            env=self.env(**more),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=1 << 24,
        )

    async def run(self, *argv: str, stdin: str = "", **more: str) -> Done:
        """Run to the end."""
        process = await self.start(*argv, **more)
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    async def say(self, prompt: str, *argv: str, **more: str) -> Done:
        """Run one prompt with partial messages."""
        return await self.run(*ONE_SHOT, *argv, "--", prompt, **more)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run one of the tools beside the stand-in."""
    from fake_claude.commands.commands import run_command

    def run(name: str, *argv: object) -> tuple[int, str, str]:
        try:
            code = run_command(name, [str(word) for word in argv])
        except SystemExit as ending:
            code = int(ending.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    sys.stdout.flush()
