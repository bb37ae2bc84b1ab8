"""The reference server with one thing broken in each: a few lines over its parts, put in before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import aiohttp.web
import sqlalchemy as sa
from aiohttp import hdrs

import chat_server.app
import chat_server.claude.answer
import chat_server.claude.events
import chat_server.claude.invocation
import chat_server.claude.parser
import chat_server.claude.pool
import chat_server.errors
import chat_server.frames
import chat_server.limits
import chat_server.login.cookies
import chat_server.login.identity
import chat_server.login.oauth
import chat_server.login.state
import chat_server.owner_lock
import chat_server.processes.init
import chat_server.processes.process
import chat_server.protocol
import chat_server.store.schema
import chat_server.store.store
import chat_server.turns.event_log
import chat_server.turns.manager
import chat_server.web.connection
import chat_server.web.handlers
import chat_server.web.keys
import chat_server.web.middleware
import chat_server.web.responses
from chat_conformance.mutants.guardians import break_guardians, put_guardian
from chat_conformance.mutants.registry import always, breaks, put, replace, replace_handler
from chat_server.claude.events import Result
from chat_server.claude.lines import LineSplitter, LineTooLong
from chat_server.claude.parser import TurnParser
from chat_server.claude.session import Session
from chat_server.errors import ClaudeFailed, Forbidden, NotFound, Reset, TimedOut
from chat_server.frames import PING
from chat_server.limits import Used
from chat_server.processes.process import Process
from chat_server.protocol import Tool, Usage
from chat_server.settings import Settings
from chat_server.store.schema import conversations, usage
from chat_server.store.store import Store
from chat_server.turns.event_log import TurnLog
from chat_server.turns.manager import Turns
from chat_server.turns.saving import Outcome, TurnRecorder
from chat_server.turns.turn import Turn
from chat_server.web.connection import Connection

OFTEN = 5  # connections that are gone; a page that is reloaded once or twice does not show it


@breaks("no-limits")
def no_limits() -> None:
    """No message is counted."""
    put(chat_server.store.store, "admit", always(None))


@breaks("final-text-ignored")
def no_fallback() -> None:
    """What stands in the result only is not looked at."""
    put(chat_server.claude.answer.AnswerText, "final", always(iter(())))


@breaks("any-origin")
def any_origin() -> None:
    """Pages of any origin may ask."""
    put(chat_server.web.middleware, "check_origin", always(None))


@breaks("invalid-session-ids")
def session_names() -> None:
    """Session ids are no UUIDs."""
    put(chat_server.claude.pool, "uuid", lambda _: SimpleNamespace(uuid4=lambda: SessionName("chat-1")))


@breaks("invalid-resume-ids")
def resumes_by_name() -> None:
    """Every turn has a process of its own, and those that go on are given no UUID."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, resume: str | None, turn: Turn) -> Any:
            await self.end(conversation_id)
            return await ask(self, conversation_id, resume and "chat-1", turn)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


class SessionName(str):
    """What a session was called."""

    __slots__ = ()

    @property
    def hex(self) -> str:
        """As a UUID would give it."""
        return str(self)


@breaks("deltas-only")
def pieces_only() -> None:
    """Only pieces are read, and neither whole messages nor the result."""
    put(TurnParser, "_assistant", always(iter(())))
    no_fallback()


@breaks("full-messages-ignored")
def whole_messages_are_not_read() -> None:
    """Pieces are read, and the result."""
    put(TurnParser, "_assistant", always(iter(())))


@breaks("one-tab-per-user")
def one_tab() -> None:
    """The end of one connection empties the others of its user."""
    open_now: list[Connection] = []

    def make(run: Any) -> Any:
        async def mutant(self: Connection) -> None:
            open_now.append(self)
            try:
                await run(self)
            finally:
                open_now.remove(self)
                for other in open_now:
                    for log in tuple(other._cursors):  # noqa: SLF001
                        other._unfollow(log)  # noqa: SLF001

        return mutant

    put(Connection, "run", make)


