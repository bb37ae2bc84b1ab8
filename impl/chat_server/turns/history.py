"""The log of a turn that only history still has: its text and steps in order, and its end."""

from __future__ import annotations

from typing import assert_never

from chat_server.errors import Interrupted
from chat_server.protocol import Complete, Failed, Status, Thinking, Tool
from chat_server.store.records import StoredTurn
from chat_server.turns.event_log import TurnLog
from chat_server.turns.steps import StatusStep, ThinkingStep, ToolStepRecord, decode_steps


def log_from_history(turn: StoredTurn) -> TurnLog:
    """A log that spells what is stored; its entries need not be those that were sent when the turn ran."""
    log = TurnLog(turn.message_id, turn.conversation_id)
    sent = 0
    for step in decode_steps(turn.steps):
        # A step says how much of the answer came before it.
        if step.at > sent:
            log.text.append(turn.answer[sent : step.at])
            sent = step.at
        match step:
            case ThinkingStep():
                log.append(Thinking(thinking=step.thinking))
            case ToolStepRecord():
                log.append(Tool(id=step.id, name=step.name, state="started", detail=step.input))
                # A turn that was cut short leaves calls without an end; none is made up for them.
                if step.state != "started":
                    log.append(Tool(id=step.id, name=step.name, state=step.state, detail=step.result))
            case StatusStep():
                log.append(Status(status=step.status, detail=step.detail))
            case _:
                assert_never(step)
    if sent < len(turn.answer):
        log.text.append(turn.answer[sent:])
    # What a kill left without an outcome gets the other end: it was interrupted (turns/saving.py).
    if turn.status in {"complete", "cancelled"}:
        log.append(Complete(usage=turn.usage, stop_reason=turn.stop_reason))
    else:
        code = turn.stop_reason or Interrupted.code
        log.append(Failed(code=code, message=turn.detail or "the end of this turn is not known"))
    return log
