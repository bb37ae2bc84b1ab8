"""The loopback Messages API over HTTP, as the CLI would meet it (docs/fake-claude.md)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout

from fake_claude.gates import Gate
from fake_claude.tests.conftest import PATIENCE, Fake

MODEL = "claude-opus-5-5"
SCRIPT = """
version = 1
[[turn]]
match = 'pings'
steps = [{ ping = 2 }, { text = "After." }]
[[turn]]
match = 'once'
steps = [{ error = 500, times = 1 }, { text = "Fine." }]
[[turn]]
match = 'never'
steps = [{ error = 429, should_retry = false, retry_after = 7, message = "no", type = "odd_error" }]
[[turn]]
match = 'process'
steps = [{ noise = "x" }, { stderr = "y" }, { omit = "result" }, { text = "Only this." }, { exit = 3 }]
[[turn]]
match = 'usage'
usage = { input_tokens = 12, cache_read_input_tokens = 1000, output_tokens = 9 }
steps = [{ text = "Counted." }]
[[turn]]
match = 'stall'
steps = [{ text = "Half" }, { stall = true }]
"""


@dataclass
class Api:
    """A running ``fake-claude api`` and a client for it."""

    url: str
    gates: Path
    session: ClientSession

    async def ask(self, *said: str, user: str = "u", **members: Any) -> tuple[int, Any]:
        """Send a conversation, user first, and return status and answer: events when streaming."""
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
        body = {"model": MODEL, "messages": messages, "metadata": {"user_id": user}, **members}
        async with self.session.post(f"{self.url}/v1/messages", json=body) as response:
            if response.content_type != "text/event-stream":
                return response.status, await response.json()
            return response.status, events(await response.text())


def events(text: str) -> list[dict[str, Any]]:
    """Read server-sent events strictly: a name line, a data line, an empty line."""
    found: list[dict[str, Any]] = []
    for part in text.removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        assert data.startswith("data: ")
        found.append(json.loads(data[6:]))
        assert name == f"event: {found[-1]['type']}"
    return found


def text_of(printed: list[dict[str, Any]]) -> str:
    return "".join(e["delta"].get("text", "") for e in printed if e["type"] == "content_block_delta")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run ``fake-claude api`` for the length of the block; yields its address and the process."""
    script = folder / "script.toml"
    script.write_text(SCRIPT)
    argv: list[str | Path] = [sys.executable, "-m", "fake_claude", "api", "--port", "0", "--script", script]
    with subprocess.Popen([*argv, "--gates", folder / "gates"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"seed 0\n"
            line = process.stdout.readline().decode()
            assert line.startswith("listening on http://127.0.0.1:")
            yield line.removeprefix("listening on ").rstrip("\n"), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One API for all tests of this file: each start costs a second."""
    folder = tmp_path_factory.mktemp("api")
    with serving(folder) as (url, _):
        yield url, folder / "gates"


@pytest.fixture
async def api(server: tuple[str, Path]) -> AsyncIterator[Api]:
    async with ClientSession(timeout=ClientTimeout(PATIENCE)) as session:
        yield Api(*server, session)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_the_api_even_while_it_stalls(tmp_path: Path, number: signal.Signals) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "stall"}]}
    with serving(tmp_path) as (url, process):
        async with ClientSession() as session, session.post(f"{url}/v1/messages", json=body) as response:
            await response.content.readuntil(b"Half")
            process.send_signal(number)
            code = await asyncio.to_thread(process.wait, PATIENCE)

    assert code == 0


async def test_answer_is_streamed_as_server_sent_events(api: Api) -> None:
    status, printed = await api.ask("hello", stream=True)

    assert status == 200
    assert [event["type"] for event in printed if event["type"] != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert text_of(printed) == 'You said: "hello". This is turn 1 of our conversation.'
    assert printed[-2]["delta"]["stop_reason"] == "end_turn"


async def test_fake_and_api_say_the_same(api: Api, fake: Fake) -> None:
    for prompt in ("hello ünï 🙂", '[[fake tokens=3 say="a b"]]'):
        _, printed = await api.ask(prompt, stream=True)

        assert text_of(printed) == (await fake.say(prompt)).text


async def test_whole_message_equals_the_stream(api: Api) -> None:
    _, printed = await api.ask("usage", stream=True)
    _, message = await api.ask("usage")

    assert message["content"] == [{"type": "text", "text": text_of(printed)}]
    assert message["usage"] == {**printed[0]["message"]["usage"], "output_tokens": 9}
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (12, 1000)


async def test_turns_are_counted_from_the_history(api: Api) -> None:
    _, printed = await api.ask("one", "first answer", "two", "second answer", "three", stream=True)

    assert text_of(printed) == 'You said: "three". This is turn 3 of our conversation.'


async def test_error_of_one_conversation_is_not_that_of_another(api: Api) -> None:
    statuses = [(await api.ask("once", user=user, stream=True))[0] for user in ("a", "b", "a", "b")]

    assert statuses == [500, 500, 200, 200]


async def test_error_carries_its_headers_and_words(api: Api) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "never"}]}
    async with api.session.post(f"{api.url}/v1/messages", json=body) as response:
        error = (await response.json())["error"]

    assert response.status == 429
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("7", "false")
    assert response.headers["request-id"]
    assert error == {"type": "odd_error", "message": "no"}


async def test_pings_go_over_the_wire(api: Api) -> None:
    _, printed = await api.ask("pings", stream=True)

    assert [event["type"] for event in printed].count("ping") == 2


async def test_misbehaviour_of_the_process_is_passed_over(api: Api) -> None:
    _, printed = await api.ask("process", stream=True)

    assert (text_of(printed), printed[-1]["type"]) == ("Only this.", "message_stop")


async def test_gate_holds_the_stream_where_it_stands(api: Api) -> None:
    body = {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "[[fake tokens=3 hold=gate10@2]]"}],
    }
    with Gate(api.gates, "gate10") as gate:
        async with api.session.post(f"{api.url}/v1/messages", json=body) as response:
            await gate.reached()
            begun = await response.content.readuntil(b'"t2 "')
            gate.open()
            rest = await response.content.read()

    assert b"t3" not in begun
    assert b'"t3 "' in rest


async def test_client_that_leaves_a_gate_takes_no_passage(api: Api) -> None:
    prompt = "[[fake tokens=2 hold=gate11@1]]"
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with Gate(api.gates, "gate11") as gate:
        async with api.session.post(f"{api.url}/v1/messages", json=body) as response:
            await gate.reached()
            response.close()
        await api.ask("hello")  # answered: the leaving was seen
        gate.open()
        async with asyncio.timeout(PATIENCE):
            _, printed = await api.ask(prompt, stream=True)

    assert text_of(printed) == "t1 t2 "


async def test_many_clients_are_served_at_once(api: Api) -> None:
    with Gate(api.gates, "gate12") as gate:
        tasks = [
            asyncio.create_task(api.ask(f"[[fake tokens=1 hold=gate12@0]] {n}", user=str(n), stream=True))
            for n in range(5)
        ]
        async with asyncio.timeout(PATIENCE):
            for _ in tasks:
                await gate.reached()
            gate.open(len(tasks))
            printed = [text_of(events_) for _, events_ in await asyncio.gather(*tasks)]

    assert printed == ["t1 "] * 5


WRONG = [
    pytest.param("{", id="not-json"),
    pytest.param("[]", id="list"),
    pytest.param("{}", id="empty"),
    pytest.param('{"model": 1, "messages": []}', id="model-number"),
    pytest.param('{"model": "claude-opus-5-5", "messages": [7]}', id="message-number"),
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("data", WRONG[:2])
async def test_wrong_request_is_a_400_with_the_reason(api: Api, path: str, data: str) -> None:
    async with api.session.post(api.url + path, data=data) as response:
        answer = await response.json()

    assert (response.status, answer["type"]) == (400, "error")
    assert answer["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("data", WRONG[2:])
async def test_wrong_message_is_a_400_with_the_reason(api: Api, data: str) -> None:
    async with api.session.post(f"{api.url}/v1/messages", data=data) as response:
        answer = await response.json()

    assert (response.status, answer["error"]["type"]) == (400, "invalid_request_error")


async def test_wrong_inline_script_is_a_400_that_names_the_key(api: Api) -> None:
    status, answer = await api.ask("[[fake tokins=2]]", stream=True)

    assert status == 400
    assert "tokins" in answer["error"]["message"]


async def test_unknown_model_is_a_404(api: Api) -> None:
    status, answer = await api.ask("hello", model="no-such-model")

    assert (status, answer["error"]["type"]) == (404, "not_found_error")
    assert "no-such-model" in answer["error"]["message"]


async def test_unknown_path_is_a_404_and_the_base_a_200(api: Api) -> None:
    async with api.session.get(f"{api.url}/v1/nothing") as nothing, api.session.head(api.url) as base:
        assert (nothing.status, base.status) == (404, 200)
