"""Play the opening steps of a connection: what comes before it is made, and what comes before it counts as open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from chat_conformance.errors import Failure, NotOffered
from chat_conformance.target.matching import NOTHING, Rule, value_at
from chat_conformance.target.opening import Step
from chat_conformance.target.speech import Speech
from chat_conformance.target.templates import filled, text
from chat_conformance.wire.channel import Channel
from chat_conformance.wire.json_text import decoded
from chat_conformance.wire.trace import shorten


class HttpAnswer(Protocol):
    """What a step needs of an answer."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""

    @property
    def body(self) -> bytes:
        """All of it."""

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets."""


class Request(Protocol):
    """Sends an HTTP request as the user of the connection."""

    async def __call__(
        self, method: str, path: str, *, body: bytes | None, headers: dict[str, str]
    ) -> HttpAnswer:
        """The whole answer, redirects not followed."""


class Opening:
    """The steps of one connection.

    Args:
        speech: Of the connection; what is captured goes there.
        request: How its user sends a request.

    Attributes:
        cookies: What answers have set so far.
    """

    def __init__(self, speech: Speech, request: Request) -> None:
        self.cookies: dict[str, str] = {}
        self._speech = speech
        self._request = request
        steps = speech.target.opening
        # The first step that is no request opens the connection, or needs it open: requests before it are
        # played before, all from there on after. Example: request, request, connect, wait, request is cut
        # behind the second request.
        connects = (place for place, each in enumerate(steps) if not each.request)
        place = next(connects, len(steps))
        self._before, self._after = steps[:place], steps[place:]

    async def before(self) -> tuple[str, dict[str, str]]:
        """Play what comes before the connection; its path, and the headers that go along.

        Raises:
            Failure: A step is answered otherwise than it must be.
            NotOffered: The path needs what no step has captured.
        """
        for step in self._before:
            await self._asked(step)
        target = self._speech.target
        path = self._after[0].connect if self._after and self._after[0].connect else target.socket_path
        return address(path, self._speech), self._cookie_header()

    async def after(self, channel: Channel) -> None:
        """Play what comes behind the connection.

        Raises:
            Failure: A step is answered otherwise than it must be, or not at all.
        """
        # A place in the early frames: each wait begins behind the frame that the last one took, so two waits
        # for like messages need two messages.
        place = 0
        for step in self._after:
            match step.kinds:
                case ["send"]:
                    await channel.send_message(filled(step.send, self._speech.captures))
                case ["wait"]:
                    place = await self._waited(step, channel, place)
                case ["request"]:
                    await self._asked(step)
                case _:
                    pass
        self._speech.opening = False
        # A copy: turns capture more, and what the opening has found stays known apart from it.
        self._speech.opened = dict(self._speech.captures)
        self._speech.early_frames.clear()
        if self._after:  # what has opened the connection belongs to no turn
            channel.events.clear()
            channel.times.clear()
            channel.ignored.clear()

    async def _waited(self, step: Step, channel: Channel, place: int) -> int:
        rule = Rule(kind="status", when=step.wait or {})
        expected = f"the message {shorten(str(step.wait))} that opens the connection"

        def came() -> int | None:
            # Numbers begin at one: a place of 0 would look like nothing found.
            for number, (frame, said) in enumerate(self._speech.early_frames[place:], place + 1):
                if rule.takes(frame, said):
                    self._capture(step.capture, frame)
                    return number
            return None

        return await channel.until(came, expected)

    async def _asked(self, step: Step) -> None:
        values = self._speech.captures
        method, _, path = step.request.partition(" ")
        headers = {name: text(each, values) for name, each in step.headers.items()} | self._cookie_header()
        body: bytes | None = None
        if step.json is not None:
            body = msgspec.json.encode(filled(step.json, values))
            # The target file's own header wins over ours.
            headers = {"Content-Type": "application/json", **headers}
        elif step.form:
            body = urlencode({name: text(each, values) for name, each in step.form.items()}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        elif step.body:
            body = text(step.body, values).encode()
        answer = await self._request(method, address(path, self._speech), body=body, headers=headers)
        # Without a status named, redirects are fine: a login often answers 302, and it is not followed.
        if answer.status not in (step.status or range(200, 400)):
            raise Failure(
                f"the opening step {step.request} to be let through",
                f"status {answer.status}, {shorten(answer.body)}",
            )
        self.cookies |= answer.cookies
        self._capture(step.capture, answer)

    def _capture(self, wanted: Mapping[str, str], found: Any) -> None:
        for name, place in wanted.items():
            value = _of_answer(found, place) if hasattr(found, "status") else value_at(found, place)
            if value is NOTHING or value is None:
                said = shorten(found.body) if hasattr(found, "status") else shorten(str(found))
                raise Failure(f"an opening step to give {name} at {place!r}", f"there is none in {said}")
            self._speech.captures[name] = value

    def _cookie_header(self) -> dict[str, str]:
        return (
            {"Cookie": "; ".join(f"{name}={each}" for name, each in self.cookies.items())}
            if self.cookies
            else {}
        )


def address(path: str, speech: Speech) -> str:
    """A path with what the connection knows in it.

    Raises:
        NotOffered: It does not know something.
    """
    try:
        return text(path, speech.captures)
    except KeyError as error:
        raise NotOffered(f"{path} needs {error.args[0]}, which no opening step has captured") from None


def _of_answer(answer: HttpAnswer, place: str) -> Any:
    kind, _, name = place.partition(":")
    match kind:
        case "header" if name:
            return answer.headers.get(name.lower(), NOTHING)
        case "cookie" if name:
            return answer.cookies.get(name, NOTHING)
        case "regex" if name:
            found = re.search(name, answer.body.decode(errors="replace"))
            return NOTHING if found is None else found[1]
        case _:
            try:
                return value_at(decoded(answer.body), place)
            except (msgspec.DecodeError, RecursionError):
                return NOTHING


def with_cookies(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Headers and more of them; cookies of both stand in one header."""
    both = [each for each in (headers.get("Cookie"), more.get("Cookie")) if each]
    return {**headers, **more, **({"Cookie": "; ".join(both)} if both else {})}
