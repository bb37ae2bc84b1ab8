"""The command as a user runs it, against servers that are quick to start."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.suite.case import all_cases
from chat_conformance.target.processes import arguments, children, command_line
from fake_claude.patience import patience

# A server in one file: what it does is the last word of its command.
SERVER = """
import os, signal, socket, subprocess, sys
port, how = int(sys.argv[1]), sys.argv[2]
if how == "dies":
    print("cannot read the settings"); sys.exit(7)
if how == "alone":
    try:
        open(sys.argv[0] + ".lock", "x")
    except FileExistsError:
        print("another one is there already"); sys.exit(7)
if how == "litters":
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
if how == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "rude":
    print("\\x1b[31m red \\x07\\n::error::boom\\n  ::stop-commands::a\\n##[error]x", flush=True)
    how = "mute"
listener = socket.create_server(("127.0.0.1", port))
if how != "mute":
    print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    head = connection.recv(65536)
    if how == "falls":
        os._exit(9)
    if how == "page" and b"health" not in head:
        page = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\nConnection: close\\r\\n\\r\\n<html></html>"
        connection.sendall(page)
        connection.close()
        continue
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
"""


def target(folder: Path, how: str, **more: str) -> str:
    """A target file for the server."""
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    lines = [
        'name = "small"',
        'url = "http://127.0.0.1:{port}"',
        f'start = ["{{python}}", "{folder}/server.py", "{{port}}", "{how}"]',
        'ready_line = "listening"',
        "within = 2",
        "stop_within = 2",
        *(f"{name} = {value}" for name, value in more.items()),
    ]
    place = folder / "small.toml"
    place.write_text("\n".join(lines), encoding="utf-8")
    return str(place)


def run(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "chat_conformance", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "CI": "", "PYTHONPATH": str(Path(__file__).parents[2]), **env},
        timeout=patience(120),
    )


def lines_of(text: str) -> list[tuple[str, str]]:
    """Mark and id of each case that is shown."""
    return re.findall(r"^\[[^\]]*\] (\S+) +(\S+)", text.split("\n\n", maxsplit=1)[0], re.MULTILINE)


def test_a_case_that_passes_gives_0_and_the_verdict(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "good"), "--select", "http/health", "--seed", "7")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("[1/1] ok   http/health")
    assert "\nCONFORMANT\nlevels: core passed (1 passed)\n1 passed (small at http://" in done.stdout
    assert "seed 7" in done.stdout


def test_a_case_that_fails_gives_1_and_the_evidence(tmp_path: Path) -> None:
    path = target(tmp_path, "good")
    done = run("run", "--target", path, "--select", "handshake/completes", "--seed", "7")

    assert done.returncode == 1
    assert "  expected  the status of the answer to be 101" in done.stdout
    assert "  happened  it is 200" in done.stdout
    assert "< HTTP 200 OK" in done.stdout
    assert (
        f"  again     chat-conformance run --target {path} --select handshake/completes --seed 7"
        in done.stdout
    )


def test_dependents_of_a_failure_are_blocked_by_it(tmp_path: Path) -> None:
    done = run(
        "run", "--target", target(tmp_path, "good"), "--select", "handshake/completes", "--select", "framing"
    )

    framing = [each.id for each in all_cases() if each.id.startswith("framing/")]
    assert done.stdout.count("blocked by handshake/completes") == len(framing)
    assert f"blocks    {len(framing)} cases hang on it: framing/ping, " in done.stdout
    assert "NOT CONFORMANT: 1 failed (1 blocker)" in done.stdout


def test_nothing_listening_gives_3_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "t.toml").write_text(f'name = "t"\nurl = "{url}"', encoding="utf-8")
        done = run("run", "--target", str(tmp_path / "t.toml"))

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"chat-conformance: nothing listens at {url}: start the server first")


def test_a_server_that_dies_early_gives_3_and_its_output(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "dies"), "--select", "http/health")

    assert done.returncode == 3
    assert "ended with exit status 7 before it was ready" in done.stderr
    assert "  | cannot read the settings" in done.stderr


def test_what_a_further_server_said_before_it_died_is_in_the_evidence(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "alone"), "--select", "processes/killed")

    assert "ended with exit status 7 before it was ready" in done.stdout
    assert "another one is there already" in done.stdout


def test_a_server_that_never_gets_ready_gives_3(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "mute", ready_within="0.5"), "--select", "http/health")

    assert done.returncode == 3
    assert f"was not ready within {patience(0.5):g} s" in done.stderr


@pytest.mark.parametrize("command", [["run", "--select", "http/health"], ["doctor"]])
def test_rude_output_is_escaped(tmp_path: Path, command: list[str]) -> None:
    name, *more = command
    done = run(name, "--target", target(tmp_path, "rude", ready_within="0.5"), *more)
    shown = done.stdout + done.stderr

    assert done.returncode == 3
    assert "| \\x1b[31m red \\x07" in shown
    assert "| ::error::boom" in shown
    assert [each for each in shown.splitlines() if each.lstrip().startswith("::") or "##[" in each] == []
    assert [char for char in shown if char != "\n" and not char.isprintable()] == []


def test_without_a_ready_line_the_health_path_is_asked(tmp_path: Path) -> None:
    path = Path(target(tmp_path, "mute"))
    path.write_text(path.read_text().replace('ready_line = "listening"', ""), encoding="utf-8")

    assert run("run", "--target", str(path), "--select", "http/health").returncode == 0


def test_a_process_left_behind_gives_3_and_is_ended(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "litters"), "--select", "http/health")

    assert done.returncode == 3
    assert "the target left a process behind: " in done.stdout
    pid = int(done.stdout.split("left a process behind: ")[1].split()[0])
    assert command_line(pid) == ""  # gone, or a zombie that only its new parent can bury


def test_a_server_deaf_to_term_gives_3_and_is_ended(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "deaf"), "--select", "http/health")

    assert done.returncode == 3
    assert f"did not end within {patience(2):g} s of SIGTERM" in done.stdout


def test_a_server_that_falls_fails_the_case_and_is_started_again(tmp_path: Path) -> None:
    done = run(
        "run", "--target", target(tmp_path, "falls"), "--select", "http/health", "--select", "http/page"
    )

    assert done.returncode == 1
    assert done.stdout.count("FAIL survives/http/") == 2
    assert "survives/http/page: the server ended with exit status 9" in done.stdout


def test_a_case_without_what_it_needs_is_not_green(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "good"), "--select", "keepalive/first-ping")

    assert done.returncode == 3
    assert "could not test: the target's keepalive is 30 s" in done.stdout
    assert "NO VERDICT" in done.stdout


def test_the_callers_pytest_configuration_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('read')", encoding="utf-8")
    path = target(tmp_path, "good")
    done = run(
        "run", "--target", path, "--select", "http/health", cwd=tmp_path, PYTEST_ADDOPTS="--no-such-option"
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["run", "--target", "targets/reference.toml", "--select", "turns/answerd"],
            "did you mean turns/answered",
        ),
        (["run", "--target", "nowhere.toml"], "there is no target file nowhere.toml"),
        (["run", "--target", "nowhere.toml"], "chat-conformance init nowhere.toml writes one"),
        (["list", "--select", "zzz"], "`chat-conformance list` shows them all"),
    ],
)
def test_wrong_use_gives_2_and_what_would_be_right(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_list_shows_cases_with_their_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--select", "R1-1"]) == 0

    assert capsys.readouterr().out.split() == [
        *("turns/answered", "TURN-1", "blocker"),
        *(
            "A",
            "chat_request",
            "over",
            "the",
            "socket",
            "reaches",
            "Claude",
            "and",
            "is",
            "answered",
            "[R1-1]",
        ),
    ]


def test_list_shows_clauses_without_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--clauses"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(re.match("HAND-1    handshake/completes, .*handshake/early-frame", line) for line in lines)


def test_a_shuffled_run_plays_the_same_cases_in_the_order_of_its_seed(tmp_path: Path) -> None:
    words = ["run", "--target", target(tmp_path, "good"), "--select", "http/health", "--select", "http/page"]
    words += ["--select", "handshake/completes", "--select", "handshake/faulty", "--select", "M-3"]
    plain, one, again = (
        [case_id for _, case_id in lines_of(run(*words, *more).stdout)]
        for more in ([], ["--shuffle", "--seed", "3"], ["--shuffle", "--seed", "3", "-n", "2"])
    )

    assert one == again
    assert one != plain
    assert sorted(one) == sorted(plain)


def test_no_case_at_a_time_is_wrong_use(tmp_path: Path) -> None:
    done = run("run", "--target", target(tmp_path, "good"), "-n", "0")

    assert done.returncode == 2
    assert "argument -n: it is 0; it must be a whole number from 1 up" in done.stderr


def test_x_ends_with_the_first_failure(tmp_path: Path) -> None:
    words = ["--select", "http/health", "--select", "handshake/completes", "--select", "http/page", "-x"]
    done = run("run", "--target", target(tmp_path, "good"), *words)

    assert done.returncode == 1
    assert lines_of(done.stdout)[-1:] == [("FAIL", "handshake/completes")]
    assert "not played" not in done.stdout


def await_listener(port: int) -> None:
    """Wait until the port accepts connections."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return


