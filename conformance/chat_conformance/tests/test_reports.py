"""Reports in every format, held against golden files and schemas.

After a change that is meant, run this file with ``CHATGATE_GOLDEN=write``, then read the diff.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

import jsonschema
import msgspec
import pytest

from chat_conformance.errors import UsageError
from chat_conformance.report import console, document
from chat_conformance.report.formats import FORMATS, parse, renderer, write
from chat_conformance.results import (
    Case,
    CaseResult,
    Change,
    ChangeKind,
    RunResult,
    Severity,
    TraceLine,
    Verdict,
)

T = TypeVar("T", bound=msgspec.Struct)
HERE = Path(__file__).parent
NASTY = "nul \x00 bell \x07 esc \x1b[31m \ufffe \u202e ` `` | <b>&\"' ]]> --> 😀 \ud800\nnext"
CLAUSES = {"C-1": "It MUST `hold`.", "C-2": "It SHOULD hold, too."}


def case(case_id: str, severity: Severity = Severity.MEDIUM, **members: Any) -> Case:
    return Case(
        id=case_id,
        title=members.pop("title", "It holds"),
        clause=members.pop("clause", "C-1"),
        severity=severity,
        means="Nobody can chat.",
        **members,
    )


TRACE = (
    TraceLine(0.0, "ws1", "=", "connected"),
    TraceLine(1.5, "ws1", ">", 'TEXT \'{"type": "chat_request"}\' [24 bytes]'),
    TraceLine(2.5, "claude", "=", "pid 7 started"),
    TraceLine(20.0, "ws1", "<", "PING b'\\x00' [1 bytes]"),
    TraceLine(20.5, "ws1", ">", "PONG b'\\x00' [1 bytes]"),
    TraceLine(40.0, "ws1", "<", f"TEXT {NASTY!r} [80 bytes]"),
    TraceLine(80.0, "claude", "=", "pid 7 ended with 0"),
    TraceLine(81.25, "ws1", "<", "CLOSE 1011 'gone' [6 bytes]"),
)
FULL = RunResult(
    target="a `chat` | <of> 😀",
    url="http://127.0.0.1:1",
    seed=7,
    seconds=12.34,
    results=(
        CaseResult(case=case("handshake/ok"), verdict=Verdict.PASSED, seconds=0.01, location="src/chat.py"),
        CaseResult(
            case=case("framing/low", Severity.LOW, clause="C-2"),
            verdict=Verdict.FAILED,
            seconds=0.02,
            expected="a pong",
            happened="not within 5 s",
            replay="chat-conformance run --target t.toml --select framing/low --seed 7",
        ),
        CaseResult(
            case=case("turns/streams", Severity.BLOCKER, finding="R9-9", title=f"It streams {NASTY}"),
            verdict=Verdict.FAILED,
            seconds=1.5,
            expected=f"a token {NASTY}",
            happened=f"nothing {NASTY}",
            trace=TRACE,
            ledger=("pid 7 exit 0  argv []", f"  stdin {NASTY}"),
            log=(f"Traceback {NASTY}",),
            replay="chat-conformance run --target t.toml --select turns/streams --seed 7",
            location="src/chat server.py:12",
        ),
        CaseResult(
            case=case("turns/order", needs=("turns/streams",)),
            verdict=Verdict.BLOCKED_BY,
            happened="turns/streams",
        ),
        CaseResult(
            case=case("framing/unmasked"),
            verdict=Verdict.KNOWN_FAILURE,
            happened="not within 5 s",
            reason="the library takes them",
            link="https://tracker.example/1",
            location="src/frames.py:3",
        ),
        CaseResult(
            case=case("limits/day"), verdict=Verdict.COULD_NOT_TEST, happened="there is no libfaketime"
        ),
        CaseResult(
            case=case("limits/hour"),
            verdict=Verdict.COULD_NOT_TEST,
            happened="Traceback\nIndexError: 0",
            broken=True,
        ),
        CaseResult(
            case=case("identity/login"), verdict=Verdict.NOT_OFFERED, happened="no login in the target file"
        ),
    ),
    trouble=(f"it left a process {NASTY}",),
    version="1.2.3",
    began="2026-01-02T03:04:05+00:00",
    changes=(
        Change(
            kind=ChangeKind.REGRESSION, case=case("turns/streams", Severity.BLOCKER), after=f"nothing {NASTY}"
        ),
        Change(kind=ChangeKind.FIXED, case=case("handshake/ok"), before="it was 500"),
    ),
)
EMPTY = RunResult(target="nothing", url="http://x", seed=1, seconds=0.0, results=())
GREEN = msgspec.structs.replace(
    FULL, target="green", results=FULL.results[:1], trouble=(), changes=(), began="", version=""
)
RUNS = {"full": FULL, "empty": EMPTY, "green": GREEN}


def report(name: str, run: RunResult = FULL) -> str:
    return renderer(name)(run, CLAUSES)


@pytest.mark.parametrize("run", list(RUNS))
@pytest.mark.parametrize("name", list(FORMATS))
def test_report_is_as_before(name: str, run: str) -> None:
    golden = HERE / "golden" / f"{run}.{name}"
    text = report(name, RUNS[run])
    if os.environ.get("CHATGATE_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8", newline="")

    assert text == golden.read_bytes().decode()


@pytest.mark.parametrize("name", list(FORMATS))
def test_no_report_has_bytes_that_move_a_terminal_or_break_a_parser(name: str) -> None:
    results = tuple(msgspec.structs.replace(each, location=NASTY) for each in FULL.results)
    named = msgspec.structs.replace(
        FULL, target=NASTY, url=NASTY, version=NASTY, began=NASTY, results=results
    )
    text = report(name, named)

    assert text.encode()
    assert [char for char in text if char != "\n" and not char.isprintable()] == []


@pytest.mark.parametrize("run", list(RUNS))
@pytest.mark.parametrize(
    ("name", "schema"),
    [("sarif", "sarif-2.1.0"), ("rdjson", "rdjson"), ("codequality", "codequality"), ("json", "")],
)
def test_report_is_valid_by_its_schema(name: str, schema: str, run: str) -> None:
    rules = json.loads((HERE / f"schemas/{schema}.json").read_text()) if schema else document.schema()
    validator = jsonschema.validators.validator_for(rules)
    validator.check_schema(rules)

    faults = validator(rules, format_checker=validator.FORMAT_CHECKER).iter_errors(
        json.loads(report(name, RUNS[run]))
    )

    assert [fault.message for fault in faults] == []


def test_schema_refuses_what_is_no_report() -> None:
    rules = document.schema()
    wrong = {**json.loads(report("json")), "fail_on": "grave"}

    assert not jsonschema.Draft202012Validator(rules).is_valid(wrong)


def test_junit_counts_what_it_lists() -> None:
    root = ET.fromstring(report("junit"))

    assert [root.get(each) for each in ("tests", "failures", "errors", "skipped")] == ["9", "2", "2", "4"]
    assert [len(root.findall(f".//testcase/{each}")) for each in ("failure", "skipped")] == [2, 4]
    assert len(root.findall("testsuite[@name='run']/testcase/error")) == 1


def test_sarif_suppresses_what_the_baseline_knows() -> None:
    results = json.loads(report("sarif"))["runs"][0]["results"]

    assert [(each["ruleId"], len(each["suppressions"])) for each in results] == [
        ("turns/streams", 0),
        ("framing/low", 0),
        ("framing/unmasked", 1),
    ]
    place = results[0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("src/chat%20server.py", 12)


def test_fingerprint_outlives_lines_and_words() -> None:
    moved = msgspec.structs.replace(FULL.results[2], location="src/other.py:99", happened="something else")
    again = msgspec.structs.replace(FULL, results=(moved,))

    old, new = (json.loads(report("codequality", run)) for run in (FULL, again))
    assert old[0]["check_name"] == new[0]["check_name"] == "turns/streams"
    assert old[0]["fingerprint"] == new[0]["fingerprint"]
    assert len({each["fingerprint"] for each in old}) == len(old)


@pytest.mark.parametrize(
    ("run", "decision"),
    [
        (GREEN, "APPROVE"),
        (FULL, "REQUEST_CHANGES"),
        (EMPTY, "DISCUSS"),
        (msgspec.structs.replace(FULL, results=FULL.results[:2], trouble=()), "DISCUSS"),
        (
            msgspec.structs.replace(FULL, results=FULL.results[:2], trouble=(), fail_on=Severity.LOW),
            "REQUEST_CHANGES",
        ),
        (msgspec.structs.replace(GREEN, trouble=("it left a process",)), "DISCUSS"),
        (msgspec.structs.replace(GREEN, broke_off=True), "DISCUSS"),
    ],
)
def test_review_decides_by_the_gate(run: RunResult, decision: str) -> None:
    said = json.loads(report("review", run))

    assert sorted(said) == ["review_markdown", "verdict", "verdict_reason"]
    assert said["verdict"] == decision
    assert said["verdict_reason"]


def test_failure_below_the_gate_passes() -> None:
    run = msgspec.structs.replace(FULL, results=FULL.results[:2], trouble=())

    assert run.exit_status == 0
    assert console.verdict(run).startswith("NOT CONFORMANT: 1 failed (1 low), none of them medium or worse")


class Page(HTMLParser):
    """What a browser would load, and the words it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_page_is_one_file_and_shows_text_as_text() -> None:
    page = Page(report("html"))

    assert not {"link", "img", "iframe", "base", "b", "of"} & {tag for tag, _ in page.tags}
    assert [attrs for _, attrs in page.tags if "src" in attrs] == []
    assert all(str(attrs.get("href", "#")).startswith("#") for _, attrs in page.tags)
    assert "a `chat` | <of> 😀" in page.words
    assert "pid 7 ended with 0" in page.words


