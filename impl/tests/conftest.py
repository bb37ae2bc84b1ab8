"""What the server's tests share: a fake to start, a running site, and the proof that a test left nothing behind."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("quick", max_examples=60, deadline=None)  # two shared cores: no deadline
settings.register_profile("long", max_examples=2000, derandomize=True, deadline=None)
settings.load_profile(os.environ.get("CHATGATE_HYPOTHESIS", "quick"))
