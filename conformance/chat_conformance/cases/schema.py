"""Whether what a server sends is valid by the protocol's schema, also where no other case looks."""

from __future__ import annotations

from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect
from chat_conformance.wire.contract import current_breaches


@case(
    "messages/schema",
    title="Messages and documents of all kinds are valid by the protocol's schema",
    clause="MSG-7",
    severity=Severity.MEDIUM,
    means="A client that is generated from the schema fails on a member that no other client looks at.",
    needs=("history/socket-turn",),
)
async def schema(chat: CaseContext) -> None:
    # The script has what plain prompts do not bring about: thinking, tools and a rewind.
    if chat.target.starts:
        async with chat.scripted_server() as scripted, scripted.peer() as peer:
            for played in ("play steps", "play broken-otherwise"):
                turn = await scripted.run_turn(peer, scripted.fake.prompt(played))
                await scripted.http.history(turn.conversation_id)
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt())
        again = await chat.follow(peer, turn.conversation_id, turn.message_id)
        await (await again.begin()).completed()
        failed = await chat.start_turn(peer, chat.fake.prompt(tokens=1, exit=3))
        await failed.finish()
        await chat.http.history(failed.conversation_id)
        await chat.refusal(peer, "bad_request", type="no_such_type", message_id=chat.next_id())
    paths = chat.target.paths
    for path in filter(None, (paths.history, paths.usage, paths.of("0" * 12))):
        await chat.http.request("GET", path)
    if chat.http.supports_post:
        await chat.http.post(chat.fake.prompt())
    if paths.new:
        await chat.http.request("POST", paths.new)
    # All that was read has been held to the schema as it came: this only collects what was found.
    broken = current_breaches()
    expect(not broken, "all messages and documents to be valid by the schema", "; ".join(map(str, broken)))