@breaks("new-session-each-turn")
def forgets() -> None:
    """Every message starts a session of its own."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, _resume: str | None, *args: Any, **kw: Any) -> Any:
            await self.end(conversation_id)
            return await ask(self, conversation_id, None, *args, **kw)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


@breaks("first-cookie-wins")
def first_cookie() -> None:
    """Only the first of several cookies of one name is looked at."""
    put(chat_server.login.cookies.OwnCookies, "values", lambda old: lambda *args: old(*args)[:1])


@breaks("stderr-not-read")
def deaf_to_stderr() -> None:
    """Nobody reads stderr before the end."""

    def make(init: Any) -> Any:
        def mutant(self: Process, *args: Any) -> None:
            init(self, *args)
            self._stderr.pause()

        return mutant

    put(Process, "__init__", make)


@breaks("any-frame-size")
def any_size() -> None:
    """Frames may be of any size."""
    put(
        aiohttp.web,
        "WebSocketResponse",
        lambda old: lambda *args, **kw: old(*args, **{**kw, "max_msg_size": 0}),
    )


@breaks("adopted-zombies-kept")
def reaps_its_own_alone() -> None:
    """As process 1 the server serves, and looks after nobody else."""
    put(chat_server.processes.init, "be_init_if_first", always(None))


@breaks("handshake-without-key-is-500")
def no_key() -> None:
    """A missing key calls an error helper wrongly."""

    def make(check: Any) -> Any:
        def mutant(request: Any) -> None:
            if hdrs.SEC_WEBSOCKET_KEY not in request.headers:
                raise TypeError("send_error() takes 2 positional arguments but 3 were given")
            check(request)

        return mutant

    put(chat_server.web.handlers, "check_handshake", make)


@breaks("failure-not-saved")
def no_mark() -> None:
    """A failed turn leaves nothing in history."""

    def make(save: Any) -> Any:
        async def mutant(self: TurnRecorder, outcome: Outcome, answer: str) -> Outcome:
            if outcome.status == "failed":
                return outcome
            saved: Outcome = await save(self, outcome, answer)
            return saved

        return mutant

    put(TurnRecorder, "save_outcome", make)


@breaks("cancel-ignored")
def stop_does_nothing() -> None:
    """A cancel is taken, and the turn goes on."""

    def make(cancel: Any) -> Any:
        async def mutant(self: Turns, owner: str, message_id: str, conversation_id: str | None) -> Any:
            for turn in self._recent.values():
                if turn.owner == owner and turn.log.accepted.message_id == message_id:
                    return turn.log
            return await cancel(self, owner, message_id, conversation_id)

        return mutant

    put(Turns, "cancel", make)


def at_the_end(change: Callable[[dict[str, Any]], None]) -> None:
    """Change what is stored at the end of a turn."""

    def make(end_turn: Any) -> Any:
        async def mutant(self: Store, *ids: str, **what: Any) -> None:
            change(what)
            await end_turn(self, *ids, **what)

        return mutant

    put(Store, "end_turn", make)


@breaks("partial-text-lost")
def partial_text_thrown_away() -> None:
    """What had arrived before a stop is not kept."""
    at_the_end(lambda what: what.update(answer="") if what["status"] == "cancelled" else None)


@breaks("disconnect-cancels")
def leaving_stops() -> None:
    """The end of a connection ends the turns that it asked for."""
    followed: dict[Connection, list[Any]] = {}

    def make_follow(follow: Any) -> Any:
        def mutant(self: Connection, log: Any, after: int = 0) -> None:
            followed.setdefault(self, []).append(log)
            follow(self, log, after)

        return mutant

    def make(run: Any) -> Any:
        async def mutant(self: Connection) -> None:
            try:
                await run(self)
            finally:
                mine = followed.pop(self, [])
                for turn in self._turns._recent.values():  # noqa: SLF001
                    if turn.log in mine:
                        turn.stop()

        return mutant

    put(Connection, "_follow", make_follow)
    put(Connection, "run", make)


@breaks("bad-cursor-unanswered")
def silent_about_cursors() -> None:
    """A cursor that is not known is not answered."""

    def make(follow: Any) -> Any:
        async def mutant(self: Turns, *args: Any) -> Any:
            with contextlib.suppress(Reset):
                return await follow(self, *args)

        return mutant

    put(Turns, "follow", make)


@breaks("resume-repeats-an-event")
def resume_doubles() -> None:
    """A resumed turn tells its last event again."""

    def make(subscribe: Any) -> Any:
        async def mutant(self: Connection, message: Any) -> None:
            known = type(message)(message.conversation_id, message.message_id, max(0, message.after - 1))
            await subscribe(self, known)

        return mutant

    put(Connection, "_subscribe", make)


def lines_of(most: int) -> None:
    """A line may have so many bytes and no more."""

    def make(feed: Any) -> Any:
        def mutant(self: LineSplitter, data: bytes) -> list[bytes]:
            lines: list[bytes] = feed(self, data)
            if any(len(line) > most for line in lines):
                raise LineTooLong(most)
            return lines

        return mutant

    put(LineSplitter, "feed", make)


breaks("lines-up-to-64-kib")(lambda: lines_of(1 << 16))
breaks("lines-up-to-half-a-mib")(lambda: lines_of(1 << 19))


@breaks("unknown-line-fails-turn")
def noise_ends_the_turn() -> None:
    """Every line is taken for JSON."""
    put(chat_server.claude.parser, "_decode", lambda _: json.loads)


@breaks("result-text-only-if-empty")
def result_is_for_who_said_nothing() -> None:
    """The result is read only where nothing else was."""

    def make(last: Any) -> Any:
        def mutant(self: Any, text: str) -> Any:
            return last(self, "" if len(self.visible) else text)

        return mutant

    put(chat_server.claude.answer.AnswerText, "final", make)


def opened(**changes: Any) -> None:
    """The CLI is started and asked as if the operator had opened something."""

    def make(build: Any) -> Any:
        return lambda *given: build(*given[:-1], replace(given[-1], **changes))

    for name in ("arguments", "environment", "content"):
        put(chat_server.claude.invocation, name, make)


@breaks("mentions-read-files")
def prompts_name_files() -> None:
    """A path after @ is read."""
    opened(claude_mentions=True)


@breaks("slash-commands-run")
def prompts_are_commands() -> None:
    """A prompt that begins with a slash is a command of the CLI."""
    opened(claude_commands=True)


@breaks("operators-home-shared")
def home_is_the_operators() -> None:
    """The CLI has the HOME of whoever runs the server, and uses what is there."""
    home = Path.home()
    if not home.name.startswith("chatgate-"):
        return  # it is that of whoever runs the suite, and not of the case
    opened(claude_settings="user,project,local", claude_home=home)

    def make(build: Any) -> Any:
        return lambda server, passed, workspace, _home: build(server, passed, workspace, home)

    put(chat_server.claude.pool, "environment", make)


@breaks("lost-session-unreported")
def forgets_in_silence() -> None:
    """Nothing says that Claude has begun another session."""
    put(Turn, "_note_fresh_session", always(None))


@breaks("retried-stream-doubled")
def told_again_is_told_twice() -> None:
    """What is said of a stream that broke is not looked at."""
    put(chat_server.claude.answer.AnswerText, "discard_blocks", always(None))


@breaks("no-rewind-on-retry")
def told_otherwise_stays() -> None:
    """What was told before a stream broke is never taken back."""
    put(chat_server.claude.answer.AnswerText, "_rewind", always(iter(())))


@breaks("subagent-text-in-answer")
def subagents_are_heard() -> None:
    """Nobody looks at whose words they are."""

    def make(feed: Any) -> Any:
        def mutant(self: TurnParser, lines: list[bytes]) -> Any:
            return feed(self, [re.sub(rb'"parent_tool_use_id": ?"[^"]+"', b'"a":0', line) for line in lines])

        return mutant

    put(TurnParser, "feed", make)


@breaks("full-block-doubled")
def told_twice() -> None:
    """Whole messages are told although their pieces were."""

    def whole(self: Any, text: str) -> Iterator[Any]:
        self.open_block()
        yield from self.delta(text)

    put(chat_server.claude.answer.AnswerText, "full_block", lambda _: whole)


@breaks("no-silence-timeout")
def no_watchdog() -> None:
    """A silent Claude is waited for."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), claude_silence_seconds=1e6),
    )


