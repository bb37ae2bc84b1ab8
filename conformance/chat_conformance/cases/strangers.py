"""What clients without a login can read and write: answers, headers, files, and the log."""

from __future__ import annotations

import re
import unicodedata
from posixpath import dirname

from chat_conformance.errors import CouldNotTest, Failure
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.target.server import Server

HEALTHY = "http/health"
# Links that stay on the server: with no scheme, no host, no fragment and no data.
LOCAL = re.compile(rb"""\b(?:src|href)=["'](?!\w+:|//|#|data)([^"'?#]+)""")
INSIDE = re.compile(
    r"Traceback|site-packages|node_modules|\bFile \"|file://|:\d+:\d+\)|\.py\b|\bsqlalchemy\b|\berrno\b",
    re.IGNORECASE,
)
TRACEBACK = re.compile(
    r"Traceback \(most recent|^\s+File \"[^\"]+\", line \d+|^\s+at .+[(:]\S+:\d+(:\d+)?\)?$"
    r"|^goroutine \d+ \[|thread '[^']*' panicked|^\s+from \S+:\d+:in "
)
"""How Python, Node and the JVM, Go, Rust and Ruby begin or continue one."""

# Control and format characters (such as those that turn the direction of text), surrogates, and ends of
# lines.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
PASSWORDS = "etc/passwd"
# Plain, encoded once and twice, with encoded slashes, with a NUL, and a dot in two bytes: each passes a
# filter that decodes at another time, or more often, than the code that opens the file.
ESCAPES = (
    "..",
    "%2e%2e",
    ".%2e",
    "%2e.",
    "..%2f..",
    "..%5c..",
    "%2e%2e%2f%2e%2e",
    "%252e%252e",
    "..%00",
    "%c0%ae%c0%ae",
)


async def raw(chat: CaseContext, data: bytes, server: Server | None = None) -> tuple[int | None, bytes]:
    """Send bytes and read to the end: the status and what followed; None where the connection was only closed."""
    async with chat.connector.wire(server) as peer:
        peer.break_rules()
        await peer.send_bytes(data)
        try:
            response = await peer.expect_response()
        except Failure:
            # A close without an answer is a refusal, too (HTTP-6); silence is not.
            if peer.ended is None:
                raise
            return None, b""
        await peer.until(lambda: peer.ended, "the end of the answer")
        return response.status, peer.body


def request(chat: CaseContext, line: bytes, *headers: bytes, host: bool = True) -> bytes:
    """A request whose answer ends the connection."""
    named = [b"Host: %s:%d" % (chat.server.host.encode(), chat.server.port)] if host else []
    named += [f"{name}: {value}".encode() for name, value in chat.user(0).headers.items()]
    return b"\r\n".join([line, *named, b"Connection: close", *headers, b"", b""])


@case(
    "http/traversal",
    title="No spelling of .. leads out of the page's files",
    clause="HTTP-6",
    severity=Severity.BLOCKER,
    means="Anybody reads the server's files: keys, settings, other people's chats.",
    needs=("http/page",),
)
async def traversal(chat: CaseContext) -> None:
    page = chat.target.paths.page
    body = (await chat.http.request("GET", page)).body
    # The folder of the page's files may have a route of its own, so `..` is tried from there as well.
    folders = {dirname(page)} | {f"{dirname(page)}/{dirname(link.decode())}" for link in LOCAL.findall(body)}
    for folder in sorted(each.rstrip("/") for each in folders):
        for escape in ESCAPES:
            slash = "%2f" if "%2f" in escape else "/"
            # Twelve levels are more than any installation has, and too many do no harm at the root.
            path = f"{folder}/{slash.join([escape] * 12)}{slash}{PASSWORDS}"
            status, answer = await raw(chat, request(chat, f"GET {path} HTTP/1.1".encode()))
            expect(b"root:" not in answer, f"nothing of /{PASSWORDS} for {path}", f"it is {answer[:60]!r}")
            expect(status is None or 300 <= status < 500, f"a 4xx status for {path}", f"it is {status}")


