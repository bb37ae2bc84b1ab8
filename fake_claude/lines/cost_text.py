"""What a session cost, in words: of ``/cost`` and of the control request ``get_session_cost``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.lines.costs import Costs


def cost_text(costs: Costs, api_ms: int, requests: int, *, before_330: bool) -> str:
    """Return the lines; ``api_ms`` is the time of the API, ``requests`` how often it was asked."""
    totals = [0, 0, 0, 0]
    for entry in costs.models.values():
        keys = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
        totals = [total + entry[key] for total, key in zip(totals, keys, strict=True)]
    read, written = totals[2:]
    spent = f"Usage:                 {totals[0]} input, {totals[1]} output, {read} cache read, {written} cache write"
    if costs.models:
        spent = "Usage by model:\n" + "\n".join(_line(name, entry) for name, entry in costs.models.items())
        asked = f"{requests} request{'s' if requests != 1 else ''}"
        spent += (
            f"\nPrompt cache (main):   {asked} · 0% of input tokens from cache · no misses"
            " · no prompt caching reported by the API"
        )
    # Earlier versions had another word for it; the columns stay.
    title = "Total cost:            " if before_330 else "Estimated cost:        "
    return (
        f"{title}${costs.total:.4f}\n"
        f"Total duration (API):  {api_ms // 1000}s\n"
        "Total duration (wall): 0s\n"
        "Total code changes:    0 lines added, 0 lines removed\n" + spent
    )


def _line(name: str, entry: dict[str, Any]) -> str:
    fresh, out = entry["inputTokens"], entry["outputTokens"]
    read, written = entry["cacheReadInputTokens"], entry["cacheCreationInputTokens"]
    spent = f"{fresh} input, {out} output, {read} cache read, {written} cache write"
    return f"{name + ':':>21}  {spent} (${entry['costUSD']:.4f})"
