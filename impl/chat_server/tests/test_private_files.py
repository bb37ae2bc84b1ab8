"""Other local users read nothing of what the server keeps."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from chat_server.private_files import NotPrivate, private_database, private_files, private_folder


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def test_new_folder_is_private(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "data")

    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "data")) == ("0700", "0700")


@pytest.mark.parametrize("had", [0o755, 0o750, 0o701, 0o777])
def test_open_folder_is_taken_from_the_others(
    had: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(had)
    private_folder(tmp_path / "data")

    assert mode(tmp_path / "data") == "0700"
    assert f"(mode {had:04o}); it is 0700 now" in caplog.text


def test_private_folder_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    private_folder(tmp_path / "data")

    assert caplog.text == ""


def test_folder_for_everybody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    with pytest.raises(NotPrivate, match="is for everybody, such as /tmp; name a folder in it"):
        private_folder(tmp_path / "tmp")

    assert mode(tmp_path / "tmp") == "1777"


def test_foreign_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(
        NotPrivate, match=r"may not change that \(Operation not permitted\): make it 0700 and this user's"
    ):
        private_folder(tmp_path / "data")


def test_file_system_without_modes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on FAT
    with pytest.raises(NotPrivate, match="its file system keeps no modes"):
        private_folder(tmp_path / "data")


def test_database_files_are_private(tmp_path: Path) -> None:
    names = ("chat.db", "chat.db-wal", "chat.db-shm", "chat.db-journal")
    for name in names:
        (tmp_path / name).touch(0o644)
    (tmp_path / "other").touch(0o644)
    private_database(tmp_path / "chat.db")

    assert [mode(tmp_path / name) for name in names] == ["0600"] * 4
    assert mode(tmp_path / "other") == "0644"


def test_new_database_is_private_whatever_the_mask(tmp_path: Path) -> None:
    private_database(tmp_path / "chat.db")

    assert mode(tmp_path / "chat.db") == "0600"


def test_unmakeable_database_is_left_to_sqlite(tmp_path: Path) -> None:
    private_database(tmp_path / "missing" / "chat.db")


def test_children_write_private_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with private_files():
            subprocess.run(["sh", "-c", "echo > file; mkdir folder"], cwd=tmp_path, check=True)
        (tmp_path / "after").touch()
    finally:
        os.umask(before)

    assert [mode(tmp_path / name) for name in ("file", "folder", "after")] == ["0600", "0700", "0666"]
