from __future__ import annotations

from collections.abc import Callable

import pytest

from fake_claude.commands import bench


def test_report_names_every_cost(
    tool: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "FLOOD", 1000)
    monkeypatch.delenv("CHATGATE_REAL_CLAUDE", raising=False)

    code, out, err = tool("bench", "--runs", "1", "--idle", "2")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "one run",
        "one run",
        "one run",
        "second turn",
        "flood of 1,000 pieces",
        "2 idle fakes",
        lines[-1].partition(": ")[0],
    ]
    assert all(float(line.split()[-3]) > 0 for line in lines[1:5])
