"""The chat on http.server: a thread for each connection, and WebSocket by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chat import FRAME_MAX, PROTOCOL, Chat, Headers, Talker, options

from chat_conformance.wire.frames import (
    Frame,
    FrameDecoder,
    FrameError,
    Opcode,
    check_frame,
    close_frame,
    encode_frame,
)
from chat_conformance.wire.handshake import accept_key
from chat_conformance.wire.messages import MessageJoiner

BEAT = 0.05


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    chat: Chat
    loop: asyncio.AbstractEventLoop

    def setup(self) -> None:
        super().setup()
        self.lock = threading.Lock()

    def handle_one(self) -> None:
        headers, version = Headers(self.headers.items()), self.request_version.removeprefix("HTTP/")
        found = self.chat.answer(self.command, self.path, headers, version)
        if found is None:
            self.close_connection = True
            self.talk()
            return
        status, headers, body = found
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_PUT = do_OPTIONS = do_HEAD = handle_one  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def talk(self) -> None:
        key, offered = (
            self.headers["Sec-WebSocket-Key"].strip(),
            self.headers.get("Sec-WebSocket-Protocol", ""),
        )
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept_key(key)}"]
        if PROTOCOL in [each.strip() for each in offered.split(",")] and not self.chat.has("nameless"):
            lines += [f"Sec-WebSocket-Protocol: {PROTOCOL}"]
        self.write("\r\n".join([*lines, "", ""]).encode())
        talker = Talker(lambda text: self.frame(Opcode.TEXT, text.encode()))
        over = threading.Event()
        threading.Thread(target=self.beat, args=(over,), daemon=True).start()
        try:
            if self.run(self.came(talker)):
                self.receive(talker)
            else:
                self.write(encode_frame(close_frame(1001)))
                self.request.settimeout(1)
                while self.request.recv(1 << 16):
                    pass  # up to the answer
        except FrameError as error:
            if not self.chat.has("drops"):
                self.write(encode_frame(close_frame(error.code)))
        except OSError:
            pass  # it is gone
        finally:
            over.set()
            self.loop.call_soon_threadsafe(self.chat.left, talker)

    async def came(self, talker: Talker) -> bool:
        return self.chat.came(talker)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def receive(self, talker: Talker) -> None:
        decoder, joiner = FrameDecoder(max_payload=FRAME_MAX), MessageJoiner(max_message=FRAME_MAX)
        while data := self.request.recv(1 << 16) if not self.rfile.peek() else self.rfile.read1(1 << 16):
            frames = decoder.feed(data)
            pings = [frame for frame in frames if frame.opcode == Opcode.PING]
            for frame in frames:
                if (error := check_frame(frame, from_client=True)) is not None:
                    raise error
                if frame.opcode == Opcode.CLOSE:
                    code = None if self.chat.has("bare-closes") else frame.close_code
                    self.write(encode_frame(close_frame(code)))
                    return
                if frame.opcode == Opcode.PING and (frame is pings[-1] or not self.chat.has("one-pong")):
                    self.frame(Opcode.PONG, frame.payload)
                elif not frame.is_control and (message := joiner.add(frame)) is not None:
                    text = message.opcode == Opcode.TEXT
                    self.run(self.chat.took(talker, message.text if text else message.payload))

    def beat(self, over: threading.Event) -> None:
        beats, every = 0, BEAT if self.chat.has("beats") else self.chat.options.keepalive
        with suppress(OSError):
            while not over.wait(every):
                beats += 1
                if self.chat.has("beats"):
                    self.frame(Opcode.PONG, b"still here")
                if beats * every >= self.chat.options.keepalive:
                    beats = 0
                    self.frame(Opcode.PING, b"")

    def frame(self, opcode: Opcode, payload: bytes) -> None:
        with suppress(OSError):
            self.write(encode_frame(Frame(opcode, payload)))

    def write(self, data: bytes) -> None:
        with self.lock:
            self.request.sendall(data)


async def start(chat: Chat) -> Callable[[], Any]:
    Handler.chat, Handler.loop = chat, asyncio.get_running_loop()
    server = ThreadingHTTPServer(("127.0.0.1", chat.options.port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_close


if __name__ == "__main__":
    asyncio.run(Chat(options()).serve(start))
