"""What clients may send, and how they are answered when they send something else."""

from __future__ import annotations

from typing import Any

from chat_conformance.cases.framing import Probe, answered
from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.wire.frames import Frame, Opcode
from chat_conformance.wire.peer import MASK

MIB = 1 << 20


@case(
    "messages/unknown-members",
    title="Members that the server does not know are ignored",
    clause="MSG-1",
    severity=Severity.LOW,
    means="Every newer page is refused by every older server.",
    needs=(ANSWERED,),
)
async def unknown_members(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        await chat.run_turn(peer, chat.fake.prompt(), from_the_future={"a": [1]})


@case(
    "messages/unknown-type",
    title="A message of an unknown type is answered, and the connection lives",
    clause="MSG-2",
    severity=Severity.MEDIUM,
    means="A page that is newer than its server loses its connection, or waits for an answer that never comes.",
    needs=("framing/ping",),
)
async def unknown_type(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        begin, name = len(peer.events), chat.next_id()
        await peer.send_json(type="no_such_type", message_id=name)
        await answered(chat, peer, Probe(name, b"", begin, None))
        await peer.expect_alive()


@case(
    "messages/refused",
    title="What a server refuses it refuses with an error, its code and a sentence",
    clause="MSG-2",
    severity=Severity.MEDIUM,
    means="The page cannot show people what went wrong, and programs cannot decide what to do.",
    needs=("messages/unknown-type",),
)
async def refused(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        await chat.refusal(peer, "bad_request", type="no_such_type", message_id=chat.next_id())


ID = "0123456789ab"
MALFORMED: dict[str, str | dict[str, Any]] = {
    "not JSON": "hello",
    "half of JSON": '{"type":"chat_request","message":"a"',
    "empty": "",
    "an array": "[]",
    "a number": "7",
    "null": "null",
    "no type": "{}",
    "a type that is no string": {"type": 7},
    "an unknown type": {"type": "no_such_type"},
    "a request without a message": {"type": "chat_request"},
    "a message that is no string": {"type": "chat_request", "message": ["a"]},
    "a conversation_id that is no string": {"type": "chat_request", "message": "a", "conversation_id": 1},
    "a subscribe without conversation": {"type": "subscribe"},
    "an after that is no number": {"type": "subscribe", "conversation_id": ID, "after": "x"},
    "a cancel without message_id": {"type": "cancel"},
    # Deeper than parsers that call themselves can go: they fail otherwise than for bad JSON.
    "deeply nested": "[" * 5000,
}


@case(
    "messages/malformed",
    title="A malformed message is answered with bad_request, and the connection lives",
    clause="MSG-2",
    severity=Severity.MEDIUM,
    means="A bug in one page ends connections, or vanishes without a word.",
    needs=("framing/ping", "messages/refused"),
)
async def malformed(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        for wrong in MALFORMED.values():
            begin = len(peer.events)
            await peer.send_text(peer.encode(**wrong) if isinstance(wrong, dict) else wrong)
            await chat.error(peer, "bad_request", begin)
        begin = len(peer.events)
        await peer.send_json(type="subscribe", conversation_id=ID, message_id="a", after=-1)
        _, event = await peer.expect_event(begin)
        refused = event.get("type") == "error" and event.get("code") in ("bad_request", "not_found", "reset")
        expect(
            refused,
            "an error for a negative after",
            f"it is {event}",
            # No clause says which comes first.
        )
        await peer.expect_alive()


@case(
    "messages/binary",
    title="A binary message is answered with bad_request, and the connection lives",
    clause="MSG-2",
    severity=Severity.LOW,
    means="A client that sends bytes gets silence.",
    needs=("framing/ping",),
)
async def binary(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        await peer.send(Frame(Opcode.BINARY, b'{"type":"chat_request","message":"a"}', mask=MASK))

        await chat.error(peer, "bad_request", 0)
        await peer.expect_alive()


@case(
    "messages/error-is-local",
    title="A bad message leaves a running turn and its connection alone",
    clause="MSG-3",
    severity=Severity.MEDIUM,
    means="One wrong click ends an answer that is being written.",
    needs=(STREAMS, "messages/empty"),
)
async def error_is_local(chat: CaseContext) -> None:
    async with chat.fake.gate("running") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        await chat.refusal(peer, "bad_request", type="no_such_type", message_id=chat.next_id())
        await chat.refusal(peer, "bad_request", type="chat_request", message="  ", message_id=chat.next_id())
        # Both refusals lie between two words of the answer: a turn that they ended would have only the first
        # two.
        gate.open()

        expect_equal(await turn.complete(), pieces(4), "the answer of the running turn")


@case(
    "messages/empty",
    title="An empty message is refused and starts nothing",
    clause="MSG-4",
    severity=Severity.MEDIUM,
    means="An empty prompt makes the CLI refuse, and the turn fails for no visible reason.",
    needs=("framing/ping",),
)
async def empty(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        # A no-break space and an em space are white space as well, and not ASCII.
        for message in ("", " ", "\n\t \r\n", "\u00a0\u2003"):
            error = await chat.refusal(
                peer, "bad_request", type="chat_request", message=message, message_id=(name := chat.next_id())
            )
            expect_equal(error.get("message_id"), name, "the message_id in the error")
        await peer.expect_alive()
    if chat.http.supports_post:
        answer = await chat.http.post("   ")
        expect_equal(answer.status, 400, "the status of a POST with an empty message")


@case(
    "messages/too-long",
    title="A message beyond the limit is refused as too_large, and the connection lives",
    clause="MSG-4",
    severity=Severity.MEDIUM,
    means="A large paste kills the connection, or the server.",
    needs=("framing/ping", "framing/two-mib"),
)
async def too_long(chat: CaseContext) -> None:
    limit = chat.target.message_max_bytes
    # The limit is in bytes of UTF-8: `€` has three, so by characters the second one is far below it.
    longer = {"one byte": "x" * (limit + 1), "by characters of three bytes": "€" * (limit // 3 + 1)}
    # A frame of this size has to be read (FRAME-3): so it is the message that is refused, and not the
    # connection.
    if limit < 2 * MIB:
        longer["2 MiB"] = "x" * (2 * MIB)
    async with chat.peer() as peer:
        for message in longer.values():
            error = await chat.refusal(
                peer, "too_large", type="chat_request", message=message, message_id=(name := chat.next_id())
            )
            expect_equal(error.get("message_id"), name, "the message_id in the error")
        await peer.expect_alive()


@case(
    "messages/one-mib",
    title="A message of 1 MiB reaches Claude whole",
    clause="MSG-4",
    severity=Severity.MEDIUM,
    means="Long pastes, which people do send, fail or arrive cut.",
    needs=(ANSWERED, "framing/two-mib"),
)
async def one_mib(chat: CaseContext) -> None:
    prompt = chat.fake.prompt(tokens=2) + " "
    # Exactly 1 MiB, with a mark at its very end, which a prompt that was cut has not got.
    prompt += "y" * (MIB - len(prompt) - 3) + "END"
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, prompt)

        expect_equal(turn.text, pieces(2), "the answer")
        expect_equal(chat.fake.prompt_count("yyyEND"), 1, "how often Claude was given the end of the message")


@case(
    "messages/unknown-conversation",
    title="A conversation that does not exist is not_found, on every route",
    clause="MSG-5",
    severity=Severity.MEDIUM,
    means="A typo or a deleted chat silently becomes a new one, or a traceback.",
    needs=("framing/ping",),
)
async def unknown_conversation(chat: CaseContext) -> None:
    nowhere = f"{chat.random.getrandbits(48):012x}"
    async with chat.peer() as peer:
        # An error is not enough: one that names no message cannot be matched by a page with two in flight
        # (MSG-6).
        requests: list[dict[str, Any]] = [
            {"type": "chat_request", "message": chat.fake.prompt(), "message_id": chat.next_id()},
            {"type": "subscribe", "message_id": chat.next_id()},
            {"type": "subscribe"},
        ]
        for members in requests:
            error = await chat.refusal(peer, "not_found", **members, conversation_id=nowhere)
            if named := members.get("message_id"):
                expect_equal(error.get("message_id"), named, "the message_id in the error")
        await peer.expect_alive()
    for method in ("GET", "DELETE"):
        answer = await chat.http.request(method, chat.target.paths.of(nowhere))
        expect_equal(
            (answer.status, answer.member("error").get("code")), (404, "not_found"), f"the answer to {method}"
        )
    if chat.http.supports_post:
        posted = await chat.http.post(chat.fake.prompt(), conversation_id=nowhere)
        expect_equal(posted.status, 404, "the status of a POST")
    expect_equal(len(chat.fake.runs()), 0, "the number of times Claude was started")


@case(
    "messages/misshapen-conversation",
    title="A conversation_id of another shape is refused",
    clause="MSG-5",
    severity=Severity.MEDIUM,
    means="Ids that are paths or SQL reach the file system or the store.",
    needs=("framing/ping", "messages/refused"),
)
async def misshapen_conversation(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        # The last one ends in a line break, which `$` in a regular expression lets pass.
        for wrong in (
            "",
            "0123456789a",
            "0123456789abc",
            "0123456789AB",
            "../../../etc",
            "' or 1=1 --",
            "0123456789a\n",
        ):
            begin = len(peer.events)
            await peer.send_json(type="chat_request", message=chat.fake.prompt(), conversation_id=wrong)
            _, event = await peer.expect_event(begin)
            refused = event.get("type") == "error" and event.get("code") in ("bad_request", "not_found")
            expect(refused, f"bad_request or not_found for {wrong!r}", f"it is {event}")


@case(
    "messages/id-chosen",
    title="Without a message_id the server chooses one",
    clause="MSG-6",
    severity=Severity.MEDIUM,
    means="Clients that send no id cannot know which answer is theirs.",
    needs=(ANSWERED,),
)
async def id_chosen(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        await peer.send_json(type="chat_request", message=chat.fake.prompt())
        _, event = await peer.expect_event()
        chosen = event.get("message_id")

        named = event.get("type") == "accepted" and isinstance(chosen, str) and 1 <= len(chosen) <= 64
        expect(named, "accepted with a message_id", f"it is {event}")


@case(
    "messages/id-misshapen",
    title="A message_id of another shape is refused",
    clause="MSG-6",
    severity=Severity.LOW,
    means="Ids of any size and kind end up in the store and in every event.",
    needs=("framing/ping",),
)
async def id_misshapen(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        # `ä` is a letter, and passes where letters of all scripts do; `a\n` passes a pattern that ends in
        # `$`.
        for wrong in ("", "x" * 65, "a b", "a/b", "ä", "a\n"):
            await chat.refusal(
                peer, "bad_request", type="chat_request", message=chat.fake.prompt(), message_id=wrong
            )
    expect_equal(len(chat.fake.runs()), 0, "the number of times Claude was started")
