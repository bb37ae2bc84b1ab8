"""The reference server with one thing broken at its doors: who is let in, what may be said, what is told and listed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp.http_websocket
import aiohttp.web
import msgspec
from aiohttp import hdrs

import chat_server.app
import chat_server.errors
import chat_server.frames
import chat_server.login.identity
import chat_server.login.oauth
import chat_server.protocol
import chat_server.store.store
import chat_server.turns.event_log
import chat_server.turns.manager
import chat_server.web.connection
import chat_server.web.handlers
import chat_server.web.keys
import chat_server.web.middleware
import chat_server.web.responses
from chat_conformance.mutants.registry import always, breaks, put, replace, replace_handler
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_server.errors import BadRequest, Forbidden, NotFound, RateLimited, Reset, TooLarge
from chat_server.protocol import ChatRequest
from chat_server.settings import Settings
from chat_server.store.schema import turns
from chat_server.store.store import Store
from chat_server.turns.event_log import TurnLog
from chat_server.turns.manager import Turns
from chat_server.turns.steps import StepRecorder
from chat_server.web.connection import Connection


@breaks("post-origin-unchecked")
def posts_from_anywhere() -> None:
    """Only who opens a WebSocket is asked for its origin."""
    put(
        chat_server.web.middleware,
        "check_origin",
        lambda old: lambda request, own: request.method != "GET" or old(request, own),
    )


@breaks("own-origin-refused")
def own_page_is_foreign() -> None:
    """Whoever has an origin is foreign."""

    def check_origin(request: Any, _own: Any) -> None:
        if hdrs.ORIGIN in request.headers:
            raise Forbidden("requests of pages are not taken")

    put(chat_server.web.middleware, "check_origin", lambda _: check_origin)


@breaks("no-subprotocol")
def selects_nothing() -> None:
    """No subprotocol is selected."""
    put(chat_server.web.handlers, "SUBPROTOCOLS", lambda _: ())


@breaks("short-pongs")
def short_pongs() -> None:
    """A pong has at most half of what a ping may have."""
    put(aiohttp.web.WebSocketResponse, "pong", lambda old: lambda self, data: old(self, data[:62]))


@breaks("masks-its-frames")
def masks_its_frames() -> None:
    """Frames of the server are masked, with a key of zeros."""

    def text_frame(payload: bytes) -> bytes:
        return encode_frame(Frame(Opcode.TEXT, payload, mask=bytes(4)))

    put(chat_server.web.connection, "text_frame", lambda _: text_frame)
    put(chat_server.turns.event_log, "text_frame", lambda _: text_frame)


@breaks("complete-sent-twice")
def ends_twice() -> None:
    """The end of a turn is told twice."""

    def make(write: Any) -> Any:
        def mutant(self: Connection, frame: bytes) -> None:
            write(self, frame)
            if b'"type":"complete"' in frame:
                write(self, frame)

        return mutant

    put(Connection, "_write", make)


@breaks("seq-per-connection")
def seq_of_the_connection() -> None:
    """Seq counts what a connection was sent, over all its turns."""
    sent: dict[Connection, int] = {}

    def make(write: Any) -> Any:
        def mutant(self: Connection, frame: bytes) -> None:
            event = json.loads(frame[frame.index(b"{") :]) if b'"seq":' in frame else None
            if event is not None:
                event["seq"] = sent[self] = sent.get(self, 0) + 1
                frame = chat_server.frames.text_frame(json.dumps(event).encode())
            write(self, frame)

        return mutant

    put(Connection, "_write", make)


@breaks("post-without-ids")
def posts_without_names() -> None:
    """A POST is answered with the answer alone."""

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            status, document = outcome(log)
            return status, {key: value for key, value in document.items() if not key.endswith("_id")}

        return mutant

    put(chat_server.web.handlers, "outcome", make)


@breaks("proxy-user-refused")
def no_name_is_good() -> None:
    """The proxy names nobody who may use the chat."""
    put(chat_server.login.identity, "USER", lambda _: SimpleNamespace(fullmatch=lambda _name: None))


@breaks("no-user-admitted")
def nobody_may_log_in() -> None:
    """The list of users is empty."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), users=("nobody",)),
    )