@breaks("no-guardian")
def no_guardian() -> None:
    """Nobody ends what a killed server leaves behind."""
    put_guardian("ends_nothing")


@breaks("one-missed-pong")
def nervous_heartbeat() -> None:
    """One missed pong is the end."""
    put(chat_server.web.connection, "MISSED_PONGS", lambda _: 1)


breaks("no-guardian-of-claude")(no_guardian)


@breaks("dead-peers-stay")
def dead_peers_stay() -> None:
    """Missed pongs are not counted."""
    put(chat_server.web.connection, "MISSED_PONGS", lambda _: 1 << 30)


@breaks("login-never-ends")
def login_never_ends() -> None:
    """An open connection outlives its login."""

    def make(init: Any) -> Any:
        def mutant(self: Connection, *args: Any, **kw: Any) -> None:
            init(self, *args, **{**kw, "lasts": None})

        return mutant

    put(Connection, "__init__", make)


@breaks("any-login")
def any_login() -> None:
    """The answer of any login is taken."""
    put(chat_server.login.state.LoginStates, "take", always("none"))
    put(
        chat_server.login.oauth,
        "urlencode",
        lambda _: lambda query: urlencode({k: v for k, v in query.items() if "challenge" not in k}),
    )


@breaks("proxy-secret-ignored")
def anybody_is_the_proxy() -> None:
    """The secret is not asked for."""
    put(chat_server.login.identity, "check_secret", always(None))


@breaks("any-proxy-user-name")
def any_name() -> None:
    """What the proxy names is a user, whatever it is."""
    put(chat_server.login.identity, "USER", lambda _: SimpleNamespace(fullmatch=lambda _name: True))


@breaks("foreign-conversation-is-403")
def others_are_told_apart() -> None:
    """Another user's conversation is forbidden, an absent one not found."""

    def make(conversation: Any) -> Any:
        def mutant(db: sa.Connection, owner: str, conversation_id: str) -> Any:
            try:
                return conversation(db, owner, conversation_id)
            except NotFound:
                known = conversations.c.id
                if db.execute(sa.select(known).where(known == conversation_id)).first():
                    raise Forbidden("this conversation is somebody else's") from None
                raise

        return staticmethod(mutant)

    put(Store, "_conversation", make)


@breaks("wrong-retry-after")
def wrong_retry_after() -> None:
    """A minute is always enough."""
    put(chat_server.limits, "_up", always(60.0))


@breaks("retry-after-rounded-down")
def rounded_down() -> None:
    """The header is a second too short."""
    put(chat_server.web.responses, "ceil", lambda _: math.floor)


@breaks("usage-never-updated")
def usage_that_stands_still() -> None:
    """Users are told that nothing is used."""
    put(
        chat_server.turns.manager,
        "limit_statuses",
        lambda old: lambda limits, _used, now: old(limits, Used([], 0, 0), now),
    )