def test_run_is_read_back_as_it_was_from_either_form(tmp_path: Path) -> None:
    sound = msgspec.structs.replace(FULL, results=FULL.results[:2], trouble=(), changes=())
    write(sound, CLAUSES, [("json", str(tmp_path / "a.json")), ("jsonl", str(tmp_path / "deep/a.jsonl"))])

    assert document.read(str(tmp_path / "a.json")) == sound
    assert document.read(str(tmp_path / "deep/a.jsonl")) == sound


@pytest.mark.parametrize("cut", [1, 40], ids=["the end", "in the middle of a line"])
def test_run_that_broke_off_says_so(tmp_path: Path, cut: int) -> None:
    lines = report("jsonl").split("\n")
    (tmp_path / "cut.jsonl").write_text("\n".join(lines[:4]) + "\n" + lines[4][:cut])

    run = document.read(str(tmp_path / "cut.jsonl"))

    assert [each.case.id for each in run.results] == ["handshake/ok", "framing/low", "turns/streams"]
    assert run.trouble == ("the run broke off: 5 of 8 cases have no result",)
    assert (run.broke_off, run.exit_status) == (True, 1)
    assert "of a run that broke off" in console.verdict(run)
    green = msgspec.structs.replace(run, results=run.results[:1])
    assert console.verdict(green).startswith("NO VERDICT: the run broke off\n")
    assert json.loads(report("review", green))["review_markdown"].count("NO VERDICT") == 1


