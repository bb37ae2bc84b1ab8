"""The command line of the CLI: refuse or run, in the order the CLI checks (docs/claude-cli.md, starting)."""

from __future__ import annotations

import os
import sys

from .options import Options, Refusal, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .context import Context
    from .engine import Engine
    from .record import Record

NO_PROMPT = "Error: Input must be provided either through stdin or as a prompt argument when using --print"
ONLY_SPACE = (
    "Error: Input contained only whitespace."
    " Provide a prompt with text through stdin or as a prompt argument when using --print"
)


def check_formats(options: Options) -> None:
    """Refuse combinations of formats.

    Raises:
        Refusal: As the CLI words it.
    """
    out = options.text("output-format", "text")
    streams_in = options.text("input-format") == "stream-json"
    if streams_in and out != "stream-json":
        raise Refusal("Error: --input-format=stream-json requires output-format=stream-json.")
    if options.flag("replay-user-messages") and not streams_in:
        raise Refusal(
            "Error: --replay-user-messages requires both --input-format=stream-json and --output-format=stream-json."
        )
    if options.flag("include-partial-messages") and out != "stream-json":
        raise Refusal("Error: --include-partial-messages requires --print and --output-format=stream-json.")


def open_session(context: Context, engine: Engine) -> None:
    """Find, continue or begin the session.

    Raises:
        Refusal: The CLI would refuse the ids given.
    """
    from .result import early_error  # noqa: PLC0415
    from .session import Store, Transcript  # noqa: PLC0415

    options = context.options
    store = Store(context.config_dir, context.cwd)
    engine.project_dir = store.folder
    fork = options.flag("fork-session")
    resume = options.text("resume")
    source: str | None = None
    if options.flag("resume"):
        source = _find(store, context, resume)
        if source is None:
            assert resume is not None
            context.session_id = resume
            if context.streams_out:
                engine.emit(early_error(context, _unknown(resume)))
            raise Refusal(_unknown(resume))
        if not fork:
            context.session_id = os.path.basename(source)[: -len(".jsonl")]
    elif options.flag("continue"):
        newest = store.newest()
        if newest is not None:
            source = store.path(newest)
            if not fork:
                context.session_id = newest
    path: str | None = source if source and not fork else store.path(context.session_id)
    if options.flag("no-session-persistence"):
        path = None
    engine.transcript = Transcript(context, path)
    if source is not None:
        if not engine.transcript.load(source):
            if context.streams_out:
                engine.emit(early_error(context, _unknown(context.session_id)))
            raise Refusal(_unknown(context.session_id))
        if fork:
            engine.transcript.copy_history(source)
        state = engine.transcript.cost_state
        engine.api_ms = int(state.get("totalAPIDuration", 0))
        engine.costs.resume(state.get("modelUsage", {}))


def _unknown(session_id: str) -> str:
    return f"No conversation found with session ID: {session_id}"


def _find(store: object, context: Context, resume: str | None) -> str | None:
    from .ids import is_uuid  # noqa: PLC0415
    from .session import Store  # noqa: PLC0415

    assert isinstance(store, Store)
    usage = (
        "Error: --resume requires a valid session ID or session title when used with --print."
        " Usage: claude -p --resume <session-id|title>"
    )
    if not resume:
        raise Refusal(usage)
    if is_uuid(resume):
        return store.find(resume)
    titled = store.titled(resume)
    if titled is None:
        raise Refusal(
            f'{usage}. Provided value "{resume}" is not a UUID and does not match any session title.'
        )
    return store.find(titled)


def check_session_options(context: Context) -> None:
    """Refuse session ids that cannot be used.

    Raises:
        Refusal: As the CLI words it.
    """
    from .ids import is_uuid  # noqa: PLC0415
    from .session import Store  # noqa: PLC0415

    options = context.options
    given = options.text("session-id")
    if given is None:
        return
    continues = options.flag("resume") or options.flag("continue")
    if continues and not options.flag("fork-session"):
        raise Refusal("Error: --session-id with --continue or --resume also needs --fork-session.")
    if not is_uuid(given):
        raise Refusal("Error: Invalid session ID. Must be a valid UUID.")
    if Store(context.config_dir, context.cwd).exists(given):
        raise Refusal(f"Error: Session ID {given} is already in use.")


def read_prompt(context: Context, engine: Engine) -> str:
    """Return the prompt of a one-shot run, from argument and stdin.

    Raises:
        Refusal: There is none, or nothing but white space.
    """
    options = context.options
    argument = options.positionals[0] if options.positionals else ""
    piped = "" if os.isatty(0) else engine.read_prompt(patient=False)
    prompt = f"{argument}\n{piped}" if argument and piped else argument or piped
    if not prompt:
        swallowed = ""
        if options.swallowed is not None and not options.positionals:
            name, word = options.swallowed
            swallowed = (
                f'"{word}" was read as a value of {name}, not as a prompt'
                f" · put a prompt before {name} or after --\n"
            )
        raise Refusal(swallowed + NO_PROMPT)
    if not prompt.strip():
        raise Refusal(ONLY_SPACE)
    return prompt


def run(argv: Sequence[str], record: Record, gates: str) -> tuple[int, int]:
    """Run the CLI; return its exit code and the bytes it printed."""
    from .context import Context  # noqa: PLC0415 - a refusal needs none of it
    from .engine import Engine, Signals  # noqa: PLC0415
    from .turn import Exit  # noqa: PLC0415

    signals = Signals()
    options = parse(argv)
    if options.flag("version"):
        from .catalog import VERSION  # noqa: PLC0415

        os.write(1, f"{VERSION} (Claude Code)\n".encode())
        return 0, 0
    context = Context(options, os.environ)
    engine = Engine(context, record=record, signals=signals, gates=gates)
    try:
        try:
            check_session_options(context)
            check_formats(options)
            prompt = None if context.streams_in else read_prompt(context, engine)
            if context.streams_out and not context.verbose:
                raise Refusal("Error: When using --print, --output-format=stream-json requires --verbose")
            open_session(context, engine)
            code = engine.run_stream() if prompt is None else engine.run_once(prompt)
        except Refusal as refusal:
            engine.err.line(str(refusal))
            code = refusal.code
        except Exit as ending:
            code = ending.code
        return engine.finish(code), engine.out.bytes_out
    finally:
        engine.out.restore()
        engine.err.restore()


def main(ledger: str | None = None, gates: str | None = None, script: str | None = None) -> None:
    """Be the CLI with ``sys.argv``; the launcher calls this with its own settings."""
    from .record import Record  # noqa: PLC0415

    del script
    argv = sys.argv[1:]
    record = Record(ledger, argv)
    code, bytes_out = 1, 0
    try:
        code, bytes_out = run(argv, record, gates or os.path.join(os.getcwd(), ".fake-claude-gates"))
    except Refusal as refusal:
        os.write(2, f"{refusal}\n".encode())
        code = refusal.code
    finally:
        record.exit(code, bytes_out)
    sys.stdout.flush()
    os._exit(code)
