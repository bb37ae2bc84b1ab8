"""What breaks the reference server, by the name of the mutant: a few lines over its parts, put in before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

Break = Callable[[], None]
BREAKS: dict[str, Break] = {}
MODULES = ("reference", "doors", "crowd", "strangers", "access", "schema")


def all_breaks() -> dict[str, Break]:
    """All of them, by name."""
    for module in MODULES:
        import_module(f"chat_conformance.mutants.{module}")
    return BREAKS


def breaks(name: str) -> Callable[[Break], Break]:
    """Register what breaks the reference under this name."""

    def mark(function: Break) -> Break:
        BREAKS[name] = function
        return function

    return mark


def put(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put in place of an attribute, which must be there, what ``make`` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))


def always(value: Any) -> Callable[..., Any]:
    """A maker of functions that give this value whatever they are asked."""
    return lambda _old: lambda *_args, **_kwargs: value


def replace_handler(method: str, path: str, make: Callable[[Any], Any]) -> None:
    """Put in place of the handler of a route what ``make`` makes of it.

    Raises:
        LookupError: There is no such route.
    """
    app: Any = import_module("chat_server.app")
    if not any((route.method, route.path) == (method, path) for route in app.ROUTES):
        raise LookupError(f"there is no route {method} {path}")
    app.ROUTES = tuple(
        type(route)(route.method, route.path, make(route.handler), route.kwargs)
        if (route.method, route.path) == (method, path)
        else route
        for route in app.ROUTES
    )


def replace(value: Any, **changes: Any) -> Any:
    """A copy of a dataclass or a struct with some fields changed."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **changes)
    import msgspec  # noqa: PLC0415 - the guardian, which is broken from here, too, has the standard library alone

    return msgspec.structs.replace(value, **changes)