@breaks("deletion-refunds-limits")
def deleted_is_given_back() -> None:
    """A deleted conversation no longer counts."""

    def make(delete: Any) -> Any:
        async def mutant(self: Store, owner: str, conversation_id: str) -> None:
            await delete(self, owner, conversation_id)
            forget = usage.delete().where(usage.c.conversation_id == conversation_id)
            await self._write(lambda db: db.execute(forget).close())

        return mutant

    put(Store, "delete", make)


@breaks("tokens-counted-twice")
def counted_twice() -> None:
    """Tokens are charged as often as they are told."""

    def charge_again(what: dict[str, Any]) -> None:
        once = what["spent"]
        what.update(spent=Usage(2 * once.input_tokens, 2 * once.output_tokens))

    at_the_end(charge_again)


@breaks("cancelled-turn-is-free")
def stopped_is_free() -> None:
    """Only a result is charged."""
    put(TurnParser, "usage", lambda _: property(lambda _self: Usage()))


# --- following


@breaks("no-replay")
def no_replay() -> None:
    """Who comes back gets what is said from now on."""

    def make(subscribe: Any) -> Any:
        async def mutant(self: Connection, message: Any) -> None:
            log = await self._turns.follow(self.login.user, message.conversation_id, message.message_id, 0)
            last = 0 if log is None else log.last
            await subscribe(self, type(message)(message.conversation_id, message.message_id, last))

        return mutant

    put(Connection, "_subscribe", make)


@breaks("end-not-replayed")
def silent_about_the_end() -> None:
    """Who asks for the rest of a turn that is over is told nothing."""

    def make(follow: Any) -> Any:
        async def mutant(self: Turns, *args: Any) -> Any:
            log, after = await follow(self, *args), args[3]
            return None if log is not None and log.ended and after else log

        return mutant

    put(Turns, "follow", make)


@breaks("duplicate-subscriptions")
def told_as_often_as_followed() -> None:
    """A connection that has gone is still owed its events, and the next one gets them, too."""
    gone: dict[Any, int] = {}
    following: dict[Connection, set[Any]] = {}

    def make_subscribe(subscribe: Any) -> Any:
        async def mutant(self: Connection, message: Any) -> None:
            following.setdefault(self, set()).add(message.message_id)
            await subscribe(self, message)

        return mutant

    def make_run(run: Any) -> Any:
        async def mutant(self: Connection) -> None:
            try:
                await run(self)
            finally:
                for name in following.pop(self, ()):
                    gone[name] = gone.get(name, 0) + 1

        return mutant

    def make_write(write: Any) -> Any:
        def mutant(self: Connection, frame: bytes) -> None:
            write(self, frame)
            _, begun, rest = frame.partition(b'{"')  # a brace alone may be part of the frame's length
            told = json.loads(begun + rest) if begun else {}
            if told.get("type") == "token" and gone.get(told["message_id"], 0) >= OFTEN:
                write(self, frame)

        return mutant

    put(Connection, "_subscribe", make_subscribe)
    put(Connection, "run", make_run)
    put(Connection, "_write", make_write)


@breaks("written-counts-as-read")
def written_is_read() -> None:
    """Who comes back after a connection broke is told what was not yet written to it, whatever had arrived."""
    written: dict[Any, int] = {}

    def make_let_go(let_go: Any) -> Any:
        async def mutant(self: Connection) -> None:
            for log, cursor in self._cursors.items():
                written[log] = max(cursor, written.get(log, 0))
            await let_go(self)

        return mutant

    def make_follow(follow: Any) -> Any:
        def mutant(self: Connection, log: Any, after: int = 0) -> None:
            follow(self, log, max(after, written.get(log, 0)) if after else 0)

        return mutant

    put(Connection, "_cleanup", make_let_go)
    put(Connection, "_follow", make_follow)


@breaks("repeated-id-runs-twice")
def begun_twice() -> None:
    """A message_id is looked for in a conversation that was named, and nowhere else."""

    def make(same_turn: Any) -> Any:
        def mutant(db: Any, owner: str, conversation_id: str | None, message_id: str) -> Any:
            return same_turn(db, owner, conversation_id, message_id) if conversation_id else None

        return staticmethod(mutant)

    put(Store, "_same_turn", make)


@breaks("dropped-reader-cancels")
def given_up_stops() -> None:
    """A turn that a dead peer follows is stopped when the peer is given up."""

    def make(ping: Any) -> Any:
        def mutant(self: Connection) -> None:
            if self._unanswered >= chat_server.web.connection.MISSED_PONGS:
                for turn in self._turns._recent.values():  # noqa: SLF001
                    if turn.log in self._cursors:
                        turn.stop()
            ping(self)

        return mutant

    put(Connection, "_ping", make)


@breaks("head-from-first-read")
def heads_in_one_piece() -> None:
    """What the first read returns is taken for the whole head of a request."""

    def make(data_received: Any) -> Any:
        def mutant(self: Any, data: bytes) -> None:
            if not self._request_count and b"\r\n\r\n" not in data:
                self.force_close()
            else:
                data_received(self, data)

        return mutant

    put(aiohttp.web.RequestHandler, "data_received", make)


@breaks("gap-not-replayed")
def gap_is_lost() -> None:
    """What is said while nobody listens is kept for history only."""

    def make(extend: Any) -> Any:
        def mutant(self: TurnLog) -> None:
            if self._source is not None and not self._readers:
                self._text_ends[-1] = self.text.length  # the entry before ends behind it
            extend(self)

        return mutant

    put(TurnLog, "extend_text", make)


