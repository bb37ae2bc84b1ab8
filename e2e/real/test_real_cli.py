"""The reference server with the real CLI, whose model is the loopback Messages API."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from e2e.process import running
from fake_claude.real_cli import VARIABLE, VERSION

TURN_SECONDS = 60


class Chat:
    """A client of one running server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, message: str, conversation_id: str | None = None
    ) -> tuple[str, str, list[dict[str, Any]]]:
        """Run a turn over WebSocket; conversation, answer, events."""
        async with self._session.ws_connect("/chat/ws", protocols=["chat-stream-v1"]) as ws:
            await ws.send_json(
                {"type": "chat_request", "message": message, "conversation_id": conversation_id}
            )
            events: list[dict[str, Any]] = []
            while not events or events[-1]["type"] not in {"complete", "error"}:
                events.append(await ws.receive_json(timeout=TURN_SECONDS))
        assert events[-1]["type"] == "complete", events
        tokens = "".join(event["token"] for event in events if event["type"] == "token")
        return events[0]["conversation_id"], tokens, events

    async def post(self, message: str, conversation_id: str) -> str:
        """Run a turn over POST; the answer."""
        form = {"message": message, "conversation_id": conversation_id}
        async with self._session.post("/chat", data=form) as response:
            document = await response.json()
        assert response.status == 200, document
        return str(document["response"])

    async def answers(self, conversation_id: str) -> list[str]:
        """The answers that history has."""
        async with self._session.get(f"/chat/history/{conversation_id}") as response:
            document = await response.json()
        return [each["content"] for each in document["messages"] if each["role"] == "assistant"]


@pytest.fixture
def claude() -> str:
    path = os.environ.get(VARIABLE)
    assert path, (
        f"{VARIABLE} is not set: run `tox -e real`, or `python -m fake_claude.real_cli pytest e2e/real`"
    )
    return path


@pytest.fixture
async def api() -> AsyncIterator[str]:
    argv = [sys.executable, "-m", "fake_claude", "api", "--port", "0"]
    async with running("fake-claude api", argv, env=os.environ, ready="listening on") as program:
        yield program.ready_line.rpartition(" ")[2]


@asynccontextmanager
async def chat(claude: str, api: str, folder: Path) -> AsyncIterator[Chat]:
    """The server with the real CLI; ``folder`` is all that survives it."""
    (folder / "home").mkdir(exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "ANTHROPIC_API_KEY": "sk-dummy",
        "ANTHROPIC_BASE_URL": api,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CHAT_CLAUDE": claude,
    }
    argv = [sys.executable, "-m", "chat_server", "--port", "0", "--data", str(folder / "data")]
    async with running("chat-server", argv, env=env, ready="Chat ready at ") as server:
        url = server.ready_line.rpartition(" ")[2].removesuffix("/chat/")
        async with aiohttp.ClientSession(url) as session:
            yield Chat(session)


async def test_a_conversation_goes_on_over_socket_post_and_a_restart(
    claude: str, api: str, tmp_path: Path
) -> None:
    async with chat(claude, api, tmp_path) as before:
        conversation, first, events = await before.ask("my name is Ada")
        _, second, _ = await before.ask("and again", conversation)
        posted = await before.post("by post", conversation)
    async with chat(claude, api, tmp_path) as after:
        _, resumed, _ = await after.ask("after a restart", conversation)
        answers = await after.answers(conversation)

    assert "my name is Ada" in first
    assert "turn 2" in second
    assert "turn 3" in posted
    assert "turn 4" in resumed
    assert answers == [first, second, posted, resumed]
    assert [event["seq"] for event in events[1:]] == list(range(1, len(events)))


async def test_an_answer_streams_before_it_is_whole(claude: str, api: str, tmp_path: Path) -> None:
    async with chat(claude, api, tmp_path) as server:
        _, text, events = await server.ask("[[fake tokens=6 gap=100ms]]")

    assert text == "t1 t2 t3 t4 t5 t6 "
    assert len([event for event in events if event["type"] == "token"]) > 1


async def test_the_recorded_version_is_the_one_that_runs(claude: str, tmp_path: Path) -> None:
    argv = [claude, "--version"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    async with running("claude", argv, env=env, ready="Claude Code") as program:
        pass

    assert program.ready_line == f"{VERSION} (Claude Code)"