def test_a_run_that_is_ended_ends_its_server(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "chat_conformance", "run", "--target", target(tmp_path, "mute")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as suite:
        started: list[int] = []
        while not (started and arguments(started[0])[-1:] == ["mute"]):
            assert suite.poll() is None
            started = children(suite.pid)
        await_listener(int(arguments(started[0])[-2]))  # it never gets ready, and is waited for
        suite.terminate()
        suite.communicate(timeout=patience(60))

    assert [command_line(pid) for pid in started] == [""] * len(started)


def test_users_own_packages_are_not_ours(tmp_path: Path) -> None:
    for name in ("impl", "conformance", "e2e"):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('a package of the user')")
    plays = [
        ["chat_conformance", "run", "--target", "targets/reference.toml", "--select", "handshake/completes"],
        ["chat_conformance", "mutants", "--quick", "--select", "origin-compared-as-text"],
        ["fake_claude", "lint", "--help"],
    ]
    for words in plays:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(120),
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "chat_conformance", "run", "--target", target(tmp_path, "good")]
    words += ["--select", "http/health", "--report", f"json={tmp_path}/a.json", "--report", "jsonl=-"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as playing:
        assert playing.stdout is not None
        assert playing.stderr is not None
        playing.stdout.close()
        error = playing.stderr.read()

    assert (error, playing.returncode) == ("", 0)
    assert (tmp_path / "a.json").exists()


def test_output_that_knows_ascii_only_is_no_error() -> None:
    done = run("explain", "turns/streams", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    listed = run("mutants", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert (done.returncode, done.stderr, listed.returncode) == (0, "", 0)
    assert "\\u2026" in listed.stdout


def test_terminal_is_shown_colours(tmp_path: Path) -> None:
    words = ["run", "--target", target(tmp_path, "good"), "--select", "http/health"]

    assert "\x1b[32mok  \x1b[0m http/health" in run(*words, FORCE_COLOR="1").stdout
    assert "\x1b" not in run(*words, FORCE_COLOR="1", NO_COLOR="1").stdout


def test_failures_come_first_in_ci(tmp_path: Path) -> None:
    words = ["run", "--target", target(tmp_path, "good"), "--select", "http/health"]

    shown = run(*words, "--select", "http/page", CI="true").stdout

    assert (
        0 <= shown.index("FAIL http/page") < shown.index("ok   http/health") < shown.index("NOT CONFORMANT")
    )


def test_version_and_completion_are_printed() -> None:
    assert run("--version").stdout == f"chat-conformance {version('chatgate')}\n"
    assert "gate" in run("--print-completion", "bash").stdout
    assert "there is no completion for abacus" in run("--print-completion", "abacus").stderr
