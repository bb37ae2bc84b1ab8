"""The parts that a chat may play, and that a case may rely on: what a server does not have is not offered.

A server that speaks chat-stream-v1 has them all, except those that its target file lists in ``lacks``. One that is
described by ``messages`` has those that its file describes: without an event with ``seq`` there is no ``seq``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_conformance.target.matching import Rule
from chat_conformance.target.templates import names_in

ROLES: dict[str, str] = {
    "end": "the end of an answer is not marked: an event with is = 'complete'",
    "error": "no message says that a turn failed: an event with is = 'error'",
    "code": "errors have no codes: members.code of the event with is = 'error'",
    "accepted": "a prompt is not confirmed before its answer: an event with is = 'accepted'",
    "message_id": "turns have no ids: {message_id} in messages.chat_request, and members.message_id of events",
    "conversation_id": "conversations have no ids that another connection could use: {conversation_id} in"
    " messages.chat_request, and in captures or members of events",
    "conversation": "a second prompt does not continue the conversation of the first",
    "seq": "events are not numbered: members.seq of events",
    "usage": "the end has no usage and no reason: members.usage and members.stop_reason of the event 'complete'",
    "steps": "thinking, tools and notes are not shown: events with is = 'thinking', 'tool' or 'status'",
    "assembled": "its page puts answers together from the CLI's own lines: cli_lines",
    "checked": "what it does with messages of other shapes is its own affair: messages describes its protocol",
    "cancel": "a turn cannot be stopped: messages.cancel",
    "subscribe": "a turn cannot be taken up again: messages.subscribe",
    "history": "there is no history: paths.history",
    "health": "there is no health check: paths.health",
    "page": "no page is served: paths.page",
    "subprotocol": "dialect.subprotocol is empty in the target file: the server selects none",
    "post": "paths.turn is empty in the target file: there is no POST",
    "new": "paths.new is empty in the target file: no empty conversations are made",
    "pings": "the server sends no pings: transport",
    "frames": "it does not speak WebSocket: transport",
    "handshake": "connections are not opened by a WebSocket's handshake alone: transport",
}
"""Each with what is missing where it is absent, and what in the target file would describe it."""

BY_PATH = {"history": "history", "health": "health", "page": "page", "post": "turn", "new": "new"}
"""Roles that are a path of the target file."""


def described(messages: Mapping[str, Any], events: list[Rule], captures: Mapping[str, str]) -> frozenset[str]:
    """The roles that follow from the messages and events of a server with a protocol of its own."""
    kinds = {each.kind for each in events}
    members = {name for each in events for name in (*each.members, *each.constants)}
    # An id counts only if both sides have it: we can send it, and what comes names it. Otherwise a case about
    # two turns could not say which of them an event belongs to.
    asked = set(names_in(messages.get("chat_request")))
    known = members | captures.keys()
    found = {"conversation"}
    found |= {name for name in ("accepted", "error") if name in kinds}
    found |= {"end"} if "complete" in kinds else set()
    found |= {"code"} if any(each.kind == "error" and "code" in each.members for each in events) else set()
    found |= {"seq"} if "seq" in members else set()
    found |= {"usage"} if {"usage", "stop_reason"} <= members else set()
    found |= {"steps"} if {"thinking", "tool", "status"} <= kinds else set()
    found |= {"message_id"} if "message_id" in asked and "message_id" in members else set()
    found |= (
        {"conversation_id"} if "conversation_id" in asked & known or "conversation_uuid" in asked else set()
    )
    found |= {name for name in ("cancel", "subscribe") if name in messages}
    return frozenset(found)
