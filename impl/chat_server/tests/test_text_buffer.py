"""Texts that grow: however they are cut into pieces, they read as if they were one string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chat_server.text_buffer import PIECES_PER_BLOCK, TextBuffer, VisibleText

pieces = st.lists(st.text("abé", max_size=3), max_size=3 * PIECES_PER_BLOCK)
places = st.integers(0, 12)


def grown(parts: list[str]) -> TextBuffer:
    text = TextBuffer()
    for part in parts:
        text.append(part)
    return text


@given(pieces, places, places)
def test_part_is_what_a_string_has_there(parts: list[str], start: int, length: int) -> None:
    whole = "".join(parts)

    assert grown(parts).slice(start, start + length) == whole[start : start + length]


@given(pieces, pieces, places)
def test_slice_is_the_same_after_str(parts: list[str], more: list[str], start: int) -> None:
    text = grown(parts)
    str(text)
    for part in more:
        text.append(part)

    assert text.slice(start, text.length) == "".join([*parts, *more])[start:]


@given(pieces, st.text("abé", max_size=6), places)
def test_end_is_that_of_a_string(parts: list[str], other: str, start: int) -> None:
    text, whole = grown(parts), "".join(parts)

    assert text.ends_with(other) == whole.endswith(other)
    assert text.ends_with(whole[start:])


@given(st.lists(st.one_of(st.text("abé", min_size=1, max_size=3), places), max_size=20), places)
def test_rewound_text_is_not_visible(steps: list[str | int], start: int) -> None:
    buffer = grown(["from before"])
    visible, seen = VisibleText(buffer), ""
    for step in steps:
        if isinstance(step, str):
            buffer.append(step)
            seen += step
        else:
            length = min(step, len(seen))
            visible.truncate(length)
            seen = seen[:length]

    assert (str(visible), len(visible)) == (seen, len(seen))
    assert visible.tail(min(start, len(seen))) == seen[start:]
    assert visible.ends_with(seen[start:])
    assert not visible.ends_with("x" + seen)
    assert str(buffer).startswith("from before")
