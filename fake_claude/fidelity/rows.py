"""The table of invocations."""

from __future__ import annotations

import json
from typing import Any

from fake_claude.fidelity.control_rows import rows as control_rows
from fake_claude.fidelity.control_rows import settings_rows
from fake_claude.fidelity.hooks_rows import rows as hook_rows
from fake_claude.fidelity.invocation import (
    ALLOW_TOUCH,
    DENY_BASH,
    EOF,
    HOST,
    JSON,
    OTHER,
    SCHEMA,
    SI,
    SID,
    SIP,
    SJ,
    UUID1,
    UUID2,
    UUID3,
    Act,
    Invocation,
    P,
    V,
    control,
    done,
    one,
    user,
)
from fake_claude.fidelity.kept import rows as kept_rows
from fake_claude.fidelity.user_text_rows import rows as user_text_rows
from fake_claude.fidelity.verdicts import rows as verdict_rows


def _invocation() -> list[Invocation]:
    g = "invocation"
    return [
        Invocation("version", g, ["--version"]),
        Invocation("text", g, [*P, "hello there"]),
        Invocation("json", g, [*JSON, "hello there"]),
        Invocation("json_verbose", g, [*JSON, "--verbose", "hello there"]),
        Invocation("stream_json", g, [*V, "hello there"]),
        Invocation("partial", g, [*SJ, "hello there"]),
        Invocation("no_print_flag", g, ["hello there"]),
        Invocation("no_args", g, []),
        Invocation("no_prompt", g, P),
        Invocation("empty_prompt", g, [*P, ""]),
        Invocation("space_prompt", g, [*P, "   "]),
        Invocation("stdin_prompt", g, JSON, stdin="from stdin\n"),
        Invocation("stdin_and_argument", g, [*JSON, "from argv"], stdin="from stdin\n"),
        Invocation("stdin_space", g, JSON, stdin="  \n"),
        Invocation("stdin_unicode", g, JSON, stdin="🙂 ünï\u2028 \x00 end"),
        Invocation("stdin_200k", g, JSON, stdin="a" * 200_000),
        Invocation("stdin_11m", g, V, stdin="a" * 11_000_000),
        Invocation("second_positional", g, [*JSON, "first", "second"]),
        Invocation("dash_dash", g, [*P, "--", "x", "--output-format", "json"]),
        Invocation("dash_prompt", g, [*P, "-hello dash"]),
        Invocation("dash_prompt_dash_dash", g, [*JSON, "--", "-hello dash"]),
        Invocation("single_dash", g, [*JSON, "-"], stdin="piped"),
        Invocation("last_wins", g, [*P, "--output-format", "text", "--output-format", "json", "x"]),
        Invocation("equals", g, [*P, "--output-format=json", "x"]),
        Invocation("subcommand_prompt", g, [*P, "doctor"]),
        Invocation("sj_no_verbose", g, [*P, "--output-format", "stream-json", "x"]),
        Invocation(
            "si_no_verbose", g, [*P, "--input-format", "stream-json", "--output-format", "stream-json"]
        ),
        Invocation("partial_text", g, [*P, "--include-partial-messages", "x"]),
        Invocation("partial_json", g, [*JSON, "--include-partial-messages", "x"]),
        Invocation("si_text_out", g, [*P, "--input-format", "stream-json"]),
        Invocation("si_json_out", g, [*JSON, "--input-format", "stream-json", "--verbose"]),
        Invocation("replay_alone", g, [*V, "--replay-user-messages", "x"]),
        Invocation("unknown_option", g, [*P, "--no-such-flag", "x"]),
        Invocation("near_option", g, [*P, "--output-fromat", "json", "x"]),
        Invocation("near_option_short", g, [*P, "--modle", "x"]),
        Invocation("bad_output_format", g, [*P, "--output-format", "xml", "x"]),
        Invocation("bad_input_format", g, [*P, "--input-format", "xml", "x"]),
        Invocation("bad_mode", g, [*P, "--permission-mode", "nonsense", "x"]),
        Invocation("bad_prompts", g, [*P, "--permission-prompts", "maybe", "x"]),
        Invocation("value_missing", g, [*P, "x", "--output-format"]),
        Invocation("model_value_missing", g, [*P, "x", "--model"]),
        Invocation("bad_max_turns", g, [*V, "--max-turns=abc", "x"]),
        Invocation("max_turns_0", g, [*JSON, "--max-turns=0", "x"]),
        Invocation("bad_budget", g, [*JSON, "--max-budget-usd", "abc", "x"]),
        Invocation("budget_0", g, [*JSON, "--max-budget-usd", "0", "x"]),
        Invocation("flag_with_value", g, [*P, "--verbose=yes", "x"]),
        Invocation("variadic_eats_prompt", g, [*JSON, "--allowedTools", "Read", "x y"]),
        Invocation("variadic_dash_dash", g, [*JSON, "--allowedTools", "Read", "--", "x y"]),
        Invocation(
            "variadic_then_option", g, [*P, "--allowedTools", "Read", "Bash", "--output-format", "json", "x"]
        ),
        Invocation("tools_none_eats", g, [*V, "--tools", "", "x"]),
        Invocation("tools_none", g, [*V, "--tools", "", "--", "x"]),
        Invocation("tools_some", g, [*V, "x", "--tools", "Bash,Read"]),
        Invocation("two_refusals", g, [*P, "--output-format", "xml", "--no-such-flag"]),
        Invocation("refusal_order_prompt_format", g, [*P, "--output-format", "stream-json"]),
        Invocation(
            "refusal_order_sid_format", g, [*P, "--output-format", "stream-json", "--session-id", "x", "hi"]
        ),
        Invocation(
            "refusal_order_resume_format", g, [*P, "--output-format", "stream-json", "--resume", "x", "hi"]
        ),
        Invocation("refusal_order_partial_prompt", g, [*P, "--include-partial-messages"]),
        Invocation("bypass_root", g, [*V, "--permission-mode", "bypassPermissions", "x"]),
        Invocation("skip_permissions_root", g, [*V, "--dangerously-skip-permissions", "x"]),
        Invocation("model_alias", g, [*V, "--model", "sonnet", "x"]),
        Invocation("model_haiku", g, [*V, "--model", "haiku", "x"]),
        Invocation("model_unknown", g, [*SJ, "--model", "no-such-model", "x"]),
        Invocation(
            "system_prompt", g, [*V, "--system-prompt", "You test.", "--append-system-prompt", "More.", "x"]
        ),
        Invocation("bare", g, [*V, "--bare", "x"]),
        Invocation("mcp_invalid", g, [*V, "x", "--mcp-config", "not json"]),
        Invocation(
            "mcp_bad_server",
            g,
            [*V, "x", "--mcp-config", '{"mcpServers":{"x":{"command":"/nonexistent","args":[]}}}'],
        ),
        Invocation("slash_cost", g, [*SJ, "/cost"]),
        Invocation("slash_unknown", g, [*SJ, "/nosuchcommand arg"]),
        Invocation("slash_path", g, [*JSON, "/usr/bin"]),
        Invocation("bang_prompt", g, [*JSON, "!ls"]),
        Invocation("hash_prompt", g, [*JSON, "# remember"]),
        Invocation("at_mention", g, [*SJ, "see @note.txt please"], files={"note.txt": "alpha\n"}),
        Invocation("claude_md", g, [*JSON, "x"], files={"CLAUDE.md": "Be kind.\n"}),
        Invocation("big_output", g, [*V, "BIG300000"]),
        Invocation("env_claudecode", g, [*JSON, "x"], env={"CLAUDECODE": "1"}),
        Invocation(
            "session_state", g, SIP, [*one("x"), done()], env={"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1"}
        ),
        *(
            Invocation(f"no_key_{name}", g, [*argv, "x"], unset=("ANTHROPIC_API_KEY",))
            for name, argv in (("text", P), ("json", JSON), ("partial", SJ))
        ),
        *(
            Invocation(f"blank_{name}", g, [*JSON, f"--{name}=", "x"])
            for name in ("model", "session-id", "max-turns")
        ),
        Invocation("choice_in_capitals", g, [*P, "--output-format", "JSON", "x"]),
        Invocation("choice_cut_short", g, [*P, "--output-format", "stream", "x"]),
        Invocation("option_cut_short", g, [*P, "--outp", "json", "x"]),
        Invocation("stdin_not_utf8", g, JSON, stdin="a\udc80b"),
        Invocation(
            "warnings", g, [*JSON, "--effort", "nonsense", "x", "--betas", "nope", "context-1m-2025-08-07"]
        ),
        Invocation("betas", g, [*V, "x", "--betas", "context-1m-2025-08-07"]),
        Invocation("turns_fraction", g, [*JSON, "--max-turns", "1.5", "LOOP"]),
        Invocation("turns_hexadecimal", g, [*JSON, "--max-turns", "0x2", "LOOP"]),
        Invocation("turns_infinite", g, [*JSON, "--max-turns=Infinity", "x"]),
        Invocation("budget_negative", g, [*JSON, "--max-budget-usd=-1", "x"]),
        Invocation("task_budget_zero", g, [*JSON, "--task-budget", "0", "x"]),
        Invocation("bad_thinking", g, [*JSON, "--thinking", "bad", "x"]),
        Invocation("bad_thinking_display", g, [*JSON, "--thinking-display", "bad", "x"]),
        Invocation("bad_autocompact", g, [*JSON, "--autocompact", "50k", "x"]),
        Invocation("bad_schema", g, [*JSON, "--json-schema", "not json", "x"]),
        Invocation("schema_no_object", g, [*JSON, "--json-schema", "5", "x"]),
        Invocation("schema_bad_type", g, [*JSON, "--json-schema", '{"type":"nonsense"}', "x"]),
        Invocation("bad_agents", g, [*JSON, "--agents", "{bad", "x"]),
        Invocation("agents_incomplete", g, [*JSON, "--agents", '{"tester":{}}', "x"]),
        Invocation(
            "agents",
            g,
            [*V, "--agents", '{"tester":{"description":"d","prompt":"p"}}', "--agent", "tester", "x"],
        ),
        Invocation("agent_unknown", g, [*JSON, "--agent", "nobody", "x"]),
        Invocation("prompt_file_missing", g, [*JSON, "--system-prompt-file", "nofile", "x"]),
        Invocation("appended_file_missing", g, [*JSON, "--append-system-prompt-file", "nofile", "x"]),
        Invocation("settings_missing", g, [*JSON, "--settings", "nofile.json", "x"]),
        Invocation("settings_bad_inline", g, [*JSON, "--settings", '{"a":}', "x"]),
        Invocation("settings_model", g, [*V, "--settings", '{"model":"haiku"}', "x"]),
        Invocation("settings_mode", g, [*V, "--settings", '{"permissions":{"defaultMode":"plan"}}', "x"]),
        Invocation("settings_of_project", g, [*V, "x"], files={".claude/settings.json": '{"model":"haiku"}'}),
        Invocation(
            "settings_not_read",
            g,
            [*V, "--setting-sources", "", "x"],
            files={".claude/settings.json": '{"model":"haiku"}'},
        ),
        Invocation("bad_setting_source", g, [*JSON, "--setting-sources", "user,nope", "x"]),
        Invocation("resume_at_alone", g, [*JSON, "--resume-session-at", "x", "x"]),
        Invocation("resume_drops_alone", g, [*JSON, "--resume-drops-turn", "x"]),
        *(
            Invocation(f"model_{name}", g, [*V, "--model", name, "x"])
            for name in ("default", "Sonnet", "opus[1m]", "claude-sonnet-4-5-20250929", "claude-nonsense-9")
        ),
        Invocation("model_of_env", g, [*V, "x"], env={"ANTHROPIC_MODEL": "sonnet"}),
        Invocation("no_slash_commands", g, [*SJ, "--disable-slash-commands", "/cost"]),
        Invocation("slash_unavailable", g, [*SJ, "/help"]),
        Invocation("slash_model", g, [*V, "/model"]),
        Invocation(
            "slash_model_set", g, SI, [*one("/model haiku"), ("result:1", "send", user("x")), done(2)]
        ),
        Invocation("slash_compact_nothing", g, [*SJ, "/compact"]),
        Invocation(
            "order_settings_first",
            g,
            [*P, "--effort", "bad", "--settings", "nofile", "--setting-sources", "bad", "x"],
        ),
        Invocation(
            "order_session_first", g, [*P, "--agent", "q", "--json-schema", "5", "--session-id", "bad", "x"]
        ),
        Invocation(
            "order_file_first",
            g,
            [*P, "--agent", "q", "--json-schema", "5", "--system-prompt-file", "nofile", "x"],
        ),
        Invocation("order_schema_first", g, [*P, "--agent", "q", "--json-schema", "5"]),
        Invocation("order_agent_first", g, [*P, "--agent", "q", "--betas", "nope"]),
    ]


