"""One turn: prompt in, messages out, as the CLI's own loop makes them."""

from __future__ import annotations

import time
from collections import Counter

from fake_claude import json_lines
from fake_claude.api.reply import Fault
from fake_claude.engine import slash
from fake_claude.engine.hooks import Blocked
from fake_claude.engine.misbehaviour import do_trick
from fake_claude.engine.request import Heard, Request
from fake_claude.engine.retries import Failure, title
from fake_claude.engine.tool_calls import Ended, Tools
from fake_claude.invocation.javascript import shown
from fake_claude.lines import events
from fake_claude.lines.costs import empty_usage
from fake_claude.lines.result import Tally, result
from fake_claude.prompt.user_text import NotImitated, UserText
from fake_claude.script.ask import (
    CUT_NOTE,
    EMPTY_NOTE,
    INTERRUPTED,
    INTERRUPTED_IN_TOOL,
    OUTPUT_LIMIT_NOTE,
    REFUSED_NOTE,
    STRUCTURE_NOTE,
    read_messages,
)
from fake_claude.script.model import Play, ScriptError, Step
from fake_claude.waits import BREATHE, Interrupted, Pushed, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from fake_claude.engine.builtin_tools import Outcome
    from fake_claude.engine.loop import Engine
    from fake_claude.script.file import Entry

    Message = dict[str, Any]

CONTINUATIONS = 3
"""How often an answer that hit the output limit is continued."""

DIAGNOSTIC = "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason={}"


