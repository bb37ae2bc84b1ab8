"""One user, or a client without a login, takes what others need: connections, processes, time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

from chat_conformance.cases.turns import ANSWERED
from chat_conformance.errors import Failure
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.latency import PATIENCE, percentile, pinging
from chat_conformance.suite.pour import pouring
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_conformance.wire.handshake import encode_request
from chat_conformance.wire.peer import MASK, Peer

HEALTHY = "http/health"
IDLERS = 20
HALF = b"GET /chat/ws HTTP/1.1\r\nHost: chat\r\nX-Half: "
"""The beginning of a header that never ends."""


async def closed_in_time(chat: CaseContext, peers: list[Peer], seconds: float) -> None:
    """Wait until the server has closed these connections, and ask whether it is well."""
    for peer in peers:
        await peer.until(
            partial(getattr, peer, "ended"),
            f"the connection to be closed after {seconds:g} s",
            within=seconds + chat.target.within,
        )
    await chat.http.expect_alive("after all of them")


@case(
    "robustness/silent-connection",
    title="A connection on which nothing is sent is closed in the stated time",
    clause="HAND-5",
    severity=Severity.MEDIUM,
    means="A few hundred connections that send nothing use up the server's file descriptors: no other user gets in.",
    needs=(HEALTHY,),
    waits=True,
)
async def silent_connection(chat: CaseContext) -> None:
    async with chat.variant("header") as timed, AsyncExitStack() as stack:
        header = chat.target.variants.header
        assert header is not None
        loop = asyncio.get_running_loop()
        begun = loop.time()
        silent = [await stack.enter_async_context(timed.connector.wire()) for _ in range(IDLERS)]
        await closed_in_time(timed, silent, header.seconds)
        # To close at once would pass all of the above, and lock out everybody whose network is slow.
        early = loop.time() - begun
        expect(
            early > header.seconds / 2, "the stated time to be given", f"all were closed after {early:.2g} s"
        )


@case(
    "robustness/half-header",
    title="A connection whose header is never complete is closed in the stated time, however slowly it continues",
    clause="HAND-5",
    severity=Severity.MEDIUM,
    means="Anybody can hold the server's connections and memory for ever with a byte now and then.",
    needs=(HEALTHY,),
    waits=True,
)
async def half_header(chat: CaseContext) -> None:
    async with chat.variant("header") as timed, AsyncExitStack() as stack:
        header = chat.target.variants.header
        assert header is not None
        halves = [await stack.enter_async_context(timed.connector.wire()) for _ in range(IDLERS)]
        for peer in halves:
            peer.break_rules()
            await peer.send_bytes(HALF)
        # One of them continues, ten times within the time that is allowed: a timeout that starts again with
        # each byte never comes. The others stand still.
        drops = asyncio.create_task(drip(halves[0], header.seconds / 10))
        try:
            await closed_in_time(timed, halves, header.seconds)
        finally:
            drops.cancel()
            await asyncio.gather(drops, return_exceptions=True)


async def drip(peer: Peer, pause: float) -> None:
    """Send more of the header, a byte at a time."""
    while peer.ended is None:
        await asyncio.sleep(pause)
        await peer.send_bytes(b"x")


# How much later pongs may come than on a quiet server, of 99 of a hundred (TURN-10).
LATE = 0.05
# How long pings are measured, in seconds.
LONG = 1.0
# A machine may be busy with other things.
ROUNDS = 3
# Just below 2 MiB, which every server takes (FRAME-3).
OBJECTS = b'{"type":"chat_request","message":" ","x":[' + b"{}," * 699_000 + b"{}]}"
ZEROS = 1 << 20
# Blocks of zeros in a compressed body.
BLOCKS = 1024
# How many connections send one kind of flood.
EACH = 3
UNFINISHED = 40
# Answers of 1 MiB in one conversation.
LARGE_ANSWERS = 16
# What every server takes (FRAME-3).
HALF_BYTES = 2 * 2**20


async def others_are_served(
    chat: CaseContext, what: str, *floods: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    """Ping on a connection of its own, on the quiet server and during the floods; one good round is enough.

    The pings have begun when the floods do: what stands still but once, at their beginning, is seen, too.

    Raises:
        Failure: In each round the pongs came too late.
    """
    worst: list[str] = []
    # What counts is the difference to the quiet server, which is measured right before. So a slow machine,
    # which is slow in both, does not fail the case, and a server that stands still during a flood does.
    for _ in range(ROUNDS):
        quiet = await late(chat)
        # It is still busy with the round before.
        if quiet >= PATIENCE and worst:
            break
        expect(quiet < PATIENCE, "a quiet server to answer pings", f"not within {PATIENCE:g} s")
        during = await late(chat, *floods)
        came = f"{1000 * during:.0f} ms, and {1000 * quiet:.0f} ms before"
        if during - quiet <= LATE:
            saw(f"others' pongs (99 % of them) came after {came}, while one user sent {what}")
            return
        worst.append(came)
    raise Failure(
        f"others' pongs within {1000 * LATE:.0f} ms of a quiet server's (99 % of them) while one user sends {what}",
        f"in {len(worst)} rounds they came after {'; '.join(worst)}",
    )


async def late(chat: CaseContext, *floods: Callable[[], AbstractAsyncContextManager[None]]) -> float:
    """How late the pongs come during the floods, 99 % of them; without a connection, as if none came."""
    try:
        async with (
            pinging(chat.server.host, chat.server.port, chat.connector.handshake_bytes(), LONG) as latencies,
            AsyncExitStack() as stack,
        ):
            for flood in floods:
                await stack.enter_async_context(flood())
            return percentile(await latencies(), 99)
    except ConnectionError as error:
        chat.trace.add("pings", "=", str(error))
        return PATIENCE


def flood(
    chat: CaseContext, data: bytes, *, opening: bytes | None = None, again: bool = True, whole: bool = False
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A connection that sends this: a WebSocket, unless another opening is given."""
    begin = chat.connector.handshake_bytes() if opening is None else opening
    return partial(pouring, chat.server.host, chat.server.port, begin, data, again=again, whole=whole)


