"""The tutorial is played from its first command to its last, in one shell, as a stranger would."""

from __future__ import annotations

import re
from pathlib import Path

from .command import environment, shell

PROJECT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|text)(?: exit=(\d+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARK = "the next block"


def test_tutorial_leads_to_what_it_says(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "judge-your-server.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    played = [(code, int(status or 0)) for kind, status, code in blocks if kind == "sh"]
    script = "\n".join(f"{code}echo '{MARK}' $?" for code, _ in played)

    (tmp_path / "home").mkdir()
    status, output = shell(["bash"], script, tmp_path / "home", **environment(CHATGATE=str(PROJECT)))

    ends = [int(each) for each in re.findall(rf"^{MARK} (\d+)$", output, re.MULTILINE)]
    assert (status, ends) == (0, [wanted for _, wanted in played]), output[-20_000:]
    shown = [text for kind, _, text in blocks if kind == "text"]
    # Each block is a part of the output in which no line is left out.
    lines = as_on_the_page(output)
    assert [text for text in shown if f"\n{as_on_the_page(text)}" not in lines] == []
    assert (tmp_path / "home" / "chat" / "report.html").is_file()


def as_on_the_page(text: str) -> str:
    """The text without the numbers that differ from run to run; how many cases can be played does not."""
    lines = text.splitlines(keepends=True)
    return "".join(each if "cases can be played" in each else re.sub(r"\d+", "N", each) for each in lines)
