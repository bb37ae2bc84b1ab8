"""Sessions on disk, where and how the CLI keeps them (docs/claude-cli.md, sessions)."""

from __future__ import annotations

import json
import os

from fake_claude.clock import timestamp
from fake_claude.ids import fresh_uuid
from fake_claude.json_lines import dumps
from fake_claude.lines.events import synthetic_assistant, user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fake_claude.invocation.context import Context

    Line = dict[str, Any]

_NAME_LIMIT = 200
CAVEAT = (
    "<local-command-caveat>The command below was run directly in Claude Code, not sent to you as a request, and its"
    " output goes straight to the user. It's recorded here as context for later messages.</local-command-caveat>"
)
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _BASE36[rest] + digits
    return digits or "0"


def encode_cwd(path: str) -> str:
    """Return the folder name for transcripts of a working directory, given its real path."""
    # As JavaScript's ``replace`` sees a path, by UTF-16 units: `/work/my dir` is `-work-my-dir`, `é` is one
    # hyphen, 😀 two. Past 200 the rest is a hash, JavaScript's ``h * 31 + c`` in 32 signed bits, in base 36.
    # Servers look for transcripts by this name: with one character off nothing is resumed.
    units = path.encode("utf-16-le", "surrogatepass")
    codes = [int.from_bytes(units[i : i + 2], "little") for i in range(0, len(units), 2)]
    name = "".join(chr(c) if c < 128 and chr(c).isalnum() else "-" for c in codes)
    if len(name) <= _NAME_LIMIT:
        return name
    h = 0
    for code in codes:
        h = (h * 31 + code) & 0xFFFFFFFF
    h = h - (1 << 32) if h >= 1 << 31 else h
    return f"{name[:_NAME_LIMIT]}-{_base36(abs(h))}"


def read_lines(path: str) -> Iterator[Line]:
    """Yield the JSON objects of a transcript; broken lines are skipped."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for raw in file:
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line
    except OSError:
        return


class TranscriptStore:
    """The transcripts of one configuration directory, seen from one working directory."""

    def __init__(self, config_dir: str, cwd: str) -> None:
        self.projects = os.path.join(config_dir, "projects")
        self.folder = os.path.join(self.projects, encode_cwd(os.path.realpath(cwd)))

    def path(self, session_id: str) -> str:
        """Return where this directory's session with that id lies."""
        return os.path.join(self.folder, f"{session_id}.jsonl")

    def exists(self, session_id: str) -> bool:
        """Return whether this directory has a transcript with that id."""
        return os.path.exists(self.path(session_id))

    def find(self, session_id: str) -> str | None:
        """Return the path of a session, this directory's first, then any other's."""
        if self.exists(session_id):
            return self.path(session_id)
        for folder in _listdir(self.projects):
            path = os.path.join(self.projects, folder, f"{session_id}.jsonl")
            if os.path.exists(path):
                return path
        return None

    def newest(self) -> str | None:
        """Return the id of this directory's session that was written last."""
        found = [
            (os.stat(os.path.join(self.folder, name)).st_mtime_ns, name[: -len(".jsonl")])
            for name in _listdir(self.folder)
            if name.endswith(".jsonl")
            # A file with no message in it, a title alone for example, is no session to go on with.
            and any(_is_message(line) for line in read_lines(os.path.join(self.folder, name)))
        ]
        return max(found)[1] if found else None

    def titled(self, title: str) -> list[tuple[str, float]]:
        """Return the sessions with this title, in either case: ids and times of the last change, newest first."""
        found: list[tuple[str, float]] = []
        for name in _listdir(self.folder):
            path = os.path.join(self.folder, name)
            # A session may be renamed: the last title is its own.
            titles = [line for line in read_lines(path) if line.get("type") == "custom-title"]
            if titles and str(titles[-1].get("customTitle")).lower() == title.lower():
                found.append((name[: -len(".jsonl")], os.stat(path).st_mtime))
        return sorted(found, key=lambda session: -session[1])


