"""Usage per turn, and the running totals of a session (docs/claude-cli.md, result)."""

from __future__ import annotations

from fake_claude.catalog import MODELS, find_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OF_USE = ("canonicalModel", "provider", "costBasis")  # members of a model that this run has used
_CACHE_WRITE, _CACHE_READ = 1.25, 0.05  # parts of the input price


def empty_usage() -> dict[str, Any]:
    """Return the usage of a result in which no API call was counted."""
    return {
        "output_tokens_details": {"thinking_tokens": 0},
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "service_tier": "standard",
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "inference_geo": "",
        "iterations": [],
        "speed": "standard",
        "fallback_credit": None,
    }


_SUMMED = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def add_usage(total: dict[str, Any], usage: dict[str, Any]) -> None:
    """Add one API call's token counts to a turn's usage."""
    # In place, since the turn holds this very dict; taken out and put back to have the CLI's order of
    # members.
    details = total.pop("output_tokens_details")
    rest = {key: total.pop(key) for key in list(total) if key not in _SUMMED}
    for key in _SUMMED:
        total[key] += usage.get(key) or 0
    total |= {"output_tokens_details": details, **rest}  # in the order the CLI has once something was counted
    for key, count in (usage.get("cache_creation") or {}).items():
        total["cache_creation"][key] = total["cache_creation"].get(key, 0) + count


class Costs:
    """Money and tokens per model, as ``modelUsage`` shows them; they grow over a whole session."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}

    def add(self, model: str, usage: dict[str, Any]) -> None:
        """Count one API call."""
        known = find_model(model)
        unused = self._entry(model)
        entry = self.models.setdefault(model, unused)
        # A model from a resumed session's file has no such members until this run uses it (``resume``).
        for name in _OF_USE:
            entry.setdefault(name, unused[name])
        fresh, out = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
        written, read = (
            usage.get("cache_creation_input_tokens") or 0,
            usage.get("cache_read_input_tokens") or 0,
        )
        entry["inputTokens"] += fresh
        entry["outputTokens"] += out
        entry["cacheReadInputTokens"] += read
        entry["cacheCreationInputTokens"] += written
        parts = usage.get("cache_creation") or {}
        entry["cacheCreationEphemeral5mInputTokens"] += parts.get("ephemeral_5m_input_tokens", 0)
        entry["cacheCreationEphemeral1hInputTokens"] += parts.get("ephemeral_1h_input_tokens", 0)
        # Prices are dollars per million tokens. A model without a price is charged as the first, and says so:
        # ``costBasis`` is unknown.
        priced = known or MODELS[0]
        micro = (fresh + written * _CACHE_WRITE + read * _CACHE_READ) * priced.cost_in + out * priced.cost_out
        entry["costUSD"] += micro / 1_000_000

    @staticmethod
    def _entry(model: str) -> dict[str, Any]:
        known = find_model(model)
        return {
            "inputTokens": 0,
            "outputTokens": 0,
            "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0,
            "webSearchRequests": 0,
            "costUSD": 0,
            "contextWindow": known.window if known else 1_000_000,
            "maxOutputTokens": known.max_output if known else 32_000,
            "thinkingTokens": 0,
            "cacheCreationEphemeral5mInputTokens": 0,
            "cacheCreationEphemeral1hInputTokens": 0,
            "canonicalModel": known.name if known else model,
            "provider": "firstParty",
            "costBasis": "list" if known else "unknown",
        }

    @property
    def total(self) -> float:
        """Dollars spent by the session."""
        # With no model the CLI writes 0, not 0.0.
        return float(sum(entry["costUSD"] for entry in self.models.values())) if self.models else 0

    def copy(self) -> dict[str, dict[str, Any]]:
        """Return ``modelUsage`` as it stands."""
        return {model: dict(entry) for model, entry in self.models.items()}

    def since(self, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what was added to ``before``, per model that was used."""
        delta: dict[str, dict[str, Any]] = {}
        for model, entry in self.models.items():
            old = before.get(model)
            if old == entry:
                continue
            # Counts are differences; names and sizes of windows are no counts and stay as they are.
            delta[model] = {
                key: (value - old[key])
                if old and isinstance(value, (int, float)) and key not in ("contextWindow", "maxOutputTokens")
                else value
                for key, value in entry.items()
            }
        return delta

    def resume(self, usage: dict[str, dict[str, Any]]) -> None:
        """Start from the totals in a session's file."""
        for model, entry in usage.items():
            kept = {**self._entry(model), **entry}
            self.models[model] = {name: value for name, value in kept.items() if name not in _OF_USE}
