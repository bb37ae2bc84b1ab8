"""User messages that wait for a turn."""

from __future__ import annotations

from fake_claude.lines import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.run import Run

    Message = dict[str, Any]


class Inbox:
    """The queue of user messages; each uuid is taken once."""

    def __init__(self, run: Run) -> None:
        self.queue: list[Message] = []
        self._run = run
        self._seen: set[str] = set()

    def admit(self, message: Message) -> bool:
        """Announce a message of the host as queued; a uuid that was here before is refused, and echoed if wanted."""
        run, uuid = self._run, message["uuid"]
        # A host that does not know whether its message arrived sends it again: then the work must not be done
        # twice, and the echo is its only sign that the message is known.
        if uuid in self._seen:
            if run.context.replay:
                run.emit(events.replayed(run.context, message["content"], uuid, timestamped=False))
            return False
        if uuid:
            self._seen.add(uuid)
            run.emit(events.lifecycle(run.context, uuid, "queued"))
        return True

    def take(self) -> list[Message]:
        """Remove and return everything that is queued; a message that ended a turn goes alone."""
        alone = self.queue[:1] and self.queue[0].get("priority") == "now"
        queued, self.queue = (self.queue[:1], self.queue[1:]) if alone else (self.queue, [])
        return queued

    def put_back(self, prompts: list[Message]) -> None:
        """Queue prompts again that a message of priority ``now`` came before."""
        self.queue[1:1] = prompts

    def cancel(self, uuid: object) -> bool:
        """Remove a queued message; return whether there was one."""
        # What a turn has taken is not in the queue any more: it cannot be cancelled, and the host is answered
        # so.
        kept = [message for message in self.queue if message["uuid"] != uuid]
        found = len(kept) < len(self.queue)
        self.queue = kept
        if found:
            self._run.emit(events.lifecycle(self._run.context, str(uuid), "cancelled"))
        return found

    def enqueue_synthetic(self, content: str, origin: Message) -> None:
        """Queue a prompt that the CLI made up itself."""
        # No uuid: lines of lifecycle and the list ``still_queued`` are for messages of the host.
        self.queue.append({"content": content, "text": content, "uuid": None, "origin": origin})
