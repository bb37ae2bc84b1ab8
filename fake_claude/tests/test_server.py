from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import TestClient, TestServer

from fake_claude.api.server import ScriptedApi, make_app
from fake_claude.script.finder import ScriptFinder

Client = TestClient[Any, Any]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Client]:
    script = tmp_path / "script.toml"
    script.write_text(
        """
version = 1
[[turn]]
match = 'error'
steps = [{ error = 529, times = 1, retry_after = 2, should_retry = true }, { text = "Fine." }]
[[turn]]
match = 'cut'
steps = [{ text = "Half " }, { cut_stream = true }]
[[turn]]
match = 'event'
steps = [{ text = "Half " }, { stream_error = "overloaded_error" }]
[[turn]]
match = 'reset'
steps = [{ reset = true }]
[[turn]]
match = 'tool'
steps = [{ thinking = "Hm." }, { tool = "Bash", input = { command = "ls" } }, { text = "Done it." }]
"""
    )
    async with TestClient(TestServer(make_app(ScriptedApi(ScriptFinder(str(script)), tmp_path)))) as client:
        yield client


def body(prompt: str, **members: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": prompt}], **members}


async def events(client: Client, prompt: str) -> list[dict[str, Any]]:
    response = await client.post("/v1/messages", json=body(prompt, stream=True))
    text = await response.text()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_answer_is_that_of_the_fake(api: Client) -> None:
    printed = await events(api, "hello")

    text = "".join(event["delta"]["text"] for event in printed if event["type"] == "content_block_delta")
    assert text == 'You said: "hello". This is turn 1 of our conversation.'
    assert [printed[0]["type"], printed[-1]["type"]] == ["message_start", "message_stop"]


async def test_without_streaming_the_message_comes_whole(api: Client) -> None:
    response = await api.post("/v1/messages", json=body("tool"))
    message = await response.json()

    assert [block["type"] for block in message["content"]] == ["thinking", "tool_use"]
    assert message["content"][1]["input"] == {"command": "ls"}
    assert message["stop_reason"] == "tool_use"


async def test_error_comes_the_first_time_only(api: Client) -> None:
    first = await api.post("/v1/messages", json=body("error", stream=True))
    second = await api.post("/v1/messages", json=body("error", stream=True))

    assert (first.status, second.status) == (529, 200)
    assert first.headers["retry-after"] == "2"
    assert first.headers["x-should-retry"] == "true"
    assert (await first.json())["error"]["type"] == "overloaded_error"


async def test_error_event_ends_the_stream(api: Client) -> None:
    assert (await events(api, "event"))[-1]["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("prompt", ["cut", "reset"])
async def test_broken_connection_is_broken(api: Client, prompt: str) -> None:
    async with ClientSession() as session:
        with pytest.raises(ClientError):
            async with session.post(api.make_url("/v1/messages"), json=body(prompt, stream=True)) as response:
                await response.read()


async def test_wrong_request_is_answered_400(api: Client) -> None:
    for data in ("{", "[]", '{"model": 1, "messages": []}'):
        response = await api.post("/v1/messages", data=data)

        assert response.status == 400


async def test_tokens_are_counted_as_words(api: Client) -> None:
    response = await api.post("/v1/messages/count_tokens", json=body("one two three"))

    assert await response.json() == {"input_tokens": 3}
