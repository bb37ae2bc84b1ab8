"""Runs beside recordings of the CLI itself: the same lines in the same order, with the same members."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from fake_claude.tests.conftest import Done, Fake, Message
from fake_claude.tests.recorded import Recording, load, masked
from fake_claude.tests.talk import Talk, talking

USAGE = "usage = { input_tokens = 12, output_tokens = 9 }\n"
TEXT = '{ text = "Hello from the stub. You said something. Done" }'


def turn(*steps: str, match: str = "") -> str:
    return f"[[turn]]\nmatch = '''{match}'''\n{USAGE}steps = [{', '.join(steps)}]\n"


def echo(prompt: str) -> str:
    """Answer as the recording's model did: with the length of the prompt and the prompt itself."""
    said = '"' + prompt.replace("\n", "\\n") + '"'
    return turn(f"{{ text = '''len={len(prompt)} repr={said}''' }}", match=f"^{prompt}$")


def assert_recorded(fake: Fake, recording: Recording, done: Done, messages: list[Message]) -> None:
    """Compare the readable things first: exit code, stderr, the order of lines; then every member."""
    assert (done.code, done.err) == (recording.exit_code, recording.stderr)
    got = masked(messages, cwd=str(fake.cwd))
    want = recording.messages
    assert [kind(message) for message in got] == [kind(message) for message in want]
    for number, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a == b, f"line {number} ({kind(b)})"


def kind(message: Message) -> str:
    inner = message["event"]["type"] if message["type"] == "stream_event" else message.get("subtype", "")
    return f"{message['type']}/{inner}"


CALL = '{ tool = "Bash", input = { command = "touch newfile", description = "run it" } }'
ONE_SHOT = [
    pytest.param("print_json", turn(TEXT), id="json"),
    pytest.param("sj_verbose", turn(TEXT), id="stream-json"),
    pytest.param("sj_partial", turn(TEXT), id="partial-messages"),
    pytest.param("err_403", turn('{ error = 403, message = "error 403" }'), id="api-error"),
    pytest.param("err_500_once_without_partial", turn("{ error = 500, times = 1 }", TEXT), id="one-retry"),
    pytest.param(
        "tool_denied",
        turn('{ text = "I will ", cut = 7 }', '{ text = "run it.", cut = 7 }', CALL, TEXT),
        id="denied-tool",
    ),
    pytest.param("resume_unknown_sj", turn(TEXT), id="unknown-session"),
]


@pytest.mark.parametrize(("case", "script"), ONE_SHOT)
async def test_one_shot_run_is_as_recorded(fake: Fake, case: str, script: str) -> None:
    recording = load(case)
    fake.script(script)

    done = await fake.run(*recording.argv)

    assert_recorded(fake, recording, done, done.messages)


async def two_turns(talk: Talk, _fake: Fake) -> None:
    await talk.say("ECHO one")
    await talk.result()
    await talk.say("ECHO two")
    await talk.result()


async def interrupted(talk: Talk, fake: Fake) -> None:
    with fake.gate("middle") as gate:
        await talk.say("SLOW300 WORDS40")
        await gate.reached()
        await talk.ask("interrupt", "req_i")
        await talk.result()
        await talk.say("ECHO after interrupt")
        await talk.result()


async def interrupted_idle(talk: Talk, _fake: Fake) -> None:
    await talk.say("ECHO one")
    await talk.result()
    await talk.ask("interrupt", "req_i")
    await talk.say("ECHO two")
    await talk.result()


async def queued(talk: Talk, fake: Fake) -> None:
    with fake.gate("middle") as gate:
        await talk.say("SLOW300 ECHO one", uuid="aaaaaaaa-0000-4000-8000-000000000001")
        await gate.reached()
        for number, word in ((2, "two"), (3, "three")):
            uuid = f"aaaaaaaa-0000-4000-8000-00000000000{number}"
            await talk.say(f"ECHO {word}", uuid=uuid)
            await talk.until(lambda m, uuid=uuid: m.get("command_uuid") == uuid)  # type: ignore[misc]
        gate.open()
        await talk.result()
        await talk.result()


async def pushed_aside(talk: Talk, fake: Fake) -> None:
    with fake.gate("middle") as gate:
        await talk.say("SLOW300 WORDS20", uuid="aaaaaaaa-0000-4000-8000-000000000001")
        await gate.reached()
        await talk.say("ECHO now please", uuid="aaaaaaaa-0000-4000-8000-000000000002", priority="now")
        await talk.result()
        await talk.result()


async def modes(talk: Talk, _fake: Fake) -> None:
    await talk.ask("set_permission_mode", "req_p", mode="plan")
    await talk.say("ECHO one")
    await talk.result()
    for mode in ("acceptEdits", "default", "bypassPermissions", "dontAsk", "manual", "auto", "nonsense"):
        await talk.ask("set_permission_mode", f"req_{mode}", mode=mode)


HELD = '{ text = "Hello from the stub. " }', '{ hold = "middle" }', '{ text = "Never." }'
PERSISTENT = [
    pytest.param("si_two_turns", two_turns, echo("ECHO one") + echo("ECHO two"), id="two-turns"),
    pytest.param(
        "ctl_interrupt_mid",
        interrupted,
        turn(*HELD, match="SLOW300 WORDS40$")
        + turn(
            """{ text = 'len=51 repr="[Request interrupted by user]\\n\\nECHO after interrupt"' }""",
            match="after interrupt$",
        ),
        id="interrupt-while-streaming",
    ),
    pytest.param(
        "ctl_interrupt_idle", interrupted_idle, echo("ECHO one") + echo("ECHO two"), id="interrupt-idle"
    ),
    pytest.param(
        "si_queue_uuid",
        queued,
        turn(
            "{ text = 'len=16 ' }",
            '{ hold = "middle" }',
            """{ text = 'repr="SLOW300 ECHO one"' }""",
            match="^SLOW300 ECHO one$",
        )
        + echo("ECHO two\nECHO three"),
        id="queued-messages-are-merged",
    ),
    pytest.param(
        "si_priority_now",
        pushed_aside,
        turn('{ text = "Hello from " }', '{ hold = "middle" }', '{ text = "Never." }', match="WORDS20$")
        + echo("ECHO now please"),
        id="priority-now",
    ),
    pytest.param("ctl_set_permission_mode", modes, echo("ECHO one"), id="permission-modes"),
]


@pytest.mark.parametrize(("case", "play", "script"), PERSISTENT)
async def test_persistent_run_is_as_recorded(
    fake: Fake, case: str, play: Callable[[Talk, Fake], Awaitable[None]], script: str
) -> None:
    recording = load(case)
    fake.script(script)

    async with talking(fake, mode=recording.argv) as talk:
        await play(talk, fake)
        done = await talk.end()

    assert_recorded(fake, recording, done, talk.messages + done.messages)
