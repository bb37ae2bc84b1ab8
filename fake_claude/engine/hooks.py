"""Hooks: commands of settings files and callbacks of the host, run at their events."""

from __future__ import annotations

import re
import time

from fake_claude.engine.hook_callback import HOOK_TIMEOUT
from fake_claude.engine.hook_outcome import HookOutcome, answer_of, special_of
from fake_claude.ids import fresh_uuid
from fake_claude.json_lines import dumps
from fake_claude.lines.events import control_cancel, control_request, system
from fake_claude.prompt.attachments import reminder
from fake_claude.waits import HostResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from fake_claude.engine.hook_callback import Callback
    from fake_claude.engine.run import Run
    from fake_claude.invocation.settings_files import HookCommand
    from fake_claude.waits import Wait

    Message = dict[str, Any]

TIMED_OUT = -1
"""The exit code of a command that took too long."""

ACTING = (
    "SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "Stop", "SessionEnd",
)  # fmt: skip
"""Events whose hooks are run; the ledger has the others as not imitated."""


class Blocked(Exception):
    """A hook blocks the prompt; ``text`` is what is printed, ``reason`` what the hook gave."""

    def __init__(self, text: str, reason: str, *, kept: bool = False) -> None:
        super().__init__(text)
        self.kept = kept  # the prompt stays in the conversation
        self.text = text
        self.reason = reason


def note_unsupported(run: Run) -> None:
    """Note the hooks that the CLI would run and the fake does not."""
    for hook in _commands(run):
        if hook.event not in ACTING:
            run.record.note("unimitated", what=f"hook {hook.event}", command=hook.command)


def session_started(run: Run, source: str) -> list[Message]:
    """Run the hooks of a session's start and print their lines; return what is attached to the first prompt."""
    attachments: list[Message] = []
    name = f"SessionStart:{source}"
    # What they answer decides nothing, and no message of theirs is printed: only what they say is kept.
    for hook in matching(run, "SessionStart", source):
        code, out, err = _run_shown(run, hook, name, {"source": source}, shown=True)
        if code != TIMED_OUT:
            attachments += _attached(name, hook.command, code, out, err)
    return attachments


def session_ended(run: Run) -> None:
    """Run the hooks of a session's end; nothing is printed of them."""
    for hook in matching(run, "SessionEnd", "other"):
        _run(run, hook.event, hook.command, {"reason": "other"}, hook.timeout)


def prompt_submitted(run: Run, prompt: str) -> Generator[Wait, Any, list[Message]]:
    """Run the hooks of a prompt; return what is attached to it.

    Raises:
        Blocked: A hook refuses the prompt.
    """
    outcome = yield from run_hooks(run, "UserPromptSubmit", None, {"prompt": prompt})
    if outcome.stopped is not None:
        raise Blocked(f"Operation stopped by hook: {outcome.stopped}", outcome.stopped, kept=True)
    if outcome.blocked is not None:
        head = "UserPromptSubmit operation blocked by hook:"
        # A command's refusal is `[command]: words`. People read all of it; the host's outcome has the words
        # alone.
        raise Blocked(f"{head}\n{outcome.blocked}\n\nOriginal prompt: {prompt}", outcome.words.strip())
    return outcome.attachments


def matching(run: Run, event: str, subject: str | None) -> list[HookCommand]:
    """Return the commands of an event whose matcher covers the subject, a tool for example; each command once."""
    # By command: one that stands in the user's and in the project's settings runs once.
    found = {
        hook.command: hook for hook in _commands(run) if hook.event == event and covers(hook.matcher, subject)
    }
    return list(found.values())


def callbacks(run: Run, event: str, subject: str | None) -> list[Callback]:
    """Return the callbacks of the host for an event."""
    return [hook for hook in run.callbacks if hook.event == event and covers(hook.matcher, subject)]


def has_hooks(run: Run, event: str, subject: str | None) -> bool:
    """Return whether anything is run or called at an event."""
    # Asked for each tool call; most runs have no hooks and end here.
    if not run.callbacks and not run.context.configuration.hook_commands:
        return False
    return bool(matching(run, event, subject) or callbacks(run, event, subject))


