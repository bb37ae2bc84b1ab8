"""What files were before a prompt's tools changed them, so that a host can have them back."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Before = dict[str, bytes | None]


class Checkpoints:
    """For each prompt, by its uuid, the files that were changed after it; ``None`` is a file that was not there."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._prompts: dict[str, Before] = {}

    def begin(self, prompt: str) -> None:
        """Note a prompt."""
        self._prompts.setdefault(prompt, {})

    def keep(self, path: str) -> None:
        """Note what a file holds, for it is about to be changed."""
        if not self.enabled or not self._prompts:
            return
        # Only the first change after a prompt is noted: it has the content that the prompt found. For example
        # prompt A writes x twice and prompt B once: A has x from before all, B what A's second write left.
        before = self._prompts[next(reversed(self._prompts))]
        if path not in before:
            before[path] = _content(path)

    def known(self, prompt: object) -> bool:
        """Return whether files can be had as they were at this prompt."""
        return isinstance(prompt, str) and prompt in self._prompts

    def rewind(self, prompt: str, *, dry_run: bool) -> dict[str, Any]:
        """Put the files back as they were at a prompt, or say what that would change."""
        # Going back to A undoes B as well. Of the notes for one file the earliest wins, hence ``wanted`` on
        # the right.
        uuids = list(self._prompts)
        wanted: Before = {}
        for uuid in uuids[uuids.index(prompt) :]:
            wanted = {**self._prompts[uuid], **wanted}
        # A file that is back already, by a later prompt or by hand, is neither written nor counted.
        changed = {path: content for path, content in wanted.items() if _content(path) != content}
        if not dry_run:
            # What cannot be put back is counted and left; the CLI has this one name for all of it.
            skipped = sum(not _put_back(path, content) for path, content in changed.items())
            return {"canRewind": True, "skippedLinks": skipped}
        counts = [_counts(_content(path) or b"", content or b"") for path, content in changed.items()]
        return {
            "canRewind": True,
            "filesChanged": list(changed),
            "insertions": sum(added for added, _ in counts),
            "deletions": sum(removed for _, removed in counts),
        }


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _put_back(path: str, content: bytes | None) -> bool:
    """Have a file hold that content, or be gone; return whether that was possible."""
    try:
        if content is None:
            os.unlink(path)
        else:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
    except OSError:
        return False
    return True


def _counts(now: bytes, then: bytes) -> tuple[int, int]:
    """Return how many lines a change adds and removes."""
    import difflib  # few runs rewind anything

    before, after = (text.decode("utf-8", "replace").splitlines() for text in (now, then))
    marks = [line[0] for line in difflib.ndiff(before, after)]
    return marks.count("+"), marks.count("-")
