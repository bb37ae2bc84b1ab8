"""The command line of the CLI: refuse or run, in the order the CLI checks (docs/claude-cli.md, starting)."""

from __future__ import annotations

import os
import sys

from fake_claude.catalog import find_model
from fake_claude.clock import timestamp
from fake_claude.ids import is_uuid
from fake_claude.invocation import checks
from fake_claude.invocation.context import Context
from fake_claude.invocation.options import Refusal, parse
from fake_claude.script.model import ScriptError
from fake_claude.settings import LauncherSettings
from fake_claude.waits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from fake_claude.engine.run import Run
    from fake_claude.engine.transcript import TranscriptStore

NO_PROMPT = "Error: Input must be provided either through stdin or as a prompt argument when using --print"
NO_MARKER = (
    "Error: No deferred tool marker found in the resumed session. Either the session was not deferred, the marker is"
    " stale (tool already ran), or it exceeds the tail-scan window. Provide a prompt to continue the conversation."
)
ONLY_SPACE = (
    "Error: Input contained only whitespace."
    " Provide a prompt with text through stdin or as a prompt argument when using --print"
)


def open_session(context: Context, run: Run, refused: str | None) -> None:  # noqa: C901, PLR0912 - a list of cases, read one by one
    """Find, continue or start the session.

    Raises:
        Refusal: The CLI would refuse the ids given.
    """
    from fake_claude.engine.transcript import Transcript, TranscriptStore
    from fake_claude.lines.result import early_error

    options = context.options
    store = TranscriptStore(context.config_dir, context.cwd)
    run.project_dir = store.folder
    fork = options.flag("fork-session")
    # A script says that the session is not there: a test then needs no session to lose.
    if refused == "unknown" and options.flag("resume"):
        unknown = options.text("resume") or ""
        _not_found(run, unknown)
    resume = options.text("resume")
    source: str | None = None
    if options.flag("resume"):
        try:
            source = _find(store, resume)
        # A line on stdout as well, as for an unknown id: a host that reads the stream learns why there is no session.
        except NoSuchTitle as unknown:
            if context.streams_out:
                run.emit(early_error(context, str(unknown)))
            raise
        if source is None:
            assert resume is not None
            _not_found(run, resume)
        if not fork:
            context.session_id = os.path.basename(source)[: -len(".jsonl")]
    elif options.flag("continue"):
        # Nothing to continue is no mistake: the CLI starts a new session.
        newest = store.newest()
        if newest is not None:
            source = store.path(newest)
            if not fork:
                context.session_id = newest
    # A fork reads the old transcript and writes to a new one; without a fork both are one file.
    path: str | None = source if source and not fork else store.path(context.session_id)
    if options.flag("no-session-persistence"):
        path = None
    run.transcript = Transcript(context, path)
    title = options.text("name")
    if title:
        run.transcript.name(title)
        if context.streams_out:
            from fake_claude.lines.events import system

            run.emit(system(context, "session_title_changed", title=title))
    if source is not None:
        if not run.transcript.load(source):
            _not_found(run, context.session_id)
        if fork:
            run.transcript.copy_history(source)
        state = run.transcript.cost_state
        run.api_ms = int(state.get("totalAPIDuration", 0))
        run.costs.resume(state.get("modelUsage", {}))


class NoSuchTitle(Refusal):
    """``--resume`` names neither an id nor a title."""


def _not_found(run: Run, session_id: str) -> NoReturn:
    """Refuse to resume; with stream-json there is a result line as well (docs/claude-cli.md, sessions)."""
    from fake_claude.lines.result import early_error

    text = f"No conversation found with session ID: {session_id}"
    run.context.session_id = session_id
    if run.context.streams_out:
        run.emit(early_error(run.context, text))
    raise Refusal(text)


def _find(store: TranscriptStore, resume: str | None) -> str | None:
    usage = (
        "Error: --resume requires a valid session ID or session title when used with --print."
        " Usage: claude -p --resume <session-id|title>"
    )
    if not resume:
        raise Refusal(usage)
    if is_uuid(resume):
        return store.find(resume)
    titled = store.titled(resume)
    if not titled:
        raise NoSuchTitle(
            f'{usage}. Provided value "{resume}" is not a UUID and does not match any session title.'
        )
    if len(titled) > 1:
        raise Refusal(
            f'Error: --resume "{resume}" matches {len(titled)} sessions.'
            " Pass one of these session IDs to disambiguate:\n"
            + "\n".join(f"  {session}  (modified {timestamp(changed)})" for session, changed in titled)
        )
    return store.find(titled[0][0])


def check_session_options(context: Context, refused: str | None) -> None:
    """Refuse session ids that cannot be used.

    Raises:
        Refusal: As the CLI words it.
    """
    from fake_claude.engine.transcript import TranscriptStore

    options = context.options
    given = options.text("session-id")
    if not given:
        return
    continues = options.flag("resume") or options.flag("continue")
    if continues and not options.flag("fork-session"):
        if context.before_330:
            raise Refusal(
                "Error: --session-id can only be used with --continue or --resume if --fork-session is also specified."
            )
        raise Refusal("Error: --session-id with --continue or --resume also needs --fork-session.")
    if not is_uuid(given):
        raise Refusal("Error: Invalid session ID. Must be a valid UUID.")
    if refused == "in_use" or TranscriptStore(context.config_dir, context.cwd).exists(given):
        raise Refusal(f"Error: Session ID {given} is already in use.")


def _continues(context: Context) -> bool:
    options = context.options
    return options.text("resume") is not None or options.flag("continue")


