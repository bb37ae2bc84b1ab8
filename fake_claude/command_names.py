"""The names of the sub-commands of ``fake-claude``."""

COMMANDS = (
    "api",
    "bench",
    "coverage",
    "drift",
    "fidelity",
    "gate",
    "install",
    "ledger",
    "lint",
    "record",
    "replay",
    "tee",
)
