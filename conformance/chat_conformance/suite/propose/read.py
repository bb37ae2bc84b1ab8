"""The file of a recorded session: a HAR, or JSON Lines."""

from __future__ import annotations

import codecs
import re

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.har import of_har
from chat_conformance.suite.propose.lines import of_lines
from chat_conformance.suite.propose.recording import Recording

SURROGATES = re.compile(
    r"(\\+ud[89ab][0-9a-f]{2}\\+ud[c-f][0-9a-f]{2})|(\\+)ud[89a-f][0-9a-f]{2}", re.IGNORECASE
)
"""Escapes of a pair of surrogates, or of one that is alone, which no JSON may have."""
HAR = re.compile(r'\s*\{\s*"log"\s*:')


def read(data: bytes, name: str) -> Recording:
    """The recording of a file.

    Raises:
        UsageError: It is neither a HAR nor JSON Lines (recording.py), or not whole.
    """
    if data.startswith(b"PK"):
        raise UsageError(
            f"{name} is an archive: unpack it, or record to a name that ends in .har, without .zip"
        )
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is no text in UTF-8: {error.reason} at byte {error.start}") from None
    # JavaScript cuts texts in the middle of a pair.
    text = SURROGATES.sub(lambda found: found[1] or f"{found[2]}ufffd", text)
    if not text.strip():
        raise UsageError(f"{name} is empty")
    if not text.lstrip().startswith(("{", "#", "//")):
        raise UsageError(
            f"{name} is no HAR and no recorded session in JSON Lines, which are one object a line"
        )
    if not HAR.match(text):
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            document = None
        if not isinstance(document, dict) or "log" not in document:
            return of_lines(text, name)
        return of_har(document["log"], name)
    try:
        return of_har(msgspec.json.decode(text)["log"], name)
    except msgspec.DecodeError as error:
        raise UsageError(f"{name} is a HAR that is not whole: {error}; export it once more") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deep for a HAR") from None
