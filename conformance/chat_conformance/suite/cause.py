"""Why a case failed, in words that are the same for the same fault in every run, and how far it came."""

from __future__ import annotations

import re

from chat_conformance.results import CaseResult

# How many characters of a sentence are looked at, however long it is.
_CHARS = 4000

# The order counts: what is longer or more particular goes first. A time has digits that would pass for a
# number, an address has a port, a marker of ten consonants might pass for an id. Example: "2027-01-31T10:00:00Z
# 127.0.0.1:41234 closed" is TIME ADDRESS closed.
_ALIKE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]{5,}(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "TIME"),
    (re.compile(r"[\w./-]*/chatgate-[\w-]+"), "FOLDER"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"(?:\d{1,3}\.){3}\d{1,3}:\d+|\[::1?\]:\d+|\blocalhost:\d+"), "ADDRESS"),
    (
        re.compile(r"\b(?:[a-z]+-)?[bcdfghjkmnpqrstvwxz]{10}\d*(?:-\d+)?\b"),
        "WORD",
        # The marker of a case, `CaseScope.marker`.
    ),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b"), "ID"),
    (re.compile(r"\b(?=[\w+/-]*\d)(?=[\w+/-]*[A-Z])[\w+/-]{20,}={0,2}"), "ID"),
    (re.compile(r"(?:\\x[0-9a-f]{2}|[!-~ ](?=\\x)){3,}"), "BYTES"),
    # One loss of a connection is seen now as its end and now as a reset: that is a matter of time.
    (re.compile(r"the connection ended: (?:end of stream|reset \(\w+\))"), "the connection ended"),
    (
        re.compile(r"\b(?:ConnectionResetError|ServerDisconnectedError|ClientOSError)\b[^;]*"),
        "the connection ended",
    ),
)
# The tokens of the fake.
_PIECES = re.compile(r"\bt\d+(?: t\d+)*\b")
_NUMBER = re.compile(
    r"(?<![\w.-])-?\d+(?:[,_]\d{3})*(?:\.\d+)?(?!\w)(?P<unit>\s?(?:[munµ]?s|seconds|minutes|[KMG]i?B|bytes|characters)\b|\s?%)?"
)
_STATUS, _CLOSE = range(100, 600), range(1000, 5000)
_OF_STATUS = re.compile(r"\bstatus\b|\bHTTP\b|(?:^|\bit is |\bto be )[1-5]\d\d\b")
_OF_ONE_KIND = re.compile(
    r"(?P<one>'token'|'thinking'|\b(?:many|ID|WORD)\b)(?:, (?P=one))+"
    # It depends on time only.
)
_REPEATED = re.compile(r"(?P<one>'[^']{1,60}')(?:, (?P=one))+")


def cause(result: CaseResult) -> str:
    """Why a case failed: what was expected and what came instead, without what differs from run to run.

    Addresses, names, times and process ids go; of a count it stays whether it is none, one or many. Statuses and close
    codes stay, since they are what a server says.
    """
    return f"{alike(result.expected)}; {alike(result.happened, of_status=_is_of_status(result.expected))}"


def alike(text: str, *, of_status: bool | None = None) -> str:
    """The words of a sentence that do not differ from run to run.

    Args:
        text: The sentence.
        of_status: Whether its numbers may be statuses of HTTP; by default it has to say so itself.
    """
    # Bounded, since the patterns run over what a server sent.
    text = text[:_CHARS]
    statuses = _is_of_status(text) if of_status is None else of_status or _is_of_status(text)
    for pattern, word in _ALIKE:
        text = pattern.sub(word, text)
    text = _PIECES.sub(_pieces, text)

    # A number is one of four: with a unit of time or size it depends on the machine (some ms); a close code or
    # status is what the server says, and stays; 0 and 1 stay, as none and one are other faults than many; any
    # other is many.
    def number(found: re.Match[str]) -> str:
        digits = found[0].removesuffix(found["unit"] or "").replace(",", "").replace("_", "").lstrip("-")
        unit = (found["unit"] or "").strip()
        if unit and unit not in ("bytes", "characters"):
            return f"some {unit}"
        if "." not in digits and not unit:
            # What a number is, the words before it say: 1000 may be a close code or a count.
            before = text[max(0, found.start() - 24) : found.start()].lower()
            if int(digits) in _CLOSE and re.search(r"clos|code", before):
                return digits
            if (int(digits) in _STATUS and statuses) or "exit status" in before:
                return found[0]
        return digits if digits in ("0", "1") else "many"

    text = _OF_ONE_KIND.sub(r"\g<one>", _NUMBER.sub(number, text))
    return _REPEATED.sub(r"\g<one>…", text)


def is_further(new: CaseResult, old: CaseResult) -> bool:
    """Whether a case that failed in both runs came further in the new one, so that it failed there for what was hidden.

    It did if it stopped at a later line of the case and sent as much, or sent all that it sent before and then more.
    Where neither is sure the answer is no.
    """
    now, before = _sent(new), _sent(old)
    if new.step > old.step > 0:
        return len(now) >= len(before)
    # Not at a later line: then it must have sent all as before, and after it something that it had not sent
    # yet. Repeating itself is no progress.
    more = len(now) > len(before) > 0 and now[: len(before)] == before
    return new.step == old.step and more and not set(before).issuperset(now)


def _sent(result: CaseResult) -> list[str]:
    """What the case sent, repetitions and answers to the server's pings and closes left out."""
    sent: list[str] = []
    for line in result.trace:
        word = alike(line.text)
        if line.direction == ">" and not word.startswith(("PONG", "CLOSE")) and word not in sent[-1:]:
            sent.append(word)
    return sent


def _is_of_status(text: str) -> bool:
    return _OF_STATUS.search(text) is not None


def _pieces(found: re.Match[str]) -> str:
    """A part of the fake's answer: as long as it is in order, its length is a matter of time."""
    numbers = [int(each[1:]) for each in found[0].split()]
    in_order = numbers == list(range(1, len(numbers) + 1))
    doubled = len(set(numbers)) < len(numbers)
    return "pieces" if in_order else "pieces again" if doubled else "pieces out of order"