def _sessions() -> list[Invocation]:
    g = "sessions"
    first = Invocation("first", g, [*JSON, "--session-id", SID, "first"])
    titled = Invocation("first", g, [*JSON, "--session-id", SID, "--name", "my title", "first"])
    return [
        Invocation("sid_valid", g, [*V, "--session-id", SID, "x"]),
        Invocation("sid_uppercase", g, [*JSON, "--session-id", SID.upper(), "x"]),
        Invocation("sid_not_uuid", g, [*JSON, "--session-id", "my-session", "x"]),
        Invocation("sid_not_uuid_stream", g, [*V, "--session-id", "my-session", "x"]),
        Invocation("sid_used", g, [*JSON, "--session-id", SID, "again"], before=[first]),
        Invocation("sid_used_stream", g, [*V, "--session-id", SID, "again"], before=[first]),
        Invocation("resume_known", g, [*V, "--resume", SID, "second"], before=[first]),
        Invocation("resume_short", g, [*JSON, "-r", SID, "second"], before=[first]),
        Invocation("resume_equals", g, [*JSON, f"--resume={SID}", "second"], before=[first]),
        Invocation(
            "resume_twice",
            g,
            [*JSON, "-r", SID, "third"],
            before=[first, Invocation("b", g, [*JSON, "-r", SID, "second"])],
        ),
        Invocation("resume_unknown", g, [*JSON, "--resume", OTHER, "x"]),
        Invocation("resume_unknown_stream", g, [*V, "--resume", OTHER, "x"]),
        Invocation("resume_unknown_json_verbose", g, [*JSON, "--verbose", "--resume", OTHER, "x"]),
        Invocation("resume_unknown_text", g, [*P, "--resume", OTHER, "x"]),
        Invocation("resume_unknown_si", g, [*SIP, "--resume", OTHER], [*one("x"), ("now", "eof", None)]),
        Invocation("resume_not_uuid", g, [*JSON, "--resume", "my-session", "x"]),
        Invocation("resume_no_value", g, [*JSON, "x", "--resume"]),
        Invocation("resume_prefix", g, [*JSON, "--resume", SID[:8], "x"], before=[first]),
        Invocation("resume_wrong_case", g, [*JSON, "--resume", SID.upper(), "x"], before=[first]),
        Invocation("resume_title", g, [*JSON, "--resume", "my title", "second"], before=[titled]),
        Invocation("resume_and_sid", g, [*JSON, "--resume", SID, "--session-id", OTHER, "x"], before=[first]),
        Invocation("resume_fork", g, [*V, "--resume", SID, "--fork-session", "second"], before=[first]),
        Invocation(
            "resume_fork_sid",
            g,
            [*V, "--resume", SID, "--fork-session", "--session-id", OTHER, "x"],
            before=[first],
        ),
        Invocation("fork_alone", g, [*JSON, "--fork-session", "x"]),
        Invocation("resume_title_in_capitals", g, [*JSON, "--resume", "MY TITLE", "second"], before=[titled]),
        Invocation("resume_no_prompt", g, [*JSON, "--resume", SID], before=[first]),
        Invocation("continue_no_prompt", g, [*JSON, "-c"], before=[first]),
        Invocation("continue_fork", g, [*V, "-c", "--fork-session", "x"], before=[first]),
        Invocation(
            "resume_no_persistence", g, [*V, "--no-session-persistence", "--resume", SID, "x"], before=[first]
        ),
        Invocation("resume_si", g, [*SIP, "--resume", SID], [*one("two"), done()], before=[first]),
        Invocation("continue_known", g, [*V, "-c", "second"], before=[first]),
        Invocation("continue_none", g, [*V, "--continue", "x"]),
        Invocation("continue_and_sid", g, [*JSON, "-c", "--session-id", OTHER, "x"], before=[first]),
        Invocation("no_persistence", g, [*V, "--no-session-persistence", "--session-id", SID, "x"]),
        Invocation(
            "no_persistence_resume",
            g,
            [*JSON, "--resume", SID, "x"],
            before=[Invocation("b", g, [*JSON, "--no-session-persistence", "--session-id", SID, "x"])],
        ),
        Invocation(
            "config_dir", g, [*JSON, "--session-id", SID, "x"], env={"CLAUDE_CONFIG_DIR": "{home}/cfg"}
        ),
        Invocation("settings_corrupt", g, [*JSON, "x"], files={"~/.claude/settings.json": "{broken"}),
        Invocation("claude_json_corrupt", g, [*JSON, "x"], files={"~/.claude.json": "{broken"}),
        Invocation(
            "cost_continues",
            g,
            [*V, "-r", SID, "CACHE"],
            before=[Invocation("b", g, [*JSON, "--session-id", SID, "CACHE"])],
        ),
        Invocation(
            "resume_after_kill",
            g,
            [*V, "-r", SID, "after"],
            before=[
                Invocation(
                    "b",
                    g,
                    [*SIP, "--session-id", SID],
                    [*one("HOLD"), ("delta:4", "pause", 0.4), ("now", "signal", "SIGKILL")],
                )
            ],
        ),
        Invocation(
            "resume_after_interrupt",
            g,
            [*V, "-r", SID, "after"],
            before=[
                Invocation(
                    "b",
                    g,
                    [*SIP, "--session-id", SID],
                    [*one("HOLD"), ("delta:4", "send", control("interrupt")), ("result:1", "eof", None)],
                )
            ],
        ),
        Invocation(
            "resume_after_error",
            g,
            [*V, "-r", SID, "after"],
            before=[Invocation("b", g, [*JSON, "--session-id", SID, "ERR403"])],
        ),
    ]


