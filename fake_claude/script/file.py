"""Script files: TOML with a strict, versioned schema."""

from __future__ import annotations

import re
import tomllib

from fake_claude.script.model import ScriptError, Step, TurnScript, parse_duration
from fake_claude.script.steps import KINDS, boolean, one_of, positive, table, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from fake_claude.script.ask import ApiRequest

VERSION = 1

_TOP = ("version", "seed", "strict", "start", "turn")
_TURN: dict[str, Callable[[Any], Any]] = {
    "name": text,
    "match": text,
    "on_turn": positive,
    "times": positive,
    "loop": boolean,
    "gap": parse_duration,
    "usage": table,
    "steps": list,
}
_START: dict[str, Callable[[Any], Any]] = {
    "times": positive,
    "refuse_session": one_of("in_use", "unknown"),
    "steps": list,
}
_USAGE = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_PLACE = re.compile(r"\{(prompt|turn|cwd|[0-9])\}")


class FileError(ScriptError):
    """A script file that is not valid: names the file, the line where it can, and what would be valid."""

    def __init__(self, path: str, line: int | None, message: str) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class Entry:
    """One ``[[turn]]``: which prompts it answers, and with what."""

    def __init__(self, index: int, values: dict[str, Any], steps: list[Step]) -> None:
        self.index = index
        self.name: str = values.get("name", f"turn {index + 1}")
        self.match = re.compile(values.get("match", ""), re.DOTALL)
        self.on_turn: int | None = values.get("on_turn")
        self.times: int | None = values.get("times")
        self.play = TurnScript(
            steps, name=self.name, loop=values.get("loop", False), usage=values.get("usage")
        )
        if "gap" in values:
            # A turn's gap is the same as a first step: it has no place in the file, so that coverage does not
            # ask for it.
            self.play.steps.insert(0, Step("gap", values["gap"]))

    def answers(self, ask: ApiRequest) -> re.Match[str] | None:
        """Return the match if this entry is for the request."""
        if self.on_turn is not None and self.on_turn != ask.turn:
            return None
        return self.match.search(ask.prompt)

    def render(self, ask: ApiRequest, match: re.Match[str], cwd: str) -> TurnScript:
        """Return the steps with ``{prompt}``, ``{turn}``, ``{cwd}`` and ``{1}`` filled in."""
        facts = {"prompt": ask.prompt, "turn": str(ask.turn), "cwd": cwd}

        def fill(value: Any) -> Any:
            if isinstance(value, str):
                return _PLACE.sub(lambda place: _place(place.group(1), facts, match), value)
            if isinstance(value, dict):
                return {key: fill(item) for key, item in value.items()}
            if isinstance(value, list):
                return [fill(item) for item in value]
            return value

        steps = [Step(step.kind, fill(step.value), step.where, fill(step.more)) for step in self.play.steps]
        return TurnScript(steps, name=self.name, loop=self.play.loop, usage=self.play.usage)


def _place(name: str, facts: dict[str, str], match: re.Match[str]) -> str:
    if name in facts:
        return facts[name]
    # A group that is not in the pattern stays as it is written; one that did not take part is empty.
    number = int(name)
    return (match.group(number) or "") if number <= (match.re.groups) else "{" + name + "}"


