"""A change cannot vouch for itself: neither by its rules, nor by what git or Python read from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.results import Case, CaseResult, RunResult, Severity, Verdict
from chat_conformance.suite.baseline import KnownFailure
from chat_conformance.suite.checkout import Checkout
from chat_conformance.suite.kept import Kept, key_of, usual_folder
from chat_conformance.suite.rules import Edit, Rules, Source, judged, sides_of, stricter, text_of
from chat_conformance.target.file import parse
from chat_conformance.tests.test_gate import git
from chat_conformance.tests.test_main import SERVER
from fake_claude.patience import patience

TARGET = """name = "small"
url = "http://127.0.0.1:{port}"
start = ["{python}", "{here}/server.py", "{port}", "good"]
ready_line = "listening"
within = 2
stop_within = 2
[variants.requests_per_hour]
limit = 3
"""
SICK = {"server.py": SERVER.replace("200 OK", "500 No")}
SOON = datetime.now(UTC).date() + timedelta(days=20)
DEBT = f"""["http/health"]
reason = "it is a small one"
expires = {SOON}
"""

Gate = Callable[..., tuple[int, str, dict[str, Any]]]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def commit(folder: Path, files: dict[str, str]) -> None:
    write(folder, files)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", "change")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, {"server.py": SERVER, "chat.toml": TARGET})
    return folder


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "PYTHONPATH": "", "CI": "true", **more}


@pytest.fixture
def gate(checkout: Path, tmp_path: Path) -> Gate:
    """The gate on the last commit: its exit status, what it printed, and its review."""

    def run(
        *words: str, cwd: Path = checkout, base: str = "HEAD~1", select: str = "http/health", **env: str
    ) -> tuple[int, str, dict[str, Any]]:
        report = tmp_path / "review.json"
        options = ["--target", "chat.toml", "--base", base, "--select", select, "--seed", "7"]
        options += ["--report", f"review={report}"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "chat_conformance", "gate", *options, *words],
            cwd=cwd,
            env=environment(**env),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(120),
        )
        said = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        return done.returncode, done.stdout + done.stderr, said

    return run


def assert_stops(found: tuple[int, str, dict[str, Any]], first: str, *words: str) -> None:
    status, printed, said = found
    assert (status, said.get("verdict")) == (1, "REQUEST_CHANGES"), printed
    assert said["review_markdown"].startswith(f"**REGRESSION** in `{first}`"), said
    for each in words:
        assert each in said["review_markdown"], said


def test_own_known_failure_hides_nothing(checkout: Path, gate: Gate) -> None:
    commit(checkout, SICK | {"chat.baseline.toml": DEBT})

    assert_stops(gate(), "http/health", "`gate/own-rules`", "http/health is to be a known failure until")


def test_own_target_file_starts_no_other_server(checkout: Path, gate: Gate) -> None:
    kind = {"good.py": SERVER, "chat.toml": TARGET.replace("server.py", "good.py")}
    commit(checkout, SICK | kind)

    assert_stops(gate(), "http/health", "start was ", "good.py")


def stopping(checkout: Path, target: str = "chat.toml") -> list[str]:
    """What the last commit does to its rules that stops it."""
    with chdir(checkout):
        opened = Checkout()
        with opened.files_of(opened.commit("HEAD~1")) as folder:
            return [each.what for each in sides_of(target, opened.top, folder).edits if each.stops]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("chat.toml", "[variants.requests_per_hour]\nlimit = 3\n", "", "is claimed no more"),
        ("chat.toml", "within = 2\n", "within = 60\n", "within was 2.0 and is 60.0"),
        (
            "chat.toml",
            'name = "small"',
            'name = "small"\npaths = { turn = "" }',
            "paths.turn is claimed no more",
        ),
        ("chat.toml", "limit = 3", "limit = 9000", "variants.requests_per_hour was"),
        ("chat.toml", "ready_line", "no_such_field", "cannot be used"),
        ("chat.baseline.toml", "", DEBT, "is to be a known failure"),
        ("chat.baseline.toml", "", "[", "cannot be used"),
    ],
)
def test_change_of_its_own_rules_stops(checkout: Path, file: str, old: str, new: str, words: str) -> None:
    text = (checkout / file).read_text(encoding="utf-8") if (checkout / file).exists() else ""
    commit(checkout, {file: text.replace(old, new, 1) if old else text + new})

    (what,) = stopping(checkout)

    assert words in what


@pytest.mark.parametrize("leads", ["/dev/zero", "../evil.toml", "chat.toml"])
def test_link_in_place_of_a_rule_is_not_followed(checkout: Path, tmp_path: Path, leads: str) -> None:
    write(tmp_path, {"evil.toml": TARGET})
    (checkout / "chat.toml").unlink()
    (checkout / "chat.toml").symlink_to(leads)
    commit(checkout, {})

    (what,) = stopping(checkout)

    assert "cannot be used" in what


def test_link_in_place_of_a_folder_is_not_followed(checkout: Path, tmp_path: Path) -> None:
    commit(checkout, {"conf/chat.toml": TARGET})
    write(tmp_path, {"evil/chat.toml": TARGET})
    (checkout / "conf/chat.toml").unlink()
    (checkout / "conf").rmdir()
    (checkout / "conf").symlink_to("../evil")
    commit(checkout, {})

    (what,) = stopping(checkout, "conf/chat.toml")

    assert "outside of the checkout" in what


def test_file_that_shadows_a_shipped_target_is_a_change(checkout: Path) -> None:
    commit(checkout, {"targets/reference.toml": TARGET})

    assert len(stopping(checkout, "targets/reference.toml")) > 1


def test_dropped_claim_stops(checkout: Path, gate: Gate) -> None:
    commit(checkout, {"chat.toml": TARGET.split("[variants", maxsplit=1)[0]})

    assert_stops(gate(), "gate/own-rules", "is claimed no more")


def test_rules_may_become_stricter(checkout: Path, gate: Gate) -> None:
    commit(checkout, SICK | {"chat.baseline.toml": DEBT})
    sooner = DEBT.replace(str(SOON), str(SOON - timedelta(days=5)))
    commit(
        checkout,
        {
            "chat.toml": f"# a word\n{TARGET}[variants.tokens_per_day]\nlimit = 5\n",
            "chat.baseline.toml": sooner,
        },
    )

    status, printed, said = gate()

    assert (status, said["verdict"]) == (0, "APPROVE"), printed
    assert "it is a small one" in said["review_markdown"]


def test_mended_failure_needs_its_entry_taken_out(checkout: Path, gate: Gate) -> None:
    commit(checkout, SICK | {"chat.baseline.toml": DEBT})
    commit(checkout, {"server.py": SERVER})
    left = gate()
    (checkout / "chat.baseline.toml").unlink()
    commit(checkout, {})
    taken = gate(base="HEAD~2")

    assert left[0] == 1
    assert "take its entry out" in left[1]
    assert (taken[0], taken[2]["verdict"]) == (0, "APPROVE"), taken[1]
    assert "1 FIXED" in taken[1]


def test_person_may_accept_the_rules_of_the_change(checkout: Path, gate: Gate) -> None:
    commit(
        checkout, SICK | {"chat.baseline.toml": DEBT, "chat.toml": TARGET.split("[variants", maxsplit=1)[0]}
    )

    status, printed, said = gate("--rules", "head")

    assert (status, said["verdict"]) == (0, "APPROVE"), printed


def test_first_target_file_is_nobody_elses(checkout: Path, gate: Gate) -> None:
    (checkout / "chat.toml").unlink()
    commit(checkout, {})
    commit(checkout, {"chat.toml": TARGET})

    assert_stops(gate(), "gate/own-rules", "the base has no target file")


def test_files_for_python_and_pytest_are_not_read(checkout: Path, gate: Gate) -> None:
    bad = "raise SystemExit('taken from the change')\n"
    files = dict.fromkeys(
        ["conftest.py", "sitecustomize.py", "msgspec.py", "pytest.py", "chat_conformance/__init__.py"], bad
    )
    commit(checkout, SICK | files | {"pytest.ini": "[pytest]\naddopts = --no-such-option\n"})

    assert_stops(gate(), "http/health")
    status, printed, _ = gate(PYTHONPATH=str(checkout))
    assert status != 0
    assert "taken from the change" in printed


def test_modules_of_the_checkout_are_refused(checkout: Path, gate: Gate) -> None:
    commit(checkout, {})

    status, printed, _ = gate(PYTHONPATH=str(checkout))

    assert status == 2
    assert "which is part of what is judged" in printed


def state(folder: Path) -> dict[str, bytes]:
    """All of a repository but its log, and what is checked out."""
    files = [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink()]
    return {
        str(each.relative_to(folder)): each.read_bytes() for each in files if "__pycache__" not in str(each)
    }


def test_hooks_and_settings_of_the_repository_do_not_run(checkout: Path, gate: Gate, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = f"#!/bin/sh\necho ran >>{mark}\n"
    names = ["post-checkout", "post-index-change", "reference-transaction", "fsmonitor"]
    write(checkout, {f".hooks/{name}": script for name in names})
    for name in names:
        (checkout / ".hooks" / name).chmod(0o755)
    commit(checkout, {".gitattributes": "*.py ident\n"})
    git(checkout, "config", "core.hooksPath", ".hooks")
    git(checkout, "config", "core.fsmonitor", str(checkout / ".hooks/fsmonitor"))
    mark.unlink(missing_ok=True)
    before = state(checkout)

    status, printed, _ = gate()

    assert status == 0, printed
    assert not mark.exists()
    assert state(checkout) == before


def test_attributes_of_the_change_do_not_reach_the_base(checkout: Path, gate: Gate) -> None:
    # The base's server would not start, and its failure would be debt.
    git(checkout, "config", "filter.spoil.smudge", "echo broken")
    commit(checkout, SICK)
    write(checkout, {".gitattributes": "*.py filter=spoil\n"})

    assert_stops(gate(), "http/health")


def hooked(folder: Path, name: str, command: str, tmp_path: Path) -> None:
    place = folder / ".git/hooks" / name
    place.parent.mkdir(exist_ok=True)
    words = f'"{sys.executable}" -P -m chat_conformance gate --base HEAD --select http/health --seed 7'
    script = f"#!/bin/sh\n{command}exec {words} --target chat.toml >{tmp_path}/out 2>&1\n"
    place.write_text(script, encoding="utf-8")
    place.chmod(0o755)


def test_gate_judges_from_a_hook_before_a_commit(checkout: Path, tmp_path: Path) -> None:
    hooked(checkout, "pre-commit", "", tmp_path)
    write(checkout, {"server.py": SERVER + "\n"})
    who = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]

    done = subprocess.run(
        [*who, "commit", "--all", "--quiet", "--message", "x"], cwd=checkout, env=environment(), check=False
    )

    printed = (tmp_path / "out").read_text(encoding="utf-8")
    assert done.returncode == 0, printed
    assert "\nCONFORMANT\n" in printed
    tree = subprocess.run(
        ["git", "status", "--porcelain"], cwd=checkout, env=environment(), capture_output=True, check=True
    )
    assert tree.stdout == b""


def test_gate_judges_from_a_hook_in_a_linked_work_tree(checkout: Path, tmp_path: Path) -> None:
    commit(checkout, {"sub/server.py": SERVER, "sub/chat.toml": TARGET})
    git(checkout, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    git(tmp_path, "init", "--quiet", "--bare", "far.git")
    hooked(checkout, "pre-push", "cd sub\n", tmp_path)
    before = state(tmp_path / "side")

    done = subprocess.run(
        ["git", "push", "--quiet", str(tmp_path / "far.git"), "side"],
        cwd=tmp_path / "side" / "sub",
        env=environment(),
        check=False,
    )

    printed = (tmp_path / "out").read_text(encoding="utf-8")
    assert done.returncode == 0, printed
    assert "\nCONFORMANT\n" in printed
    assert state(tmp_path / "side") == before


def test_variables_of_git_lead_nowhere_else(checkout: Path, gate: Gate, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "other")
    commit(tmp_path / "other", {"a": "b"})
    commit(checkout, SICK)
    other = tmp_path / "other/.git"
    env = {"GIT_DIR": str(other), "GIT_INDEX_FILE": str(other / "index"), "GIT_WORK_TREE": str(other.parent)}
    env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.bare", "GIT_CONFIG_VALUE_0": "true"}
    before = state(tmp_path / "other")

    assert_stops(gate(**env), "http/health")
    assert state(tmp_path / "other") == before


def test_ambiguous_and_absent_bases_are_refused(checkout: Path, gate: Gate, tmp_path: Path) -> None:
    git(checkout, "branch", "both")
    commit(checkout, {})
    git(checkout, "tag", "both")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{checkout}", "shallow")

    assert "both is a branch and a tag" in gate(base="both")[1]
    assert "the clone is shallow: fetch the base, too" in gate(base="origin/dev", cwd=tmp_path / "shallow")[1]


def test_result_of_the_base_is_kept_by_commit(checkout: Path, gate: Gate, tmp_path: Path) -> None:
    commit(checkout, {})
    kept = ["--cache", str(tmp_path / "kept")]
    first, second = gate(*kept), gate(*kept)
    commit(checkout, SICK)
    third = gate(*kept, base="HEAD~2")
    fourth = gate(*kept)
    assert [status for status, _, _ in (first, second, third, fourth)] == [0, 0, 1, 1]
    assert [printed.count("not again") for _, printed, _ in (first, second, third, fourth)] == [0, 1, 1, 0]
    for each in (tmp_path / "kept").iterdir():
        each.write_text('{"target": 1}', encoding="utf-8")

    assert gate(*kept)[1].count("not again") == 0


def test_report_of_another_run_is_not_left(checkout: Path, tmp_path: Path, gate: Gate) -> None:
    write(tmp_path, {"review.json": '{"verdict": "APPROVE\\nforged=yes"}', "precious": "as it is"})
    commit(checkout, {"server.py": "raise SystemExit(3)"})

    assert gate()[2] == {}
    (tmp_path / "review.json").symlink_to(tmp_path / "precious")
    commit(checkout, {"server.py": SERVER})
    gate(base="HEAD")
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "as it is"


def result(case_id: str, verdict: Verdict) -> CaseResult:
    case = Case(id=case_id, title="It holds", clause="C-1", severity=Severity.LOW, means="It hurts.")
    return CaseResult(case=case, verdict=verdict)


def rules(text: str = TARGET, **known: date) -> Rules:
    entries = {name: KnownFailure(reason="because", expires=day) for name, day in known.items()}
    return Rules(target=parse(text.encode(), Path("chat.toml"), "chat.toml", here=Path("/x")), known=entries)


def test_stricter_of_two_rules_counts() -> None:
    more = f'{TARGET}[variants.tokens_per_day]\nlimit = 5\n[paths]\nturn = ""\nusage = "/usage"\n'
    base = rules(a=date(2030, 1, 9), b=date(2030, 1, 9), gone=date(2030, 1, 1))
    head = rules(more, a=date(2030, 1, 1), b=date(2031, 1, 1), new=date(2030, 1, 1))

    both, edits = stricter(base, head)

    assert both.target.variants.tokens_per_day == head.target.variants.tokens_per_day
    assert (both.target.paths.turn, both.target.paths.usage) == ("/chat", "/usage")
    assert {name: each.expires for name, each in both.known.items()} == {
        "a": date(2030, 1, 1),
        "b": date(2030, 1, 9),
    }
    assert [each.what.split(" ", 1)[0] for each in edits if each.stops] == ["paths.turn", "the", "new"]
    assert [each.case_id for each in edits if each.stops] == ["", "b", "new"]
    assert stricter(base, base)[1] == ()


def test_places_and_names_are_no_rules() -> None:
    moved = TARGET.replace("small", "big").replace("within", 'anchor = "new.py"\nwithin', 1)

    both, edits = stricter(rules(), rules(moved))

    assert both.target.anchor == "new.py"
    assert not any(each.stops for each in edits)


def test_edit_shows_how_its_case_ended() -> None:
    run = RunResult(target="t", url="", seed=1, seconds=0, results=(result("a/b", Verdict.FAILED),))
    edit = Edit(what="a/b is to be a known failure", stops=True, case_id="a/b")

    said, accepted = judged(run, [edit], Source.BASE), judged(run, [edit], Source.HEAD)

    assert said is not None
    assert accepted is not None
    assert (said.verdict, said.happened) == (Verdict.FAILED, "a/b is to be a known failure (here: failed)")
    assert accepted.verdict is Verdict.PASSED
    assert judged(run, [], Source.BASE) is None


def test_rule_has_to_be_a_file_of_bounded_size(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"#" * (1 << 21))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x", encoding="utf-8")

    assert text_of(tmp_path / "file", tmp_path) == b"x"
    for name, words in [("long", "more than"), ("pipe", "no regular file"), ("none", "cannot be read")]:
        with pytest.raises(UsageError, match=words):
            text_of(tmp_path / name, tmp_path)


def test_results_are_kept_where_nobody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunResult(target="t", url="", seed=1, seconds=0, results=(result("a/b", Verdict.PASSED),))
    broken = RunResult(target="t", url="", seed=1, seconds=0, results=(), trouble=("it fell",))
    kept = Kept(tmp_path / "mine")
    kept.put(key_of("one"), run)
    kept.put(key_of("two"), broken)
    old = time_of(tmp_path / "mine" / f"{key_of('three')}.json", run, kept)

    assert [kept.get(key_of(each)) for each in ("one", "two", "three")] == [run, None, None]
    assert old.exists()
    kept.put(key_of("four"), run)
    assert not old.exists()
    (tmp_path / "mine").chmod(0o777)
    assert Kept(tmp_path / "mine").get(key_of("one")) is None
    monkeypatch.setenv("CI", "true")
    assert usual_folder() is None


def time_of(place: Path, run: RunResult, kept: Kept) -> Path:
    """A result that was kept ten days ago."""
    kept.put(place.stem, run)
    then = place.stat().st_mtime - 10 * 24 * 3600
    os.utime(place, (then, then))
    return place