def read_prompt(context: Context, run: Run) -> str:
    """Return the prompt of a one-shot run, from argument and stdin.

    Raises:
        Refusal: There is none, or nothing but white space.
    """
    options = context.options
    argument = options.positionals[0] if options.positionals else ""
    piped = ""
    # Reading before the prompt is judged: an open pipe that says nothing costs its three seconds in the CLI, too.
    if not os.isatty(0):
        from fake_claude.engine.piped_prompt import read_piped_prompt  # not for stream-json input

        piped = read_piped_prompt(run)
    prompt = f"{argument}\n{piped}" if argument and piped else argument or piped
    if not prompt and _continues(context):
        return ""  # it is looked for in the session
    if not prompt:
        swallowed = ""
        # Only a word with a space in it looks like a prompt to the CLI.
        hints = options.swallowed is not None and not context.before_330
        if hints and options.swallowed and not options.positionals and " " in options.swallowed[1]:
            name, word = options.swallowed
            swallowed = (
                f'"{word}" was read as a value of {name}, not as a prompt'
                f" · put a prompt before {name} or after --\n"
            )
        raise Refusal(swallowed + NO_PROMPT)
    if not prompt.strip():
        raise Refusal(ONLY_SPACE)
    return prompt


def start_session(run: Run) -> None:
    """Do what comes before the first turn: a warning, the hooks of the start, and MCP servers."""
    from fake_claude.engine import hooks, mcp_servers  # a refusal needs none of it
    from fake_claude.json_lines import dumps

    context = run.context
    # A warning only: the API knows models that this version of the CLI does not.
    if find_model(context.model) is None:
        facts = {"model": context.model, "query_source": "sdk"}
        run.err.line(f"[claude-code:unrecognized_model] {dumps(facts)}")
    configured = context.configuration
    run.warn(configured.warnings)
    run.record.note("configuration", files=configured.files, sources=list(configured.sources))
    if configured.hook_commands:
        hooks.note_unsupported(run)
        run.attached = hooks.session_started(run, "resume" if run.transcript.messages else "startup")
    mcp_servers.start_servers(run)


def run_cli(argv: Sequence[str], settings: LauncherSettings) -> int:
    """Run the CLI and return its exit code; the ledger has the whole story."""
    from fake_claude.engine.run import Run  # a refusal needs none of it
    from fake_claude.engine.signals import Signals
    from fake_claude.ledger_writer import LedgerWriter

    # First of all: a signal that comes before the handlers would end the process without a line in the ledger.
    signals = Signals()
    record = LedgerWriter(settings.ledger, argv)
    code, run = 1, None
    try:
        options = parse(argv)
        # Before everything that could be refused, and without a session: a host asks for it to see that the CLI
        # is there.
        if options.flag("version"):
            os.write(1, f"{settings.version} (Claude Code)\n".encode())
            code = 0
            return code
        if options.flag("help"):
            from fake_claude.invocation.help import help_text

            os.write(1, help_text().encode())
            code = 0
            return code
        context = Context(options, os.environ, settings.version)
        run = Run(context, record=record, signals=signals, settings=settings)
        code = check_and_play(run)
        return code
    except Refusal as refusal:
        code = refusal.code
        os.write(2, f"{refusal}\n".encode())
        return code
    except ScriptError as error:
        os.write(2, f"fake-claude: {error}\n".encode())
        return code
    finally:
        # The ledger has an end for every way out but SIGKILL and a crash; tests know those by its absence.
        record.exit(code, run.out.bytes_out if run is not None else 0)
        if run is not None:
            run.out.restore()
            run.err.restore()


def check_and_play(run: Run) -> int:
    """Check, open the session, play; return the exit code."""
    from fake_claude.engine.loop import Loop  # a refusal needs none of it

    context, loop = run.context, Loop(run)
    try:
        # The order of checks is the CLI's (docs/claude-cli.md, starting): with two mistakes the caller sees the
        # first.
        refused, steps = run.scripts.start()
        loop.play_start_steps(steps)
        for check in checks.FIRST:
            check(context)
        run.warn(checks.effort_warnings(context))
        checks.check_agents(context)
        check_session_options(context, refused)
        for check in checks.AFTER_SESSION:
            check(context)
        run.warn(checks.beta_warnings(context))
        # The prompt comes before the session: without one, no transcript is begun.
        prompt = None if context.streams_in else read_prompt(context, run)
        open_session(context, run, refused)
        # Only a continued session gets here without a prompt (``read_prompt``); there is no deferred tool to go
        # on with.
        if prompt == "":
            raise Refusal(NO_MARKER if run.transcript.messages else NO_PROMPT)  # noqa: TRY301 - one answer for every refusal
        # Last of the checks, in the CLI as well.
        if context.output_format == "stream-json" and not context.verbose:
            raise Refusal("Error: When using --print, --output-format=stream-json requires --verbose")  # noqa: TRY301 - one answer for every refusal
        start_session(run)
        code = loop.run_stream() if prompt is None else loop.run_once(prompt)
        if context.configuration.hook_commands:
            from fake_claude.engine.hooks import session_ended

            session_ended(run)
    except Refusal as refusal:
        run.err.line(str(refusal))
        run.record.note("refusal", text=str(refusal))
        code = refusal.code
    except Exit as ending:
        code = ending.code
    return run.finish(code)


def main(**given: Any) -> None:
    """Be the CLI with ``sys.argv``; the launcher calls this with its own settings."""
    code = run_cli(sys.argv[1:], LauncherSettings(**given))
    sys.stdout.flush()
    # Without the interpreter's own end: it costs time on every run, and threads or pipes left over could block it.
    os._exit(code)