def about_what_is_not_held(answer: Callable[[], Any]) -> None:
    """A cursor of a turn that is no longer held is answered in another way."""

    def make(follow: Any) -> Any:
        async def mutant(self: Turns, owner: str, conversation_id: str, message_id: str, after: int) -> Any:
            try:
                return await follow(self, owner, conversation_id, message_id, after)
            except Reset:
                if (conversation_id, message_id) in self._recent:
                    raise
                return answer()

        return mutant

    put(Turns, "follow", make)


@breaks("expired-turn-is-404")
def forgotten_is_not_found() -> None:
    """A turn that is no longer held is said not to exist."""

    def answer() -> None:
        raise NotFound("there is no such turn")

    about_what_is_not_held(answer)


@breaks("no-reset-after-restart")
def silent_after_a_restart() -> None:
    """A turn that a server before this one ran is waited for."""
    about_what_is_not_held(lambda: None)


@breaks("replay-without-live-events")
def replays_and_stops() -> None:
    """Who comes later gets what was said, and nothing that follows."""

    def make(subscribe: Any) -> Any:
        async def mutant(self: Connection, message: Any) -> None:
            await subscribe(self, message)
            for log in tuple(self._cursors):
                if message.message_id == log.accepted.message_id:
                    self._unfollow(log)

        return mutant

    put(Connection, "_subscribe", make)


# --- stopping


def ends_the_next_turn(*, late: bool) -> None:
    """The end of a stopped turn ends the next one of its conversation; or so it is when that end comes late."""
    poisoned: set[str] = set()
    stopped: dict[Turn, float] = {}

    def make_stop(stop: Any) -> Any:
        def mutant(self: Turn) -> None:
            stopped.setdefault(self, asyncio.get_running_loop().time())
            stop(self)

        return mutant

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, resume: str | None, turn: Turn) -> Any:
            if conversation_id in poisoned:
                poisoned.discard(conversation_id)
                return Result(Usage(), "end_turn", "", aborted=False)
            try:
                return await ask(self, conversation_id, resume, turn)
            finally:
                grace = self._settings.claude_grace_seconds
                now = asyncio.get_running_loop().time()
                if turn in stopped and (not late or now - stopped[turn] >= grace):
                    poisoned.add(conversation_id)

        return mutant

    put(Turn, "stop", make_stop)
    put(chat_server.claude.pool.Claude, "ask", make)


breaks("cancel-ends-next-turn")(lambda: ends_the_next_turn(late=False))
breaks("late-result-ends-next-turn")(lambda: ends_the_next_turn(late=True))


@breaks("tools-survive-cancel")
def tools_go_on() -> None:
    """Nothing is stopped while a tool works."""

    def make(cancel: Any) -> Any:
        async def mutant(self: Turns, owner: str, message_id: str, conversation_id: str | None) -> Any:
            for turn in self._recent.values():
                log = turn.log
                if log.accepted.message_id == message_id and any(
                    isinstance(e, Tool) for e in log.read(0)[-1:]
                ):
                    return log
            return await cancel(self, owner, message_id, conversation_id)

        return mutant

    put(Turns, "cancel", make)


@breaks("cancel-without-interrupt")
def stopped_in_name() -> None:
    """A stopped turn is over at once, and its Claude is told nothing."""
    left: set[Session] = set()

    def interrupt(self: Session) -> None:
        if not self._result.done():
            left.add(self)
            self._result.set_exception(ClaudeFailed("the turn was stopped"))

    def make(close: Any) -> Any:
        def mutant(self: Session) -> None:
            if self in left:
                left.discard(self)
            else:
                close(self)

        return mutant

    put(Session, "interrupt", lambda _: interrupt)
    put(Session, "close", make)


# --- processes


@breaks("no-kill")
def no_kill() -> None:
    """Claude is asked to end, and never made to."""

    def make(kill: Any) -> Any:
        async def mutant(self: Process) -> None:
            await asyncio.wait([self.exited])
            await kill(self)

        return mutant

    put(Process, "kill", make)


@breaks("kills-child-only")
def families_live_on() -> None:
    """Only Claude itself is ended."""
    put_guardian("spares_descendants")
    put(chat_server.processes.process, "STRANGER_SECONDS", lambda _: 0.01)


