"""Expectations that fail a case, and are kept as evidence where they hold."""

from __future__ import annotations

from typing import Any

from chat_conformance.errors import Failure
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.trace import shorten


def expect(happened: bool, expected: str, otherwise: str) -> None:  # noqa: FBT001
    """Fail the case unless something holds.

    Raises:
        Failure: It does not.
    """
    if not happened:
        raise Failure(expected, otherwise)
    saw(expected)


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Fail the case unless two values are equal.

    Raises:
        Failure: They are not; the message has both.
    """
    if found != wanted:
        raise Failure(f"{what} to be {shorten_value(wanted)}", f"it is {shorten_value(found)}")
    saw(f"{what} is {shorten_value(found)}")


def shorten_value(value: Any) -> str:
    """A value as one line of bounded length."""
    return shorten(value) if isinstance(value, str | bytes) else shorten(repr(value))[1:-1]
