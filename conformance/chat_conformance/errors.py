"""What stops a case or a run, and who has to act on it."""

from __future__ import annotations

SENTENCE_CHARS = 1_000
"""How much of a target's words goes into a sentence: every report has it, and it may be megabytes."""


def clip(text: str, chars: int = SENTENCE_CHARS) -> str:
    """Text of bounded length; of a longer one beginning and end, with how much is left out."""
    # The end is kept as well: of an error the last words are often the reason.
    end = min(60, chars // 4)
    more = len(text) - chars
    return f"{text[: chars - end]} … ({more:,} characters left out) … {text[-end:]}" if more > 0 else text


class ConformanceError(Exception):
    """The base of what this package raises on purpose."""


class Failure(ConformanceError):
    """The target did not do what a clause asks.

    Attributes:
        expected: What the clause asks for here.
        happened: What came instead.
    """

    def __init__(self, expected: str, happened: str) -> None:
        # Here, once: whatever raises a failure may put in all that a server sent.
        self.expected = clip(expected)
        self.happened = clip(happened)
        super().__init__(f"expected {self.expected}; {self.happened}")


class ClosedEarly(Failure):
    """The server has closed with 1000 or 1001, which it may at any time (CLOSE-2); what always does so is a failure."""


class CouldNotTest(ConformanceError):
    """The target file does not give what the case needs, such as a ledger."""


class SuiteError(ConformanceError):
    """The suite itself sent what RFC 6455 forbids a client to send, and no case meant it."""


class BusyError(ConformanceError):
    """A case computed for too long and was stopped from outside."""


class NotOffered(ConformanceError):
    """The target file does not claim what the case is about."""


class TargetError(ConformanceError):
    """The target cannot be reached, started or ended; exit status 3.

    Attributes:
        log: The last lines the target wrote.
    """

    def __init__(self, sentence: str, log: tuple[str, ...] = ()) -> None:
        self.log = log
        super().__init__(sentence)


class UsageError(ConformanceError):
    """The command or the target file is wrong; exit status 2."""
