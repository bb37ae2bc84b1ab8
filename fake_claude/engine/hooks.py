"""Hooks of settings files that act on a prompt: run them, and attach their output for the model."""

from __future__ import annotations

import json

from fake_claude.ids import fresh_uuid
from fake_claude.json_lines import dumps
from fake_claude.lines.events import system
from fake_claude.prompt.attachments import reminder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.run import Run

    Message = dict[str, Any]

HOOK_TIMEOUT = 60.0
"""Seconds that a hook may take."""

ACTING = ("SessionStart", "UserPromptSubmit")
"""Events whose hooks are run; the others act on no prompt; the ledger has them as not imitated."""


class Blocked(Exception):
    """A hook blocks the prompt; ``text`` is what is printed, ``reason`` what the hook gave."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason


def note_unsupported(run: Run) -> None:
    """Note the hooks that the CLI would run and the fake does not."""
    for event, found in _hooks(run).items():
        if event not in ACTING:
            for command in found:
                run.record.note("unimitated", what=f"hook {event}", command=command)


def session_started(run: Run, source: str) -> list[Message]:
    """Run the hooks of a session's start and print their lines; return what is attached to the first prompt."""
    attachments: list[Message] = []
    name = f"SessionStart:{source}"
    for command in _hooks(run).get("SessionStart", ()):
        hook_id = fresh_uuid()
        about = {"hook_id": hook_id, "hook_name": name, "hook_event": "SessionStart"}
        run.emit(system(run.context, "hook_started", **about))
        code, out, err = _run(run, "SessionStart", command, {"source": source})
        outcome = "success" if code == 0 else "error"
        said = {"output": out + err, "stdout": out, "stderr": err, "exit_code": code, "outcome": outcome}
        run.emit(system(run.context, "hook_response", **about, **said))
        attachments += _attached(name, command, code, out, err)
    return attachments


def prompt_submitted(run: Run, prompt: str) -> list[Message]:
    """Run the hooks of a prompt; return what is attached to it.

    Raises:
        Blocked: A hook refuses the prompt.
    """
    attachments: list[Message] = []
    for command in _hooks(run).get("UserPromptSubmit", ()):
        code, out, err = _run(run, "UserPromptSubmit", command, {"prompt": prompt})
        reason = _refusal(code, out, err)
        if reason is not None:
            text = f"[{command}]: {reason}\n" if code == 2 else f"{reason}\n"
            head = "UserPromptSubmit operation blocked by hook:"
            raise Blocked(f"{head}\n{text}\nOriginal prompt: {prompt}", reason.strip())
        attachments += _attached("UserPromptSubmit", command, code, out, err)
    return attachments


def _hooks(run: Run) -> dict[str, list[str]]:
    configured = run.context.configuration
    return configured.hooks if run.context.customised and not configured.hooks_off else {}


def _run(run: Run, event: str, command: str, members: Message) -> tuple[int, str, str]:
    """Run one hook with its facts on standard input."""
    import subprocess  # slow to import, and few runs have hooks

    context = run.context
    run.record.note("command", why=f"hook {event}", command=command)
    facts = {
        "session_id": context.session_id,
        "transcript_path": run.transcript.path,
        "cwd": context.cwd,
        "hook_event_name": event,
        **members,
    }
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=dumps(facts) + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            cwd=context.cwd,
            env={**context.env, "CLAUDE_PROJECT_DIR": context.cwd},
            timeout=HOOK_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "", "timed out"
    return done.returncode, done.stdout, done.stderr


def _refusal(code: int, out: str, err: str) -> str | None:
    if code == 2:
        return err
    answer = _json(out) if code == 0 else None
    return str(answer.get("reason", "")) if answer and answer.get("decision") == "block" else None


def _json(out: str) -> Message | None:
    try:
        answer = json.loads(out)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _attached(name: str, command: str, code: int, out: str, err: str) -> list[Message]:
    about = {"hookName": name, "hookEvent": name.partition(":")[0], "toolUseID": fresh_uuid()}
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
    answer = _json(out)
    if answer is not None:
        context = (answer.get("hookSpecificOutput") or {}).get("additionalContext")
        if not context:
            return []
        text = f"{name} hook additional context: {context}"
        return [_shown({"type": "hook_additional_context", **about, "content": [context]}, text)]
    said = {"content": out.strip(), "stdout": out, "stderr": err, "exitCode": code, "command": command}
    attachment: Message = {"type": "hook_success", **about, **said}
    return [_shown(attachment, f"{name} hook success: {out.strip()}") if out.strip() else attachment]


def _shown(attachment: Message, text: str) -> Message:
    return {**attachment, "rendered": [{"content": reminder(text)}], "renderedRole": "system"}
