"""What the servers of this folder share: a chat that does all that it has to, and some of it in its own way.

Each way is a name: see `WAYS`. Stacks only carry the frames.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "py_websockets"))

from server import FRAME_MAX, PROTOCOL, Server
from store import Json, Refused, error

__all__ = ["FRAME_MAX", "PROTOCOL"]

WAYS = {
    "greets": "a message of a type of its own comes first, and before each turn",
    "talkative": "events and documents have members that no clause names",
    "other-words": "types and members have other names, which the target file translates",
    "nameless": "there is no subprotocol",
    "arrays": "a conversation is a list of messages, and history a list of conversations",
    "slow": "each answer takes a while",
    "late-port": "the ready line is there before the port",
    "few-routes": "there is no POST but on the socket, and methods that are not known are 501",
    "beats": "unsolicited pongs are sent as a heartbeat",
    "drops": "a client that breaks RFC 6455 is dropped, without a close frame",
    "bare-closes": "a close is answered by one without a code",
    "one-pong": "of pings that arrive together the last one is answered",
    "closes-early": "now and then a connection is closed with 1001 at once",
}
SLOW, LATE, EARLY = 0.05, 0.3, 150  # seconds, seconds, connections
TYPES = {"chat_request": "ask", "accepted": "ok", "token": "delta", "complete": "done", "error": "problem"}
MEMBERS = {"type": "op", "message_id": "ref", "conversation_id": "thread", "token": "text"}


PLAIN = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}


class Headers:
    """The headers of a request, by any spelling of their names."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def get_all(self, name: str) -> list[str]:
        return [value for other, value in self._pairs if other == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.get_all(name)), None)


class Talker:
    """One connection, as the chat sees it; equal to itself only."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self.say = send


class Chat(Server):
    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.ways = set(options.ways)
        self.count = 0
        assert self.ways <= WAYS.keys(), self.ways - WAYS.keys()

    def has(self, way: str) -> bool:
        return way in self.ways

    def send_event(self, event: Json, connection: Any = None) -> None:
        keys = {event["conversation_id"], event["conversation_id"] + event["message_id"]}
        for each in (
            [connection] if connection else [each for each, ids in self.follows.items() if ids & keys]
        ):
            self.send(each, event)

    def send(self, talker: Any, event: Json) -> None:
        if self.has("greets") and event["type"] == "accepted":
            talker.say(json.dumps({"type": "notice", "text": "here it comes"}))
        if self.has("talkative"):
            event = {**event, "sent_at": time.time(), "by": {"version": [1, 2]}}
        if self.has("other-words"):
            event = {MEMBERS.get(name, name): value for name, value in event.items()}
            event["op"] = TYPES.get(event["op"], event["op"])
        talker.say(json.dumps(event))

    def came(self, talker: Any) -> bool:
        """Greet a connection; whether it may stay."""
        self.follows[talker] = set()
        self.count += 1
        if self.has("greets"):
            talker.say('{"type":"hello","token":7}')
        return not (self.has("closes-early") and self.count % EARLY == 2)

    def left(self, talker: Any) -> None:
        self.follows.pop(talker, None)

    async def took(self, talker: Any, data: str | bytes) -> None:
        """Obey one message."""
        if self.has("slow"):
            await asyncio.sleep(SLOW)
        message: Any = None
        try:
            message = json.loads(data) if isinstance(data, str) else None
            if self.has("other-words") and isinstance(message, dict):
                ours = {theirs: name for name, theirs in MEMBERS.items()}
                message = {ours.get(name, name): value for name, value in message.items()}
                kinds = {theirs: kind for kind, theirs in TYPES.items()}
                message["type"] = kinds.get(message.get("type"), message.get("type"))
            self.take(talker, message if isinstance(message, dict) else {})
        except (Refused, ValueError, RecursionError, TypeError) as what:
            words = what.args if isinstance(what, Refused) else ("bad_request", f"$: {what}")
            named = {"message_id": message.get("message_id")} if isinstance(message, dict) else {}
            self.send(talker, error(*words) | named)

    def answer(
        self, method: str, path: str, headers: Headers, version: str = "1.1"
    ) -> tuple[int, dict[str, str], bytes] | None:
        """The answer to a request; None for a handshake that is right."""
        if self.has("few-routes") and method not in ("GET", "DELETE"):
            return (405 if method in ("POST", "PUT", "OPTIONS") else 501), PLAIN, b"{}"
        if path.startswith("/chat/ws") and method != "GET":
            return 405, PLAIN, b"{}"
        found = self.http(None, SimpleNamespace(method=method, path=path, headers=headers))  # type: ignore[arg-type]
        if found is None:
            return None if right(headers) and version == "1.1" else (400, PLAIN, b"{}")
        more = {name: value for name, value in found.headers.raw_items() if name != "Connection"}
        return found.status_code, more, self.worded(path, found.status_code, found.body or b"")

    def worded(self, path: str, status: int, body: bytes) -> bytes:
        """A document in the ways of this chat."""
        if status != 200 or not path.startswith("/chat/history"):
            return body
        document = json.loads(body)
        if self.has("talkative"):
            document["served_at"] = time.time()
        if self.has("other-words"):
            return re.sub(b'"(message_id|conversation_id)":', lambda name: renamed(name[1]), body)
        if self.has("arrays"):
            document = document.get("messages", document.get("conversations"))
        return json.dumps(document).encode()

    async def serve(self, start: Callable[[Chat], Coroutine[Any, Any, Callable[[], Any]]]) -> None:
        """Listen until SIGTERM; ``start`` gives what ends the listening."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        if self.has("late-port"):
            print("listening", flush=True)
            await asyncio.sleep(LATE)
        end = await start(self)
        print("listening", flush=True)
        await stop.wait()
        await self.stop()
        if asyncio.iscoroutine(ended := end()):
            await ended

    async def stop(self) -> None:
        """End the turns that run."""
        for task in self.running.values():
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)


def right(headers: Headers) -> bool:
    """Whether a handshake of this version has all else that it needs, once."""
    keys = headers.get_all("Sec-WebSocket-Key")
    tokens = [each.strip().lower() for each in (headers.get("Connection") or "").split(",")]
    upgrade = (headers.get("Upgrade") or "").lower() == "websocket" and "upgrade" in tokens
    return upgrade and len(keys) == 1 and re.fullmatch(r" *[A-Za-z0-9+/]{22}== *", keys[0]) is not None


def renamed(name: bytes) -> bytes:
    return f'"{MEMBERS[name.decode()]}":'.encode()


def options(*words: str) -> argparse.Namespace:
    """What every server of this folder takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--claude", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ways", nargs="*", default=[], choices=WAYS)
    parser.set_defaults(keepalive=1.0, grace=1.0)
    return parser.parse_args(words or None)
