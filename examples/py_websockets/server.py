"""A chat server on websockets: ``python server.py --port 8000 --data DIR --claude PATH``."""

import argparse
import asyncio
import json
import re
import secrets
import signal
from contextlib import aclosing, suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from claude import ask
from page import PAGE, SAFE
from store import Json, Refused, Store, error, now, status
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PROTOCOL, MESSAGE_MAX, FRAME_MAX = "chat-stream-v1", 1 << 20, (2 << 20) + (1 << 16)  # bytes
CANCELLED = {"type": "complete", "stop_reason": "cancelled", "usage": {"input_tokens": 0, "output_tokens": 0}}


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.store = options, Store(options.data)
        self.hosts = {f"{name}:{options.port}" for name in ("127.0.0.1", "localhost")}
        self.follows: dict[ServerConnection, set[str]] = {}  # conversations, and turns by both of their ids
        self.running: dict[str, asyncio.Task[None]] = {}  # by conversation

    def send_event(self, event: Json, connection: ServerConnection | None = None) -> None:
        """Send an event to one, or to all who follow; a slow reader costs memory, until the pings end it."""
        keys = {event["conversation_id"], event["conversation_id"] + event["message_id"]}
        some = [connection] if connection else [each for each, ids in self.follows.items() if ids & keys]
        broadcast(some, json.dumps(event))

    def replay(self, connection: ServerConnection, chat: Json, turn: Json, after: int) -> None:
        ids = {"message_id": turn["message_id"], "conversation_id": chat["id"]}
        for event in [{"type": "accepted", **ids}, *turn["events"][after:]]:
            self.send_event(event, connection)
        self.follows[connection].add(chat["id"] + turn["message_id"])

    def take(self, connection: ServerConnection, message: Json) -> None:
        name, chat_id, after = (message.get(each) for each in ("message_id", "conversation_id", "after"))
        if name is not None and not (isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]{1,64}", name)):
            raise Refused("bad_request", "$.message_id: 1 to 64 of A-Z a-z 0-9 _ -")
        if not isinstance(chat_id, str | None) or not isinstance(after or 0, int) or (after or 0) < 0:
            raise Refused("bad_request", "$: conversation_id is a string, after a number from 0 on")
        some = list(self.store.chats.values()) if chat_id is None else [self.store.chat(chat_id)]
        found = [(chat, turn) for chat in some for turn in chat["turns"] if turn["message_id"] == name]
        match message:
            case {"type": "chat_request", "message": str(prompt)} if prompt.strip():
                for chat, turn in found:
                    if chat_id or turn is chat["turns"][0]:
                        return self.replay(connection, chat, turn, 0)
                self.start(connection, prompt, name or secrets.token_hex(8), chat_id)
            case {"type": "subscribe", "conversation_id": str()} if name is None:
                self.follows[connection].add(str(chat_id))
                if chat_id in self.running:
                    self.replay(connection, some[0], some[0]["turns"][-1], after or 0)
            case {"type": "subscribe", "conversation_id": str()} if found:
                if (after or 0) > len(found[0][1]["events"]):
                    raise Refused("reset", "the turn has fewer events")
                self.replay(connection, *found[0], after or 0)
            case {"type": "cancel", "message_id": str()} if found:
                if status(found[0][1]) == "running":
                    self.running[found[0][0]["id"]].cancel("by the user")
                else:
                    self.send_event(found[0][1]["events"][-1], connection)
            case {"type": "subscribe", "conversation_id": str()} | {"type": "cancel", "message_id": str()}:
                raise Refused("not_found", "there is no such turn")
            case _:
                raise Refused("bad_request", "$: a chat_request, subscribe or cancel with its members")

    def start(self, connection: ServerConnection, prompt: str, name: str, chat_id: str | None) -> None:
        if len(prompt.encode()) > MESSAGE_MAX:
            raise Refused("too_large", f"$.message: at most {MESSAGE_MAX} bytes")
        if chat_id in self.running:
            raise Refused("busy", "this conversation is answering already")
        chat = self.store.chat(chat_id) if chat_id else self.store.new()
        chat["title"] = chat["title"] or " ".join(prompt.split())[:60]
        turn: Json = {"message_id": name, "prompt": prompt, "created_at": now(), "events": []}
        chat["turns"].append(turn)
        self.store.save(chat)
        self.follows[connection].add(chat["id"] + name)
        self.send_event({"type": "accepted", "message_id": name, "conversation_id": chat["id"]})
        self.running[chat["id"]] = asyncio.create_task(self.run(chat, turn))

    async def run(self, chat: Json, turn: Json) -> None:
        end = error("claude_failed", "Claude ended without a result")
        try:
            asked = ask(self.options.claude, turn["prompt"], chat["session"], self.options.grace)
            async with aclosing(asked) as events:
                async for event in events:
                    chat["session"] = event.get("session", chat["session"])
                    if event.get("type") in ("token", "rewind", "status"):
                        self.send_event(self.store.add(chat, turn, event))
                    else:
                        end = event
        except (OSError, ValueError):
            end = error("claude_unavailable", "Claude cannot be used")
        except asyncio.CancelledError as why:
            end = CANCELLED if why.args else error("interrupted", "the server was stopped")
        del self.running[chat["id"]]
        self.send_event(self.store.add(chat, turn, end))

    async def talk(self, connection: ServerConnection) -> None:
        self.follows[connection] = set()
        pings = asyncio.create_task(self.ping(connection))
        try:
            async for data in connection:
                message = None
                try:
                    message = json.loads(data) if isinstance(data, str) else None
                    self.take(connection, message if isinstance(message, dict) else {})
                except (Refused, ValueError, RecursionError) as what:
                    words = what.args if isinstance(what, Refused) else ("bad_request", f"$: {what}")
                    named = {"message_id": message.get("message_id")} if isinstance(message, dict) else {}
                    broadcast([connection], json.dumps(error(*words) | named))
        except ConnectionClosed:
            pass  # without a close frame
        finally:
            del self.follows[connection]
            pings.cancel()

    async def ping(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            pongs = [await connection.ping()]
            while len(pongs) < 4 or any(pong.done() for pong in pongs):
                await asyncio.sleep(self.options.keepalive)
                pongs = [*pongs[-3:], await connection.ping()]
            connection.transport.abort()  # four in a row were not answered

    def http(self, _: ServerConnection, request: Request) -> Response | None:
        url, headers = urlsplit(request.path), request.headers
        host, origin = headers.get("Host"), headers.get("Origin")
        crossing = request.method != "GET" and headers.get("Sec-Fetch-Site") == "cross-site"
        if host not in self.hosts or origin not in (None, f"http://{host}") or crossing:
            return reply(403, {"error": error("forbidden", "a foreign page")})
        if url.path == "/chat/ws":
            return None if headers.get_all("Sec-WebSocket-Version") == ["13"] else reply(426, {})
        try:
            match request.method, url.path.split("/")[1:]:
                case "GET", ["health"]:
                    return reply(200, {})
                case "GET", ["chat", ""]:
                    return reply(200, PAGE)
                case "POST", ["chat", "new"]:
                    return reply(201, {"conversation_id": self.store.new()["id"]})
                case "GET", ["chat", "history"]:
                    query = {name: int(value) for name, value in parse_qsl(url.query)}
                    return reply(200, self.store.page(query.get("limit", 50), query.get("before")))
                case "GET", ["chat", "history", chat_id]:
                    return reply(200, self.store.history(chat_id))
                case "DELETE", ["chat", "history", chat_id]:
                    self.store.delete(chat_id)
                    if chat_id in self.running:
                        self.running[chat_id].cancel("by the user")
                    return reply(204, b"")
            raise Refused("not_found", "there is no such page")
        except (Refused, ValueError) as what:
            code, words = what.args if isinstance(what, Refused) else ("bad_request", str(what))
            return reply(404 if code == "not_found" else 400, {"error": error(code, words)})


def reply(code: int, body: Json | bytes) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html; charset=utf-8" if isinstance(body, bytes) else "application/json"
    headers = Headers({"Content-Type": kind, "Connection": "close", "Sec-WebSocket-Version": "13"} | SAFE)
    return Response(code, HTTPStatus(code).phrase, headers, data)


async def main(options: argparse.Namespace) -> None:
    server, stop = Server(options), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(
        *(server.talk, "127.0.0.1", options.port),
        **{"process_request": server.http, "max_size": FRAME_MAX},
        select_subprotocol=lambda _, offered: PROTOCOL if PROTOCOL in offered else None,
        ping_interval=None,  # those of websockets stop when one is not answered
        close_timeout=options.grace,
    ):
        print(f"listening on http://127.0.0.1:{options.port}/chat/", flush=True)
        await stop.wait()
    for task in server.running.values():
        task.cancel()
    await asyncio.gather(*server.running.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--claude", default="claude")
    parser.add_argument("--data", type=Path, required=True, help="a folder that exists")
    parser.add_argument("--keepalive", type=float, default=20.0, help="seconds between pings")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between asking and killing")
    asyncio.run(main(parser.parse_args()))
