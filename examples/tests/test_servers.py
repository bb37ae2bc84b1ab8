"""Other people's servers are judged as any user's, and the verdicts are those kept beside them.

After a change that is meant: ``CHATGATE_GOLDEN=write pytest examples/tests/test_servers.py``, then read the diff.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from chat_conformance.report import document
from chat_conformance.results import CaseResult, RunResult, Verdict

from .command import environment, run

EXAMPLES = Path(__file__).parents[1]
COLUMNS = 50  # of a report, for the verdict and the case
SERVERS = ["py_websockets", "node_ws", "merged_pull_request"]
QUICK = {"merged_pull_request"}  # most of what takes long would be blocked by what is found at once
LEFT_OUT = {  # what depends on how busy the machine is
    "merged_pull_request": {
        "framing/server-frames"
    },  # its one thread may still have to do with the case before
    "py_websockets": {
        "robustness/stalled-memory"
    },  # its pings may end the readers before their memory is looked at
    "node_ws": {"robustness/stalled-memory"},  # its collector frees what it no longer needs when it likes
}


@pytest.mark.parametrize("name", SERVERS)
def test_server_is_judged_as_before(name: str, tmp_path: Path) -> None:
    """The cases are those of the kept report, so a case that is new to the suite waits until it is written again."""
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules"))
    if (folder / "package.json").exists():
        npm = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=folder, env=environment(), check=True, capture_output=True)
    expected = EXAMPLES / name / "expected.txt"
    writes = os.environ.get("CHATGATE_GOLDEN") == "write"
    kept = [] if writes else re.findall(r"\w+/[\w-]+", cases_of(expected))
    selected = [word for each in kept for word in ("--select", each)]

    done = run(
        *("run", "--target", "chat.toml", "--seed", "1", *selected),
        *(["--quick"] if name in QUICK else []),
        *("--report", f"json={tmp_path}/report.json"),
        cwd=folder,
    )

    whole = document.read(str(tmp_path / "report.json"))
    wanted = set(kept or (each.case.id for each in whole.results)) - LEFT_OUT.get(name, set())
    some = tuple(each for each in whole.results if each.case.id in wanted)
    report = as_text(msgspec.structs.replace(whole, results=some))
    if writes:
        expected.write_text(report, encoding="utf-8")
    assert report == expected.read_text(encoding="utf-8"), done.stdout[-20_000:]


def cases_of(report: Path) -> str:
    """The lines of a kept report, as far as they name the case."""
    lines = report.read_text(encoding="utf-8").splitlines()[2:]
    return "\n".join(each[:COLUMNS] for each in lines)


def as_text(report: RunResult) -> str:
    """What is the same each time: how each case ended, without times, ports and evidence."""
    head = f"{report.decision}: {', '.join(f'{len(report.of(each))} {each}' for each in Verdict if report.of(each))}"
    return "\n".join([head, "", *sorted(line(each) for each in report.results)]) + "\n"


def line(result: CaseResult) -> str:
    case = result.case
    line = f"{result.verdict:<14} {case.id}"
    match result.verdict:
        case Verdict.FAILED:
            finding = f" ({result.finding})" if result.finding else ""
            return f"{line:<{COLUMNS}} {case.severity}: {case.title}{finding}"
        case Verdict.PASSED:
            return line
        case _:
            return f"{line:<{COLUMNS}} {result.why}"


def test_server_on_websockets_is_short() -> None:
    assert len((EXAMPLES / "py_websockets" / "server.py").read_text(encoding="utf-8").splitlines()) < 200


def test_doctor_says_where_the_merged_pull_request_stops() -> None:
    done = run("doctor", "--target", "chat.toml", cwd=EXAMPLES / "merged_pull_request")

    assert done.returncode == 3
    assert "ok    socket   /chat/ws is open" in done.stdout
    assert "FAIL  token" in done.stdout
