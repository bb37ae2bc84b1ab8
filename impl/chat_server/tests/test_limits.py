"""The rules of admission, against a plain model and on the real ledger, with a clock we move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chat_server.errors import ChatError, QuotaExceeded, RateLimited
from chat_server.limits import DAY, HOUR, Limits, LimitStatus, Used, admit, day_start, limit_statuses
from chat_server.protocol import Usage
from chat_server.store.database import opened
from chat_server.store.store import Store

NOON = 1_800_014_400.0  # 2027-01-15, 12:00 UTC
NONE = Limits(0, 0, 0)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


def used(hour: list[float], day: int | None = None, tokens: int = 0) -> Used:
    return Used(hour, len(hour) if day is None else day, tokens)


def refusal(limits: Limits, state: Used, now: float) -> ChatError:
    with pytest.raises(ChatError) as caught:
        admit(limits, state, now)
    return caught.value


def test_room_below_every_limit_admits() -> None:
    admit(Limits(2, 3, 100), used([NOON - 5], day=2, tokens=99), NOON)


def test_statuses_say_used_and_reset() -> None:
    state = used([NOON - 3000, NOON - 10], day=3, tokens=40)

    assert limit_statuses(Limits(5, 7, 100), state, NOON) == [
        LimitStatus("requests_per_hour", 2, 5, 600),
        LimitStatus("requests_per_day", 3, 7, DAY / 2),
        LimitStatus("tokens_per_day", 40, 100, DAY / 2),
    ]


def test_statuses_leave_out_unlimited() -> None:
    assert limit_statuses(Limits(0, 7, 0), used([]), NOON) == [LimitStatus("requests_per_day", 0, 7, None)]


def test_zero_is_no_limit() -> None:
    admit(NONE, used([NOON] * 1000, tokens=10**9), NOON)


def test_full_hour_waits_for_oldest_hit() -> None:
    error = refusal(Limits(2, 0, 0), used([NOON - 3000, NOON - 10]), NOON)

    assert isinstance(error, RateLimited)
    assert error.retry_after == 600


def test_lowered_limit_waits_for_more_hits() -> None:
    error = refusal(Limits(1, 0, 0), used([NOON - 3000, NOON - 2000, NOON - 1000]), NOON)

    assert error.retry_after == 2600


def test_full_day_is_refused_until_midnight() -> None:
    error = refusal(Limits(0, 7, 0), used([], day=7), NOON)

    assert isinstance(error, RateLimited)
    assert error.retry_after == DAY / 2


def test_longer_wait_is_reported() -> None:
    error = refusal(Limits(1, 1, 0), used([NOON - 10]), NOON)

    assert error.retry_after == DAY / 2


def test_spent_tokens_are_refused_until_midnight() -> None:
    error = refusal(Limits(0, 0, 100), used([], tokens=100), NOON)

    assert isinstance(error, QuotaExceeded)
    assert error.retry_after == DAY / 2


def test_spent_tokens_wait_for_the_hour_too() -> None:
    before_midnight = NOON + DAY / 2 - 600
    error = refusal(Limits(1, 0, 100), used([before_midnight - 60], tokens=100), before_midnight)

    assert isinstance(error, RateLimited)
    assert error.retry_after == HOUR - 60


@dataclass
class Model:
    """The rules in the plainest words: a list of all turns ever admitted, and when they leave room for another."""

    limits: Limits
    turns: list[tuple[float, int]] = field(default_factory=list)  # admitted at, tokens

    def used(self, now: float) -> Used:
        today = [tokens for at, tokens in self.turns if at // DAY == now // DAY]
        hits = [at for at, _ in self.turns if now - at < HOUR]
        return Used(hits, len(today), sum(today))

    def room(self, now: float) -> bool:
        used = self.used(now)
        return (
            len(used.hour) < self.limits.requests_per_hour
            and used.day < self.limits.requests_per_day
            and used.tokens < self.limits.tokens_per_day
        )


class Admission(RuleBasedStateMachine):
    """The ledger in the database and a list of turns agree on everything, whatever the clock does."""

    limits = Limits(3, 5, 100)  # small, so that each is met, alone and together

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.model = Model(self.limits)
        self.opening = opened("sqlite://", self.clock)
        self.store: Store = self.runner.run(self.opening.__aenter__())
        self.count = 0

    def teardown(self) -> None:
        self.runner.run(self.opening.__aexit__(None, None, None))
        self.runner.close()

    async def turn(self, tokens: int) -> None:
        self.count += 1
        message_id = f"m{self.count}"
        conversation = (
            await self.store.begin_turn("ada", None, message_id, "hi", self.limits)
        ).conversation_id
        spent = Usage(tokens, 0)
        end = {"answer": "", "status": "complete", "stop_reason": "end_turn", "detail": ""}
        await self.store.end_turn(conversation, message_id, spent=spent, **end)

    @initialize(seconds=st.integers(1, 7200))
    def begin(self, seconds: int) -> None:
        """Shortly before midnight, where hour and day meet."""
        self.clock.now = NOON + DAY / 2 - seconds

    @rule(tokens=st.integers(0, 60))
    def ask(self, tokens: int) -> None:
        if self.model.room(self.clock.now):
            self.runner.run(self.turn(tokens))
            self.model.turns.append((self.clock.now, tokens))
            return
        with pytest.raises(ChatError) as caught:
            self.runner.run(self.turn(tokens))
        refused, wait = caught.value, caught.value.retry_after
        assert isinstance(refused, RateLimited | QuotaExceeded)
        if isinstance(refused, QuotaExceeded):
            assert self.model.used(self.clock.now).tokens >= self.limits.tokens_per_day
        assert wait is not None
        assert self.model.room(self.clock.now + wait)
        assert not self.model.room(self.clock.now + wait - 1)

    @rule(tokens=st.integers(0, 60))
    def wait_as_reported(self, tokens: int) -> None:
        try:
            self.runner.run(self.turn(tokens))
        except ChatError as refused:
            self.clock.now += refused.retry_after or 0.0
            self.runner.run(self.turn(tokens))
        self.model.turns.append((self.clock.now, tokens))

    @rule(seconds=st.one_of(st.integers(0, 5000), st.integers(0, 100_000)))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def ledger_and_model_agree(self) -> None:
        assert self.runner.run(self.store.used("ada", self.limits)) == (
            self.model.used(self.clock.now),
            self.clock.now,
        )

    @invariant()
    def nobody_else_is_charged(self) -> None:
        assert self.runner.run(self.store.used("bob", self.limits)) == (Used([], 0, 0), self.clock.now)


TestAdmission = Admission.TestCase
TestAdmission.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


async def test_usage_survives_restart_and_deletion(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.sqlite3'}"
    async with opened(url, Clock()) as store:
        begun = await store.begin_turn("ada", None, "m1", "hi", NONE)
        await store.delete("ada", begun.conversation_id)
    async with opened(url, Clock()) as store:
        now_used, _ = await store.used("ada", Limits(2, 2, 2))

    assert now_used.hour == [NOON]


def test_day_begins_at_midnight_utc() -> None:
    assert day_start(NOON) == NOON - DAY / 2