@breaks("user-list-ignored")
def everybody_may_log_in() -> None:
    """The list of users is not looked at."""
    put(chat_server.login.oauth.OAuthIdentity, "_may", always(True))


# --- handshakes and frames


@breaks("subprotocol-not-offered")
def selects_what_nobody_offered() -> None:
    """The subprotocol is there whatever was offered."""

    def make(add_headers: Any) -> Any:
        async def mutant(request: Any, response: Any) -> None:
            await add_headers(request, response)
            if response.status == 101:
                response.headers.setdefault(hdrs.SEC_WEBSOCKET_PROTOCOL, "chat-stream-v1")

        return mutant

    put(chat_server.app, "add_headers", make)


def before_prepare(check: Any) -> None:
    """Look at a request before it becomes a WebSocket."""

    def make(prepare: Any) -> Any:
        async def mutant(self: Any, request: Any) -> Any:
            check(request)
            return await prepare(self, request)

        return mutant

    put(aiohttp.web.WebSocketResponse, "prepare", make)


@breaks("connection-header-exact")
def one_spelling() -> None:
    """Connection must be Upgrade and nothing else."""

    def check(request: Any) -> None:
        if request.headers.get(hdrs.CONNECTION, "Upgrade") != "Upgrade":
            raise BadRequest("no upgrade is asked for")

    before_prepare(check)


@breaks("non-ascii-key-is-503")
def keys_are_ascii() -> None:
    """A key of other bytes is taken for one in base64."""
    put(chat_server.web.handlers, "_check_key", lambda _: lambda _request: None)


@breaks("wrong-version-is-400")
def any_fault_is_400() -> None:
    """Which version is understood is not told."""

    def make(error_answer: Any) -> Any:
        def mutant(error: Any, status: Any = None, headers: Any = None) -> Any:
            return error_answer(error) if status == 426 else error_answer(error, status, headers)

        return mutant

    for module in (chat_server.web.handlers, chat_server.web.middleware):
        put(module, "error_answer", make)


@breaks("ambiguous-handshake-accepted")
def any_handshake_will_do() -> None:
    """Of two keys the first counts, and HTTP/1.0 is as good as HTTP/1.1."""
    put(chat_server.web.handlers, "check_handshake", always(None))


@breaks("any-close-code-accepted")
def any_code_is_a_goodbye() -> None:
    """Close codes beyond those that may be used are answered like any other."""
    put(chat_server.web.connection, "LAST_CODE", lambda _: 65_535)


@breaks("one-mib-frame-limit")
def frames_of_one_mib() -> None:
    """A frame may have a MiB and no more."""
    put(
        aiohttp.web,
        "WebSocketResponse",
        lambda old: lambda *args, **kw: old(*args, **{**kw, "max_msg_size": 1 << 20}),
    )


@breaks("no-pong-during-turn")
def pongs_wait_for_turns() -> None:
    """While a turn runs, pings are not answered."""
    running: list[Turns] = []

    def make_init(init: Any) -> Any:
        def mutant(self: Turns, *args: Any, **kw: Any) -> None:
            init(self, *args, **kw)
            running.append(self)

        return mutant

    def make(pong: Any) -> Any:
        async def mutant(self: Any, data: bytes) -> None:
            while any(turns.running for turns in running):  # noqa: ASYNC110 - a mutant may be crude
                await asyncio.sleep(0.01)
            await pong(self, data)

        return mutant

    put(Turns, "__init__", make_init)
    put(aiohttp.web.WebSocketResponse, "pong", make)


@breaks("frame-after-close")
def talks_after_the_close() -> None:
    """A ping follows the close frame."""

    def make(close: Any) -> Any:
        async def mutant(self: Any, *args: Any, **kw: Any) -> None:
            await close(self, *args, **kw)
            self.transport.write(chat_server.frames.PING)

        return mutant

    put(aiohttp.http_websocket.WebSocketWriter, "close", make)