@breaks("idle-process-kept")
def idle_for_ever() -> None:
    """A process stays for as long as the server does."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), claude_idle_seconds=1e6),
    )


@breaks("deletion-keeps-process")
def deleted_goes_on() -> None:
    """Deleting a conversation leaves its process alone."""

    def make(_end: Any) -> Any:
        async def mutant(_self: Any, _conversation_id: str) -> None:
            return

        return mutant

    put(chat_server.claude.pool.Claude, "end", make)


@breaks("replay-without-text")
def retold_without_words() -> None:
    """A turn that only history still has is told by its end alone."""
    put(
        chat_server.turns.manager,
        "log_from_history",
        lambda retold: lambda turn: retold(replace(turn, answer="")),
    )


@breaks("stop-waits-for-turns")
def stops_when_all_is_said() -> None:
    """Who stops the server waits for the longest answer."""

    async def stop(self: Turns) -> None:
        self.refuse_new()
        await asyncio.gather(*self._tasks)

    put(Turns, "stop", lambda _: stop)


@breaks("deleted-turn-completes")
def deleted_is_told() -> None:
    """What a deleted conversation said can be had for a while."""

    def make(delete: Any) -> Any:
        async def mutant(self: Turns, owner: str, conversation_id: str) -> None:
            held = dict(self._recent)
            await delete(self, owner, conversation_id)
            self._recent.update(held)

        return mutant

    put(Turns, "delete", make)


@breaks("result-waits-for-eof")
def waits_for_the_end_of_stdout() -> None:
    """A result counts when stdout is at its end."""

    def make(ask: Any) -> Any:
        async def mutant(self: Session, *asked: Any) -> Any:
            ended = await ask(self, *asked)
            process = self.started.result()
            process.stdin.close()
            await asyncio.wait([process.stdout.ended])
            return ended

        return mutant

    put(Session, "ask", make)
    hears_only_the_end_of_stdout()


@breaks("cleared-environment-escapes")
def shed_marks_are_not_found() -> None:
    """A child without our environment, whose parent has ended, is found by nobody."""
    put_guardian("knows_marks_alone")


@breaks("orphans-not-reaped")
def orphans_become_zombies() -> None:
    """What a Claude has left is killed, and never reaped."""
    put_guardian("reaps_nothing")


@breaks("group-signal-fails-turn")
def a_signal_to_all_is_a_failure() -> None:
    """A Claude that dies of a stop signal has failed, though the server was told to stop as well."""

    async def stops(*_args: Any, **_named: Any) -> bool:
        return False

    put(chat_server.claude.pool.Claude, "_is_stopping", lambda _: stops)


@breaks("deletion-spares-descendants")
def deletion_spares_the_family() -> None:
    """With a conversation its Claude is ended, and not what it had started."""

    def make(delete: Any) -> Any:
        async def mutant(self: Turns, owner: str, conversation_id: str) -> None:
            break_guardians()
            await delete(self, owner, conversation_id)

        return mutant

    put_guardian("spares_descendants_later")
    put(Turns, "delete", make)


@breaks("timeout-spares-descendants")
def timeout_spares_the_family() -> None:
    """A Claude that went silent is ended, and not what it had started."""

    def make(fail: Any) -> Any:
        def mutant(self: Session, error: Exception) -> None:
            if isinstance(error, TimedOut):
                break_guardians()
            fail(self, error)

        return mutant

    put_guardian("spares_descendants_later")
    put(Session, "fail", make)


@breaks("exit-only-by-stdout-eof")
def hears_only_the_end_of_stdout() -> None:
    """A Claude that has died is waited for until nobody holds its stdout."""
    put_guardian("spares_descendants")
    put(Process, "_ended", lambda _: lambda self: self.exited.set_result(None))


@breaks("no-term-after-interrupt")
def asks_once() -> None:
    """Claude is asked to stop, and what it makes of that is its affair."""

    def make(interrupt: Any) -> Any:
        def mutant(self: Session) -> None:
            interrupt(self)
            assert self._interrupt_timer is not None
            self._interrupt_timer.cancel()

        return mutant

    put(Session, "interrupt", make)


@breaks("drops-without-close")
def goes_without_a_word() -> None:
    """A server that is told to stop drops its connections."""

    async def nothing(_app: Any) -> None:
        return

    put(chat_server.app, "close_sockets", lambda _: nothing)


@breaks("missing-cli-is-claude-failed")
def missing_is_failed() -> None:
    """A Claude that cannot be started has failed, as far as people are told."""
    put(chat_server.errors.ClaudeUnavailable, "code", lambda _: "claude_failed")


@breaks("sessions-lost-at-restart")
def sessions_in_memory() -> None:
    """Which session belongs to a conversation is known until the next start."""

    async def remember(*_: Any) -> None:
        return

    put(Store, "set_claude_session", lambda _: remember)


@breaks("environment-passed-on")
def everything_is_passed_on() -> None:
    """The CLI gets the server's environment but for the server's own settings."""

    def passed_on(server: Any, _further: Any) -> dict[str, str]:
        return {name: value for name, value in server.items() if not name.startswith("CHAT_")}

    put(chat_server.claude.pool, "passed_on", lambda _: passed_on)


@breaks("two-owners-of-data")
def anybody_may_own_the_data() -> None:
    """Nothing locks the data, and a server that starts takes every running turn for broken off."""
    put(chat_server.owner_lock, "_take", always(None))


@breaks("locked-database-fails-turn")
def gives_up_on_a_locked_database() -> None:
    """What SQLite did not take in five seconds has failed."""

    async def once(_: TurnRecorder, write: Callable[[], Any]) -> None:
        await write()

    put(TurnRecorder, "_despite_locks", lambda _: once)


@breaks("interrupted-stays-running")
def interrupted_runs_on() -> None:
    """A turn that a killed server left behind is shown as running."""

    async def prepare(self: Store) -> None:
        await self._write(chat_server.store.schema.migrate)

    put(Store, "prepare", lambda _: prepare)


@breaks("dash-prompt-is-option")
def dashes_are_options() -> None:
    """A prompt is taken for an option where it looks like one."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, resume: str | None, turn: Turn) -> Any:
            if turn.prompt.startswith("-"):
                raise ClaudeFailed(f"error: unknown option '{turn.prompt.partition(' ')[0]}'")
            return await ask(self, conversation_id, resume, turn)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


