"""The prompt that a one-shot run reads from a piped standard input."""

from __future__ import annotations

import selectors
import time

from fake_claude.engine.input_lines import read_chunk
from fake_claude.engine.signals import SIGNALS
from fake_claude.invocation.options import Refusal
from fake_claude.waits import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.engine.run import Run

STDIN_TIMEOUT = 3.0
"""Seconds of silence on a piped stdin before a one-shot run starts without it."""

STDIN_LIMIT = 10 * 1024 * 1024


def read_piped_prompt(run: Run) -> str:
    """Read standard input to its end.

    Raises:
        Refusal: It is longer than the CLI takes.
        Exit: A signal came first.
    """
    data: list[bytes] = []
    size = 0
    deadline = time.monotonic() + STDIN_TIMEOUT
    with selectors.PollSelector() as selector:
        selector.register(run.signals.fd, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            # Only silence at the start is bounded. Once something came, the end of input is waited for,
            # however slow.
            timeout = None if data else max(0.0, deadline - time.monotonic())
            ready = [key.fd for key, _ in selector.select(timeout)]
            # Before the data: a signal that came with it counts first, as in ``Loop``.
            if run.signals.fd in ready:
                _end_at_signal(run)
            if not ready:
                run.err.line(
                    "Warning: no stdin data received in 3s, proceeding without it. If piping from a slow command,"
                    " redirect stdin explicitly: < /dev/null to skip, or wait longer."
                )
                break
            if 0 not in ready:
                continue
            chunk = read_chunk(0)
            if not chunk:
                break
            data.append(chunk)
            size += len(chunk)
            # Checked with each chunk: the CLI refuses without reading an endless pipe to its end.
            if size > STDIN_LIMIT:
                raise Refusal(
                    "Error: piped stdin input exceeds 10MB."
                    " Pass large content as a file path in your prompt instead."
                )
    text = b"".join(data).decode("utf-8", "replace")
    for line in text.splitlines():
        run.record.stdin(line)
    return text


def _end_at_signal(run: Run) -> None:
    for number in run.signals.take():
        run.record.signal(number.name)
        raise Exit(SIGNALS[number])
