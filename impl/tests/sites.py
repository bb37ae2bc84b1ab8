"""A fake to ask and a server to talk to, for the length of a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import Run, read


@dataclass(frozen=True)
class Fake:
    """The stand-in for the CLI, with its ledger and its gates."""

    directory: Path
    command: list[str]

    @classmethod
    def installed(cls, directory: Path) -> Fake:
        return cls(directory, [str(install(directory))])

    def gate(self, name: str) -> Gate:
        return Gate(self.directory / "gates", name)

    def runs(self) -> list[Run]:
        """The runs so far, oldest first."""
        return read(self.directory / "ledger")
