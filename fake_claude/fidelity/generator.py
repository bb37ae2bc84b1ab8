"""Cases by seed: options, files, prompts, tools, permissions, interrupts, sessions and control requests, combined.

A seed and a number name a case. Commands of cases change nothing but their own folder, for they are carried out.
"""

from __future__ import annotations

import json
import random
from typing import Any

from fake_claude.fidelity.case import Case, Part
from fake_claude.fidelity.invocation import OTHER, SCHEMA, SID

COMMANDS = (
    "echo hi", "touch x", "ls", "cat note.txt", "cat absent", "mkdir d", "rm note.txt", "echo a > b", "cd sub && pwd",
    "pwd", "exit 3", "printf a; printf b >&2", "grep zzz note.txt", "test -f absent", "true", "cat /etc/hostname",
    "echo $FOO", "touch x && ls", "false || echo no", "wc -l note.txt", "head -1 note.txt", "sort note.txt",
)  # fmt: skip
"""What is run in the shell."""

PROMPTS = (
    "hi", "ECHO a b", "THINK", "EMPTY", "MAXTOK", "MAXTOKALL", "REFUSE", "REFUSE ONCE", "PAUSE", "STOPSEQ",
    "CACHE", "PARTOOL", "PARTOOL DENIED", "GLOBTOOL", "UNKTOOL", "STRUCTURED", "PING", "ERR400", "ERR403", "ERR404",
    "ERR413", "ERR429 NORETRY", "ERR500 FIRST1", "CUT3 FIRST1", "SSEERR FIRST1", "/cost", "/nonsense", "/greet Bob",
    "@note.txt what", "two\nlines", "ünï", "READ `{cwd}/note.txt`", "READ `{cwd}/absent`", "READ `/etc/hostname`",
    "WRITE `{cwd}/made.txt`", "WRITE `{cwd}/note.txt`", "WRITE `{home}/made.txt`", "/clear", "/model haiku", "!ls",
)  # fmt: skip
"""What is asked; words.toml has the answers."""

OPTIONS = (
    ["--model", "haiku"], ["--model", "sonnet"], ["--permission-mode", "acceptEdits"],
    ["--permission-mode", "plan"], ["--permission-mode", "dontAsk"], ["--permission-mode", "default"],
    ["--permission-mode", "manual"], ["--allowedTools", "Bash"], ["--allowedTools", "Bash(touch *),Read"],
    ["--allowedTools", "Bash(echo *)"], ["--disallowedTools", "Bash"], ["--disallowedTools", "Bash(touch *)"],
    ["--disallowedTools", "Read", "Write"], ["--max-turns", "1"], ["--max-turns", "2"],
    ["--system-prompt", "Be short."],
    ["--append-system-prompt", "Be short."], ["--name", "my chat"], ["--tools", "Bash,Read"], ["--tools", ""],
    ["--tools", "default"], ["--effort", "low"], ["--effort", "high"], ["--add-dir", "{home}"], ["--add-dir", "sub"],
    ["--max-budget-usd", "0.0001"], ["--fallback-model", "haiku"], ["--no-session-persistence"],
    ["--disable-slash-commands"], ["--permission-prompts", "none"], ["--setting-sources", "user"],
    ["--setting-sources", ""], ["--strict-mcp-config"], ["--json-schema", SCHEMA], ["--session-id", OTHER],
    ["--settings", '{"model":"haiku"}'], ["--settings", '{"permissions":{"allow":["Bash(touch *)"]}}'],
    ["--settings", '{"permissions":{"deny":["Bash(ls *)","Read"]}}'],
    ["--settings", '{"permissions":{"ask":["Bash"]}}'],
    ["--settings", '{"env":{"FOO":"bar"}}'], ["--settings", '{"outputStyle":"Concise"}'], ["--bare"], ["--safe-mode"],
    ["--agents", '{"rev":{"description":"x","prompt":"y"}}'], ["--include-partial-messages"], ["--verbose"],
    ["--exclude-dynamic-system-prompt-sections"], ["--thinking", "disabled"], ["--max-thinking-tokens", "100"],
)  # fmt: skip
"""What may be asked of any form."""

STREAMED = (
    ["--include-partial-messages"], ["--replay-user-messages"], ["--permission-prompt-tool", "stdio"],
    ["--permission-prompt-tool", "stdio"], ["--permission-prompt-tool", "stdio", "--include-partial-messages"],
)  # fmt: skip
"""What is asked of a stream more often than of others."""

FILES = (
    ["note.txt", "one\ntwo\n"], ["note.txt", "one\ntwo\n"], ["sub/deep.txt", "x\n"], ["CLAUDE.md", "Remember MARK.\n"],
    [".claude/settings.json", '{"permissions":{"allow":["Bash"]}}'], ["~/.claude/CLAUDE.md", "Remember this.\n"],
    [".claude/settings.json", '{"permissions":{"defaultMode":"acceptEdits"}}'],
    [".claude/settings.local.json", '{"permissions":{"allow":["Bash(touch *)"],"deny":["Bash(ls *)"]}}'],
    ["~/.claude/settings.json", '{"model":"sonnet"}'], ["~/.claude/settings.json", '{"permissions":{"ask":["Read"]}}'],
    ["~/.claude/settings.json", '{"env":{"FOO":"bar"},"permissions":{"allow":["Bash(echo *)"]}}'],
    [".claude/commands/greet.md", "Greet $ARGUMENTS politely.\n"],
    [".claude/agents/rev.md", "---\nname: rev\ndescription: x\n---\nYou review.\n"],
)  # fmt: skip
"""What lies in the working folder and the home."""

