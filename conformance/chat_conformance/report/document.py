"""The result model as JSON, whole or a line per case, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.report.text import json_text
from chat_conformance.results import Case, CaseResult, RunResult

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """The run as one JSON document; ``schema`` says what is in it."""
    return json_text(_escape_surrogates(run)) + "\n"


def render_lines(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """The run as JSON Lines, as ``JsonLinesWriter`` writes it while it runs."""
    file = StringIO()
    lines = JsonLinesWriter(
        file, msgspec.structs.replace(run, results=()), tuple(each.case for each in run.results)
    )
    for each in run.results:
        lines.result(each)
    lines.end(run)
    return file.getvalue()


def schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    return {"$schema": SCHEMA_ID, "title": "A run of chat-conformance", **msgspec.json.schema(RunResult)}


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="event"):
    """The first line of a run in JSON Lines: the run without its results, and what is selected."""

    run: RunResult
    selected: tuple[str, ...]


class CaseLine(msgspec.Struct, frozen=True, kw_only=True, tag="case", tag_field="event"):
    """One line for each case."""

    result: CaseResult


class Footer(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="event"):
    """The last line; without it the run broke off."""

    run: RunResult


class Sink(Protocol):
    """What lines can be written to."""

    def write(self, text: str, /) -> int:
        """Take text."""

    def flush(self) -> None:
        """Hand it on."""


class JsonLinesWriter:
    """Writes a run line by line, each line whole in the file before the next case is played.

    Args:
        file: Takes the lines.
        run: The run so far: without results.
        selected: The cases to be played.
    """

    def __init__(self, file: Sink, run: RunResult, selected: tuple[Case, ...]) -> None:
        self._file = file
        self._write(Header(run=run, selected=tuple(each.id for each in selected)))

    def result(self, result: CaseResult) -> None:
        """Write how a case ended."""
        self._write(CaseLine(result=result))

    def end(self, run: RunResult) -> None:
        """Write the end."""
        self._write(Footer(run=msgspec.structs.replace(run, results=())))

    def _write(self, line: Header | CaseLine | Footer) -> None:
        self._file.write(json_text(_escape_surrogates(line), indent=None) + "\n")
        self._file.flush()


def _escape_surrogates(value: Any) -> Any:
    """The value as plain data, with lone surrogates, which cannot be read back, written as escapes."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {name: _escape_surrogates(each) for name, each in value.items()}
        case list() | tuple():
            return [_escape_surrogates(each) for each in value]
        case msgspec.Struct():
            return _escape_surrogates(msgspec.to_builtins(value))
        case _:
            return value


def read(path: str) -> RunResult:
    """The run of a report in either form.

    Raises:
        UsageError: It cannot be read, or is no such report.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if text.startswith('{"event"'):
            return _of_lines(text)
        return msgspec.json.decode(text, type=RunResult)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} is no report of the format json or jsonl: {error}") from None


def _of_lines(text: str) -> RunResult:
    # What follows the last line end was cut off while it was written.
    *whole, rest = text.split("\n")
    lines = [msgspec.json.decode(line, type=Header | CaseLine | Footer) for line in whole]
    header, footer = lines[0], lines[-1]
    if not isinstance(header, Header):
        raise msgspec.ValidationError("the first line is not that of a run")
    results = tuple(line.result for line in lines if isinstance(line, CaseLine))
    if isinstance(footer, Footer) and not rest:
        return msgspec.structs.replace(footer.run, results=results)
    missing = len(header.selected) - len(results)
    trouble = f"the run broke off: {missing} of {len(header.selected)} cases have no result"
    return msgspec.structs.replace(header.run, results=results, trouble=(trouble,), broke_off=True)
