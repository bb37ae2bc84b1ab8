"""Words that the glossary replaces: each package has at most as many as here, and the numbers may only shrink."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = re.compile(
    r"\b(tell|tells|told|telling|retold|hear|hears|heard|doors?|doorway|anew|meanwhile|whoever|whom|somebody"
    r"|so many|so much|family|families|goodbye|suffers?)\b",
    re.IGNORECASE,
)
KEPT = re.compile(
    r"\b(shapes/told-[a-z]+|limits/both-doors|processes/[a-z]+-family|http/errors-tell-nothing)\b"
)
"""Ids of cases, which baselines and target files of users name."""

MOST = {"impl": 0.5, "fake_claude": 0.5, "conformance": 0.5, "e2e": 0.5, "docs": 1}
"""Per 1,000 lines."""


def texts(folder: str) -> list[str]:
    """Our own code and pages: what the CLI says (recordings) and what others wrote (vendored files) are left out."""
    paths = [path for end in ("py", "js", "md") for path in sorted((ROOT / folder).rglob(f"*.{end}"))]
    skipped = {"vendor", "recordings", "node_modules", "__pycache__"}
    own = [path for path in paths if not skipped & set(path.relative_to(ROOT).parts)]
    return [
        path.read_text(encoding="utf-8") for path in own if path.name not in ("glossary.md", "test_words.py")
    ]


@pytest.mark.parametrize("folder", MOST)
def test_old_words_do_not_grow(folder: str) -> None:
    found = [len(OLD.findall(KEPT.sub("", text).replace("_", " "))) for text in texts(folder)]
    lines = sum(text.count("\n") for text in texts(folder))
    share = 1000 * sum(found) / lines
    print(f"{folder}: {sum(found)} in {lines} lines, {share:.1f} per 1,000")  # noqa: T201 - with `pytest -rP`
    assert share <= MOST[folder], f"{share:.1f} per 1,000 lines; docs/glossary.md has the words to write"
