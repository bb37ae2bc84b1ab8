"""JUnit XML, which every CI shows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from xml.etree import ElementTree as ET

from chat_conformance.report.console import details
from chat_conformance.report.limits import JUNIT, TEXT
from chat_conformance.report.text import clipped, printable
from chat_conformance.results import CaseResult, RunResult, Verdict

SKIPPED = {Verdict.COULD_NOT_TEST, Verdict.NOT_OFFERED, Verdict.KNOWN_FAILURE, Verdict.BLOCKED_BY}


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """One suite for each area; what is neither green nor failed is skipped, with its reason."""
    totals = _totals(run.results)
    if run.trouble:
        totals |= {"tests": str(len(run.results) + 1), "errors": str(int(totals["errors"]) + 1)}
    root = ET.Element("testsuites", totals, name=f"chat-conformance: {printable(run.target)}")
    evidence = _evidence(run, clauses)
    ordered = sorted(run.results, key=_area)
    for area, results in groupby(ordered, key=_area):
        group = tuple(results)
        suite = ET.SubElement(root, "testsuite", _totals(group), name=printable(area))
        for result in group:
            suite.append(_case(result, evidence.get(id(result), "")))
    if run.trouble:
        suite = ET.SubElement(root, "testsuite", name="run", tests="1", failures="0", errors="1", skipped="0")
        case = ET.SubElement(suite, "testcase", classname="run", name="trouble outside the cases")
        ET.SubElement(
            case, "error", message="; ".join(printable(clipped(each, TEXT)) for each in run.trouble[:100])
        )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _evidence(run: RunResult, clauses: Mapping[str, str]) -> dict[int, str]:
    """What is known of each failure, the worst first, as far as a file may be long."""
    texts, room = {}, JUNIT
    for each in (
        *run.findings,
        *(each for each in run.results if each.verdict is not Verdict.FAILED and each.broken),
    ):
        text = details(each, clauses) if room > 0 else ""
        room -= len(text)
        texts[id(each)] = text if room > 0 else "left out for length; the json report has it"
    return texts


def _case(result: CaseResult, evidence: str) -> ET.Element:
    case = result.case
    named = {"classname": _area(result), "name": f"{case.id}: {case.title}", "time": f"{result.seconds:.3f}"}
    if result.location:
        named["file"] = result.location.partition(":")[0]
    element = ET.Element("testcase", {name: printable(text) for name, text in named.items()})
    if result.verdict is Verdict.PASSED:
        return element
    first = (result.why.strip().splitlines() or [""])[-1]
    texts = f"blocked by {first}" if result.verdict is Verdict.BLOCKED_BY else clipped(first, TEXT)
    said = {"message": printable(f"{case.severity}: {texts}"), "type": str(result.verdict)}
    tag = "failure" if result.verdict is Verdict.FAILED else "error" if result.broken else "skipped"
    inner = ET.SubElement(element, tag, said)
    if result.verdict not in SKIPPED or result.broken:
        inner.text = evidence
    return element


def _area(result: CaseResult) -> str:
    return result.case.id.partition("/")[0]


def _totals(results: tuple[CaseResult, ...]) -> dict[str, str]:
    broken = sum(each.broken for each in results)
    return {
        "tests": str(len(results)),
        "failures": str(sum(each.verdict is Verdict.FAILED for each in results)),
        "errors": str(broken),
        "skipped": str(sum(each.verdict in SKIPPED for each in results) - broken),
        "time": f"{sum(each.seconds for each in results):.3f}",
    }
