from __future__ import annotations

import os

import pytest

from chat_conformance.load.priority import realtime_priority


def test_priority_lasts_for_the_block() -> None:
    with realtime_priority() as granted:
        inside = os.sched_getscheduler(0)

    assert inside == (os.SCHED_RR if granted else os.SCHED_OTHER)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_missing_right_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    with realtime_priority() as granted:
        assert not granted