@breaks("message-after-close-obeyed")
def obeys_after_the_close() -> None:
    """What came in one piece with a close is obeyed."""

    def make(receive: Any) -> Any:
        async def mutant(self: Any) -> Any:
            message = await receive(self)
            behind = self._reader._buffer if message.type is aiohttp.WSMsgType.CLOSE else ()  # noqa: SLF001
            return behind.popleft()[0] if behind else message

        return mutant

    put(aiohttp.web.WebSocketResponse, "receive", make)


# --- messages


def first_read(look: Any) -> None:
    """Look at a message of a client before it is obeyed."""

    def make(decode: Any) -> Any:
        def mutant(text: str, *most: int) -> Any:
            message = decode(text, *most)
            look(message, text)
            return message

        return mutant

    put(chat_server.web.connection, "decode_client", make)


@breaks("unknown-member-refused")
def strict_about_members() -> None:
    """A member that is not known is refused."""

    def look(message: Any, text: str) -> None:
        if unknown := json.loads(text).keys() - {"type", *message.__struct_fields__}:
            raise BadRequest(f"unknown members: {unknown}")

    first_read(look)


@breaks("message-id-required")
def ids_are_wanted() -> None:
    """A chat_request must name its message."""

    def look(message: Any, _text: str) -> None:
        if isinstance(message, ChatRequest) and message.message_id is None:
            raise BadRequest("message_id is missing")

    first_read(look)


@breaks("bad-message-closes")
def hangs_up_on_nonsense() -> None:
    """Who says what is not understood is thrown out."""

    def make(obey: Any) -> Any:
        async def mutant(self: Connection, text: str) -> None:
            try:
                chat_server.protocol.decode_client(text)
            except BadRequest:
                self._transport.abort()
            await obey(self, text)

        return mutant

    put(Connection, "_handle", make)


@breaks("non-object-ignored")
def no_object_is_no_message() -> None:
    """JSON that is no object is passed over in silence."""

    def make(obey: Any) -> Any:
        async def mutant(self: Connection, text: str) -> None:
            if not text.startswith(("[", "7", "null")):
                await obey(self, text)

        return mutant

    put(Connection, "_handle", make)


@breaks("wrong-error-code")
def refuses_in_other_words() -> None:
    """The code of a refusal is not that of the protocol."""

    def make(refusal: Any) -> Any:
        def mutant(error: Any, message_id: Any) -> Any:
            told = refusal(error, message_id)
            code = "invalid" if told.code == "bad_request" else told.code
            return msgspec.structs.replace(told, code=code)

        return mutant

    put(chat_server.web.connection, "refusal", make)


@breaks("binary-message-closes")
def hangs_up_on_bytes() -> None:
    """Who sends bytes is thrown out."""

    def make(refusal: Any) -> Any:
        def mutant(error: Any, *args: Any) -> Any:
            if "binary" in error.message:
                raise ConnectionError
            return refusal(error, *args)

        return mutant

    put(chat_server.web.connection, "refusal", make)


@breaks("bad-message-cancels-turn")
def nonsense_stops_turns() -> None:
    """Who says what is not understood loses the answers that are being written."""

    def make(obey: Any) -> Any:
        async def mutant(self: Connection, text: str) -> None:
            try:
                chat_server.protocol.decode_client(text)
            except BadRequest:
                for turn in self._turns._recent.values():  # noqa: SLF001 - mutants reach in
                    if turn.log in self._cursors:
                        turn.stop()
            await obey(self, text)

        return mutant

    put(Connection, "_handle", make)


@breaks("blank-message-accepted")
def space_is_a_message() -> None:
    """Only a message without a character is empty."""

    def make(check: Any) -> Any:
        def mutant(self: Turns, message: str) -> None:
            check(self, "x" if message and not message.strip() else message)

        return mutant

    put(Turns, "_check", make)