def _persistent() -> list[Invocation]:
    g = "persistent"
    image = {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": "image/png",
            "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        },
    }
    return [
        Invocation("si_one", g, SIP, [*one("one"), done()]),
        Invocation("si_one_full", g, SI, [*one("one"), done()]),
        Invocation("si_two_turns", g, SIP, [*one("one"), ("result:1", "send", user("two")), done(2)]),
        Invocation("si_no_input", g, SIP, [EOF]),
        Invocation("si_devnull", g, SIP),
        Invocation("si_no_print_flag", g, SIP[1:], [*one("one"), done()]),
        Invocation("si_argv_prompt", g, [*SIP, "ignored"], [*one("one"), done()]),
        Invocation("si_eof_at_once", g, SIP, [*one("one"), EOF]),
        Invocation(
            "si_eof_mid_answer", g, SIP, [*one("HOLD"), ("delta:2", "eof", None), ("now", "gate", "middle")]
        ),
        Invocation("si_last_line_unended", g, SIP, stdin=json.dumps(user("one"))),
        Invocation("si_blank_lines", g, SIP, stdin="\n\n  \n" + json.dumps(user("one")) + "\n\n"),
        Invocation("si_crlf", g, SIP, stdin=json.dumps(user("one")) + "\r\n"),
        Invocation("si_unicode", g, SIP, stdin=json.dumps(user("🙂 \u2028 ü"), ensure_ascii=False) + "\n"),
        Invocation(
            "si_blocks",
            g,
            SIP,
            [("now", "send", user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])), done()],
        ),
        Invocation(
            "si_image",
            g,
            SIP,
            [("now", "send", user([image, {"type": "text", "text": "see image"}])), done()],
        ),
        Invocation("si_empty_content", g, SIP, [*one(""), done()]),
        Invocation("si_empty_blocks", g, SIP, [("now", "send", user([])), done()]),
        Invocation("si_other_session_id", g, SIP, [("now", "send", user("one", session_id=OTHER)), done()]),
        Invocation("si_malformed", g, SIP, [("now", "send", "{this is not json")]),
        Invocation("si_malformed_after_turn", g, SIP, [*one("one"), ("result:1", "send", "not json at all")]),
        Invocation("si_malformed_mid_answer", g, SIP, [*one("HOLD"), ("delta:4", "send", "nope")]),
        Invocation(
            "si_wrong_role",
            g,
            SIP,
            [("now", "send", {"type": "user", "message": {"role": "assistant", "content": "x"}})],
        ),
        Invocation("si_no_role", g, SIP, [("now", "send", {"type": "user", "message": {"content": "x"}})]),
        Invocation("si_no_message", g, SIP, [("now", "send", {"type": "user"})]),
        Invocation(
            "si_content_number", g, SIP, [("now", "send", user(5)), ("now", "send", user("after")), done()]
        ),
        Invocation(
            "si_unknown_type",
            g,
            SIP,
            [("now", "send", {"type": "nonsense"}), ("now", "send", user("after")), done()],
        ),
        Invocation(
            "si_scalars",
            g,
            SIP,
            [("now", "send", "[1]"), ("now", "send", '"x"'), ("now", "send", user("after")), done()],
        ),
        Invocation("si_null_number", g, SIP, [("now", "send", "5"), ("now", "send", user("after")), done()]),
        Invocation(
            "si_keep_alive",
            g,
            SIP,
            [("now", "send", {"type": "keep_alive"}), ("now", "send", user("after")), done()],
        ),
        Invocation(
            "si_stray_response",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_response", "response": {"request_id": "x"}}),
                ("now", "send", user("a")),
                done(),
            ],
        ),
        Invocation(
            "si_queue",
            g,
            SIP,
            [
                *one("HOLD one"),
                ("delta:4", "send", user("two")),
                ("now", "send", user("three")),
                ("now", "pause", 0.3),
                ("now", "gate", "middle"),
                done(2),
            ],
        ),
        Invocation(
            "si_queue_uuid",
            g,
            [*SIP, "--replay-user-messages"],
            [
                ("now", "send", user("HOLD one", uuid=UUID1)),
                ("delta:4", "send", user("two", uuid=UUID2)),
                ("now", "send", user("three", uuid=UUID3)),
                ("now", "pause", 0.3),
                ("now", "gate", "middle"),
                done(2),
            ],
        ),
        Invocation(
            "si_replay",
            g,
            [*SIP, "--replay-user-messages"],
            [("now", "send", user("one", uuid=UUID1)), ("result:1", "send", user("two")), done(2)],
        ),
        Invocation("si_uuid", g, SIP, [("now", "send", user("one", uuid=UUID1)), done()]),
        Invocation("si_uuid_full", g, SI, [("now", "send", user("one", uuid=UUID1)), done()]),
        Invocation(
            "si_uuid_duplicate",
            g,
            [*SIP, "--replay-user-messages"],
            [
                ("now", "send", user("one", uuid=UUID1)),
                ("result:1", "send", user("one", uuid=UUID1)),
                ("now", "pause", 0.3),
                EOF,
            ],
        ),
        Invocation(
            "si_priority_now",
            g,
            SIP,
            [
                ("now", "send", user("HOLD", uuid=UUID1)),
                ("delta:4", "send", user("now please", uuid=UUID2, priority="now")),
                done(2),
            ],
        ),
        Invocation(
            "si_message_during_tool",
            g,
            [*SIP, "--replay-user-messages", "--allowedTools", "Bash"],
            [
                ("now", "send", user("TOOL `cat pipe`", uuid=UUID1)),
                ("tool", "reader", "pipe"),
                ("now", "send", user("sent during tool", uuid=UUID2)),
                ("now", "pause", 0.3),
                ("now", "unhold", None),
                done(),
            ],
            files={"pipe|": ""},
        ),
        Invocation("si_err_then_ok", g, SIP, [*one("ERR403"), ("result:1", "send", user("fine")), done(2)]),
        Invocation(
            "si_clear",
            g,
            [*SIP, "--session-id", SID],
            [*one("one"), ("result:1", "send", user("/clear")), ("result:2", "send", user("three")), done(3)],
        ),
        Invocation("si_cost", g, SIP, [*one("one"), ("result:1", "send", user("/cost")), done(2)]),
        Invocation("si_blank", g, SIP, [*one("   "), done()]),
        Invocation("si_null", g, SIP, [("now", "send", "null")]),
        Invocation(
            "si_no_content", g, SIP, [("now", "send", {"type": "user", "message": {"role": "user"}}), done()]
        ),
        Invocation(
            "si_many_at_once",
            g,
            [*SIP, "--replay-user-messages"],
            [
                ("now", "send", user("one", uuid=UUID1)),
                ("now", "send", user("two", uuid=UUID2)),
                ("now", "send", user("three", uuid=UUID3)),
                done(2),
            ],
        ),
        Invocation(
            "si_priority_later",
            g,
            SIP,
            [
                *one("HOLD"),
                ("delta:4", "send", user("later", priority="later")),
                ("now", "pause", 0.2),
                ("now", "gate", "middle"),
                done(2),
            ],
        ),
        Invocation(
            "si_update_environment",
            g,
            SIP,
            [
                ("now", "send", {"type": "update_environment_variables", "variables": {"FOO": "bar"}}),
                *one("one"),
                done(),
            ],
        ),
    ]


