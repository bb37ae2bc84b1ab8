"""What hooks answer, added up: decisions, a changed input, context for the model, an end of the turn."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

WEIGHTS = {"": 0, "allow": 1, "ask": 2, "deny": 3}
"""The gravest decision counts."""


class HookOutcome:
    """What all hooks of one event came to."""

    def __init__(self) -> None:
        self.decision = ""  # allow, ask or deny
        self.reason = ""
        self.blocked: str | None = None  # why a prompt, a result or the end of a turn is not accepted
        self.words = ""  # of that reason, without the command that gave it
        self.updated_input: Message | None = None
        self.stopped: str | None = None  # the turn ends here, and why
        self.attachments: list[Message] = []
        self.unanswered = False  # the host did not answer in time
        self.closed = False  # the host cannot answer any more

    def decide(self, decision: str, reason: str) -> None:
        """Take a decision over, if it is graver than those before."""
        # Not ``>=``: of two equal decisions the first gives the reason. An unknown word weighs nothing.
        if WEIGHTS.get(decision, 0) > WEIGHTS[self.decision]:
            self.decision, self.reason = decision, reason

    def take(self, answer: Message) -> None:
        """Take over what one hook answered."""
        if answer.get("continue") is False:
            self.stopped = str(answer.get("stopReason") or "")
        special = special_of(answer)
        reason = str(answer.get("reason") or "")
        # There are two ways to decide: the older ``decision`` of block or approve, and
        # ``permissionDecision``. A block counts for events without permissions, too: prompts, results, the
        # end of a turn.
        if answer.get("decision") == "block":
            self.blocked = self.words = reason
            self.decide("deny", reason)
        elif answer.get("decision") == "approve":
            self.decide("allow", reason)
        self.decide(
            str(special.get("permissionDecision") or ""), str(special.get("permissionDecisionReason") or "")
        )
        if isinstance(special.get("updatedInput"), dict):
            self.updated_input = special["updatedInput"]

    def refuse(self, command: str, error: str) -> None:
        """Take over the exit code 2 of a command."""
        self.words = error or "No stderr output"
        text = f"[{command}]: {self.words}"
        self.blocked = text
        self.decide("deny", text)


def special_of(answer: Message) -> Message:
    """Return what an answer has for its event alone; anything but an object is nothing."""
    special = answer.get("hookSpecificOutput")
    return special if isinstance(special, dict) else {}


def answer_of(text: str) -> Message | None:
    """Return the JSON object that a hook printed, if it is one."""
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
