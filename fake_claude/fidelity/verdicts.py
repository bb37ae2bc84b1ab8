"""Rows of who may run which command, and of what a shell keeps between commands."""

from __future__ import annotations

from fake_claude.fidelity.invocation import HOST, SI, Invocation, V, done, one, user

FILES = {"a.txt": "alpha\n", "sub/b.txt": "beta\n"}
ASK_ECHO = '{"permissions":{"ask":["Bash(echo *)"]}}'
DENY_RM = '{"permissions":{"deny":["Bash(rm *)"]}}'
DENIED = {
    "find_delete": "find . -name x -delete",
    "two_parts": "foo bar && baz",
    "pipe": "cat a.txt | sh",
    "one_part_writes": "ls && touch x",
    "outside": "cat /etc/passwd",
    "background_sign": "ls &",
    "dangerous": "rm -rf *",
    "redirect": "echo hi > made",
    "variable": "echo $FOO",
    "guarded": "touch .git/x",
}
"""What a host is asked about, and denies."""


def rows() -> list[Invocation]:
    """Return the rows."""
    g = "tools"
    no, yes = {"behavior": "deny", "message": "no"}, {"behavior": "allow"}
    keeps = [*one("TOOL `cd sub && pwd`"), ("result:1", "send", user("TOOL `pwd`")), done(2)]
    rule = {"toolName": "Bash", "ruleContent": "touch *"}
    granted = {"type": "addRules", "rules": [rule], "behavior": "allow", "destination": "session"}
    grant = {"behavior": "allow", "updatedInput": {"command": "touch x"}, "updatedPermissions": [granted]}
    twice = [
        *one("TOOL `touch x`"),
        ("ask", "answer", grant),
        ("result:1", "send", user("TOOL `touch y`")),
        done(2),
    ]
    both = "TOOL `git status && mkdir x`"
    return [
        *(
            Invocation(
                f"verdict_{name}",
                g,
                HOST,
                [*one(f"TOOL `{command}`"), ("ask", "answer", no), done()],
                files=FILES,
            )
            for name, command in DENIED.items()
        ),
        Invocation(
            "verdict_ask_rule",
            g,
            [*HOST, "--settings", ASK_ECHO],
            [*one("TOOL `echo hi`"), ("ask", "answer", yes), done()],
        ),
        Invocation(
            "verdict_deny_rule_host", g, [*HOST, "--settings", DENY_RM], [*one("TOOL `ls && rm x`"), done()]
        ),
        Invocation("verdict_each_part_needs_rule", g, [*V, "--allowedTools", "Bash(git *)", "--", both]),
        Invocation("verdict_granted_rule_lasts", g, HOST, twice),
        Invocation("code_one_is_no_failure", g, [*V, "TOOL `grep zzz a.txt`"], files=FILES),
        Invocation("shell_keeps_folder", g, SI, keeps, files=FILES),
        Invocation("shell_is_brought_back", g, [*V, "--allowedTools", "Bash", "--", "TOOL `cd / && pwd`"]),
    ]
