"""One server at a time has the data; a lock ends with its holder, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chat_server.owner_lock import HANDED_ON, CannotLock, Held, locked
from chat_server.tests.processes import alive

WHAT = "the data folder D"
HOLDER = """
import sys
from pathlib import Path
from chat_server.owner_lock import locked
with locked([(Path(sys.argv[1]), "x")]):
    print("held", flush=True)
    sys.stdin.read()
"""
RESTARTING = """
import os, sys
from pathlib import Path
from chat_server.owner_lock import locked
path = Path(sys.argv[1])
with locked([(path, "x")]) as locks:
    if len(sys.argv) == 2:
        locks.hand_on()
        os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], str(path), "again"])
    (descriptor,) = locks.descriptors
    print(os.get_inheritable(descriptor), "CHATGATE_LOCKS" in os.environ, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def holding(code: str, path: Path, *, close_fds: bool = True) -> subprocess.Popen[str]:
    """A process that holds the lock until its input ends, and says so."""
    argv, pipe = [sys.executable, "-c", code, str(path)], subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, close_fds=close_fds)


def try_it(path: Path) -> None:
    with locked([(path, WHAT)]):
        pass


def test_error_names_the_holder(tmp_path: Path) -> None:
    with holding(HOLDER, tmp_path / "lock") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held) as caught:
            try_it(tmp_path / "lock")
        holder.kill()

    said = str(caught.value)
    assert re.search(
        rf"^{WHAT} is in use by the chat-server with pid {holder.pid}, since 20\S+Z\. Stop", said
    )


def test_stale_lock_file_is_taken(tmp_path: Path) -> None:
    with holding(HOLDER, tmp_path / "lock") as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait()

        try_it(tmp_path / "lock")

    assert f'"pid":{os.getpid()},' in (tmp_path / "lock").read_text()


def test_lock_is_free_after_the_block(tmp_path: Path) -> None:
    try_it(tmp_path / "lock")
    try_it(tmp_path / "lock")


def test_lock_is_found_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with locked([(tmp_path / "data" / "lock", WHAT)]), pytest.raises(Held):
        try_it(tmp_path / "link" / "lock")


def test_failure_at_one_place_frees_the_others(tmp_path: Path) -> None:
    with locked([(tmp_path / "b", WHAT)]), pytest.raises(Held):
        with locked([(tmp_path / "a", WHAT), (tmp_path / "b", WHAT)]):
            raise AssertionError
    try_it(tmp_path / "a")


def test_children_do_not_keep_the_lock(tmp_path: Path) -> None:
    with locked([(tmp_path / "lock", WHAT)]):
        child = holding("print(flush=True); input()", tmp_path, close_fds=False)
        assert child.stdout is not None
        child.stdout.readline()  # until it runs it may have all of ours, those too that it will not keep
    try_it(tmp_path / "lock")
    assert alive(child.pid)
    child.communicate()


def test_exec_keeps_the_lock_without_a_gap(tmp_path: Path) -> None:
    with holding(RESTARTING, tmp_path / "lock") as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        with pytest.raises(Held, match=f"pid {holder.pid},"):
            try_it(tmp_path / "lock")
        holder.send_signal(signal.SIGKILL)

    assert said == "False False\n"  # not inherited by children, and not named to them
    try_it(tmp_path / "lock")


@pytest.mark.parametrize("said", ["0,1,2", "99999", "x,,-1", "1e3"])
def test_descriptors_of_something_else_are_no_lock(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HANDED_ON, said)
    with locked([(tmp_path / "lock", WHAT)]), pytest.raises(Held):
        try_it(tmp_path / "lock")
    assert HANDED_ON not in os.environ
    os.fstat(0)  # it is still open


def test_lock_survives_removed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    take = fcntl.flock

    def remove_first(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", take)
        path.unlink()
        take(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with locked([(path, WHAT)]), pytest.raises(Held):
        try_it(path)


def test_silent_holder_holds(tmp_path: Path) -> None:
    with locked([(tmp_path / "lock", WHAT)]):
        (tmp_path / "lock").write_text("")
        with pytest.raises(Held, match="in use by another chat-server"):
            try_it(tmp_path / "lock")


def test_holder_elsewhere_is_named_with_its_machine(tmp_path: Path) -> None:
    with locked([(tmp_path / "lock", WHAT)]):
        (tmp_path / "lock").write_text('{"pid":1,"host":"a-container","since":"2026-01-01T00:00:00Z"}')
        with pytest.raises(Held, match="pid 1 on a-container, since 2026-01-01"):
            try_it(tmp_path / "lock")


def test_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))  # as NFS says without its lock service

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CannotLock, match=r"D cannot be locked: No locks available: .*use a local disk"):
        try_it(tmp_path / "lock")


def test_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CannotLock, match=r"D cannot be used: Read-only file system: .*must be able to write"):
        try_it(tmp_path / "lock")


def test_symbolic_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to("precious")
    with pytest.raises(CannotLock):
        try_it(tmp_path / "lock")

    assert (tmp_path / "precious").read_text() == "mine"


def test_server_started_again_has_its_old_id(tmp_path: Path) -> None:
    with locked([(tmp_path / "lock", WHAT)]) as first:
        pass
    with locked([(tmp_path / "lock", WHAT), (tmp_path / "other", WHAT)]) as second:
        pass

    assert first.server == second.server != ""


def test_copied_folder_is_of_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked([(tmp_path / "lock", WHAT)]) as first:
        pass
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
    with locked([(tmp_path / "lock", WHAT)]) as second:
        pass

    assert first.server != second.server
