"""The CI files are valid by their published schemas, and their shell lines do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from ruamel.yaml import YAML

from .command import environment, shell

EXAMPLES = Path(__file__).parents[1]
PROJECT = EXAMPLES.parent
CI = EXAMPLES / "ci"
FILES = {
    "action/action.yml": "github-actions",
    "workflow.yml": "github-workflows",
    "gitlab-ci.yml": "gitlab-ci",
    "woodpecker.yaml": "woodpecker-ci",
}
QUICK = "--select handshake/completes --select handshake/foreign-origin --seed 1"
ORIGIN = 'origin not in (None, f"http://{host}")'
ANY_ORIGIN = "False"


def read(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((CI / name).read_text(encoding="utf-8"))


def faults(document: Any, schema: str) -> list[str]:
    rules = json.loads((Path(__file__).parent / f"schemas/{schema}.json").read_text(encoding="utf-8"))
    return [fault.message for fault in jsonschema.Draft7Validator(rules).iter_errors(document)]


@pytest.mark.parametrize(("name", "schema"), FILES.items())
def test_file_is_valid_by_its_schema(name: str, schema: str) -> None:
    assert faults(read(name), schema) == []


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("action/action.yml", ("runs", "steps", 0)),
        ("workflow.yml", ("jobs", "conformance")),
        ("gitlab-ci.yml", ("chat-conformance", "artifacts")),
        ("woodpecker.yaml", ("steps", 0)),
    ],
)
def test_schema_refuses_a_misspelled_member(name: str, where: tuple[Any, ...]) -> None:
    document = read(name)
    part = document
    for each in where:
        part = part[each]
    part["no-such-member"] = 1

    assert faults(document, FILES[name])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with a chat server, its main branch, and a change on top of it that lets foreign pages in."""
    main, folder = tmp_path / "main", tmp_path / "checkout"
    shutil.copytree(EXAMPLES / "py_websockets", main, ignore=shutil.ignore_patterns("__pycache__"))
    git(main, "init", "--quiet")
    git(main, "add", "--all")
    git(main, "commit", "--quiet", "--message", "main")
    git(tmp_path, "clone", "--quiet", str(main), str(folder))
    return folder


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def change(checkout: Path) -> str:
    """Let foreign pages in, and return what the change is based on."""
    server = checkout / "server.py"
    text = server.read_text(encoding="utf-8")
    assert ORIGIN in text
    server.write_text(text.replace(ORIGIN, ANY_ORIGIN), encoding="utf-8")
    base = git(checkout, "rev-parse", "HEAD")
    git(checkout, "commit", "--quiet", "--all", "--message", "change")
    return base


def play_lines(words: list[str], script: str, checkout: Path, **env: str) -> int:
    status, output = shell(words, script, checkout, **environment(**env))
    (checkout.parent / "output").write_text(output, encoding="utf-8")
    return status


