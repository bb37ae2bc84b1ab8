"""Slash commands that the CLI carries out itself, without asking the model (docs/claude-cli.md, prompts)."""

from __future__ import annotations

from contextlib import suppress

from fake_claude.catalog import DEFAULT_MODEL, find_model, resolve_model
from fake_claude.clock import timestamp
from fake_claude.engine.local_commands import ANSWERS, WITH_ARGUMENTS
from fake_claude.ids import fresh_uuid
from fake_claude.invocation.command_files import commands
from fake_claude.lines import events
from fake_claude.lines.cost_text import cost_text
from fake_claude.lines.costs import empty_usage
from fake_claude.lines.result import TurnTotals
from fake_claude.prompt.attachments import said
from fake_claude.waits import YIELD, Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from fake_claude.engine.hooks import Blocked
    from fake_claude.engine.run import Run
    from fake_claude.invocation.context import Context
    from fake_claude.waits import Wait

    Message = dict[str, Any]

SUPPORTED = {
    "cost": "usage",
    "usage": "usage",
    "stats": "usage",
    "clear": "clear",
    "reset": "clear",
    "new": "clear",
    "compact": "compact",
    "model": "model",
    "config": "config",
    "settings": "config",
}
"""Commands and aliases that are carried out."""

UNAVAILABLE = frozenset(
    [
        "add-dir",
        "branch",
        "btw",
        "bug",
        "copy",
        "desktop",
        "exit",
        "export",
        "feedback",
        "help",
        "hooks",
        "ide",
        "install-github-app",
        "keybindings",
        "login",
        "logout",
        "memory",
        "mobile",
        "permissions",
        "plugin",
        "privacy-settings",
        "quit",
        "release-notes",
        "resume",
        "rewind",
        "sandbox",
        "skills",
        "status",
        "statusline",
        "stickers",
        "tasks",
        "terminal-setup",
        "theme",
        "upgrade",
        "vim",
    ]
)
"""Commands of the terminal, which the CLI refuses without one."""

UNSUPPORTED = frozenset(
    [
        "agents",
        "auto-mode-setup",
        "autocompact",
        "code-review",
        "color",
        "context",
        "effort",
        "goal",
        "heapdump",
        "insights",
        "list-agents",
        "mcp",
        "output-style",
        "peers",
        "recap",
        "reload-plugins",
        "reload-skills",
        "rename",
        "review",
    ]
)
"""Commands that the CLI carries out and the fake refuses by name; other text after a slash goes to the model."""

HIDDEN = UNSUPPORTED | frozenset(["init", "security-review", "team-onboarding"])
"""Further commands that ``--disable-slash-commands`` makes unavailable; others become text."""

SUMMARY = "This session is being continued from a previous conversation that ran out of context."


def command(content: object, context: Context) -> tuple[str, str, str] | None:
    """Return the word used, the command's own name and its arguments; ``None`` for a prompt to the model.

    A message of white space alone counts as one: the model is not asked either. Of content blocks the last is looked
    at. What a file of the user or the project defines under that name goes before the CLI's own.
    """
    # `/cost` is ("cost", "usage", ""), `/model opus` is ("model", "model", "opus"); ` /cost`, `/etc/x` and
    # `/nothing` are prompts. The name says which function below carries it out.
    if isinstance(content, str) and not content.strip():
        return "", "blank", ""
    text = said(content)
    if not text.startswith("/") or not text[1:].strip():
        return None
    word, *rest = text[1:].split(None, 1)
    arguments = rest[0].strip() if rest else ""
    name = SUPPORTED.get(word)
    if name is None and word in ANSWERS and (arguments or word not in WITH_ARGUMENTS):
        name = "answer"
    # Commands of the terminal are always refused, the others with ``--disable-slash-commands``. Refused, not
    # sent as text: only a word that is no command becomes text.
    if word in UNAVAILABLE or (not context.has_commands and (name is not None or word in HIDDEN)):
        name = "unavailable"
    elif name is None and word in UNSUPPORTED:
        name = "unimitated"
    if name is None or any(found.name == word for found in commands(context)):
        return None
    return word, name, arguments


def play(run: Run, called: tuple[str, str, str], prompt: Message) -> Generator[Wait, Any, None]:
    """Carry the command out, as a turn without an API call."""
    word, name, arguments = called
    tally = TurnTotals(run.costs, 0)
    run.emit_state("running")
    content = prompt["content"]
    # Blocks before the command, an image for example, go to the model with its next request.
    run.transcript.before_command = content[:-1] if isinstance(content, list) else []
    # Let signals and input be handled, as a turn does. The CLI answers an interrupt, and carries the command out
    # all the same.
    with suppress(Interrupted):
        yield YIELD
    if name == "usage":
        _usage(run, tally, word, arguments)
    elif name == "clear":
        _clear(run, tally)
    elif name == "compact":
        _compact(run, tally, arguments)
    elif name == "model":
        _model(run, tally, arguments)
    elif name == "config":
        _config(run, tally, word, arguments)
    elif name == "answer":
        _answer(run, tally, word, arguments)
    elif name == "blank":
        _blank(run, tally)
    else:
        _refused(run, tally, word, arguments, imitated=name == "unavailable")
    if prompt["uuid"]:
        run.emit(events.lifecycle(run.context, prompt["uuid"], "completed"))
    run.emit_state("idle")


