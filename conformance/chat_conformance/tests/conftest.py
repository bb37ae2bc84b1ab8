from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, not wrong: how long one example takes is no finding here.
settings.register_profile("conformance", derandomize=True, deadline=None)
settings.load_profile("conformance")
