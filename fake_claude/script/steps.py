"""The kinds of steps a script may use, each with its value, its members and one sentence."""

from __future__ import annotations

from fake_claude.script.model import ScriptError, StepKind, check_gate_name, parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "interrupt")
OMITTABLE = ("init", "partial", "full", "result")
STOP_REASONS = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal")
MOMENTS = ("here", "before_init", "after_result")
KILLS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM")


def text(value: Any) -> str:
    """Accept a string."""
    if not isinstance(value, str):
        raise ScriptError(f"{value!r} is not a text")
    return value


def count(value: Any) -> int:
    """Accept a whole number from 0."""
    # In Python `true` is a whole number; in a script it is a mistake.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ScriptError(f"{value!r} is not a whole number from 0")
    return value


def positive(value: Any) -> int:
    """Accept a whole number from 1."""
    if count(value) < 1:
        raise ScriptError(f"{value!r} is not a whole number from 1")
    return int(value)


def yes(value: Any) -> bool:
    """Accept ``true`` only: a step that says false does nothing and is better left out."""
    if value is not True:
        raise ScriptError(f"{value!r}: write true, or leave the step out")
    return True


def boolean(value: Any) -> bool:
    """Accept ``true`` and ``false``."""
    if not isinstance(value, bool):
        raise ScriptError(f"{value!r} is neither true nor false")
    return value


def table(value: Any) -> dict[str, Any]:
    """Accept a table."""
    if not isinstance(value, dict):
        raise ScriptError(f"{value!r} is not a table")
    return value


def status(value: Any) -> int:
    """Accept an HTTP status of an error."""
    if not isinstance(value, int) or not 400 <= value <= 599:
        raise ScriptError(f"{value!r} is not an HTTP status from 400 to 599")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    """Accept one of the words."""

    # Closures, as the choices belong to the message: the writer of a script sees what would be valid.
    def check(value: Any) -> str:
        if value not in choices:
            raise ScriptError(f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    return check


def some_of(*choices: str) -> Callable[[Any], list[str]]:
    """Accept one of the words or a list of them."""
    single = one_of(*choices)

    def check(value: Any) -> list[str]:
        return [single(item) for item in (value if isinstance(value, list) else [value])]

    return check


def hexadecimal(value: Any) -> bytes:
    """Accept bytes in hexadecimal, blanks between them or not."""
    try:
        return bytes.fromhex(text(value))
    except ValueError:
        raise ScriptError(f"{value!r} is not bytes in hexadecimal") from None


def text_or_count(value: Any) -> str | int:
    """Accept a text, or a number of bytes."""
    return value if isinstance(value, str) else count(value)


def cut(value: Any) -> str | int:
    """Accept how a text is cut into pieces."""
    # A number is the length of each piece in characters.
    return value if value in ("words", "chars") else positive(value)


_GAP = {"gap": parse_duration}
_TIMES = {"times": positive}
_WHEN = {"when": one_of(*MOMENTS)}

KINDS: dict[str, StepKind] = {
    # What the model says.
    "text": StepKind(text, "Say this text, cut into words.", members={**_GAP, "cut": cut}),
    "tokens": StepKind(count, "Say that many numbered pieces, t1 t2 t3 …", members=_GAP),
    "blob": StepKind(count, "Say that many characters in one piece, so in one very long line."),
    "thinking": StepKind(text, "Think this aloud in a block of its own.", members=_GAP),
    "tool": StepKind(
        text,
        "Call this tool; the message ends after its last tool.",
        members={"input": table, "result": text, "is_error": boolean},
    ),
    "stop": StepKind(one_of(*STOP_REASONS), "End the message with this stop reason."),
    "usage": StepKind(table, "Report these token counts for this message."),
    # Time.
    "gap": StepKind(parse_duration, "From here on, wait that long between pieces."),
    "delay": StepKind(parse_duration, "Wait that long."),
    "hold": StepKind(check_gate_name, "Wait at this gate until a test opens it."),
    "stall": StepKind(yes, "Say nothing for ever."),
    "ping": StepKind(positive, "Send that many API pings, which no CLI shows."),
    # Trouble of the API.
    "error": StepKind(
        status,
        "Answer the request with this HTTP status.",
        members={
            **_TIMES,
            "type": text,
            "message": text,
            "retry_after": count,
            "should_retry": boolean,
        },
    ),
    "cut_stream": StepKind(yes, "Cut the connection in the middle of the stream.", members=_TIMES),
    "stream_error": StepKind(
        text, "Send an error event of this type in the stream.", members={**_TIMES, "message": text}
    ),
    "reset": StepKind(yes, "Reset the connection before any answer.", members=_TIMES),
    "logged_out": StepKind(yes, "Be a CLI without a key.", api=False),
    # Misbehaviour of the process.
    "exit": StepKind(
        count, "End the process with this exit code, without a result.", api=False, members=_WHEN
    ),
    "kill": StepKind(one_of(*KILLS), "Die of this signal.", api=False, members=_WHEN),
    "stderr": StepKind(text_or_count, "Write this, or that many bytes, to stderr.", api=False, members=_WHEN),
    "noise": StepKind(text, "Print this line as it is.", api=False, members=_WHEN),
    "bytes": StepKind(
        hexadecimal, "Write these bytes, in hexadecimal, as they are.", api=False, members=_WHEN
    ),
    "event": StepKind(table, "Print this object as a line.", api=False, members=_WHEN),
    "ignore": StepKind(
        some_of(*SIGNAL_NAMES), "From here on, do not react to these.", api=False, members=_WHEN
    ),
    "omit": StepKind(some_of(*OMITTABLE), "From here on, leave these lines of the turn out.", api=False),
    "duplicate": StepKind(
        some_of(*OMITTABLE), "From here on, print these lines of the turn twice.", api=False
    ),
    "dribble": StepKind(
        positive, "From here on, write only that many bytes at a time.", api=False, members=_GAP
    ),
    "split": StepKind(parse_duration, "Cut the next non-ASCII character in two, that long apart.", api=False),
    "grandchild": StepKind(
        parse_duration,
        "Leave a process that holds stdout open for that long; with shed = true one without our environment.",
        api=False,
        members={**_WHEN, "shed": boolean},
    ),
    "close": StepKind(
        one_of("stdout", "stderr"), "Close this stream and continue.", api=False, members=_WHEN
    ),
    # Made by the inline form.
    "pieces": StepKind(list, "Say these pieces."),
}
