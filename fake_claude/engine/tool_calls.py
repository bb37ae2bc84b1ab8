"""Tool calls of a turn: permission, execution, result."""

from __future__ import annotations

import os
import re
import time

from fake_claude.bash.verdict import Verdict
from fake_claude.catalog import STRUCTURED
from fake_claude.clock import timestamp
from fake_claude.engine.builtin_tools import SUPPORTED, ToolResult, bash_result, failed, read_file, write_file
from fake_claude.engine.hooks import has_hooks, run_hooks
from fake_claude.engine.shell import Running
from fake_claude.ids import fresh_id, fresh_uuid
from fake_claude.invocation.permissions import DENIED_FOLDER, UNREADABLE, inside, judge, suggestions
from fake_claude.lines import events
from fake_claude.waits import Exit, HostResponse, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from fake_claude.engine.background import Background
    from fake_claude.engine.hook_outcome import HookOutcome
    from fake_claude.engine.turn_state import TurnState

    Message = dict[str, Any]

LONG_TOOL = 3.0
"""Seconds after which a running command is announced as a task."""

REJECTED = (
    "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the"
    " new_string was NOT written to the file). STOP what you are doing and wait for the user to tell you how to"
    " proceed."
)
STOPPED = (
    REJECTED
    + " Correction to the text above: this call was stopped while running, not refused before it ran. It may"
    " have run in part or in full, and its changes may have been written. No permission prompt was involved. Work it"
    " started elsewhere (a remote command, a background process) may still be running, so check before starting the"
    " same work again. The instruction to stop and wait still stands."
)
BAD_ANSWER = (
    "The canUseTool callback returned an invalid permission result. Expected {behavior: 'allow', updatedInput?:"
    " object} or {behavior: 'deny', message: string}. updatedPermissions may hold at most 4096 updates, rules and"
    " directories in all."
)
UNANSWERED = (
    "PreToolUse hook did not respond before its timeout (host client may be unreachable). The tool call was not"
    " executed; other configured hooks may not have completed."
)
CLOSED = (
    "The user doesn't want to take this action right now. STOP what you are doing and wait for the user to tell you how"
    " to proceed."
)
NO_ANSWER = "Tool permission request failed"
NO_SERVER_CHECK = (
    "Auto mode can't check actions in this session. Its safety check runs on the server, and your requests go through"
    " {host}, which doesn't pass it through. Nobody can be asked to approve actions in this session, so every action"
    " that needs the check is refused. To run these actions, use another permission mode. To use auto mode, ask whoever"
    " runs {host} to pass Claude Code's server-side safety check through:"
    " https://code.claude.com/docs/en/permission-modes#server-side-classifier-review"
)


# Tab and line end are left out: a dialog shows them.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
HIDDEN = (
    'InputValidationError: [\n  {\n    "code": "custom",\n    "path": [\n      "command"\n    ],\n'
    '    "message": "command contains control characters that would be hidden in the approval dialog"\n  }\n]'
)


class Call:
    """One tool_use block and what becomes of it."""

    def __init__(self, block: Message) -> None:
        # A call's life, from the complete block to its result:
        # ``on_block_complete`` decides by rules, or leaves it open for hooks or the host;
        # ``request_permissions``, at the message's end, sends what the host must decide;
        # ``run``, after the message, waits for the host, executes, and lets hooks see what came of it.
        # At each point it may be finished, with a refusal for example; ``done`` then takes it out of all
        # later ones.
        self.id: str = block["id"]
        self.name: str = block["name"]
        self.input: Message = block["input"]
        self.request_id: str | None = None  # of the open request to the host
        self.verdict: Verdict | None = None
        self.decision: Message = {}
        self.running: Running | None = None
        self.done = False
        self.began = 0.0
        self.hooked = False  # hooks are asked before anything is decided

    def meta(self, **more: object) -> Message:
        """Return the metadata of a result: how its permission was decided."""
        return {"id": self.id, **more, "permission_decision": self.decision}


class EndedByHost(Exception):
    """The host refused a tool and ends the turn."""


