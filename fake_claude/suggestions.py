"""Did-you-mean, by the rules of the option parser that the CLI is built on (commander)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DISTANCE = 3
MIN_SIMILARITY = 0.4


def distance(a: str, b: str) -> int:
    """Return the optimal string alignment distance of two words; far apart is just their length."""
    # Each letter more is one step, so the distance is above the bound already: the table need not be filled.
    if abs(len(a) - len(b)) > MAX_DISTANCE:
        return max(len(a), len(b))
    # ``rows[i][j]`` is the distance of the first i letters of one word and the first j of the other: the least
    # of leaving one out, putting one in, changing one, or swapping two neighbours (`modle` is one step from
    # `model`).
    rows = [[max(i, j) if not (i and j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for j in range(1, len(b) + 1):
        for i in range(1, len(a) + 1):
            cost = 0 if a[i - 1] == b[j - 1] else 1
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + cost)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[len(a)][len(b)]


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """Return the names nearest to ``word``, sorted; none when all are too different."""
    # Names at the best distance so far are collected; a nearer one starts the list again.
    best = MAX_DISTANCE
    found: list[str] = []
    for name in sorted(set(names)):
        if len(name) <= 1:
            continue
        d = distance(word, name)
        length = max(len(word), len(name))
        if (length - d) / length <= MIN_SIMILARITY:
            continue
        if d < best:
            best, found = d, [name]
        elif d == best:
            found.append(name)
    return found


def suggestion(word: str, names: Iterable[str]) -> str:
    """Return the line the CLI adds to an unknown option, or nothing."""
    dashes = "--" if word.startswith("--") else ""
    found = [dashes + name for name in nearest(word[len(dashes) :], (n[len(dashes) :] for n in names))]
    if len(found) > 1:
        return f"\n(Did you mean one of {', '.join(found)}?)"
    return f"\n(Did you mean {found[0]}?)" if found else ""
