"""The measurements: each takes a server that was started for it, and returns figures by their names."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from chat_conformance.errors import TargetError
from chat_conformance.load.answer import AnswerSpec
from chat_conformance.load.client import Client, Connection
from chat_conformance.load.plan import Plan
from chat_conformance.load.priority import realtime_priority
from chat_conformance.target import processes

Figures = dict[str, float]

WARM_UP = 50
"""Connections, or turns, that come and go before memory is compared: what a server makes once is not theirs."""
SETTLE = 0.5
ENDLESS = 10_000_000
STALLED_PIECE = 1_024


class Control:
    """The measuring side of the hub."""

    def __init__(self, path: str) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.connect(path)
        self._channel.send(b"control")

    def close(self) -> None:
        """Leave the hub."""
        self._channel.close()

    def __call__(self, words: str) -> list[int]:
        """Send the hub a command; what it answers is a list of process ids, mostly empty."""
        self._channel.send(words.encode())
        answer: list[int] = json.loads(self._channel.recv(1 << 20))
        return answer


@dataclass
class LoadRig:
    """A server under test, and the means to load and to watch it.

    Attributes:
        client: Connections to it.
        hub: Commands the writer of all answers.
        pid: The server's process.
        hub_pid: The writer's.
        plan: The sizes.
        exact: Whether an answer arrives as its tokens and nothing else, so that they can be counted.
    """

    client: Client
    hub: Control
    pid: int
    hub_pid: int
    plan: Plan
    exact: bool

    def server(self) -> list[int]:
        """The server's processes, without the claude processes it started."""
        return processes.process_tree(self.pid, without=set(self.hub("pids")))

    def wait(self, done: Callable[[], bool]) -> None:
        """Serve the connections until then."""
        self.client.run(done, self.plan.within)

    def whole(self, connections: Sequence[Connection], tokens: int) -> None:
        """Refuse an answer that lost or repeated something.

        Raises:
            TargetError: It did.
        """
        for each in connections:
            came = each.tokens.counted
            if came < tokens or (self.exact and came != tokens):
                raise TargetError(f"{came} tokens arrived of an answer of {tokens}")

    def first_tokens(self, connections: Sequence[Connection]) -> None:
        """Wait until each answer has begun."""
        self.wait(lambda: all(each.tokens.first for each in connections))

    def ends(self, connections: Sequence[Connection]) -> None:
        """Wait until each turn has ended."""
        self.wait(lambda: all(each.ended for each in connections))

    @contextmanager
    def watched(self, figures: Figures, pids: Sequence[int] = ()) -> Iterator[CostSample]:
        """Watch what the block costs the server, and how busy this process and the hub are in it.

        ``pids`` are the server's processes, where they are known: to look for them takes milliseconds.
        """
        # The clock is read innermost: to read /proc for many processes takes its time, and that is not the
        # block's.
        pids = pids or self.server()
        watch = CostSample()
        cpu, own, hub = (
            processes.cpu_seconds(pids),
            time.process_time(),
            processes.cpu_seconds([self.hub_pid]),
        )
        began = time.monotonic()
        yield watch
        watch.seconds = time.monotonic() - began
        watch.cpu = processes.cpu_seconds(pids) - cpu
        mine = time.process_time() - own
        hubs = processes.cpu_seconds([self.hub_pid]) - hub
        # They share their processors: either may be at the end of one, both together at the end of all.
        both = (mine + hubs) / len(os.sched_getaffinity(0))
        figures["generator"] = max(mine, hubs, both) / watch.seconds


@dataclass
class CostSample:
    """What a block took: seconds of time, and of the server's processor time."""

    seconds: float = 0.0
    cpu: float = 0.0


def flat(bench: LoadRig, streams: int) -> Figures:
    """Answers as fast as they are read."""
    figures: Figures = {}
    tokens = bench.plan.flat_tokens[streams]
    connections = bench.client.open(streams)
    for each in connections:
        # Each answer stops behind its first token until all have begun, so that starting processes is not
        # measured, and all run over the same time.
        bench.client.ask(each, AnswerSpec(tokens=tokens, gate=1))
    bench.first_tokens(connections)
    with bench.watched(figures) as watch:
        began = time.monotonic()
        bench.hub("go")
        bench.ends(connections)
    bench.whole(connections, tokens)
    seconds = max(each.ended for each in connections) - began
    figures["tokens_per_s"] = streams * tokens / seconds
    figures["cpu_us"] = watch.cpu / (streams * tokens) * 1e6
    return figures