def _control() -> list[Invocation]:
    g = "control"
    hold = one("HOLD")
    return [
        Invocation(
            "ctl_initialize",
            g,
            SIP,
            [
                ("now", "send", control("initialize", hooks=None)),
                ("response:req_1", "send", user("one")),
                done(),
            ],
        ),
        Invocation(
            "ctl_initialize_after",
            g,
            SIP,
            [
                *one("one"),
                ("result:1", "send", control("initialize", hooks=None)),
                ("response:req_1", "eof", None),
            ],
        ),
        Invocation(
            "ctl_interrupt",
            g,
            SIP,
            [*hold, ("delta:4", "send", control("interrupt")), ("result:1", "send", user("after")), done(2)],
        ),
        Invocation(
            "ctl_interrupt_full",
            g,
            SI,
            [*hold, ("init", "pause", 0.3), ("now", "send", control("interrupt")), done()],
        ),
        Invocation(
            "ctl_interrupt_at_once",
            g,
            SIP,
            [("now", "send", f"{json.dumps(user('HOLD'))}\n{json.dumps(control('interrupt'))}"), done()],
        ),
        Invocation(
            "ctl_interrupt_silent",
            g,
            SIP,
            [*one("SILENT"), ("status", "pause", 0.3), ("now", "send", control("interrupt")), done()],
        ),
        Invocation(
            "ctl_interrupt_idle",
            g,
            SIP,
            [
                *one("one"),
                ("result:1", "send", control("interrupt")),
                ("response:req_1", "send", user("two")),
                done(2),
            ],
        ),
        Invocation(
            "ctl_interrupt_before_any",
            g,
            SIP,
            [("now", "send", control("interrupt")), ("response:req_1", "send", user("one")), done()],
        ),
        Invocation(
            "ctl_interrupt_twice",
            g,
            SIP,
            [
                *hold,
                ("delta:4", "send", control("interrupt")),
                ("result:1", "send", control("interrupt", "req_2")),
                ("response:req_2", "eof", None),
            ],
        ),
        Invocation(
            "ctl_interrupt_uuid",
            g,
            SIP,
            [("now", "send", user("HOLD", uuid=UUID1)), ("delta:4", "send", control("interrupt")), done()],
        ),
        Invocation(
            "ctl_interrupt_queued",
            g,
            SIP,
            [
                *hold,
                ("delta:2", "send", user("queued")),
                ("delta:4", "pause", 0.2),
                ("now", "send", control("interrupt")),
                done(2),
            ],
        ),
        Invocation(
            "ctl_interrupt_queued_uuid",
            g,
            SIP,
            [
                *hold,
                ("delta:2", "send", user("queued", uuid=UUID2)),
                ("delta:4", "pause", 0.2),
                ("now", "send", control("interrupt")),
                done(2),
            ],
        ),
        Invocation(
            "ctl_interrupt_tool",
            g,
            [*SIP, "--allowedTools", "Bash"],
            [
                *one("TOOL `cat pipe`"),
                ("tool", "reader", "pipe"),
                ("now", "send", control("interrupt")),
                ("result:1", "send", user("two")),
                done(2),
            ],
            files={"pipe|": ""},
        ),
        Invocation(
            "ctl_interrupt_retry",
            g,
            SIP,
            [*one("ERR500"), ("retry", "send", control("interrupt")), done()],
            env={"CLAUDE_CODE_MAX_RETRIES": "10"},
            real_waits=True,
        ),
        Invocation(
            "ctl_cancel_queued",
            g,
            SIP,
            [
                ("now", "send", user("HOLD", uuid=UUID1)),
                ("delta:4", "send", user("queued", uuid=UUID2)),
                ("now", "pause", 0.2),
                ("now", "send", control("cancel_async_message", message_uuid=UUID2)),
                ("response:req_1", "gate", "middle"),
                done(),
            ],
        ),
        Invocation(
            "ctl_cancel_unknown",
            g,
            SIP,
            [
                ("now", "send", control("cancel_async_message", message_uuid=UUID2)),
                ("response:req_1", "eof", None),
            ],
        ),
        Invocation(
            "ctl_set_model",
            g,
            SIP,
            [
                *one("one"),
                ("result:1", "send", control("set_model", model="claude-sonnet-5-5")),
                ("response:req_1", "send", user("two")),
                done(2),
            ],
        ),
        Invocation(
            "ctl_set_model_first",
            g,
            SIP,
            [
                ("now", "send", control("set_model", model="haiku")),
                ("response:req_1", "send", user("one")),
                done(),
            ],
        ),
        Invocation(
            "ctl_set_model_unknown",
            g,
            SIP,
            [("now", "send", control("set_model", model="no-such-model")), ("response:req_1", "eof", None)],
        ),
        Invocation(
            "ctl_set_model_default",
            g,
            [*SIP, "--model", "haiku"],
            [
                ("now", "send", control("set_model", model="default")),
                ("response:req_1", "send", user("one")),
                done(),
            ],
        ),
        *(
            Invocation(
                f"ctl_mode_{mode}",
                g,
                SIP,
                [
                    ("now", "send", control("set_permission_mode", mode=mode)),
                    ("response:req_1", "send", user("one")),
                    done(),
                ],
            )
            for mode in (
                "plan",
                "acceptEdits",
                "default",
                "manual",
                "dontAsk",
                "bypassPermissions",
                "nonsense",
            )
        ),
        Invocation(
            "ctl_unknown",
            g,
            SIP,
            [("now", "send", control("no_such_thing")), ("response:req_1", "eof", None)],
        ),
        Invocation(
            "ctl_no_request", g, SIP, [("now", "send", {"type": "control_request", "request_id": "x"})]
        ),
        Invocation(
            "ctl_mcp_status",
            g,
            SIP,
            [("now", "send", control("mcp_status")), ("response:req_1", "eof", None)],
        ),
        Invocation(
            "ctl_thinking",
            g,
            SIP,
            [
                ("now", "send", control("set_max_thinking_tokens", max_thinking_tokens=1000)),
                ("response:req_1", "eof", None),
            ],
        ),
        Invocation(
            "ctl_settings",
            g,
            SIP,
            [("now", "send", control("get_settings")), ("response:req_1", "eof", None)],
        ),
        Invocation("ctl_end_session", g, SIP, [("now", "send", control("end_session"))]),
        Invocation(
            "ctl_context_usage",
            g,
            SIP,
            [("now", "send", control("get_context_usage")), ("response:req_1", "eof", None)],
        ),
        Invocation(
            "ctl_bad_thinking",
            g,
            SIP,
            [
                ("now", "send", control("set_max_thinking_tokens", max_thinking_tokens="x")),
                ("response:req_1", "eof", None),
            ],
        ),
        Invocation(
            "ctl_initialize_twice",
            g,
            SIP,
            [
                ("now", "send", control("initialize", "a")),
                ("response:a", "send", control("initialize", "b")),
                ("response:b", "eof", None),
            ],
        ),
        Invocation(
            "ctl_no_id",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_request", "request": {"subtype": "interrupt"}}),
                *one("x"),
                done(),
            ],
        ),
        Invocation(
            "ctl_no_subtype",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_request", "request_id": "a", "request": "x"}),
                *one("x"),
                done(),
            ],
        ),
        Invocation(
            "ctl_set_model_streaming",
            g,
            SIP,
            [
                *hold,
                ("delta:4", "send", control("set_model", model="haiku")),
                ("response:req_1", "gate", "middle"),
                ("result:1", "send", user("two")),
                done(2),
            ],
        ),
        Invocation(
            "ctl_set_model_last",
            g,
            [*SI, "--model", "haiku"],
            [
                *one("one"),
                ("result:1", "send", control("set_model", model="default")),
                ("response:req_1", "send", control("set_model", "req_2", model="opus")),
                ("response:req_2", "eof", None),
            ],
        ),
        Invocation(
            "ctl_mode_streaming",
            g,
            SIP,
            [
                *hold,
                ("delta:4", "send", control("set_permission_mode", mode="plan")),
                ("response:req_1", "gate", "middle"),
                done(),
            ],
        ),
        Invocation("ctl_end_session_mid", g, SIP, [*hold, ("delta:4", "send", control("end_session"))]),
    ]


