"""Who may run which tool: rules, modes, and the refusals in the CLI's words (docs/claude-cli.md, tools).

The shell is judged by a short list of commands, not by a parser of the shell's whole language: a script that
needs a command outside it says ``--allowedTools``, as a careful caller of the CLI does.
"""

from __future__ import annotations

import os
import re

from fake_claude.catalog import STRUCTURED
from fake_claude.invocation.rules import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.context import Context

    Input = dict[str, Any]

READS = frozenset(
    [
        "basename",
        "cat",
        "cd",
        "cut",
        "date",
        "df",
        "diff",
        "dirname",
        "du",
        "echo",
        "false",
        "file",
        "find",
        "grep",
        "head",
        "hostname",
        "id",
        "ls",
        "printf",
        "pwd",
        "realpath",
        "seq",
        "sleep",
        "sort",
        "stat",
        "tail",
        "test",
        "tr",
        "true",
        "uname",
        "uniq",
        "wc",
        "which",
        "whoami",
    ]
)
WRITES = frozenset(["cp", "mkdir", "mv", "rm", "rmdir", "touch"])
GIT_READS = frozenset(["branch", "diff", "log", "show", "status"])
SILENT = frozenset(
    [
        "cd",
        "chgrp",
        "chmod",
        "chown",
        "cp",
        "export",
        "ln",
        "mkdir",
        "mv",
        "rm",
        "rmdir",
        "touch",
        "unset",
        "wait",
    ]
)
"""Commands of which the CLI expects no output."""

_BLOCKED_VERB = {"cat": "concatenate files from", "cd": "change directories to", "ls": "list files in"}
_KNOWN_VARIABLES = frozenset(["HOME", "LANG", "OLDPWD", "PATH", "PWD", "SHELL", "TERM", "USER"])
EDITS = ("Edit", "NotebookEdit", "Write")
OUTSIDE = {
    "decision_reason_type": "workingDir",
    "decision_reason": "Path is outside allowed working directories",
}

DONT_ASK = (
    "Permission to use {tool} has been denied because Claude Code is running in don't ask mode. IMPORTANT: You *may*"
    " attempt to accomplish this action using other tools that might naturally be used to accomplish this goal, e.g."
    " using head instead of cat. But you *should not* attempt to work around this denial in malicious ways, e.g. do"
    " not use your ability to run tests to execute non-test actions. You should only try to work around this"
    " restriction in reasonable ways that do not attempt to bypass the intent behind this denial. If you believe this"
    " capability is essential to complete the user's request, STOP and explain to the user what you were trying to do"
    " and why you need this permission. Let the user decide how to proceed."
)
NOBODY = (
    "Permission for this tool use was denied. It requires approval, and this session has no approval surface — nobody"
    " can answer a permission prompt here — so it was denied automatically. The action was NOT performed; do not claim"
    " it succeeded, and do not retry it: this action, and anything else that requires approval, will be denied the same"
    " way for the rest of this session. Tell the user what was blocked and why you needed it, then continue with the"
    " parts of the task that do not require approval. What required approval: {message}"
)
NO_CLASSIFIER = (
    "Auto mode is unavailable: its safety check does not run for this session, so {tool} was not run. Other actions"
    " that need the check will be denied too, and retrying won't help. Finish what you can without them, then tell the"
    " user what is blocked and that they can switch to another permission mode."
)


class Verdict:
    """May it run? ``allowed``, or denied with ``message``, or else somebody must be asked."""

    __slots__ = ("allowed", "extra", "kind", "message", "path", "reason_type")

    def __init__(
        self,
        *,
        allowed: bool,
        reason_type: str | None = None,
        message: str = "",
        extra: Input | None = None,
        path: str | None = None,
        kind: str = "user-rejected",
    ) -> None:
        self.allowed = allowed
        self.kind = kind  # non_execution_kind beside the result
        self.reason_type = reason_type
        self.message = message
        self.extra = extra or {}  # further members of the permission_denied line
        self.path = path