# --- what Claude writes


@breaks("split-utf8-broken")
def characters_break() -> None:
    """What one read returned is taken for whole characters."""
    put(
        LineSplitter,
        "feed",
        lambda old: lambda self, data: old(self, data.decode("utf-8", "replace").encode()),
    )


@breaks("result-text-repeated")
def result_told_too() -> None:
    """A result is told anew where no whole message was."""

    def make(last: Any) -> Any:
        def mutant(self: Any, text: str) -> Any:
            if self._full_blocks < len(self._blocks):
                self.open_block()
                yield from self.delta(text)
            else:
                yield from last(self, text)

        return mutant

    put(chat_server.claude.answer.AnswerText, "final", make)


@breaks("invalid-utf8-fails-turn")
def bytes_must_be_text() -> None:
    """Bytes that are no UTF-8 are the end."""

    def make(feed: Any) -> Any:
        def mutant(self: TurnParser, lines: list[bytes]) -> Any:
            for line in lines:
                line.decode()
            return feed(self, lines)

        return mutant

    put(TurnParser, "feed", make)


@breaks("equal-answer-dropped")
def says_nothing_twice() -> None:
    """What was the last answer of a conversation is not said again."""
    answers: dict[str, dict[str, str]] = {}  # by conversation and message id

    def make(extend: Any) -> Any:
        def mutant(self: TurnLog) -> None:
            ids = self.accepted
            turns = answers.setdefault(ids.conversation_id, {})
            before = [text for name, text in turns.items() if name != ids.message_id][-1:]
            new = self.text.slice(self._text_ends[-1], self.text.length)
            turns[ids.message_id] = turns.get(ids.message_id, "") + new
            if new and before and new in before[0]:
                self._text_ends[-1] = self.text.length  # the entry before ends behind it
            extend(self)

        return mutant

    put(TurnLog, "extend_text", make)


def half_a_pair_breaks(module: Any, decoder: str) -> None:
    """Half of a surrogate pair in what this function decodes cannot be encoded."""

    def make(decode: Any) -> Any:
        def mutant(text: Any, *more: int) -> Any:
            if (b"\\ud8" if isinstance(text, bytes | bytearray) else "\\ud8") in text:
                json.dumps(json.loads(text), ensure_ascii=False).encode()
            return decode(text, *more)

        return mutant

    put(module, decoder, make)


@breaks("lone-surrogate-fails-turn")
def half_a_pair_ends_the_turn() -> None:
    """In a line of Claude."""
    half_a_pair_breaks(chat_server.claude.parser, "_decode")


@breaks("lone-surrogate-fails-message")
def half_a_pair_ends_the_message() -> None:
    """In a message of a client."""
    half_a_pair_breaks(chat_server.web.connection, "decode_client")


@breaks("long-line-ends-server")
def dies_of_a_long_line() -> None:
    """A line of eight MiB takes the server down."""

    def make(feed: Any) -> Any:
        def mutant(self: LineSplitter, data: bytes) -> Any:
            lines = feed(self, data)
            if any(len(line) > 1 << 23 for line in lines):
                os._exit(3)
            return lines

        return mutant

    put(LineSplitter, "feed", make)


# --- limits


@breaks("cached-tokens-counted")
def cache_is_charged() -> None:
    """Tokens read from the cache are counted as if they were new."""

    def make(result: Any) -> Any:
        def mutant(self: TurnParser, line: dict[str, Any]) -> Any:
            told = line.get("usage", {})
            more = told.get("cache_read_input_tokens", 0) + told.get("cache_creation_input_tokens", 0)
            told = {**told, "input_tokens": told.get("input_tokens", 0) + more}
            return result(self, {**line, "usage": told})

        return mutant

    put(TurnParser, "_result", make)


def after_a_post(change: Callable[[str], Any]) -> None:
    """Change in the database what a POST has left behind, by its message_id."""

    def make(post: Any) -> Any:
        async def mutant(request: Any) -> Any:
            answer = await post(request)
            store = request.app[chat_server.web.keys.STORE]
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                named = json.loads(answer.body)["message_id"]
                await store._write(lambda db: db.execute(change(named)).rowcount)  # noqa: SLF001 - mutants reach in
            return answer

        return mutant

    replace_handler("POST", "/chat", make)


@breaks("post-not-counted")
def posts_are_free() -> None:
    """Only what comes by WebSocket is counted."""
    after_a_post(lambda named: usage.delete().where(usage.c.message_id == named))


@breaks("post-tokens-uncounted")
def posts_spend_nothing() -> None:
    """What comes by POST is counted, and its tokens are not."""
    after_a_post(lambda named: usage.update().where(usage.c.message_id == named).values(tokens=0))


