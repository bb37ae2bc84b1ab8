"""What the CLI checks before it runs: each check with the refusals it makes (docs/claude-cli.md, starting)."""

from __future__ import annotations

import os

from fake_claude.catalog import AGENTS, SUBCOMMANDS
from fake_claude.invocation.javascript import json_complaint
from fake_claude.invocation.options import OPTIONS, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.invocation.context import Context


def check_formats(context: Context) -> None:
    """Refuse combinations of formats.

    Raises:
        Refusal: As the CLI words it.
    """
    options = context.options
    out, streams_in = context.output_format, context.streams_in
    if streams_in and out != "stream-json":
        raise Refusal("Error: --input-format=stream-json requires output-format=stream-json.")
    # The order is the CLI's: of several mistakes the first one is named (docs/claude-cli.md, starting).
    if options.flag("replay-user-messages") and not (streams_in and out == "stream-json"):
        raise Refusal(
            "Error: --replay-user-messages requires both --input-format=stream-json and --output-format=stream-json."
        )
    if options.flag("include-partial-messages") and out != "stream-json":
        raise Refusal("Error: --include-partial-messages requires --print and --output-format=stream-json.")


def check_root(context: Context) -> None:
    """Refuse to bypass permissions as root.

    Raises:
        Refusal: As the CLI words it.
    """
    if (
        context.permission_mode == "bypassPermissions"
        and os.geteuid() == 0
        # The way out for containers, in which every process may be root.
        and not context.env.get("IS_SANDBOX")
    ):
        raise Refusal(
            "--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons"
        )


def check_configuration(context: Context) -> None:
    """Refuse to start over a broken ``.claude.json``.

    Raises:
        Refusal: As the CLI words it.
    """
    import json  # loaded already

    # No file is a fresh home and fine; a broken one stops every start, unlike a broken ``settings.json``.
    path = context.state_file
    try:
        with open(path, encoding="utf-8") as file:
            json.load(file)
    except OSError:
        return
    except ValueError:
        from fake_claude.clock import now_ms

        backup = os.path.join(context.config_dir, "backups", f".claude.json.corrupted.{now_ms()}")
        wrong = "JSON Parse error: Expected '}'"
        raise Refusal(
            f"\nClaude configuration file at {path} is corrupted: {wrong}\n"
            f"The corrupted file has been backed up to: {backup}\n\n"
            f"Configuration error in {path}: {wrong}\n"
            "No backup of this file was found.\n"
            f"Fix the JSON in {path}, or move the file aside to start with default settings."
        ) from None


def check_mcp(context: Context) -> None:
    """Read MCP configurations as far as they are imitated: servers that cannot start.

    Raises:
        Refusal: A file is not there or not valid, or a server would have to be imitated.
    """
    import json  # loaded already

    for given in context.options.lists.get("mcp-config", []):
        text = given
        if not given.lstrip().startswith("{"):
            path = os.path.join(context.cwd, given)
            try:
                with open(path, encoding="utf-8") as file:
                    text = file.read()
            except OSError:
                raise Refusal(
                    f"Error: Invalid MCP configuration:\nMCP config file not found: {path}"
                ) from None
        try:
            servers = json.loads(text).get("mcpServers", {})
        except (ValueError, AttributeError):
            raise Refusal(
                "Error: Invalid MCP configuration:\nInvalid JSON format in MCP configuration"
            ) from None
        for name, server in servers.items():
            # A server that cannot start is easy: it stands in `init` as failed. One that could start would
            # bring tools and calls of its own; passing over it would make a test pass that the real CLI fails.
            program = server.get("command") if isinstance(server, dict) else None
            if program and os.path.isabs(program) and not os.path.isfile(program):
                context.mcp_servers.append({"name": name, "status": "failed", "source": "dynamic"})
            else:
                raise Refusal(f"fake-claude does not imitate MCP servers; --mcp-config names {name!r}")


def check_settings(context: Context) -> None:
    """Refuse settings that cannot be read.

    Raises:
        Refusal: As the CLI words it.
    """
    if context.configuration.wrong is not None:
        raise Refusal(context.configuration.wrong)


def check_agents(context: Context) -> None:
    """Read the names of agents that ``--agents`` defines.

    Raises:
        Refusal: It is not JSON, no file, or an agent lacks a part.
    """
    import json  # loaded already

    given = context.options.text("agents")
    if given is None:
        return
    text = given
    # A value that looks like JSON is never taken for a file's name; all else is.
    if given.lstrip()[:1] not in ("{", "["):
        path = os.path.join(context.cwd, given)
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            raise Refusal(
                f"Error: --agents file not found: {path}"
                " (a value that is not a JSON object is read as a file path)"
            ) from None
    try:
        agents = json.loads(text)
    except ValueError:
        raise Refusal(
            f"Error: Invalid --agents configuration:\ninvalid JSON: {json_complaint(text)}"
        ) from None
    if not isinstance(agents, dict):
        # All that is wrong is named at once, as the CLI's schema check does.
        wrong = ["Invalid input: expected record, received array"]
    else:
        wrong = [
            f"{name}.{member}: Invalid input: expected string, received undefined"
            for name, agent in agents.items()
            for member in ("description", "prompt")
            if isinstance(agent, dict) and member not in agent
        ]
    if wrong:
        raise Refusal("\n".join(["Error: Invalid --agents configuration:", *wrong]))
    context.agents = list(agents)


