"""Subscribers: each once, in order, and safe to change while they are notified."""

from __future__ import annotations

import sys

from chat_server.subscribers import Subscribers


def test_subscriber_is_there_once() -> None:
    subscribers: Subscribers[str] = Subscribers()
    for name in ("a", "b", "a"):
        subscribers.add(name)

    assert list(subscribers) == ["a", "b"]


def test_removal_of_unknown_changes_nothing() -> None:
    subscribers: Subscribers[str] = Subscribers()
    subscribers.add("a")

    subscribers.remove("b")

    assert (list(subscribers), len(subscribers)) == (["a"], 1)


def test_change_during_iteration_is_safe() -> None:
    subscribers: Subscribers[str] = Subscribers()
    subscribers.add("a")
    subscribers.add("b")

    seen = []
    for name in subscribers:
        seen.append(name)
        subscribers.remove(name)
        subscribers.add("c")

    assert (seen, list(subscribers)) == (["a", "b"], ["c"])


def test_empty_subscribers_are_small() -> None:
    empty: Subscribers[str] = Subscribers()

    assert sys.getsizeof(empty) < sys.getsizeof(set()) / 2
