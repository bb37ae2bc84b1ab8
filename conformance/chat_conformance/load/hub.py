"""The claude behind every server under load: one process writes all answers, and no server outruns it.

A CLI in Python that prints a line at a time would be slower than the servers that are measured, and a thousand of them
would leave the servers no processor. So the ``claude`` that a server starts is a launcher of a few instructions
(launcher.c): it passes its stdin and stdout over a Unix socket to this process, which reads the prompts and writes the
answers in prepared blocks, each stream at its own pace, and sends the launcher its exit status. When the launcher is
killed, its socket closes, and the hub closes the pipes. A server sees an ordinary child with ordinary pipes.

Another client of the socket is the measuring process. Its first packet is ``control``; then it says ``go`` (open all
gates), ``stop`` (end all answers), ``start MS`` (how long new processes take to start) or ``pids`` (those of the
launchers are the answer).

Run as ``python -m chat_conformance.load.hub SOCKET FILE``, where the file holds what ``fake-claude`` printed.
It ends at the end of its standard input.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import select
import socket
import struct
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from chat_conformance.load.answer import AnswerSpec, AnswerTemplates, Pause, find_ask

PACKET = 65_536
INPUT_MAX = 4 << 20
"""A prompt that is longer is not one of ours."""


class FakeProcess:
    """One claude process: its pipes, its prompts and the answer that it is giving."""

    def __init__(self, channel: socket.socket, pid: int, words: list[str], stdin: int, stdout: int) -> None:
        self.channel = channel
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.persistent = ("--input-format", "stream-json") in pairwise(words)
        self.session = _session(words)
        self.asks: deque[AnswerSpec] = deque()
        self.answer: Iterator[bytes | Pause] | None = None
        # The rest of the piece that is being written.
        self.left = memoryview(b"")
        self.input = b""
        # Lines that wait for no pause.
        self.urgent: deque[bytes] = deque()
        # Standard input is at its end.
        self.ended = False
        self.closed = False
        self.paused = False
        # Paused until the control connection says ``go``.
        self.gated = False
        self.stopped = False
        # It waits until stdout takes more.
        self.blocked = False


class Hub:
    """All voices, and the loop that serves them."""

    def __init__(self, path: str, lines: AnswerTemplates) -> None:
        self._lines = lines
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        # By file descriptor of the channel.
        self._voices: dict[int, FakeProcess] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._start_seconds = 0.0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._watch(self._listener.fileno(), self._accept)
        self._watch(sys.stdin.fileno(), sys.exit)

    def _watch(self, fd: int, callback: Callable[[], None], events: int = select.EPOLLIN) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def _unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _call_at(self, at: float, callback: Callable[[], None]) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (at, self._timer_number, callback))

    def run(self) -> None:
        """Serve until standard input ends."""
        callbacks, timers, polled = self._callbacks, self._timers, [self._epoll.fileno()]
        while True:
            wait = None
            if timers:
                wait = max(0.0, timers[0][0] - time.monotonic())
            # epoll counts milliseconds; select on the epoll itself waits for microseconds.
            ready, _, _ = select.select(polled, [], [], wait)
            if ready:
                for fd, _ in self._epoll.poll(0):
                    # An earlier callback of the same batch may have closed this one.
                    callback = callbacks.get(fd)
                    if callback is not None:
                        callback()
            now = time.monotonic()
            while timers and timers[0][0] <= now:
                heapq.heappop(timers)[2]()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                channel, _ = self._listener.accept()
                channel.setblocking(False)
                self._watch(channel.fileno(), partial(self._on_hello, channel))

    def _on_hello(self, channel: socket.socket) -> None:
        """The first packet says who is connected."""
        try:
            packet, fds, _, _ = socket.recv_fds(channel, PACKET, 2)
        except BlockingIOError:
            return
        except OSError:
            packet, fds = b"", []
        self._unwatch(channel.fileno())
        if packet == b"control":
            self._watch(channel.fileno(), lambda: self._control(channel))
            return
        if len(fds) != 2:
            channel.close()
            return
        pid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        words = packet.decode(errors="replace").split("\0")[:-1]
        voice = FakeProcess(channel, pid, words, *fds)
        self._voices[channel.fileno()] = voice
        self._watch(channel.fileno(), lambda: self._close(voice))
        os.set_blocking(voice.stdin, False)
        os.set_blocking(voice.stdout, False)
        if (ask := find_ask(packet)) is not None:
            voice.asks.append(ask)
        if self._start_seconds:
            self._call_at(time.monotonic() + self._start_seconds, lambda: self._started(voice))
        else:
            self._started(voice)

    def _started(self, voice: FakeProcess) -> None:
        if voice.channel.fileno() in self._voices:
            try:
                self._watch(voice.stdin, lambda: self._read(voice))
            except PermissionError:
                # A file, or /dev/null: epoll refuses what never waits.
                while not (voice.ended or voice.closed):
                    self._read(voice)
            self._write_until_blocked(voice)

    def _control(self, channel: socket.socket) -> None:
        packet = channel.recv(PACKET)
        word, *rest = packet.decode().split() or [""]
        voices = list(self._voices.values())
        if word not in {"go", "stop", "start", "pids"}:
            self._unwatch(channel.fileno())
            channel.close()
            return
        # The measuring process waits for the answer, and reads no tokens until it comes.
        channel.send(json.dumps([voice.pid for voice in voices] if word == "pids" else []).encode())
        match word:
            case "go":
                self._open_gates(voices)
            case "stop":
                for voice in voices:
                    voice.stopped = True
                self._open_gates(voices)
            case "start":
                self._start_seconds = int(rest[0]) / 1000

    def _read(self, voice: FakeProcess) -> None:
        try:
            data = os.read(voice.stdin, PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._unwatch(voice.stdin)
            voice.ended = True
            if not voice.persistent and voice.answer is None and voice.input.strip():
                # A prompt that is not ours.
                voice.asks.append(AnswerSpec())
        voice.input += data
        if voice.persistent:
            *lines, voice.input = voice.input.split(b"\n")
            for line in lines:
                self._message(voice, line)
        elif (ask := find_ask(voice.input)) is not None:
            voice.asks.append(ask)
            voice.input = b""
        voice.input = voice.input[-INPUT_MAX:]
        self._write_until_blocked(voice)

    def _open_gates(self, voices: list[FakeProcess]) -> None:
        for voice in voices:
            if voice.gated:
                voice.gated = False
                self._resume(voice)

    def _resume(self, voice: FakeProcess) -> None:
        voice.paused = False
        self._write_until_blocked(voice)

    def _message(self, voice: FakeProcess, line: bytes) -> None:
        """One line of a persistent process's input."""
        if b'"control_request"' in line:
            request = json.loads(line)
            if request["request"].get("subtype") == "interrupt":
                voice.stopped = True
            response = {"subtype": "success", "request_id": request["request_id"], "response": {}}
            voice.urgent.append(
                json.dumps({"type": "control_response", "response": response}).encode() + b"\n"
            )
        elif line.strip():
            voice.asks.append(find_ask(line) or AnswerSpec())

    def _write_until_blocked(self, voice: FakeProcess) -> None:
        """Write until the pipe is full, the answer pauses, or nothing is left to say."""
        # A state machine whose state is the process itself, from the most urgent down: what is half written
        # must be finished, or lines would mix; then answers to control requests, which do not wait for a
        # pause; then the pause; then the next piece, the next prompt, the end. Each step changes the state
        # and comes back; `return` and `break` wait for an event.
        while not voice.closed:
            if voice.left:
                if not self._write(voice):
                    return
            elif voice.urgent:
                voice.left = memoryview(voice.urgent.popleft())
            elif voice.paused:
                break
            elif voice.answer is not None:
                self._next(voice)
            elif voice.asks:
                voice.stopped = False
                voice.answer = self._lines.answer(voice.asks.popleft(), voice.session, lambda: voice.stopped)
            elif voice.ended:
                self._exit(voice)
            else:
                break
        self._unblock(voice)

    def _write(self, voice: FakeProcess) -> bool:
        """Write what is left of a piece; False if that has to wait."""
        try:
            voice.left = voice.left[os.write(voice.stdout, voice.left) :]
        except BlockingIOError:
            pass
        except OSError:
            # There is no reader.
            self._close(voice)
            return False
        # Only now is stdout watched: a pipe with room is always ready, and each stream would keep the loop
        # awake.
        if voice.left and not voice.blocked:
            voice.blocked = True
            self._watch(voice.stdout, lambda: self._write_until_blocked(voice), select.EPOLLOUT)
        return not voice.left

    def _next(self, voice: FakeProcess) -> None:
        assert voice.answer is not None
        piece = next(voice.answer, None)
        if piece is None:
            voice.answer = None
            voice.ended = voice.ended or not voice.persistent
        elif isinstance(piece, Pause):
            voice.paused = True
            voice.gated = piece.at is None
            if piece.at is not None:
                self._call_at(piece.at, lambda: self._resume(voice))
        else:
            voice.left = memoryview(piece)

    def _unblock(self, voice: FakeProcess) -> None:
        if voice.blocked:
            voice.blocked = False
            self._unwatch(voice.stdout)

    def _exit(self, voice: FakeProcess) -> None:
        with suppress(OSError):
            voice.channel.send(b"\0")
        self._close(voice)

    def _close(self, voice: FakeProcess) -> None:
        if self._voices.pop(voice.channel.fileno(), None) is None:
            return
        self._unwatch(voice.channel.fileno())
        self._unwatch(voice.stdin)
        self._unblock(voice)
        voice.closed = True
        # The generator refers to the process: without this a circle is left behind.
        voice.answer = None
        os.close(voice.stdin)
        os.close(voice.stdout)
        voice.channel.close()


def _session(words: list[str]) -> str:
    for option in ("--session-id", "--resume", "-r"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return str(uuid.uuid4())


if __name__ == "__main__":
    # The process that started it ends it.
    with suppress(KeyboardInterrupt):
        hub = Hub(sys.argv[1], AnswerTemplates(Path(sys.argv[2]).read_bytes()))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        # A collection is a pause, which would count as the server's.
        gc.disable()
        hub.run()
