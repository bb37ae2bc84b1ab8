"""Mutants without a bound on what one user, or one client, may take."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp.web
import msgspec

import chat_server.web.connection
from chat_conformance.mutants.registry import Patch, breaks, patched, put

patched(
    "silent-connection-kept",
    "The time for a header begins with its first byte.",
    Patch(
        "web/serving.py",
        "        super().connection_made(transport)\n"
        "        self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)\n",
        "        super().connection_made(transport)\n",
    ),
)

patched(
    "header-timeout-restarts",
    "The time for a header begins again with each byte.",
    Patch(
        "web/serving.py",
        "        if not self._serving and not self._header_ended(data):\n",
        "        if self._late is not None:\n"
        "            self._late.cancel()\n"
        "            self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)\n"
        "        if not self._serving and not self._header_ended(data):\n",
    ),
)

patched(
    "unbounded-frame-reads",
    "Frames are read as they come, however many.",
    Patch(
        "web/inflow.py",
        "        self._reader, self._line = reader, line\n        return self\n",
        "        return reader\n",
    ),
    # Two pauses let others in: one between reads, one between the frames of a read. Either alone would be
    # enough.
    Patch("web/connection.py", "received % FRAMES_AT_ONCE:", "received % (1 << 30):"),
)


@breaks("unbounded-json-decoding")
def unbounded_json_decoding() -> None:
    """JSON becomes objects first, whatever it is."""

    def make(decode: Any) -> Any:
        def mutant(text: str, *_most: int) -> Any:
            loop = asyncio.get_running_loop()
            for again in range(20):  # more than once: others connect after the first
                loop.call_later(again * 0.2, msgspec.json.decode, text)
            return decode(text, len(text))

        return mutant

    put(chat_server.web.connection, "decode_client", make)
    # Large messages are decoded one at a time, between which the loop runs: for that, too, nothing must be
    # large.
    put(chat_server.web.connection, "LARGE", lambda _: 1 << 30)


@breaks("compressed-body-inflated")
def compressed_body_inflated() -> None:
    """Compressed bodies are inflated as they come."""

    # At aiohttp's own class: what the server passes to it is changed on its way.
    def make(init: Any) -> Any:
        def mutant(self: Any, *args: Any, **options: Any) -> None:
            # aiohttp reads on for a while what a handler has not read, and inflates it: the longer, the more.
            init(self, *args, **{**options, "auto_decompress": True, "lingering_time": 10.0})

        return mutant

    put(aiohttp.web.RequestHandler, "__init__", make)


patched(
    "history-in-one-piece",
    "A conversation is encoded as a whole, while all other requests wait.",
    Patch("web/responses.py", "PIECE = 1 << 16\n", "PIECE = 1 << 60\n"),
    Patch(
        "web/handlers.py",
        "    return await answer_in_pieces(request, history_pieces(conversation, batches))\n",
        "    import json\n\n"
        '    whole = json.loads(b"".join([each async for each in history_pieces(conversation, batches)]))\n'
        "    return json_answer(json.loads(json.dumps(whole)))\n",
    ),
)

patched(
    "unbounded-half-messages",
    "Bytes of a user's messages that wait are not counted.",
    Patch("shares.py", "        self._sum += more\n", "        return True\n        self._sum += more\n"),
)

patched(
    "no-concurrency-limit",
    "Any number of a user's turns run at the same time.",
    Patch(
        "app.py", "                concurrent=settings.concurrent_turns,\n", "                concurrent=0,\n"
    ),
)

patched(
    "no-waiting-line",
    "A turn that finds every claude answering is refused at once.",
    Patch("claude/pool.py", "self._settings.claude_waiting", "0"),
)

patched(
    "unfair-waiting-line",
    "How many places a user already has is not considered.",
    Patch(
        "claude/waiting_line.py",
        "        self.served[owner] += 1\n",
        "        return\n",
    ),
    Patch(
        "claude/waiting_line.py",
        "        self.served[owner] -= 1\n",
        "        return\n        self.served[owner] -= 1\n",
    ),
)

patched(
    "queued-turn-not-cancellable",
    "A turn that is cancelled in line waits for a claude to stop it.",
    Patch(
        "claude/waiting_line.py",
        '        self.refuse("the question was stopped while it waited")\n',
        "        return\n",
    ),
)

patched(
    "new-not-limited",
    "Empty conversations are not counted.",
    Patch(
        "store/store.py",
        "            admit_new(per_hour, self._hour(",
        "            (lambda *_: None)(per_hour, self._hour(",
    ),
)
