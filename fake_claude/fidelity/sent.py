"""What the model was sent, as far as it comes from a user or an operator: the same for both CLIs."""

from __future__ import annotations

import re
from typing import Any

OWN = ("<system-reminder>\nAttribution for git commits",)
"""Beginnings of texts that the CLI sends in the user's name whatever is asked."""

FOREIGN = re.compile(
    r"MARK|^Always respond in|keyword \"ultrathink\"|^The user @-mentioned|output style is active"
    r"|hook (success|additional)"
)
"""Lines of the CLI's own remarks that say what users and operators made it say; in rows such files say MARK."""

_LISTED = re.compile(
    r"(?:The closest available command is \S+ Ask the user before running it\. )?"
    r"Slash commands available in this session: .*?\. Treat"
)


def of_body(body: dict[str, Any]) -> list[str]:
    """Return what a request of the real CLI holds behind the model's last answer: texts, then its remarks."""
    # Each request repeats the whole conversation; new is what stands behind the model's last answer.
    last = max((i for i, m in enumerate(body["messages"]) if m["role"] == "assistant"), default=-1)
    texts: list[str] = []
    remarks: list[str] = []
    for message in body["messages"][last + 1 :]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            # Apart, as the fake's ledger has them: the texts first and its remarks last.
            (remarks if message["role"] == "system" else texts).append(_text(block))
    return _normal(texts, remarks)


def of_request(request: dict[str, Any]) -> list[str]:
    """Return the same of a request in the fake's ledger."""
    texts = request["texts"]
    count = len(texts) - request["remarks"]
    return _normal(texts[:count], texts[count:])


def _text(block: dict[str, Any]) -> str:
    if block.get("type") == "image":
        return f"[{block['source']['media_type']}]"
    return str(block.get("text", block.get("type")))


def _normal(texts: list[str], remarks: list[str]) -> list[str]:
    said = [_without_own(text.removesuffix("\n")) for text in texts if not text.startswith(OWN)]
    # A remark is mostly the CLI's own words; only lines that users or operators caused are compared.
    lines = [line for remark in remarks for line in remark.splitlines() if FOREIGN.search(line)]
    return [*_no_bodies(said), *lines]


def _without_own(text: str) -> str:
    """Leave out which commands there are: the list is the CLI's own."""
    return _LISTED.sub("Slash commands available in this session: <own>. Treat", text)


def _no_bodies(texts: list[str]) -> list[str]:
    """Hide the CLI's own prompts, which follow the name of a command that no file defines."""
    own = re.compile(r"<command-message>(?:init|dataviz|simplify|update-config)</command-message>")
    # The text behind the tags of such a command is the CLI's prompt; the tags themselves are compared.
    return ["<own>" if i and own.match(texts[i - 1]) else text for i, text in enumerate(texts)]