def covers(matcher: str | None, subject: str | None) -> bool:
    """Return whether a matcher is about a subject: a name, names between bars, or a pattern."""
    if subject is None or matcher in (None, "", "*"):
        return True
    # Names are compared whole: `Write` must not cover `NotebookWrite`, while the pattern `mcp__.*` is
    # searched for. A pattern that is broken covers nothing.
    if re.fullmatch(r"[\w|]+", matcher or ""):
        return subject in (matcher or "").split("|")
    try:
        return re.search(matcher or "", subject) is not None
    except re.error:
        return False


def run_hooks(
    run: Run, event: str, subject: str | None, members: Message, *, tool_use_id: str | None = None
) -> Generator[Wait, Any, HookOutcome]:
    """Run all hooks of an event, commands first; return what they come to. The turn waits for the host."""
    outcome = HookOutcome()
    name = f"{event}:{subject}" if subject else event
    # A command blocks the whole process until it ends. A callback must not: its answer comes on stdin, which
    # the loop reads, so the turn yields.
    for hook in matching(run, event, subject):
        _run_command(run, hook, name, members, outcome, tool_use_id=tool_use_id)
    for callback in callbacks(run, event, subject):
        yield from _call_back(run, callback, name, members, outcome, tool_use_id=tool_use_id)
    return outcome


def _run_shown(
    run: Run, hook: HookCommand, name: str, members: Message, *, shown: bool
) -> tuple[int, str, str]:
    """Run one command, with a line before and after it if it is to be shown; return exit code and output."""
    about = {"hook_id": fresh_uuid(), "hook_name": name, "hook_event": hook.event}
    if shown:
        run.emit(system(run.context, "hook_started", **about))
    code, out, err = _run(run, hook.event, hook.command, members, hook.timeout)
    if shown:
        outcome = "success" if code == 0 else "cancelled" if code == TIMED_OUT else "error"
        exit_code = 1 if code == TIMED_OUT else code
        said = {"output": out + err, "stdout": out, "stderr": err, "exit_code": exit_code, "outcome": outcome}
        run.emit(system(run.context, "hook_response", **about, **said))
    return code, out, err


def _run_command(
    run: Run, hook: HookCommand, name: str, members: Message, outcome: HookOutcome, *, tool_use_id: str | None
) -> None:
    # The lines of a session's start are printed always, those of other events only with this option.
    shown = run.context.options.flag("include-hook-events")
    code, out, err = _run_shown(run, hook, name, members, shown=shown)
    # Exit codes: 0 may bring an answer as JSON, 2 refuses with stderr as the reason, any other is noted and
    # changes nothing. No end in time decides nothing either: rules and modes go on as if there were no hook.
    if code == TIMED_OUT:
        if hook.event == "PreToolUse":
            no_verdict = {"hook_event": hook.event, "tool_use_id": tool_use_id, "timed_out": True}
            text = "A hook didn't answer in time, so it didn't check this action."
            more = {"tag": "hook_no_verdict", "hook_no_verdict": no_verdict}
            run.emit(system(run.context, "informational", content=text, level="warning", **more))
        return
    if code == 2:
        outcome.refuse(hook.command, err)
        return
    answer = answer_of(out) if code == 0 else None
    if answer is not None:
        _take(run, name, answer, outcome)
    outcome.attachments += _attached(name, hook.command, code, out, err)


