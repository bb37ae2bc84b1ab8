"""A case's HTTP client: requests as one of the users, turns by POST, and history."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from multidict import CIMultiDict

from chat_conformance.errors import Failure, NotOffered
from chat_conformance.suite.scope import CaseScope
from chat_conformance.target.file import Paths
from chat_conformance.target.server import Server
from chat_conformance.wire.body import read_body
from chat_conformance.wire.contract import look_at_document
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.json_text import MAX_DEPTH, decoded
from chat_conformance.wire.middlebox import MiddleBox
from chat_conformance.wire.trace import shorten

Headers = dict[str, str] | list[tuple[str, str]]
# Ids of 12 hexadecimal digits differ from run to run; in what a case saw they are replaced, so that two runs
# compare equal.
_IDS = re.compile(r"\b[0-9a-f]{12}\b")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response.

    Attributes:
        status: The status code.
        headers: Names in lower case.
        body: All of it.
        cookies: The cookies it sets.
        set_cookies: The headers that set them, as they are.
        read: Translates a JSON document from the target's names to the protocol's.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: dict[str, str]
    read: Callable[[Any], Any] = lambda value: value
    set_cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Failure: It is not JSON, or nested too deep.
        """
        try:
            return self.read(decoded(self.body))
        except msgspec.DecodeError as error:
            raise Failure("a JSON body", f"{error}: status {self.status}, {shorten(self.body)}") from None
        # A hostile document of `[[[[…` is a failure of the server, and must not end the suite.
        except RecursionError:
            deep = f"it is nested deeper than {MAX_DEPTH} levels: {shorten(self.body)}"
            raise Failure("a JSON body", deep) from None

    def member(self, name: str) -> Any:
        """One member of the body.

        Raises:
            Failure: The body is not an object that has it.
        """
        value = self.json()
        if not isinstance(value, dict) or name not in value:
            raise Failure(f"a JSON object with {name!r}", f"status {self.status}, {shorten(self.body)}")
        return value[name]