def _listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _is_message(line: Line) -> bool:
    return line.get("type") in ("user", "assistant") and isinstance(line.get("message"), dict)


class Transcript:
    """The file of one session: what was said, and how far the costs have run."""

    def __init__(self, context: Context, path: str | None) -> None:
        self._context = context
        self.path = path
        self._pending: list[str] = []
        self._parent: str | None = None
        self.prompt_id = fresh_uuid()
        self.last_prompt_uuid = ""
        self.turns = 0
        self.messages: list[Line] = []
        self.before_command: list[Line] = []  # blocks that came with a slash command
        self.place = 0  # where the prompt begins among the last message's blocks
        self.remarks: list[str] = []  # system reminders for the next request
        self.shown: set[str] = set()  # kinds of attachments that are shown once in a conversation
        self.cost_state: Line = {}
        self.title: str | None = None

    def load(self, path: str) -> bool:
        """Load the history of ``path``; return whether there is any."""
        # Lines form a tree: each names its parent. Two processes on one session both go on from the same
        # line, and the file then has two branches. The one with the last message counts, so we walk from it
        # to the root: with `a <- b <- c` of one and `b <- d` of the other written last, the history is a, b,
        # d.
        # Title and costs are in no branch; there the last line counts.
        lines = list(read_lines(path))
        messages = {line["uuid"]: line for line in lines if "uuid" in line}
        chain: list[Line] = []
        leaf = next((line for line in reversed(lines) if _is_message(line) and "uuid" in line), None)
        at = leaf
        while at is not None:
            chain.append(at)
            at = messages.get(at.get("parentUuid") or "")
        for line in reversed(chain):
            self._recall(line)
        for line in lines:
            if line.get("type") == "cost-state":
                self.cost_state = line
            elif line.get("type") == "custom-title":
                self.title = line.get("customTitle")
        if leaf is not None:
            self._parent = leaf["uuid"]
            if leaf["type"] == "user":
                # There was no answer: the owner was killed or interrupted (docs/claude-cli.md, sessions).
                event = synthetic_assistant(self._context, "No response requested.")
                self.assistant(event, event["message"])
        return bool(self.messages)

    def _recall(self, line: Line) -> None:
        """Add what a line of the file says to the history."""
        if line.get("type") == "attachment":
            self.place = self._show(line, self.place)
            # Remarks go with one request; those of earlier prompts have had theirs.
            self.remarks.clear()
            self.shown.add(line.get("attachment", {}).get("type", ""))
        elif line.get("subtype") == "local_command":
            self.append_message({"role": "user", "content": str(line.get("content", ""))})
        # The text of an API error is in the file for people; the model did not say it.
        elif _is_message(line) and not line.get("isApiErrorMessage"):
            if line["type"] == "user" and not line.get("isMeta"):
                self.place = self._next_place()
            self.append_message(line["message"])
        if line.get("promptSource") == "sdk":
            self.turns += 1

    def append_message(self, message: Line) -> None:
        """Add to the history that the next API call sends; blocks of one message are joined."""
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _not_empty(content)
        # The API wants roles in turn, so a second user message in a row joins the first. This is how a prompt
        # whose turn failed is sent again with the next one.
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == message["role"]:
            last["content"] += blocks
        else:
            self.messages.append({"role": message["role"], "content": blocks})

    def _next_place(self) -> int:
        """Return where attachments of the next prompt go: first of all, but behind what tools came to."""
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "user":
            return 0
        # The API wants the results of tools first in the message that follows their calls.
        results = [i for i, block in enumerate(last["content"]) if block.get("type") == "tool_result"]
        return results[-1] + 1 if results else 0

    def add(self, line: Line) -> None:
        """Add one line for the next flush."""
        if self.path is not None:
            self._pending.append(dumps(line))

    def _tail(self) -> Line:
        return {
            "userType": "external",
            "entrypoint": self._context.env.get("CLAUDE_CODE_ENTRYPOINT", "sdk-cli"),
            "cwd": self._context.cwd,
            "sessionId": self._context.session_id,
            "version": self._context.version,
            "gitBranch": "HEAD",
        }

    def name(self, title: str) -> None:
        """Give the session a title."""
        self.add({"type": "custom-title", "customTitle": title, "sessionId": self._context.session_id})

    def enqueue(self, prompt: object) -> None:
        """Write that a prompt was queued and taken."""
        self.prompt_id = fresh_uuid()
        session = self._context.session_id
        first: Line = {
            "type": "queue-operation",
            "operation": "enqueue",
            "timestamp": timestamp(),
            "sessionId": session,
        }
        if isinstance(prompt, str):
            first["content"] = prompt
        self.add(first)
        self.add(
            {
                "type": "queue-operation",
                "operation": "dequeue",
                "timestamp": timestamp(),
                "sessionId": session,
            }
        )

    def prompt(self, content: object, uuid: str | None = None) -> None:
        """Write the user's own line of a turn."""
        self.turns += 1
        uuid = uuid or fresh_uuid()
        self.last_prompt_uuid = uuid
        if content == []:  # nothing was said: the CLI asks, but has no message to keep
            return
        # Before the prompt is added: afterwards the last message is the prompt itself.
        self.place = self._next_place()
        self.append_message({"role": "user", "content": content})
        self.add(
            {
                "parentUuid": self._parent,
                "isSidechain": False,
                "promptId": self.prompt_id,
                "type": "user",
                "message": {"role": "user", "content": content},
                "uuid": uuid,
                "timestamp": timestamp(),
                "permissionMode": self._context.permission_mode,
                "promptSource": "sdk",
                "turnOrigin": "sdk",
                "turnPosition": {"promptIndex": 0, "turnIndex": self.turns},
                **self._tail(),
            }
        )
        self._parent = self.last_prompt_uuid = uuid

    def attachment(self, attachment: Line, place: int) -> int:
        """Write what is attached to the prompt, and show it to the model before the prompt, at ``place``.

        Returns the place of the next one.
        """
        uuid = fresh_uuid()
        line = {
            "parentUuid": self._parent,
            "isSidechain": False,
            # In the file the rendered text stands beside the attachment, not in it.
            "attachment": {key: value for key, value in attachment.items() if not key.startswith("rendered")},
            "type": "attachment",
            "uuid": uuid,
            "timestamp": timestamp(),
        }
        if "rendered" in attachment:
            line |= {
                "rendered": attachment["rendered"],
                "renderedRole": attachment.get("renderedRole", "user"),
            }
        self.add({**line, **self._tail()})
        self._parent = uuid
        return self._show(attachment, place)

    def _show(self, line: Line, place: int) -> int:
        """Put what a line has rendered where the model is shown it; return the place behind it."""
        texts = [shown["content"] for shown in line.get("rendered", [])]
        # A system reminder is no part of a message: it is kept for the next request, without its tags.
        if line.get("renderedRole") == "system":
            self.remarks += [
                text.removeprefix("<system-reminder>\n").removesuffix("\n</system-reminder>")
                for text in texts
            ]
            return place
        last = self.messages[-1] if self.messages else None
        if last is None or last["role"] != "user":
            self.messages.append({"role": "user", "content": []})
            place = 0
        # Before the prompt's own text, in the order in which they came: with files a and b at place 0 the
        # message is a, b, prompt, though the prompt was there first.
        self.messages[-1]["content"][place:place] = [_block(text) for text in texts]
        return place + len(texts)

    def queued(self, content: object) -> None:
        """Write a message that was merged into the running turn."""
        uuid = fresh_uuid()
        self.add(
            {
                "parentUuid": self._parent,
                "isSidechain": False,
                "attachment": {"type": "queued_command", "prompt": content, "commandMode": "prompt"},
                "type": "attachment",
                "uuid": uuid,
                "timestamp": timestamp(),
                **self._tail(),
            }
        )
        self._parent = uuid

    def local_command(self, name: str, arguments: str, output: Line | None = None) -> None:
        """Write a slash command that the CLI ran itself, for the model to see."""
        contents: list[object] = [
            CAVEAT,
            "\n            ".join(
                [
                    f"<command-name>/{name}</command-name>",
                    f"<command-message>{name}</command-message>",
                    f"<command-args>{arguments}</command-args>",
                ]
            ),
        ]
        if self.before_command:
            contents[1] = [*self.before_command, {"type": "text", "text": contents[1]}]
        for text in contents:
            self.user(user(self._context, text))
        if output is not None:
            self.user(output)

    def local_output(self, text: str, run: Line | None = None) -> None:
        """Write the output of a slash command; the model sees it with the next prompt."""
        uuid = fresh_uuid()
        self.add(
            {
                "parentUuid": self._parent,
                "isSidechain": False,
                "type": "system",
                "subtype": "local_command",
                "content": text,
                "level": "info",
                "timestamp": timestamp(),
                "uuid": uuid,
                "isMeta": False,
                **({} if run is None else {"commandRun": run}),
                **self._tail(),
            }
        )
        self._parent = uuid
        self.append_message({"role": "user", "content": text})

    def user(self, event: Line, **extra: object) -> None:
        """Write a user line the CLI made: a tool result or a note."""
        self.append_message(event["message"])
        self.add(
            {
                "parentUuid": self._parent,
                "isSidechain": False,
                "promptId": self.prompt_id,
                "type": "user",
                "message": event["message"],
                "uuid": event["uuid"],
                "timestamp": event["timestamp"],
                **extra,
                **self._tail(),
            }
        )
        self._parent = event["uuid"]

    def assistant(self, event: Line, message: Line, **extra: object) -> None:
        """Write one block of an answer, with the usage and stop reason of the finished message."""
        if not extra.get("isApiErrorMessage"):
            self.append_message(message)
        self.add(
            {
                "parentUuid": self._parent,
                "isSidechain": False,
                "message": message,
                **extra,
                "type": "assistant",
                "uuid": event["uuid"],
                "timestamp": event["timestamp"],
                "madeBy": "model",
                **self._tail(),
            }
        )
        self._parent = event["uuid"]

    def turn_ended(self, prompt: object, cost_state: Line) -> None:
        """Write what follows a turn, and everything else that waits."""
        session = self._context.session_id
        self.add(
            {"type": "last-prompt", "lastPrompt": prompt, "leafUuid": self._parent, "sessionId": session}
        )
        self.add({"type": "cost-state", "sessionId": session, **cost_state})
        self.flush()

    @property
    def last_uuid(self) -> str | None:
        """The uuid of the line written last."""
        return self._parent

    def new_session(self) -> Transcript:
        """Return an empty transcript for the context's new session id, in the same folder."""
        path = self.path and os.path.join(os.path.dirname(self.path), f"{self._context.session_id}.jsonl")
        return Transcript(self._context, path)

    def copy_history(self, path: str) -> None:
        """Start a forked session with the lines of the one at ``path``."""
        for line in read_lines(path):
            self.add({**line, "sessionId": self._context.session_id})

    def flush(self) -> None:
        """Write pending lines to disk; a home that cannot be written is ignored."""
        if self.path is None or not self._pending:
            return
        # One write with O_APPEND: lines of two processes on one session do not mix.
        data = "".join(line + "\n" for line in self._pending).encode("utf-8", "surrogatepass")
        self._pending.clear()
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            # A home that cannot be written keeps nothing, without a word (docs/claude-cli.md, sessions), and
            # is not tried again.
            self.path = None
            return
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


def _not_empty(blocks: list[Line]) -> list[Line]:
    """The blocks that the CLI sends: empty text blocks are left out, unless there are no others."""
    return [block for block in blocks if block.get("type") != "text" or block.get("text")] or list(blocks)


def _block(text: str) -> Line:
    """Return the block that shows a text to the model; ``[image/png]`` stands for an image."""
    if text.startswith("[image/"):
        return {"type": "image", "source": {"type": "base64", "media_type": text[1:-1]}}
    return {"type": "text", "text": text}
