"""How long a test waits for what must come, before it has failed."""

from __future__ import annotations

import os

VARIABLE = "CHATGATE_PATIENCE"
"""How many times as long on a slow machine."""


def patience(seconds: float) -> float:
    """Return that many seconds, times ``CHATGATE_PATIENCE``.

    Raises:
        ValueError: The variable is no number.
    """
    # An empty variable counts as unset, or ``float`` would refuse it.
    return seconds * float(os.environ.get(VARIABLE) or 1)
