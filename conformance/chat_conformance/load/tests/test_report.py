"""What a run's figures are turned into: table, page and verdict."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from chat_conformance.errors import UsageError
from chat_conformance.load import bounds, page, table
from chat_conformance.load.measure import measurements, slope
from chat_conformance.load.plan import PLANS, Plan
from chat_conformance.load.results import LoadResult, Measured


def measured(target: str, measure: str, number: int = 1, **figures: float) -> Measured:
    return Measured(target, measure, number, figures)


RESULT = LoadResult(
    targets=["ours", "<theirs>"],
    plan_name="full",
    plan=Plan(rounds=2, streams=[1, 50, 200]),
    machine={"server on": "0"},
    limit=1_000_000.0,
    measured=[
        measured("ours", "flat/1", 1, tokens_per_s=400_000, cpu_us=1.5, generator=0.4),
        measured("<theirs>", "flat/1", 1, tokens_per_s=800_000, cpu_us=0.5, generator=0.6),
        measured("ours", "flat/1", 2, tokens_per_s=600_000, cpu_us=2.5, generator=0.4),
        measured("<theirs>", "flat/1", 2, tokens_per_s=800_000, cpu_us=0.5, generator=0.6),
        *(
            measured(target, f"streams/{number}", 1, p50_us=number * by, p99_us=number * by * 9, cpu_us=20 * by)
            for number in (1, 50, 200)
            for target, by in (("ours", 1.0), ("<theirs>", 3.0))
        ),
        Measured("<theirs>", "stalled", 1, {}, "the server closed the connection\nand said no more"),
        measured("ours", "stalled", 1, grown_bytes=3 * 2**20, others_p99_us=800, resumed=1.0),
    ],
)  # fmt: skip


def test_figures_are_medians_of_the_rounds() -> None:
    assert RESULT.figure("ours", "flat/1", "tokens_per_s") == 500_000
    assert RESULT.figure("ours", "flat/50", "tokens_per_s") is None


def test_table_has_figures_ratios_and_failures() -> None:
    lines = table.text(RESULT).splitlines()

    assert re.split(r"\s{2,}", lines[0]) == ["", "ours", "<theirs>"]
    assert re.split(r"\s{2,}", lines[2]) == ["flat out, 1 stream", "500,000/s", "*800,000/s (1.60x)"]
    assert any(
        line.startswith("growth under a reader that stopped") and line.endswith("failed") for line in lines
    )
    assert "<theirs>, stalled: the server closed the connection" in lines


def test_generator_that_was_the_limit_is_marked() -> None:
    assert [RESULT.by_generator(target, "flat/1") for target in RESULT.targets] == [False, True]
    assert any(note.startswith("* The generator was the limit") for note in table.notes(RESULT))


def test_markdown_has_one_cell_more_than_targets() -> None:
    rows = [line for line in table.markdown(RESULT).splitlines() if line.startswith("|")]

    assert {line.count("|") for line in rows} == {4}


def test_page_is_well_formed_and_needs_no_network() -> None:
    html = page.render(RESULT)
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)

    assert not re.search(r"(src|href)=|url\(|@import", html)
    assert "<theirs>" not in html
    assert len([ET.fromstring(each) for each in drawings]) == 2 + 3


def test_page_without_curves_has_its_table() -> None:
    alone = msgspec.structs.replace(RESULT, measured=RESULT.measured[:2])
    html = page.render(alone)

    assert "<figure>" not in html
    assert "flat out, 1 stream" in html


BOUNDS = [
    pytest.param("flat/1", "tokens_per_s", 0.6, "", id="more is better, kept"),
    pytest.param(
        "flat/1",
        "tokens_per_s",
        0.7,
        "is 0.62 times that of <theirs>; the bound is at least 0.7",
        id="broken",
    ),
    pytest.param("flat/1", "cpu_us", 4.0, "", id="less is better, kept"),
    pytest.param(
        "flat/1", "cpu_us", 3.0, "is 4.00 times that of <theirs>; the bound is at most 3", id="less, broken"
    ),
    pytest.param("stalled", "grown_bytes", 9.0, "was not measured on ours and <theirs>", id="not measured"),
]


@pytest.mark.parametrize(("measure", "figure", "times", "sentence"), BOUNDS)
def test_bound(measure: str, figure: str, times: float, sentence: str) -> None:
    shown = bounds.Bound(measure, figure, "<theirs>", times).broken(RESULT)

    assert sentence in shown
    assert bool(shown) == bool(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no"),
        (
            '[[bound]]\nmeasure = "flat/1"\nfigure = "cpu_us"\nagainst = "nobody"\ntimes = 1',
            "nobody is not one of",
        ),
        ('[[bound]]\nmeasure = "flat/1"', "missing required field `figure`"),
        ("[[bound", "Expected"),
    ],
)
def test_wrong_bounds_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    place = tmp_path / "bounds.toml"
    place.write_text(text)

    with pytest.raises(UsageError, match=sentence):
        bounds.load(str(place), ["ours", "theirs"])


def test_docs_list_every_measurement() -> None:
    words = (Path(__file__).resolve().parents[4] / "docs" / "performance.md").read_text()
    kinds = {name.partition("/")[0] for name in measurements(PLANS["full"])}

    assert {kind for kind in kinds if not re.search(rf"^\|.*`{kind}[`/]", words, re.MULTILINE)} == set()


def test_slope_is_growth_per_step() -> None:
    assert slope([(0, 7), (10, 27), (20, 47)]) == 2
    assert slope([(5, 7)]) == 0