def _tools() -> list[Invocation]:
    g = "tools"
    touch = "TOOL `touch newfile`"
    pipe = {"pipe|": ""}
    held: list[Act] = [("tool", "reader", "pipe"), ("result:1", "unhold", None)]

    def asked(answer: dict[str, Any], prompt: str = touch, count: int = 1) -> list[Act]:
        return [*one(prompt), ("ask", "answer", answer), done(count)]

    allow = {"behavior": "allow", "updatedInput": {"command": "touch newfile", "description": "run it"}}
    return [
        Invocation("tool_echo", g, [*SJ, "TOOL `echo hi`"]),
        Invocation("tool_denied", g, [*SJ, touch]),
        Invocation("tool_denied_text", g, [*P, touch]),
        Invocation("tool_denied_json", g, [*JSON, touch]),
        Invocation("tool_denied_python", g, [*V, "TOOL `python3 -V`"]),
        Invocation("tool_denied_variable", g, [*V, "TOOL `echo $FOO`"]),
        Invocation("tool_denied_redirect", g, [*V, "TOOL `echo hi > f`"]),
        Invocation("tool_denied_outside", g, [*V, "TOOL `cat /etc/hostname`"]),
        Invocation("tool_denied_parts", g, [*V, "TOOL `foo; touch newfile`"]),
        Invocation("tool_allowed", g, [*V, touch, "--allowedTools", "Bash"]),
        Invocation("tool_allowed_rule", g, [*V, touch, "--allowedTools", "Bash(touch *)"]),
        Invocation("tool_not_allowed_rule", g, [*V, touch, "--allowedTools", "Bash(rm *)"]),
        Invocation("tool_disallowed", g, [*V, "TOOL `echo hi`", "--disallowedTools", "Bash"]),
        Invocation(
            "tool_exit_code", g, [*V, "TOOL `echo out; echo err >&2; exit 3`", "--allowedTools", "Bash"]
        ),
        Invocation("tool_no_output", g, [*V, "TOOL `true`"]),
        Invocation(
            "tool_background", g, [*SJ, "TOOLBG `cat pipe`", "--allowedTools", "Bash"], held, files=pipe
        ),
        Invocation(
            "tool_background_fails",
            g,
            [*V, "TOOLBG `cat pipe; exit 3`", "--allowedTools", "Bash"],
            held,
            files=pipe,
        ),
        Invocation("tool_parallel", g, [*SJ, "PARTOOL"]),
        Invocation("tool_parallel_denied", g, [*SJ, "PARTOOL DENIED"]),
        Invocation("tool_unknown", g, [*SJ, "UNKTOOL"]),
        Invocation("tool_read", g, [*V, "READ `{cwd}/note.txt`"], files={"note.txt": "alpha\nbeta\n"}),
        Invocation("tool_read_missing", g, [*V, "READ `{cwd}/missing.txt`"]),
        Invocation("tool_write_manual", g, [*V, "--permission-mode", "manual", "WRITE `{cwd}/w.txt`"]),
        Invocation("tool_write_edits", g, [*V, "--permission-mode", "acceptEdits", "WRITE `{cwd}/w.txt`"]),
        *(
            Invocation(f"mode_{mode}", g, [*V, "--permission-mode", mode, touch])
            for mode in ("default", "acceptEdits", "dontAsk", "plan")
        ),
        Invocation("mode_auto", g, [*V, "--permission-mode", "auto", touch]),
        Invocation("mode_plan_write", g, [*V, "--permission-mode", "plan", "WRITE `{cwd}/w.txt`"]),
        Invocation(
            "tool_denied_rule", g, [*V, touch, "--allowedTools", "Bash", "--disallowedTools", "Bash(touch *)"]
        ),
        Invocation("tool_allowed_by_settings", g, [*V, "--settings", ALLOW_TOUCH, touch]),
        Invocation("tool_disallowed_by_settings", g, [*V, "--settings", DENY_BASH, "TOOL `echo hi`"]),
        Invocation("tool_read_outside", g, [*V, "READ `/etc/hostname`"]),
        Invocation("tool_read_folder", g, [*V, "READ `{cwd}`"]),
        Invocation(
            "tool_write_outside", g, [*V, "--permission-mode", "acceptEdits", "WRITE `/nowhere/w.txt`"]
        ),
        Invocation(
            "tool_write_again",
            g,
            [*V, "--permission-mode", "acceptEdits", "WRITE `{cwd}/note.txt`"],
            files={"note.txt": "alpha\n"},
        ),
        Invocation("tool_glob", g, [*V, "GLOBTOOL"]),
        Invocation("tool_marked", g, [*V, "TOOL `env | grep -c CLAUDECODE`", "--allowedTools", "Bash"]),
        Invocation("mode_sandbox", g, [*V, "--dangerously-skip-permissions", touch], env={"IS_SANDBOX": "1"}),
        Invocation("structured", g, [*SJ, "--json-schema", SCHEMA, "STRUCTURED"]),
        Invocation("structured_text", g, [*P, "--json-schema", SCHEMA, "STRUCTURED"]),
        Invocation("structured_late", g, [*V, "--json-schema", SCHEMA, "STRUCTURED LATE"]),
        Invocation("structured_never", g, [*V, "--json-schema", SCHEMA, "x"]),
        Invocation("max_turns_1", g, [*SJ, "--max-turns", "1", "LOOP"]),
        Invocation("max_turns_2", g, [*V, "--max-turns", "2", "LOOP"]),
        Invocation("max_turns_text", g, [*P, "--max-turns", "1", "LOOP"]),
        Invocation("max_turns_unused", g, [*V, "--max-turns", "1", "x"]),
        Invocation("max_budget", g, [*V, "--max-budget-usd", "0.0003", "LOOP"]),
        Invocation("max_budget_text", g, [*P, "--max-budget-usd", "0.0003", "LOOP"]),
        Invocation("max_budget_unused", g, [*JSON, "--max-budget-usd", "1", "x"]),
        Invocation("perm_tool_missing", g, [*V, "--permission-prompt-tool", "mcp__x__y", touch]),
        Invocation("perm_allow", g, HOST, asked(allow)),
        Invocation("perm_allow_plain", g, HOST, asked({"behavior": "allow"})),
        Invocation(
            "perm_allow_changed",
            g,
            HOST,
            asked({"behavior": "allow", "updatedInput": {"command": "echo changed"}}),
        ),
        Invocation("perm_deny", g, HOST, asked({"behavior": "deny", "message": "The user said no"})),
        Invocation(
            "perm_deny_interrupt", g, HOST, asked({"behavior": "deny", "message": "Stop", "interrupt": True})
        ),
        Invocation("perm_bad_answer", g, HOST, asked({"huh": 1})),
        Invocation("perm_error_answer", g, HOST, [*one(touch), ("ask", "refuse", "host broke"), done()]),
        Invocation("perm_eof", g, HOST, [*one(touch), ("ask", "eof", None)]),
        Invocation(
            "perm_interrupt",
            g,
            HOST,
            [*one(touch), ("ask", "pause", 0.2), ("now", "send", control("interrupt")), done()],
        ),
        Invocation("perm_write", g, HOST, asked({"behavior": "allow"}, "WRITE `{cwd}/w.txt`")),
        Invocation("perm_python", g, HOST, asked({"behavior": "deny", "message": "no"}, "TOOL `python3 -V`")),
        Invocation(
            "perm_message_meanwhile",
            g,
            HOST,
            [
                *one(touch),
                ("ask", "send", user("typed while waiting")),
                ("now", "pause", 0.3),
                ("now", "answer", allow),
                done(),
            ],
        ),
        Invocation("perm_none", g, [*HOST, "--permission-prompts", "none"], [*one(touch), done()]),
        Invocation("perm_state", g, HOST, asked(allow), env={"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1"}),
    ]


