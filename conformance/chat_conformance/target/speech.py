"""What one connection says and means: the words of docs/protocol.md on our side, the server's own on the other.

A server that differs in naming only has a `Dialect`. One with a protocol of its own has templates for what is sent
and rules for what comes; then a `Speech` also keeps what the connection has learned, such as the id of a session.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from chat_conformance.errors import NotOffered
from chat_conformance.target.cli_lines import CliLines
from chat_conformance.target.file import Target
from chat_conformance.target.matching import NOTHING, Rule, enclosed, taken, text_at, value_at
from chat_conformance.target.templates import filled, names_in

BEGINNING = ("chat_request", "subscribe")
"""Messages whose answer begins with no text."""
ALL = frozenset({"type", "message", "message_id", "conversation_id", "after"})


class Speech:
    """Both directions of one connection.

    Attributes:
        target: Whose words they are.
        captures: What was learned of the server on this connection, by name; they fill templates and paths.
        opening: Whether the connection is not open yet: then frames are kept in ``early_frames``.
        early_frames: The frames that came before, each with its text.
        opened: What the opening steps had captured when they were over: a conversation that they made is this one's.
    """

    def __init__(self, target: Target, values: Mapping[str, Any] | None = None) -> None:
        self.target = target
        self.captures: dict[str, Any] = {"connection_uuid": str(uuid.uuid4()), **(values or {})}
        self.opened: dict[str, Any] = {}
        self.early_frames: list[tuple[Any, str]] = []
        self.opening = bool(target.opening)
        self._cli = CliLines()
        # By kind: the thinking of an answer grows beside its text.
        self._so_far: dict[str, str] = {}
        self._names_turns = "message_id" in target.roles

    def answering(self) -> Speech:
        """The speech of one of several answers that stream at once; what it learns is the connection's."""
        # Text that grows, and the CLI's lines, are put together by what came before: two answers would mix.
        other = Speech(self.target)
        other.captures, other.opened = self.captures, self.opened
        other.opening, other.early_frames = self.opening, self.early_frames
        return other

    @property
    def reads_text(self) -> bool:
        """Whether a frame that is no JSON can mean something."""
        awaited = any(isinstance(each.wait, str) for each in self.target.opening)
        return awaited or any(each.takes_text for each in self.target.events)

    @property
    def reads_binary(self) -> bool:
        """Whether a binary frame is read as a text one; only where the protocol is the server's own."""
        return self.target.described

    # To the server

    def message(self, members: Mapping[str, Any]) -> Any:
        """A client's message as the server has it: JSON, or a text.

        Raises:
            NotOffered: The target file does not describe such a message.
        """
        given = {name: value for name, value in members.items() if value is not None}
        if not self.target.described:
            return self.target.dialect.frame(given)
        kind = str(given.get("type"))
        if kind not in self.target.messages:
            raise NotOffered(f"the target file has no messages.{kind}")
        if more := sorted(given.keys() - ALL):
            raise NotOffered(f"messages.{kind} of the target file has no {more[0]}")
        if kind in BEGINNING:
            self._so_far.clear()
        values = {**self.captures, **given, "prompt": given.get("message"), "uuid": str(uuid.uuid4())}
        values["conversation_id"] = given.get("conversation_id") or self.opened.get("conversation_id")
        template = self.target.messages[kind]
        # Ours to choose.
        if "conversation_uuid" in names_in(template):
            values["conversation_uuid"] = given.get("conversation_id") or values["uuid"]
            self.captures["conversation_id"] = values["conversation_uuid"]
        try:
            return filled(template, values)
        except KeyError as error:
            raise NotOffered(f"messages.{kind} needs {error.args[0]}, which nothing has given yet") from None

    def encode(self, members: Mapping[str, Any]) -> bytes:
        """The same as the payload of a frame."""
        message = self.message(members)
        return message.encode() if isinstance(message, str) else msgspec.json.encode(message)

    # From the server

    def events(self, frame: Any, text: str, envelope: Mapping[str, str] | None = None) -> list[Any]:
        """What a frame means, in the words of docs/protocol.md.

        Args:
            frame: The frame's JSON; the text itself where it is none.
            text: The frame as it was sent.
            envelope: What the transport has beside the frame, such as ``event`` and ``id``.
        """
        target = self.target
        if not target.described:
            return [target.dialect.event(frame)]
        frame = enclosed(frame, envelope or {})
        if self.opening:
            self.early_frames.append((frame, text))
        for name, path in target.captures.items():
            if (found := value_at(frame, path)) is not NOTHING and found is not None:
                self.captures[name] = found
        events: list[dict[str, Any]] = []
        if target.cli_lines:
            # Each frame is read by both: the CLI's lines give text and end, rules what else a frame may mean.
            events += self._cli.events(value_at(frame, target.cli_lines))
        for rule in taken(target.events, frame, text):
            events += self._meant(rule, frame, text)
        return [self._known(each) for each in events]

    def _meant(self, rule: Rule, frame: Any, text: str) -> list[dict[str, Any]]:
        found = {name: value_at(frame, path) for name, path in rule.members.items()}
        event: dict[str, Any] = {
            **rule.constants,
            **{name: value for name, value in found.items() if value is not NOTHING},
        }
        event = self.target.dialect.spoken(event)
        if not rule.text:
            return [{**event, "type": rule.kind}]
        said = text_at(frame, rule.text, text)
        if said is None:
            return []
        if not rule.cumulative:
            return [{**event, "type": rule.kind, rule.kind: said}]
        return self._grown(event, rule.kind, said)

    def _grown(self, event: dict[str, Any], kind: str, said: str) -> list[dict[str, Any]]:
        """A text that is the whole answer so far, as what it adds to the one before."""
        # "Hel" and then "Hello" is "Hel" and "lo". After "Hello" the text "Help!" is a rewind to 0 and
        # "Help!": what was sent is not what the answer has (TURN-4).
        before, self._so_far[kind] = self._so_far.get(kind, ""), said
        if said.startswith(before):
            return [{**event, "type": kind, kind: said[len(before) :]}] if said != before else []
        # The place of a rewind is one in the answer's text, which thinking is no part of.
        rewind = [{**event, "type": "rewind", "to": 0}] if kind == "token" else []
        return [*rewind, {**event, "type": kind, kind: said}]

    def _known(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event without ids that are none of ours, and with the conversation that the connection knows."""
        known = {name: value for name, value in event.items() if name != "message_id" or self._names_turns}
        if "conversation_id" not in known and (captured := self.captures.get("conversation_id")) is not None:
            known["conversation_id"] = captured
        return known