def _usage(run: Run, tally: TurnTotals, word: str, arguments: str) -> None:
    text = cost_text(run.costs, run.api_ms, run.requests, before_330=run.context.before_330)
    _print(run, text, command=("usage", arguments))
    _result(run, tally, word, text)


def _print(
    run: Run,
    text: str,
    *,
    command: tuple[str, str] | None = None,
    outcome: str | None = None,
    stream: str = "stdout",
) -> None:
    """Print a command's output in the place of an answer; ``command`` is the one carried out, if one was."""
    context = run.context
    run.emit(events.init(context, run.project_dir, []), "init")
    event = events.synthetic_assistant(context, text)
    event["message"] |= {"stop_reason": "end_turn", "stop_sequence": None}
    event["local_command_source"] = f"<local-command-{stream}>{text}</local-command-{stream}>"
    # Only what was carried out is noted as a command; a refusal was written by its caller.
    if command is not None:
        event["local_command_run"] = {"command": command[0], "args": command[1]}
        run.transcript.local_command(*command)
        run.transcript.local_output(event["local_command_source"], event["local_command_run"])
    if outcome is not None:
        event["local_command_outcome"] = {"kind": outcome}
    run.emit(event, "full")
    # There is no turn's end that would write these lines before the result is out.
    run.transcript.flush()


def _refused(run: Run, tally: TurnTotals, word: str, arguments: str, *, imitated: bool) -> None:
    text = f"/{word} isn't available in this environment."
    if not imitated:
        text = f"fake-claude does not imitate /{word}"
        # Noted, so that a test can see that the fake, not the CLI, refused.
        run.record.note("unimitated", what=f"/{word}")
    typed = f"/{word} {arguments}".rstrip()
    run.transcript.enqueue(typed)
    run.transcript.local_output(typed)
    run.transcript.local_output(f"<local-command-stdout>{text}</local-command-stdout>")
    _print(run, text, outcome="unavailable_headless")
    _result(run, tally, None, text)


def _blank(run: Run, tally: TurnTotals) -> None:
    text = "Blank prompt — the message was only whitespace, so nothing was sent to the model."
    context = run.context
    run.emit(events.init(context, run.project_dir, []), "init")
    run.emit(events.system(context, "informational", content=text, level="warning"))
    run.transcript.enqueue("")
    run.transcript.flush()
    _result(run, tally, None, text)


def _answer(run: Run, tally: TurnTotals, word: str, arguments: str) -> None:
    text = ANSWERS[word](run, arguments)
    run.transcript.enqueue(f"/{word} {arguments}".rstrip())
    _print(run, text, command=(word, arguments))
    _result(run, tally, word.strip("_").replace("-", "_"), text)


def _config(run: Run, tally: TurnTotals, word: str, arguments: str) -> None:
    from fake_claude.prompt.config_command import configure  # few runs need it

    context = run.context
    text, changes = configure(context, arguments)
    for change in changes:
        run.note_setting(change)
        # Style and language count for the ``init`` line below, the model only from the next one on: so the
        # CLI does it.
        if change.key == "outputStyle":
            context.output_style = str(change.value)
        elif change.key == "language":
            context.language = None if change.value is None else str(change.value)
    run.transcript.enqueue(f"/{word} {arguments}".rstrip())
    _print(run, text, command=("config", arguments))
    for change in changes:
        if change.key == "model":
            context.model = resolve_model(str(change.value or DEFAULT_MODEL))
    _result(run, tally, word, text)


def not_imitated(run: Run, tally: TurnTotals, text: str) -> None:
    """End a turn whose prompt asks for something that the fake does not do."""
    run.record.note("unimitated", what=text)
    _print(run, text)
    _result(run, tally, None, text)
    run.emit_state("idle")


def blocked(run: Run, tally: TurnTotals, prompt: object, refusal: Blocked) -> None:
    """End a turn whose prompt a hook does not let through."""
    context = run.context
    run.emit(events.init(context, run.project_dir, []), "init")
    kind = "stopped_by_hook" if refusal.kept else "blocked_by_hook"
    outcome = {"kind": kind, "prompt_kept": refusal.kept, "reason": refusal.reason}
    # A hook that stops the turn leaves the prompt in the conversation; one that blocks the prompt keeps it
    # out.
    if refusal.kept:
        run.transcript.prompt(prompt)
        run.transcript.user(events.user(context, refusal.text), isMeta=True)
    members = {"level": "warning", "prevent_continuation": True, "prompt_submit_outcome": outcome}
    run.emit(events.system(context, "informational", content=refusal.text, **members))
    run.transcript.flush()
    _result(run, tally, None, refusal.text)
    run.emit_state("idle")