def _trouble() -> list[Invocation]:
    g = "trouble"
    few = {"CLAUDE_CODE_MAX_RETRIES": "2"}
    return [
        *(
            Invocation(f"err_{code}", g, [*SJ, f"ERR{code}"], env=few)
            for code in (400, 401, 403, 404, 413, 429, 500, 529)
        ),
        *(Invocation(f"err_{code}_text", g, [*P, f"ERR{code}"], env=few) for code in (400, 403, 500)),
        Invocation("err_403_json", g, [*JSON, "ERR403"]),
        Invocation("err_500_full", g, [*V, "ERR500 FIRST1"]),
        Invocation("err_500_twice", g, [*SJ, "ERR500 FIRST2"]),
        Invocation("err_529_many", g, [*SJ, "ERR529"], env={"CLAUDE_CODE_MAX_RETRIES": "5"}),
        Invocation("err_529_once", g, [*SJ, "ERR529 FIRST1"]),
        Invocation("err_529_no_retries", g, [*SJ, "ERR529"], env={"CLAUDE_CODE_MAX_RETRIES": "0"}),
        Invocation(
            "err_529_fallback",
            g,
            [*SJ, "--fallback-model", "haiku", "ERR529"],
            env=few | {"CLAUDE_CODE_MAX_RETRIES": "3"},
        ),
        Invocation("err_429_after", g, [*SJ, "ERR429 RETRYAFTER3 FIRST1"]),
        Invocation("err_429_no_retry", g, [*SJ, "ERR429 NORETRY"]),
        Invocation("err_400_long", g, [*SJ, "ERR400 LONGPROMPT"]),
        Invocation("reset_once", g, [*SJ, "RESET FIRST1"]),
        Invocation("reset_always", g, [*SJ, "RESET"], env=few),
        Invocation("cut_once", g, [*SJ, "CUT3 FIRST1"]),
        Invocation("cut_once_full", g, [*V, "CUT3 FIRST1"]),
        Invocation("cut_once_json", g, [*JSON, "CUT3 FIRST1"]),
        Invocation("cut_always", g, [*SJ, "CUT3"], env=few),
        Invocation("cut_thinking", g, [*SJ, "CUTTHINK"]),
        Invocation("stream_error_once", g, [*SJ, "SSEERR FIRST1"]),
        Invocation("stream_error_always", g, [*SJ, "SSEERR"]),
        Invocation("thinking", g, [*SJ, "THINK"]),
        Invocation("thinking_full", g, [*V, "THINK"]),
        Invocation("thinking_only", g, [*SJ, "THINKONLY"]),
        Invocation("empty", g, [*SJ, "EMPTY"]),
        Invocation("empty_text", g, [*P, "EMPTY"]),
        Invocation("max_tokens", g, [*SJ, "MAXTOK"]),
        Invocation("max_tokens_always", g, [*SJ, "MAXTOKALL"]),
        Invocation("refusal", g, [*SJ, "REFUSE"]),
        Invocation("refusal_once", g, [*SJ, "REFUSE ONCE"]),
        Invocation("refusal_partial", g, [*SJ, "REFUSE PARTIAL"]),
        Invocation("pause_turn", g, [*SJ, "PAUSE"]),
        Invocation("stop_sequence", g, [*SJ, "STOPSEQ"]),
        Invocation("ping", g, [*SJ, "PING"]),
        Invocation("cache", g, [*V, "CACHE"]),
        Invocation("bad_base_url", g, [*SJ, "x"], env=few | {"ANTHROPIC_BASE_URL": "not a url"}),
    ]


