"""Rules for Bash commands, and how a rule that would cover a command is written."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .parts import Part

_HARMLESS = frozenset(
    [
        "CI", "COLORTERM", "COLUMNS", "FORCE_COLOR", "GOARCH", "GOOS", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE",
        "LC_TIME", "LINES", "NODE_ENV", "NO_COLOR", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "RUST_BACKTRACE",
        "RUST_LOG", "TERM", "TZ",
    ]
)  # fmt: skip
"""Variables that may stand before a command without changing what may be said about it."""

_SHELLS = frozenset(["bash", "cmd", "csh", "dash", "fish", "ksh", "powershell", "pwsh", "sh", "tcsh", "zsh"])
_RUNNERS = frozenset(
    [
        "builtin", "busybox", "command", "doas", "env", "exec", "nice", "nohup", "pkexec", "stdbuf", "sudo", "time",
        "timeout", "xargs",
    ]
)  # fmt: skip
_STARTERS = _SHELLS | _RUNNERS
"""Commands for which a rule with a prefix would cover anything."""

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(?:'[^']*'|\"[^\"]*\"|[^\s'\"]*)\s+")
_SECOND = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_REDIRECTS = re.compile(r"\s*(?:\d*>&\d|\d*>[>|]?\s*[^\s<>|&]+|&>>?\s*[^\s<>|&]+|\d*<\s*[^\s<>|&]+)")


def _without_harmless(text: str) -> str:
    while (match := _ASSIGNMENT.match(text)) and match.group(1) in _HARMLESS:
        text = text[match.end() :]
    return text


def _without_assignments(text: str) -> str:
    while match := _ASSIGNMENT.match(text):
        text = text[match.end() :]
    return text


def prefix_rule(text: str, *, cut: bool = False) -> str:
    """Return the rule that would cover this command: its first two words and anything, or the command as it is."""
    if cut:
        text = _REDIRECTS.sub("", text.split("<<", maxsplit=1)[0])
    text = text.strip().rstrip(";").strip()
    # `git status -s` offers `git status *`. No prefix for what starts other commands (`sudo x *` would cover
    # anything), and none where the second word is no plain name: `rm x.txt` is offered as it is.
    words = _without_harmless(text).split()
    if len(words) > 1 and words[0] not in _STARTERS and "=" not in words[0] and _SECOND.fullmatch(words[1]):
        return f"{words[0]} {words[1]} *"
    return text


def bare(words: list[str]) -> list[str]:
    """Return the command behind what only starts it."""
    while words:
        # Only forms whose end is certain: `command -v ls` runs nothing, and `timeout --x` is asked about elsewhere.
        if words[0] in ("builtin", "command") and len(words) > 1 and not words[1].startswith("-"):
            words = words[1:]
        elif words[0] == "timeout" and len(words) > 2 and re.fullmatch(r"[\d.]+[smhd]?", words[1]):
            words = words[2:]
        else:
            break
    return words


def unwrapped(part: Part) -> list[str] | None:
    """Return the command that is looked at for whether it only reads; nothing where variables are set for it."""
    if any(word.raw.partition("=")[0] not in _HARMLESS for word in part.assignments):
        return None
    return bare(part.values)


def _starters_off(text: str) -> list[str]:
    """Return the command in all forms that a rule may mean: as it is, and behind what starts it."""
    found = [text]
    words = text.split()
    # `sudo -n env A=1 rm x` gives the text itself, `env A=1 rm x` and `rm x`; a deny rule for `rm` finds the last.
    # A value of an option (`nice -n 5`) counts as one as well if it is a number.
    while len(words) > 1 and words[0].rpartition("/")[2] in _RUNNERS:
        words = words[1:]
        while words and (words[0].startswith("-") or re.fullmatch(r"[\d.]+[smhd]?|\w+=\S*", words[0])):
            words = words[1:]
        found.append(" ".join(words))
    return found


def covers(rule: str, command: str) -> bool:
    """Whether what stands in the parentheses of a rule covers a command."""
    if rule.endswith(":*"):
        return command == rule[:-2] or command.startswith(rule[:-2] + " ")
    # `git *` covers `git` alone, too; `git:*` is the older way to write it.
    if rule.endswith(" *") and command == rule[:-2]:
        return True
    return re.fullmatch(".*".join(map(re.escape, rule.split("*"))), command, re.DOTALL) is not None


def _exactly(rule: str, command: str) -> bool:
    return rule == command or (rule.endswith(":*") and rule[:-2] == command)


class Rules:
    """What is allowed, asked about and denied: what stands in the parentheses of rules for Bash."""

    def __init__(self, *, allow: Iterable[str], ask: Mapping[str, str], deny: Iterable[str]) -> None:
        self._allow = contents(allow)
        self._ask = ask  # with the source of each
        self._deny = contents(deny)

    def allows(self, text: str) -> bool:
        """Whether a rule lets a part run; variables set for it must be harmless."""
        # Stricter than for deny rules: `PATH=x ls` is not allowed by `Bash(ls)`, as the variable may change
        # what runs.
        forms = [text, *(_starters_off(_without_harmless(text)))]
        return any(covers(rule, form) for rule in self._allow for form in forms)

    def exactly_allows(self, text: str) -> bool:
        """Whether a rule names just this."""
        return any(_exactly(rule, text) for rule in self._allow)

    def asks(self, texts: Iterable[str]) -> str | None:
        """Return the source of the rule that wants to be asked, if there is one."""
        texts = list(texts)
        for rule, source in self._ask.items():
            if rule == "Bash" or self._meets(contents([rule]), texts):
                return source
        return None

    def denies(self, texts: Iterable[str]) -> bool:
        """Whether a rule forbids any of these, however they are started or written."""
        return self._meets(self._deny, texts)

    def exactly_denies(self, text: str) -> bool:
        """Whether a rule forbids just this."""
        return any(_exactly(rule, text) for rule in self._deny)

    @staticmethod
    def _meets(rules: list[str], texts: Iterable[str]) -> bool:
        for text in texts if rules else ():
            for form in _starters_off(_without_assignments(text.strip())):
                first, space, rest = form.partition(" ")
                # `/bin/rm` and `\rm` are `rm`, too.
                plain = first.rpartition("/")[2].lstrip("\\") + space + rest
                if any(covers(rule, one) for rule in rules for one in (form, plain)):
                    return True
        return False


def contents(rules: Iterable[str]) -> list[str]:
    """Return what stands in the parentheses of rules for Bash."""
    found = (re.fullmatch(r"Bash\((.+)\)", rule, re.DOTALL) for rule in rules)
    return [match[1] for match in found if match is not None]
