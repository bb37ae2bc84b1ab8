"""How far the first target of a run may be behind another one that was measured beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.load.figures import MORE_IS_BETTER
from chat_conformance.load.results import LoadResult


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of the first target, as times that of another.

    Attributes:
        measure: Such as ``flat/1``.
        figure: Such as ``tokens_per_s``.
        against: The name of the other target.
        times: At least this ratio where more is better, else at most.
    """

    measure: str
    figure: str
    against: str
    times: float

    def broken(self, result: LoadResult) -> str:
        """What is wrong, empty if nothing; what was not measured on both is."""
        first = result.targets[0]
        mine = result.figure(first, self.measure, self.figure)
        other = result.figure(self.against, self.measure, self.figure)
        what = f"{self.measure} {self.figure}"
        # A bound that could not be checked is broken: else a measurement that fails would make a check green.
        if mine is None or other is None or other <= 0:
            return f"{what} was not measured on {first} and {self.against}, and there is a bound on it"
        # A ratio to a server measured beside it, not a number: the machines of a CI differ by more than most
        # regressions.
        times = mine / other
        more = self.figure in MORE_IS_BETTER
        if times < self.times if more else times > self.times:
            wanted = f"at {'least' if more else 'most'} {self.times:g} times"
            return f"{what} of {first} is {times:.2f} times that of {self.against}; the bound is {wanted}"
        return ""


def load(path: str, targets: Sequence[str]) -> list[Bound]:
    """The bounds of a file: TOML with a table ``[[bound]]`` for each.

    Raises:
        UsageError: The file cannot be read, a field does not fit, or a bound names no other target of the run.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        found = msgspec.convert(document.get("bound", []), list[Bound])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}") from None
    if not found:
        raise UsageError(f"{path} has no [[bound]]")
    for each in found:
        if each.against not in targets[1:]:
            raise UsageError(
                f"{path}: {each.against} is not one of the other targets: {', '.join(targets[1:])}"
            )
    return found