class HttpClient:
    """Requests of one case to one server; an async context manager, which holds the connections."""

    def __init__(self, scope: CaseScope) -> None:
        self._scope = scope
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Cookies are what some cases are about, so none is sent that a case does not name.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def on(self, scope: CaseScope) -> HttpClient:
        """A client of the same connections for another server; it must not be entered."""
        other = HttpClient(scope)
        # One session for all servers of a case: it closes with the case, whatever variant was last.
        other._session = self._session
        return other

    @property
    def supports_post(self) -> bool:
        """Whether turns can be run by POST, too."""
        return bool(self._scope.target.paths.turn)

    @property
    def post_path(self) -> str:
        """The path where turns are run by POST.

        Raises:
            NotOffered: The target has none.
        """
        if not self.supports_post:
            raise NotOffered("paths.turn is empty in the target file: there is no POST")
        return self._scope.target.paths.turn

    @property
    def new_path(self) -> str:
        """The path where empty conversations are made.

        Raises:
            NotOffered: The target has none.
        """
        if not self._scope.target.paths.new:
            raise NotOffered("paths.new is empty in the target file: no empty conversations are made")
        return self._scope.target.paths.new

    async def request(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        body: bytes | None = None,
        headers: Headers | None = None,
        user: int = 0,
        server: Server | MiddleBox | None = None,
        url: str | None = None,
        within: float | None = None,
        only: dict[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request, with a form or with a body as it is, and read the whole response.

        Args:
            method: The method.
            path: The path with its query.
            form: The body as a form, its names those of the protocol.
            body: The body as bytes.
            headers: What is sent beside the user's headers.
            user: Whose headers are sent.
            server: Another server than the case's, or a box before it.
            url: Another origin, such as the forge's.
            within: How long it may take, in seconds; without it, as the target file says.
            only: The headers that are sent in place of the user's.

        Raises:
            Failure: The connection broke, or the response took longer than ``within``.
        """
        assert self._session is not None
        scope = self._scope
        where = (url or (server or scope.server).url) + path
        scope.trace.add("http", ">", f"{method} {path}{f' {shorten(str(form))}' if form else ''}")
        limit = within or scope.target.within
        mine = scope.user(user).headers if only is None else only
        named = (
            # Behind a middle box the server is reached at another port. It must still see its own origin, or it
            # refuses the request for its Host and the case judges the wrong thing.
            [("Host", f"{scope.server.host}:{scope.server.port}")] if isinstance(server, MiddleBox) else []
        )
        try:
            async with (
                asyncio.timeout(limit),
                self._session.request(
                    method,
                    where,
                    data=body if form is None else scope.target.dialect.form(form),
                    headers=CIMultiDict([*mine.items(), *pairs(headers), *named]),
                    # A redirect is an answer that cases judge (a login, a path with a slash too many).
                    allow_redirects=False,
                    ssl=scope.target.tls() or True,
                ) as response,
            ):
                body = await read_body(response)
        except TimeoutError:
            raise Failure(f"an answer to {method} {path}", f"not within {limit:g} s") from None
        except aiohttp.ClientError as error:
            raise Failure(f"an answer to {method} {path}", f"{type(error).__name__}: {error}") from None
        scope.trace.add("http", "<", f"{response.status} {shorten(body)}")
        saw(f"{method} {_IDS.sub('{id}', path.partition('?')[0])} was answered with {response.status}")
        # What the protocol has no document for may still be an error, whose words are the same everywhere.
        kind = route_kind(scope.target.paths, method, path.partition("?")[0]) or "conversation"
        answer = HttpResponse(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            body,
            {name: morsel.value for name, morsel in response.cookies.items()},
            lambda value: scope.target.dialect.document(kind, value),
            tuple(response.headers.getall("Set-Cookie", [])),
        )
        # Another origin, such as the forge, is our own: the target's schema says nothing of it.
        if url is None:
            self._look_at(method, path, answer)
        return answer

    def _look_at(self, method: str, path: str, answer: HttpResponse) -> None:
        """Hold a JSON document to the schema; one that is no JSON is for the case to judge."""
        target = self._scope.target
        kind = document_kind(target.paths, method, path.partition("?")[0], answer.status)
        if not kind or "json" not in answer.headers.get("content-type", ""):
            return
        with suppress(Failure):
            what = f"{method} {_IDS.sub('{id}', path.partition('?')[0])} ({answer.status})"
            look_at_document(kind, answer.json(), target, what)

    async def expect_alive(self, when: str) -> None:
        """Ask whether the server is well: its health check, or any answer where it has none.

        Raises:
            Failure: It does not answer, or says that it is not well.
        """
        paths = self._scope.target.paths
        answer = await self.request("GET", paths.alive)
        # Without a health check any path will do, and 401 or 404 are healthy answers of it; 5xx is not.
        well = answer.status == 200 if paths.health else answer.status < 500
        if not well:
            raise Failure(f"a healthy answer {when}", f"{paths.alive} answers {answer.status}")
        saw(f"the server answered {when}")

    async def post(
        self,
        message: str,
        *,
        within: float | None = None,
        server: Server | MiddleBox | None = None,
        user: int = 0,
        **fields: str,
    ) -> HttpResponse:
        """Run a turn by HTTP (HTTP-2).

        Raises:
            NotOffered: The target runs no turns by POST.
        """
        form = {"message": message, **fields}
        return await self.request("POST", self.post_path, form=form, within=within, server=server, user=user)

    async def history(
        self, conversation_id: str, *, server: Server | None = None, user: int = 0
    ) -> list[dict[str, Any]]:
        """The messages of a conversation as history has them (HIST-4).

        Raises:
            Failure: The status is not 200, or the document has no list of messages.
        """
        path = self._scope.target.paths.of(conversation_id)
        response = await self.request("GET", path, server=server, user=user)
        if response.status != 200:
            raise Failure("200 for the conversation's history", f"{response.status} {shorten(response.body)}")
        messages = response.member("messages")
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise Failure("a list of messages in history", f"it is {shorten(response.body)}")
        return messages

    async def last_message(self, conversation_id: str) -> dict[str, Any]:
        """The newest message of a conversation as history has it.

        Raises:
            Failure: It has none.
        """
        messages = await self.history(conversation_id)
        if not messages:
            raise Failure("the conversation to have messages in history", "it is []")
        return messages[-1]

    async def settle(self) -> None:
        """Wait until the server has answered two requests, one after the other: what was due before has happened.

        So a case judges by order and not by the clock: on a machine that stalls, these answers are late, too. A server
        that does not answer at all has had its time.
        """
        with suppress(Failure):
            for _ in range(2):
                await self.request("GET", self._scope.target.paths.alive)


def route_kind(paths: Paths, method: str, path: str) -> str:
    """What a route is, by the name of its document; empty where the protocol knows none, or the target has none."""
    known = {
        ("POST", paths.turn): "post",
        ("POST", paths.new): "new",
        ("GET", paths.history): "list",
        ("GET", paths.usage): "usage",
    }
    if path and (kind := known.get((method, path))):
        return kind
    # The path of one conversation is a template. Example: "/api/conversations/{id}" gives the prefix
    # "/api/conversations/" and an empty end; a path between the two is one conversation. Below no history there
    # is none: "/{id}" would be any path.
    before, _, after = (
        paths.of("{id}").partition("{id}") if paths.conversation or paths.history else ("", "", "")
    )
    return "conversation" if before and path.startswith(before) and path.endswith(after) else ""


def document_kind(paths: Paths, method: str, path: str, status: int) -> str:
    """What the schema calls the document of an answer; empty where the protocol knows none."""
    kind = route_kind(paths, method, path)
    # A redirect has no document of the protocol; errors have one, whatever the path would give.
    if status >= 400:
        return "error" if kind else ""
    # A conversation is read by GET alone: a DELETE of one has no document.
    has = 200 <= status < 300 and (kind != "conversation" or method == "GET")
    return kind if has else ""


def pairs(headers: Headers | None) -> list[tuple[str, str]]:
    """Headers as a list, which may have a name twice."""
    return list(headers.items()) if isinstance(headers, dict) else list(headers or [])
