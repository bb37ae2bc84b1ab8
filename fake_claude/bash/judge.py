"""May a Bash command run? Its parts, its files and the rules decide, in the CLI's order and words."""

from __future__ import annotations

import os
import re

from fake_claude.bash.verdict import Verdict

from . import parts as reasons
from .parts import Part, Unclear, pipe_segments, read_parts, rough_parts
from .paths import READING, WRITING, absolute, globbed, guarded, named
from .readonly import reads_only, replacing_sed
from .rules import Rules, bare, prefix_rule, unwrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Input = dict[str, Any]

APPROVAL = "This command requires approval"
USE = "Claude requested permissions to use Bash, but you haven't granted it yet."
SUBCOMMANDS = "subcommandResults"
_EVALUATING = frozenset(
    [
        ".", "alias", "bind", "complete", "coproc", "enable", "eval", "exec", "hash", "let", "mapfile", "readarray",
        "source", "trap",
    ]
)  # fmt: skip
_STARTING = frozenset(["strace", "watch"])
_FIND = frozenset(
    ["-delete", "-exec", "-execdir", "-fls", "-fprint", "-fprint0", "-fprintf", "-ok", "-okdir"]
)
_EDITING = frozenset(["cp", "mkdir", "mv", "rm", "rmdir", "touch"])
_CRITICAL = re.compile(r"/|/\*|/(?:bin|boot|dev|etc|home|lib|lib64|opt|proc|root|sbin|srv|sys|tmp|usr|var)")
SED = (
    "sed command contains operations that require explicit approval (e.g., write commands, execute commands)"
)
SED_MESSAGE = "sed command requires approval (contains potentially dangerous operations)"
CD_GIT = (
    "This command changes directory before running a version-control command, which can pick up untrusted hooks or"
    " repository configuration from the target directory. Approve only if you trust it."
)
CD_WRITE = (
    "Compound command contains cd with write operation - manual approval required to prevent path"
    " resolution bypass"
)
CD_WRITE_MESSAGE = (
    "Commands that change directories and perform write operations require explicit approval to ensure paths are"
    " evaluated correctly. For security, Claude Code cannot automatically determine the final working directory when"
    " 'cd' is used in compound commands."
)
CD_TWO = "cd with two or more directory arguments"
CD_TWO_MESSAGE = (
    f'{CD_TWO} requires manual approval. zsh\'s "cd OLD NEW" form substitutes OLD→NEW in $PWD, producing a target path'
    " that cannot be statically validated."
)
SCRIPT_DENIED = "A permission rule denies a command in this shell -c script"
TRAVERSAL = (
    "Path contains '..' traversal after a directory segment, which may follow a symlink outside the working"
    " directory"
)
GLOB = "Glob patterns are not allowed in write operations. Please specify an exact file path."


class Place:
    """Where a command runs, and what counts as inside."""

    __slots__ = ("cwd", "home", "mode", "roots")

    def __init__(self, *, cwd: str, roots: Iterable[str], home: str, mode: str) -> None:
        self.cwd = cwd
        self.roots = [os.path.normpath(root) for root in roots]
        self.home = home
        self.mode = mode

    def inside(self, path: str) -> bool:
        """Whether a path lies in one of the working directories."""
        return any(path == root or path.startswith(root.rstrip("/") + "/") for root in self.roots)

    @property
    def shown(self) -> str:
        """Return the working directories as the CLI names them."""
        return ", ".join(f"'{root}'" for root in self.roots)


class Ask:
    """Why one part cannot run unasked."""

    __slots__ = ("edits", "message", "offers", "path", "reads", "reason", "redirect", "text")

    def __init__(
        self,
        text: str,
        reason: str | None = None,
        *,
        message: str | None = None,
        path: str | None = None,
        reads: bool = False,
        edits: bool = False,
        redirect: bool = False,
        offers: bool = True,
    ) -> None:
        self.text = text
        self.reason = reason
        self.message = message or reason or APPROVAL
        self.path = path
        self.reads = reads
        self.edits = edits  # accepting edits would help
        self.redirect = redirect
        self.offers = offers


