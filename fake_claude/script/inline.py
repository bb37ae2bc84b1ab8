"""A script written into the prompt itself: ``[[fake tokens=40 gap=50ms hold=NAME@3]]``."""

from __future__ import annotations

from fake_claude.script.model import ScriptError, Step, check_gate_name, default_answer, parse_duration, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_claude.script.ask import ApiRequest

OPEN, CLOSE = "[[fake", "]]"
KEYS = ("tokens", "gap", "first", "hold", "exit", "say", "stderr")


def find(prompt: str) -> tuple[str, str] | None:
    """Return the script's inside and the prompt without it; ``None`` when the prompt holds no script."""
    start = prompt.find(OPEN)
    if start < 0:
        return None
    quoted, i = False, start + len(OPEN)
    # `[[faker]]` is text.
    if prompt[i : i + 1] not in ("", "]", " ", "\n", "\t"):
        return None
    while i < len(prompt):
        # `]]` inside quotes does not close it: `[[fake say="a]]b"]]` says `a]]b`. A backslash takes the next
        # character along.
        char = prompt[i]
        if quoted and char == "\\":
            i += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted and prompt.startswith(CLOSE, i):
            return prompt[start + len(OPEN) : i], prompt[:start] + prompt[i + len(CLOSE) :]
        i += 1
    raise ScriptError("inline script: '[[fake' without a closing ']]'")


def _pairs(inside: str) -> Iterator[tuple[str, str]]:
    r"""Split ``a=1 b="two words"`` into pairs; a backslash escapes inside quotes, ``\n`` is a new line."""
    i = 0
    # One pair in each round: blanks, key, `=`, value. A value that begins with a quote ends at the next bare quote,
    # any other at a blank, so that `say=a"b` keeps its quote.
    while True:
        while i < len(inside) and inside[i].isspace():
            i += 1
        if i >= len(inside):
            return
        start = i
        while i < len(inside) and not inside[i].isspace() and inside[i] != "=":
            i += 1
        key = inside[start:i]
        if i >= len(inside) or inside[i] != "=":
            raise ScriptError(f"inline script: {key!r} has no value; write {key}=…")
        i += 1
        value: list[str] = []
        quoted = inside[i : i + 1] == '"'
        i += quoted
        while i < len(inside) and (inside[i] != '"' if quoted else not inside[i].isspace()):
            if quoted and inside[i] == "\\":
                i += 1
                value.append("\n" if inside[i : i + 1] == "n" else inside[i : i + 1])
            else:
                value.append(inside[i])
            i += 1
        if quoted:
            if i >= len(inside):
                raise ScriptError(f"inline script: the text of {key} has no closing quote")
            i += 1
        yield key, "".join(value)


def _count(key: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ScriptError(f"inline script: {key}={value!r} is not a whole number")
    return int(value)


def _hold(value: str) -> tuple[int, str]:
    name, at, place = value.rpartition("@")
    if not at:
        name, place = place, "0"
    check_gate_name(name)
    return _count("hold", place), name


def parse(inside: str, ask: ApiRequest, rest: str) -> list[Step]:  # noqa: C901 - a list of cases, read one by one
    """Turn the inside of an inline script into steps; ``rest`` is the prompt around it.

    Raises:
        ScriptError: An unknown key, or a value that does not fit.
    """
    given: dict[str, str] = {}
    holds: list[tuple[int, str]] = []
    for key, value in _pairs(inside):
        if key not in KEYS:
            from fake_claude.suggestions import suggestion  # only a mistake pays for it

            raise ScriptError(
                f"inline script: unknown key {key!r}; known are {', '.join(KEYS)}{suggestion(key, KEYS)}"
            )
        if key == "hold":
            holds.append(_hold(value))
        else:
            given[key] = value
    # Theory: the answer is `tokens` numbered pieces, then the words of `say`; a hold is a place in that row.
    # `tokens=3 say="a b" hold=X@4` makes t1 t2 t3 a, waits at X, then b. A hold past the end comes last.
    holds.sort(key=lambda hold: hold[0])
    tokens = _count("tokens", given.get("tokens", "0"))
    # Numbered pieces alone are an answer; the default text comes only where neither is asked for.
    says = "tokens" not in given or "say" in given
    said = list(words(given.get("say", default_answer(ask, rest)))) if says else []

    steps: list[Step] = []
    if "stderr" in given:
        steps.append(Step("stderr", _count("stderr", given["stderr"])))
    if "first" in given:
        steps.append(Step("delay", parse_duration(given["first"])))
    if "gap" in given:
        steps.append(Step("gap", parse_duration(given["gap"])))
    done = 0
    # The end is one more place, without a gate: it takes out what is left.
    for place, name in [*holds, (tokens + len(said), "")]:
        upto = min(place, tokens)
        if upto > done:
            steps.append(Step("tokens", upto - done))
            done = upto
        upto = min(place, tokens + len(said))
        if upto > done:
            steps.append(Step("pieces", said[done - tokens : upto - tokens]))
            done = upto
        if name:
            steps.append(Step("hold", name))
    if "exit" in given:
        steps.append(Step("exit", _count("exit", given["exit"])))
    return steps