@breaks("no-message-limit")
def any_length() -> None:
    """A message may be as long as frames can be."""

    def make(check: Any) -> Any:
        def mutant(self: Turns, message: str) -> None:
            with contextlib.suppress(TooLarge):
                check(self, message)

        return mutant

    put(Turns, "_check", make)


def starting(make_start: Any) -> None:
    """Change how a turn is started."""

    def make(start: Any) -> Any:
        async def mutant(
            self: Turns,
            owner: str,
            message: str,
            message_id: str | None = None,
            conversation_id: str | None = None,
        ) -> Any:
            return await make_start(self, start, owner, message, message_id, conversation_id)

        return mutant

    put(Turns, "start", make)


@breaks("unknown-conversation-accepted")
def nowhere_is_new() -> None:
    """A message to a conversation that is not there begins one."""

    async def start(self: Turns, old: Any, owner: str, message: str, *ids: Any) -> Any:
        try:
            return await old(self, owner, message, *ids)
        except NotFound:
            return await old(self, owner, message, ids[0])

    starting(start)


@breaks("malformed-conversation-accepted")
def misshapen_is_new() -> None:
    """A conversation_id of another shape is none."""

    def make(check_ids: Any) -> Any:
        return lambda message_id, _conversation_id: check_ids(message_id, None)

    async def start(self: Turns, old: Any, owner: str, message: str, *ids: Any) -> Any:
        message_id, where = ids
        shaped = where is not None and chat_server.protocol.CONVERSATION_ID.fullmatch(where)
        return await old(self, owner, message, message_id, where if shaped else None)

    put(chat_server.protocol, "check_ids", make)
    starting(start)


@breaks("malformed-id-accepted")
def any_id() -> None:
    """A message_id may be anything."""
    for module in (chat_server.protocol, chat_server.turns.manager):
        put(module, "check_ids", lambda old: lambda _message_id, conversation_id: old(None, conversation_id))


@breaks("busy-waits")
def waits_where_it_is_busy() -> None:
    """A message to a conversation that is answering waits for its turn."""

    async def start(self: Turns, old: Any, owner: str, message: str, *ids: Any) -> Any:
        message_id, where = ids
        turn = self._running.get(where)
        if turn is not None and turn.owner == owner and turn.log.accepted.message_id != message_id:
            await asyncio.wait([turn.ended])
        return await old(self, owner, message, *ids)

    starting(start)


@breaks("message-ids-global")
def ids_are_for_all() -> None:
    """A message_id that somebody else has used means their turn."""
    known: dict[str, tuple[str, Any]] = {}

    async def start(self: Turns, old: Any, owner: str, message: str, *ids: Any) -> Any:
        first, log = known.get(ids[0], (owner, None))
        if first != owner:
            return log
        log = await old(self, owner, message, *ids)
        if ids[0] is not None:
            known.setdefault(ids[0], (owner, log))
        return log

    starting(start)


# --- turns as they are told


def told(change: Any) -> None:
    """Change the events of turns as a connection sends them."""

    def make(write: Any) -> Any:
        def mutant(self: Connection, frame: bytes) -> None:
            if b'"message_id":' in frame:
                event = json.loads(frame[frame.index(b"{") :])
                change(self, event)
                frame = chat_server.frames.text_frame(json.dumps(event).encode())
            write(self, frame)

        return mutant

    put(Connection, "_write", make)


@breaks("token-without-conversation")
def tokens_of_no_conversation() -> None:
    """A token names its message only."""
    told(lambda _, event: event.pop("conversation_id") if event["type"] == "token" else None)


@breaks("token-of-latest-turn")
def named_after_the_latest() -> None:
    """All that a connection is told belongs to the turn that was accepted last."""
    latest: dict[Connection, str] = {}

    def change(connection: Connection, event: dict[str, Any]) -> None:
        if event["type"] == "accepted":
            latest[connection] = event["message_id"]
        elif event["type"] == "token":
            event["message_id"] = latest[connection]

    told(change)


