"""Rows of what the CLI does with user text before the model sees it."""

from __future__ import annotations

import json
from typing import Any

# ruff: noqa: E501 - a table is read by its columns
from fake_claude.fidelity.invocation import JSON, SI, SID, USER_TEXT, Act, Invocation, V, done, one, user

ONE = {"note.txt": "one\ntwo\nthree\nfour\n"}
MEMORY = {
    "~/.claude/CLAUDE.md": "MARK home @./more.md\n",
    "~/.claude/more.md": "MARK imported\n",
    "~/.claude/rules/r.md": "MARK home rule\n",
    "CLAUDE.md": "MARK project @deep/more.md `@note.txt`\n\n@~/outside.md\n",
    "deep/more.md": "MARK imported, too\n",
    "~/outside.md": "MARK never\n",
    ".claude/CLAUDE.md": "MARK dot\n",
    ".claude/rules/r.md": "MARK rule\n",
    ".claude/rules/p.md": "---\npaths: src/**\n---\nMARK never\n",
    "CLAUDE.local.md": "MARK local\n",
    "note.txt": "MARK never\n",
}
COMMANDS = {
    "~/.claude/commands/greet.md": "---\ndescription: MARK greets\n---\nHello $ARGUMENTS, $1 and @note.txt end",
    ".claude/commands/plain.md": "No place for words",
    ".claude/commands/sub/in.md": "Inner $ARGUMENTS",
    "~/.claude/skills/hs/SKILL.md": "---\nname: hs\ndescription: MARK skill\n---\nSkill body $ARGUMENTS",
    "~/.claude/agents/rev.md": "---\nname: rev\ndescription: MARK agent\n---\nAgent",
    "note.txt": "alpha",
}
PNG = (
    "hex:89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000a49444154789c63600000000200"
    "01e221bc330000000049454e44ae426082"
)
ALL_OFF = ["--setting-sources", "", "--disable-slash-commands", "--strict-mcp-config"]


def blocks(*texts: str) -> list[dict[str, str]]:
    """Return content as blocks of text."""
    return [{"type": "text", "text": text} for text in texts]


def talk(*contents: Any) -> list[Act]:
    """Send one message after the other, each when the one before is answered."""
    acts = one(contents[0])
    acts += [(f"result:{n}", "send", user(content)) for n, content in enumerate(contents[1:], 1)]
    return [*acts, done(len(contents))]


def hook(event: str, command: str) -> str:
    """Return settings with one hook."""
    return json.dumps({"hooks": {event: [{"hooks": [{"type": "command", "command": command}]}]}})