def _call_back(
    run: Run,
    callback: Callback,
    name: str,
    members: Message,
    outcome: HookOutcome,
    *,
    tool_use_id: str | None,
) -> Generator[Wait, Any, None]:
    request_id, began = fresh_uuid(), time.monotonic()
    facts = _facts(run, callback.event, members)
    request: Message = {"subtype": "hook_callback", "callback_id": callback.id, "input": facts}
    run.emit(control_request(request_id, {**request, "tool_use_id": tool_use_id or fresh_uuid()}))
    # While it is open an interrupt withdraws it (``Loop.cancel_open_requests``).
    answer = yield HostResponse(request_id, callback.timeout)
    if answer is None:
        # ``None`` means no answer in time or no more input; the clock says which. Only a question that is
        # still open is withdrawn.
        outcome.unanswered = time.monotonic() - began >= callback.timeout
        outcome.closed = not outcome.unanswered
        if outcome.unanswered:
            run.emit(control_cancel(request_id))
        return
    response = answer.get("response")
    if answer.get("subtype") == "error" or not isinstance(response, dict):
        run.err.line(f"Error in hook callback {callback.id}: Error: {answer.get('error')}")
        text = (
            f"{callback.event}: Hook callback {callback.id} failed: the SDK host replied with an error or an invalid"
            " answer. Its answer was treated as empty."
        )
        more = {"level": "warning", "tag": "hook_callback_failed"}
        run.emit(system(run.context, "informational", content=text, **more))
        return
    _take(run, name, response, outcome)
    context = special_of(response).get("additionalContext")
    if context:
        outcome.attachments.append(_context(name, str(context)))


def _take(run: Run, name: str, answer: Message, outcome: HookOutcome) -> None:
    outcome.take(answer)
    if isinstance(answer.get("systemMessage"), str):
        content = f"{name} says: {answer['systemMessage']}"
        run.emit(system(run.context, "informational", content=content, level="notice"))


def _commands(run: Run) -> list[HookCommand]:
    configured = run.context.configuration
    return configured.hook_commands if run.context.customised and not configured.hooks_off else []


def _facts(run: Run, event: str, members: Message) -> Message:
    """Return what a hook is given."""
    context = run.context
    facts: Message = {
        "session_id": context.session_id,
        "transcript_path": run.transcript.path,
        "cwd": context.cwd,
    }
    # A session's start and end belong to no prompt, and a hook on the prompt runs before effort means
    # anything.
    if event not in ("SessionStart", "SessionEnd"):
        facts |= {"prompt_id": run.transcript.prompt_id, "permission_mode": context.permission_mode}
    if event not in ("SessionStart", "SessionEnd", "UserPromptSubmit"):
        facts["effort"] = {"level": context.options.text("effort") or "medium"}
    return {**facts, "hook_event_name": event, **members}


def _run(
    run: Run, event: str, command: str, members: Message, timeout: float | None = None
) -> tuple[int, str, str]:
    """Run one hook with its facts on standard input."""
    import subprocess  # slow to import, and few runs have hooks

    context = run.context
    run.record.note("command", why=f"hook {event}", command=command)
    facts = _facts(run, event, members)
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=dumps(facts) + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            cwd=context.cwd,
            env={**context.env, "CLAUDE_PROJECT_DIR": context.cwd},
            timeout=timeout or HOOK_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, "", ""
    return done.returncode, done.stdout, done.stderr


def _attached(name: str, command: str, code: int, out: str, err: str) -> list[Message]:
    about = {"hookName": name, "hookEvent": name.partition(":")[0], "toolUseID": fresh_uuid()}
    # Kept in the transcript, not shown to the model (it has no ``rendered``): a broken hook must not stop the
    # work.
    if code != 0:
        text = f"Failed with non-blocking status code: {err.strip()}"
        return [
            {
                "type": "hook_non_blocking_error",
                **about,
                "stderr": text,
                "stdout": out,
                "exitCode": code,
                "command": command,
            }
        ]
    answer = answer_of(out)
    if answer is not None:
        context = special_of(answer).get("additionalContext")
        if not context:
            return []
        return [_context(name, str(context))]
    said = {"content": out.strip(), "stdout": out, "stderr": err, "exitCode": code, "command": command}
    attachment: Message = {"type": "hook_success", **about, **said}
    return [_shown(attachment, f"{name} hook success: {out.strip()}") if out.strip() else attachment]


def _context(name: str, context: str) -> Message:
    """Return what shows the model the context that a hook adds."""
    about = {"hookName": name, "hookEvent": name.partition(":")[0], "toolUseID": fresh_uuid()}
    text = f"{name} hook additional context: {context}"
    return _shown({"type": "hook_additional_context", **about, "content": [context]}, text)


def _shown(attachment: Message, text: str) -> Message:
    return {**attachment, "rendered": [{"content": reminder(text)}], "renderedRole": "system"}
