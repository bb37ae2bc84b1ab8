from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import msgspec
import pytest

from chat_conformance.__main__ import main
from chat_conformance.errors import UsageError
from chat_conformance.results import Case, CaseResult, Severity, Verdict
from chat_conformance.suite.baseline import TODAY, KnownFailure, apply, load, today, updated
from chat_conformance.suite.case import all_cases
from chat_conformance.tests.test_main import target

CASE = Case(id="a/b", title="t", clause="C-1", severity=Severity.LOW, means="m")
KNOWN = {"a/b": KnownFailure(reason="because", expires=date(2030, 1, 1), link="http://x")}
BEFORE, AFTER = date(2029, 12, 31), date(2030, 1, 2)


def test_an_accepted_failure_is_a_known_one() -> None:
    result = apply(KNOWN, CaseResult(case=CASE, verdict=Verdict.FAILED, happened="x"), BEFORE)

    assert (result.verdict, result.reason, result.link) == (Verdict.KNOWN_FAILURE, "because", "http://x")
    assert result.happened == "x"


def test_known_failures_are_judged_on_a_given_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TODAY, "2030-01-02")
    assert today() == AFTER

    monkeypatch.setenv(TODAY, "tomorrow")
    with pytest.raises(UsageError, match="CHATGATE_TODAY: Invalid isoformat"):
        today()


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


FAILED = CaseResult(case=CASE, verdict=Verdict.FAILED, happened='it is "no"\nbut\x7f yes')
PLACE = Path("my.baseline.toml")


def test_an_update_takes_a_new_failure_in_with_what_happened() -> None:
    text = updated("", PLACE, [FAILED], date(2030, 1, 1))

    assert text.startswith("# Failures that are known")
    assert tomllib.loads(text) == {
        "a/b": {
            "reason": 'to be explained: it is "no" but\x7f yes',
            "link": "",
            "expires": date(2030, 1, 31),
        }
    }


def test_an_update_leaves_all_else_as_it_is() -> None:
    passed = CaseResult(case=msgspec.structs.replace(CASE, id="c/d"), verdict=Verdict.PASSED)
    kept = '# ours\n\n["a/b"] # why\nreason   = "r"\nexpires = 2030-01-01\n'
    gone = '\n["c/d"]\nreason = "s"\nexpires = 2030-01-01\n# to the entry above\n'

    assert updated(kept + gone, PLACE, [FAILED, passed], date(2031, 1, 1)) == kept
    assert updated(kept + gone, PLACE, [], date(2031, 1, 1)) == kept + gone


def test_an_entry_counts_where_its_condition_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.toml").write_text("", encoding="utf-8")
    entry = (
        '["turns/seq"]\nreason = "r"\nexpires = 2030-01-01\nwhen = { target = "ref*", "env.SLOW" = "1" }\n'
    )
    (tmp_path / "t.baseline.toml").write_text(entry, encoding="utf-8")
    ids, path = {"turns/seq"}, str(tmp_path / "t.toml")

    monkeypatch.setenv("SLOW", "1")
    assert list(load(path, ids, target="reference")) == ["turns/seq"]
    assert load(path, ids, target="other") == {}
    monkeypatch.delenv("SLOW")
    assert load(path, ids, target="reference") == {}


def test_unknown_condition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("", encoding="utf-8")
    entry = '["turns/seq"]\nreason = "r"\nexpires = 2030-01-01\nwhen = { os = "linux" }\n'
    (tmp_path / "t.baseline.toml").write_text(entry, encoding="utf-8")

    with pytest.raises(UsageError, match="when of 'turns/seq' has 'os'; known are target, system"):
        load(str(tmp_path / "t.toml"), {"turns/seq"})


def test_baseline_update_writes_the_file_and_shows_the_diff(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--target", target(tmp_path, "good"), "--select", "http/health", "--select", "http/page"]
    place = tmp_path / "small.baseline.toml"

    assert main(["baseline", "update", *words, "--dry-run"]) == 0
    assert not place.exists()
    assert main(["baseline", "update", *words]) == 0
    assert '+["http/page"]' in capsys.readouterr().out
    assert main(["run", *words]) == 0
    assert main(["baseline", "update", *words]) == 0
    assert "nothing to change" in capsys.readouterr().out
