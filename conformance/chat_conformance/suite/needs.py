"""What a case needs: the cases that show that what it relies on works, read off what its functions call.

A case that looks at an answer's text says nothing new of a server whose text never arrives. Who writes a case need not
think of that: it follows from the calls. What does not follow from them stands in the ``needs`` of the case itself.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

ROOTS: dict[str, frozenset[str]] = {
    "http/health": frozenset({".health"}),
    "handshake/completes": frozenset({"peer()", "websocket()"}),
    "framing/ping": frozenset({"expect_pong()", "expect_alive()"}),
    "closing/begun-by-server": frozenset({"expect_refused()", "expect_refusal()"}),
    "messages/unknown-type": frozenset({"answered()"}),
    "messages/refused": frozenset({"refusal('bad_request')", "error('bad_request')"}),
    "handshake/two-at-once": frozenset({"two peers"}),
    "processes/options": frozenset(),
    "turns/answered": frozenset({"send_prompt()", "start_turn()", "run_turn()"}),
    "turns/text": frozenset({".text", "complete()", "until_text()"}),
    "shapes/three-times": frozenset({".text", "complete()", "until_text()"}),
    "turns/streams": frozenset({"until_text()"}),
    "processes/resume": frozenset({"conversation_id="}),
    "history/socket-turn": frozenset({"history()", "last_message()"}),
    "http/post": frozenset({"post()"}),
    "following/replays": frozenset({"follow()"}),
    "stopping/cancel": frozenset({"send_json(type='cancel')"}),
    "processes/cancelled": frozenset({"send_json(type='cancel')"}),
    "history/deleted": frozenset({"request('DELETE')"}),
    "turns/claude-fails": frozenset({"prompt(exit=)"}),
    "keepalive/first-ping": frozenset({"pings()"}),
    "identity/login": frozenset({"variant('login')"}),
    "identity/named": frozenset({"variant()"}),
    "limits/hour": frozenset({"variant('requests_per_hour')"}),
    "limits/others": frozenset(
        {"variant('requests_per_hour')", "variant('requests_per_day')", "variant('tokens_per_day')"}
    ),
    "limits/day": frozenset({"variant('requests_per_day')"}),
    "quotas/tokens": frozenset({"variant('tokens_per_day')"}),
}
"""The cases that show that something works, the deepest first, each with the marks of those who rely on it."""


def needs_of(case_id: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """The ids of the cases that the calls of this case rely on; a root relies on deeper ones only."""
    names = list(ROOTS)
    # A root may use what a later root shows; were that a need, two would need each other. The order of ROOTS
    # keeps it a tree.
    deeper = names[: names.index(case_id)] if case_id in ROOTS else names
    found = marks(function)
    return tuple(each for each in deeper if ROOTS[each] & found)


@cache
def marks(function: Callable[..., Any]) -> frozenset[str]:
    """What a function of a case calls and reads, the functions of cases that it calls included."""
    tree = tree_of(function)
    found = {each for node in ast.walk(tree) for each in marks_of(node)}
    found |= {"two peers"} if _open_at_once(tree, function) > 1 else set()
    for helper in helpers_of(tree, function):
        found |= marks(helper)
    return frozenset(found)


def marks_of(node: ast.AST) -> Iterator[str]:
    """What one node calls or reads."""
    match node:
        case ast.Attribute():
            yield f".{node.attr}"
        case ast.Call():
            name = name_of(node)
            yield f"{name}()"
            yield from (f"{name}({each.value!r})" for each in node.args if isinstance(each, ast.Constant))
            for each in node.keywords:
                value = repr(each.value.value) if isinstance(each.value, ast.Constant) else ""
                yield f"{name}({each.arg}={value})"
                if each.arg == "conversation_id" and name in ("send_prompt", "start_turn", "run_turn"):
                    yield "conversation_id="
        case _:
            pass


def _open_at_once(node: ast.AST, function: Callable[..., Any]) -> int:
    """How many connections are open at the same time, at most."""
    # The most that are open at once, by nesting: an `async with` adds its own to the deepest of its body; two
    # blocks one after the other give the larger, not the sum. Calls of helpers count with what they open.
    inside = max((_open_at_once(each, function) for each in ast.iter_child_nodes(node)), default=0)
    match node:
        case ast.AsyncWith():
            opened = sum(_is_peer(item.context_expr) for item in node.items)
            return opened + max((_open_at_once(each, function) for each in node.body), default=0)
        case ast.Call(func=ast.Name()):
            helper = helper_named(function, name_of(node))
            return max(inside, _open_at_once(tree_of(helper), helper) if helper else 0)
        case ast.Call() if _is_peer(node):
            return 1
        case _:
            return inside


def _is_peer(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and name_of(node) in ("peer", "websocket")


def helpers_of(tree: ast.AST, function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The functions that stand with the cases, too, and that are called in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (helper := helper_named(function, name_of(node))) is not None:
            yield helper


def helper_named(function: Callable[..., Any], name: str) -> FunctionType | None:
    """The function of that name which a function of a case calls, if it stands with the cases, too."""
    found = function.__globals__.get(name)
    mine = isinstance(found, FunctionType) and found is not function
    return found if mine and found.__module__.startswith("chat_conformance.cases.") else None


def tree_of(function: Callable[..., Any]) -> ast.AST:
    """The syntax tree of a function; one that is defined inside of another is parsed by itself."""
    own = inspect.unwrap(function)
    found = _functions(inspect.getfile(own)).get(own.__name__)
    # inspect gives the source with its indentation, which is no module by itself.
    return found or ast.parse(textwrap.dedent(inspect.getsource(own))).body[0]


@cache
def _functions(path: str) -> dict[str, ast.AST]:
    """The functions of a module by name; each file is parsed once, since `list` reads them all."""
    module = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {
        each.name: each for each in module.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def name_of(call: ast.Call) -> str:
    """What a call calls, without what stands before its dot."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""
