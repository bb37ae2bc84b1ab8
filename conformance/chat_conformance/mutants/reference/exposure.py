"""Mutants of what the server reveals to which client: origins, hosts, headers, files, errors and the log."""

from __future__ import annotations

from chat_conformance.mutants.registry import Patch, patched

CHECK_ORIGIN = "        check_origin(request, request.app[OWN])\n"
CHECK_HOST = "        check_host(request, request.app[OWN])\n"

# What a first attempt looks like. It refuses `http://host:80` beside `Host: host`, though they are one
# origin.
COMPARED_AS_TEXT = (
    '        own = f"http://{request.host}"\n'
    '        if request.headers.get("Origin", own) != own:\n'
    '            raise Forbidden("a foreign origin")\n'
)

patched(
    "origin-compared-as-text",
    "An origin is compared with Host, letter by letter.",
    Patch("web/middleware.py", CHECK_ORIGIN, COMPARED_AS_TEXT),
)

patched(
    "any-host",
    "Any Host is the server's own, and its pages may use the chat.",
    Patch("web/middleware.py", CHECK_HOST + CHECK_ORIGIN, COMPARED_AS_TEXT),
)

patched(
    "upgrade-spelling-skips-check",
    "The origin of an upgrade is checked where Upgrade is spelled as usual.",
    Patch(
        "web/middleware.py",
        CHECK_ORIGIN,
        '        if request.headers.get("Upgrade", "").lower() == "websocket" or request.method != "GET":\n    '
        + CHECK_ORIGIN,
    ),
)

patched(
    "fetch-site-ignored",
    "A request without Origin is taken, whatever Sec-Fetch-Site says.",
    Patch("web/middleware.py", CHECK_ORIGIN, f'        if "Origin" in request.headers:\n    {CHECK_ORIGIN}'),
)

patched(
    "post-origin-unchecked",
    "The origin is checked of WebSockets and GET only.",
    Patch("web/middleware.py", CHECK_ORIGIN, f'        if request.method == "GET":\n    {CHECK_ORIGIN}'),
)

patched(
    "own-origin-refused",
    "A request with an Origin is refused, whichever it is.",
    Patch(
        "web/middleware.py",
        CHECK_ORIGIN,
        '        if "Origin" in request.headers:\n            raise Forbidden("requests of pages are not taken")\n',
    ),
)

patched(
    "refused-page-is-json",
    "Browsers get the JSON that programs get.",
    Patch(
        "web/middleware.py",
        "    if not wants_page(request):\n        return error_answer(error, status, headers)\n",
        "    return error_answer(error, status, headers)\n",
    ),
)

patched(
    "get-starts-turn",
    "A link with a message in it starts a turn.",
    Patch(
        "web/handlers.py",
        "async def redirect_to_page(_request: web.Request) -> web.Response:\n",
        "async def redirect_to_page(request: web.Request) -> web.Response:\n"
        '    if message := request.query.get("message"):\n'
        '        log = await request.app[TURNS].start("dev", message)\n'
        "        await log.wait_ended(10)\n",
    ),
)

patched(
    "path-traversal",
    "Names of files are not checked, and .. leads anywhere.",
    # A name that no file can have is refused still: to fail on it would be another fault.
    Patch("web/static_files.py", "if not NAME.fullmatch(name) or", "if len(name) > 250 or"),
)

patched(
    "odd-file-name-is-500",
    "What the file system says of an odd name is not expected.",
    Patch("web/static_files.py", "if not NAME.fullmatch(name) or", 'if "." in name or'),
)

patched(
    "no-security-headers",
    "Answers have no headers of their own.",
    Patch("web/headers.py", "HEADERS: Mapping[str, str] = {\n", "HEADERS: Mapping[str, str] = {} and {\n"),
)

patched(
    "history-cacheable",
    "Caches may keep everything, if they ask again.",
    Patch("web/headers.py", 'hdrs.CACHE_CONTROL: "no-store",', 'hdrs.CACHE_CONTROL: "no-cache",'),
)

patched(
    "errors-reveal-details",
    "What is meant for the operator is sent to every client.",
    Patch("errors.py", "        self.message = message\n", "        self.message = str(self)\n"),
)

patched(
    "log-injection",
    "The path of a request is logged as it came.",
    Patch(
        "web/middleware.py",
        CHECK_HOST,
        '        logger.info("%s %s", request.method, request.path)\n' + CHECK_HOST,
    ),
    Patch(
        "logging_setup.py",
        "from chat_server.printable import printable\n",
        "def printable(text: str, _most: int = 0) -> str:\n    return text\n",
    ),
)