def _other(message: str) -> Verdict:
    extra = {"decision_reason_type": "other", "decision_reason": message}
    return Verdict(allowed=False, message=message, extra=extra)


def shell_parts(command: str) -> list[str]:
    """Cut a command line at ``;``, ``&&``, ``||``, ``|`` and ``&`` outside quotes."""
    parts = re.findall(r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|>&|&>|[^;&|\n'\"\\])+", command)
    return [part.strip() for part in parts if part.strip()]


def inside(path: str, context: Context) -> bool:
    """Tell whether a path lies in one of the working directories."""
    roots = [context.cwd, *context.options.lists.get("add-dir", [])]
    full = os.path.normpath(os.path.join(context.cwd, os.path.expanduser(path)))
    return any(
        full == os.path.normpath(root) or full.startswith(os.path.normpath(root) + "/") for root in roots
    )


def _absolute(path: str, context: Context) -> str:
    return os.path.normpath(os.path.join(context.cwd, os.path.expanduser(path)))


def _asks(what: str, path: str, context: Context) -> Verdict:
    message = (
        f"{what} '{path}' needs approval. The path is inside the working directories for this session"
        f" ('{context.cwd}'), and Claude Code asks before a shell command creates, changes or removes files there."
    )
    return Verdict(allowed=False, message=message, path=path)


def _judge_part(part: str, context: Context) -> Verdict:  # noqa: PLR0911 - a list of cases, read one by one
    """Judge one simple command."""
    redirected = re.search(r"(?<![0-9&])>>?\s*([^\s&>]+)", part)
    if redirected and redirected.group(1) != "/dev/null":
        return _asks("Output redirection to", _absolute(redirected.group(1), context), context)
    names = set(re.findall(r"\$\{?(\w+)", part))
    if names - _KNOWN_VARIABLES or "$(" in part or "`" in part:
        return _other("A variable in this command can't be checked before it runs")
    words = part.split()
    name, arguments = words[0], [word.strip("'\"") for word in words[1:] if not word.startswith("-")]
    if name == "git" and arguments and arguments[0] in GIT_READS:
        return Verdict(allowed=True, reason_type="subcommandResults")
    if name in WRITES and arguments:
        return _asks(f"{name} in", _absolute(arguments[-1], context), context)
    if name not in READS:
        return _other("This command requires approval")
    if name not in ("echo", "printf", "sleep", "test", "seq", "date"):
        for argument in arguments:
            outside = (
                argument.startswith(("/", "~")) and argument != "/dev/null" and not inside(argument, context)
            )
            if outside:
                verb = _BLOCKED_VERB.get(name, "read files from")
                path = _absolute(argument, context)
                message = (
                    f"{name} in '{path}' was blocked. For security, Claude Code may only {verb} the allowed working"
                    f" directories for this session: '{context.cwd}'."
                )
                return Verdict(allowed=False, message=message, path=path)
    return Verdict(allowed=True, reason_type="subcommandResults")


def _judge_shell(command: str, context: Context) -> Verdict:
    parts = shell_parts(command)
    verdicts = [(part, _judge_part(part, context)) for part in parts]
    refused = [(part, verdict) for part, verdict in verdicts if not verdict.allowed]
    if not refused:
        return Verdict(allowed=True, reason_type="subcommandResults")
    if len(refused) == 1:
        return refused[0][1]
    message = (
        "This Bash command contains multiple operations. The following parts require approval: "
        + ", ".join(part for part, _ in refused)
    )
    return Verdict(allowed=False, message=message, extra={"decision_reason_type": "subcommandResults"})


def judge(tool: str, given: Input, context: Context) -> Verdict:  # noqa: C901, PLR0911, PLR0912 - a list of cases, read one by one
    """Decide about one call, before anybody is asked."""
    options, mode = context.options, context.permission_mode
    if tool == STRUCTURED:
        return Verdict(allowed=True)
    refusal = _refused_by_rule(tool, given, context)
    if refusal is not None:
        return refusal
    for rule in context.allow_rules:
        if matches(rule, tool, given):
            # A rule for the whole tool decides itself; one for some commands decides by their parts.
            return Verdict(allowed=True, reason_type="rule" if "(" not in rule else "subcommandResults")
    if mode in ("bypassPermissions", "auto"):
        return Verdict(allowed=True, reason_type="mode")
    path = str(given.get("file_path") or given.get("notebook_path") or "")
    if tool == "Bash":
        verdict = _judge_shell(str(given.get("command", "")), context)
    elif tool == "Read" and inside(path, context):
        return Verdict(allowed=True, reason_type="mode")
    elif tool in ("Read", *EDITS):
        verb = "read from" if tool == "Read" else "write to"
        message = f"Claude requested permissions to {verb} {path}, but you haven't granted it yet."
        extra: Input = {} if inside(path, context) else dict(OUTSIDE)
        verdict = Verdict(allowed=False, message=message, path=path, extra=extra)
        if mode == "plan" and tool in EDITS:
            message = f"Cannot write to {path} while in plan mode."
            return Verdict(allowed=False, message=message, extra={"decision_reason_type": "mode"})
    else:
        message = f"Claude requested permissions to use {tool}, but you haven't granted it yet."
        verdict = Verdict(allowed=False, message=message)
    if verdict.allowed:
        return verdict
    if (
        mode == "acceptEdits"
        and tool != "Read"
        and verdict.path is not None
        and inside(verdict.path, context)
    ):
        return Verdict(allowed=True, reason_type="subcommandResults" if tool == "Bash" else "mode")
    if mode == "dontAsk":
        message = DONT_ASK.format(tool=tool)
        extra = {"decision_reason_type": "mode"}
        return Verdict(
            allowed=False, message=message, extra=extra, kind="permission-rule", reason_type="mode"
        )
    if mode == "plan":
        extra = {
            "decision_reason_type": "classifier",
            "decision_reason_code": "auto_mode_no_check_in_session",
            "decision_reason": "Classifier unavailable",
        }
        message = NO_CLASSIFIER.format(tool=tool)
        kind = "automode-unavailable"
        return Verdict(allowed=False, message=message, extra=extra, kind=kind, reason_type="classifier")
    if options.text("permission-prompts") == "none":
        extra = {
            "decision_reason_type": "asyncAgent",
            "decision_reason": "no approval surface in this session; permission request denied automatically",
        }
        message = NOBODY.format(message=verdict.message)
        return Verdict(
            allowed=False, message=message, extra=extra, kind="permission-rule", reason_type="asyncAgent"
        )
    return verdict


def _refused_by_rule(tool: str, given: Input, context: Context) -> Verdict | None:
    """Judge by the rules of what is never allowed; they come before those of what is."""
    command = str(given.get("command", ""))
    calls = [given, *({**given, "command": part} for part in shell_parts(command))]
    for rule in context.deny_rules:
        if any(matches(rule, tool, call) for call in calls):
            if tool == "Bash":
                message = f"Permission to use Bash with command {command} has been denied."
                reason = "subcommandResults"
            else:
                message, reason = f"Permission to use {tool} has been denied.", "rule"
            return Verdict(
                allowed=False,
                message=message,
                extra={"decision_reason_type": reason},
                kind="permission-rule",
                reason_type=reason,
            )
    return None


def suggestions(tool: str, given: Input, verdict: Verdict) -> list[Input]:
    """Return what the CLI proposes to a host that is asked."""
    found: list[Input] = []
    if tool == "Bash":
        command = str(given.get("command", ""))
        content = f"{command} *" if verdict.path is not None else command
        rule = {"toolName": "Bash", "ruleContent": content}
        found.append(
            {"type": "addRules", "rules": [rule], "behavior": "allow", "destination": "localSettings"}
        )
    if verdict.path is not None:
        if tool == "Bash":
            folder = os.path.dirname(verdict.path)
            found.append({"type": "addDirectories", "directories": [folder], "destination": "session"})
        found.append({"type": "setMode", "mode": "acceptEdits", "destination": "session"})
    return found