@pytest.mark.parametrize("text", ["", "[]", '{"event": "end"}\n', "{", "\xff"])
def test_what_is_no_report_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong").write_bytes(text.encode("latin-1"))

    with pytest.raises(UsageError, match="wrong is no report"):
        document.read(str(tmp_path / "wrong"))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("sarf=x", "did you mean sarif"),
        ("pdf=x", "known are console, json"),
        ("html", "write html=PATH"),
        ("html=", "write html=PATH"),
    ],
)
def test_mistaken_report_is_refused_with_what_would_do(word: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse(word)


ORDERS = [
    "::error::boom",
    "  ::stop-commands::a",
    "##[error]x",
    "##vso[task.complete]",
    "##teamcity[x]",
    "--- fold",
]
"""What the runner of a CI job obeys: GitHub, Azure and Gitea, TeamCity, Buildkite."""


def obeyed(text: str) -> list[str]:
    """The lines that a runner would obey; with leading blanks trimmed, as GitHub's does."""
    return [
        each
        for each in text.splitlines()
        if each.lstrip().startswith("::") or re.search(r"##\w*\[", each) or each.startswith("--- fold")
    ]


def hostile(text: str) -> RunResult:
    """A run in which all that a server, or who wrote a report file, may choose is this text."""

    def filled(value: T, kind: type[T]) -> T:
        chosen = {name: text for name in kind.__struct_fields__ if type(getattr(value, name)) is str}
        return msgspec.structs.replace(value, **chosen)

    results = tuple(
        msgspec.structs.replace(
            filled(each, CaseResult),
            case=filled(each.case, Case),
            ledger=(text, text),
            log=(text, text),
            trace=(TraceLine(0.0, text, "<", text),),
        )
        for each in FULL.results
    )
    changes = tuple(
        msgspec.structs.replace(filled(each, Change), case=filled(each.case, Case)) for each in FULL.changes
    )
    return msgspec.structs.replace(
        filled(FULL, RunResult), results=results, trouble=(text, text), changes=changes
    )


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("order", ORDERS)
def test_runner_of_a_job_obeys_no_report(name: str, order: str) -> None:
    # What is said last may have come after a line end.
    for text in (order, f"x\n{order}\ny"):
        assert obeyed(report(name, hostile(text))) == []


@pytest.mark.parametrize("name", list(FORMATS))
def test_hostile_report_file_moves_no_terminal(name: str) -> None:
    text = report(name, hostile(NASTY))

    assert [char for char in text if char != "\n" and not char.isprintable()] == []
    if name == "junit":
        ET.fromstring(text)
    if name in {"json", "sarif", "rdjson", "codequality", "review"}:
        json.loads(text)


@pytest.mark.parametrize("name", ["markdown", "review"])
@pytest.mark.parametrize(
    "word", ["@octocat", "https://evil.test/phish", "www.evil.test", "(@a)", "#12", "a/b#12"]
)
def test_markdown_mentions_and_links_nothing(name: str, word: str) -> None:
    text = report(name, hostile(f"see {word} there"))
    shown = json.loads(text)["review_markdown"] if name == "review" else text

    assert word in shown
    assert word not in re.sub(r"(`+)[^`].*?\1", "", shown)


def test_side_by_side_obeys_nothing() -> None:
    run = hostile("::error::boom")

    assert obeyed(console.comparison(run, msgspec.structs.replace(run, results=()))) == []


def worst(findings: int) -> RunResult:
    """A run with this many findings, each with as much evidence as a case can have, and more."""
    big = "x" * 60_000 + "\u202e" * 2_000
    one = msgspec.structs.replace(
        FULL.results[2],
        expected=big,
        happened=big,
        ledger=(big,) * 50,
        log=(big,) * 20,
        trace=tuple(TraceLine(float(number), "ws1", "<", "y" * 1_000) for number in range(400)),
    )
    severities = [Severity.LOW, Severity.MEDIUM, Severity.BLOCKER]
    results = tuple(
        msgspec.structs.replace(one, case=case(f"area{number % 40}/case-{number}", severities[number % 3]))
        for number in range(findings)
    )
    blocked = tuple(
        CaseResult(case=case(f"blocked/{number}"), verdict=Verdict.BLOCKED_BY, happened="area0/case-0")
        for number in range(findings)
    )
    changes = tuple(
        Change(kind=ChangeKind.REGRESSION, case=each.case, before=big, after=big) for each in results[:500]
    )
    return msgspec.structs.replace(
        FULL, results=results + blocked, trouble=(big,) * 100, changes=changes, target="worst"
    )


WORST = worst(300)


@pytest.mark.parametrize("name", ["markdown", "review"])
@pytest.mark.parametrize("run", [WORST, worst(3), FULL])
def test_markdown_fits_into_a_comment(name: str, run: RunResult) -> None:
    text = report(name, run)
    shown = json.loads(text)["review_markdown"] if name == "review" else text

    assert len(shown) < 65_536
    assert shown.count("<details>") == shown.count("</details>")
    if run is WORST:
        assert re.search(r"and \d+ more findings, left out for length", shown)
        assert shown.index("area2/case-2") < len(shown) / 2  # a blocker: the worst come first


def test_sarif_stays_within_what_is_taken() -> None:
    document = json.loads(report("sarif", worst(30)))["runs"][0]
    texts = [each["message"]["text"] for each in document["results"]]

    assert max(map(len, texts)) < 1_100
    assert [each["level"] for each in document["results"]][:10] == ["error"] * 10


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("sarif", "sarif.SARIF_RESULTS"),
        ("rdjson", "rdjson.DIAGNOSTICS"),
        ("codequality", "codequality.DIAGNOSTICS"),
    ],
)
def test_too_many_findings_are_counted(monkeypatch: pytest.MonkeyPatch, name: str, limit: str) -> None:
    renderer(name)
    monkeypatch.setattr(f"chat_conformance.report.{limit}", 10)
    run = worst(30)
    text = report(name, run)

    assert text.count("and 20 more") == 1
    assert text.index("case-2") < text.index("and 20 more")
    assert "case-0" not in text  # a low one


def test_junit_stays_readable() -> None:
    text = report("junit", worst(400))

    assert len(text) < 10_000_000
    assert "left out for length" in text
    ET.fromstring(text)


def test_page_runs_its_own_script_only() -> None:
    text = report("html")
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert f"script-src 'sha256-{digest}'" in text
