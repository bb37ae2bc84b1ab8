"""Who may run which tool: rules, modes, and the refusals in the CLI's words (docs/claude-cli.md, tools).

Commands of the shell are judged in ``fake_claude.bash``; what is unknown before it runs is asked about.
"""

from __future__ import annotations

import os

from fake_claude.bash.judge import Place, judge_bash
from fake_claude.bash.rules import Rules
from fake_claude.bash.verdict import Verdict
from fake_claude.catalog import STRUCTURED
from fake_claude.invocation.path_rules import covered
from fake_claude.invocation.rules import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.context import Context

    Input = dict[str, Any]

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
NO_PERSON = (
    "Permission for this command was denied by a built-in Claude Code safety check, not by the user. The check stops"
    " removals that can delete far more than intended: a system, home or workspace directory, or a target it cannot"
    " resolve, such as a shell variable that, if unset or empty, turns this into `rm -rf /` or `rm -rf /*`. Only a"
    " person may approve such a removal, and no person did (the permission prompt timed out, or none was shown). The"
    " command was NOT run; do not claim it succeeded. Do not work around the check by splitting, scripting, or"
    " re-issuing the removal through another tool or shell: the check exists because a removal like this can destroy"
    " the user's data, and getting past it would not make it safe. If the text below suggests a safe rewrite, run that"
    " instead; it goes through the same check. Otherwise finish the rest of the task without this removal, tell the"
    " user what you wanted to delete and why, and leave the removal to them. What was flagged: {message}"
)
UNREADABLE = "File is covered by a Read deny rule in your permission settings and cannot be written."
DENIED_FOLDER = "File is in a directory that is denied by your permission settings."
NO_CLASSIFIER = (
    "Auto mode is unavailable: its safety check does not run for this session, so {tool} was not run. Other actions"
    " that need the check will be denied too, and retrying won't help. Finish what you can without them, then tell the"
    " user what is blocked and that they can switch to another permission mode."
)


def roots(context: Context) -> list[str]:
    """Return the working directories of a session."""
    return [context.cwd, *(os.path.join(context.cwd, path) for path in context.directories)]


def inside(path: str, context: Context) -> bool:
    """Return whether a path lies in one of the working directories."""
    full = os.path.normpath(os.path.join(context.cwd, os.path.expanduser(path)))
    return Place(cwd=context.cwd, roots=roots(context), home=context.home, mode="").inside(full)


def _judge_shell(command: str, context: Context) -> Verdict:
    place = Place(
        cwd=context.shell_cwd, roots=roots(context), home=context.home, mode=context.permission_mode
    )
    rules = Rules(allow=context.allow_rules, ask=context.ask_rules, deny=context.deny_rules)
    return judge_bash(command, place, rules)


def judge(tool: str, given: Input, context: Context) -> Verdict:  # noqa: C901, PLR0911, PLR0912 - a list of cases, read one by one
    """Decide about one call, before anybody is asked."""
    # The order is the CLI's: deny rules, allow rules, modes that allow all, then the tool's own reasons, and
    # last what becomes of a question nobody can answer. A step moved up or down changes which sentence the
    # model reads.
    options, mode = context.options, context.permission_mode
    if tool == STRUCTURED:
        return Verdict(allowed=True)
    path = str(given.get("file_path") or given.get("notebook_path") or "")
    full = os.path.normpath(os.path.join(context.cwd, path)) if path else ""
    kind = "Edit" if tool in EDITS else tool
    by_path = bool(path) and kind in ("Read", "Edit")
    plain = tool == "Bash" or by_path  # their rules with parentheses are looked at elsewhere
    # Rules with parentheses for Bash and for paths have grammars of their own; the simple match would misread them.
    if any(matches(rule, tool, given) for rule in context.deny_rules if not plain or "(" not in rule):
        return _denied(tool, given)
    if (
        kind == "Edit"
        and by_path
        and ("Read" in context.deny_rules or covered(full, "Read", context.deny_rules, context))
    ):
        return Verdict(allowed=False, message=UNREADABLE, kind="", reason_type="rule", forbidden=True)
    if by_path and covered(full, kind, context.deny_rules, context):
        return Verdict(allowed=False, message=DENIED_FOLDER, kind="", reason_type="rule", forbidden=True)
    shell = _judge_shell(str(given.get("command", "")), context) if tool == "Bash" else None
    if shell is not None and shell.forbidden:
        return shell
    whole = [
        rule for rule in context.allow_rules if matches(rule, tool, given) and (not plain or "(" not in rule)
    ]
    if by_path:
        whole += [rule for rule in context.allow_rules if covered(full, kind, [rule], context)]
    # A dangerous removal is asked about even where a rule allows all of Bash.
    if whole and not (shell is not None and _unsafe(shell)):
        kept = {*context.rules_of("allow", "userSettings"), *context.rules_of("allow", "localSettings")}
        # Whether a person allowed it for good is what the line of the decision says.
        source = "user_permanent" if whole[0] in kept else "config"
        reason = "rule" if "(" not in whole[0] or by_path else "subcommandResults"
        return Verdict(allowed=True, reason_type=reason, source=source)
    if mode in ("bypassPermissions", "auto"):
        return Verdict(allowed=True, reason_type="mode")
    if shell is not None:
        verdict = shell
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
    # Accepting edits is for the working directories only.
    if mode == "acceptEdits" and tool in EDITS and inside(path, context):
        return Verdict(allowed=True, reason_type="mode")
    if mode == "dontAsk":
        message = DONT_ASK.format(tool=tool)
        extra = {"decision_reason_type": "mode"}
        return Verdict(
            allowed=False, message=message, extra=extra, kind="permission-rule", reason_type="mode"
        )
    # In plan mode nobody is asked: a safety check answers, and this one is answered by its own words.
    if mode == "plan" and verdict.message.startswith("Dangerous "):
        return Verdict(
            allowed=False,
            message=NO_PERSON.format(message=verdict.message),
            extra=verdict.extra,
            kind="permission-rule",
            reason_type="safetyCheck",
        )
    if mode == "plan":
        extra = {
            "decision_reason_type": "classifier",
            "decision_reason_code": "auto_mode_no_check_in_session",
            "decision_reason": "Classifier unavailable",
        }
        message = NO_CLASSIFIER.format(tool=tool)
        why = "automode-unavailable"
        return Verdict(allowed=False, message=message, extra=extra, kind=why, reason_type="classifier")
    # Last: only what would have been a question needs to be refused for want of a person.
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


def _unsafe(verdict: Verdict) -> bool:
    """Return whether even a rule for the whole tool does not let this run."""
    return not verdict.allowed and verdict.extra.get("decision_reason_type") == "safetyCheck"


def _denied(tool: str, given: Input) -> Verdict:
    what = f" with command {given.get('command', '')}" if tool == "Bash" else ""
    return Verdict(
        allowed=False,
        message=f"Permission to use {tool}{what} has been denied.",
        extra={"decision_reason_type": "rule"},
        kind="permission-rule",
        reason_type="rule",
        forbidden=True,
    )


def suggestions(tool: str, verdict: Verdict) -> list[Input] | None:
    """Return what the CLI proposes to a host that is asked; about some commands it proposes nothing at all."""
    if tool == "Bash":
        return verdict.suggestions
    return (
        [] if verdict.path is None else [{"type": "setMode", "mode": "acceptEdits", "destination": "session"}]
    )
