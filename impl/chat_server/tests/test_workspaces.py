"""A conversation has folders of its own, and when it is deleted nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import uuid
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chat_server.claude import workspaces as module
from chat_server.claude.workspaces import Workspace, Workspaces, adopt_transcripts, remove, transcripts

SESSION = str(uuid.uuid4())


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    made = Workspaces(tmp_path / "workspaces")
    made.prepare()
    return made


def folders(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "workspaces" / "folders").iterdir()}


def test_conversation_finds_its_folders_again(workspaces: Workspaces, tmp_path: Path) -> None:
    first, second = workspaces.new(), workspaces.new()
    workspaces.assign(first, "c1")
    workspaces.assign(second, "c2")
    again = Workspaces(tmp_path / "workspaces")
    again.prepare()

    assert (again.find("c1"), again.find("c2"), again.find("c3")) == (first, second, None)
    assert len({first.home, first.work, first.tmp, second.home, second.work, second.tmp}) == 6


def test_folders_are_private(workspaces: Workspaces) -> None:
    before = os.umask(0)
    try:
        made = workspaces.new()
    finally:
        os.umask(before)

    for folder in (made.folder, made.home, made.work, made.tmp):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_stray_folders_go_at_start(workspaces: Workspaces, tmp_path: Path) -> None:
    kept, left = workspaces.new(), workspaces.new()
    workspaces.assign(kept, "c1")
    (left.work / "file").touch()
    Workspaces(tmp_path / "workspaces").prepare()

    assert folders(tmp_path) == {kept.folder.name}
    assert list((tmp_path / "workspaces" / "unused").iterdir()) == []


def test_start_that_was_broken_off_leaves_nothing(
    workspaces: Workspaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OSError, match="No space left"):
        workspaces.new()
    monkeypatch.undo()
    Workspaces(tmp_path / "workspaces").prepare()

    assert list((tmp_path / "workspaces" / "unused").iterdir()) == []


def test_conversation_that_is_deleted_has_no_folders(workspaces: Workspaces, tmp_path: Path) -> None:
    made = workspaces.new()
    workspaces.assign(made, "c1")
    released = workspaces.release("c1")
    assert released == made
    assert workspaces.find("c1") is None
    assert released is not None
    workspaces.remove(released)

    assert folders(tmp_path) == set()
    assert workspaces.release("c1") is None


def test_interrupted_deletion_ends_at_start(workspaces: Workspaces, tmp_path: Path) -> None:
    workspaces.assign(workspaces.new(), "c1")
    workspaces.release("c1")
    Workspaces(tmp_path / "workspaces").prepare()

    assert folders(tmp_path) == set()


def test_removal_is_tried_again(
    workspaces: Workspaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = workspaces.new()
    monkeypatch.setattr(module, "remove", lambda _: False)
    workspaces.remove(made)
    monkeypatch.undo()
    assert "cannot be removed; it is tried again at the next start" in caplog.text

    Workspaces(tmp_path / "workspaces").prepare()
    assert folders(tmp_path) == set()


def test_whatever_a_tool_made_is_removed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "-rf").touch()
    (folder / "new\nline \udcff").touch()
    os.mkfifo(folder / "fifo")
    make_deep(folder, 1500)

    try:
        assert remove(folder)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)  # pytest cannot
    assert (outside / "precious").exists()


def make_deep(folder: Path, depth: int) -> None:
    """Folders in folders, deeper than recursion goes."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


def test_unreadable_folder_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"user": 65_534} if os.geteuid() == 0 else {}  # for root nothing is closed
    monkeypatch.setattr(subprocess, "run", partial(subprocess.run, **user))
    with TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        if user:
            os.chown(name, 65_534, -1)
        subprocess.run(["mkdir", "-p", str(folder / "closed" / "more")], check=True)
        subprocess.run(["chmod", "0", str(folder / "closed")], check=True)

        assert remove(folder)


def test_unremovable_folder_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("rm", "chmod"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)

    assert not remove(tmp_path / "folder")


# --- transcripts from another HOME


def write_transcript(config: Path, session: str) -> Path:
    path = config / "projects" / "-srv-work" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    return path


def test_transcript_of_a_session_is_found(tmp_path: Path) -> None:
    path = write_transcript(tmp_path, SESSION)
    (path.parent / SESSION).mkdir()  # what its tools wrote
    write_transcript(tmp_path, str(uuid.uuid4()))

    assert {each.name for each in transcripts(tmp_path, SESSION)} == {f"{SESSION}.jsonl", SESSION}


@pytest.mark.parametrize("session", ["*", "", "../../x", "a" * 36 + "*", "[0-9]" * 7 + "a"])
def test_what_is_no_session_finds_nothing(session: str, tmp_path: Path) -> None:
    write_transcript(tmp_path, SESSION)

    assert list(transcripts(tmp_path, session)) == []


def test_transcript_goes_on_in_a_new_home(tmp_path: Path) -> None:
    write_transcript(tmp_path / "old", SESSION)
    workspace = Workspace(tmp_path / "w")
    adopt_transcripts(tmp_path / "old", SESSION, workspace)

    (copy,) = transcripts(workspace.home / ".claude", SESSION)
    assert copy.read_text() == "{}\n"
    assert copy.stat().st_mode & 0o777 == 0o600
