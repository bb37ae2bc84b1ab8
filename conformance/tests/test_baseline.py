from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from conformance.baseline import Known, apply, load
from conformance.case import all_cases
from conformance.errors import UsageError
from conformance.results import Case, CaseResult, Severity, Verdict

CASE = Case(id="a/b", title="t", clause="C-1", severity=Severity.LOW, means="m")
KNOWN = {"a/b": Known(reason="because", expires=date(2030, 1, 1), link="http://x")}
BEFORE, AFTER = date(2029, 12, 31), date(2030, 1, 2)


def test_an_accepted_failure_is_a_known_one() -> None:
    result = apply(KNOWN, CaseResult(case=CASE, verdict=Verdict.FAILED, happened="x"), BEFORE)

    assert (result.verdict, result.happened, result.link) == (Verdict.KNOWN_FAILURE, "because", "http://x")


def test_an_entry_that_is_no_longer_true_fails() -> None:
    result = apply(KNOWN, CaseResult(case=CASE, verdict=Verdict.PASSED), BEFORE)

    assert result.verdict is Verdict.FAILED
    assert "take its entry out" in result.happened


def test_an_expired_entry_accepts_nothing() -> None:
    result = apply(KNOWN, CaseResult(case=CASE, verdict=Verdict.FAILED, happened="x"), AFTER)

    assert result.verdict is Verdict.FAILED
    assert result.happened == "x (accepted until 2030-01-01: because)"


@pytest.mark.parametrize("verdict", [Verdict.COULD_NOT_TEST, Verdict.BLOCKED_BY, Verdict.NOT_OFFERED])
def test_what_was_not_tested_stays_untested(verdict: Verdict) -> None:
    assert apply(KNOWN, CaseResult(case=CASE, verdict=verdict), BEFORE).verdict is verdict


def test_other_cases_are_left_alone() -> None:
    result = CaseResult(case=CASE, verdict=Verdict.FAILED)

    assert apply({}, result, BEFORE) is result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["a/c"]\nreason="r"\nexpires=2030-01-01', "no case has the id 'a/c'; did you mean 'a/b'?"),
        ('["a/b"]\nreason="r"', "missing required field `expires`"),
        ('["a/b"]\nreason="r"\nexpires="soon"', "Invalid RFC3339"),
        ("[", "key part"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.toml").touch()
    (tmp_path / "t.baseline.toml").write_text(text, encoding="utf-8")

    with pytest.raises(UsageError, match=r"t\.baseline\.toml: ") as caught:
        load(str(tmp_path / "t.toml"), ["a/b"])

    assert words in str(caught.value)


def test_the_shipped_baseline_is_valid() -> None:
    assert set(load("targets/reference.toml", [each.id for each in all_cases()])) <= {
        each.id for each in all_cases()
    }
