"""What a launcher carries: everything that does not come from the command line."""

from __future__ import annotations

from fake_claude.catalog import VERSION


class LauncherSettings:
    """Folders, script and limits of a run, as its launcher was written with."""

    __slots__ = ("gates", "ledger", "needs_key", "retry_scale", "script", "state", "version")

    def __init__(
        self,
        *,
        ledger: str | None = None,
        gates: str | None = None,
        script: str | None = None,
        state: str | None = None,
        retry_scale: float = 1.0,
        version: str = VERSION,
        needs_key: bool = False,
    ) -> None:
        self.ledger = ledger  # folder; without one nothing is noted
        self.gates = gates  # folder; without one a hold is a mistake
        self.script = script  # file
        self.state = state  # folder for the counts of turns with ``times``
        self.retry_scale = retry_scale  # 1.0 waits between retries as long as the CLI does
        self.version = version
        self.needs_key = needs_key  # without ANTHROPIC_API_KEY there is no login