def check_agent(context: Context) -> None:
    """Find the agent that ``--agent`` names.

    Raises:
        Refusal: There is none of that name, or it is one with tools of its own.
    """
    name = context.options.text("agent")
    if name is None:
        return
    known = [*AGENTS, *context.agents]
    if name not in known:
        raise Refusal(f"--agent '{name}' not found. Available agents: {', '.join(known)}")
    # `claude` and `general-purpose` have all tools, so a run as one of them differs in nothing but its words.
    if name in AGENTS[1:] and name != "general-purpose":
        raise Refusal(f"fake-claude does not imitate the agent {name!r}: it has tools of its own")


def check_prompt_files(context: Context) -> None:
    """Refuse system prompts in files that are not there.

    Raises:
        Refusal: As the CLI words it.
    """
    for option, what in (
        ("system-prompt-file", "System prompt"),
        ("append-system-prompt-file", "Append system prompt"),
    ):
        name = context.options.text(option)
        path = os.path.join(context.cwd, name or "")
        if name is not None and not os.path.isfile(path):
            raise Refusal(f"Error: {what} file not found: {path}")


_JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def check_schema(context: Context) -> None:
    """Refuse a ``--json-schema`` that is none; only its ``type`` and ``required`` are looked at.

    Raises:
        Refusal: As the CLI words it.
    """
    import json  # loaded already

    text = context.options.text("json-schema")
    if not text:
        return
    try:
        schema = json.loads(text)
    except ValueError:
        raise Refusal(f"Error: --json-schema is not valid JSON: {json_complaint(text)}") from None
    if not isinstance(schema, dict):
        raise Refusal("Error: --json-schema must be a JSON object")
    # The CLI checks the whole schema; these two mistakes are the ones whose words are known.
    kind = schema.get("type", "object")
    wrong = ""
    if isinstance(kind, str) and kind not in _JSON_TYPES:
        wrong = (
            "data/type must be equal to one of the allowed values, data/type must be array,"
            " data/type must match a schema in anyOf"
        )
    elif not isinstance(schema.get("required", []), list):
        wrong = "data/required must be array"
    if wrong:
        raise Refusal(f"Error: --json-schema is not a valid JSON Schema: {wrong}")


def check_resumed_place(context: Context) -> None:
    """Refuse to resume in the middle of a session.

    Raises:
        Refusal: Options that would do so are not complete, or are.
    """
    options = context.options
    # The CLI's own refusals come before ours, so that a caller with two mistakes sees the same words.
    if options.flag("resume-session-at") and not options.flag("resume"):
        raise Refusal("Error: --resume-session-at requires --resume")
    if options.flag("resume-drops-turn") and not options.flag("resume-session-at"):
        raise Refusal("Error: --resume-drops-turn requires --resume-session-at")
    if options.flag("resume-session-at"):
        raise Refusal("fake-claude does not imitate --resume-session-at: a session is resumed at its end")


EFFORTS = ("low", "medium", "high", "xhigh", "max")
KNOWN_BETAS = ("context-1m-2025-08-07",)


def effort_warnings(context: Context) -> list[str]:
    """Return what the CLI says of an effort that it does not know."""
    effort = context.options.text("effort")
    if effort is None or effort in EFFORTS:
        return []
    warning = f"Warning: Unknown --effort value '{effort}' — ignoring it and using the default effort."
    return [f"{warning} Valid values: {', '.join(EFFORTS)}."]


def beta_warnings(context: Context) -> list[str]:
    """Keep the betas that are allowed; return the warnings about the others."""
    given = context.options.lists.get("betas", [])
    context.betas = [beta for beta in given if beta in KNOWN_BETAS]
    return [
        f"Warning: Beta header '{beta}' is not allowed. Only the following betas are supported:"
        f" {', '.join(KNOWN_BETAS)}"
        for beta in given
        if beta not in KNOWN_BETAS
    ]


def check_imitated(context: Context) -> None:
    """Refuse by name what the real CLI does and the fake does not.

    Raises:
        Refusal: An option or a command that is not imitated.
    """
    options = context.options
    for option in OPTIONS:
        # Refused by name: an option that is passed over in silence would let a test think that it worked.
        if option.refused and options.flag(option.key):
            raise Refusal(f"fake-claude does not imitate {option.names[-1]}: {option.refused}")
    word = options.positionals[0] if options.positionals else ""
    if word in SUBCOMMANDS and not options.flag("print"):
        raise Refusal(f"fake-claude does not imitate the command {word!r}; with -p the word is a prompt")


FIRST = (check_imitated, check_configuration, check_settings, check_root)
"""Checks before the session id's, in the CLI's order."""

AFTER_SESSION = (
    check_prompt_files,
    check_mcp,
    check_schema,
    check_agent,
    check_resumed_place,
    check_formats,
)
"""Checks after the session id's and before the prompt's."""