def judge_bash(command: str, place: Place, rules: Rules) -> Verdict:  # noqa: PLR0911 - a list of cases
    """Decide about one command line."""
    # The order decides which sentence a host reads, and it is the CLI's (docs/claude-cli.md, tools):
    # deny rules, then dangers and ask rules in any part, then each part on its own.
    # `ls && rm x` with deny `Bash(rm *)` is denied although `ls` alone would run.
    segments = pipe_segments(command)
    try:
        read = [read_parts(segment, place.home, piped=len(segments) > 1) for segment in segments]
    except Unclear as unclear:
        # What cannot be parsed is still cut at every operator for the deny rules:
        # else `rm x; $(y)` would be a question where a rule already says no.
        if rules.denies(rough_parts(command)):
            return _denied(command, "rule")
        return _unclear(unclear)
    every = [part for parts in read for part in parts]
    for segment, parts in zip(segments, read, strict=True):
        for part in parts:
            # Both forms: as written, and with quotes taken off, or `"rm" x` would pass a rule about `rm`.
            if rules.denies([part.plain, " ".join(part.values)]):
                shown = segment if len(segments) > 1 else command
                return _denied(shown, "rule" if rules.exactly_denies(part.plain) else SUBCOMMANDS)
    early = _early(command, every, place, rules)
    if early is not None:
        return early
    asked = [(segment, _asks(parts, place, rules)) for segment, parts in zip(segments, read, strict=True)]
    asking = [(segment, asks) for segment, asks in asked if asks]
    if not asking:
        alone = len(every) == 1 and rules.exactly_allows(every[0].plain)
        return Verdict(allowed=True, reason_type="rule" if alone else SUBCOMMANDS)
    if len(segments) > 1:
        return _piped(command, asking, place)
    return _listed(command, asking[0][1], place, alone=len([part for part in every if part.words]) == 1)


def _denied(command: str, reason: str) -> Verdict:
    message = f"Permission to use Bash with command {command} has been denied."
    extra = {"decision_reason_type": reason}
    kind = "permission-rule"
    return Verdict(allowed=False, message=message, extra=extra, kind=kind, reason_type=reason, forbidden=True)


def _unclear(unclear: Unclear) -> Verdict:
    unoffered = unclear.reason in (reasons.BACKGROUND, reasons.OPERATORS, reasons.EXPANSION)
    return _reason(unclear.reason, kind=unclear.kind, suggestions=None if unoffered else [])


def _reason(
    reason: str, *, message: str | None = None, kind: str = "other", suggestions: list[Input] | None = None
) -> Verdict:
    asked: Input = {}
    if kind == "safetyCheck":
        asked = {"classifier_approvable": False, "suppress_always_allow_rule": True}
    extra = {"decision_reason_type": kind, "decision_reason": reason}
    return Verdict(
        allowed=False, message=message or reason, extra=extra, asked_with=asked, suggestions=suggestions
    )


