"""Mutants of how a claude is asked, and how its output is read."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chat_server.claude.answer
import chat_server.claude.invocation
import chat_server.claude.parser
import chat_server.claude.pool
import chat_server.errors
from chat_conformance.mutants.registry import Patch, always, breaks, patched, put, replace
from chat_server.claude.events import Result
from chat_server.claude.lines import LineSplitter, LineTooLong
from chat_server.claude.parser import TurnParser
from chat_server.claude.session import Session
from chat_server.errors import (
    ClaudeFailed,
)
from chat_server.protocol import Usage
from chat_server.settings import Settings
from chat_server.turns.event_log import TurnLog
from chat_server.turns.turn import Turn


@breaks("invalid-session-ids")
def invalid_session_ids() -> None:
    """Session ids are no UUIDs."""
    put(chat_server.claude.pool, "uuid", lambda _: SimpleNamespace(uuid4=lambda: SessionName("chat-1")))


@breaks("invalid-resume-ids")
def invalid_resume_ids() -> None:
    """Every turn has a process of its own, and those that go on are given no UUID."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, resume: str | None, turn: Turn) -> Any:
            # A process that is kept for the conversation would answer by itself, and be given no id.
            await self.end(conversation_id)
            return await ask(self, conversation_id, resume and "chat-1", turn)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


# The server also makes the mark of its processes by `uuid4().hex`, so what replaces a UUID needs that, too.
class SessionName(str):
    """What a session was called."""

    __slots__ = ()

    @property
    def hex(self) -> str:
        """As a UUID would give it."""
        return str(self)


@breaks("new-session-each-turn")
def new_session_each_turn() -> None:
    """Every message starts a session of its own."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, _resume: str | None, *args: Any, **kw: Any) -> Any:
            # A process that is kept still has the session.
            await self.end(conversation_id)
            return await ask(self, conversation_id, None, *args, **kw)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


def lines_of(most: int) -> None:
    """A line may have `most` bytes and no more."""

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


def opened(**changes: Any) -> None:
    """The CLI is started and asked as if the operator had opened something."""

    def make(build: Any) -> Any:
        return lambda *given: build(*given[:-1], replace(given[-1], **changes))

    # All three take the settings last: options and environment are given at the start, the prompt's form with
    # each turn.
    for name in ("arguments", "environment", "content"):
        put(chat_server.claude.invocation, name, make)


@breaks("mentions-read-files")
def mentions_read_files() -> None:
    """A path after @ is read."""
    opened(claude_mentions=True)


@breaks("slash-commands-run")
def slash_commands_run() -> None:
    """A prompt that begins with a slash is a command of the CLI."""
    opened(claude_commands=True)


@breaks("operators-home-shared")
def operators_home_shared() -> None:
    """The CLI has the HOME of the server's user, and uses what is there."""
    home = Path.home()
    if not home.name.startswith("chatgate-"):
        return  # it is that of the suite's user, and not of the case
    opened(claude_settings="user,project,local", claude_home=home)

    def make(build: Any) -> Any:
        return lambda server, passed, workspace, _home: build(server, passed, workspace, home)

    put(chat_server.claude.pool, "environment", make)


@breaks("retried-stream-doubled")
def retried_stream_doubled() -> None:
    """What is said of a stream that broke is not looked at."""
    put(chat_server.claude.answer.AnswerText, "discard_blocks", always(None))


@breaks("subagent-text-in-answer")
def subagent_text_in_answer() -> None:
    """Nobody looks at whose words they are."""

    def make(feed: Any) -> Any:
        def mutant(self: TurnParser, lines: list[bytes]) -> Any:
            # By this member the parser knows the lines of a subagent: under another name they are Claude's
            # own.
            return feed(self, [re.sub(rb'"parent_tool_use_id": ?"[^"]+"', b'"a":0', line) for line in lines])

        return mutant

    put(TurnParser, "feed", make)


@breaks("full-block-doubled")
def full_block_doubled() -> None:
    """Full messages are emitted although their deltas were."""

    # A block of its own, with the text as one delta: as the server does where there were no deltas.
    def whole(self: Any, text: str) -> Iterator[Any]:
        self.open_block()
        yield from self.delta(text)

    put(chat_server.claude.answer.AnswerText, "full_block", lambda _: whole)