class ToolCalls:
    """The calls of one assistant message."""

    def __init__(self, state: TurnState, background: Background) -> None:
        self.state = state
        self.context = state.context
        self._run = state.run
        self._background = background
        self.calls: list[Call] = []
        self._warned = False
        self.stopped: str | None = None  # a hook ends the turn after these calls, and why
        self.attachments: list[Message] = []  # what hooks add for the model

    def on_block_complete(self, block: Message) -> None:
        """A tool_use block is complete: decide the call now, unless the host must be asked."""
        call = Call(block)
        self.calls.append(call)
        if call.name not in self.context.tools and call.name != "Agent":
            self._missing(call)
            return
        # Before hooks and rules: what a person cannot see must not be approved by anything.
        if call.name == "Bash" and _HIDDEN.search(str(call.input.get("command", ""))):
            self._finish(call, failed(call.id, HIDDEN, tagged=True, plain=HIDDEN))
            return
        call.hooked = has_hooks(self._run, "PreToolUse", call.name)
        if not call.hooked:
            self._judge(call)

    def _judge(self, call: Call) -> None:
        """Decide about a call by rules and modes."""
        verdict = judge(call.name, call.input, self.context)
        call.verdict = verdict
        if verdict.allowed:
            call.decision = {"decision": "accept", "source": verdict.source}
            if verdict.reason_type is not None:
                call.decision["reason_type"] = verdict.reason_type
        elif verdict.forbidden or not self.context.asks_host:
            self._denied(call, verdict)

    def _missing(self, call: Call) -> None:
        text = f"Error: No such tool available: {call.name}"
        instead = {
            "Glob": "find files with `find`",
            "Grep": "search file contents with `grep`",
        }.get(call.name)
        if instead is not None:
            text += f". {call.name} is not available in this session — {instead} via the Bash tool instead."
        elif call.name in self.context.all_tools:
            text += f". {call.name} is disabled for this session, in subagents as well as here."
        self._finish(call, failed(call.id, text, tagged=True, plain=text))

    def _denied(self, call: Call, verdict: Verdict) -> None:
        """No host can be asked: refuse the call."""
        tool = self.context.options.text("permission-prompt-tool")
        # A named MCP tool should decide, and the fake has no MCP: the CLI, too, ends here without a result.
        if tool is not None and tool != "stdio":
            text = f"Error: MCP tool {tool} (passed via --permission-prompt-tool) not found. Available MCP tools: none"
            plain = f"Error calling tool ({call.name}): {text}"
            self._finish(call, failed(call.id, plain, tagged=True, plain=plain))
            self._run.err.line(text)
            raise Exit(1)
        # Once per message: it explains all refusals that follow.
        if verdict.extra.get("decision_reason_type") == "classifier" and not self._warned:
            self._warned = True
            host = self.context.env.get("ANTHROPIC_BASE_URL", "").partition("://")[2] or "the API"
            self._run.emit(
                events.system(
                    self.context,
                    "informational",
                    content=NO_SERVER_CHECK.format(host=host),
                    isMeta=False,
                    level="warning",
                    tag="auto_mode_no_server_check",
                    timestamp=timestamp(),
                )
            )
        if verdict.message in (DENIED_FOLDER, UNREADABLE):  # a path that a rule hides is an error of the tool
            self._deny(call)
            call.decision = {"decision": "reject", "source": "config", "reason_type": "rule"}
            self._finish(call, failed(call.id, verdict.message, tagged=True, meta=call.meta()))
            return
        self._run.emit(
            events.system(
                self.context,
                "permission_denied",
                tool_name=call.name,
                tool_use_id=call.id,
                **verdict.extra,
                message=verdict.message,
            )
        )
        self._deny(call)
        call.decision = {"decision": "reject", "source": "config"}
        if verdict.reason_type is not None:
            call.decision["reason_type"] = verdict.reason_type
        self._finish(call, failed(call.id, verdict.message, meta=call.meta(non_execution_kind=verdict.kind)))

    def _deny(self, call: Call) -> None:
        self.state.tally.denials.append(
            {"tool_name": call.name, "tool_use_id": call.id, "tool_input": call.input}
        )

    def request_permissions(self) -> None:
        """Send a permission request for each call that needs one."""
        for call in self.calls:
            if call.done or call.verdict is None or call.verdict.allowed:
                continue
            self._request(call)

    def _request(self, call: Call) -> None:
        assert call.verdict is not None
        call.request_id = fresh_uuid()
        self._run.emit_state("requires_action")
        request: Message = {
            "subtype": "can_use_tool",
            "tool_name": call.name,
            "display_name": call.name,
            "input": call.input,
            "description": _description(call),
        }
        offered = suggestions(call.name, call.verdict)
        if offered is not None:
            request["permission_suggestions"] = offered
        if call.verdict.path is not None and call.name == "Bash":
            request["blocked_path"] = call.verdict.path
        # The order of members means nothing to readers, but it stays the CLI's.
        extra = call.verdict.extra  # here the reason comes before its type
        request |= {name: extra[name] for name in sorted(extra)}
        request["tool_use_id"] = call.id
        request |= call.verdict.asked_with
        self._run.emit(events.control_request(call.request_id, request))

    def run(self) -> Generator[Wait, Any, None]:
        """Execute the remaining calls in order; print each result."""
        for call in self.calls:
            # One after the other, though the CLI runs some in parallel: a script then has one order of
            # results, whatever the machine does.
            if call.hooked and not call.done:
                yield from self._before(call)
            if call.request_id is not None and not call.done:
                answer = yield HostResponse(call.request_id)
                # No longer open: an interrupt from here on must not withdraw what was answered.
                call.request_id = None
                self._run.emit_state("running")
                self._apply_decision(call, answer)
            if not call.done:
                outcome = yield from self._execute(call)
                # Printed only when hooks have seen it.
                yield from self._after(call, outcome)
                self._finish(call, outcome)

    def _before(self, call: Call) -> Generator[Wait, Any, None]:
        """Run the hooks before a call, and decide about it by what they answer."""
        about = {"tool_name": call.name, "tool_input": call.input, "tool_use_id": call.id}
        outcome = yield from run_hooks(self._run, "PreToolUse", call.name, about, tool_use_id=call.id)
        call.hooked = False
        self._note(outcome)
        if outcome.unanswered:
            self._finish(call, failed(call.id, UNANSWERED, plain=f"Error: {UNANSWERED}"))
            return
        if outcome.closed:
            meta = {"id": call.id, "non_execution_kind": "cancelled"}
            self._finish(call, failed(call.id, CLOSED, meta=meta, plain=CLOSED))
            return
        if outcome.updated_input is not None:
            call.input = outcome.updated_input
        # A hook's word goes before rules: deny and allow decide, ask turns even what a rule allows into a
        # request, and silence leaves all to the rules.
        if outcome.decision == "deny":
            self._deny(call)
            call.decision = {"decision": "reject", "source": "hook", "reason_type": "hook"}
            text = f"PreToolUse:{call.name} hook error: {outcome.reason}"
            plain = f"Error: {text}"
            meta = call.meta(non_execution_kind="permission-rule")
            self._finish(call, failed(call.id, text, meta=meta, plain=plain))
            return
        if outcome.decision == "ask":
            extra = {"decision_reason_type": "hook", "decision_reason": outcome.reason}
            call.verdict = Verdict(allowed=False, message=outcome.reason, extra=extra)
            if not self.context.asks_host:
                self._denied(call, call.verdict)
        elif outcome.decision == "allow":
            call.verdict = Verdict(allowed=True)
            call.decision = {"decision": "accept", "source": "hook", "reason_type": "hook"}
        else:
            self._judge(call)
        # ``request_permissions`` has run without this call, whose hooks came first.
        if not call.done and call.verdict is not None and not call.verdict.allowed:
            self._request(call)

    def _after(self, call: Call, outcome: ToolResult) -> Generator[Wait, Any, None]:
        """Run the hooks after a call."""
        failure = bool(outcome.block.get("is_error"))
        event = "PostToolUseFailure" if failure else "PostToolUse"
        if not has_hooks(self._run, event, call.name):
            return
        facts: Message = {"tool_name": call.name, "tool_input": call.input}
        facts |= {"error": outcome.block["content"]} if failure else {"tool_response": outcome.facts}
        facts |= {"tool_use_id": call.id, "duration_ms": int((time.monotonic() - call.began) * 1000)}
        answers = yield from run_hooks(self._run, event, call.name, facts, tool_use_id=call.id)
        self._note(answers)

    def _note(self, outcome: HookOutcome) -> None:
        """Keep what hooks want of the rest of the turn."""
        self.attachments += outcome.attachments
        if outcome.stopped is not None:
            self.stopped = outcome.stopped

    def _apply_decision(self, call: Call, answer: Message | None) -> None:
        """Apply the host's answer to a permission request."""
        response = (answer or {}).get("response")
        behaviour = response.get("behavior") if isinstance(response, dict) else None
        if behaviour == "allow":
            assert isinstance(response, dict)
            updated = response.get("updatedInput")
            if isinstance(updated, dict):
                call.input = updated
            for update in response.get("updatedPermissions") or []:
                if isinstance(update, dict):
                    self._grant(update)
            call.decision = {"decision": "accept", "source": "user_temporary"}
            return
        # Only a clear allow allows. All else is a refusal: a deny, a malformed answer, an error, the end of
        # input (docs/claude-cli.md, control protocol).
        self._deny(call)
        kind = {"non_execution_kind": "permission-rule"}
        if behaviour == "deny" and isinstance(response, dict) and response.get("interrupt") is True:
            meta = {"id": call.id, "non_execution_kind": "user-rejected"}
            self._finish(call, failed(call.id, REJECTED, meta=meta, plain="User rejected tool use"))
            # Not by the loop's interrupt: the host gave its answer, and the turn ends by it.
            raise EndedByHost
        if behaviour == "deny" and isinstance(response, dict) and isinstance(response.get("message"), str):
            call.decision = {"decision": "reject", "source": "user_reject"}
            self._finish(
                call, failed(call.id, response["message"], meta=call.meta(**kind), plain=_plain(response))
            )
            return
        call.decision = {"decision": "reject", "source": "config", "reason_type": "other"}
        text = BAD_ANSWER
        if answer is None:
            text = f"{NO_ANSWER}: AbortError: Tool permission stream closed before response received"
        elif answer.get("subtype") == "error":
            text = f"{NO_ANSWER}: Error: {answer.get('error')}"
        self._finish(call, failed(call.id, text, meta=call.meta(**kind)))

    def _grant(self, update: Message) -> None:
        """Take over what the host grants for the rest of the session; nothing is written into settings files."""
        context = self.context
        if update.get("type") == "setMode":
            context.permission_mode = str(update.get("mode"))
        elif update.get("type") == "addDirectories":
            context.directories += [str(path) for path in update.get("directories") or []]
        elif update.get("type") == "addRules" and update.get("behavior") in ("allow", "deny"):
            for rule in update.get("rules") or []:
                content = rule.get("ruleContent")
                text = f"{rule.get('toolName')}({content})" if content else str(rule.get("toolName"))
                context.grant(update["behavior"], text)
        else:
            self._run.record.note("unimitated", what=f"permission update {update.get('type')}")
        if update.get("destination") not in (None, "session"):
            self._run.record.note("unimitated", what=f"permission update kept in {update['destination']}")

    def _execute(self, call: Call) -> Generator[Wait, Any, ToolResult]:
        call.began = time.monotonic()
        step = self.state.play_step(call.name, call.input)
        if step is not None and "result" in step.more:
            error = step.more.get("is_error", False)
            block = {
                "type": "tool_result",
                "content": step.more["result"],
                "is_error": error,
                "tool_use_id": call.id,
            }
            return ToolResult(block, step.more["result"], call.meta())
        if call.name == STRUCTURED:
            text = "Structured output provided successfully"
            block = {"tool_use_id": call.id, "type": "tool_result", "content": text}
            self.state.structured = call.input
            return ToolResult(block, text, call.meta())
        if call.name == "Bash":
            return (yield from self._bash(call))
        if call.name == "Read":
            return read_file(call.id, call.input, call.meta())
        if call.name == "Write":
            self._run.checkpoints.keep(str(call.input.get("file_path", "")))
            return write_file(call.id, call.input, call.meta())
        known = ", ".join(SUPPORTED)
        text = f"fake-claude runs only {known}; give the {call.name} step a result"
        return failed(call.id, text, tagged=True, meta=call.meta())

    def _bash(self, call: Call) -> Generator[Wait, Any, ToolResult]:
        command = str(call.input.get("command", ""))
        call.running = Running(command, self.context.shell_cwd, {**self.context.env, "CLAUDECODE": "1"})
        self._run.record.note("tool", pid=call.running.pid, command=command)
        if call.input.get("run_in_background") is True:
            return self._move_to_background(call, call.running)
        # A command that lasts is announced as a task after three seconds, and its end then as well. Until the
        # announcement each wait has a deadline; after it only output or the end resumes the turn.
        # For example `sleep 5`: wait with patience 3, ``task_started``, wait without, ``task_notification``,
        # result.
        started = time.monotonic()
        task: str | None = None
        while not call.running.read():
            left = LONG_TOOL - (time.monotonic() - started)
            if task is None and left <= 0:
                task = self._task_started(call)
            call.running.patience = None if task else max(0.0, left)
            yield call.running
        if task is not None:
            self._task_ended(call, task)
        reset = self._move(call.running.cwd)
        return bash_result(call.id, command, call.running, call.meta(), reset=reset)

    def _move(self, folder: str | None) -> str | None:
        """Follow the shell to where it ended; outside the working directories it is brought back."""
        context = self.context
        # A failed command leaves no folder: the next one starts where this one did. One that ended outside is
        # brought back, so no `cd /` widens what relative paths reach (docs/claude-cli.md, tools).
        if folder is None or inside(folder, context):
            context.shell_cwd = folder or context.shell_cwd
            return None
        context.shell_cwd = context.cwd
        return context.cwd

    def _move_to_background(self, call: Call, running: Running) -> ToolResult:
        call.running = None
        task = self._background.start(running, call.id, str(call.input.get("description", "")))
        content = (
            f"Command running in background with ID: {task.id}. Output is being written to: {task.output_file}."
            " You will be notified when it completes. To check interim output, use Read on that file path."
        )
        block = {"tool_use_id": call.id, "type": "tool_result", "content": content, "is_error": False}
        facts = {
            "stdout": "",
            "stderr": "",
            "interrupted": False,
            "isImage": False,
            "noOutputExpected": False,
        }
        return ToolResult(block, {**facts, "backgroundTaskId": task.id}, call.meta())

    def _task_started(self, call: Call) -> str:
        task, run = fresh_id("b")[3:12], fresh_id("0m")[3:15]
        self._run.emit(
            events.system(
                self.context,
                "task_started",
                task_id=task,
                run_id=run,
                tool_use_id=call.id,
                description=call.input.get("description", ""),
                is_backgrounded=False,
                task_type="local_bash",
            )
        )
        return f"{task} {run}"

    def _task_ended(self, call: Call, task: str) -> None:
        task_id, run = task.split()
        assert call.running is not None
        self._run.emit(
            events.system(
                self.context,
                "task_notification",
                task_id=task_id,
                run_id=run,
                tool_use_id=call.id,
                status="failed" if call.running.code else "completed",
                output_file="",
                summary=call.input.get("description", ""),
            )
        )

    def _finish(self, call: Call, outcome: ToolResult) -> None:
        call.done = True
        extra: Message = {"tool_use_result": outcome.facts}
        if outcome.meta is not None:
            extra["tool_result_meta"] = [outcome.meta]
        event = events.user(self.context, [outcome.block], **extra)
        self._run.emit(event)
        self.state.tally.user_lines += 1
        # Printed now, written later: in the transcript a result must follow the block that asked for it, and
        # blocks are written when the message ends.
        self.state.results.append((event, outcome))

    # Ends.

    def interrupted(self, *, by_host: bool) -> None:
        """Cancel the calls: kill what runs, and give every call a result."""
        for call in self.calls:
            if call.done:
                continue
            # Each call needs a result, also those that never ran: the API refuses a history with a call that
            # has none.
            text, meta = REJECTED, {"id": call.id, "non_execution_kind": "user-rejected"}
            if call.running is not None:
                call.running.kill()
                text = STOPPED if by_host else REJECTED
            elif not call.hooked:
                self._deny(call)
            self._finish(call, failed(call.id, text, meta=meta, plain="User rejected tool use"))

    @property
    def open_requests(self) -> list[str]:
        """The requests that the host has not answered."""
        return [call.request_id for call in self.calls if call.request_id is not None and not call.done]

    def on_terminate(self) -> None:
        """The process is about to exit: kill the commands, and report the one that ran."""
        for call in self.calls:
            # With an exit code it has ended, and its hooks are asked: then the CLI prints no result.
            if call.running is not None and call.running.code is None:
                # The CLI ends its commands on SIGTERM and reports what the one had printed; nothing else is
                # said.
                call.running.kill()
                outcome = bash_result(call.id, str(call.input.get("command")), call.running, call.meta())
                self._finish(call, outcome)
                self.state.flush_results()


def _description(call: Call) -> str:
    path = call.input.get("file_path")
    return str(call.input.get("description") or (os.path.basename(path) if path else call.name))


def _plain(response: Message) -> str:
    return f"Error: {response['message']}"
