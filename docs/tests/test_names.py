"""Names of tests: three to six words say what is checked. Longer ones may only get fewer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG = {"impl": 0, "fake_claude": 100, "conformance": 140, "e2e": 45, "docs": 0}
"""How many names of more than seven words, or of one, there may be."""


def names(folder: str) -> list[str]:
    """The names of all test functions below a folder, without ``test_``."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / folder).rglob("test_*.py"))
    ]
    return [
        node.name.removeprefix("test_")
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize("folder", LONG)
def test_long_names_do_not_grow(folder: str) -> None:
    known = names(folder)
    odd = [name for name in known if not 2 <= len(name.split("_")) <= 7]
    print(f"{folder}: {len(odd)} of {len(known)} names")  # noqa: T201 - with `pytest -rP`

    assert len(odd) <= LONG[folder], f"{len(odd)} names have one word or more than seven, such as {odd[:5]}"
