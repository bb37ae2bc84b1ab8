"""The table of invocations."""

from __future__ import annotations

import json
from typing import Any

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
    P,
    Row,
    V,
    control,
    done,
    one,
    user,
)
from fake_claude.fidelity.usertext import rows as user_text_rows


def _invocation() -> list[Row]:
    g = "invocation"
    return [
        Row("version", g, ["--version"]),
        Row("text", g, [*P, "hello there"]),
        Row("json", g, [*JSON, "hello there"]),
        Row("json_verbose", g, [*JSON, "--verbose", "hello there"]),
        Row("stream_json", g, [*V, "hello there"]),
        Row("partial", g, [*SJ, "hello there"]),
        Row("no_print_flag", g, ["hello there"]),
        Row("no_args", g, []),
        Row("no_prompt", g, P),
        Row("empty_prompt", g, [*P, ""]),
        Row("space_prompt", g, [*P, "   "]),
        Row("stdin_prompt", g, JSON, stdin="from stdin\n"),
        Row("stdin_and_argument", g, [*JSON, "from argv"], stdin="from stdin\n"),
        Row("stdin_space", g, JSON, stdin="  \n"),
        Row("stdin_unicode", g, JSON, stdin="🙂 ünï\u2028 \x00 end"),
        Row("stdin_200k", g, JSON, stdin="a" * 200_000),
        Row("stdin_11m", g, V, stdin="a" * 11_000_000),
        Row("second_positional", g, [*JSON, "first", "second"]),
        Row("dash_dash", g, [*P, "--", "x", "--output-format", "json"]),
        Row("dash_prompt", g, [*P, "-hello dash"]),
        Row("dash_prompt_dash_dash", g, [*JSON, "--", "-hello dash"]),
        Row("single_dash", g, [*JSON, "-"], stdin="piped"),
        Row("last_wins", g, [*P, "--output-format", "text", "--output-format", "json", "x"]),
        Row("equals", g, [*P, "--output-format=json", "x"]),
        Row("subcommand_prompt", g, [*P, "doctor"]),
        Row("sj_no_verbose", g, [*P, "--output-format", "stream-json", "x"]),
        Row("si_no_verbose", g, [*P, "--input-format", "stream-json", "--output-format", "stream-json"]),
        Row("partial_text", g, [*P, "--include-partial-messages", "x"]),
        Row("partial_json", g, [*JSON, "--include-partial-messages", "x"]),
        Row("si_text_out", g, [*P, "--input-format", "stream-json"]),
        Row("si_json_out", g, [*JSON, "--input-format", "stream-json", "--verbose"]),
        Row("replay_alone", g, [*V, "--replay-user-messages", "x"]),
        Row("unknown_option", g, [*P, "--no-such-flag", "x"]),
        Row("near_option", g, [*P, "--output-fromat", "json", "x"]),
        Row("near_option_short", g, [*P, "--modle", "x"]),
        Row("bad_output_format", g, [*P, "--output-format", "xml", "x"]),
        Row("bad_input_format", g, [*P, "--input-format", "xml", "x"]),
        Row("bad_mode", g, [*P, "--permission-mode", "nonsense", "x"]),
        Row("bad_prompts", g, [*P, "--permission-prompts", "maybe", "x"]),
        Row("value_missing", g, [*P, "x", "--output-format"]),
        Row("model_value_missing", g, [*P, "x", "--model"]),
        Row("bad_max_turns", g, [*V, "--max-turns=abc", "x"]),
        Row("max_turns_0", g, [*JSON, "--max-turns=0", "x"]),
        Row("bad_budget", g, [*JSON, "--max-budget-usd", "abc", "x"]),
        Row("budget_0", g, [*JSON, "--max-budget-usd", "0", "x"]),
        Row("flag_with_value", g, [*P, "--verbose=yes", "x"]),
        Row("variadic_eats_prompt", g, [*JSON, "--allowedTools", "Read", "x y"]),
        Row("variadic_dash_dash", g, [*JSON, "--allowedTools", "Read", "--", "x y"]),
        Row(
            "variadic_then_option", g, [*P, "--allowedTools", "Read", "Bash", "--output-format", "json", "x"]
        ),
        Row("tools_none_eats", g, [*V, "--tools", "", "x"]),
        Row("tools_none", g, [*V, "--tools", "", "--", "x"]),
        Row("tools_some", g, [*V, "x", "--tools", "Bash,Read"]),
        Row("two_refusals", g, [*P, "--output-format", "xml", "--no-such-flag"]),
        Row("refusal_order_prompt_format", g, [*P, "--output-format", "stream-json"]),
        Row("refusal_order_sid_format", g, [*P, "--output-format", "stream-json", "--session-id", "x", "hi"]),
        Row("refusal_order_resume_format", g, [*P, "--output-format", "stream-json", "--resume", "x", "hi"]),
        Row("refusal_order_partial_prompt", g, [*P, "--include-partial-messages"]),
        Row("bypass_root", g, [*V, "--permission-mode", "bypassPermissions", "x"]),
        Row("skip_permissions_root", g, [*V, "--dangerously-skip-permissions", "x"]),
        Row("model_alias", g, [*V, "--model", "sonnet", "x"]),
        Row("model_haiku", g, [*V, "--model", "haiku", "x"]),
        Row("model_unknown", g, [*SJ, "--model", "no-such-model", "x"]),
        Row("system_prompt", g, [*V, "--system-prompt", "You test.", "--append-system-prompt", "More.", "x"]),
        Row("bare", g, [*V, "--bare", "x"]),
        Row("mcp_invalid", g, [*V, "x", "--mcp-config", "not json"]),
        Row(
            "mcp_bad_server",
            g,
            [*V, "x", "--mcp-config", '{"mcpServers":{"x":{"command":"/nonexistent","args":[]}}}'],
        ),
        Row("slash_cost", g, [*SJ, "/cost"]),
        Row("slash_unknown", g, [*SJ, "/nosuchcommand arg"]),
        Row("slash_path", g, [*JSON, "/usr/bin"]),
        Row("bang_prompt", g, [*JSON, "!ls"]),
        Row("hash_prompt", g, [*JSON, "# remember"]),
        Row("at_mention", g, [*SJ, "see @note.txt please"], files={"note.txt": "alpha\n"}),
        Row("claude_md", g, [*JSON, "x"], files={"CLAUDE.md": "Be kind.\n"}),
        Row("big_output", g, [*V, "BIG300000"]),
        Row("env_claudecode", g, [*JSON, "x"], env={"CLAUDECODE": "1"}),
        Row("session_state", g, SIP, [*one("x"), done()], env={"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1"}),
        *(
            Row(f"no_key_{name}", g, [*argv, "x"], unset=("ANTHROPIC_API_KEY",))
            for name, argv in (("text", P), ("json", JSON), ("partial", SJ))
        ),
        *(
            Row(f"blank_{name}", g, [*JSON, f"--{name}=", "x"])
            for name in ("model", "session-id", "max-turns")
        ),
        Row("choice_in_capitals", g, [*P, "--output-format", "JSON", "x"]),
        Row("choice_cut_short", g, [*P, "--output-format", "stream", "x"]),
        Row("option_cut_short", g, [*P, "--outp", "json", "x"]),
        Row("stdin_not_utf8", g, JSON, stdin="a\udc80b"),
        Row("warnings", g, [*JSON, "--effort", "nonsense", "x", "--betas", "nope", "context-1m-2025-08-07"]),
        Row("betas", g, [*V, "x", "--betas", "context-1m-2025-08-07"]),
        Row("turns_fraction", g, [*JSON, "--max-turns", "1.5", "LOOP"]),
        Row("turns_hexadecimal", g, [*JSON, "--max-turns", "0x2", "LOOP"]),
        Row("turns_infinite", g, [*JSON, "--max-turns=Infinity", "x"]),
        Row("budget_negative", g, [*JSON, "--max-budget-usd=-1", "x"]),
        Row("task_budget_zero", g, [*JSON, "--task-budget", "0", "x"]),
        Row("bad_thinking", g, [*JSON, "--thinking", "bad", "x"]),
        Row("bad_thinking_display", g, [*JSON, "--thinking-display", "bad", "x"]),
        Row("bad_autocompact", g, [*JSON, "--autocompact", "50k", "x"]),
        Row("bad_schema", g, [*JSON, "--json-schema", "not json", "x"]),
        Row("schema_no_object", g, [*JSON, "--json-schema", "5", "x"]),
        Row("schema_bad_type", g, [*JSON, "--json-schema", '{"type":"nonsense"}', "x"]),
        Row("bad_agents", g, [*JSON, "--agents", "{bad", "x"]),
        Row("agents_incomplete", g, [*JSON, "--agents", '{"tester":{}}', "x"]),
        Row(
            "agents",
            g,
            [*V, "--agents", '{"tester":{"description":"d","prompt":"p"}}', "--agent", "tester", "x"],
        ),
        Row("agent_unknown", g, [*JSON, "--agent", "nobody", "x"]),
        Row("prompt_file_missing", g, [*JSON, "--system-prompt-file", "nofile", "x"]),
        Row("appended_file_missing", g, [*JSON, "--append-system-prompt-file", "nofile", "x"]),
        Row("settings_missing", g, [*JSON, "--settings", "nofile.json", "x"]),
        Row("settings_bad_inline", g, [*JSON, "--settings", '{"a":}', "x"]),
        Row("settings_model", g, [*V, "--settings", '{"model":"haiku"}', "x"]),
        Row("settings_mode", g, [*V, "--settings", '{"permissions":{"defaultMode":"plan"}}', "x"]),
        Row("settings_of_project", g, [*V, "x"], files={".claude/settings.json": '{"model":"haiku"}'}),
        Row(
            "settings_not_read",
            g,
            [*V, "--setting-sources", "", "x"],
            files={".claude/settings.json": '{"model":"haiku"}'},
        ),
        Row("bad_setting_source", g, [*JSON, "--setting-sources", "user,nope", "x"]),
        Row("resume_at_alone", g, [*JSON, "--resume-session-at", "x", "x"]),
        Row("resume_drops_alone", g, [*JSON, "--resume-drops-turn", "x"]),
        *(
            Row(f"model_{name}", g, [*V, "--model", name, "x"])
            for name in ("default", "Sonnet", "opus[1m]", "claude-sonnet-4-5-20250929", "claude-nonsense-9")
        ),
        Row("model_of_env", g, [*V, "x"], env={"ANTHROPIC_MODEL": "sonnet"}),
        Row("no_slash_commands", g, [*SJ, "--disable-slash-commands", "/cost"]),
        Row("slash_unavailable", g, [*SJ, "/help"]),
        Row("slash_model", g, [*V, "/model"]),
        Row("slash_model_set", g, SI, [*one("/model haiku"), ("result:1", "send", user("x")), done(2)]),
        Row("slash_compact_nothing", g, [*SJ, "/compact"]),
        Row(
            "order_settings_first",
            g,
            [*P, "--effort", "bad", "--settings", "nofile", "--setting-sources", "bad", "x"],
        ),
        Row("order_session_first", g, [*P, "--agent", "q", "--json-schema", "5", "--session-id", "bad", "x"]),
        Row(
            "order_file_first",
            g,
            [*P, "--agent", "q", "--json-schema", "5", "--system-prompt-file", "nofile", "x"],
        ),
        Row("order_schema_first", g, [*P, "--agent", "q", "--json-schema", "5"]),
        Row("order_agent_first", g, [*P, "--agent", "q", "--betas", "nope"]),
    ]