@breaks("failed-turn-is-free")
def failed_is_free() -> None:
    """A turn that fails is not charged."""
    at_the_end(lambda what: what.update(spent=Usage()) if what["status"] == "failed" else None)


@breaks("limit-off-by-one")
def one_too_many() -> None:
    """Who comes at once with others is looked at before they are counted."""

    def make(begin_turn: Any) -> Any:
        async def mutant(self: Store, owner: str, *args: Any, **kw: Any) -> Any:
            *rest, limits = args
            used, now = await self.used(owner, limits)
            chat_server.limits.admit(limits, used, now)
            await asyncio.sleep(0.1)
            return await begin_turn(self, owner, *rest, chat_server.limits.Limits(0, 0, 0), **kw)

        return mutant

    put(Store, "begin_turn", make)


@breaks("counts-lost-at-restart")
def counts_in_memory() -> None:
    """What was counted is forgotten at every start."""

    def make(prepare: Any) -> Any:
        async def mutant(self: Store) -> None:
            await prepare(self)
            await self._write(lambda db: db.execute(usage.delete()).close())

        return mutant

    put(Store, "prepare", make)


@breaks("daily-quota-of-24-hours")
def day_of_24_hours() -> None:
    """A day is the last 24 hours, whatever is told."""
    put(chat_server.store.store, "day_start", lambda _: lambda now: now - chat_server.limits.DAY)


breaks("daily-limit-of-24-hours")(day_of_24_hours)


@breaks("hour-too-long")
def hour_is_longer() -> None:
    """The hour has more minutes than is told."""
    put(chat_server.store.store, "HOUR", lambda _: 2 * chat_server.limits.HOUR)


@breaks("repeated-id-is-busy")
def twice_is_two() -> None:
    """A message_id that was seen before is a new one."""

    async def find_turn(*_: Any) -> None:
        return None

    put(Store, "_same_turn", always(None))
    put(Store, "find_turn", lambda _: find_turn)


@breaks("simultaneous-ids-run-twice")
def at_once_is_two() -> None:
    """A message_id that comes twice at once is looked for before either is there."""
    look = Store._same_turn  # noqa: SLF001 - mutants reach in

    def make(begin_turn: Any) -> Any:
        async def mutant(
            self: Store, owner: str, conversation_id: str | None, message_id: str, *args: Any, **kw: Any
        ) -> Any:
            found = await self._read(lambda db: look(db, owner, conversation_id, message_id))
            await asyncio.sleep(0.1)
            return found or await begin_turn(self, owner, conversation_id, message_id, *args, **kw)

        return mutant

    put(Store, "same_turn", lambda _: lambda self, *ids: self._read(lambda db: look(db, *ids)))
    put(Store, "_same_turn", always(None))
    put(Store, "begin_turn", make)
    put(Turns, "_lock", always(contextlib.nullcontext()))  # else one waits for the other


# --- others


@breaks("half-mib-limit")
def half_a_mib() -> None:
    """Prompts may have half of what the protocol promises."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), message_max_bytes=1 << 19),
    )


@breaks("post-without-keepalive")
def silent_post() -> None:
    """A POST says nothing before its answer."""

    def make(wait_ended: Any) -> Any:
        async def mutant(self: Any, _seconds: float) -> Any:
            return await wait_ended(self, 1e6)

        return mutant

    put(chat_server.turns.event_log.TurnLog, "wait_ended", make)


@breaks("slow-lines-time-out")
def slow_is_silent() -> None:
    """A turn has so long, whatever is heard meanwhile."""

    def make(hear: Any) -> Any:
        def mutant(self: Session, data: bytes) -> None:
            heard = self._last_output
            hear(self, data)
            self._last_output = heard

        return mutant

    put(Session, "on_output", make)


@breaks("departed-reader-blocks")
def who_is_gone_is_waited_for() -> None:
    """A reader that cannot take more, and goes, is behind for ever."""

    def make(let_go: Any) -> Any:
        async def mutant(self: Connection) -> None:
            self._cursors.clear()
            await let_go(self)

        return mutant

    put(Connection, "_cleanup", make)


@breaks("stalled-reader-blocks-all")
def one_stalls_all() -> None:
    """Everybody's words go out one after the other."""
    waiting: deque[tuple[Connection, bytes]] = deque()
    pumps: list[asyncio.Task[None]] = []

    def make(write: Any) -> Any:
        async def pump() -> None:
            while waiting:
                connection, frame = waiting.popleft()
                write(connection, frame)
                while connection._full():  # noqa: ASYNC110, SLF001 - a mutant may be crude
                    await asyncio.sleep(0.01)
            pumps.clear()

        def mutant(self: Connection, frame: bytes) -> None:
            if frame == PING:
                write(self, frame)
                return
            waiting.append((self, frame))
            if not pumps:
                pumps.append(asyncio.ensure_future(pump()))

        return mutant

    put(Connection, "_write", make)


@breaks("unbounded-queues")
def a_queue_for_each() -> None:
    """Each reader has a queue of its own without a bound."""
    put(Connection, "_full", always(False))
    put(Connection, "_write", lambda write: lambda self, frame: write(self, frame[:1] + frame[1:]))
