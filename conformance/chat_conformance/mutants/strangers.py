"""The reference server with one thing broken in what strangers are told, or can write."""

from __future__ import annotations

import logging
import re
from types import MappingProxyType
from typing import Any

from aiohttp import hdrs

import chat_server.app
import chat_server.errors
import chat_server.logging_setup
import chat_server.web.middleware
import chat_server.web.static_files
from chat_conformance.mutants.registry import breaks, put


@breaks("path-traversal")
def any_file_is_served() -> None:
    """Names of files are not looked at, and .. leads anywhere."""
    # Of names that no file can have it says nothing: that would be another fault.
    put(chat_server.web.static_files, "NAME", lambda _: re.compile(".{,250}", re.DOTALL))


@breaks("no-security-headers")
def no_policy() -> None:
    """Answers have no headers of their own."""
    put(chat_server.web.middleware, "HEADERS", lambda _: MappingProxyType({}))


@breaks("history-cacheable")
def history_may_be_kept() -> None:
    """Caches may keep everything, if they ask again."""
    put(chat_server.web.middleware, "HEADERS", lambda old: {**old, hdrs.CACHE_CONTROL: "no-cache"})


@breaks("errors-reveal-details")
def errors_are_spelled_out() -> None:
    """What is for the operator is told to everybody."""

    def make(init: Any) -> Any:
        def mutant(self: Any, *args: Any, **options: Any) -> None:
            init(self, *args, **options)
            self.message = str(self)

        return mutant

    put(chat_server.errors.ChatError, "__init__", make)


@breaks("odd-file-name-is-500")
def odd_names_are_failures() -> None:
    """What the file system says of a name is not expected."""

    def make(serve: Any) -> Any:
        def mutant(app: Any, prefix: str, folder: Any) -> None:
            put(chat_server.web.static_files, "NAME", lambda _: re.compile("[^.]*", re.DOTALL))
            serve(app, prefix, folder)

        return mutant

    put(chat_server.app, "add_files", make)


@breaks("log-injection")
def requests_are_logged_raw() -> None:
    """What is asked for is logged as it came."""

    def make(check: Any) -> Any:
        def mutant(request: Any, own: Any) -> None:
            logging.getLogger("chat_server.app").info("%s %s", request.method, request.path)
            check(request, own)

        return mutant

    put(chat_server.web.middleware, "check_host", make)
    put(chat_server.logging_setup, "printable", lambda _: lambda text, _most=0: text)
