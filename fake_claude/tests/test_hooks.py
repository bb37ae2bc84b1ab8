"""Hooks over the control protocol: the host is asked, and what it answers is obeyed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_claude.engine.hook_outcome import HookOutcome
from fake_claude.engine.hooks import covers
from fake_claude.tests.conftest import Fake, Message, kind
from fake_claude.tests.talk import Talk, talking


async def asked(talk: Talk, event: str, prompt: str, **group: Any) -> Message:
    """Register a callback and send a prompt; return the request that the callback gets."""
    await talk.ask("initialize", "i", hooks={event: [{"hookCallbackIds": ["x"], **group}]})
    await talk.say(prompt)
    return (await talk.until("control_request"))[-1]


def answer_to(request: Message, response: Message) -> str:
    answer = {"subtype": "success", "request_id": request["request_id"], "response": response}
    return json.dumps({"type": "control_response", "response": answer}) + "\n"


@pytest.mark.parametrize(
    ("matcher", "subject", "covered"),
    [
        (None, "Bash", True),
        ("*", "Bash", True),
        ("Bash", "Bash", True),
        ("Bash", "BashOutput", False),
        ("Write|Bash", "Bash", True),
        ("Ba.*", "Bash", True),
        ("mcp__.*", "Bash", False),
        ("(", "Bash", False),
        ("Bash", None, True),
    ],
)
def test_matcher_covers_its_tools(matcher: str | None, subject: str | None, covered: bool) -> None:  # noqa: FBT001
    assert covers(matcher, subject) is covered


def test_gravest_decision_counts() -> None:
    outcome = HookOutcome()
    for decision in ("allow", "deny", "ask", "allow", "nonsense"):
        outcome.take(
            {"hookSpecificOutput": {"permissionDecision": decision, "permissionDecisionReason": decision}}
        )

    assert (outcome.decision, outcome.reason) == ("deny", "deny")


@pytest.mark.parametrize(
    "answer", [{}, {"hookSpecificOutput": None}, {"hookSpecificOutput": []}, {"continue": True}]
)
def test_empty_answer_decides_nothing(answer: dict[str, object]) -> None:
    outcome = HookOutcome()
    outcome.take(answer)

    assert (outcome.decision, outcome.blocked, outcome.stopped, outcome.updated_input) == (
        "",
        None,
        None,
        None,
    )


async def test_reason_is_kept_as_given(fake: Fake) -> None:
    async with talking(fake) as talk:
        request = await asked(talk, "UserPromptSubmit", "hi")
        await talk.send(answer_to(request, {"decision": "block", "reason": "[a]: b"}))
        seen = await talk.until("informational")

    assert seen[-1]["prompt_submit_outcome"]["reason"] == "[a]: b"


async def test_interrupt_ends_unchecked_prompt(fake: Fake) -> None:
    async with talking(fake) as talk:
        request = await asked(talk, "UserPromptSubmit", "hi")
        await talk.ask("interrupt")
        seen = await talk.until("error_during_execution")
        await talk.end()

    assert [kind(message) for message in seen] == ["init", "user", "error_during_execution"]
    assert seen[-1]["errors"] == ["prompt_check: the turn was stopped before its prompt was checked"]
    assert {"type": "control_cancel_request", "request_id": request["request_id"]} in talk.messages


async def test_urgent_message_passes_unchecked_prompt(fake: Fake) -> None:
    async with talking(fake) as talk:
        await asked(talk, "UserPromptSubmit", "first")
        await talk.say("urgent", priority="now")
        await talk.until("control_request")
        talk.stdin.close()  # no hook can be asked any more
        results = [await talk.result(), await talk.result()]

    assert ["urgent" in results[0]["result"], "first" in results[1]["result"]] == [True, True]


async def test_text_for_an_object_is_ignored(fake: Fake) -> None:
    async with talking(fake) as talk:
        request = await asked(talk, "UserPromptSubmit", "hi")
        await talk.send(answer_to(request, {"hookSpecificOutput": "text"}))

        assert (await talk.result())["subtype"] == "success"


@pytest.mark.parametrize(("matcher", "count"), [("startup", 1), ("resume", 0), (None, 1)])
async def test_start_hooks_match_their_source(fake: Fake, matcher: str | None, count: int) -> None:
    command = {"type": "command", "command": "echo MARK"}
    hooks = {"SessionStart": [{"matcher": matcher, "hooks": [command, command]}]}

    done = await fake.say("hi", "--settings", json.dumps({"hooks": hooks}))

    assert done.kinds.count("hook_response") == count


async def test_slow_start_hook_is_cancelled(fake: Fake) -> None:
    command = {"type": "command", "command": "sleep 60", "timeout": 0.1}

    done = await fake.say("hi", "--settings", json.dumps({"hooks": {"SessionStart": [{"hooks": [command]}]}}))

    response = next(message for message in done.messages if kind(message) == "hook_response")
    assert (response["outcome"], response["exit_code"]) == ("cancelled", 1)