def _sessions() -> list[Row]:
    g = "sessions"
    first = Row("first", g, [*JSON, "--session-id", SID, "first"])
    titled = Row("first", g, [*JSON, "--session-id", SID, "--name", "my title", "first"])
    return [
        Row("sid_valid", g, [*V, "--session-id", SID, "x"]),
        Row("sid_uppercase", g, [*JSON, "--session-id", SID.upper(), "x"]),
        Row("sid_not_uuid", g, [*JSON, "--session-id", "my-session", "x"]),
        Row("sid_not_uuid_stream", g, [*V, "--session-id", "my-session", "x"]),
        Row("sid_used", g, [*JSON, "--session-id", SID, "again"], before=[first]),
        Row("sid_used_stream", g, [*V, "--session-id", SID, "again"], before=[first]),
        Row("resume_known", g, [*V, "--resume", SID, "second"], before=[first]),
        Row("resume_short", g, [*JSON, "-r", SID, "second"], before=[first]),
        Row("resume_equals", g, [*JSON, f"--resume={SID}", "second"], before=[first]),
        Row(
            "resume_twice",
            g,
            [*JSON, "-r", SID, "third"],
            before=[first, Row("b", g, [*JSON, "-r", SID, "second"])],
        ),
        Row("resume_unknown", g, [*JSON, "--resume", OTHER, "x"]),
        Row("resume_unknown_stream", g, [*V, "--resume", OTHER, "x"]),
        Row("resume_unknown_json_verbose", g, [*JSON, "--verbose", "--resume", OTHER, "x"]),
        Row("resume_unknown_text", g, [*P, "--resume", OTHER, "x"]),
        Row("resume_unknown_si", g, [*SIP, "--resume", OTHER], [*one("x"), ("now", "eof", None)]),
        Row("resume_not_uuid", g, [*JSON, "--resume", "my-session", "x"]),
        Row("resume_no_value", g, [*JSON, "x", "--resume"]),
        Row("resume_prefix", g, [*JSON, "--resume", SID[:8], "x"], before=[first]),
        Row("resume_wrong_case", g, [*JSON, "--resume", SID.upper(), "x"], before=[first]),
        Row("resume_title", g, [*JSON, "--resume", "my title", "second"], before=[titled]),
        Row("resume_and_sid", g, [*JSON, "--resume", SID, "--session-id", OTHER, "x"], before=[first]),
        Row("resume_fork", g, [*V, "--resume", SID, "--fork-session", "second"], before=[first]),
        Row(
            "resume_fork_sid",
            g,
            [*V, "--resume", SID, "--fork-session", "--session-id", OTHER, "x"],
            before=[first],
        ),
        Row("fork_alone", g, [*JSON, "--fork-session", "x"]),
        Row("resume_title_in_capitals", g, [*JSON, "--resume", "MY TITLE", "second"], before=[titled]),
        Row("resume_no_prompt", g, [*JSON, "--resume", SID], before=[first]),
        Row("continue_no_prompt", g, [*JSON, "-c"], before=[first]),
        Row("continue_fork", g, [*V, "-c", "--fork-session", "x"], before=[first]),
        Row(
            "resume_no_persistence", g, [*V, "--no-session-persistence", "--resume", SID, "x"], before=[first]
        ),
        Row("resume_si", g, [*SIP, "--resume", SID], [*one("two"), done()], before=[first]),
        Row("continue_known", g, [*V, "-c", "second"], before=[first]),
        Row("continue_none", g, [*V, "--continue", "x"]),
        Row("continue_and_sid", g, [*JSON, "-c", "--session-id", OTHER, "x"], before=[first]),
        Row("no_persistence", g, [*V, "--no-session-persistence", "--session-id", SID, "x"]),
        Row(
            "no_persistence_resume",
            g,
            [*JSON, "--resume", SID, "x"],
            before=[Row("b", g, [*JSON, "--no-session-persistence", "--session-id", SID, "x"])],
        ),
        Row("config_dir", g, [*JSON, "--session-id", SID, "x"], env={"CLAUDE_CONFIG_DIR": "{home}/cfg"}),
        Row("settings_corrupt", g, [*JSON, "x"], files={"~/.claude/settings.json": "{broken"}),
        Row("claude_json_corrupt", g, [*JSON, "x"], files={"~/.claude.json": "{broken"}),
        Row(
            "cost_continues",
            g,
            [*V, "-r", SID, "CACHE"],
            before=[Row("b", g, [*JSON, "--session-id", SID, "CACHE"])],
        ),
        Row(
            "resume_after_kill",
            g,
            [*V, "-r", SID, "after"],
            before=[
                Row(
                    "b",
                    g,
                    [*SIP, "--session-id", SID],
                    [*one("HOLD"), ("delta:4", "pause", 0.4), ("now", "signal", "SIGKILL")],
                )
            ],
        ),
        Row(
            "resume_after_interrupt",
            g,
            [*V, "-r", SID, "after"],
            before=[
                Row(
                    "b",
                    g,
                    [*SIP, "--session-id", SID],
                    [*one("HOLD"), ("delta:4", "send", control("interrupt")), ("result:1", "eof", None)],
                )
            ],
        ),
        Row(
            "resume_after_error",
            g,
            [*V, "-r", SID, "after"],
            before=[Row("b", g, [*JSON, "--session-id", SID, "ERR403"])],
        ),
    ]


