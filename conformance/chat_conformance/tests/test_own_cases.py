"""Cases of one's own, the pytest fixtures, and the page that explains them, played word by word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.errors import Failure, UsageError
from chat_conformance.suite import own_cases, plugin
from chat_conformance.suite.case import all_cases

PAGE = (Path(__file__).resolve().parents[3] / "docs/write-a-case.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
HEAD = "from chat_conformance.api import CaseContext, Severity, case\n"
WORDS = 'title="t", clause="X-1", severity=Severity.LOW, means="m"'
GOOD = f'{HEAD}@case("ours/a", {WORDS})\nasync def a(chat: CaseContext) -> None: ...\n'


def write(folder: Path, **files: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return str(folder)


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [line.split() for block in blocks for line in block.splitlines()]


def test_page_is_played(tmp_path: Path) -> None:
    for name, text in FILES.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")
    said = []
    for program, *words in commands():
        given = ["targets/reference.toml" if word == "chat.toml" else word for word in words]
        module = {"chat-conformance": "chat_conformance"}.get(program, program)
        plain = ["-q", "-p", "no:cacheprovider"] if program == "pytest" else []
        done = subprocess.run(
            [sys.executable, "-m", module, *given, *plain],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": "", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)

    assert "1 passed" in said[0]
    assert "ours/stops-on-its-way" in said[1]
    assert "OURS-1" in said[2]
    assert "2 passed" in said[3]


BROKEN = {
    "no Python": ("def (", "a.py, line 1: invalid syntax"),
    "raises": ("\n1 / 0", "a.py, line 2: ZeroDivisionError: division by zero"),
    "ends": ("import sys\nsys.exit(3)", "a.py, line 2: SystemExit: 3"),
    "an unknown module": ("import nothing_of_this_name", "a.py, line 1: ModuleNotFoundError: No module"),
    "no case": ("x = 1", "there is no case in its files"),
    "an id of the suite": (
        GOOD.replace("ours/a", "turns/text"),
        "a.py, line 2: ValueError: case id 'turns/text'",
    ),
    "no area": (GOOD.replace("ours/a", "ours"), "'ours' is taken already or is not of the form area/name"),
    "not async": (GOOD.replace("async def", "def"), "line 2: case 'ours/a' is no async function"),
    "no argument": (GOOD.replace("chat: CaseContext", ""), "takes () -> None; it must take (chat)"),
    "an unknown need": (
        GOOD.replace('means="m"', 'means="m", needs=("turns/txt",)'),
        "needs 'turns/txt', which is no case; did you mean 'turns/text'?",
    ),
}


@pytest.mark.parametrize(("text", "shown"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_a_sentence(
    text: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = all_cases()

    assert main(["list", "--cases", write(tmp_path / "cases", a=text)]) == 2
    assert shown in capsys.readouterr().err
    assert all_cases() == known


def test_missing_folder_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--cases", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    folder = write(tmp_path / "cases", a="")
    assert main(["list", "--cases", f"{folder}/a.py"]) == 2
    assert "that is a file; name its folder" in capsys.readouterr().err


def test_folder_is_read_in_its_block_only(tmp_path: Path) -> None:
    known = all_cases()
    files = {"a": "from words import ID\n" + GOOD.replace('"ours/a"', "ID"), "words": 'ID = "ours/b"'}
    folder = write(tmp_path / "cases", **files, test_a="1 / 0", _b="1 / 0")
    for _ in range(2):
        with own_cases.own_cases([folder]):
            assert {each.id for each in all_cases()} - {each.id for each in known} == {"ours/b"}
        assert all_cases() == known
    assert folder not in sys.path


def test_package_brings_its_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "bought", __init__="", inner=GOOD)
    write(tmp_path, torn="1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    def installed(value: str) -> None:
        found = EntryPoints([EntryPoint("some", value, own_cases.GROUP)])
        monkeypatch.setattr(own_cases, "entry_points", lambda group: found.select(group=group))

    installed("bought")
    with own_cases.own_cases([]):
        assert "ours/a" in {each.id for each in all_cases()}
    installed("torn")
    with pytest.raises(UsageError, match=r"the cases of torn \(chatgate.cases: some\).*division"):
        with own_cases.own_cases([]):
            pass


async def test_assertion_of_an_own_case_is_a_failure() -> None:
    async def theirs() -> None:
        assert len(HEAD) == 2, "one is not two"

    with pytest.raises(AssertionError) as failed:
        await theirs()
    assert plugin._of_assertion(failed.value, theirs) is failed.value
    theirs.__module__ = "ours"
    meant = plugin._of_assertion(failed.value, theirs)
    assert isinstance(meant, Failure)
    assert "assert len(HEAD) == 2" in meant.expected
    assert meant.happened.startswith("one is not two")


def test_plugin_changes_nothing_for_strangers(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import sys, pytest\n"
        "@pytest.fixture\n"
        "def chat(): return 'mine'\n"
        "@pytest.mark.asyncio\n"
        "async def test_a(chat): assert chat == 'mine'\n"
        "def test_b(): assert not {'chat_conformance.testing', 'aiohttp', 'msgspec'} & sys.modules.keys()\n",
        encoding="utf-8",
    )

    def outcome(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return re.sub(r"in [\d.]+s", "", done.stdout)

    plain = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]

    assert outcome(*plain, "-p", "chat_conformance.pytest_plugin") == outcome(*plain)
    assert "2 passed" in outcome(*plain, "-p", "chat_conformance.pytest_plugin")
