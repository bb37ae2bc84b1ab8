"""What is kept."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces
from chat_conformance.errors import NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal, shorten_value

SOCKET_TURN = "history/socket-turn"


@case(
    SOCKET_TURN,
    title="A turn over the socket is in history, whole",
    clause="HIST-2",
    severity=Severity.MEDIUM,
    means="Conversations vanish.",
    finding="R2-2",
    evidence=r"it is \[\]",
    needs=(ANSWERED,),
)
async def socket_turn(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        prompt = chat.fake.prompt(tokens=40)
        turn = await chat.run_turn(peer, prompt)

        messages = await chat.http.history(turn.conversation_id)
        found = [(each.get("role"), each.get("content"), each.get("message_id")) for each in messages]
        wanted = [("user", prompt, turn.message_id), ("assistant", pieces(40), turn.message_id)]
        expect_equal(found, wanted, "the conversation in history")
        expect_equal(turn.text, pieces(40), "the tokens joined")
        expect_equal(messages[1].get("status"), "complete", "the status of the answer")


@case(
    "history/post-turn",
    title="A turn by POST is in the same history",
    clause="HIST-2",
    severity=Severity.MEDIUM,
    means="Half of a conversation vanishes, depending on how it was sent.",
    needs=(SOCKET_TURN, "processes/resume"),
)
async def post_turn(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt("one"))
    prompt = chat.fake.prompt(tokens=3)
    answer = await chat.http.post(prompt, conversation_id=turn.conversation_id)

    messages = await chat.http.history(turn.conversation_id)
    found = [(each.get("role"), each.get("content")) for each in messages[2:]]
    expect_equal(found, [("user", prompt), ("assistant", pieces(3))], "the second turn in history")
    expect_equal(answer.member("conversation_id"), turn.conversation_id, "the conversation of the POST")


@case(
    "history/before-claude",
    title="The prompt is in history while Claude is still silent",
    clause="HIST-1",
    severity=Severity.MEDIUM,
    means="After a reload during the answer the prompt is gone.",
    needs=(STREAMS, SOCKET_TURN),
)
async def before_claude(chat: CaseContext) -> None:
    async with chat.fake.gate("early") as gate, chat.peer() as peer:
        prompt = chat.fake.prompt(tokens=4, hold=f"{gate.name}@0")
        turn = await chat.start_turn(peer, prompt)
        await chat.fake.wait_at_gate(gate)

        messages = await chat.http.history(turn.conversation_id)
        first = [(each.get("role"), each.get("content")) for each in messages[:1]]
        expect_equal(first, [("user", prompt)], "the first message")
        answers = [each.get("status") for each in messages[1:]]
        # HIST-1 asks for the prompt only: a server may show the unfinished answer or leave it out.
        expect(
            answers in ([], ["running"]),
            "no answer yet, or one that is running",
            f"their status is {answers}",
        )
        gate.open()
        await turn.completed()
        expect_equal(
            (await chat.http.last_message(turn.conversation_id)).get("status"),
            "complete",
            "the status at the end",
        )


@case(
    "history/listed",
    title="Conversations are listed newest first, in pages",
    clause="HIST-3",
    severity=Severity.MEDIUM,
    means="People do not find their chats, or see some twice and some never.",
    needs=(SOCKET_TURN,),
)
async def listed(chat: CaseContext) -> None:
    expect_object(chat, "list")
    async with chat.peer() as peer:
        turns = [await chat.run_turn(peer, chat.fake.prompt(f"chat {number}")) for number in range(3)]
        mine = [turn.conversation_id for turn in turns]
        # The oldest gets one more turn: so the order by the last change is not the order of creation.
        await chat.run_turn(peer, chat.fake.prompt("touched"), conversation_id=mine[0])
    wanted = [mine[0], mine[2], mine[1]]
    found: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    # The list also has what other cases made for the same user. So pages are read until these three have
    # come, and only their order is judged.
    for _ in range(100):
        answer = await chat.http.request(
            "GET", f"{chat.target.paths.history}?{chat.target.dialect.query(**query)}"
        )
        page = answer.member("conversations")
        expect(len(page) <= 2, "at most two conversations on a page of two", f"there are {len(page)}")
        expect(
            all({"id", "title", "created_at", "updated_at"} <= set(each) for each in page),
            "all members",
            f"{page}",
        )
        found += [each["id"] for each in page]
        following = answer.member("next")
        if following is None or set(mine) <= set(found):
            break
        query["before"] = str(following)
    expect_equal([each for each in found if each in mine], wanted, "the order of this case's conversations")


@case(
    "history/shape",
    title="A conversation has its id, title, times and messages, oldest first",
    clause="HIST-4",
    severity=Severity.MEDIUM,
    means="The page cannot show an old chat.",
    needs=(SOCKET_TURN,),
)
async def shape(chat: CaseContext) -> None:
    expect_object(chat, "conversation")
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt("one"))
        await chat.run_turn(peer, chat.fake.prompt("two"), conversation_id=turn.conversation_id)
    answer = await chat.http.request("GET", chat.target.paths.of(turn.conversation_id))

    expect_equal(answer.member("id"), turn.conversation_id, "the id")
    expect(bool(answer.member("title")), "a title", f"it is {answer.member('title')!r}")
    messages = answer.member("messages")
    expect_equal([each.get("role") for each in messages], ["user", "assistant"] * 2, "the roles")
    for each in messages:
        missing = {"role", "content", "message_id", "status", "created_at"} - set(each)
        expect(not missing, "all members in each message", f"{sorted(missing)} are missing in {each}")


@case(
    "history/deleted",
    title="A deleted conversation is gone for good, its running turn too",
    clause="HIST-5",
    severity=Severity.MEDIUM,
    means="What people deleted is still there, or Claude continues to work on it.",
    needs=(STREAMS, SOCKET_TURN, "messages/unknown-conversation", "stopping/unknown"),
)
async def deleted(chat: CaseContext) -> None:
    async with chat.fake.gate("deleted") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=9, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        path = chat.target.paths.of(turn.conversation_id)
        expect_equal((await chat.http.request("DELETE", path)).status, 204, "the status of the DELETE")
        await turn.finish()

        for method in ("GET", "DELETE"):
            expect_equal(
                (await chat.http.request(method, path)).status, 404, f"the status of {method} afterwards"
            )
        found = (await chat.http.request("GET", chat.target.paths.history)).member("conversations")
        expect(
            turn.conversation_id not in [each["id"] for each in found], "it not to be listed", f"{found[:3]}"
        )
        refused = await chat.send_prompt(peer, chat.fake.prompt("more"), conversation_id=turn.conversation_id)
        expect_equal((await refused.finish()).get("code"), "not_found", "the answer to a message to it")
        there = {"message_id": turn.message_id, "conversation_id": turn.conversation_id}
        await chat.refusal(peer, "not_found", type="subscribe", **there)
        await chat.refusal(peer, "not_found", type="cancel", **there)
        # Without the conversation, too: a server may find the turn by another index, which the deletion
        # forgot.
        await chat.refusal(peer, "not_found", type="cancel", message_id=turn.message_id)


@case(
    "history/new",
    title="POST /chat/new makes an empty conversation",
    clause="HIST-6",
    severity=Severity.LOW,
    means="The button for a new chat does nothing.",
)
async def new(chat: CaseContext) -> None:
    answer = await chat.http.request("POST", chat.http.new_path)
    conversation = str(answer.member("conversation_id"))

    expect_equal(answer.status, 201, "the status")
    expect(
        re.fullmatch("[0-9a-f]{12}", conversation) is not None,
        "12 hexadecimal digits",
        f"it is {conversation!r}",
    )
    expect_equal(await chat.http.history(conversation), [], "its messages")
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(), conversation_id=conversation)
        expect_equal(turn.conversation_id, conversation, "the conversation of its first turn")


@case(
    "history/times",
    title="Times are UTC in RFC 3339",
    clause="HIST-7",
    severity=Severity.LOW,
    means="Chats are sorted and shown by the wrong hour.",
    needs=(SOCKET_TURN,),
)
async def times(chat: CaseContext) -> None:
    expect_object(chat, "conversation")
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt())
    answer = await chat.http.request("GET", chat.target.paths.of(turn.conversation_id))
    stamps = [answer.member("created_at"), answer.member("updated_at")]
    stamps += [each.get("created_at") for each in answer.member("messages")]
    for stamp in stamps:
        right = isinstance(stamp, str) and re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", stamp
        )
        expect(bool(right), "a time such as 2026-01-31T12:00:00Z", f"it is {stamp!r}")
        # A local time with a Z behind it has the right form: only a clock shows that the hour is wrong.
        age = abs(datetime.now().astimezone() - datetime.fromisoformat(stamp))
        expect(age < timedelta(minutes=5), "the time of this moment in UTC", f"it is {stamp!r}, {age} off")


@case(
    "history/steps",
    title="Thinking and tool calls are in history, in order, after a restart too",
    clause="HIST-8",
    severity=Severity.MEDIUM,
    means="After a reload nothing shows that Claude ran a command, or which.",
    needs=(SOCKET_TURN,),
    waits=True,
    slow=True,
)
async def steps(chat: CaseContext) -> None:
    async with chat.scripted_server(own=True) as scripted:
        async with scripted.peer() as peer:
            turn = await scripted.run_turn(peer, scripted.fake.prompt("play steps"))
        sent = steps_of_events(turn.events)
        # HIST-8 is about what was sent as an event: a server that sends none has nothing to keep.
        if not sent:
            raise NotOffered("the server sends neither thinking nor tool events")

        # Once more after a restart: what was only in memory is gone then.
        for when in ("after the turn", "after a restart"):
            answer = await scripted.http.last_message(turn.conversation_id)
            kept = [
                {name: step.get(name) for name in ("type", "at", *KEPT[step["type"]])}
                for step in answer.get("steps", [])
                if step.get("type") in KEPT
            ]
            expect(
                kept == sent,
                f"the steps in history to be {shorten_value(sent)}",
                f"{when} they are {shorten_value(kept)}",
            )
            if when == "after the turn":
                await scripted.server.restart()


def expect_object(chat: CaseContext, kind: str) -> None:
    """Not for servers whose documents of this kind are arrays, which have no members beside their one list.

    Raises:
        NotOffered: The target file says so.
    """
    if whole := chat.target.dialect.whole(kind):
        raise NotOffered(
            f"dialect.documents.{kind}: the document is the list of {whole}, and has no other members"
        )


KEPT = {"thinking": ("thinking",), "tool": ("id", "name", "state", "input", "result")}
"""Members of the steps that must be in history (HIST-8)."""


def steps_of_events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that history must have for the events of a turn without rewinds.

    Thinking without anything between is one step; the events of one tool call are one step at the place of the first.
    """
    # Theory: walk over the events and count code points. `at` is the length of the answer so far, `continues`
    # whether the event before was thinking as well, and `calls` finds the step of a call when its end comes,
    # however much later. Example: thinking "a", thinking "b", token "Hi", tool 7 started, token "!", tool 7
    # finished become [thinking "ab" at 0, tool 7 at 2], the tool's state being that of its end.
    found: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}
    at, continues = 0, False
    for event in events:
        match event.get("type"):
            case "token":
                at += len(event["token"])
            case "thinking" if continues:
                found[-1]["thinking"] += event["thinking"]
            case "thinking":
                found.append({"type": "thinking", "at": at, "thinking": event["thinking"]})
            case "tool":
                call = calls.get(event["id"])
                if call is None:
                    call = {"type": "tool", "at": at, "id": event["id"], "name": event["name"]}
                    call |= {"state": "", "input": "", "result": ""}
                    calls[event["id"]] = call
                    found.append(call)
                call["state"] = event["state"]
                # `failed` has a result as well: what went wrong.
                call["input" if event["state"] == "started" else "result"] = event["detail"]
            case _:
                pass
        continues = event.get("type") == "thinking"
    return found
