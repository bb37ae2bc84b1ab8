"""The body of a request, as a form of a few text fields.

aiohttp's own ``request.post()`` decodes a form in one go: megabytes of escapes, or of empty lines before the first
part, keep the event loop for seconds. Here whatever is not done in one pass of C is done piece by piece.
"""

from __future__ import annotations

import asyncio
from email.message import Message
from email.parser import BytesHeaderParser
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDict

from chat_server.errors import BadRequest

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"})
"""Some of Python's others take time by the square of the length."""

MOST_FIELDS = 16
LONGEST_NAME = 200
LONGEST_HEAD = 8_190  # of a part
LONGEST_BOUNDARY = 70  # RFC 2046 section 5.1.1
# What is unescaped in one round of the loop; a millisecond.
PIECE = 16_384

Form = MultiDict[str | bytes]
"""Fields by name; bytes are a file's."""


async def read_form(request: web.Request, seconds: float) -> Form:
    """The form of a request, which must have arrived within `seconds`.

    Raises:
        BadRequest: The body is no form, or cannot be decoded.
        HTTPRequestTimeout: It took too long.
        HTTPRequestEntityTooLarge: It is too long.
    """
    if request.can_read_body and request.content_type not in FORMS:
        raise BadRequest(f"the body is {request.content_type[:80]}; send a form ({' or '.join(FORMS)})")
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except (ValueError, RuntimeError, HttpProcessingError) as error:  # torn chunks
        raise BadRequest(f"the form cannot be read: {error}") from None
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body was not complete after {seconds:g} seconds") from None
    kind = Message()
    kind[hdrs.CONTENT_TYPE] = request.headers.get(hdrs.CONTENT_TYPE, FORMS[0])
    try:
        if kind.get_content_type() == FORMS[1]:
            return _multipart(body, kind.get_boundary() or "")
        return await _urlencoded(body, request.charset or "utf-8")
    except (ValueError, LookupError) as error:
        raise BadRequest(f"the form cannot be read: {error}") from None


def field(form: Form, name: str) -> str | None:
    """One text field of a form; ``None`` when it is not there.

    Raises:
        BadRequest: There are several of the name, or it is a file.
    """
    values = form.getall(name, [])
    if len(values) > 1 or not all(isinstance(value, str) for value in values):
        raise BadRequest(f"{name} must be one text field")
    return str(values[0]) if values else None


async def _urlencoded(body: bytes, charset: str) -> Form:
    """The fields of a form as the URL standard writes them."""
    form: Form = MultiDict()
    pairs = body.strip().split(b"&", MOST_FIELDS)
    if len(pairs) > MOST_FIELDS:
        raise ValueError(f"it has more than {MOST_FIELDS} fields")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        if len(name) > LONGEST_NAME:
            raise ValueError("a name is too long")
        if pair:
            form.add(
                _text(unquote_to_bytes(name.replace(b"+", b" ")), charset),
                _text(await _plain(value), charset),
            )
    return form


async def _plain(value: bytes) -> bytes:
    """A value without its escapes, with a round of the loop after each piece."""
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    pieces = []
    start = 0
    while start < len(value):
        end = start + PIECE
        cut = value.rfind(b"%", end - 2, end)  # an escape is not torn
        end = cut if cut > start else end
        pieces.append(unquote_to_bytes(value[start:end]))
        start = end
        await asyncio.sleep(0)
    return b"".join(pieces)


def _multipart(body: bytes, boundary: str) -> Form:
    """The fields of a form in parts (RFC 7578)."""
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise ValueError("it has no boundary, or a wrong one")
    form: Form = MultiDict()
    between = b"--" + boundary.encode()
    if not body.startswith(between):
        raise ValueError("it does not begin with its boundary")
    place = len(between)
    between = b"\r\n" + between
    while not body.startswith(b"--", place):
        end = body.find(between, place)
        if end < 0:
            raise ValueError("it does not end")
        if len(form) == MOST_FIELDS:
            raise ValueError(f"it has more than {MOST_FIELDS} parts")
        part, place = body[place:end], end + len(between)
        # A part is the end of the boundary's line, header lines, a blank line, the content. The line break that is put
        # before the rest lets the blank line be found also where there are no header lines.
        line, _, rest = part.partition(b"\r\n")
        head, blank, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
        if line.strip() or not blank or len(head) > LONGEST_HEAD:
            raise ValueError("the header of a part is torn, or too long")
        header = BytesHeaderParser().parsebytes(head[2:] + b"\r\n")
        name = header.get_param("name", header=hdrs.CONTENT_DISPOSITION)
        if not isinstance(name, str):
            raise ValueError("a part has no name")  # noqa: TRY004 - of the form, not of our types
        if str(header.get("Content-Transfer-Encoding", "binary")).lower() not in {"7bit", "8bit", "binary"}:
            raise ValueError("a part is encoded; send it as it is")
        is_text = hdrs.CONTENT_TYPE not in header or header.get_content_maintype() == "text"
        if header.get_filename() is None and is_text:
            form.add(name, _text(content, header.get_content_charset() or "utf-8"))
        else:
            form.add(name, content)
    return form


def _text(value: bytes, charset: str) -> str:
    if charset.lower() not in CHARSETS:
        raise ValueError(f"the charset {charset[:40]!r} is not taken; send UTF-8")
    return value.decode(charset)
