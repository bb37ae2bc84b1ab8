"""Which frames of a recorded session are the answer: where its text is, whether it comes in parts, and what ends it.

Of all texts in the frames behind a prompt the answer is the one that comes in most parts, that differ; where a
later frame has all parts joined, that is the same text once more. What comes once, behind the last part, is the
end.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from chat_conformance.suite.propose.leaves import is_random, leaves, tags
from chat_conformance.suite.propose.recording import Frame, decoded

LAST = re.compile(
    r"\b(done|complete[d]?|end(ed)?|finish(ed)?|final|result|stop(ped)?|eos|eot)\b", re.IGNORECASE
)
MARK = re.compile(r"\W*(done|end|eos|eot)\W*", re.IGNORECASE)
"""A text that ends a stream of JSON, as ``[DONE]`` does."""
PART = re.compile(r"\b(text|content|block|part|step|reasoning|thinking|tool)\b", re.IGNORECASE)
"""What ends with something else than the answer."""
CLI = {"system", "stream_event", "assistant", "result"}
"""Types of the CLI's own lines."""
Key = tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Found:
    """What was found out of one answer.

    Attributes:
        cli_lines: Where frames have the CLI's own lines; empty if they do not.
        token: What marks a frame with a part of the text.
        text: Where in it the text is; ``*``: it is the frame.
        cumulative: Whether each has all of the text so far.
        end: What marks the end; None if none was seen.
        said: The whole text.
    """

    cli_lines: str = ""
    token: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    cumulative: bool = False
    end: dict[str, Any] | str | None = None
    said: str = ""


def find(frames: list[Frame], prompt: str) -> Found | None:
    """What is the answer among the frames that came behind a prompt; None if there is no text."""
    if (place := _cli_lines(frames)) is not None:
        return Found(cli_lines=place, said="(in the CLI's own lines)")
    if frames and all(isinstance(each.value, str) for each in frames):
        return _of_text([each.text for each in frames])
    found = _of_json([each for each in frames if not isinstance(each.value, str)], prompt)
    if found is None:
        return _of_text([each.text for each in frames if isinstance(each.value, str)])
    if isinstance(frames[-1].value, str) and MARK.fullmatch(frames[-1].text.strip()):
        found.end = frames[-1].text.strip()
    return found


def _cli_lines(frames: list[Frame]) -> str | None:
    """Where in frames the CLI's own lines are."""
    counts: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        for path, each in leaves(frame.value):
            parent, _, name = path.rpartition(".")
            if name == "type" and each in CLI:
                counts[parent].add(each)
            if isinstance(each, str) and each.startswith("{") and isinstance(line := decoded(each), dict):
                counts[path].add(str(line.get("type")))
    found = [path for path, kinds in counts.items() if len(kinds & CLI) >= 2 and "result" in kinds]
    return min(found, key=len) or "*" if found else None


def _of_text(texts: list[str]) -> Found | None:
    if not texts:
        return None
    *parts, last = texts
    marks = re.fullmatch(r"\W*\w{2,12}\W*", last.strip()) and re.search(LAST, last.strip(" []<>_/|\n"))
    if parts and marks:
        return Found(text="*", end=last.strip(), said="".join(parts))
    return Found(text="*", said="".join(texts))


def _of_json(frames: list[Frame], prompt: str) -> Found | None:
    groups: dict[Key, list[tuple[int, Any]]] = defaultdict(list)
    for place, frame in enumerate(frames):
        groups[_key(frame.value)].append((place, frame.value))
    best: tuple[tuple[int, int, int], Key, str, list[str]] | None = None
    wholes = {each for frame in frames for _, each in leaves(frame.value) if isinstance(each, str)}
    for key, members in groups.items():
        for path, texts in _texts([value for _, value in members]).items():
            if any(each == prompt for each in texts):
                continue
            joined = "".join(texts)
            score = (len(set(texts)) > 1, joined in wholes and len(texts) > 1, len(texts), len(joined))
            rank = (int(score[0]) + 2 * int(score[1]), score[2], score[3])
            if best is None or rank > best[0]:
                best = (rank, key, path, texts)
    if best is None:
        return None
    _, key, path, texts = best
    cumulative = len(texts) > 1 and all(later.startswith(before) for before, later in pairwise(texts))
    last = groups[key][-1][0]
    return Found(
        token=dict(key),
        text=path,
        cumulative=cumulative,
        end=_end(frames[last + 1 :], groups, dict(key)),
        said=texts[-1] if cumulative else "".join(texts),
    )


def _key(value: Any) -> Key:
    return tuple(sorted(tags(value).items(), key=lambda each: each[0]))


def _texts(values: list[Any]) -> dict[str, list[str]]:
    """The texts at each path of frames of one kind: words of people, not tags, ids or constants."""
    found: dict[str, list[str]] = defaultdict(list)
    for value in values:
        known = tags(value)
        at: dict[str, str] = defaultdict(str)
        for path, each in leaves(value):
            if isinstance(each, str) and path not in known and not is_random(each):
                at[path] += each
        for path, text in at.items():
            found[path].append(text)
    return {
        path: texts
        for path, texts in found.items()
        if any(texts) and (len(texts) == 1 or len(set(texts)) > 1 or len(texts) < 3)
    }


def _end(
    after: list[Frame], groups: dict[Key, list[tuple[int, Any]]], token: dict[str, Any]
) -> dict[str, Any] | None:
    """What marks the end among the frames behind the last part of the text."""
    single = [key for each in after if len(groups[key := _key(each.value)]) == 1 and key]
    named = [
        key
        for key in single
        if any(LAST.search(f"{path} {value}") for path, value in key if value is not False)
    ]
    whole = [key for key in named if not any(PART.search(str(value)) for _, value in key)]
    for key in [*whole, *named, *single[-1:]]:
        when = {path: value for path, value in key if token.get(path) != value and value is not False}
        if when:
            return when
    return None