def _early(  # noqa: C901, PLR0911 - a list of cases, read one by one
    command: str, parts: list[Part], place: Place, rules: Rules
) -> Verdict | None:
    """Look for what is asked about whatever else the command holds."""
    for part in parts:
        # Before any rule: not even `Bash(rm *)` lets `rm -rf /` run.
        verdict = _dangerous(part, place)
        if verdict is not None:
            return verdict
        words = bare(part.values)
        if words[:1] and words[0] in _EVALUATING:
            return _reason(f"'{words[0]}' evaluates arguments as shell code", suggestions=[])
        if words[:1] and words[0] in ("bash", "dash", "sh", "zsh") and "-c" in words[:-1]:
            script = words[words.index("-c") + 1]
            if rules.denies(rough_parts(script)):
                message = (
                    "A permission rule denies a command inside this shell -c script, so Claude Code could not check it"
                    " for dangerous removals. Approving runs the whole script, including that command."
                )
                return _reason(SCRIPT_DENIED, message=message, kind="safetyCheck", suggestions=[])
    # One part is named by its rule's source; of several the message lists all, as no single source fits.
    asked = [part for part in parts if rules.asks([part.plain, " ".join(part.values)])]
    if len(asked) == 1:
        source = rules.asks([asked[0].plain, " ".join(asked[0].values)])
        details: Input = {"decision_reason_rule_source": source, "server_policy_ask_only": False}
        return Verdict(allowed=False, message=USE, extra={"decision_reason_type": "rule"}, asked_with=details)
    if asked:
        return Verdict(
            allowed=False,
            message=_several([part.text for part in asked]),
            extra={"decision_reason_type": SUBCOMMANDS},
        )
    # After `cd` the folder is only known when the command runs, so paths of later parts cannot be checked:
    # `cd /etc && touch x` names a file that looks as if it lay inside.
    changes = [part for part in parts if part.values[:1] == ["cd"]]
    if any(len([word for word in part.values if not word.startswith("-")]) > 2 for part in changes):
        return _reason(CD_TWO, message=CD_TWO_MESSAGE, suggestions=[])
    if changes and len(parts) > 1:
        if any(bare(part.values)[:1] == ["git"] for part in parts):
            return _reason(CD_GIT)
        if any(_writes(part) for part in parts):
            offered = [_allow([prefix_rule(command)]), _MODE] if place.mode == "default" else []
            return _reason(CD_WRITE, message=CD_WRITE_MESSAGE, suggestions=offered)
    return None


def _writes(part: Part) -> bool:
    outputs = [redirect for redirect in part.redirects if ">" in redirect.operator and not redirect.harmless]
    return bool(outputs) or (bare(part.values)[:1] or [""])[0] in WRITING


def _dangerous(part: Part, place: Place) -> Verdict | None:
    words = bare(part.values)
    if not words or words[0] not in ("rm", "rmdir"):
        return None
    for path in (word for word in words[1:] if not word.startswith("-")):
        full = absolute(path, place.cwd, place.home)
        folder = full.removesuffix("/*") or "/"
        message = f"Dangerous {words[0]} operation detected: '{full}'\n\nThis command would remove a "
        if _CRITICAL.fullmatch(full) or folder == place.home:
            reason = f"Dangerous {words[0]} operation on critical path: {full}"
            what = "critical system directory."
        elif any(folder == root or root.startswith(folder + "/") for root in place.roots):
            reason = f"Dangerous {words[0]} operation on working directory or its ancestor: {full}"
            what = (
                "workspace directory (the working directory, an additional working directory, or one of their parent"
                " directories)."
            )
        else:
            continue
        end = " This requires explicit approval and cannot be auto-allowed by permission rules."
        return _reason(reason, message=message + what + end, kind="safetyCheck", suggestions=[])
    return None


def _asks(parts: list[Part], place: Place, rules: Rules) -> list[Ask]:
    found = (_ask(part, place, rules) for part in parts)
    return [ask for ask in found if ask is not None]


def _ask(part: Part, place: Place, rules: Rules) -> Ask | None:  # noqa: PLR0911 - a list of cases, read one by one
    """Say why this part cannot run unasked, if so."""
    words = bare(part.values)
    name = words[0] if words else ""
    # Before rules and paths: what runs other commands is asked about even if a rule allows its name.
    special = _special(name, words)
    if special is not None:
        return Ask(part.text, special, offers=False)
    for redirect in part.redirects:
        ask = _redirected(part, redirect, place)
        if ask is not None:
            return ask
    if not part.words:
        return None
    # A rule lets a part write inside the working directories without a question, but it opens no folder outside:
    # `Bash(touch *)` allows `touch x`, and `touch /etc/x` is still asked about.
    ask = _pathwise(part, words, place) if name in READING or name in WRITING else None
    allowed = rules.allows(part.plain)
    if ask is not None and not (
        allowed and ask.edits and ask.reason is None and ask.path and place.inside(ask.path)
    ):
        return ask
    if allowed:
        return None
    # Accepting edits covers `mkdir d`, not `timeout 5 mkdir d` nor `A=1 mkdir d`: the CLI takes only the bare form.
    plain = part.values == words and not part.assignments
    if (
        place.mode == "acceptEdits"
        and plain
        and (name in _EDITING or (name == "sed" and replacing_sed(words[1:])))
    ):
        return None
    checked = unwrapped(part)
    if checked is not None and reads_only(checked) and not _stray(part):
        return None
    if name == "sed" and plain:
        return Ask(part.text, SED, message=SED_MESSAGE, offers=False)
    return Ask(part.text)