def gitlab(checkout: Path, base: str) -> int:
    """As GitLab's runner plays a job: all lines in one bash, the project's variables before the job's."""
    job = read("gitlab-ci.yml")["chat-conformance"]
    lines = ["set -eo pipefail", *job["before_script"], *job["script"]]
    variables = {**job["variables"], "OPTIONS": QUICK}
    if base:
        variables["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = base
    return play_lines(["bash"], "\n".join(lines), checkout, **variables)


def woodpecker(checkout: Path, base: str) -> int:
    """As Woodpecker plays a step: all commands in one sh."""
    (step,) = read("woodpecker.yaml")["steps"]
    variables = {**step["environment"], "OPTIONS": QUICK}
    variables |= {"CI_PIPELINE_EVENT": "pull_request" if base else "push", "CI_COMMIT_TARGET_BRANCH": "main"}
    return play_lines(["sh", "-e"], "\n".join(step["commands"]), checkout, **variables)


def action(checkout: Path, base: str) -> int:
    """As a runner plays a composite action: each step in a bash of its own, its inputs filled in."""
    (checkout.parent / "temp").mkdir(exist_ok=True)
    document = read("action/action.yml")
    given = {name: str(each["default"]) for name, each in document["inputs"].items()}
    given |= {"base": base, "options": QUICK, "chatgate": str(PROJECT), "requirements": "websockets"}
    status = 0
    for step in document["runs"]["steps"]:
        env = {name: filled(text, given) for name, text in step["env"].items()}
        places = {"RUNNER_TEMP": "temp", "GITHUB_OUTPUT": "output.txt", "GITHUB_STEP_SUMMARY": "summary.md"}
        env |= {name: str(checkout.parent / place) for name, place in places.items()}
        assert step["shell"] == "bash"
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
        status = status or play_lines(words, step["run"], checkout, **env)
    return status


def filled(text: str, inputs: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)


Play = Callable[[Path, str], int]


@pytest.mark.parametrize("play", [gitlab, woodpecker])
def test_lines_of_a_push_judge_the_branch(play: Play, checkout: Path) -> None:
    status = play(checkout, "")

    assert status == 0, (checkout.parent / "output").read_text(encoding="utf-8")
    assert "CONFORMANT" in (checkout / "reports/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("play", [gitlab, woodpecker])
def test_lines_of_a_pull_request_judge_the_change(play: Play, checkout: Path) -> None:
    status = play(checkout, change(checkout))

    assert status == 1
    output = (checkout.parent / "output").read_text(encoding="utf-8")
    assert "since the previous run: 1 REGRESSION" in output
    assert "NOT CONFORMANT" in (checkout / "reports/report.html").read_text(encoding="utf-8")


def test_action_judges_branch_and_change(checkout: Path) -> None:
    """All in one test: installing is what takes long."""
    pushed = action(checkout, "")
    verdicts = checkout.parent / "output.txt"
    assert pushed == 0, (checkout.parent / "output").read_text(encoding="utf-8")
    reports = f"reports={checkout.parent / 'temp/chat-conformance'}\n"
    assert verdicts.read_text(encoding="utf-8") == f"{reports}verdict=APPROVE\n"
    forged = {"verdict": "APPROVE\nforged=yes"}
    (checkout / "reports").mkdir()
    (checkout / "reports/review.json").write_text(json.dumps(forged), encoding="utf-8")
    broken = action(checkout, "no-such-base")
    assert broken == 2
    assert verdicts.read_text(encoding="utf-8") == f"{reports}verdict=APPROVE\n{reports}"
    changed = action(checkout, change(checkout))

    assert changed == 1
    assert verdicts.read_text(encoding="utf-8").splitlines()[-1] == "verdict=REQUEST_CHANGES"
    assert "NOT CONFORMANT" in (checkout.parent / "summary.md").read_text(encoding="utf-8")


def test_reports_for_gitlab_are_written(checkout: Path) -> None:
    gitlab(checkout, change(checkout))
    named = read("gitlab-ci.yml")["chat-conformance"]["artifacts"]["reports"]

    assert ET.parse(checkout / named["junit"]).getroot().get("failures") == "1"
    found = json.loads((checkout / named["codequality"]).read_text(encoding="utf-8"))
    assert [each["check_name"] for each in found] == ["handshake/foreign-origin"]


@pytest.mark.parametrize("play", [gitlab, woodpecker])
def test_report_that_a_change_brings_is_not_left(play: Play, checkout: Path) -> None:
    (checkout / "reports").mkdir()
    (checkout / "reports/report.html").write_text("CONFORMANT", encoding="utf-8")
    (checkout / "server.py").write_text("raise SystemExit(3)", encoding="utf-8")

    assert play(checkout, git(checkout, "rev-parse", "HEAD")) == 3
    assert not (checkout / "reports/report.html").exists()


def test_foreign_actions_are_pinned_by_hash() -> None:
    steps = read("workflow.yml")["jobs"]["conformance"]["steps"]
    foreign = [each["uses"] for each in steps if not each["uses"].startswith("./")]

    assert foreign
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in foreign)
    assert steps[0]["with"]["persist-credentials"] is False


def test_workflow_uses_the_action_with_inputs_that_it_has() -> None:
    steps = read("workflow.yml")["jobs"]["conformance"]["steps"]
    (step,) = [each for each in steps if each["uses"].endswith("/chat-conformance")]

    assert set(step["with"]) <= set(read("action/action.yml")["inputs"])
    assert shlex.split(step["uses"]) == ["./.github/actions/chat-conformance"]
