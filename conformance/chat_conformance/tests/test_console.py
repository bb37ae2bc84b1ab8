from __future__ import annotations

import msgspec
import pytest

from chat_conformance.report import console
from chat_conformance.results import Case, CaseResult, RunResult, Severity, TraceLine, Verdict

CASE = Case(
    id="a/b",
    title="It holds",
    clause="C-1",
    severity=Severity.BLOCKER,
    means="Nobody can chat.",
    finding="R9-9",
)
FAILED = CaseResult(
    case=CASE,
    verdict=Verdict.FAILED,
    seconds=0.25,
    expected="a pong",
    happened="not within 5 s",
    trace=(TraceLine(1.5, "ws1", ">", "PING b'\\x00' [1 bytes]"),),
    ledger=("pid 1 alive argv []",),
    log=("Traceback \x1b[31m\ufffe",),
    replay="chat-conformance run --target t.toml --select a/b --seed 7",
)
PASSED = CaseResult(case=CASE, verdict=Verdict.PASSED)


def run_of(*results: CaseResult, trouble: tuple[str, ...] = ()) -> RunResult:
    """A run with these results."""
    return RunResult(target="t", url="http://x", seed=7, seconds=1.25, results=results, trouble=trouble)


def test_a_failure_says_everything_once() -> None:
    assert console.details(FAILED, {"C-1": "It MUST hold."}).splitlines() == [
        "a/b: It holds (blocker, finding R9-9)",
        "  clause    C-1: It MUST hold.",
        "  means     Nobody can chat.",
        "  expected  a pong",
        "  happened  not within 5 s",
        "  trace          1.5 ms ws1    > PING b'\\x00' [1 bytes]",
        "  claude    pid 1 alive argv []",
        "  server    Traceback \\x1b[31m\\ufffe",
        "  again     chat-conformance run --target t.toml --select a/b --seed 7",
    ]


def named(
    name: str, verdict: Verdict, severity: Severity = Severity.MEDIUM, happened: str = ""
) -> CaseResult:
    """A result of a case of that name."""
    case = Case(id=name, title="It holds", clause="C-1", severity=severity, means="Nobody can chat.")
    return CaseResult(case=case, verdict=verdict, happened=happened)


def test_root_causes_are_listed_first() -> None:
    small, large = (named(name, Verdict.FAILED, happened="it is 5\nand more") for name in ("a/few", "a/many"))
    blocked = [named(f"b/{number}", Verdict.BLOCKED_BY, happened="a/many") for number in range(2)]
    worst = named("c/worst", Verdict.FAILED, Severity.BLOCKER, "not within 5 s")
    text = console.summary(run_of(small, large, *blocked, worst), {})

    assert text.startswith(
        "root causes:\n"
        "  blocker  c/worst: not within 5 s\n"
        "  medium   a/many: it is 5 (2 cases hang on it)\n"
        "  medium   a/few: it is 5\n"
    )
    assert "  blocks    2 cases hang on it: b/0, b/1" in text


def test_a_root_harms_as_what_hangs_on_it() -> None:
    root = named("a/root", Verdict.FAILED, Severity.LOW, "it is 5")
    hangs = named("b/hangs", Verdict.BLOCKED_BY, Severity.BLOCKER, "a/root")
    alone, both = run_of(root, PASSED), run_of(root, PASSED, hangs)

    assert (alone.exit_status, both.exit_status) == (0, 1)
    assert both.harm(root) is Severity.BLOCKER
    assert console.verdict(both).startswith("NOT CONFORMANT: 1 failed (1 blocker)")


def test_a_label_needs_its_own_evidence() -> None:
    marked = msgspec.structs.replace(CASE, evidence="not within")
    labels = [
        msgspec.structs.replace(FAILED, case=marked, happened=happened).finding
        for happened in ("not within 5 s", "the connection ended")
    ]

    assert labels == ["R9-9", ""]


def test_a_very_long_line_of_the_log_is_clipped() -> None:
    long = msgspec.structs.replace(FAILED, log=("x" * 500, "y" * 1_234_567))
    shown = [line for line in console.details(long, {}).splitlines() if "xx" in line or "yy" in line]

    assert shown == [f"  server    | {'x' * 500}", f"            | {'y' * 500} … (1,234,067 characters more)"]


@pytest.mark.parametrize(
    ("run", "status", "sentence"),
    [
        (run_of(PASSED), 0, "CONFORMANT"),
        (run_of(PASSED, FAILED), 1, "NOT CONFORMANT: 1 failed (1 blocker)"),
        (run_of(), 2, "NO VERDICT"),
        (run_of(CaseResult(case=CASE, verdict=Verdict.COULD_NOT_TEST)), 3, "NO VERDICT"),
        (run_of(CaseResult(case=CASE, verdict=Verdict.NOT_OFFERED)), 3, "NO VERDICT"),
        (run_of(CaseResult(case=CASE, verdict=Verdict.KNOWN_FAILURE)), 3, "NO VERDICT"),
        (
            run_of(PASSED, CaseResult(case=CASE, verdict=Verdict.COULD_NOT_TEST)),
            0,
            "CONFORMANT AS FAR AS TESTED: 1",
        ),
        (run_of(PASSED, CaseResult(case=CASE, verdict=Verdict.COULD_NOT_TEST, broken=True)), 3, "NO VERDICT"),
        (run_of(PASSED, trouble=("it left a process",)), 3, "NO VERDICT"),
        (run_of(FAILED, trouble=("it left a process",)), 1, "NOT CONFORMANT"),
    ],
)
def test_verdict_and_exit_status_agree(run: RunResult, status: int, sentence: str) -> None:
    assert run.exit_status == status
    assert console.verdict(run).startswith(sentence)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_line(verdict: Verdict) -> None:
    line = console.progress(msgspec.structs.replace(FAILED, verdict=verdict))

    assert "a/b" in line
    assert "\n" not in line


def test_trouble_is_shown() -> None:
    assert "it left a process" in console.summary(run_of(PASSED, trouble=("it left a process",)), {})