@breaks("later-turns-not-followed")
def later_turns_are_not_told() -> None:
    """Who follows a conversation is told of the turn that runs, and of no later one."""
    put(Turns, "subscribe", always(None))


@breaks("ended-turn-not-resumable")
def over_is_forgotten() -> None:
    """A turn that is over cannot be replayed."""

    def make(follow: Any) -> Any:
        async def mutant(self: Turns, *args: Any) -> Any:
            log = await follow(self, *args)
            if log is not None and log.ended:
                raise Reset("this turn is over")
            return log

        return mutant

    put(Turns, "follow", make)


@breaks("at-most-two-followers")
def two_followers() -> None:
    """Two may follow a turn; who comes third takes it from the first."""

    def make(listen: Any) -> Any:
        def mutant(self: TurnLog, listener: Any) -> None:
            if listener not in self._readers:
                self._readers._members = self._readers._members[-1:]  # noqa: SLF001 - mutants reach in
            listen(self, listener)

        return mutant

    put(TurnLog, "subscribe", make)


@breaks("late-cancel-is-404")
def too_late_is_unknown() -> None:
    """A turn that is over cannot be stopped, and is said not to be there."""

    def make(cancel: Any) -> Any:
        async def mutant(self: Turns, *args: Any) -> Any:
            log = await cancel(self, *args)
            if log.ended:
                raise NotFound("there is no such turn")
            return log

        return mutant

    put(Turns, "cancel", make)


@breaks("unknown-cancel-unanswered")
def nothing_to_stop() -> None:
    """A stop that hits nothing is not answered."""

    def make(cancel: Any) -> Any:
        async def mutant(self: Connection, message: Any) -> None:
            with contextlib.suppress(NotFound):
                await cancel(self, message)

        return mutant

    put(Connection, "_cancel", make)


# --- history


def kept(change: Any) -> None:
    """Change the turns of a conversation as history has them."""

    def make(batches: Any) -> Any:
        async def mutant(self: Store, conversation_id: str) -> AsyncIterator[Any]:
            async for batch in batches(self, conversation_id):
                yield change(batch)

        return mutant

    put(Store, "turn_batches", make)


@breaks("post-turn-unsaved")
def posts_are_forgotten() -> None:
    """Turns by POST are not in history."""
    posted: set[str] = set()

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            posted.add(log.accepted.message_id)
            return outcome(log)

        return mutant

    put(chat_server.web.handlers, "outcome", make)
    kept(lambda turns: [turn for turn in turns if turn.message_id not in posted])


@breaks("saved-only-at-end")
def kept_when_it_is_over() -> None:
    """A turn is in history when it has ended."""
    kept(lambda turns: [turn for turn in turns if turn.status != "running"])


@breaks("tabs-become-spaces")
def tabs_are_spaces() -> None:
    """History is tidied."""
    kept(lambda turns: [replace(turn, answer=turn.answer.replace("\t", "    ")) for turn in turns])


@breaks("steps-not-saved")
def steps_are_not_saved() -> None:
    """Thinking and tools are sent to who is there, and not saved."""
    put(StepRecorder, "encoded", always(""))


@breaks("steps-lost-at-restart")
def steps_are_lost_at_a_restart() -> None:
    """Thinking and tools are lost when the server is started again."""

    def make(prepare: Any) -> Any:
        async def mutant(self: Store) -> None:
            await prepare(self)
            await self._write(lambda db: db.execute(turns.update().values(steps="")).close())

        return mutant

    put(Store, "prepare", make)


@breaks("oldest-first")
def oldest_first() -> None:
    """A page of conversations begins with the oldest."""

    def make(conversations: Any) -> Any:
        async def mutant(self: Store, owner: str, **page: Any) -> Any:
            found, cursor = await conversations(self, owner, **page)
            return found[::-1], cursor

        return mutant

    put(Store, "conversations", make)


@breaks("untitled")
def untitled() -> None:
    """Conversations have no title."""
    for module in (chat_server.web.handlers, chat_server.web.responses):
        put(module, "conversation_document", lambda old: lambda each: {**old(each), "title": ""})