def _stray(part: Part) -> bool:
    """Whether a dollar sign stands in double quotes and means nothing."""
    return any(re.search(r'"(?:[^"\\]|\\.)*\$"', word.raw) for word in part.words)


def _special(name: str, words: list[str]) -> str | None:  # noqa: C901, PLR0911 - a list of cases
    """Return the reason for commands that run other commands."""
    if name in _EVALUATING:
        return f"'{name}' evaluates arguments as shell code"
    if name == "shopt":
        return "Zsh builtin 'shopt' can bypass security checks"
    if name in _STARTING and len(words) > 1:
        return f"What '{name}' starts can't be checked before it runs"
    if name == "find":
        for word in words[1:]:
            if word in _FIND:
                return (
                    f"find with '{word}' executes commands or modifies files — cannot be auto-allowed by a"
                    " Bash(find:*) prefix rule"
                )
    if name == "awk":
        if "-f" in words:
            return "awk has an option that can't be checked before it runs"
        if any("system(" in word for word in words):
            return "awk program contains system() which executes arbitrary commands"
    if name == "jq" and {"-f", "--from-file", "-L", "--slurpfile", "--rawfile"} & set(words):
        return "jq command contains dangerous flags that could execute code or read arbitrary files"
    if name in ("[", "[[") and words[-1] not in ("]", "]]"):
        return reasons.PARSE_ERROR
    if name == "timeout" and any(word.startswith("--") for word in words[1:2]):
        return f"'timeout {words[1]}' can't be checked before it runs"
    return None


def _redirected(part: Part, redirect: reasons.Redirect, place: Place) -> Ask | None:
    if redirect.harmless:
        return None
    path = absolute(redirect.word.value, place.cwd, place.home)
    if redirect.operator == "<":
        # One of the two is enough: a link inside that leads out passes, and so does one outside that leads in.
        if place.inside(os.path.realpath(path)) or place.inside(path):
            return None
        message = (
            f"Input redirection from '{path}' was blocked. For security, Claude Code may only read files in the allowed"
            f" working directories for this session: {place.shown}."
        )
        return Ask(part.text, message=message, path=path, reads=True, redirect=True)
    return _written(part, f"Output redirection to '{path}'", path, place, redirect=True)


def _written(part: Part, what: str, path: str, place: Place, *, redirect: bool = False) -> Ask | None:
    inside = place.inside(path)
    # The guard is about files inside alone: outside, the folder itself is the reason to ask.
    guard = guarded(path) if inside else None
    if guard is not None:
        return Ask(part.text, guard, path=path, edits=not redirect, redirect=redirect)
    if inside and place.mode == "acceptEdits":
        return None
    tail = (
        f"The path is inside the working directories for this session ({place.shown}), and Claude Code asks before a"
        " shell command creates, changes or removes files there."
        if inside
        else f"The path is outside the working directories for this session ({place.shown}). Allowing runs the command"
        " as written."
    )
    return Ask(
        part.text, message=f"{what} needs approval. {tail}", path=path, edits=not redirect, redirect=redirect
    )


