"""HTTP connections of the fuzzer: request lines, headers, bodies and upgrades as no client should send them."""

from __future__ import annotations

from random import Random
from urllib.parse import quote

from chat_conformance.fuzz.sent import Kind, Sent

HOST = b"Host: localhost"
PROBE = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""The last request of a connection whose earlier ones leave it whole: its answer ends the connection."""

# Repeated entries are weights.
METHODS = (
    b"GET",
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
)
ODD_METHODS = (b"get", b"G\x1bT", b"", b"A" * 300, b"GET\x00", b"\xff", b"PRI")
# Not all of them need to exist: what is not there is answered, too, and by other code.
PATHS = (
    "/", "/health", "/health/ready", "/metrics", "/chat", "/chat/", "/chat/ws", "/chat/new", "/chat/usage",
    "/chat/whoami", "/chat/history", "/chat/history/0123456789ab", "/chat/static/main.js", "/chat/static/chat.css",
    "/chat/auth/verify", "/chat/login", "/chat/oauth/callback", "/chat/logout", "/chat/dev", "/nothing",
)  # fmt: skip
ODD_PARTS = (
    b"/..", b"/%2e%2e", b"/..%2f..%2fapp.py", b"//", b"/./", b"\\..\\", b"/%00", b"%", b"%zz", b"%ff%fe", b"%0a%0d",
    b"%1b%5d0;t%07", b"\xff\xfe", b"\xe2\x80\xae", b"/" + b"a" * 300, b"/" + b"a/" * 200, b"?limit=%ff", b"?limit=-1",
    b"?limit=99999999999999999999", b"?before=%ff", b"?before=" + b"9" * 200, b"?a=%00&a=b&&&=", b"#f", b";x=y",
    b"?limit=\xd9\xa1", b"/con", b"/%252e%252e", b"/%c0%ae%c0%ae", b"?" + b"x" * 9_000,
)  # fmt: skip
ODD_TARGETS = (
    b"*", b"", b"http://localhost/health", b"http://evil.test/chat/", b"http://[", b"https://localhost:99999/",
    b"localhost:80", b"http://user:pw@localhost/", b"//evil.test/", b"ftp://a/", b"http://", b"/\x00", b"/\x7f",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 12 + (
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/11",
    b"",
    b"HTTP/1.1 x",
    b"http/1.1",
)
HEADERS = (
    b"Host: evil.test", b"Host:", b"Host: [", b"Host: a b", b"Host: localhost:99999", b"Host: \xff", b"Expect: \xff",
    b"Expect: 100-continue", b"Expect: a", b"Upgrade: \x85", b"Upgrade: websocket", b"Upgrade: h2c", b"Upgrade: \xff",
    b"Connection: upgrade", b"Connection: close, keep-alive", b"Connection: \xff", b"Content-Length: 5",
    b"Content-Length: -1", b"Content-Length: 0x10", b"Content-Length: 1, 2", b"Content-Length: 99999999999999999999",
    b"Content-Length:", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, x",
    b"Transfer-Encoding: \xff", b"Content-Encoding: gzip", b"Content-Encoding: \xff", b"Content-Type: \xff",
    b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=", b"Content-Type: text/html",
    b"Content-Type: application/x-www-form-urlencoded; charset=no", b"Cookie: \xff=\xfe", b'Cookie: a=b; a="',
    b"Cookie: chat_session=\xff", b"Cookie: __Host-chat_session=" + b"x" * 500, b"Origin: null", b"Origin: http://[",
    b"Origin: \xff", b"Origin: http://evil.test", b"Origin: http://localhost:99999", b"Sec-Fetch-Site: \xff",
    b"Range: bytes=0-0", b"Range: bytes=9-1", b"Range: bytes=a-b", b"Range: bytes=-0", b"Range: \xff",
    b"Range: bytes=0-99999999999999999999999", b"Range: bytes=0-1,3-4", b"If-Range: \xff", b'If-Range: W/"x"',
    b"If-Modified-Since: \xff", b"If-Modified-Since: Thu, 01 Jan 0000 00:00:00 GMT", b"If-None-Match: \xff",
    b"If-Modified-Since: Fri, 31 Dec 99999 23:59:59 GMT", b'If-None-Match: "', b"If-Match: *", b'If-Match: "a"',
    b"If-Unmodified-Since: x", b"Accept-Encoding: gzip;q=x, \xff", b"Accept: text/html", b"Accept: \xff",
    b"Authorization: Basic \xff", b"Authorization: Bearer \xff", b"X-Chat-User: \xff", b"X-Chat-User: a",
    b"X-Forwarded-For: \xff", b"X-Forwarded-Proto: \xff", b"X-Forwarded-Host: \xff", b"X-Forwarded-Method: GET",
    b"Sec-WebSocket-Key: \xff", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Version: \xff", b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Protocol: \xff",
    b"Sec-WebSocket-Protocol: chat-stream-v1", b"Sec-WebSocket-Extensions: permessage-deflate; \xff",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99", b"X: " + b"a" * 9_000, b": a", b"a",
    b" folded", b"X\x00: a", b"X: \x00", b"X: \x1b[2J", b"X\x1b: a", b"X: a\rb", b"X : a", b"\xff: \xff", b"X: \x85",
)  # fmt: skip
BODIES = (
        b"message=",
        b"message=&message=a",
        b"message=+&message_id=a%20b",
        b"message=%ff%fe",
        b"message=\xff",
        b"message=%00&conversation_id=0123456789ab",
        b"&" * 2_000,
        b"a=b&" * 2_000,
        b"--x\r\nContent-Disposition: form-data; name=message\r\n\r\n \r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="message"; filename="\x1b"\r\n\r\na\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: \xff\r\n\r\n",
        b"--x\r\nContent-Transfer-Encoding: base64\r\n\r\n===\r\n--x--",
        b"--x\r\nContent-Transfer-Encoding: no\r\nContent-Disposition: form-data; name=message\r\n\r\na\r\n--x--",
        b"--x\r\nContent-Encoding: gzip\r\nContent-Disposition: form-data; name=message\r\n\r\na\r\n--x--",
        b"--x\r\nContent-Type: text/plain; charset=no\r\nContent-Disposition: form-data; name=message\r\n\r\n\r\n--x--",
        b"--x\r\n" + b"A: b\r\n" * 500,
        b"--x" * 100,
        b"",
    )  # fmt: skip
KINDS = (
        b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=" + b"x" * 80, b"multipart/mixed; boundary=x", b"application/json",
    )  # fmt: skip
UPGRADE = (
    b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
)  # fmt: skip
RAW = (
    # A TLS client hello.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"\x00" * 20,
    b"SSH-2.0-x\r\n",
    b"GET",
    b"GET / HTTP/1.1\r\nHost: a",
    b"\x05\x01\x00",
    b"a" * 70_000,
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
)


def connection(seed: str, number: int) -> Sent:
    """The requests of one connection."""
    random = Random(f"{seed} requests {number}")  # noqa: S311 - it is to be repeatable
    pieces = [
        # Seldom: most hostile requests end the connection, and those behind them are then never read.
        _hostile(random) if random.random() < 0.12 else _request(random)
        for _ in range(random.randrange(1, 9))
    ]
    count = len(pieces)
    # A connection that ends within a request, or one whose end is known: the probe asks the server to close.
    if random.random() < 0.1:
        pieces[-1] = pieces[-1][: random.randrange(len(pieces[-1]) + 1)]
    else:
        pieces.append(PROBE)
    leaves = random.random() < 0.15
    cuts = tuple(random.choice((1, 5, 40, 500)) for _ in range(5)) if random.random() < 0.15 else ()
    return Sent(Kind.REQUESTS, number, tuple(pieces), count, legal=False, leaves=leaves, cuts=cuts)


def _request(random: Random) -> bytes:
    """A request that can be read, with an odd header now and then."""
    if random.random() < 0.2:
        return _form(random)
    target = random.choice(PATHS).encode() + (random.choice(ODD_PARTS) if random.random() < 0.2 else b"")
    headers = [HOST]
    if target.startswith(b"/chat/ws") and random.random() < 0.7:
        headers += UPGRADE
    # One odd header at most. With several, the first that is refused would hide what the others do.
    if random.random() < 0.6:
        headers.append(random.choice(HEADERS))
    random.shuffle(headers)
    return b"\r\n".join([random.choice(METHODS) + b" " + target + b" HTTP/1.1", *headers, b"", b""])


def _hostile(random: Random) -> bytes:
    """A request that may well end the connection."""
    dice = random.random()
    if dice < 0.15:
        return random.choice(RAW)
    if dice < 0.4:
        return _post(random)
    method = random.choice(METHODS) if random.random() < 0.8 else random.choice(ODD_METHODS)
    headers = [HOST] if random.random() < 0.9 else []
    headers += [random.choice(HEADERS) for _ in range(random.randrange(6))]
    random.shuffle(headers)
    line = b" ".join((method, _target(random), random.choice(VERSIONS)))
    return b"\r\n".join([line, *headers, b"", b""])


def _target(random: Random) -> bytes:
    dice = random.random()
    if dice < 0.05:
        return random.choice(ODD_TARGETS)
    target = random.choice(PATHS).encode()
    for _ in range(random.choice((0, 0, 1, 2))):
        target += random.choice(ODD_PARTS)
    if dice > 0.95:
        target = quote(random.randbytes(20)).encode()
    return target


def _form(random: Random) -> bytes:
    """A form, more or less; its message is empty, so that it runs no turn."""
    body = random.choice(BODIES)
    return _post_head(random) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _post_head(random: Random) -> bytes:
    path = random.choice((b"/chat", b"/chat", b"/chat/new", b"/chat/logout", b"/health"))
    kind = random.choice(KINDS)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"\r\nContent-Type: " + kind + b"\r\n"


def _post(random: Random) -> bytes:
    """A form whose length is a lie, or whose chunks are odd."""
    body = random.choice(BODIES)
    if random.random() < 0.4:
        lie = len(body) + random.choice((-1, 1, 10, 1_000))
        return _post_head(random) + b"Content-Length: %d\r\n\r\n" % lie + body
    body = random.choice((
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        b"%x;ext=\xff\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(body), body),
        b"zz\r\n" + body,
        b"-1\r\n" + body,
        b"ffffffffffffffffff\r\n" + body,
        b"5\r\n" + body,
        b"0\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    ))  # fmt: skip
    return _post_head(random) + b"Transfer-Encoding: chunked\r\n\r\n" + body