def _mentions() -> list[Invocation]:
    g = USER_TEXT
    files = {
        **ONE,
        "a b.txt": "spaced",
        "sub/in.txt": "inner",
        "~/home.txt": "at home",
        "link": "->{cwd}/sub/in.txt",
        "empty.txt": "",
        "ünï.txt": "uml",
        "crlf.txt": "hex:efbbbf610d0a620d0a",
    }
    return [
        Invocation("mention_file", g, [*JSON, "see @note.txt, please"], files=files),
        Invocation("mention_folder", g, [*JSON, "list @sub/ now"], files=files),
        Invocation("mention_absolute", g, [*JSON, "see @{home}/home.txt"], files=files),
        Invocation("mention_home", g, [*JSON, "see @~/home.txt"], files=files),
        Invocation("mention_dots", g, [*JSON, "@./note.txt @sub/../../dir/sub/in.txt"], files=files),
        Invocation("mention_quoted", g, [*JSON, '@note.txt @"a b.txt" @sub @"note.txt" @\'a b.txt\''], files=files),
        Invocation("mention_lines", g, [*JSON, "@note.txt#L2-3"], files=files),
        Invocation("mention_line", g, [*JSON, "@note.txt#L2."], files=files),
        Invocation("mention_line_bare", g, [*JSON, "@note.txt#2"], files=files),
        Invocation("mention_lines_beyond", g, [*JSON, "@note.txt#L9"], files=files),
        Invocation("mention_heading", g, [*JSON, "@note.txt#heading"], files=files),
        Invocation("mention_missing", g, [*JSON, "@missing.txt @*.txt @note.txt_"], files=files),
        Invocation("mention_link", g, [*JSON, "@link @empty.txt @ünï.txt @crlf.txt"], files=files),
        Invocation("mention_after_line_ends", g, [*JSON, "\n@note.txt\n\t@sub/in.txt\u3002@empty.txt"], files=files),
        Invocation("mention_no_start", g, [*JSON, "x@note.txt (@note.txt) `@note.txt` <@note.txt> @@note.txt"], files=files),
        Invocation("mention_after_slash", g, [*JSON, "/etc/x @note.txt"], files=files),
        Invocation("mention_twice", g, SI, talk("@note.txt", "again @note.txt and @sub", "@sub"), files=files),
        Invocation("mention_resumed", g, [*JSON, "-r", SID, "and now"], files=files,
            before=[Invocation("first", g, [*JSON, "--session-id", SID, "see @note.txt"])]),
        Invocation("mention_in_block", g, SI, talk(blocks("x", "@note.txt"), blocks("@sub", "x")), files=files),
        Invocation("mention_image", g, [*JSON, "@x.png"], files={"x.png": PNG}),
        Invocation("mention_pdf", g, [*JSON, "@x.pdf"], files={"x.pdf": "%PDF-1.4\n%%EOF"}),
        Invocation("mention_binary", g, [*JSON, "@x.bin @x.zip @x.jpg"], files={"x.bin": "a", "x.zip": "a", "x.jpg": "a"}),
        Invocation("mention_no_text", g, [*JSON, "@nul.txt @latin.txt"], files={"nul.txt": "hex:61006a", "latin.txt": "hex:636166e9"}),
        Invocation("mention_large", g, [*JSON, "@large.txt"], files={"large.txt": ("z" * 79 + "\n") * 3330}),
        Invocation("mention_agent", g, [*JSON, "@agent-rev do it, @server:res://x too"], files=COMMANDS),
        Invocation("mention_nested_memory", g, [*JSON, "@sub/in.txt"], files={**files, "sub/CLAUDE.md": "MARK nested\n"}),
        *(
            Invocation(f"mention_with_{name}", g, [*JSON, *argv, "--", "see @note.txt and @sub"], files=files, env=env)
            for name, argv, env in (
                ("mentions_off", [], {"CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1"}),
                ("attachments_off", [], {"CLAUDE_CODE_DISABLE_ATTACHMENTS": "1"}),
                ("read_denied", ["--disallowedTools", "Read"], {}),
                ("paths_denied", ["--disallowedTools", "Read(//**)"], {}),
                ("some_denied", ["--disallowedTools", "Read(./sub/**)"], {}),
                ("no_tools", ["--tools", ""], {}),
                ("bare", ["--bare"], {}),
                ("safe_mode", ["--safe-mode"], {}),
                ("no_commands", ["--disable-slash-commands"], {}),
                ("no_settings", ["--setting-sources", ""], {}),
            )
        ),
    ]  # fmt: skip


def _commands() -> list[Invocation]:
    g = USER_TEXT
    old = {"~/.claude/settings.json": '{"permissions":{"allow":["Read"]},"theme":"dark"}'}
    return [
        Invocation("config", g, [*V, "/config"]),
        Invocation("config_set", g, [*V, "/config language=klingon theme=DARK verbose=true"], files=old),
        Invocation("config_removed", g, [*JSON, "/config theme=dark model=default language="], files=old),
        Invocation("config_words", g, [*JSON, "/settings language=two words"]),
        Invocation("config_local", g, [*JSON, "/config outputStyle=concise permissionMode=plan"], files=old),
        Invocation("config_wrong", g, [*JSON, "/config nonsense=1 verbose=maybe editor=ed"]),
        Invocation("config_no_pair", g, [*JSON, "/config language = x"]),
        Invocation("config_goes_on", g, SI, talk("/config language=de model=haiku", "what now?")),
        Invocation("config_of_before", g, [*JSON, "x"], before=[Invocation("set", g, [*JSON, "/config language=de"])]),
        Invocation("config_in_block", g, SI, talk(blocks("/config", "/config language=x"), blocks("/config", "no"))),
        Invocation("config_no_commands", g, [*JSON, "--disable-slash-commands", "/config language=x"]),
        Invocation("config_no_settings", g, [*JSON, "--setting-sources", "", "/config language=x"]),
        Invocation("config_bare", g, [*JSON, "--bare", "/config language=x"]),
        Invocation("config_after_blank", g, [*JSON, " /config language=x"]),
        Invocation("command_style", g, SI, talk("/output-style Concise", "x")),
        *(
            Invocation(f"command_{word.strip('_').replace('-', '_')}", g, [*JSON, f"/{word} arg"])
            for word in (
                "agents", "color", "fast", "focus", "workflow-launch-exec", "__remote-workflow", "add-dir", "memory",
                "permissions", "resume", "status", "hooks", "exit", "login",
            )
        ),
        Invocation("command_unavailable_goes_on", g, SI, talk("/help", "/cost", "x")),
        Invocation("command_unknown", g, [*V, "/nosuch thing"]),
        Invocation("command_capital", g, [*JSON, "/Config language=x"]),
        Invocation("command_own_prompt", g, [*JSON, "/init now"]),
        Invocation("command_custom", g, SI, talk('/greet Bob "two words"', "/plain some words", "/sub:in x", "/hs y"), files=COMMANDS),
        Invocation("command_custom_block", g, SI, talk(blocks("x", "/plain")), files=COMMANDS),
        Invocation("command_custom_over_own", g, [*JSON, "/config x"], files={".claude/commands/config.md": "Mine $ARGUMENTS"}),
        *(
            Invocation(f"command_custom_{name}", g, [*JSON, *argv, "--", "/greet Bob"], files=COMMANDS)
            for name, argv in (
                ("no_commands", ["--disable-slash-commands"]),
                ("no_settings", ["--setting-sources", ""]),
                ("bare", ["--bare"]),
                ("safe_mode", ["--safe-mode"]),
                ("project", ["--setting-sources", "project"]),
            )
        ),
        Invocation("keyword_ultrathink", g, [*JSON, "Ultrathink about it"]),
    ]  # fmt: skip