def _signals() -> list[Invocation]:
    g = "signals"
    hold, touch = [*SJ, "HOLD"], "TOOL `touch newfile`"
    tool = [*V, "TOOL `cat pipe`", "--allowedTools", "Bash"]
    pipe = {"pipe|": ""}
    return [
        *(
            Invocation(f"{name.lower()}_streaming", g, hold, [("delta:4", "signal", name)])
            for name in ("SIGINT", "SIGTERM", "SIGHUP")
        ),
        Invocation("sigkill_streaming", g, hold, [("delta:4", "pause", 0.4), ("now", "signal", "SIGKILL")]),
        Invocation("sigint_text", g, [*P, "HOLD"], [("arrived", "pause", 0.4), ("now", "signal", "SIGINT")]),
        Invocation(
            "sigint_json", g, [*JSON, "HOLD"], [("arrived", "pause", 0.4), ("now", "signal", "SIGINT")]
        ),
        Invocation("sigint_persistent", g, SIP, [*one("HOLD"), ("delta:4", "signal", "SIGINT")]),
        Invocation("sigterm_persistent", g, SIP, [*one("HOLD"), ("delta:4", "signal", "SIGTERM")]),
        Invocation("sigint_retrying", g, [*SJ, "ERR500"], [("retry", "signal", "SIGINT")], real_waits=True),
        Invocation("sigterm_retrying", g, [*SJ, "ERR500"], [("retry", "signal", "SIGTERM")], real_waits=True),
        Invocation(
            "sigint_asking", g, HOST, [*one(touch), ("ask", "pause", 0.2), ("now", "signal", "SIGINT")]
        ),
        Invocation(
            "sigterm_asking", g, HOST, [*one(touch), ("ask", "pause", 0.2), ("now", "signal", "SIGTERM")]
        ),
        Invocation(
            "sigint_idle", g, SIP, [*one("one"), ("result:1", "pause", 0.1), ("now", "signal", "SIGINT")]
        ),
        Invocation(
            "sigterm_idle", g, SIP, [*one("one"), ("result:1", "pause", 0.1), ("now", "signal", "SIGTERM")]
        ),
        Invocation(
            "sigterm_tool", g, tool, [("tool", "reader", "pipe"), ("now", "signal", "SIGTERM")], files=pipe
        ),
        Invocation(
            "sigint_tool", g, tool, [("tool", "reader", "pipe"), ("now", "signal", "SIGINT")], files=pipe
        ),
    ]