@case(
    "robustness/frame-flood",
    title="Floods of empty messages, fragments and pings do not delay others",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="One script in one tab makes everybody else's chat stand still.",
    needs=(HEALTHY,),
    slow=True,
)
async def frame_flood(chat: CaseContext) -> None:
    kinds = {
        "fragments": [
            Frame(Opcode.TEXT, b"", fin=False, mask=MASK),
            *[Frame(Opcode.CONTINUATION, b"", fin=False, mask=MASK)] * 40_000,
        ],
        "messages": [Frame(Opcode.TEXT, b"", mask=MASK)] * 40_000,
        "pings": [Frame(Opcode.PING, b"", mask=MASK)] * 40_000,
    }
    async with chat.scripted_server(own=True) as own:
        # Encoded once, and in advance: else the suite would be slower than the server that it wants to flood.
        floods = [flood(own, b"".join(map(encode_frame, frames))) for frames in kinds.values()]
        await others_are_served(own, "frames without pause", *floods * EACH)


@case(
    "robustness/large-json",
    title="Large JSON messages do not delay others",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="A message of a few megabytes makes everybody else's chat stand still for a second.",
    needs=(HEALTHY,),
    slow=True,
)
async def large_json(chat: CaseContext) -> None:
    async with chat.scripted_server(own=True) as own:
        message = encode_frame(Frame(Opcode.TEXT, OBJECTS, mask=MASK))
        await others_are_served(own, "large messages", *[flood(own, message, again=False)] * EACH)