def _pathwise(part: Part, words: list[str], place: Place) -> Ask | None:  # noqa: PLR0911 - a list of cases
    """Look at the files that a command names."""
    name = words[0]
    paths = named(words)
    writes = name in WRITING
    # `sed -n 3p file` prints lines; it is judged as a reader, so inside it needs no question.
    if name == "sed" and reads_only(words):
        writes = False
    if name in ("cp", "mv") and any(word.startswith("-") for word in words[1:]):
        message = (
            f"{name} with flags requires manual approval to ensure path safety. For security, Claude Code cannot"
            f" automatically validate {name} commands that use flags, as some flags like --target-directory=PATH can"
            " bypass path validation."
        )
        return Ask(
            part.text, f"{name} command with flags requires manual approval", message=message, edits=True
        )
    # `sub/../x` leads elsewhere if `sub` is a link; a leading `../x` is plain and goes to the check of folders.
    winding = [path for path in paths if re.search(r"[^/.][^/]*/\.\.(?:/|$)", path)]
    if winding:
        return Ask(part.text, TRAVERSAL, path=winding[0], offers=False)
    if name == "tee" and paths == ["/dev/null"]:
        return None
    if writes and any(globbed(path) for path in paths):
        path = next(path for path in paths if globbed(path))
        return Ask(part.text, GLOB, path=path, edits=True)
    places = [
        _whole(path, place) + ("/" if name == "mv" and path.endswith("/") and len(path) > 1 else "")
        for path in paths
        if path != "/dev/null"
    ]
    outside = [path for path in places if not place.inside(path)]
    if not writes:
        if not outside:
            return None
        verb = READING.get(name, "edit files in")
        message = (
            f"{name} in '{outside[0]}' was blocked. For security, Claude Code may only {verb} the allowed working"
            f" directories for this session: {place.shown}."
        )
        return Ask(part.text, message=message, path=outside[0], reads=True)
    # A path outside is named first, whatever its place in the command.
    for path in outside or places:
        ask = _written(part, f"{name} in '{path}'", path, place)
        if ask is not None:
            return ask
    return None


def _whole(path: str, place: Place) -> str:
    full = absolute(path, place.cwd, place.home)
    # A link that leads out is shown as its target, so that the person who is asked sees what would be touched.
    real = os.path.realpath(full)
    if place.inside(full) and place.inside(real):
        return full
    return real


# What is offered.

_MODE: Input = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}


def _allow(contents: list[str], tool: str = "Bash", destination: str = "localSettings") -> Input:
    rules = [{"toolName": tool, "ruleContent": content} for content in contents]
    return {"type": "addRules", "rules": rules, "behavior": "allow", "destination": destination}


def _folder(path: str, place: Place) -> str:
    """Return the folder that would have to count: the path itself where it is one."""
    # `/etc/h*` has no folder of its own: it is that of the text before the first sign, with a stand-in name.
    if globbed(path):
        path = absolute(re.split(r"[*?\[]", path)[0] + "x", place.cwd, place.home)
    return path if os.path.isdir(path) else os.path.dirname(path)


def _reading_rule(path: str, place: Place) -> str | None:
    folder = _folder(path, place)
    # A rule for the root would grant every file of the machine; the CLI offers none.
    return None if folder == "/" else f"/{folder}/**"


def _path_offers(command: str, ask: Ask, place: Place) -> list[Input]:
    """Return what is offered about a path."""
    if ask.reason is not None and ask.path is not None and ask.reason != GLOB:
        mode = [_MODE] if ask.edits and place.mode == "default" else []
        return [_directory(ask.path, place), *mode]
    # Only `cp` and `mv` with options come here without a path.
    if ask.path is None and place.mode != "default":
        return []
    offers = [_allow([prefix_rule(command)])]
    if ask.path is not None and ask.reads:
        rule = _reading_rule(ask.path, place)
        return [*offers, _allow([rule], "Read", "session")] if rule else []
    if ask.path is not None:
        offers.append(_directory(ask.path, place))
    if ask.edits and place.mode == "default":
        offers.append(_MODE)
    return offers


def _directory(path: str, place: Place) -> Input:
    return {"type": "addDirectories", "directories": [_folder(path, place)], "destination": "session"}


def _several(texts: list[str]) -> str:
    parts = "part requires" if len(texts) == 1 else "parts require"
    return (
        f"This Bash command contains multiple operations. The following {parts} approval: {', '.join(texts)}"
    )