CONTROLS: tuple[list[Any], ...] = (
    ["initialize", {}], ["initialize", {"hooks": None}], ["interrupt", {}], ["set_model", {"model": "haiku"}],
    ["set_model", {"model": None}], ["set_model", {"model": "nonsense"}], ["set_permission_mode", {"mode": "plan"}],
    ["set_permission_mode", {"mode": "acceptEdits"}], ["set_permission_mode", {"mode": "default"}],
    ["set_permission_mode", {"mode": "x"}], ["mcp_status", {}],
    ["set_max_thinking_tokens", {"max_thinking_tokens": 100}],
    ["get_settings", {}], ["list_permission_rules", {}], ["rename_session", {"title": "new"}], ["get_usage", {}],
    ["get_session_cost", {}], ["read_file", {"path": "note.txt"}], ["list_models", {}], ["get_hooks_listing", {}],
    ["apply_flag_settings", {"settings": {"permissions": {"allow": ["Bash(touch *)"]}}}],
    ["stop_task", {"task_id": "x"}],
    ["cancel_async_message", {"message_uuid": OTHER}], ["rewind_files", {"user_message_id": OTHER}], ["no_such", {}],
    ["apply_flag_settings", {"settings": {"model": "haiku"}}], ["reload_skills", {}], ["get_binary_version", {}],
)  # fmt: skip
"""What a host asks between two messages."""

ALLOW, DENY = {"behavior": "allow"}, {"behavior": "deny", "message": "no"}
ANSWERS: tuple[dict[str, Any], ...] = (
    ALLOW,
    ALLOW,
    DENY,
    {**ALLOW, "updatedInput": {"command": "echo changed"}},
    {**DENY, "interrupt": True},
    {"behavior": "nonsense"},
    {
        **ALLOW,
        "updatedPermissions": [
            {"type": "setMode", "mode": "acceptEdits", "destination": "session"},
        ],
    },
    {
        **ALLOW,
        "updatedPermissions": [
            {
                "type": "addRules",
                "rules": [{"toolName": "Bash", "ruleContent": "touch *"}],
                "behavior": "allow",
                "destination": "session",
            }
        ],
    },
)
"""What a host answers when it is asked about a tool."""


def generate(seed: int, number: int) -> Case:
    """Return the case of this seed and number: the same at all times."""
    # A generator of its own for each case: case 17 is the same whether it is played alone or among a thousand.
    # The order of the draws below is part of a case's name: a draw put in between makes all cases others.
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 - no secret
    # What stands there more than once comes more often: the stream is what servers use.
    form = chance.choice(["text", "json", "lines", "lines", "stream", "stream", "stream", "stream"])
    parts = [Part("option", chance.choice(OPTIONS)) for _ in range(chance.choice([0, 0, 1, 1, 2, 3]))]
    if form == "stream":
        parts += [Part("option", chance.choice(STREAMED)) for _ in range(chance.choice([0, 1, 1]))]
        parts += [Part("answer", chance.choice(ANSWERS)) for _ in range(chance.choice([1, 2]))]
    # A set, as the same file may be drawn twice; sorted, as the order of a set differs between processes.
    files = {tuple(chance.choice(FILES)) for _ in range(chance.choice([0, 1, 2, 3]))}
    parts += [Part("file", list(file)) for file in sorted(files)]
    if chance.random() < 0.1:
        parts.append(
            Part("env", chance.choice([["FOO", "bar"], ["CLAUDE_CODE_SDK_READS_SESSION_STATE", "1"]]))
        )
    if chance.random() < 0.12:
        # Plain prompts only: the earlier run must leave a session behind.
        parts.append(Part("before", chance.choice(PROMPTS[:5])))
        parts.append(
            Part(
                "option",
                chance.choice([["--resume", SID], ["--continue"], ["--resume", SID, "--fork-session"]]),
            )
        )
    if form != "stream":
        parts.append(Part("turn", _prompt(chance)))
        if chance.random() < 0.1:
            parts.append(Part("piped", "piped text\n"))
        return Case(f"seed{seed}_{number}", form, tuple(parts))
    held = chance.random() < 0.25
    for index in range(chance.choice([1, 1, 2, 3])):
        if chance.random() < 0.35:
            parts.append(Part("control", chance.choice(CONTROLS)))
        if held and index == 0:
            parts.append(Part("held", ["HOLD", chance.choice(["interrupt", "interrupt", "queue", "open"])]))
        else:
            parts.append(Part("turn", _prompt(chance)))
    if chance.random() < 0.35:
        parts.append(Part("control", chance.choice(CONTROLS)))
    return Case(f"seed{seed}_{number}", form, tuple(parts))


def _prompt(chance: random.Random) -> str:
    return f"TOOL `{chance.choice(COMMANDS)}`" if chance.random() < 0.3 else chance.choice(PROMPTS)


def said(case: Case) -> str:
    """Return a case in one line."""
    return f"{case.name} {case.form} {json.dumps([[part.kind, part.value] for part in case.parts])}"
