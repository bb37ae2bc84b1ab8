"""JSON lines as the CLI writes them."""

from __future__ import annotations

import json

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
dumps = _encoder.encode
"""Encode as the CLI does: compact, UTF-8 unescaped."""
