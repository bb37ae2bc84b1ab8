"""Mutants of what is stored, and of the limits and quotas that are counted from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import chat_server.limits
import chat_server.owner_lock
import chat_server.store.schema
import chat_server.store.store
import chat_server.turns.manager
import chat_server.web.handlers
import chat_server.web.keys
import chat_server.web.responses
from chat_conformance.mutants.registry import Patch, always, breaks, patched, put, replace, replace_handler
from chat_server.claude.parser import TurnParser
from chat_server.limits import Used
from chat_server.protocol import Usage
from chat_server.settings import Settings
from chat_server.store.schema import turns, usage
from chat_server.store.store import Store
from chat_server.turns.manager import Turns
from chat_server.turns.saving import Outcome, TurnRecorder
from chat_server.turns.steps import StepRecorder


@breaks("no-limits")
def no_limits() -> None:
    """No message is counted."""
    put(chat_server.store.store, "admit", always(None))


@breaks("failure-not-saved")
def failure_not_saved() -> None:
    """A failed turn leaves nothing in history."""

    def make(save: Any) -> Any:
        async def mutant(self: TurnRecorder, outcome: Outcome, answer: str) -> Outcome:
            # The outcome still goes to who follows the turn: only history lacks it.
            if outcome.status == "failed":
                return outcome
            saved: Outcome = await save(self, outcome, answer)
            return saved

        return mutant

    put(TurnRecorder, "save_outcome", make)


def at_the_end(change: Callable[[dict[str, Any]], None]) -> None:
    """Change what is stored at the end of a turn."""

    def make(end_turn: Any) -> Any:
        async def mutant(self: Store, *ids: str, **what: Any) -> None:
            change(what)
            await end_turn(self, *ids, **what)

        return mutant

    put(Store, "end_turn", make)


@breaks("partial-text-lost")
def partial_text_lost() -> None:
    """What had arrived before a stop is not kept."""
    at_the_end(lambda what: what.update(answer="") if what["status"] == "cancelled" else None)


@breaks("retry-after-rounded-down")
def retry_after_rounded_down() -> None:
    """The header is a second too short."""
    put(chat_server.web.responses, "ceil", lambda _: math.floor)


@breaks("usage-never-updated")
def usage_never_updated() -> None:
    """Usage is always reported as nothing."""
    put(
        chat_server.turns.manager,
        "limit_statuses",
        lambda old: lambda limits, _used, now: old(limits, Used([], 0, 0), now),
    )


@breaks("deletion-refunds-limits")
def deletion_refunds_limits() -> None:
    """A deleted conversation no longer counts."""

    def make(delete: Any) -> Any:
        async def mutant(self: Store, owner: str, conversation_id: str) -> None:
            await delete(self, owner, conversation_id)
            forget = usage.delete().where(usage.c.conversation_id == conversation_id)
            await self._write(lambda db: db.execute(forget).close())

        return mutant

    put(Store, "delete", make)


@breaks("tokens-counted-twice")
def tokens_counted_twice() -> None:
    """Tokens are charged twice."""

    def charge_again(what: dict[str, Any]) -> None:
        if (once := what.get("spent")) is not None:  # a turn that never began has none
            what.update(spent=Usage(2 * once.input_tokens, 2 * once.output_tokens))

    at_the_end(charge_again)


@breaks("cancelled-turn-is-free")
def cancelled_turn_is_free() -> None:
    """Only a result is charged."""
    put(TurnParser, "usage", lambda _: property(lambda _self: Usage()))


@breaks("sessions-lost-at-restart")
def sessions_lost_at_restart() -> None:
    """Which session belongs to a conversation is known until the next start."""

    async def remember(*_: Any) -> None:
        return

    put(Store, "set_claude_session", lambda _: remember)


@breaks("interrupted-stays-running")
def interrupted_stays_running() -> None:
    """A turn that a killed server left behind is shown as running."""

    # Half of what `prepare` does: the mark on turns that were broken off is left out.
    async def prepare(self: Store) -> None:
        await self._write(chat_server.store.schema.migrate)

    put(Store, "prepare", lambda _: prepare)


def after_a_post(change: Callable[[str], Any]) -> None:
    """Change in the database what a POST has left behind, by its message_id."""

    # The POST runs as it should, and what it left behind is changed then: the socket's turns have no fault.
    def make(post: Any) -> Any:
        async def mutant(request: Any) -> Any:
            answer = await post(request)
            store = request.app[chat_server.web.keys.STORE]
            # A POST that was refused names no message, and has left nothing.
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                named = json.loads(answer.body)["message_id"]
                await store._write(lambda db: db.execute(change(named)).rowcount)  # noqa: SLF001 - mutants reach in
            return answer

        return mutant

    replace_handler("POST", "/chat", make)


@breaks("post-not-counted")
def post_not_counted() -> None:
    """Only what comes by WebSocket is counted."""
    after_a_post(lambda named: usage.delete().where(usage.c.message_id == named))


@breaks("post-tokens-uncounted")
def post_tokens_uncounted() -> None:
    """What comes by POST is counted, and its tokens are not."""
    after_a_post(lambda named: usage.update().where(usage.c.message_id == named).values(tokens=0))


@breaks("failed-turn-is-free")
def failed_turn_is_free() -> None:
    """A turn that fails is not charged."""
    at_the_end(lambda what: what.update(spent=Usage()) if what["status"] == "failed" else None)


@breaks("limit-off-by-one")
def limit_off_by_one() -> None:
    """Who comes at once with others is looked at before they are counted."""

    # Theory: look, wait, then count. While one waits the others look, too, and find the same room. The real
    # call gets limits of 0, which are none: else the check inside of its transaction would refuse those that
    # are too many.
    def make(begin_turn: Any) -> Any:
        async def mutant(self: Store, owner: str, *args: Any, **kw: Any) -> Any:
            *rest, limits = args
            used, now = await self.used(owner, limits)
            chat_server.limits.admit(limits, used, now)
            await asyncio.sleep(0.1)
            return await begin_turn(self, owner, *rest, chat_server.limits.Limits(0, 0, 0), **kw)

        return mutant

    put(Store, "begin_turn", make)


@breaks("counts-lost-at-restart")
def counts_lost_at_restart() -> None:
    """What was counted is forgotten at every start."""

    def make(prepare: Any) -> Any:
        # At the start and not at the end: a server that is killed has no end.
        async def mutant(self: Store) -> None:
            await prepare(self)
            await self._write(lambda db: db.execute(usage.delete()).close())

        return mutant

    put(Store, "prepare", make)


@breaks("daily-quota-of-24-hours")
def daily_quota_of_24_hours() -> None:
    """A day is the last 24 hours, whatever the refusal says."""
    put(chat_server.store.store, "day_start", lambda _: lambda now: now - chat_server.limits.DAY)


breaks("daily-limit-of-24-hours")(daily_quota_of_24_hours)


@breaks("hour-too-long")
def hour_too_long() -> None:
    """The hour is longer than the refusal says."""
    put(chat_server.store.store, "HOUR", lambda _: 2 * chat_server.limits.HOUR)


@breaks("repeated-id-is-busy")
def repeated_id_is_busy() -> None:
    """A message_id that was seen before is a new one."""

    async def find_turn(*_: Any) -> None:
        return None

    put(Store, "_same_turn", always(None))
    put(Store, "find_turn", lambda _: find_turn)


@breaks("simultaneous-ids-run-twice")
def simultaneous_ids_run_twice() -> None:
    """A message_id that comes twice at once is looked for before either is there."""
    # Theory: the server looks for a message_id in the transaction that inserts the turn. Here it looks in one
    # of its own, and waits before the other: both requests find nothing, and both insert.
    look = Store._same_turn  # noqa: SLF001 - mutants reach in

    def make(begin_turn: Any) -> Any:
        async def mutant(
            self: Store, owner: str, conversation_id: str | None, message_id: str, *args: Any, **kw: Any
        ) -> Any:
            found = await self._read(lambda db: look(db, owner, conversation_id, message_id))
            await asyncio.sleep(0.1)
            return found or await begin_turn(self, owner, conversation_id, message_id, *args, **kw)

        return mutant

    put(Store, "same_turn", lambda _: lambda self, *ids: self._read(lambda db: look(db, *ids)))
    # The real look finds nothing from now on: it would notice the second one.
    put(Store, "_same_turn", always(None))
    put(Store, "begin_turn", make)
    put(Turns, "_lock", always(contextlib.nullcontext()))  # else one waits for the other


def kept(change: Any) -> None:
    """Change the turns of a conversation as history has them."""

    def make(batches: Any) -> Any:
        async def mutant(self: Store, conversation_id: str) -> AsyncIterator[Any]:
            async for batch in batches(self, conversation_id):
                yield change(batch)

        return mutant

    put(Store, "turn_batches", make)


@breaks("post-turn-unsaved")
def post_turn_unsaved() -> None:
    """Turns by POST are not in history."""
    posted: set[str] = set()

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            posted.add(log.accepted.message_id)
            return outcome(log)

        return mutant

    # Only a POST is answered by `outcome`, so what goes through it came by POST.
    put(chat_server.web.handlers, "outcome", make)
    kept(lambda turns: [turn for turn in turns if turn.message_id not in posted])


@breaks("saved-only-at-end")
def saved_only_at_end() -> None:
    """A turn is in history when it has ended."""
    kept(lambda turns: [turn for turn in turns if turn.status != "running"])


@breaks("tabs-become-spaces")
def tabs_become_spaces() -> None:
    """History is tidied."""
    kept(lambda turns: [replace(turn, answer=turn.answer.replace("\t", "    ")) for turn in turns])


@breaks("steps-not-saved")
def steps_not_saved() -> None:
    """Thinking and tools are sent to who is there, and not saved."""
    put(StepRecorder, "encoded", always(""))


@breaks("steps-lost-at-restart")
def steps_lost_at_restart() -> None:
    """Thinking and tools are lost when the server is started again."""

    def make(prepare: Any) -> Any:
        async def mutant(self: Store) -> None:
            # First the tables have to be there: this runs on a new database, too.
            await prepare(self)
            await self._write(lambda db: db.execute(turns.update().values(steps="")).close())

        return mutant

    put(Store, "prepare", make)


@breaks("oldest-first")
def oldest_first() -> None:
    """A page of conversations begins with the oldest."""

    def make(conversations: Any) -> Any:
        async def mutant(self: Store, owner: str, **page: Any) -> Any:
            found, cursor = await conversations(self, owner, **page)
            return found[::-1], cursor

        return mutant

    put(Store, "conversations", make)


@breaks("untitled")
def untitled() -> None:
    """Conversations have no title."""
    # `from … import` has bound the name in both, so both have to be changed.
    for module in (chat_server.web.handlers, chat_server.web.responses):
        put(module, "conversation_document", lambda old: lambda each: {**old(each), "title": ""})


@breaks("deleted-still-readable")
def deleted_still_readable() -> None:
    """What is deleted stays in history."""

    async def delete(*_: Any) -> None:
        return

    put(Store, "delete", lambda _: delete)


@breaks("times-without-zone")
def times_without_zone() -> None:
    """A time does not say of which zone it is."""
    put(chat_server.web.responses, "rfc3339", lambda old: lambda seconds: old(seconds).removesuffix("Z"))


def unlimited(**limits: int) -> None:
    """Some limit is not looked at."""
    put(Settings, "from_env", lambda old: lambda *args, **kw: replace(old(*args, **kw), **limits))


@breaks("no-daily-limit")
def no_daily_limit() -> None:
    """Turns are limited by the hour only."""
    unlimited(requests_per_day=0)


@breaks("limits-shared-by-users")
def limits_shared_by_users() -> None:
    """What one user asks counts for all."""
    asked: list[float] = []

    # `hour` has the times of a user's turns; here it has those of all.
    def make(admit: Any) -> Any:
        def mutant(limits: Any, used: Any, now: float) -> None:
            admit(limits, replace(used, hour=asked), now)
            asked.append(now)

        return mutant

    put(chat_server.store.store, "admit", make)


patched(
    "foreign-conversation-is-403",
    "Another user's conversation is forbidden, an absent one not found.",
    Patch(
        "store/store.py",
        '            raise NotFound(f"there is no conversation {conversation_id}")\n'
        "        return _conversation(row)\n",
        "            known = conversations.c.id\n"
        "            if db.execute(sa.select(known).where(known == conversation_id)).first():\n"
        "                from chat_server.errors import Forbidden\n\n"
        '                raise Forbidden("this conversation belongs to another user")\n'
        '            raise NotFound(f"there is no conversation {conversation_id}")\n'
        "        return _conversation(row)\n",
    ),
)

patched(
    "wrong-retry-after",
    "A minute is always enough.",
    Patch("limits.py", "    return ceil(seconds * 1000) / 1000\n", "    return 60.0\n"),
)

patched(
    "repeated-id-runs-twice",
    "A message_id is looked up in a conversation that was named, and nowhere else.",
    Patch(
        "store/store.py",
        "        query = _TURN_THAT_OPENS if conversation_id is None else _TURN_THERE\n",
        "        if not conversation_id:\n            return None\n        query = _TURN_THERE\n",
    ),
)

patched(
    "two-owners-of-data",
    "Nothing locks the data, and a server that starts takes every running turn for interrupted.",
    Patch("owner_lock.py", "            _take(descriptor, path, what)\n", ""),
)

patched(
    "locked-database-fails-turn",
    "What SQLite did not take in five seconds has failed.",
    Patch(
        "turns/saving.py",
        "        clock = asyncio.get_running_loop().time\n        deadline, pause",
        "        return await write()\n        clock = asyncio.get_running_loop().time\n        deadline, pause",
    ),
)
