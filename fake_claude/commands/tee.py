"""Stand before a real CLI, pass everything through unchanged, and write down what passed and when.

A recording is JSON lines: first the run, ``{"run": {"argv", "cwd", "version"}}``, then what passed, oldest first,
``{"ms", "from": "stdin|stdout|stderr", "data"}``, ``{"ms", "signal"}`` and last ``{"ms", "exit"}``. ``data`` is text;
bytes that are no UTF-8 are kept as surrogates.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CHUNK = 1 << 16
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SECRETS = re.compile(
    r"sk-[A-Za-z0-9_-]{8,}|(?i:bearer )[A-Za-z0-9._-]{8,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
    re.DOTALL,
)
"""What never gets into a recording."""


def scrubber(home: str, cwd: str) -> Callable[[str], str]:
    """Return a function that hides keys, the home and the working directory."""

    def scrub(text: str) -> str:
        text = SECRETS.sub("(secret)", text)
        # The working directory before the home, which it mostly lies in.
        for path, name in ((cwd, "/work/dir"), (home, "/home/user")):
            if len(path) > 1:
                text = text.replace(path, name)
        return text

    return scrub


class Recorder:
    """Writes a recording line by line; whole lines of a stream are scrubbed together, however they were cut."""

    def __init__(self, path: Path, scrub: Callable[[str], str]) -> None:
        self._file = path.open("w", encoding="utf-8", errors="surrogateescape")
        self._scrub = scrub
        self._started = time.monotonic()
        self._rest: dict[str, bytes] = {}

    def note(self, **facts: Any) -> None:
        """Write one line, with the time since the start unless it is the first."""
        if "run" not in facts:
            facts = {"ms": int((time.monotonic() - self._started) * 1000), **facts}
        self._file.write(json.dumps(facts) + "\n")
        self._file.flush()

    def passed(self, stream: str, data: bytes) -> None:
        """Note bytes of a stream; a line is written when its end has come."""
        # A secret can be cut in two by the chunks of a pipe; in a whole line it is found.
        lines = (self._rest.pop(stream, b"") + data).split(b"\n")
        self._rest[stream] = lines.pop()
        if lines:
            whole = b"\n".join(lines) + b"\n"
            self.note(**{"from": stream, "data": self._scrub(whole.decode("utf-8", "surrogateescape"))})

    def ended(self, stream: str) -> None:
        """Note what is left of a stream, and its end."""
        rest = self._rest.pop(stream, b"")
        if rest:
            self.note(**{"from": stream, "data": self._scrub(rest.decode("utf-8", "surrogateescape"))})
        self.note(**{"from": stream, "data": None})

    def close(self) -> None:
        """Finish the recording."""
        self._file.close()


def tee(claude: Path, argv: Sequence[str], recording: Path) -> int:
    """Run ``claude argv`` with our own standard streams and record it; return its exit code.

    A child that dies of a signal takes us with it by the same one, so that the caller sees no difference.
    """
    cwd, home = os.getcwd(), os.environ.get("HOME", "/")
    recorder = Recorder(recording, scrubber(home, cwd))
    scrub = scrubber(home, cwd)
    recorder.note(run={"argv": [scrub(word) for word in argv], "cwd": scrub(cwd), "claude": claude.name})
    pipe = subprocess.PIPE
    with subprocess.Popen([claude, *argv], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as child:
        code = _Pump(child, recorder).run()
    recorder.note(exit=code)
    recorder.close()
    if code < 0:
        # Exit codes and signals differ for a caller that waits for us; SIGKILL cannot be handled and needs no reset.
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


class _Pump:
    """Moves bytes between our streams and the child's, and signals to the child."""

    def __init__(self, child: subprocess.Popen[bytes], recorder: Recorder) -> None:
        self._child = child
        self._recorder = recorder
        self._selector = selectors.PollSelector()
        self._wake, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # The two outputs. Input that stays open must not keep us alive once the child is gone.
        self._open = 2

    def run(self) -> int:
        """Pump until the child's output has ended; return its code."""
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        # Theory: a signal must not be lost between two calls of select. An empty handler keeps it from ending
        # us, and the wakeup descriptor turns it into a byte that select sees like any other input.
        for number in PASSED_ON:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        moves = [
            (0, child.stdin.fileno(), "stdin"),
            (child.stdout.fileno(), 1, "stdout"),
            (child.stderr.fileno(), 2, "stderr"),
        ]
        for source, target, name in moves:
            self._selector.register(source, selectors.EVENT_READ, (source, target, name))
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        while self._open:
            # The child's code comes last: its output may still stand in the pipes when it has ended.
            for key, _ in self._selector.select():
                if key.data is None:
                    self._pass_signals()
                else:
                    self._move(*key.data)
        return child.wait()

    def _pass_signals(self) -> None:
        for byte in os.read(self._wake, 64):
            self._recorder.note(signal=signal.Signals(byte).name)
            self._child.send_signal(byte)

    def _move(self, source: int, target: int, name: str) -> None:
        try:
            data = os.read(source, CHUNK)
        except OSError:
            data = b""
        if data:
            self._recorder.passed(name, data)
            try:
                _write_all(target, data)
            except OSError:
                return  # the reader is gone; continue until the sender ends
            return
        self._recorder.ended(name)
        self._selector.unregister(source)
        if name == "stdin":
            assert self._child.stdin is not None
            # The end of input is passed on, too: the CLI waits for it.
            self._child.stdin.close()
        else:
            self._open -= 1


def _write_all(fd: int, data: bytes) -> None:
    while data:
        # A pipe takes what has room; the rest is tried again.
        data = data[os.write(fd, data) :]


def read_recording(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a recording.

    Raises:
        ValueError: It is not one.
    """
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            raise ValueError(f"{path}:{number}: not JSON") from None
        if not isinstance(line, dict) or (number == 1) != ("run" in line):
            raise ValueError(f"{path}:{number}: not a recording made by fake-claude tee")
        lines.append(line)
    return lines


def replay(path: Path, *, speed: float) -> int:
    """Replay a recording, ``speed`` times as fast (0: without pauses); return its exit code.

    Output waits for the input that came before it in the recording: a line of stdin for each line recorded.

    Raises:
        ValueError: The file is no recording.
    """
    lines = read_recording(path)
    started = time.monotonic()
    for line in lines[1:]:
        if speed:
            # Against the clock since the start, not from line to line: small delays do not add up.
            left = line["ms"] / 1000 / speed - (time.monotonic() - started)
            if left > 0:
                time.sleep(left)
        if line.get("from") == "stdin" and line["data"]:
            for _ in range(line["data"].count("\n")):
                sys.stdin.buffer.readline()
        elif line.get("from") in ("stdout", "stderr") and line["data"]:
            _write_all(1 if line["from"] == "stdout" else 2, line["data"].encode("utf-8", "surrogateescape"))
        elif "exit" in line:
            code = int(line["exit"])
            # 128 + N is how a shell shows an end by signal N; the replay itself ends in order.
            return code if code >= 0 else 128 - code
    return 1
