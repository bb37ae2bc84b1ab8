"""Checks before every handler, and errors as answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from chat_server.errors import BadRequest, ChatError, Forbidden, NotFound, TooLarge, Unauthorized, Unavailable
from chat_server.printable import printable
from chat_server.web.headers import HEADERS, SERVER, STRICT_TRANSPORT
from chat_server.web.keys import (
    OWN,
    SETTINGS,
)
from chat_server.web.origins import check_host, check_origin
from chat_server.web.pages import TITLES, Link, page, sentence, wants_page
from chat_server.web.responses import (
    error_answer,
)
from chat_server.web.serving import ClientProtocol

logger = logging.getLogger(__name__)


USER_ID_HEADER = "X-Chat-User-Id"


PATH_SHOWN = 100
"""How many characters of its path a refused request gets back."""


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of every answer (HTTP-7)."""
    response.headers[hdrs.SERVER] = SERVER  # aiohttp has put itself there
    if response.status == 101:
        # They are for pages; a socket would hold them for as long as it is open.
        return
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.app[SETTINGS].public_url.startswith("https:"):
        response.headers.update(STRICT_TRANSPORT)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: PLR0911 - one for each kind
    """Check where a request comes from, and turn errors into answers."""
    if isinstance(request.protocol, ClientProtocol):
        request.protocol.begin()
    try:
        check_host(request, request.app[OWN])
        check_origin(request, request.app[OWN])
        if hdrs.CONTENT_ENCODING in request.headers:
            return _refuse_compressed(request)
        return await handler(request)
    except ChatError as error:
        return _refused(request, error)
    except web.HTTPException as error:
        return _http_error(request, error)
    except ConnectionError as error:
        logger.info("= the client of %s %s has gone: %s", request.method, request.path, error)
        return error_answer(
            BadRequest("the client aborted the request")
        )  # for nobody; aiohttp wants an answer
    except (HttpProcessingError, UnicodeEncodeError) as error:
        # A body that stops being HTTP half way; bytes that aiohttp wants to quote and cannot.
        logger.info("= %s %s is no HTTP: %s", request.method, request.path, type(error).__name__)
        return error_answer(BadRequest("the request cannot be understood"))
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return error_answer(ChatError("internal error; see the server's log"))


def _refuse_compressed(request: web.Request) -> web.Response:
    """No body is inflated: a few kilobytes may become gigabytes (TURN-10)."""
    given = request.headers[hdrs.CONTENT_ENCODING]
    refused = BadRequest(f"the body is encoded as {given[:40]!r}; send it as it is, without Content-Encoding")
    return error_answer(refused, 415, {hdrs.ACCEPT_ENCODING: "identity"})  # RFC 9110 section 12.5.3


def _refused(
    request: web.Request,
    error: ChatError,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A refusal: a page for people, a document for programs."""
    if not wants_page(request):
        return error_answer(error, status, headers)
    settings = request.app[SETTINGS]
    chat, words = _chat_address(request), [sentence(printable(error.message))]
    links = [Link("Back to the chat", chat)]
    if settings.identity == "oauth" and isinstance(error, Unauthorized | Forbidden | Unavailable):
        links = [Link("Log in again", f"{chat}login")]
        if isinstance(error, Forbidden):
            words.append("To use another account, log out at the forge first, and then log in again here.")
            links.append(Link("Open the forge", settings.oauth_url))
    elif isinstance(error, Forbidden):
        links = []
    status = status or error.status
    return page(TITLES.get(status, "That did not work"), words, links, status=status, headers=headers)


def _chat_address(request: web.Request) -> str:
    """Where the chat is, for a link: its public address, or else relative to where the browser is."""
    settings = request.app[SETTINGS]
    if settings.public_url:
        return f"{settings.public_url.rstrip('/')}/chat/"
    up = "../" * (request.path.count("/") - 1)
    return f"{up}chat/"


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp refuses, in the form of our own errors (docs/protocol.md §8)."""
    match error:
        case web.HTTPRequestEntityTooLarge():
            limit = request.app[SETTINGS].message_max_bytes
            return _refused(
                request, TooLarge(f"the request is too large; a message may have {limit:,} bytes")
            )
        case web.HTTPNotFound():
            return _refused(request, NotFound(f"there is nothing at {printable(request.path, PATH_SHOWN)}"))
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            refused = BadRequest(
                f"{printable(request.path, PATH_SHOWN)} does not take {printable(error.method, 20)}, only {allowed}"
            )
            return _refused(request, refused, error.status, {hdrs.ALLOW: allowed})
        case _:
            return _refused(request, BadRequest(error.text or error.reason), error.status)