@breaks("deleted-still-readable")
def deleted_is_there() -> None:
    """What is deleted stays in history."""

    async def delete(*_: Any) -> None:
        return

    put(Store, "delete", lambda _: delete)


@breaks("new-answers-200")
def new_is_nothing_new() -> None:
    """A new conversation is answered with 200."""

    def make(new: Any) -> Any:
        async def mutant(request: Any) -> Any:
            answer = await new(request)
            answer.set_status(200)
            return answer

        return mutant

    replace_handler("POST", "/chat/new", make)


@breaks("times-without-zone")
def times_of_no_zone() -> None:
    """A time does not say of which zone it is."""
    put(chat_server.web.responses, "rfc3339", lambda old: lambda seconds: old(seconds).removesuffix("Z"))


# --- limits


def unlimited(**limits: int) -> None:
    """Some limit is not looked at."""
    put(Settings, "from_env", lambda old: lambda *args, **kw: replace(old(*args, **kw), **limits))


@breaks("no-daily-limit")
def days_are_free() -> None:
    """Turns are limited by the hour only."""
    unlimited(requests_per_day=0)


@breaks("limits-shared-by-users")
def one_limit_for_all() -> None:
    """What one user asks counts for all."""
    asked: list[float] = []

    def make(admit: Any) -> Any:
        def mutant(limits: Any, used: Any, now: float) -> None:
            admit(limits, replace(used, hour=asked), now)
            asked.append(now)

        return mutant

    put(chat_server.store.store, "admit", make)


@breaks("refusal-cancels-turns")
def refusal_stops_turns() -> None:
    """Who asks for too much loses the answer that is being written."""

    async def start(self: Turns, old: Any, owner: str, *rest: Any) -> Any:
        try:
            return await old(self, owner, *rest)
        except RateLimited:
            for turn in self._recent.values():
                if turn.owner == owner:
                    turn.stop()
            raise

    starting(start)


@breaks("reads-are-counted")
def asking_counts() -> None:
    """Whatever is sent counts, refused or not, and a message that is sent again."""
    asked: dict[str, int] = defaultdict(int)

    async def start(self: Turns, old: Any, owner: str, *rest: Any) -> Any:
        if asked[owner] >= self._limits.requests_per_hour > 0:
            raise RateLimited("rate limit reached", retry_after=3600.0)
        asked[owner] += 1
        return await old(self, owner, *rest)

    starting(start)


# --- POST, the page, the health check


@breaks("never-healthy")
def never_healthy() -> None:
    """The health check fails."""

    async def health(_request: Any) -> Any:
        return aiohttp.web.Response(status=500)

    replace_handler("GET", "/health", lambda _: health)


@breaks("failed-post-is-200")
def failure_is_an_answer() -> None:
    """A POST whose turn fails is answered with what there is."""

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            status, document = outcome(log)
            return (status, document) if status == 200 else (200, {"response": ""})

        return mutant

    put(chat_server.web.handlers, "outcome", make)


@breaks("broken-form-is-500")
def forms_are_whole() -> None:
    """A form is taken for one that can be read."""
    put(chat_server.web.handlers, "read_form", lambda _: lambda request, _seconds: request.post())


@breaks("script-from-elsewhere")
def loads_elsewhere() -> None:
    """The page loads a script of somebody else's."""

    async def page(_request: Any) -> Any:
        script = '<script src="https://cdn.example/chat.js"></script>'
        return aiohttp.web.Response(text=script, content_type="text/html")

    replace_handler("GET", "/chat/", lambda _: page)


@breaks("post-waits-for-others")
def posts_wait_for_all() -> None:
    """A POST is answered when no other turn runs."""

    def make(post: Any) -> Any:
        async def mutant(request: Any) -> Any:
            while request.app[chat_server.web.keys.TURNS].running:  # noqa: ASYNC110 - a mutant may be crude
                await asyncio.sleep(0.01)
            return await post(request)

        return mutant

    replace_handler("POST", "/chat", make)