def _persistent() -> list[Row]:
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
        Row("si_one", g, SIP, [*one("one"), done()]),
        Row("si_one_full", g, SI, [*one("one"), done()]),
        Row("si_two_turns", g, SIP, [*one("one"), ("result:1", "send", user("two")), done(2)]),
        Row("si_no_input", g, SIP, [EOF]),
        Row("si_devnull", g, SIP),
        Row("si_no_print_flag", g, SIP[1:], [*one("one"), done()]),
        Row("si_argv_prompt", g, [*SIP, "ignored"], [*one("one"), done()]),
        Row("si_eof_at_once", g, SIP, [*one("one"), EOF]),
        Row("si_eof_mid_answer", g, SIP, [*one("HOLD"), ("delta:2", "eof", None), ("now", "gate", "middle")]),
        Row("si_last_line_unended", g, SIP, stdin=json.dumps(user("one"))),
        Row("si_blank_lines", g, SIP, stdin="\n\n  \n" + json.dumps(user("one")) + "\n\n"),
        Row("si_crlf", g, SIP, stdin=json.dumps(user("one")) + "\r\n"),
        Row("si_unicode", g, SIP, stdin=json.dumps(user("🙂 \u2028 ü"), ensure_ascii=False) + "\n"),
        Row(
            "si_blocks",
            g,
            SIP,
            [("now", "send", user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])), done()],
        ),
        Row(
            "si_image",
            g,
            SIP,
            [("now", "send", user([image, {"type": "text", "text": "see image"}])), done()],
        ),
        Row("si_empty_content", g, SIP, [*one(""), done()]),
        Row("si_empty_blocks", g, SIP, [("now", "send", user([])), done()]),
        Row("si_other_session_id", g, SIP, [("now", "send", user("one", session_id=OTHER)), done()]),
        Row("si_malformed", g, SIP, [("now", "send", "{this is not json")]),
        Row("si_malformed_after_turn", g, SIP, [*one("one"), ("result:1", "send", "not json at all")]),
        Row("si_malformed_mid_answer", g, SIP, [*one("HOLD"), ("delta:4", "send", "nope")]),
        Row(
            "si_wrong_role",
            g,
            SIP,
            [("now", "send", {"type": "user", "message": {"role": "assistant", "content": "x"}})],
        ),
        Row("si_no_role", g, SIP, [("now", "send", {"type": "user", "message": {"content": "x"}})]),
        Row("si_no_message", g, SIP, [("now", "send", {"type": "user"})]),
        Row("si_content_number", g, SIP, [("now", "send", user(5)), ("now", "send", user("after")), done()]),
        Row(
            "si_unknown_type",
            g,
            SIP,
            [("now", "send", {"type": "nonsense"}), ("now", "send", user("after")), done()],
        ),
        Row(
            "si_scalars",
            g,
            SIP,
            [("now", "send", "[1]"), ("now", "send", '"x"'), ("now", "send", user("after")), done()],
        ),
        Row("si_null_number", g, SIP, [("now", "send", "5"), ("now", "send", user("after")), done()]),
        Row(
            "si_keep_alive",
            g,
            SIP,
            [("now", "send", {"type": "keep_alive"}), ("now", "send", user("after")), done()],
        ),
        Row(
            "si_stray_response",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_response", "response": {"request_id": "x"}}),
                ("now", "send", user("a")),
                done(),
            ],
        ),
        Row(
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
        Row(
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
        Row(
            "si_replay",
            g,
            [*SIP, "--replay-user-messages"],
            [("now", "send", user("one", uuid=UUID1)), ("result:1", "send", user("two")), done(2)],
        ),
        Row("si_uuid", g, SIP, [("now", "send", user("one", uuid=UUID1)), done()]),
        Row("si_uuid_full", g, SI, [("now", "send", user("one", uuid=UUID1)), done()]),
        Row(
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
        Row(
            "si_priority_now",
            g,
            SIP,
            [
                ("now", "send", user("HOLD", uuid=UUID1)),
                ("delta:4", "send", user("now please", uuid=UUID2, priority="now")),
                done(2),
            ],
        ),
        Row(
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
        Row("si_err_then_ok", g, SIP, [*one("ERR403"), ("result:1", "send", user("fine")), done(2)]),
        Row(
            "si_clear",
            g,
            [*SIP, "--session-id", SID],
            [*one("one"), ("result:1", "send", user("/clear")), ("result:2", "send", user("three")), done(3)],
        ),
        Row("si_cost", g, SIP, [*one("one"), ("result:1", "send", user("/cost")), done(2)]),
        Row("si_blank", g, SIP, [*one("   "), done()]),
        Row("si_null", g, SIP, [("now", "send", "null")]),
        Row(
            "si_no_content", g, SIP, [("now", "send", {"type": "user", "message": {"role": "user"}}), done()]
        ),
        Row(
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
        Row(
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
        Row(
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


def _control() -> list[Row]:
    g = "control"
    hold = one("HOLD")
    return [
        Row(
            "ctl_initialize",
            g,
            SIP,
            [
                ("now", "send", control("initialize", hooks=None)),
                ("response:req_1", "send", user("one")),
                done(),
            ],
        ),
        Row(
            "ctl_initialize_after",
            g,
            SIP,
            [
                *one("one"),
                ("result:1", "send", control("initialize", hooks=None)),
                ("response:req_1", "eof", None),
            ],
        ),
        Row(
            "ctl_interrupt",
            g,
            SIP,
            [*hold, ("delta:4", "send", control("interrupt")), ("result:1", "send", user("after")), done(2)],
        ),
        Row(
            "ctl_interrupt_full",
            g,
            SI,
            [*hold, ("init", "pause", 0.3), ("now", "send", control("interrupt")), done()],
        ),
        Row(
            "ctl_interrupt_at_once",
            g,
            SIP,
            [("now", "send", f"{json.dumps(user('HOLD'))}\n{json.dumps(control('interrupt'))}"), done()],
        ),
        Row(
            "ctl_interrupt_silent",
            g,
            SIP,
            [*one("SILENT"), ("status", "pause", 0.3), ("now", "send", control("interrupt")), done()],
        ),
        Row(
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
        Row(
            "ctl_interrupt_before_any",
            g,
            SIP,
            [("now", "send", control("interrupt")), ("response:req_1", "send", user("one")), done()],
        ),
        Row(
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
        Row(
            "ctl_interrupt_uuid",
            g,
            SIP,
            [("now", "send", user("HOLD", uuid=UUID1)), ("delta:4", "send", control("interrupt")), done()],
        ),
        Row(
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
        Row(
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
        Row(
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
        Row(
            "ctl_interrupt_retry",
            g,
            SIP,
            [*one("ERR500"), ("retry", "send", control("interrupt")), done()],
            env={"CLAUDE_CODE_MAX_RETRIES": "10"},
            real_waits=True,
        ),
        Row(
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
        Row(
            "ctl_cancel_unknown",
            g,
            SIP,
            [
                ("now", "send", control("cancel_async_message", message_uuid=UUID2)),
                ("response:req_1", "eof", None),
            ],
        ),
        Row(
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
        Row(
            "ctl_set_model_first",
            g,
            SIP,
            [
                ("now", "send", control("set_model", model="haiku")),
                ("response:req_1", "send", user("one")),
                done(),
            ],
        ),
        Row(
            "ctl_set_model_unknown",
            g,
            SIP,
            [("now", "send", control("set_model", model="no-such-model")), ("response:req_1", "eof", None)],
        ),
        Row(
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
            Row(
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
        Row(
            "ctl_unknown",
            g,
            SIP,
            [("now", "send", control("no_such_thing")), ("response:req_1", "eof", None)],
        ),
        Row("ctl_no_request", g, SIP, [("now", "send", {"type": "control_request", "request_id": "x"})]),
        Row(
            "ctl_mcp_status",
            g,
            SIP,
            [("now", "send", control("mcp_status")), ("response:req_1", "eof", None)],
        ),
        Row(
            "ctl_thinking",
            g,
            SIP,
            [
                ("now", "send", control("set_max_thinking_tokens", max_thinking_tokens=1000)),
                ("response:req_1", "eof", None),
            ],
        ),
        Row(
            "ctl_settings",
            g,
            SIP,
            [("now", "send", control("get_settings")), ("response:req_1", "eof", None)],
        ),
        Row("ctl_end_session", g, SIP, [("now", "send", control("end_session"))]),
        Row(
            "ctl_context_usage",
            g,
            SIP,
            [("now", "send", control("get_context_usage")), ("response:req_1", "eof", None)],
        ),
        Row(
            "ctl_bad_thinking",
            g,
            SIP,
            [
                ("now", "send", control("set_max_thinking_tokens", max_thinking_tokens="x")),
                ("response:req_1", "eof", None),
            ],
        ),
        Row(
            "ctl_initialize_twice",
            g,
            SIP,
            [
                ("now", "send", control("initialize", "a")),
                ("response:a", "send", control("initialize", "b")),
                ("response:b", "eof", None),
            ],
        ),
        Row(
            "ctl_no_id",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_request", "request": {"subtype": "interrupt"}}),
                *one("x"),
                done(),
            ],
        ),
        Row(
            "ctl_no_subtype",
            g,
            SIP,
            [
                ("now", "send", {"type": "control_request", "request_id": "a", "request": "x"}),
                *one("x"),
                done(),
            ],
        ),
        Row(
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
        Row(
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
        Row(
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
        Row("ctl_end_session_mid", g, SIP, [*hold, ("delta:4", "send", control("end_session"))]),
    ]


def _tools() -> list[Row]:
    g = "tools"
    touch = "TOOL `touch newfile`"
    pipe = {"pipe|": ""}
    held: list[Act] = [("tool", "reader", "pipe"), ("result:1", "unhold", None)]

    def asked(answer: dict[str, Any], prompt: str = touch, count: int = 1) -> list[Act]:
        return [*one(prompt), ("ask", "answer", answer), done(count)]

    allow = {"behavior": "allow", "updatedInput": {"command": "touch newfile", "description": "run it"}}
    return [
        Row("tool_echo", g, [*SJ, "TOOL `echo hi`"]),
        Row("tool_denied", g, [*SJ, touch]),
        Row("tool_denied_text", g, [*P, touch]),
        Row("tool_denied_json", g, [*JSON, touch]),
        Row("tool_denied_python", g, [*V, "TOOL `python3 -V`"]),
        Row("tool_denied_variable", g, [*V, "TOOL `echo $FOO`"]),
        Row("tool_denied_redirect", g, [*V, "TOOL `echo hi > f`"]),
        Row("tool_denied_outside", g, [*V, "TOOL `cat /etc/hostname`"]),
        Row("tool_denied_parts", g, [*V, "TOOL `foo; touch newfile`"]),
        Row("tool_allowed", g, [*V, touch, "--allowedTools", "Bash"]),
        Row("tool_allowed_rule", g, [*V, touch, "--allowedTools", "Bash(touch *)"]),
        Row("tool_not_allowed_rule", g, [*V, touch, "--allowedTools", "Bash(rm *)"]),
        Row("tool_disallowed", g, [*V, "TOOL `echo hi`", "--disallowedTools", "Bash"]),
        Row("tool_exit_code", g, [*V, "TOOL `echo out; echo err >&2; exit 3`", "--allowedTools", "Bash"]),
        Row("tool_no_output", g, [*V, "TOOL `true`"]),
        Row("tool_background", g, [*SJ, "TOOLBG `cat pipe`", "--allowedTools", "Bash"], held, files=pipe),
        Row(
            "tool_background_fails",
            g,
            [*V, "TOOLBG `cat pipe; exit 3`", "--allowedTools", "Bash"],
            held,
            files=pipe,
        ),
        Row("tool_parallel", g, [*SJ, "PARTOOL"]),
        Row("tool_parallel_denied", g, [*SJ, "PARTOOL DENIED"]),
        Row("tool_unknown", g, [*SJ, "UNKTOOL"]),
        Row("tool_read", g, [*V, "READ `{cwd}/note.txt`"], files={"note.txt": "alpha\nbeta\n"}),
        Row("tool_read_missing", g, [*V, "READ `{cwd}/missing.txt`"]),
        Row("tool_write_manual", g, [*V, "--permission-mode", "manual", "WRITE `{cwd}/w.txt`"]),
        Row("tool_write_edits", g, [*V, "--permission-mode", "acceptEdits", "WRITE `{cwd}/w.txt`"]),
        *(
            Row(f"mode_{mode}", g, [*V, "--permission-mode", mode, touch])
            for mode in ("default", "acceptEdits", "dontAsk", "plan")
        ),
        Row("mode_auto", g, [*V, "--permission-mode", "auto", touch]),
        Row("mode_plan_write", g, [*V, "--permission-mode", "plan", "WRITE `{cwd}/w.txt`"]),
        Row(
            "tool_denied_rule", g, [*V, touch, "--allowedTools", "Bash", "--disallowedTools", "Bash(touch *)"]
        ),
        Row("tool_allowed_by_settings", g, [*V, "--settings", ALLOW_TOUCH, touch]),
        Row("tool_disallowed_by_settings", g, [*V, "--settings", DENY_BASH, "TOOL `echo hi`"]),
        Row("tool_read_outside", g, [*V, "READ `/etc/hostname`"]),
        Row("tool_read_folder", g, [*V, "READ `{cwd}`"]),
        Row("tool_write_outside", g, [*V, "--permission-mode", "acceptEdits", "WRITE `/nowhere/w.txt`"]),
        Row(
            "tool_write_again",
            g,
            [*V, "--permission-mode", "acceptEdits", "WRITE `{cwd}/note.txt`"],
            files={"note.txt": "alpha\n"},
        ),
        Row("tool_glob", g, [*V, "GLOBTOOL"]),
        Row("tool_marked", g, [*V, "TOOL `env | grep -c CLAUDECODE`", "--allowedTools", "Bash"]),
        Row("mode_sandbox", g, [*V, "--dangerously-skip-permissions", touch], env={"IS_SANDBOX": "1"}),
        Row("structured", g, [*SJ, "--json-schema", SCHEMA, "STRUCTURED"]),
        Row("structured_text", g, [*P, "--json-schema", SCHEMA, "STRUCTURED"]),
        Row("structured_late", g, [*V, "--json-schema", SCHEMA, "STRUCTURED LATE"]),
        Row("structured_never", g, [*V, "--json-schema", SCHEMA, "x"]),
        Row("max_turns_1", g, [*SJ, "--max-turns", "1", "LOOP"]),
        Row("max_turns_2", g, [*V, "--max-turns", "2", "LOOP"]),
        Row("max_turns_text", g, [*P, "--max-turns", "1", "LOOP"]),
        Row("max_turns_unused", g, [*V, "--max-turns", "1", "x"]),
        Row("max_budget", g, [*V, "--max-budget-usd", "0.0003", "LOOP"]),
        Row("max_budget_text", g, [*P, "--max-budget-usd", "0.0003", "LOOP"]),
        Row("max_budget_unused", g, [*JSON, "--max-budget-usd", "1", "x"]),
        Row("perm_tool_missing", g, [*V, "--permission-prompt-tool", "mcp__x__y", touch]),
        Row("perm_allow", g, HOST, asked(allow)),
        Row("perm_allow_plain", g, HOST, asked({"behavior": "allow"})),
        Row(
            "perm_allow_changed",
            g,
            HOST,
            asked({"behavior": "allow", "updatedInput": {"command": "echo changed"}}),
        ),
        Row("perm_deny", g, HOST, asked({"behavior": "deny", "message": "The user said no"})),
        Row(
            "perm_deny_interrupt", g, HOST, asked({"behavior": "deny", "message": "Stop", "interrupt": True})
        ),
        Row("perm_bad_answer", g, HOST, asked({"huh": 1})),
        Row("perm_error_answer", g, HOST, [*one(touch), ("ask", "refuse", "host broke"), done()]),
        Row("perm_eof", g, HOST, [*one(touch), ("ask", "eof", None)]),
        Row(
            "perm_interrupt",
            g,
            HOST,
            [*one(touch), ("ask", "pause", 0.2), ("now", "send", control("interrupt")), done()],
        ),
        Row("perm_write", g, HOST, asked({"behavior": "allow"}, "WRITE `{cwd}/w.txt`")),
        Row("perm_python", g, HOST, asked({"behavior": "deny", "message": "no"}, "TOOL `python3 -V`")),
        Row(
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
        Row("perm_none", g, [*HOST, "--permission-prompts", "none"], [*one(touch), done()]),
        Row("perm_state", g, HOST, asked(allow), env={"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1"}),
    ]


def _trouble() -> list[Row]:
    g = "trouble"
    few = {"CLAUDE_CODE_MAX_RETRIES": "2"}
    return [
        *(
            Row(f"err_{code}", g, [*SJ, f"ERR{code}"], env=few)
            for code in (400, 401, 403, 404, 413, 429, 500, 529)
        ),
        *(Row(f"err_{code}_text", g, [*P, f"ERR{code}"], env=few) for code in (400, 403, 500)),
        Row("err_403_json", g, [*JSON, "ERR403"]),
        Row("err_500_full", g, [*V, "ERR500 FIRST1"]),
        Row("err_500_twice", g, [*SJ, "ERR500 FIRST2"]),
        Row("err_529_many", g, [*SJ, "ERR529"], env={"CLAUDE_CODE_MAX_RETRIES": "5"}),
        Row("err_529_once", g, [*SJ, "ERR529 FIRST1"]),
        Row("err_529_no_retries", g, [*SJ, "ERR529"], env={"CLAUDE_CODE_MAX_RETRIES": "0"}),
        Row(
            "err_529_fallback",
            g,
            [*SJ, "--fallback-model", "haiku", "ERR529"],
            env=few | {"CLAUDE_CODE_MAX_RETRIES": "3"},
        ),
        Row("err_429_after", g, [*SJ, "ERR429 RETRYAFTER3 FIRST1"]),
        Row("err_429_no_retry", g, [*SJ, "ERR429 NORETRY"]),
        Row("err_400_long", g, [*SJ, "ERR400 LONGPROMPT"]),
        Row("reset_once", g, [*SJ, "RESET FIRST1"]),
        Row("reset_always", g, [*SJ, "RESET"], env=few),
        Row("cut_once", g, [*SJ, "CUT3 FIRST1"]),
        Row("cut_once_full", g, [*V, "CUT3 FIRST1"]),
        Row("cut_once_json", g, [*JSON, "CUT3 FIRST1"]),
        Row("cut_always", g, [*SJ, "CUT3"], env=few),
        Row("cut_thinking", g, [*SJ, "CUTTHINK"]),
        Row("stream_error_once", g, [*SJ, "SSEERR FIRST1"]),
        Row("stream_error_always", g, [*SJ, "SSEERR"]),
        Row("thinking", g, [*SJ, "THINK"]),
        Row("thinking_full", g, [*V, "THINK"]),
        Row("thinking_only", g, [*SJ, "THINKONLY"]),
        Row("empty", g, [*SJ, "EMPTY"]),
        Row("empty_text", g, [*P, "EMPTY"]),
        Row("max_tokens", g, [*SJ, "MAXTOK"]),
        Row("max_tokens_always", g, [*SJ, "MAXTOKALL"]),
        Row("refusal", g, [*SJ, "REFUSE"]),
        Row("refusal_once", g, [*SJ, "REFUSE ONCE"]),
        Row("refusal_partial", g, [*SJ, "REFUSE PARTIAL"]),
        Row("pause_turn", g, [*SJ, "PAUSE"]),
        Row("stop_sequence", g, [*SJ, "STOPSEQ"]),
        Row("ping", g, [*SJ, "PING"]),
        Row("cache", g, [*V, "CACHE"]),
        Row("bad_base_url", g, [*SJ, "x"], env=few | {"ANTHROPIC_BASE_URL": "not a url"}),
    ]


def _signals() -> list[Row]:
    g = "signals"
    hold, touch = [*SJ, "HOLD"], "TOOL `touch newfile`"
    tool = [*V, "TOOL `cat pipe`", "--allowedTools", "Bash"]
    pipe = {"pipe|": ""}
    return [
        *(
            Row(f"{name.lower()}_streaming", g, hold, [("delta:4", "signal", name)])
            for name in ("SIGINT", "SIGTERM", "SIGHUP")
        ),
        Row("sigkill_streaming", g, hold, [("delta:4", "pause", 0.4), ("now", "signal", "SIGKILL")]),
        Row("sigint_text", g, [*P, "HOLD"], [("arrived", "pause", 0.4), ("now", "signal", "SIGINT")]),
        Row("sigint_json", g, [*JSON, "HOLD"], [("arrived", "pause", 0.4), ("now", "signal", "SIGINT")]),
        Row("sigint_persistent", g, SIP, [*one("HOLD"), ("delta:4", "signal", "SIGINT")]),
        Row("sigterm_persistent", g, SIP, [*one("HOLD"), ("delta:4", "signal", "SIGTERM")]),
        Row("sigint_retrying", g, [*SJ, "ERR500"], [("retry", "signal", "SIGINT")], real_waits=True),
        Row("sigterm_retrying", g, [*SJ, "ERR500"], [("retry", "signal", "SIGTERM")], real_waits=True),
        Row("sigint_asking", g, HOST, [*one(touch), ("ask", "pause", 0.2), ("now", "signal", "SIGINT")]),
        Row("sigterm_asking", g, HOST, [*one(touch), ("ask", "pause", 0.2), ("now", "signal", "SIGTERM")]),
        Row("sigint_idle", g, SIP, [*one("one"), ("result:1", "pause", 0.1), ("now", "signal", "SIGINT")]),
        Row("sigterm_idle", g, SIP, [*one("one"), ("result:1", "pause", 0.1), ("now", "signal", "SIGTERM")]),
        Row("sigterm_tool", g, tool, [("tool", "reader", "pipe"), ("now", "signal", "SIGTERM")], files=pipe),
        Row("sigint_tool", g, tool, [("tool", "reader", "pipe"), ("now", "signal", "SIGINT")], files=pipe),
    ]


def _sdk() -> list[Row]:
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
        Row(
            "sdk_one", g, argv, [start, ("response:req_0", "send", say("one")), ("now", "eof", None)], env=env
        ),
        Row(
            "sdk_two",
            g,
            argv,
            [start, ("response:req_0", "send", say("one")), ("result:1", "send", say("two")), done(2)],
            env=env,
        ),
        Row(
            "sdk_error",
            g,
            argv,
            [start, ("response:req_0", "send", say("ERR403")), ("now", "eof", None)],
            env=env,
        ),
        Row(
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
    *_trouble(),
    *_signals(),
    *_sdk(),
    *user_text_rows(),
]
