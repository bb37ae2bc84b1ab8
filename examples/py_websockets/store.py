"""Conversations with their turns and events, each a JSON file."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818
    """A code and a sentence for the client."""


def now() -> str:
    """This moment, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat()


def error(code: str, message: str) -> Json:
    """What a client is sent."""
    return {"type": "error", "code": code, "message": message}


def status(turn: Json) -> str:
    """How far a turn has come, by its last event."""
    match turn["events"][-1:]:
        case [{"type": "complete", "stop_reason": reason}]:
            return "cancelled" if reason == "cancelled" else "complete"
        case [{"type": "error", "code": code}]:
            return "interrupted" if code == "interrupted" else "failed"
        case _:
            return "running"


def answer(turn: Json) -> str:
    """What the tokens of a turn say, rewinds applied."""
    text = ""
    for event in turn["events"]:
        if event["type"] == "rewind":
            text = text[: event["to"]]
        text += event.get("token", "")
    return text


class Store:
    """All conversations, by id; they are read once and written at the beginning and the end of each turn."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.chats: dict[str, Json] = {
            path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")
        }
        for chat in self.chats.values():
            for turn in chat["turns"]:
                if status(turn) == "running":
                    self.add(chat, turn, error("interrupted", "the server was killed"))

    def chat(self, chat_id: str) -> Json:
        """One conversation, or ``Refused``."""
        if chat_id not in self.chats:
            raise Refused("not_found", "there is no such conversation")
        return self.chats[chat_id]

    def new(self) -> Json:
        """An empty conversation."""
        chat = {"id": secrets.token_hex(6), "title": "", "created_at": now(), "turns": [], "session": None}
        self.chats[chat["id"]] = {**chat, "rank": 0}
        self.save(self.chats[chat["id"]])
        return self.chats[chat["id"]]

    def save(self, chat: Json) -> None:
        """Write a conversation, unless it was deleted; it is the newest now."""
        if chat["id"] in self.chats:
            rank = max(each["rank"] for each in self.chats.values()) + 1
            chat |= {"updated_at": now(), "rank": rank}
            (self._folder / "new").write_text(json.dumps(chat))
            (self._folder / "new").replace(self._folder / f"{chat['id']}.json")

    def delete(self, chat_id: str) -> None:
        """Forget a conversation."""
        self.chat(chat_id)
        del self.chats[chat_id]
        (self._folder / f"{chat_id}.json").unlink()

    def add(self, chat: Json, turn: Json, event: Json) -> Json:
        """Number an event of a turn and keep it."""
        ids = {"message_id": turn["message_id"], "conversation_id": chat["id"]}
        turn["events"].append({**event, **ids, "seq": len(turn["events"]) + 1})
        if status(turn) != "running":
            self.save(chat)
        return dict(turn["events"][-1])

    def history(self, chat_id: str) -> Json:
        """A conversation as ``GET /chat/history/{id}`` gives it."""
        chat = self.chat(chat_id)
        messages = []
        for turn in chat["turns"]:
            about = {"message_id": turn["message_id"], "created_at": turn["created_at"]}
            messages.append({"role": "user", "content": turn["prompt"], "status": "complete", **about})
            failed = {"error": turn["events"][-1]} if status(turn) in ("failed", "interrupted") else {}
            messages.append(
                {"role": "assistant", "content": answer(turn), "status": status(turn), **about, **failed}
            )
        return {**_summary(chat), "messages": messages}

    def page(self, limit: int, before: int | None) -> Json:
        """Conversations, the newest first."""
        some = sorted(self.chats.values(), key=lambda each: -each["rank"])
        some = [each for each in some if before is None or each["rank"] < before]
        following = str(some[limit - 1]["rank"]) if len(some) > limit else None
        return {"conversations": [_summary(each) for each in some[:limit]], "next": following}


def _summary(chat: Json) -> Json:
    return {name: chat[name] for name in ("id", "title", "created_at", "updated_at")}
