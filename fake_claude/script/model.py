"""What to say and how to misbehave: turns made of steps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from random import Random
    from typing import Any

    from fake_claude.script.ask import ApiRequest

QUOTE_LIMIT = 200
"""Characters of a prompt that the default answer quotes."""


class ScriptError(ValueError):
    """A script that cannot be understood; the message says what, where, and what would be valid."""


class StepKind:
    """One kind of step: what its value and its further members may be, and which player plays it."""

    __slots__ = ("about", "api", "check", "members")

    def __init__(
        self,
        check: Callable[[Any], Any],
        about: str,
        *,
        api: bool = True,
        members: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.check = check
        self.about = about
        self.api = api  # False: misbehaviour of the CLI process, which the Messages API skips
        self.members = dict(members or {})


class Step:
    """One thing to do: its kind, its value, its further members, and where it was written."""

    __slots__ = ("kind", "more", "value", "where")

    def __init__(self, kind: str, value: Any, where: str = "", more: Mapping[str, Any] | None = None) -> None:
        self.kind = kind
        self.value = value
        self.where = where
        self.more = dict(more or {})

    def __repr__(self) -> str:
        more = f", {self.more!r}" if self.more else ""
        return f"Step({self.kind!r}, {self.value!r}{more})"


class TurnScript:
    """The steps that answer one prompt, and how often they may be gone through."""

    __slots__ = ("loop", "name", "steps", "usage")

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        name: str = "",
        loop: bool = False,
        usage: Mapping[str, int] | None = None,
    ) -> None:
        self.steps = list(steps)
        self.name = name
        self.loop = loop
        self.usage = dict(usage or {})

    def at(self, moment: str) -> list[Step]:
        """Return the steps for ``before_init`` or ``after_result``."""
        return [step for step in self.steps if step.more.get("when") == moment]

    def reply(self, index: int) -> list[Step]:
        """Return the steps of the n-th assistant message.

        A message ends after its last tool or its ``stop``; asked once more than there are messages, the last one is
        repeated, except that after a tool something is always said.
        """
        parts: list[list[Step]] = [[]]
        last = ""
        for step in self.steps:
            # Theory: one turn is one or more messages of the model, for after a tool it is asked once more. A
            # message ends where the next step is no tool: `text, tool, tool, text` is two messages, [text,
            # tool, tool] and [text].
            if step.more.get("when", "here") != "here":
                continue
            if last == "stop" or (last == "tool" and step.kind not in ("tool", *TRAILING_STEPS)):
                parts.append([])
            parts[-1].append(step)
            # `tool, exit, text`: the exit is played with the tool, and the text still begins a message.
            last = last if step.kind in TRAILING_STEPS else step.kind
        if self.loop:
            return parts[index % len(parts)]
        if last == "tool":
            # A turn that ends in a tool would call it once more for ever: the model is asked again after each result.
            parts.append([Step("pieces", ["Done."])])
        return parts[min(index, len(parts) - 1)]


TRAILING_STEPS = ("exit", "kill")
"""Steps that belong to the message before them although it has ended."""


class Duration:
    """Seconds, or a range of them from which each use draws again."""

    __slots__ = ("high", "low")

    def __init__(self, low: float, high: float | None = None) -> None:
        self.low = low
        self.high = low if high is None else high

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and (self.low, self.high) == (other.low, other.high)

    def __hash__(self) -> int:
        return hash((self.low, self.high))

    def __repr__(self) -> str:
        return f"Duration({self.low}, {self.high})"

    def draw(self, random: Random | None) -> float:
        """Return seconds."""
        return self.low if self.low == self.high or random is None else random.uniform(self.low, self.high)


def _seconds(text: str) -> float:
    scale = {"ms": 0.001, "s": 1.0, "m": 60.0}
    number, factor = text, 1.0
    # Before `s` and `m`, since `50ms` ends with `s` as well.
    for unit in ("ms", "s", "m"):
        if text.endswith(unit):
            number, factor = text[: -len(unit)], scale[unit]
            break
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = -1.0
    # Also refuses `nan` and `inf`, which Python takes for numbers.
    if not 0 <= seconds < 1e9:
        raise ScriptError(f"{text!r} is not a duration; write for example 50ms, 2s, 1m or 10ms..80ms")
    return seconds


def parse_duration(text: object) -> Duration:
    """Read ``50ms``, ``2s``, ``1.5s``, ``0`` or a range ``10ms..80ms``.

    Raises:
        ScriptError: Anything else, or a negative time.
    """
    # In Python `true` is the number 1; in a script it is a mistake.
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise ScriptError(f"{text!r} is not a duration; write for example 50ms, 2s, 1m or 10ms..80ms")
    low, dots, high = text.partition("..")
    return Duration(_seconds(low), _seconds(high) if dots else None)


def check_gate_name(name: object) -> str:
    """Return ``name`` if it can be a file in the gates folder.

    Raises:
        ScriptError: An empty name or one with other than letters, digits, ``-``, ``_`` and ``.``.
    """
    if (
        not isinstance(name, str)
        or not name
        or name[0] == "."
        or not all(c.isalnum() or c in "-_." for c in name)
    ):
        raise ScriptError(f"{name!r} is not a gate name; use letters, digits, '-', '_' and '.'")
    return name


def words(text: str) -> Iterator[str]:
    """Cut ``text`` after each run of white space; the pieces joined are the text."""
    start, i = 0, 0
    while i < len(text):
        if text[i].isspace():
            while i < len(text) and text[i].isspace():
                i += 1
            yield text[start:i]
            start = i
        else:
            i += 1
    if start < len(text):
        yield text[start:]


def default_answer(ask: ApiRequest, prompt: str) -> str:
    """Return what is said to a prompt that no script answers."""
    said = prompt.strip()
    if len(said) > QUOTE_LIMIT:
        said = said[:QUOTE_LIMIT] + "…"
    return f'You said: "{said}". This is turn {ask.turn} of our conversation.'
