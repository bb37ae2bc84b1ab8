"""Which parts of a chat a case relies on, read off what its functions call and read.

A case that sends a ``subscribe`` says nothing of a server that has none. As with `needs`, authors of cases need not
think of that. What stands under ``if chat.offers("history"):`` or ``if chat.http.supports_post:`` is only looked at
where it is offered, and so the case does not rely on it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from chat_conformance.suite.needs import helper_named, marks_of, name_of, tree_of

MARKS: dict[str, frozenset[str]] = {
    "end": frozenset({"'complete'"}),
    "error": frozenset({"refusal()", "error()", "'error'"}),
    "code": frozenset({"refusal()", "error()", "'code'", "'reset'"}),
    "accepted": frozenset({".accepted", "'accepted'"}),
    "message_id": frozenset({".message_id", "'message_id'", "message_id="}),
    "conversation_id": frozenset(
        {"follow()", "type='subscribe'", "history()", "last_message()", "'conversation_id'"}
    ),
    "conversation": frozenset({"conversation_id="}),
    "seq": frozenset(
        {"'seq'", "comparable()", "follow(after=)", "send_json(after=)", "refusal(after=)", "resumed()"}
    ),
    "usage": frozenset({"'usage'", "'stop_reason'"}),
    "checked": frozenset({"'no_such_type'", "'bad_request'"}),
    "cancel": frozenset({"type='cancel'"}),
    "subscribe": frozenset({"type='subscribe'", "follow()"}),
    "history": frozenset({"history()", "last_message()", ".history", "request('DELETE')"}),
    "health": frozenset({".health"}),
    "page": frozenset({".page"}),
    "subprotocol": frozenset({".subprotocol"}),
    "post": frozenset({"post()", ".post_path"}),
    "new": frozenset({".new_path"}),
    "pings": frozenset({".pings", "expect_ping()", "answer_last_ping()"}),
    "frames": frozenset(
        (
            *("expect_pong()", "expect_close()", "expect_refused()", "expect_refusal()", "websocket()"),
            *(
                ".frames",
                "Frame()",
                "send_text()",
                "send_bytes()",
                "wire()",
                "upgrade()",
                "handshake_bytes()",
            ),
            *("close_frame()", "encode_frame()"),
        )
    ),
    "handshake": frozenset({"wire()", "upgrade()", "handshake_bytes()"}),
}
"""The roles, each with the marks of a case that relies on it."""

AREAS: dict[str, tuple[str, ...]] = {
    "shapes/": ("assembled",),
    "messages/": ("checked",),
    "turns/forgets-aloud": ("steps",),
    "history/": ("history",),
    "following/": ("subscribe",),
    "framing/two-mib": ("checked",),  # how long a prompt may be is the server's affair
    "quotas/": ("code", "usage"),
    "limits/": ("code",),
}
"""What cannot be read off calls, by the beginning of an id."""

FREE = ("messages/one-mib",)
"""Ids that the line of their area does not mean: they send what any chat takes."""


def relied_roles(case_id: str, function: Callable[..., Any]) -> frozenset[str]:
    """The roles that a case with this function relies on."""
    found = role_marks(function)
    read = {role for role, marks in MARKS.items() if marks & found}
    areas = [] if case_id in FREE else [roles for begin, roles in AREAS.items() if case_id.startswith(begin)]
    return frozenset({*read, *(role for roles in areas for role in roles)})


@cache
def role_marks(function: Callable[..., Any]) -> frozenset[str]:
    """What a function of a case calls, reads and compares with, unless it looks before whether it is offered."""
    found: set[str] = set()
    try:
        tree = tree_of(function)
    except KeyError:  # it does not stand in its module under its name
        return frozenset()
    for node in _unguarded(tree):
        # Marks are names, arguments and texts, and those of the helpers that are called. Example: `turn = await
        # chat.follow(peer, cid, mid, after=3)` gives follow() and follow(after=), and so the roles subscribe,
        # conversation_id and seq. A case relies on each role of which one mark was found.
        if isinstance(node, ast.Call) and (asked := _without_ids(node)):
            found |= {*asked, *(each for each in marks_of(node) if each.endswith("()"))}
            continue
        found |= {each for mark in marks_of(node) for each in (mark, _argument(mark))}
        if isinstance(node, ast.Call):
            found |= {f"{name_of(node)}({each.arg}=)" for each in node.keywords}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(repr(node.value))
        if isinstance(node, ast.Call):
            # What is called inside of this call is a node of its own.
            helper = helper_named(function, name_of(node))
            found |= role_marks(helper) if helper else set()
    return frozenset(found)


def _without_ids(call: ast.Call) -> set[str]:
    """The marks of a ``cancel`` or ``subscribe``: whether it names a turn is for the target's template to say."""
    found = {f"type={each.value.value!r}" for each in call.keywords if isinstance(each.value, ast.Constant)}
    return found & {"type='cancel'", "type='subscribe'"}


def _argument(mark: str) -> str:
    """``send_json(type='cancel')`` as ``type='cancel'``, and ``send_prompt(message_id=)`` as ``message_id=``."""
    _, _, inside = mark.partition("(")
    return inside.removesuffix(")") if "=" in inside else ""


def _unguarded(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    # The arguments are left out: their message_id is there for targets that want one.
    if isinstance(node, ast.Call) and _without_ids(node):
        yield from _unguarded(node.func)
        return
    # `if chat.offers(x): A else: B` relies on what B does only, since B runs in any case where x is missing;
    # `if not chat.offers(x): A else: B` on A.
    skipped: tuple[str, ...] = ()
    if isinstance(node, ast.If | ast.IfExp):
        negated = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
        test = node.test.operand if isinstance(node.test, ast.UnaryOp) else node.test
        if _is_guard(test):
            skipped = ("test", "orelse") if negated else ("test", "body")
    for field, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST) and field not in skipped:
                yield from _unguarded(each)


def _is_guard(test: ast.expr) -> bool:
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            # One guard in an `and` is enough: without it the body does not run. In an `or` it is not.
            return any(_is_guard(each) for each in values)
        case ast.Call(func=ast.Attribute(attr="offers")) | ast.Attribute(attr="supports_post"):
            return True
        case _:
            return False