@case(
    "http/page-headers",
    title="The page lets no foreign script run and no foreign page frame it, and no answer is guessed at",
    clause="HTTP-7",
    severity=Severity.MEDIUM,
    means="One hole in the page is enough to read and send everything as the user; a foreign page can steal clicks.",
    needs=("http/page",),
)
async def page_headers(chat: CaseContext) -> None:
    answer = await chat.http.request("GET", chat.target.paths.page)
    policy = answer.headers.get("content-security-policy", "")
    rules = {words[0].lower(): words[1:] for each in policy.split(";") if (words := each.split())}
    # Without script-src a policy's default-src holds for scripts.
    scripts = rules.get("script-src", rules.get("default-src"))

    expect_equal(
        answer.headers.get("x-content-type-options"), "nosniff", "X-Content-Type-Options of the page"
    )
    expect(
        scripts is not None, "a Content-Security-Policy that says which scripts may run", f"it is {policy!r}"
    )
    loose = {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:", "data:"}.intersection(scripts or ())
    expect(not loose, "a policy that lets no foreign script run", f"it lets {sorted(loose)} in: {policy!r}")
    expect("frame-ancestors" in rules, "a policy that says who may frame the page", f"it is {policy!r}")
    missing = await chat.http.request("GET", f"{chat.target.paths.health}/{chat.marker}")
    expect_equal(
        missing.headers.get("x-content-type-options"), "nosniff", "X-Content-Type-Options of a refusal"
    )


@case(
    "http/no-store",
    title="What is one user's own is kept in no cache",
    clause="HTTP-7",
    severity=Severity.MEDIUM,
    means="After logging out the Back button, or the next user of a shared computer or cache, shows the chats.",
    needs=(HEALTHY,),
)
async def no_store(chat: CaseContext) -> None:
    paths = [path for path in (chat.target.paths.history, chat.target.paths.usage) if path]
    for path in paths:
        answer = await chat.http.request("GET", path)
        expect_equal(answer.status, 200, f"the status of {path}")
        control = answer.headers.get("cache-control", "")
        expect("no-store" in control, f"Cache-Control: no-store for {path}", f"it is {control!r}")


@case(
    "http/errors-tell-nothing",
    title="No error shows a path, an address or a traceback of the server",
    clause="HTTP-6",
    severity=Severity.MEDIUM,
    means="An attacker learns which software runs where, and under which names.",
    needs=(HEALTHY,),
)
async def quiet_errors(chat: CaseContext) -> None:
    # It is in the operating system's message, so it shows wherever a server passes that on.
    missing = f"/nonexistent/{chat.marker}/claude"
    answers: list[str] = []
    async with chat.instance(claude=missing) as server:
        async with chat.peer(server=server) as peer:
            turn = await chat.send_prompt(peer, chat.fake.prompt())
            answers.append(str(await turn.finish()))
        paths = chat.target.paths
        for method, path in (
            ("GET", f"{paths.health}/ready"),
            ("GET", paths.of("0123456789ab")),
            ("GET", f"{paths.history}?limit=x&before=%ff"),
            ("PUT", paths.page),
            ("GET", f"/{chat.marker}"),
        ):
            answers.append(
                (await chat.http.request(method, path, server=server)).body.decode(errors="replace")
            )
        for line in (b"GET /%s HTTP/1.1" % (b"a" * 20_000), b"\xff\xfe / HTTP/1.1"):
            _, body = await raw(chat, request(chat, line), server)
            answers.append(body.decode(errors="replace"))
    for each in answers:
        found = INSIDE.search(each)
        expect(
            missing not in each and not found,
            "an error that shows nothing of the inside",
            f"it is {each[:300]}",
        )


@case(
    "http/strangers-mistakes",
    title="Faulty requests are answered with 4xx or a close, and cost no traceback in the log",
    clause="HTTP-6",
    severity=Severity.MEDIUM,
    means="Every scanner that comes by looks like a broken server, and fills its disk.",
    needs=("http/page", "handshake/faulty"),
)
async def strangers_mistakes(chat: CaseContext) -> None:
    body = (await chat.http.request("GET", chat.target.paths.page)).body
    page = chat.target.paths.page.encode()
    links = LOCAL.findall(body)
    # Where the page's files are, if they have a folder: names of files are read by other code than routes.
    files = page + (dirname(links[0]) + b"/" if links else b"")
    socket = chat.target.paths.socket.encode()
    upgrade = (b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
    mistakes = {
        "a long name": request(chat, b"GET %s%s HTTP/1.1" % (files, b"a" * 300)),
        "a NUL in a name": request(chat, b"GET %sa%%00b HTTP/1.1" % files),
        "bytes that are no text": request(chat, b"GET %s\xff\xfe HTTP/1.1" % files),
        "a broken percent encoding": request(chat, b"GET %s%%ff%%zz%% HTTP/1.1" % files),
        "an odd Upgrade": request(chat, b"GET %s HTTP/1.1" % socket, b"Upgrade: \x85", *upgrade),
        "an odd Expect": request(chat, b"GET %s HTTP/1.1" % socket, b"Expect: \xff"),
        "a broken cookie": request(chat, b"GET %snothing HTTP/1.1" % files, b"Cookie: a=\xff; =; \x85"),
        "two lengths": request(chat, b"POST /x HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2") + b"a",
        "bad chunks": request(chat, b"POST /x HTTP/1.1", b"Transfer-Encoding: chunked") + b"zz\r\n",
        "an odd method": request(chat, b"G\x1bT %s HTTP/1.1" % page),
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    }
    async with chat.instance() as server:
        before = server.lines_seen
        for what, data in mistakes.items():
            status, _ = await raw(chat, data, server)
            right = status is None or 400 <= status < 500 or status in (501, 505)
            expect(right, f"a 4xx status for {what}", f"it is {status}")
        answer = await chat.http.request("GET", chat.target.paths.health, server=server)
        expect_equal(answer.status, 200, "the health check after all of them")
    # When the server has ended, since it may write late.
    lines = written(server, before)
    traces = [line for line in lines if TRACEBACK.search(line)]
    expect(not traces, "a log without a traceback", f"it has {traces[:3]}")


@case(
    "robustness/log",
    title="What a client sends cannot write into the log",
    clause="HTTP-6",
    severity=Severity.MEDIUM,
    means="An attacker forges lines of the log, and controls the terminal of its reader.",
    needs=(HEALTHY,),
)
async def log(chat: CaseContext) -> None:
    forged = f"forged-{chat.marker}"
    # ESC ]0; sets a terminal's title, U+009B is ESC [ in one character, then come a line separator, a
    # character that turns the direction of text, and a line end with a forged line behind it.
    hostile = f"%1b]0;{chat.marker}%07%c2%9b31m%e2%80%a8%e2%80%ae%0d%0a{forged}".encode()
    page = chat.target.paths.page.encode()
    turn = (chat.target.paths.turn or chat.http.new_path).encode()
    async with chat.instance() as server:
        before = server.lines_seen
        for data in (
            request(chat, b"GET %s%s HTTP/1.1" % (page, hostile)),
            request(
                chat, b"GET /%s HTTP/1.1" % hostile, b"User-Agent: \x1b[2J\xc2\x9b", b"Referer: \xe2\x80\xae"
            ),
            request(chat, b"GET %s HTTP/1.1" % page, b"Origin: \x1b[31m", b"X-Forwarded-For: \xc2\x9b"),
        ):
            await raw(chat, data, server)
        # One that leaves in the middle of its form.
        async with chat.connector.wire(server) as peer:
            form = (b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: 99")
            peer.break_rules()
            await peer.send_bytes(
                request(chat, b"POST %s?%s HTTP/1.1" % (turn, hostile), *form) + b"message="
            )
        answer = await chat.http.request("GET", chat.target.paths.health, server=server)
        expect_equal(answer.status, 200, "the health check")
    for line in written(server, before):
        # Tabs and joiners are harmless, and parts of words and emoji.
        unsafe = [
            each for each in line if unicodedata.category(each) in UNSAFE and each not in "\t\u200c\u200d"
        ]
        expect(not unsafe, "a log without control characters", f"it has {unsafe[:3]} in {line[:200]!r}")
        expect(not line.startswith(forged), "no line that a client wrote", f"it is {line[:200]!r}")


def written(server: Server, before: int) -> tuple[str, ...]:
    """The lines that a server, which has ended, wrote after the first ``before``.

    Raises:
        CouldNotTest: It is not the suite that started it.
    """
    if server.pid is None:
        raise CouldNotTest("the target runs already, so that its log cannot be read")
    return server.lines_since(before)