def _one(command: str, ask: Ask, place: Place, *, alone: bool) -> Verdict:
    if ask.reason == TRAVERSAL:
        extra = {"decision_reason_type": "other", "decision_reason": TRAVERSAL}
        return Verdict(allowed=False, message=TRAVERSAL, path=ask.path, extra=extra)
    # A path's own words win over the list of parts, even where the command has several.
    if ask.path is not None or ask.edits:
        asked: Input = {}
        extra = {}
        if ask.reason is not None:
            safe = ask.path is not None and ask.reason != GLOB
            extra = {
                "decision_reason_type": "safetyCheck" if safe else "other",
                "decision_reason": ask.reason,
            }
            asked = {"classifier_approvable": True} if safe else {}
        offers = _path_offers(command, ask, place)
        return Verdict(
            allowed=False,
            message=ask.message,
            path=ask.path,
            extra=extra,
            asked_with=asked,
            suggestions=offers,
        )
    # Alone, the command's own reason is given; among others, the CLI names the part that needs approval.
    rule = [_allow([prefix_rule(ask.text, cut=True)])] if ask.offers else []
    if alone or not ask.offers:
        rule_or_none = None if ask.reason == SED else rule
        extra = {"decision_reason_type": "other", "decision_reason": ask.reason or APPROVAL}
        return Verdict(allowed=False, message=ask.message, extra=extra, suggestions=rule_or_none)
    return Verdict(
        allowed=False,
        message=_several([ask.text]),
        extra={"decision_reason_type": SUBCOMMANDS},
        suggestions=rule,
    )


def _listed(command: str, asks: list[Ask], place: Place, *, alone: bool) -> Verdict:
    """Several commands one after the other."""
    if len(asks) == 1:
        return _one(command, asks[0], place, alone=alone)
    extra = {"decision_reason_type": SUBCOMMANDS}
    offers = _rules_for(asks, place) or None
    return Verdict(
        allowed=False, message=_several([ask.text for ask in asks]), extra=extra, suggestions=offers
    )


def _rules_for(asks: list[Ask], place: Place) -> list[Input]:
    """Return one offer with a rule for each part; none where output goes to files."""
    # A rule is about a command, not about where its output goes, so it would not help here.
    if any(ask.redirect for ask in asks):
        return []
    rules: list[Input] = []
    for ask in asks:
        content, tool = prefix_rule(ask.text, cut=True), "Bash"
        if ask.reads and ask.path is not None:
            content, tool = _reading_rule(ask.path, place) or content, "Read"
        rule = {"toolName": tool, "ruleContent": content}
        if ask.offers and rule not in rules:
            rules.append(rule)
    return (
        [{"type": "addRules", "rules": rules, "behavior": "allow", "destination": "localSettings"}]
        if rules
        else []
    )


def _piped(command: str, asking: list[tuple[str, list[Ask]]], place: Place) -> Verdict:
    """Commands whose output goes to one another."""
    every = [ask for _, asks in asking for ask in asks]
    # A redirection alone is asked about as if it were the whole command.
    if len(every) == 1 and every[0].redirect:
        return _one(command, every[0], place, alone=True)
    offers: list[Input] = []
    for _, asks in asking:
        if len(asks) > 1:
            offers += _rules_for(asks, place)
            continue
        ask = asks[0]
        if ask.path is None and not ask.edits:
            offers += [_allow([prefix_rule(ask.text, cut=True)])] if ask.offers else []
            continue
        more = _path_offers(command, ask, place)
        # The rule for a path is written for the whole command line: offered for each part, it would stand there
        # twice.
        offers += [
            offer
            for offer in more
            if offer["type"] != "addRules" or not offers or offer["destination"] == "session"
        ]
    extra = {"decision_reason_type": SUBCOMMANDS}
    texts = [segment for segment, _ in asking]
    return Verdict(allowed=False, message=_several(texts), extra=extra, suggestions=offers or None)
