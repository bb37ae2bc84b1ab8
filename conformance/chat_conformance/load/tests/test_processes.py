"""What processes cost, and which goes first."""

from __future__ import annotations

import os

import pytest

from chat_conformance.load.processes import going_first


def test_who_goes_first_does_so_for_the_block_only() -> None:
    with going_first() as first:
        meanwhile = os.sched_getscheduler(0)

    assert meanwhile == (os.SCHED_RR if first else os.SCHED_OTHER)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_who_may_not_go_first_is_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    with going_first() as first:
        assert not first