@case(
    "http/compressed-body",
    title="A compressed body that was not asked for does not delay others",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="A client without a login stops the server for seconds with one request of a megabyte.",
    needs=(HEALTHY,),
    slow=True,
)
async def compressed_body(chat: CaseContext) -> None:
    # 31: a window of 15 bits, and 16 for the header of gzip. 1 GiB of zeros is one block of 1 MiB sent 1,024
    # times, so the suite never has more than the compressed bytes in memory.
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = squeeze.compress(b"x") + squeeze.flush(zlib.Z_FULL_FLUSH)
    # A flushed block can be repeated as often as wanted.
    block = squeeze.compress(bytes(ZEROS)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    body = head + block * BLOCKS
    async with chat.scripted_server(own=True) as own:
        request = encode_request(
            own.target.paths.turn or own.http.new_path,
            {
                "Host": f"{own.server.host}:{own.server.port}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Encoding": "gzip",
                "Content-Length": str(len(body)),
            },
            method="POST",
        )
        bomb = flood(own, request + body, opening=b"", again=False)
        await others_are_served(own, "compressed bodies without a login", bomb, bomb)


@case(
    "robustness/large-history",
    title="Reading a very large conversation does not delay others",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="A user who opens a chat with long answers stalls all other chats.",
    needs=(HEALTHY, "history/socket-turn"),
    slow=True,
)
async def large_history(chat: CaseContext) -> None:
    async with chat.scripted_server(own=True) as own, own.peer() as peer:
        turn = await own.run_turn(peer, own.fake.prompt("play 1-mib"))
        for _ in range(LARGE_ANSWERS - 1):
            await own.run_turn(peer, own.fake.prompt("play 1-mib"), conversation_id=turn.conversation_id)
        # `Connection: close`, since the flood takes the end of the connection for the end of the answer
        # (whole=True).
        request = encode_request(
            own.target.paths.of(turn.conversation_id),
            {"Host": f"{own.server.host}:{own.server.port}", "Connection": "close", **own.user(0).headers},
        )
        reader = flood(own, request, opening=b"", again=False, whole=True)
        await others_are_served(own, "requests for a conversation of 16 MiB", *[reader] * EACH)


@case(
    "robustness/half-messages",
    title="Messages that are never finished cost a bounded amount of memory",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="One user fills the server's memory with messages that never end.",
    needs=("framing/two-mib",),
    waits=True,
    slow=True,
)
async def half_messages(chat: CaseContext) -> None:
    half = encode_frame(Frame(Opcode.TEXT, bytes(HALF_BYTES), fin=False, mask=MASK))
    async with chat.scripted_server(own=True) as own, AsyncExitStack() as stack:
        before = own.server.memory()
        for _ in range(UNFINISHED):
            peer = await stack.enter_async_context(own.connector.wire())
            peer.break_rules()
            if (await own.connector.upgrade(peer)).status != 101:
                # The server allows a user no more connections.
                break
            await peer.send_bytes(half, f"half a message of {HALF_BYTES:,} bytes")
            # Legal between fragments (RFC 6455 §5.4): its pong shows that the server has read the half
            # message and keeps it.
            await peer.send(Frame(Opcode.PING, b"", mask=MASK))
            await peer.until(
                lambda peer=peer: (  # type: ignore[misc]  # mypy cannot infer it
                    peer.ended or any(frame.opcode == Opcode.PONG for _, frame in peer.frames) or None
                ),
                "a pong, or the end of the connection",
            )
        await own.http.expect_alive("after all of them")
        grown = own.server.memory() - before
    # Half of what they would take without a bound: far above what a server's own buffers add.
    expect(
        grown < UNFINISHED * HALF_BYTES // 2,
        f"less than half of {UNFINISHED} unfinished messages of {HALF_BYTES >> 20} MiB in memory",
        f"the server has grown by {grown >> 20} MiB",
    )


@case(
    "robustness/one-user-takes-all",
    title="A user whose turns are silent has a limited number at once; others are answered",
    clause="LIMIT-8",
    severity=Severity.MEDIUM,
    means="One user takes every Claude for ten minutes, and the others pay for being refused.",
    needs=(ANSWERED,),
)
async def one_user_takes_all(chat: CaseContext) -> None:
    async with chat.variant("concurrent_turns") as bounded, bounded.fake.gate("many") as gate:
        limit = chat.target.variants.concurrent_turns
        assert limit is not None
        async with bounded.peer() as greedy, bounded.peer(user=1) as other:
            prompt = bounded.fake.prompt(tokens=1, hold=gate.name)
            running = [await bounded.start_turn(greedy, prompt) for _ in range(limit.limit)]
            for _ in range(3):
                await bounded.refusal(
                    greedy, "busy", type="chat_request", message=prompt, message_id=bounded.next_id()
                )
            turn = await bounded.run_turn(other, bounded.fake.prompt(say="hello"))
            expect_equal(turn.text, "hello", "the other user's answer")
            gate.open(limit.limit)
            for each in running:
                await each.completed()
            await bounded.run_turn(greedy, bounded.fake.prompt(say="and on"))


@case(
    "robustness/in-line",
    title="When every Claude answers, turns wait in line, users with fewer go first, and a stop works at once",
    clause="LIMIT-9",
    severity=Severity.MEDIUM,
    means="A few busy users, and everybody else is refused; or waits behind their next questions.",
    needs=(ANSWERED,),
)
async def in_line(chat: CaseContext) -> None:
    async with (
        chat.variant("processes") as full,
        AsyncExitStack() as stack,
        full.peer() as greedy,
        full.peer(user=1) as other,
        full.peer(user=2) as third,
    ):
        limit = chat.target.variants.processes
        assert limit is not None
        # The order that LIMIT-9 asks for, played with as many gates as there are places. One user holds all
        # places and waits for one more; a third user waits, and stops; then the other user comes, last. The
        # first place that falls free is the other's, who has no turn: with first come, first served, it would
        # be the greedy one's.
        gates = [await stack.enter_async_context(full.fake.gate(f"place{n}")) for n in range(limit.limit)]
        running = []
        for gate in gates:
            running.append(await full.start_turn(greedy, full.fake.prompt(tokens=1, hold=gate.name)))
            await full.fake.wait_at_gate(gate)
        more = await stack.enter_async_context(full.fake.gate("more"))
        waiting = await full.start_turn(greedy, full.fake.prompt(tokens=1, hold=more.name))
        stopped = await full.start_turn(third, full.fake.prompt(say="too late"))
        turn = await full.start_turn(other, full.fake.prompt(say="hello"))

        await third.send_json(
            type="cancel", message_id=stopped.message_id, conversation_id=stopped.conversation_id
        )
        await stopped.completed()
        expect_equal(stopped.text, "", "the answer to what was stopped while it waited")

        # One place only: if all fell free at once, no order would show.
        gates[0].open()
        await running[0].completed()
        expect_equal(await turn.complete(), "hello", "the answer to the user who has no turn")
        await full.fake.wait_at_gate(more)
        for gate in (more, *gates[1:]):
            gate.open()
        for each in (waiting, *running[1:]):
            await each.completed()


@case(
    "limits/new",
    title="Empty conversations are limited like turns",
    clause="LIMIT-1",
    severity=Severity.LOW,
    means="A loop fills the database of all with empty conversations.",
    needs=("limits/hour",),
)
async def new_is_limited(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited:
        limit = chat.target.variants.requests_per_hour
        assert limit is not None
        # LIMIT-1: in an hour no more empty conversations than turns, so number limit + 1 is one too many.
        answers = [await limited.http.request("POST", chat.http.new_path) for _ in range(limit.limit + 1)]
        statuses = [each.status for each in answers]
        expect_equal(
            (statuses[0], statuses[-1]),
            (201, 429),
            f"the statuses of the first and of number {len(statuses)}",
        )
        expect("retry-after" in answers[-1].headers, "a Retry-After with the 429", f"{answers[-1].headers}")