def _model(run: Run, tally: TurnTotals, name: str) -> None:
    context = run.context
    model = resolve_model(name)
    if not name:
        known = find_model(context.model)
        shown = known.title if known else context.model
        default = " (default)" if context.model == DEFAULT_MODEL else ""
        text = (
            f"Current model: `{shown}{default}`\nUsage: /model <name>. Available: sonnet, opus, haiku, fable, best,"
            " sonnet[1m], opus[1m], fable[1m], opusplan, default, or a full model ID."
        )
    elif not context.model_known(model):
        text = f"Model '{name}' not found"
    else:
        known = find_model(model)
        text = f"Set model to `{known.title if known else model}` for this session only"
    _print(run, text, command=("model", name))
    if name and context.model_known(model):
        context.model = model
    _result(run, tally, "model", text)


def _clear(run: Run, tally: TurnTotals) -> None:
    reset = fresh_uuid()
    context = run.context
    run.emit(
        {
            "type": "conversation_reset",
            "new_conversation_id": reset,
            "uuid": reset,
            "trigger": "clear",
            "user_message_uuid": fresh_uuid(),
            "timestamp": timestamp(),
            "session_id": context.session_id,
        }
    )
    run.emit(events.system(context, "background_tasks_changed", tasks=[]))
    context.session_id = fresh_uuid()
    # A new session id is a new account: what was spent belongs to the session that ended.
    run.costs.models.clear()
    run.api_ms = 0
    tally.costs_before = {}
    run.transcript = run.transcript.new_session()
    run.transcript.local_command("clear", "")
    run.transcript.flush()
    run.emit(events.init(context, run.project_dir, []), "init")
    _result(run, tally, "clear", "")


def _compact(run: Run, tally: TurnTotals, arguments: str) -> None:
    context, transcript = run.context, run.transcript
    if not transcript.messages:
        _print(
            run,
            "Error: No messages to compact",
            command=("compact", arguments),
            outcome="failed",
            stream="stderr",
        )
        _result(run, tally, "compact", "")
        return
    run.emit(events.status(context, "compacting"))
    # Only the lines are imitated. The history stays whole, because scripts count the turns in it; so numbers
    # of tokens are words, and nothing is summed up.
    kept = transcript.last_uuid or fresh_uuid()
    words = sum(len(str(message["content"]).split()) for message in transcript.messages)
    run.emit(_compacted(run, compact_result="success"))
    run.emit(events.init(context, run.project_dir, []), "init")
    metadata = {
        "trigger": "manual",
        "pre_tokens": words,
        "post_tokens": len(SUMMARY.split()),
        "cumulative_dropped_tokens": 0,
        "duration_ms": tally.now(),
    }
    boundary = events.system(context, "compact_boundary", compact_metadata=metadata, logical_parent_uuid=kept)
    run.emit(boundary)
    transcript.add(boundary)
    summary = events.user(context, SUMMARY, isReplay=False, isSynthetic=True)
    run.emit(summary)
    text = "<local-command-stdout>Compacted </local-command-stdout>"
    run.emit(events.user(context, text, isReplay=True))
    transcript.user(summary)
    transcript.flush()
    _result(run, tally, "compact", "")


def _compacted(run: Run, **members: object) -> Message:
    return {
        "type": "system",
        "subtype": "status",
        "status": None,
        **members,
        "session_id": run.context.session_id,
        "uuid": fresh_uuid(),
    }


def _result(run: Run, tally: TurnTotals, word: str | None, text: str) -> None:
    """Print the short result of a local command."""
    # Shorter than a turn's result: no API call was made, so there is no terminal reason and there are no
    # times.
    message: Message = {
        "is_error": False,
        "duration_api_ms": 0,
        "num_turns": 0,
        "stop_reason": None,
        "session_id": run.context.session_id,
        "total_cost_usd": run.costs.total,
        "usage": empty_usage(),
        "modelUsage": run.costs.copy(),
        "permission_denials": [],
        "fast_mode_state": "off",
        "fast_mode_disabled_reason": "sdk_opt_in_required",
        "subagent_stats": events.subagent_stats(),
        "safety_stops": 0,
        "subtype": "success",
        "result": text,
        "type": "result",
        "duration_ms": tally.now(),
        "uuid": fresh_uuid(),
        "queued_turn_count": 0,
        "result_index": run.results,
    }
    if word is not None:
        message["local_command"] = word
    if run.context.streams_out:
        message["model_usage_since_last_result"] = run.costs.since(tally.costs_before)
    run.print_result(message)
