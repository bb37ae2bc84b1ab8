"""Files and folders that a prompt mentions after ``@`` (docs/claude-cli.md, what the CLI does with user text)."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""White space as JavaScript's regular expressions know it."""

_STOPS = r"\u3001\u3002\uff01\uff1f"  # of Chinese and Japanese, after which no space is written
# `@` counts only at the start, after a blank or after a stop, so `me@example.com` mentions nothing. The last `\b`
# takes off punctuation: `@note.txt,` is `note.txt`. Word characters are ASCII as in JavaScript, without `é`.
_QUOTED = re.compile(rf'(?:^|[{SPACE}])@"([^"]+)"')
_PLAIN = re.compile(rf'(?:^|[{SPACE}{_STOPS}])@((?!")[^{SPACE}]+\b)', re.ASCII)
_LINES = re.compile(r"([^#]+)(?:#L(\d+)(?:-(\d+))?)?(?:#[^#]*)?", re.ASCII)
_BARE_LINES = re.compile(r"([^#]+)#(\d+)(?:-(\d+))?", re.ASCII)
_COMMAND = re.compile(r"/[A-Za-z0-9:_-]+(?=[\s]|$)")


class Mention:
    """A path as it was written, and the lines that are wanted of it: ``first`` from 1, and how many."""

    __slots__ = ("count", "first", "path")

    def __init__(self, path: str, first: int | None = None, count: int | None = None) -> None:
        self.path = path
        self.first = first
        self.count = count


def words(text: str) -> list[str]:
    """Return the words that mention something, each once, those in quotes first.

    A text that starts with a slash but no command name is taken as it is.
    """
    if text.startswith("/") and not _COMMAND.match(text):
        return []
    # Two passes, as the CLI has them: all in quotes first, wherever they stand, and each path once.
    found = [match[1] for match in _QUOTED.finditer(text)] + [match[1] for match in _PLAIN.finditer(text)]
    return list(dict.fromkeys(found))


def mentions(text: str, *, before_332: bool) -> Iterator[Mention]:
    """Yield what a prompt mentions."""
    for word in words(text):
        # `a#L2-3` wants lines 2 to 3, `a#x` is `a`; `a#2-3` wants lines since 2.1.332 and was `a` before.
        lines = (None if before_332 else _BARE_LINES.fullmatch(word)) or _LINES.fullmatch(word)
        if lines is None or lines[2] is None:
            yield Mention(word if lines is None else lines[1])
            continue
        first = int(lines[2])
        yield Mention(lines[1], first, (int(lines[3]) if lines[3] else first) - first + 1)