class ScriptFile:
    """A whole file: what happens at the start of a process, and the turns."""

    def __init__(self, path: str, source: str) -> None:
        """Read the source.

        Raises:
            FileError: It is not valid; the error names the first mistake.
        """
        self.path = path
        self._lines = _LineIndex(source)
        try:
            document = tomllib.loads(source)
        except tomllib.TOMLDecodeError as error:
            # The TOML reader has the line only in its words.
            found = re.search(r"at line (\d+)", str(error))
            raise FileError(path, int(found.group(1)) if found else None, f"not TOML: {error}") from None
        # Unknown words before the version: a typing error in `version` is then named as such.
        self._known(document, _TOP, "the file", None)
        if document.get("version") != VERSION:
            raise FileError(path, 1, f"version = {VERSION} is missing; this is the only version there is")
        self.seed = self._checked(document.get("seed", 0), _seed, "seed", None)
        self.strict = self._checked(document.get("strict", False), boolean, "strict", None)
        self.start_times: int | None = None
        self.refuse_session: str | None = None
        self.start: list[Step] = []
        if "start" in document:
            self._read_start(self._checked(document["start"], table, "start", self._lines.header("start", 0)))
        entries = document.get("turn", [])
        if not isinstance(entries, list):
            raise FileError(
                path, self._lines.header("turn", 0), "write [[turn]] with two brackets, one for each"
            )
        self.entries = [self._entry(index, entry) for index, entry in enumerate(entries)]

    def _known(self, given: Iterable[str], names: Iterable[str], where: str, line: int | None) -> None:
        from fake_claude.suggestions import suggestion  # only a mistake pays for it

        # Made by the inline form alone; a file has no way to write it.
        names = [name for name in names if name != "pieces"]
        for key in given:
            if key not in names:
                hint = suggestion(key, names) or f"\n(Known are {', '.join(sorted(names))}.)"
                at = self._lines.key(key, line)
                raise FileError(self.path, at, f"unknown word {key!r} in {where}{hint}")

    def _checked(self, value: Any, check: Callable[[Any], Any], key: str, line: int | None) -> Any:
        try:
            return check(value)
        except ScriptError as error:
            raise FileError(self.path, self._lines.key(key, line), f"{key}: {error}") from None
        except (TypeError, ValueError):
            raise FileError(self.path, self._lines.key(key, line), f"{key}: {value!r} does not fit") from None

    def _read_start(self, values: dict[str, Any]) -> None:
        line = self._lines.header("start", 0)
        self._known(values, _START, "[start]", line)
        checked = {key: self._checked(value, _START[key], key, line) for key, value in values.items()}
        self.start_times = checked.get("times")
        self.refuse_session = checked.get("refuse_session")
        self.start = self._steps(checked.get("steps", []), "start", 0, line)

    def _entry(self, index: int, values: Any) -> Entry:
        line = self._lines.header("turn", index)
        if not isinstance(values, dict):
            raise FileError(self.path, line, "a turn is a table")
        self._known(values, _TURN, f"turn {index + 1}", line)
        checked = {key: self._checked(value, _TURN[key], key, line) for key, value in values.items()}
        if "steps" not in checked:
            raise FileError(self.path, line, f"turn {index + 1} has no steps")
        # At load, not at play: a script's mistake must not show up in the middle of a test.
        self._known(checked.get("usage", {}), _USAGE, "usage", line)
        try:
            re.compile(checked.get("match", ""))
        except re.error as error:
            raise FileError(
                self.path, self._lines.key("match", line), f"match: not a pattern: {error}"
            ) from None
        return Entry(index, checked, self._steps(checked["steps"], "turn", index, line))

    def _steps(self, values: list[Any], section: str, index: int, line: int | None) -> list[Step]:
        steps: list[Step] = []
        for number, value in enumerate(values):
            at = self._lines.step(section, index, number) or line
            if not isinstance(value, dict) or not value:
                raise FileError(self.path, at, f'step {number + 1} is not a table like {{ text = "hello" }}')
            kinds = [key for key in value if key in KINDS]
            first = next(iter(value))
            # ``gap`` is a step of its own or a member of another.
            # The first word decides: `{ text = "a", gap = "1s" }` is a text, `{ gap = "1s" }` a step of its own.
            kind = first if first in KINDS else kinds[0] if kinds else ""
            if not kind:
                self._known([first], KINDS, f"step {number + 1}", at)
            rules = KINDS[kind]
            self._known([key for key in value if key != kind], rules.members, f"a {kind} step", at)
            more = {
                key: self._checked(item, rules.members[key], key, at)
                for key, item in value.items()
                if key != kind
            }
            # The mark is what ledger and coverage share: it names the step by its place, from 1 as people count.
            where = f"{section}{index + 1}.{number + 1}" if section == "turn" else f"start.{number + 1}"
            steps.append(Step(kind, self._checked(value[kind], rules.check, kind, at), where, more))
            if kind == "usage":
                self._known(value[kind], _USAGE, "usage", at)
        return steps

    def step_places(self) -> dict[str, tuple[int, str]]:
        """Return for each step's mark its line and kind, for the report of what was never reached."""
        places: dict[str, tuple[int, str]] = {}
        for number, step in enumerate(self.start):
            places[step.where] = (self._lines.step("start", 0, number) or 0, step.kind)
        for entry in self.entries:
            # The turn's own gap has no mark; with it the numbers would be one off.
            written = [step for step in entry.play.steps if step.where]
            for number, step in enumerate(written):
                places[step.where] = (self._lines.step("turn", entry.index, number) or 0, step.kind)
        return places


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ScriptError(f"{value!r} is not a whole number")
    return value


def load(path: str) -> ScriptFile:
    """Read a script file.

    Raises:
        FileError: It cannot be read or is not valid.
    """
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, None, f"cannot be read: {error}") from None
    return ScriptFile(path, source)


class _LineIndex:
    """Finds the lines of headers, keys and steps; the TOML reader does not give them."""

    _TOKEN = re.compile(
        r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]',
        re.DOTALL,
    )

    def __init__(self, source: str) -> None:
        # Theory: the lines are found by a rough second reading, for messages alone. Headers are lines that
        # begin with `[`; a step is a `{` directly within one `[` (depth 1), as in `steps = [ {…}, {…} ]`. A
        # wrong guess costs a line number, never a wrong script.
        self._source = source.split("\n")
        self._headers: dict[str, list[int]] = {}
        self._steps: dict[tuple[str, int], list[int]] = {}
        for number, line in enumerate(self._source, 1):
            found = re.match(r"\s*\[\[?\s*(\w+)\s*\]", line)
            if found:
                self._headers.setdefault(found.group(1), []).append(number)
        self._scan(source)

    def _scan(self, source: str) -> None:
        line, depth = 1, 0
        for mark in self._TOKEN.findall(source):
            # Strings and comments are tokens as well, so brackets in them do not count.
            if mark == "{" and depth == 1:
                self._steps.setdefault(self._section(line), []).append(line)
            if mark in "[{":
                depth += 1
            elif mark in "]}":
                depth -= 1
            line += mark.count("\n")

    def _section(self, line: int) -> tuple[str, int]:
        best = ("", 0, 0)
        for name, numbers in self._headers.items():
            for index, number in enumerate(numbers):
                if best[2] < number <= line:
                    best = (name, index, number)
        return best[:2]

    def header(self, name: str, index: int) -> int | None:
        numbers = self._headers.get(name, [])
        return numbers[index] if index < len(numbers) else None

    def step(self, section: str, index: int, number: int) -> int | None:
        lines = self._steps.get((section, index), [])
        return lines[number] if number < len(lines) else None

    def key(self, key: str, line: int | None) -> int | None:
        """Return the first line from ``line`` on that holds the key, or ``line``."""
        start = line or 1
        for number in range(start, len(self._source) + 1):
            if re.search(rf"(?<![\w-]){re.escape(key)}\s*=", self._source[number - 1]):
                return number
        return line
