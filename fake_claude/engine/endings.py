"""How a turn ends: what is printed and written last, and the result line."""

from __future__ import annotations

import time

from fake_claude import json_lines
from fake_claude.engine.retries import Failure
from fake_claude.lines import events
from fake_claude.lines.costs import empty_usage
from fake_claude.lines.result import result
from fake_claude.script.ask import INTERRUPTED, INTERRUPTED_IN_TOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.assistant_message import AssistantMessage
    from fake_claude.engine.request import Request
    from fake_claude.engine.turn_state import TurnState

    Message = dict[str, Any]

DIAGNOSTIC = "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason={}"
UNCHECKED = "prompt_check: the turn was stopped before its prompt was checked"


class Endings:
    """The ways in which one turn may end; exactly one of them is called."""

    def __init__(self, state: TurnState) -> None:
        self._state = state
        self._run = state.run
        self._context = state.context
        self._tally = state.tally

    def completed(
        self, message: AssistantMessage, *, text: str | None = None, reason: str = "completed"
    ) -> None:
        """The answer is there, or a hook ended the turn with ``text``."""
        structured = self._state.structured
        self._tally.stop_reason = message.stop_reason
        if structured is None:
            self._end(self._result(reason, text=message.text if text is None else text))
        else:
            self._end(self._result("completed", text=json_lines.dumps(structured), structured=structured))

    def failed(self, failure: Failure) -> None:
        """The API failed (docs/claude-cli.md, API trouble)."""
        # The echo comes with the start of an answer; a failure may have none, and the host still waits for
        # its echo.
        self._state.echo_prompts()
        event = events.synthetic_assistant(self._context, failure.text)
        event["error"] = failure.word
        if failure.status is not None:
            event["request_id"] = self._run.request_id
        event["is_api_error_message"] = True
        members: Message = {}
        if failure.status is not None:
            members = {"api_error_status": failure.status, "api_error_type": failure.type}
            event |= members
        else:
            members = {"api_error_status": None}
        if failure.api_error is not None:
            members["api_error"] = event["api_error"] = failure.api_error
        event |= failure.more
        self._run.emit(event, "full")
        # It is in the file, but not in the history: the next request must not show the model an answer it
        # never gave.
        self._run.transcript.assistant(event, event["message"], error=failure.word, isApiErrorMessage=True)
        self._tally.stop_reason = "stop_sequence"
        self._tally.timed = False
        self._end(self._result(failure.terminal_reason, text=failure.text, is_error=True, api_error=members))

    def refused_twice(self, line: Message) -> None:
        """The model refused again; ``line`` was printed and says so."""
        text = line["message"]["content"][0]["text"]
        self._tally.stop_reason = "refusal"
        self._tally.timed = False
        self._run.transcript.assistant(line, line["message"], error="invalid_request", isApiErrorMessage=True)
        self._end(self._result("api_error", text=text, is_error=True))

    def limit_reached(self, message: AssistantMessage | None, subtype: str, text: str, reason: str) -> None:
        """A limit of the command line ends the turn."""
        self._state.write_results()
        self._tally.stop_reason = message.stop_reason if message is not None else None
        self._tally.timed = False
        self._end(self._result(reason, subtype=subtype, is_error=True, errors=[text]))

    def aborted(self, request: Request) -> None:
        """An interrupt while the model answers (docs/claude-cli.md, control protocol and signals)."""

        # The note stands in the middle of what the request still prints: after the partial text, before the
        # events that close the stream. So it is handed in as a function.
        def note() -> None:
            self._interruption(INTERRUPTED)

        request.interrupted(note)
        self._state.write_results()
        # Zero although money was spent, as the CLI has it (docs/claude-cli.md, the result). The costs keep
        # it.
        self._tally.usage = empty_usage()
        self._tally.stop_reason = None
        self._end_aborted("aborted_streaming", "null")

    def unchecked(self) -> None:
        """An interrupt while hooks are asked about the prompt: of the turn only the note is kept."""
        self._run.emit(events.init(self._context, self._run.project_dir, self._state.uuids), "init")
        self._interruption(INTERRUPTED)
        self._tally.timed = False
        message = self._result(
            "aborted_streaming", subtype="error_during_execution", is_error=True, errors=[UNCHECKED]
        )
        # The note is no line of a turn that never asked anything.
        self._end({**message, "num_turns": 0}, "cancelled")

    def aborted_in_tools(self) -> None:
        """An interrupt while tools run, or a host that refuses a tool and ends the turn."""
        self._state.write_results()
        self._interruption(INTERRUPTED_IN_TOOL)
        # The message that called the tools was complete: unlike above, its usage and its stop reason stay.
        self._tally.stop_reason = "tool_use"
        self._end_aborted("aborted_tools", "tool_use")

    def preempted(self, request: Request) -> None:
        """A message of priority ``now`` replaces the turn: what was said is the result."""
        # No note: for the model the user did not interrupt but wrote on.
        request.interrupted(lambda: None)
        self._state.write_results()
        self._tally.usage = empty_usage()
        self._tally.stop_reason = None
        text = request.message.text if request.message else ""
        self._end(self._result("aborted_streaming", text=text), state="cancelled")

    def _interruption(self, text: str) -> None:
        event = events.user(self._context, [{"type": "text", "text": text}])
        self._run.emit(event)
        self._tally.user_lines += 1
        self._run.transcript.user(event)

    def _end_aborted(self, reason: str, stop: str) -> None:
        self._tally.timed = False
        errors = [DIAGNOSTIC.format(stop)]
        message = self._result(reason, subtype="error_during_execution", is_error=True, errors=errors)
        self._end(message, "cancelled")

    def _result(self, terminal_reason: str | None, **members: Any) -> Message:
        state, tally = self._state, self._tally
        extra: Message = {}
        # Times and counts of the first request are there only for a host that gave its message a uuid.
        first = tally.first_usage or empty_usage()
        if state.own_uuids:
            extra = state.uuid_members()
        if state.own_uuids and members.get("subtype", "success") == "success":
            extra |= {
                "request_sent_wall_ms": state.started_ms + (tally.requested_ms or 0),
                "first_request_input_tokens": first["input_tokens"],
                "first_request_cache_read_input_tokens": first["cache_read_input_tokens"],
            }
        return result(
            self._context,
            tally,
            index=self._run.results,
            queued=0,
            terminal_reason=terminal_reason,
            origin=state.origin,
            extra=extra,
            **members,
        )

    def _end(self, message: Message, state: str = "completed") -> None:
        """Save the session and print the result and what follows it."""
        run, turn = self._run, self._state
        # On disk before the result is out (docs/claude-cli.md, sessions): a host that kills us when it has
        # the result must be able to resume.
        run.transcript.turn_ended(
            turn.content,
            {
                "totalCostUSD": run.costs.total,
                "totalAPIDuration": run.api_ms,
                "totalAPIDurationWithoutRetries": run.api_ms,
                "totalToolDuration": 0,
                "totalLinesAdded": 0,
                "totalLinesRemoved": 0,
                "totalDuration": turn.tally.now(),
                "startTime": int(time.time() * 1000),
                "modelUsage": run.costs.copy(),
                "hasUnknownModelCost": False,
            },
        )
        run.write_deferred()
        # Messages that were merged into the running turn are completed before the result, the turn's own
        # after it.
        for uuid in turn.uuids:
            if uuid not in turn.own_uuids:
                run.emit(events.lifecycle(run.context, uuid, state))
        run.print_result(message)
        for uuid in turn.own_uuids:
            run.emit(events.lifecycle(run.context, uuid, state))
        run.emit_state("idle")


def output_limit() -> Failure:
    """Return the failure of an answer that hit the output limit again and again."""
    failure = Failure(
        "API Error: Claude's response exceeded the 128000 output token maximum. To configure this behavior, set the"
        " CLAUDE_CODE_MAX_OUTPUT_TOKENS environment variable.",
        "max_output_tokens",
    )
    failure.api_error = "max_output_tokens"
    failure.more = {"api_error_params": {"cut": "output_limit"}}
    return failure


def logged_out() -> Failure:
    """Return the failure of a run without a key."""
    return Failure("Not logged in · Please run /login", "authentication_failed")