class Turn:
    """The life of one prompt, driven by the engine through ``run``."""

    def __init__(self, engine: Engine, prompts: list[Message]) -> None:
        self.engine = engine
        self.context = engine.context
        self.prompts = prompts
        self.content: object = (
            prompts[0]["content"] if len(prompts) == 1 else "\n".join(prompt["text"] for prompt in prompts)
        )
        self.origin: Message | None = prompts[0].get("origin")
        self.uuids: list[str] = [prompt["uuid"] for prompt in prompts if prompt["uuid"]]
        self.own_uuids = list(self.uuids)
        self.tally = Tally(engine.costs, engine.api_ms)
        self.started_ms = int(time.time() * 1000)
        self.model = self.context.model
        self.fell_back = False
        self.play = Play([])
        self.told = False  # an assistant line was printed
        self.tools = Tools(self)
        self.results: list[tuple[Message, Outcome]] = []
        self.request: Request | None = None
        self.structured: Message | None = None  # the answer of the form that was asked for
        self.failures: Counter[str] = Counter()
        self._entry: Entry | None = None
        self._fault: Fault | None = None
        self._echoed = False
        self._refusals = 0
        self._refused: Message | None = None  # the line that tells of a second refusal
        self._in_tools = False
        self.rounds = 0

    # The course of a turn.

    def run(self) -> Generator[Wait, Any, None]:
        """Play the turn; yields what it waits for."""
        engine = self.engine
        transcript = engine.transcript
        engine.tell_state("running")
        transcript.enqueue(self.content)
        try:
            text = UserText(engine, self.content)
            text.write(self.uuids[-1] if self.uuids else None)
        except Blocked as blocked:
            slash.blocked(engine, self.tally, blocked)
            return
        except NotImitated as refusal:
            slash.not_imitated(engine, self.tally, str(refusal))
            return
        self.model = text.model or self.model
        self._find_play()
        self.tricks("before_init")
        if not engine.results and (not self.context.customised or self.context.configuration.hooks_off):
            engine.emit(events.system(self.context, "ui_invalidate", event="ui.render"))
        engine.emit(events.init(self.context, engine.project_dir, self.uuids), "init")
        try:
            yield from self._rounds()
        except Interrupted:
            self._aborted()
        except Ended:
            self._told_results()
            self._aborted_in_tools()
        except Pushed:
            self._pushed_aside()
        except LoggedOut:
            self._failed(logged_out())
        self.tricks("after_result")

    def _find_play(self) -> None:
        ask = read_messages(self.engine.transcript.messages)
        try:
            self.play, self._entry = self.engine.scripts.find(ask, again=self._entry)
        except ScriptError as error:
            self._fault = Fault("http", status=400, type="invalid_request_error", message=str(error))

    def _rounds(self) -> Iterator[Wait]:  # noqa: C901, PLR0911, PLR0912 - a list of cases, read one by one
        """Ask, run tools, ask again, until the answer is there."""
        continued = asked_again = 0
        enforced = False
        while True:
            before = dict(self.tally.usage)
            heard = yield from self._ask()
            if not isinstance(heard, Heard):
                self._failed(heard)
                return
            if self._over_budget():
                self.tally.usage = before
                budget = self.context.options.text("max-budget-usd")
                self._end_with_error(
                    "error_max_budget_usd", f"Reached maximum budget (${budget})", "budget_exhausted"
                )
                return
            assert self.request is not None
            if self.request.cut_short:
                self._note(CUT_NOTE)
            elif heard.tools:
                yield from self._run_tools()
                if self.structured is not None:
                    self._completed(heard)
                    return
                if 0 < self.context.max_turns < self.rounds + 1:
                    limit = shown(self.context.max_turns)
                    self._end_with_error(
                        "error_max_turns", f"Reached maximum number of turns ({limit})", "max_turns"
                    )
                    return
                self._absorb()
            elif heard.stop_reason == "max_tokens":
                if continued == CONTINUATIONS:
                    self._failed(_output_limit())
                    return
                continued += 1
                self._note(OUTPUT_LIMIT_NOTE)
            elif heard.stop_reason == "refusal":
                if self._refused is not None:
                    self._refused_twice()
                    return
                self._continue_refused(heard)
            elif self.context.wants_structure and not enforced:
                enforced = True
                self._note(STRUCTURE_NOTE)
            elif not heard.visible and not asked_again:
                asked_again = 1
                self._note(EMPTY_NOTE)
            else:
                self._completed(heard)
                return

    def _ask(self) -> Generator[Wait, Any, Heard | Failure]:
        self.rounds += 1
        if self.context.partial and self.context.streams_out:
            self.engine.emit(events.status(self.context, "requesting", self.uuids))
        self.tools = Tools(self)
        self.results = []
        self.request = Request(self)
        self.engine.note_request(self.model)
        yield BREATHE  # an interrupt that came together with the prompt is in time
        return (yield from self.request.run())

    def refused_request(self, model: str) -> Fault | None:
        """Return the fault of a request that no script can answer.

        Raises:
            LoggedOut: Nobody is logged in, and there is no key.
        """
        if self.engine.needs_key and not self.context.has_key:
            raise LoggedOut
        url = self.context.env.get("ANTHROPIC_BASE_URL")
        if url is not None and not url.startswith(("http://", "https://")):
            return Fault("url")
        if not self.context.model_known(model):
            return Fault("http", status=404, type="not_found_error", message=f"model: {model}")
        return self._fault

    def flush_results(self) -> None:
        """Write what tools came to, for a process that is about to end."""
        self._told_results()
        self.engine.transcript.flush()

    def _run_tools(self) -> Iterator[Wait]:
        self._in_tools = True
        self.engine.absorbing = True
        yield from self.tools.run()
        self.engine.absorbing = False
        self._in_tools = False
        self._told_results()

    def _told_results(self) -> None:
        """Write the results to the transcript, after the blocks that asked for them."""
        for event, outcome in self.results:
            self.engine.transcript.user(event, toolUseResult=outcome.facts)
        self.results = []

    def _absorb(self) -> None:
        """Take in messages that came while tools ran (docs/claude-cli.md, persistent process)."""
        for prompt in self.engine.take_queue():
            if self.context.replay:
                self._replay(prompt["content"], prompt["uuid"], timestamped=True)
            if prompt["uuid"]:
                self.engine.emit(events.lifecycle(self.context, prompt["uuid"], "started"))
                self.uuids.append(prompt["uuid"])
            self.engine.transcript.queued(prompt["content"])

    def _note(self, text: str, **extra: object) -> None:
        """Add a user line that the CLI made up, and that the model answers."""
        event = events.user(self.context, [{"type": "text", "text": text}], isSynthetic=True, **extra)
        self.engine.emit(event)
        self.tally.user_lines += 1
        self.engine.transcript.user({**event, "message": {"role": "user", "content": text}})

    def _over_budget(self) -> bool:
        return self.context.max_budget is not None and self.engine.costs.total > self.context.max_budget

    # Refusals.

    def refusal(self, heard: Heard) -> None:
        """A message is about to end: tell of a second refusal before its last lines."""
        if heard.stop_reason != "refusal":
            return
        self.tally.safety_stops += 1
        if self._refusals == 0:
            return
        name = title(self.model)
        text = (
            f"API Error: {name}'s safeguards flagged this message (https://www.anthropic.com/legal/aup). This sometimes"
            f" happens with safe, normal conversations. Claude Code can't respond to this message with {name}.\n\nTry"
            " rephrasing the request in a new session or change your model.\n\nLearn more:"
            " https://support.claude.com/en/articles/8106465\n\nRequest ID:"
            f" {self.engine.request_id}\n\nMessage ID: {heard.id}"
        )
        self.engine.emit(
            events.system(
                self.context,
                "model_refusal_no_fallback",
                original_model=self.model,
                request_id=self.engine.request_id,
                api_refusal_category=None,
                api_refusal_explanation=None,
                refused_user_message_uuid=self.engine.transcript.last_prompt_uuid,
                content="",
            )
        )
        event = events.synthetic_assistant(self.context, text)
        event["message"]["stop_reason"] = "refusal"
        event |= {
            "error": "invalid_request",
            "request_id": self.engine.request_id,
            "is_api_error_message": True,
        }
        event["refused_message_id"] = heard.id
        self.engine.emit(event, "full")
        self._refused = event

    def _continue_refused(self, heard: Heard) -> None:
        self._refusals += 1
        self.engine.emit(
            events.system(
                self.context,
                "informational",
                content=f"{title(self.model)}'s safeguards stopped the response above"
                " · continuing once with that noted",
                level="notice",
            )
        )
        self._note(REFUSED_NOTE, refused_message_id=heard.id)

    def _refused_twice(self) -> None:
        assert self._refused is not None
        text = self._refused["message"]["content"][0]["text"]
        self.tally.stop_reason = "refusal"
        self.tally.timed = False
        self.engine.transcript.assistant(
            self._refused, self._refused["message"], error="invalid_request", isApiErrorMessage=True
        )
        self._end(self._result("api_error", text=text, is_error=True))

    # Uuids and echoes.

    def uuid_members(self) -> Message:
        """Return what lines say about the messages this turn answers."""
        return {"user_message_uuid": self.own_uuids[-1], "user_message_uuids": list(self.uuids)}

    def echo_prompts(self) -> None:
        """Replay the prompt when its answer begins, if the host wants that."""
        if self.context.replay and not self._echoed:
            self._replay(self.content, self.prompts[-1]["uuid"], timestamped=True)
        self._echoed = True

    def echo_merged(self) -> None:
        """Replay the messages that were merged into the last one."""
        if self.context.replay:
            for prompt in self.prompts[:-1]:
                self._replay(prompt["content"], prompt["uuid"])

    def _replay(self, content: object, uuid: str | None, *, timestamped: bool = False) -> None:
        self.engine.emit(events.replayed(self.context, content, uuid, timestamped=timestamped))

    # Misbehaviour.

    def tricks(self, moment: str) -> None:
        """Play the steps that belong before the first line or after the last."""
        for step in self.play.at(moment):
            if step.where:
                self.engine.record.note("step", where=step.where)
            self.trick(step)

    def trick(self, step: Step) -> None:
        """Misbehave."""
        if step.kind == "logged_out":
            raise LoggedOut
        do_trick(self.engine, step)

    def play_step(self, tool: str, given: Message) -> Step | None:
        """Return the script's step behind a tool call."""
        steps = [step for step in self.play.steps if step.kind == "tool" and step.value == tool]
        return next((step for step in steps if step.more.get("input", {}) == given), None)

    # Ends.

    def _result(self, terminal_reason: str | None, **members: Any) -> Message:
        extra: Message = {}
        first = self.tally.first_usage or empty_usage()
        if self.own_uuids:
            extra = self.uuid_members()
        if self.own_uuids and members.get("subtype", "success") == "success":
            extra |= {
                "request_sent_wall_ms": self.started_ms + (self.tally.requested_ms or 0),
                "first_request_input_tokens": first["input_tokens"],
                "first_request_cache_read_input_tokens": first["cache_read_input_tokens"],
            }
        return result(
            self.context,
            self.tally,
            index=self.engine.results,
            queued=0,
            terminal_reason=terminal_reason,
            origin=self.origin,
            extra=extra,
            **members,
        )

    def _completed(self, heard: Heard) -> None:
        self.tally.stop_reason = heard.stop_reason
        if self.structured is None:
            self._end(self._result("completed", text=heard.text))
        else:
            text = json_lines.dumps(self.structured)
            self._end(self._result("completed", text=text, structured=self.structured))

    def _failed(self, failure: Failure) -> None:
        """End the turn with an API error (docs/claude-cli.md, API trouble)."""
        event = events.synthetic_assistant(self.context, failure.text)
        event["error"] = failure.word
        if failure.status is not None:
            event["request_id"] = self.engine.request_id
        event["is_api_error_message"] = True
        told: Message = {}
        if failure.status is not None:
            told = {"api_error_status": failure.status, "api_error_type": failure.type}
            event |= told
        else:
            told = {"api_error_status": None}
        if failure.api_error is not None:
            told["api_error"] = event["api_error"] = failure.api_error
        event |= failure.more
        self.engine.emit(event, "full")
        self.engine.transcript.assistant(event, event["message"], error=failure.word, isApiErrorMessage=True)
        self.tally.stop_reason = "stop_sequence"
        self.tally.timed = False
        self._end(self._result(failure.terminal_reason, text=failure.text, is_error=True, api_error=told))

    def _end_with_error(self, subtype: str, text: str, reason: str) -> None:
        assert self.request is not None
        heard = self.request.heard
        assert heard is not None
        self._told_results()
        self.tally.stop_reason = heard.stop_reason
        self.tally.timed = False
        self._end(self._result(reason, subtype=subtype, is_error=True, errors=[text]))

    def _aborted(self) -> None:
        """Tell of an interruption (docs/claude-cli.md, control protocol and signals)."""
        if self._in_tools:
            self.tools.interrupted()
            self._told_results()
            self._aborted_in_tools()
            return

        def note() -> None:
            self._interruption(INTERRUPTED)

        if self.request is not None:
            self.request.interrupted(note)
        else:
            note()
        self._told_results()
        self.tally.usage = empty_usage()
        self.tally.stop_reason = None
        self._end_aborted("aborted_streaming", "null")

    def _aborted_in_tools(self) -> None:
        self._interruption(INTERRUPTED_IN_TOOL)
        self.tally.stop_reason = "tool_use"
        self._end_aborted("aborted_tools", "tool_use")

    def _interruption(self, text: str) -> None:
        event = events.user(self.context, [{"type": "text", "text": text}])
        self.engine.emit(event)
        self.tally.user_lines += 1
        self.engine.transcript.user(event)

    def _end_aborted(self, reason: str, stop: str) -> None:
        self.tally.timed = False
        errors = [DIAGNOSTIC.format(stop)]
        message = self._result(reason, subtype="error_during_execution", is_error=True, errors=errors)
        self._end(message, "cancelled")

    def _pushed_aside(self) -> None:
        """A message of priority ``now`` takes over: what was said is the result."""
        assert self.request is not None
        if self._in_tools:
            self.tools.interrupted()
        self.request.interrupted(lambda: None)
        self._told_results()
        heard = self.request.heard
        self.tally.usage = empty_usage()
        self.tally.stop_reason = None
        self._end(self._result("aborted_streaming", text=heard.text if heard else ""), state="cancelled")

    def _end(self, message: Message, state: str = "completed") -> None:
        self.engine.end_turn(self, message, state)


class LoggedOut(Exception):
    """The script wants a CLI without a key."""


def _output_limit() -> Failure:
    failure = Failure(
        "API Error: Claude's response exceeded the 128000 output token maximum. To configure this behavior, set the"
        " CLAUDE_CODE_MAX_OUTPUT_TOKENS environment variable.",
        "max_output_tokens",
    )
    failure.api_error = "max_output_tokens"
    failure.more = {"api_error_params": {"cut": "output_limit"}}
    return failure


def logged_out() -> Failure:
    """How a turn ends for want of a key."""
    return Failure("Not logged in · Please run /login", "authentication_failed")