def _operators() -> list[Invocation]:
    g = USER_TEXT
    prompt = "UserPromptSubmit"
    servers = '{"mcpServers":{"planted":{"command":"/nonexistent/server","args":[]}}}'
    return [
        Invocation("memory", g, SI, talk("x", "y"), files=MEMORY),
        *(
            Invocation(f"memory_{name}", g, [*JSON, *argv, "--", "x"], files=MEMORY, env=env)
            for name, argv, env in (
                ("user", ["--setting-sources", "user"], {}),
                ("project", ["--setting-sources", "project"], {}),
                ("local", ["--setting-sources", "local"], {}),
                ("none", ["--setting-sources", ""], {}),
                ("bare", ["--bare"], {}),
                ("safe_mode", ["--safe-mode"], {}),
                ("off", [], {"CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1"}),
                ("no_auto", [], {"CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1"}),
                ("denied", ["--disallowedTools", "Read(//**)"], {}),
                ("all_off", ALL_OFF, {}),
            )
        ),
        Invocation("settings_language", g, [*JSON, "x"], files={"~/.claude/settings.json": '{"language":"Klingon"}'}),
        Invocation("settings_style", g, [*V, "x"], files={".claude/settings.local.json": '{"outputStyle":"Loud"}',
            "~/.claude/output-styles/loud.md": "---\nname: Loud\ndescription: x\n---\nMARK style"}),
        Invocation("hook_says", g, [*V, "x"], files={"~/.claude/settings.json": hook(prompt, "echo MARK said")}),
        Invocation("hook_gets_prompt", g, [*V, "MARK this"], files={".claude/settings.json": hook(prompt, "grep -o 'MARK [a-z]*'")}),
        Invocation("hook_adds", g, [*V, "x"], files={".claude/settings.json": hook(
            prompt, 'echo \'{"hookSpecificOutput":{"hookEventName":"UserPromptSubmit","additionalContext":"MARK"}}\'')}),
        Invocation("hook_refuses", g, [*V, "x"], files={".claude/settings.json": hook(prompt, "echo MARK why >&2; exit 2")}),
        Invocation("hook_decides", g, [*V, "x"], files={".claude/settings.json": hook(prompt, 'echo \'{"decision":"block","reason":"MARK"}\'')}),
        Invocation("hook_fails", g, [*V, "x"], files={".claude/settings.json": hook(prompt, "echo MARK >&2; exit 1")}),
        Invocation("hook_of_option", g, [*V, "--settings", hook(prompt, "echo MARK"), "x"]),
        Invocation("hook_at_start", g, [*V, "x"], files={".claude/settings.json": hook("SessionStart", "echo MARK start")}),
        *(
            Invocation(f"hook_{name}", g, [*V, *argv, "--", "x"], files={".claude/settings.json": hook(prompt, "echo MARK")})
            for name, argv in (("no_settings", ["--setting-sources", ""]), ("bare", ["--bare"]), ("safe_mode", ["--safe-mode"]))
        ),
        Invocation("servers_of_project", g, [*V, "x"], files={".mcp.json": servers}),
        Invocation("servers_of_user", g, [*V, "x"], files={"~/.claude.json": servers}),
        Invocation("servers_strict", g, [*V, "--strict-mcp-config", "x"], files={".mcp.json": servers, "~/.claude.json": servers}),
        Invocation("servers_no_settings", g, [*V, "--setting-sources", "", "x"], files={".mcp.json": servers, "~/.claude.json": servers}),
        Invocation("all_off", g, [*SI, *ALL_OFF], talk("see @note.txt", "/config language=x", "/plain y", "x"), files={**MEMORY, **COMMANDS,
            ".claude/settings.json": hook(prompt, "echo MARK"), ".mcp.json": servers},
            env={"CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1"}) ,
    ]  # fmt: skip


def rows() -> list[Invocation]:
    """Return the rows of this group."""
    return [*_mentions(), *_commands(), *_operators()]