def streams(bench: LoadRig, number: int) -> Figures:
    """``number`` answers at once at the pace of a model."""
    figures: Figures = {}
    client, plan = bench.client, bench.plan
    first = client.open(min(WARM_UP, number))
    for each in first:
        client.ask(each, AnswerSpec())
    bench.ends(first)
    client.close(first)
    connections = client.open(number)
    client.run_for(SETTLE)
    before = processes.shared_memory(bench.server())
    for each in connections:
        client.ask(each, AnswerSpec(tokens=ENDLESS, rate=plan.rate, gate=1))
    bench.first_tokens(connections)
    bench.hub("go")
    client.run_for(2 * SETTLE)
    pids = bench.server()
    begun = processes.shared_memory(pids)
    figures["stream_bytes"] = (begun - before) / number
    # What waits for the hub, which shares the client's processor, or for something else that the machine does, or has
    # waited while memory was looked at, is no delay of the server's.
    with realtime_priority([*pids, bench.hub_pid]):
        client.run_for(SETTLE)
        client.delays = []
        with bench.watched(figures, pids) as watch:
            client.run_for(plan.seconds)
    delays, client.delays = client.delays, None
    grown = processes.shared_memory(bench.server()) - begun
    figures["token_bytes"] = grown / max(1, len(delays))
    bench.hub("stop")
    bench.ends(connections)
    bench.whole(connections, 0)
    if not delays:
        raise TargetError("no token arrived while the streams were watched")
    figures |= _delays(delays)
    figures["cpu_us"] = watch.cpu / len(delays) * 1e6
    figures["delivered"] = len(delays) / (number * plan.rate * watch.seconds)
    return figures


def first_token(bench: LoadRig, number: int) -> Figures:
    """The first token of a conversation's first turn, and of its second."""
    cold: list[float] = []
    warm: list[float] = []
    added: list[float] = []
    for _ in range(number):
        [connection] = bench.client.open(1)
        for seconds in (cold, warm):
            bench.client.ask(connection, AnswerSpec())
            bench.ends([connection])
            bench.whole([connection], AnswerSpec().tokens)
            seconds.append(connection.tokens.first - connection.asked)
        added.append(connection.tokens.first_delay)
        bench.client.close([connection])
    return {
        "cold_p50_ms": _part(cold, 0.5) * 1e3,
        "cold_p99_ms": _part(cold, 0.99) * 1e3,
        "warm_p50_ms": _part(warm, 0.5) * 1e3,
        "warm_p99_ms": _part(warm, 0.99) * 1e3,
        "written_to_read_ms": _part(added, 0.5) * 1e3,
    }


def start_up(bench: LoadRig, number: int) -> Figures:
    """The first token of a first turn, where the CLI needs ``start_ms`` to start."""
    bench.hub(f"start {bench.plan.start_ms}")
    # Users come one by one, so that a server that keeps a process ready has time to make the next one.
    pause = bench.plan.start_ms / 1000 + SETTLE
    seconds = []
    for turn in range(number + 2):
        [connection] = bench.client.open(1)
        bench.client.run_for(pause)
        bench.client.ask(connection, AnswerSpec())
        bench.ends([connection])
        # Processes from before the start-up time was set may have been waiting.
        if turn > 1:
            seconds.append(connection.tokens.first - connection.asked)
        bench.client.close([connection])
    return {"cold_p50_ms": _part(seconds, 0.5) * 1e3}


def idle(bench: LoadRig, number: int, *, deflate: bool) -> Figures:
    """Connections on which nothing happens."""
    client = bench.client
    first = client.open(min(WARM_UP, number), deflate=deflate)
    client.run_for(SETTLE)
    client.close(first)
    client.run_for(SETTLE)
    before = processes.shared_memory(bench.server())
    connections = client.open(number, deflate=deflate)
    client.run_for(SETTLE)
    grown = processes.shared_memory(bench.server()) - before
    lost = sum(bool(each.trouble) for each in connections)
    if lost:
        raise TargetError(f"{lost} of {number} idle connections were lost")
    return {"connection_bytes": grown / number}


def stalled(bench: LoadRig) -> Figures:
    """A reader that stops, and what the others notice of it."""
    figures: Figures = {}
    client, plan = bench.client, bench.plan
    tokens = plan.stalled_bytes // STALLED_PIECE
    [reader] = client.open(1)
    others = _background_streams(bench)
    client.ask(reader, AnswerSpec(tokens=tokens, size=STALLED_PIECE, gate=1))
    bench.first_tokens([reader])
    pids = bench.server()
    # RSS, not PSS as elsewhere: it is read ten times a second, and for PSS the kernel walks all pages of the
    # server, under a lock that the server needs, too.
    before = most = processes.resident_memory(pids)
    client.pause_reading(reader)
    client.delays = []
    with bench.watched(figures):
        bench.hub("go")
        end = time.monotonic() + plan.stalled_seconds
        while time.monotonic() < end:
            client.run_for(0.1)
            most = max(most, processes.resident_memory(pids))
    delays, client.delays = client.delays, None
    figures["grown_bytes"] = most - before
    figures["others_p99_us"] = _delays(delays)["p99_us"]
    reader.may_end = True
    client.resume_reading(reader)
    bench.wait(lambda: bool(reader.ended or reader.trouble))
    figures["resumed"] = float(
        bool(reader.ended)
        # A server may close on a reader that is too slow (CLOSE-2).
    )
    if reader.ended:
        bench.whole([reader], tokens)
    _stop(bench, others)
    return figures


