"""One measurement in a process of its own: a job comes on standard input, its figures go to standard output."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from contextlib import closing

import msgspec

from chat_conformance.errors import ConformanceError
from chat_conformance.load.answer import AnswerSpec
from chat_conformance.load.client import READ, Client
from chat_conformance.load.measure import Control, Figures, LoadRig, measurements
from chat_conformance.load.plan import Plan
from chat_conformance.load.wire import PhraseFinder, TokenCounter
from chat_conformance.target.file import Load

LIMIT = "limit"
"""The measurement without a server: how fast this process can read what the hub writes."""


class Job(msgspec.Struct, frozen=True):
    """What to measure, and where.

    Attributes:
        measure: The name of the measurement.
        plan: The sizes.
        hub: The socket of the hub.
        hub_pid: Its process.
        url: Of the server.
        path: Of its socket.
        headers: What identifies the user.
        load: How turns are asked for.
        pid: The server's process.
    """

    measure: str
    plan: Plan
    hub: str
    hub_pid: int
    url: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    load: Load = Load()
    pid: int = 0


class JobResult(msgspec.Struct, frozen=True):
    """The figures of a job, or why there are none."""

    figures: Figures = {}
    trouble: str = ""


def work(job: Job) -> JobResult:
    """Do it."""
    try:
        if job.measure == LIMIT:
            return JobResult(bare_pipe(job.hub, max([*job.plan.flat_tokens.values(), 1_000])))
        with closing(Control(job.hub)) as hub, Client(job.url, job.path, job.load, job.headers) as client:
            # Whatever an earlier measurement has set.
            hub("start 0")
            bench = LoadRig(client, hub, job.pid, job.hub_pid, job.plan, job.load.exact)
            return JobResult(measurements(job.plan)[job.measure](bench))
    except ConformanceError as error:
        return JobResult(trouble=str(error))


def bare_pipe(hub: str, tokens: int) -> Figures:
    """Read an answer from the hub by a pipe, with no server between, and look at it as at a server's."""
    asked, prompt = os.pipe()
    answer, stdout = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect(hub)
        socket.send_fds(channel, [b"-p\0"], [asked, stdout])
        # The hub has copies of these ends now. With our end of its stdout open, the reads below would never
        # come to an end.
        os.close(asked)
        os.close(stdout)
        os.write(prompt, AnswerSpec(tokens=tokens).prompt().encode())
        os.close(prompt)
        counted, end = TokenCounter(), PhraseFinder(b'"type":"result"')
        began = 0.0
        while data := os.read(answer, READ):
            began = began or time.monotonic()
            counted.feed(data, time.monotonic_ns(), None)
            end.feed(data)
        os.close(answer)
    return {"tokens_per_s": tokens / (time.monotonic() - began)}


if __name__ == "__main__":
    # A collection is a pause, which would count as the server's.
    gc.disable()
    sys.stdout.buffer.write(msgspec.json.encode(work(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))))
