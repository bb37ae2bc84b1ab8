"""Mutants of the reference server by name: patches of its source, or functions that patch its attributes."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

PARTS = ("web", "turns", "store", "claude", "processes", "login", "limits", "exposure", "schema")
PACKAGE = "chat_server"


@dataclass(frozen=True, slots=True)
class Patch:
    """A piece of the server's source, and what a mutant has in its place.

    Attributes:
        file: Where it is, below the folder of ``chat_server``.
        old: The piece; it is in the file exactly once.
        new: What replaces it.
    """

    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: The piece is not there exactly once: the server has changed.
        """
        # Nowhere, and the mutant would be the reference itself, which passes; twice, and it would have a
        # second fault.
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class SourceMutant:
    """A mutant made by patches of the source: the form for whatever is private in the server."""

    about: str
    patches: tuple[Patch, ...]


Break = Callable[[], None]
BREAKS: dict[str, Break] = {}
SOURCE_MUTANTS: dict[str, SourceMutant] = {}


def load() -> None:
    """Register all mutants."""
    for part in PARTS:
        import_module(f"chat_conformance.mutants.reference.{part}")


def names() -> set[str]:
    """The names of all mutants."""
    load()
    return {*BREAKS, *SOURCE_MUTANTS}


def put_in(mutants: Iterable[str], folder: Path) -> None:
    """Break the server that this process is about to import; ``folder`` takes a copy of its source, if one is patched.

    Raises:
        KeyError: There is no such mutant.
        ValueError: A patch does not fit.
    """
    # Theory: two forms of faults, in this order. Patches change a copy of the source, which has to be
    # imported in place of the server; functions change attributes of the server that is imported. The other
    # way round, what the functions changed would be thrown away with the old modules.
    load()
    wanted = list(mutants)
    patches = [patch for each in wanted if each in SOURCE_MUTANTS for patch in SOURCE_MUTANTS[each].patches]
    if patches:
        copy_source(folder, patches)
        sys.path.insert(0, str(folder))
        # The modules of mutants have imported the server itself; from here on the copy is the server.
        for name in [*sys.modules]:
            if name.split(".")[0] == PACKAGE or name.startswith("chat_conformance.mutants.reference"):
                del sys.modules[name]
        # Once more: the functions were made for the modules that have just been dropped.
        load()
    for each in wanted:
        if each not in SOURCE_MUTANTS:
            BREAKS[each]()


def source() -> Path:
    """The folder of the server's package."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def copy_source(folder: Path, patches: Iterable[Patch]) -> None:
    """Copy the server's package into ``folder``, with these patches."""
    # `dirs_exist_ok`, since a mutant that is restarted finds the copy of its first start.
    copy = folder / PACKAGE
    shutil.copytree(source(), copy, ignore=shutil.ignore_patterns("tests"), dirs_exist_ok=True)
    for patch in patches:
        file = copy / patch.file
        file.write_text(patch.apply(file.read_text(encoding="utf-8")), encoding="utf-8")


def patched(name: str, about: str, *patches: Patch) -> None:
    """Register a mutant made by patches of the source."""
    SOURCE_MUTANTS[name] = SourceMutant(about, patches)


def breaks(name: str) -> Callable[[Break], Break]:
    """Register a function that patches attributes before the server starts."""

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
    # The table has the handlers themselves: another function under a handler's name would never be called.
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
    return msgspec.structs.replace(value, **changes)