@breaks("no-silence-timeout")
def no_silence_timeout() -> None:
    """A silent Claude is waited for."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), claude_silence_seconds=1e6),
    )


def ends_the_next_turn(*, late: bool) -> None:
    """The end of a stopped turn ends the next one of its conversation; or so it is when that end comes late."""
    # Theory: a server that reads results without asking whose they are takes the end of a stopped turn, when
    # it comes late, for the end of the next one. Here a conversation is marked when its turn was stopped, and
    # the next turn of it gets an empty result at once. With `late` only those are marked whose end took the
    # grace, which an interrupt that is obeyed does not: so the cases with a Claude that obeys still pass.
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


@breaks("cancel-without-interrupt")
def cancel_without_interrupt() -> None:
    """A cancelled turn ends at once, and its Claude is not interrupted."""
    # Theory: the session's result fails by hand, so the turn ends as if Claude had stopped. Its process must
    # go on, so the first `close` of that session, which would end it, is left out.
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


@breaks("idle-process-kept")
def idle_process_kept() -> None:
    """A process stays for as long as the server does."""
    put(
        Settings,
        "from_env",
        lambda old: lambda *args, **kw: replace(old(*args, **kw), claude_idle_seconds=1e6),
    )


@breaks("deletion-keeps-process")
def deletion_keeps_process() -> None:
    """Deleting a conversation leaves its process alone."""

    def make(_end: Any) -> Any:
        # Deleting is the only thing that asks for this end from outside; the idle time still comes.
        async def mutant(_self: Any, _conversation_id: str) -> None:
            return

        return mutant

    put(chat_server.claude.pool.Claude, "end", make)


@breaks("no-term-after-interrupt")
def no_term_after_interrupt() -> None:
    """Claude is asked to stop, and what it makes of that is its affair."""

    def make(interrupt: Any) -> Any:
        def mutant(self: Session) -> None:
            interrupt(self)
            # The timer is what leads from the interrupt to TERM and KILL.
            assert self._interrupt_timer is not None
            self._interrupt_timer.cancel()

        return mutant

    put(Session, "interrupt", make)


@breaks("missing-cli-is-claude-failed")
def missing_cli_is_claude_failed() -> None:
    """A Claude that cannot be started is reported as one that failed."""
    put(chat_server.errors.ClaudeUnavailable, "code", lambda _: "claude_failed")


@breaks("environment-passed-on")
def environment_passed_on() -> None:
    """The CLI gets the server's environment but for the server's own settings."""

    def passed_on(server: Any, _further: Any) -> dict[str, str]:
        return {name: value for name, value in server.items() if not name.startswith("CHAT_")}

    put(chat_server.claude.pool, "passed_on", lambda _: passed_on)


@breaks("dash-prompt-is-option")
def dash_prompt_is_option() -> None:
    """A prompt is taken for an option where it looks like one."""

    def make(ask: Any) -> Any:
        async def mutant(self: Any, conversation_id: str, resume: str | None, turn: Turn) -> Any:
            if turn.prompt.startswith("-"):
                # The words of the CLI for an option that it does not know.
                raise ClaudeFailed(f"error: unknown option '{turn.prompt.partition(' ')[0]}'")
            return await ask(self, conversation_id, resume, turn)

        return mutant

    put(chat_server.claude.pool.Claude, "ask", make)


@breaks("split-utf8-broken")
def split_utf8_broken() -> None:
    """What one read returned is taken for whole characters."""
    # The first half of a character becomes U+FFFD at the end of a read, and the second half at the beginning
    # of the next.
    put(
        LineSplitter,
        "feed",
        lambda old: lambda self, data: old(self, data.decode("utf-8", "replace").encode()),
    )


@breaks("result-text-repeated")
def result_text_repeated() -> None:
    """The text of a result is emitted again where there was no full message."""

    def make(last: Any) -> Any:
        def mutant(self: Any, text: str) -> Any:
            # Only where a block had no full message: with one, the same text in the result is known for a
            # duplicate.
            if self._full_blocks < len(self._blocks):
                self.open_block()
                yield from self.delta(text)
            else:
                yield from last(self, text)

        return mutant

    put(chat_server.claude.answer.AnswerText, "final", make)


@breaks("invalid-utf8-fails-turn")
def invalid_utf8_fails_turn() -> None:
    """Bytes that are no UTF-8 are the end."""

    def make(feed: Any) -> Any:
        def mutant(self: TurnParser, lines: list[bytes]) -> Any:
            for line in lines:
                line.decode()
            return feed(self, lines)

        return mutant

    put(TurnParser, "feed", make)


@breaks("equal-answer-dropped")
def equal_answer_dropped() -> None:
    """What was the last answer of a conversation is not said again."""
    # Theory: each new piece of text is looked for in the answer before. If it is there, the end of the last
    # entry of the log is moved behind it, so that no new event has it. History takes the text, and not the
    # entries.
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


@breaks("long-line-ends-server")
def long_line_ends_server() -> None:
    """A line of eight MiB takes the server down."""

    def make(feed: Any) -> Any:
        def mutant(self: LineSplitter, data: bytes) -> Any:
            lines = feed(self, data)
            if any(len(line) > 1 << 23 for line in lines):
                # As a crash: no handler runs, and nothing is cleaned up.
                os._exit(3)
            return lines

        return mutant

    put(LineSplitter, "feed", make)


@breaks("slow-lines-time-out")
def slow_lines_time_out() -> None:
    """A turn has a fixed time, whatever the CLI writes."""

    def make(on_output: Any) -> Any:
        def mutant(self: Session, data: bytes) -> None:
            before = self._last_output
            on_output(self, data)
            # The silence is measured from the last output: put back, it began with the turn.
            self._last_output = before

        return mutant

    put(Session, "on_output", make)


NO_FULL_MESSAGES = Patch(
    "claude/parser.py",
    '        if line.get("is_api_error_message") or line.get("error"):\n',
    "        if True:\n",
)

patched("full-messages-ignored", "Deltas and the result are read, and no full messages.", NO_FULL_MESSAGES)

patched(
    "deltas-only",
    "Deltas are read, and neither full messages nor the result.",
    NO_FULL_MESSAGES,
    Patch(
        "claude/parser.py",
        '            yield from self._answer.final(_str(line.get("result")))\n',
        "            pass\n",
    ),
)

patched(
    "final-text-ignored",
    "Text that is in the result only is not read.",
    Patch(
        "claude/parser.py",
        '            yield from self._answer.final(_str(line.get("result")))\n',
        "            pass\n",
    ),
)

patched(
    "unknown-line-fails-turn",
    "Every line is taken for JSON.",
    Patch("claude/parser.py", "        message = _decode(line)\n", "        message = json.loads(line)\n"),
)

patched(
    "result-text-only-if-empty",
    "The text of the result is read only where nothing was visible before.",
    Patch(
        "claude/parser.py",
        'self._answer.final(_str(line.get("result")))',
        'self._answer.final("" if len(self._answer.visible) else _str(line.get("result")))',
    ),
)

patched(
    "no-rewind-on-retry",
    "Text that was sent before a stream broke is never taken back.",
    Patch(
        "claude/answer.py",
        "        if self._unconfirmed:\n            self.visible.truncate(self._offset)\n",
        "        if False:\n            self.visible.truncate(self._offset)\n",
    ),
)

patched(
    "cached-tokens-counted",
    "Tokens read from the cache are counted as if they were new.",
    Patch(
        "claude/parser.py",
        '        reported = _dict(line.get("usage"))\n',
        '        reported = _dict(line.get("usage"))\n'
        '        cached = ("cache_read_input_tokens", "cache_creation_input_tokens")\n'
        "        more = sum(_int(reported.get(each)) for each in cached)\n"
        '        reported = {**reported, "input_tokens": _int(reported.get("input_tokens")) + more}\n',
    ),
)

patched(
    "lone-surrogate-fails-turn",
    "A lone surrogate in a line of claude cannot be encoded.",
    Patch(
        "claude/parser.py",
        "        message = _decode(line)\n",
        '        if b"\\\\ud8" in line:\n'
        "            json.dumps(json.loads(line), ensure_ascii=False).encode()\n"
        "        message = _decode(line)\n",
    ),
)