def line(bench: LoadRig, size: int) -> Figures:
    """A line of ``size`` bytes, and what the others notice of it."""
    figures: Figures = {}
    client = bench.client
    [reader] = client.open(1)
    others = _background_streams(bench)
    client.ask(reader, AnswerSpec(line=size, gate=1))
    bench.first_tokens([reader])
    client.delays = []
    with bench.watched(figures):
        began = time.monotonic()
        bench.hub("go")
        bench.ends([reader])
        # What had waited arrives.
        client.run_for(SETTLE)
    delays, client.delays = client.delays, None
    if reader.tokens.size < size:
        raise TargetError(f"{reader.tokens.size} bytes arrived of a line of {size}")
    figures["seconds"] = reader.ended - began
    figures["others_max_ms"] = _delays(delays)["max_us"] / 1e3
    _stop(bench, others)
    return figures


def arrivals(bench: LoadRig, number: int) -> Figures:
    """``number`` users who connect at once, and ask at once."""
    figures: Figures = {}
    with bench.watched(figures) as watch:
        connections = bench.client.connect(number, ask=AnswerSpec())
        bench.ends(connections)
    bench.whole(connections, AnswerSpec().tokens)
    seconds = [each.tokens.first - each.began for each in connections]
    figures["p50_ms"] = _part(seconds, 0.5) * 1e3
    figures["p99_ms"] = _part(seconds, 0.99) * 1e3
    figures["cpu_ms"] = watch.cpu / number * 1e3
    return figures


def soak(bench: LoadRig, turns: int) -> Figures:
    """Turn after turn on few conversations that come back on new connections: what grows?"""
    users, tokens, reconnect = 20, 20, 25
    client = bench.client
    samples: list[tuple[float, float]] = []
    connections = client.open(users)
    done, began = 0, time.monotonic()
    every = max(1, turns // 20)
    for number in count(1):
        for each in connections:
            client.ask(each, AnswerSpec(tokens=tokens))
        bench.ends(connections)
        bench.whole(connections, tokens)
        done += users
        if done // every != (done - users) // every:
            samples.append((done, processes.shared_memory(bench.server())))
        if done >= turns:
            break
        if number % reconnect == 0:
            fresh = client.open(users)
            # The conversations go on over new connections, as after a page was loaded again: what is kept by
            # connection would show.
            for old, new in zip(connections, fresh, strict=True):
                new.conversation = old.conversation
            client.close(connections)
            connections = fresh
    return {
        # The first half is left out, in which caches and pools fill; what still grows after it grows with
        # every turn.
        "grown_bytes_per_1000": slope(samples[len(samples) // 2 :]) * 1000,
        "turns_per_s": done / (time.monotonic() - began),
    }


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """How much the second value grows with the first, by least squares; 0 for fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    # A line through all samples, not last minus first: one sample at a busy moment would decide alone.
    below = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / below if below else 0.0


def _background_streams(bench: LoadRig) -> list[Connection]:
    """Streams beside what is measured, running."""
    others = bench.client.open(bench.plan.others)
    for each in others:
        bench.client.ask(each, AnswerSpec(tokens=ENDLESS, rate=bench.plan.rate))
    bench.first_tokens(others)
    bench.client.run_for(SETTLE)
    return others


def _stop(bench: LoadRig, others: Sequence[Connection]) -> None:
    bench.hub("stop")
    bench.ends(others)
    bench.whole(others, 0)


def _delays(nanoseconds: Sequence[int]) -> Figures:
    if not nanoseconds:
        raise TargetError("no token of the others arrived in that time")
    return {
        "p50_us": _part(nanoseconds, 0.5) / 1e3,
        "p99_us": _part(nanoseconds, 0.99) / 1e3,
        "max_us": max(nanoseconds) / 1e3,
    }


def _part(values: Sequence[float], part: float) -> float:
    """The value below which this share of the values lie."""
    # An observed value, without interpolation: a p99 of few samples is then simply one of the slowest.
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measurements(plan: Plan) -> dict[str, Callable[[LoadRig], Figures]]:
    """All measurements of a plan, by name, in order."""
    found: dict[str, Callable[[LoadRig], Figures]] = {}
    for number in plan.flat_tokens:
        found[f"flat/{number}"] = partial(flat, streams=number)
    for number in plan.streams:
        found[f"streams/{number}"] = partial(streams, number=number)
    if plan.firsts:
        found["first"] = partial(first_token, number=plan.firsts)
        if plan.start_ms:
            found["start-up"] = partial(start_up, number=min(10, plan.firsts))
    for number in plan.idle:
        found[f"idle/{number}"] = partial(idle, number=number, deflate=False)
        found[f"idle-deflate/{number}"] = partial(idle, number=number, deflate=True)
    if plan.stalled_bytes:
        found["stalled"] = stalled
    for size in plan.line_bytes:
        found[f"line/{size >> 20}"] = partial(line, size=size)
    if plan.arrivals:
        found["arrivals"] = partial(arrivals, number=plan.arrivals)
    if plan.soak_turns:
        found["soak"] = partial(soak, turns=plan.soak_turns)
    return found