def _sdk() -> list[Invocation]:
    g = "sdk"
    argv = [
        "--output-format",
        "stream-json",
        "--verbose",
        "--system-prompt",
        "",
        "--input-format",
        "stream-json",
    ]
    env = {
        "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
        "CLAUDE_AGENT_SDK_VERSION": "0.2.187",
        "CLAUDE_CODE_SDK_READS_SESSION_STATE": "1",
    }
    start: Act = ("now", "send", control("initialize", "req_0", hooks=None))

    def say(prompt: str) -> dict[str, Any]:
        return user(prompt, parent_tool_use_id=None, session_id="default")

    return [
        Invocation(
            "sdk_one", g, argv, [start, ("response:req_0", "send", say("one")), ("now", "eof", None)], env=env
        ),
        Invocation(
            "sdk_two",
            g,
            argv,
            [start, ("response:req_0", "send", say("one")), ("result:1", "send", say("two")), done(2)],
            env=env,
        ),
        Invocation(
            "sdk_error",
            g,
            argv,
            [start, ("response:req_0", "send", say("ERR403")), ("now", "eof", None)],
            env=env,
        ),
        Invocation(
            "sdk_modes",
            g,
            argv,
            [
                start,
                ("response:req_0", "send", control("set_model", "req_2", model="claude-haiku-5-5")),
                ("response:req_2", "send", control("set_permission_mode", "req_3", mode="plan")),
                ("response:req_3", "send", say("x")),
                done(),
            ],
            env=env,
        ),
    ]


ROWS = [
    *_invocation(),
    *_sessions(),
    *_persistent(),
    *_control(),
    *_tools(),
    *verdict_rows(),
    *control_rows(),
    *settings_rows(),
    *_trouble(),
    *_signals(),
    *_sdk(),
    *user_text_rows(),
    *hook_rows(),
    *kept_rows(),
]
