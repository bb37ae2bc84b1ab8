"""Differences that are accepted, each with its reason. The list may only shrink."""

from __future__ import annotations

from fake_claude.fidelity.compare import Allowed, Difference

ALLOWED: tuple[Allowed, ...] = (
    Allowed(
        "sequence",
        "whether the CLI still prints the result of an interrupted tool before it ends is a matter of milliseconds",
        rows=("sigint_tool", "sigint_asking"),
    ),
    Allowed(
        "transcript",
        "whether the CLI still writes down what a killed command came to is a matter of milliseconds",
        rows=("sigterm_tool",),
    ),
    *(
        Allowed(
            where,
            "whether the CLI has begun its transcript when a bad line ends it is a matter of milliseconds",
            rows=("si_malformed_mid_answer",),
        )
        for where in ("files", "transcript")
    ),
    *(
        Allowed(
            where,
            "the CLI's own prompts are its own: only that one is sent is compared",
            rows=("command_own_prompt",),
        )
        for where in ("assistant.message", "result/success", "transcript")
    ),
    Allowed(
        "transcript",
        "an image is also written to a temporary file, which only a model that looks at it needs",
        rows=("si_image",),
    ),
)


def allowed_by(row: str, difference: Difference) -> Allowed | None:
    """Return the entry that accepts a difference."""
    for entry in ALLOWED:
        # By its beginning: one entry covers all that lies below a member, but never another row.
        if difference.where.startswith(entry.where) and (not entry.rows or row in entry.rows):
            return entry
    return None
