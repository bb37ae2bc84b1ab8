"""Recordings of the real CLI: masked outcomes, one file per group, kept small by naming what repeats."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fake_claude.fidelity.compare import Normal
from fake_claude.fidelity.invocation import Invocation
from fake_claude.fidelity.masks import walk
from fake_claude.fidelity.rows import ROWS

FOLDER = Path(__file__).with_name("recordings")
VERSION = "2.1.330"

NAMED = (
    "agents", "capabilities", "commands", "models", "plugins", "skills", "slash_commands", "subagent_stats",
    "terminal_slash_commands", "tools",
)  # fmt: skip
LONG = 500
"""A run of one letter longer than this is written as its length."""


def _shorten(text: str) -> str:
    """Write long runs of one letter as ``a…(x200000)``."""
    # One letter only: such texts are made by rows about size, and their length is all they say.
    if len(text) <= LONG or text[0] * len(text) != text:
        return text
    return f"{text[0]}…(x{len(text)})"


def compact(normal: Normal) -> Normal:
    """Shorten what is long and says nothing, in recordings and in what is compared with them."""

    def change(_key: str, value: Any) -> Any:
        return _shorten(value) if isinstance(value, str) else value

    return Normal(**walk(asdict(normal), change))


def save(normals: dict[str, Normal], folder: Path) -> None:
    """Write recordings, a file for each group; rows that were not recorded keep their old recording."""
    folder.mkdir(parents=True, exist_ok=True)
    for group in dict.fromkeys(row.group for row in ROWS):
        path = folder / f"{group}.json"
        known = load_group(path) if path.exists() else {}
        # By the table, so that recordings of rows that are gone go as well.
        names = [row.name for row in ROWS if row.group == group]
        kept = {name: normals.get(name) or known.get(name) for name in names}
        rows = {name: asdict(normal) for name, normal in kept.items() if normal is not None}
        if rows:
            path.write_text(_pack(rows), encoding="utf-8")


def add(group: str, normals: dict[str, Normal]) -> None:
    """Add recordings of the default version to a group."""
    path = FOLDER / VERSION / f"{group}.json"
    known = load_group(path) if path.exists() else {}
    rows = {name: asdict(normal) for name, normal in {**known, **normals}.items()}
    path.write_text(_pack(rows), encoding="utf-8")


def _pack(rows: dict[str, Any]) -> str:
    """Encode the rows of a group, each message on a line; lists that repeat are named once."""
    # Lists of tools and commands stand in every init line: by name they are written once, and a change in the
    # CLI is one line in a diff. Up to twenty variants have a name (`@tools0`, `@tools1`); one more is written
    # out.
    standard: dict[str, Any] = {}

    def name(key: str, value: Any) -> Any:
        if key not in NAMED or not isinstance(value, (list, dict)) or not value:
            return value
        text = json.dumps(value, ensure_ascii=False)
        for number in range(20):
            label = f"@{key}{number}"
            # A label that is free is taken with this text; a label with another text leads to the next number.
            if standard.setdefault(label, text) == text:
                return label
        return value

    packed = {row: walk(normal, name) for row, normal in rows.items()}
    lines = ["{", ' "standard": {']
    lines += [
        ",\n".join(f"  {json.dumps(label)}: {text}" for label, text in standard.items()),
        " },",
        ' "rows": {',
    ]
    blocks = []
    for row, normal in packed.items():
        messages = ",\n".join(
            "    " + json.dumps(message, ensure_ascii=False) for message in normal["messages"]
        )
        rest = {
            key: value
            for key, value in normal.items()
            # What is ``None`` by default need not be written; an exit code has no default.
            if (key != "messages" and value is not None) or key == "exit_code"
        }
        head = json.dumps(rest, ensure_ascii=False)[1:-1]
        blocks.append(f'  {json.dumps(row)}: {{{head}, "messages": [\n{messages}\n  ]}}')
    return "\n".join([*lines, ",\n".join(blocks), " }", "}", ""])


def load_group(path: Path) -> dict[str, Normal]:
    """Read the recordings of one group."""
    document = json.loads(path.read_text(encoding="utf-8"))
    standard = document["standard"]

    def name(_key: str, value: Any) -> Any:
        return standard.get(value, value) if isinstance(value, str) and value.startswith("@") else value

    return {row: Normal(**walk(normal, name)) for row, normal in document["rows"].items()}


def load(version: str = VERSION) -> dict[str, Normal]:
    """Read all recordings of a CLI version.

    Raises:
        FileNotFoundError: There are none.
    """
    folder = FOLDER / version
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in FOLDER.iterdir()))
        raise FileNotFoundError(f"no recordings of version {version}; there are {known}")
    found: dict[str, Normal] = {}
    for path in sorted(folder.glob("*.json")):
        found |= load_group(path)
    return found


def missing(recordings: dict[str, Normal]) -> list[Invocation]:
    """Return the rows without a recording."""
    return [row for row in ROWS if row.name not in recordings]
