"""Commands that only read: the CLI runs them without asking, as long as their options are known to it."""

from __future__ import annotations

import re

ANY = frozenset(
    [
        "[", "[[", "arch", "basename", "cal", "cat", "cd", "cmp", "column", "comm", "cut", "df", "diff",
        "dirname", "du", "echo", "egrep", "expand", "expr", "false", "fd", "fdfind", "fgrep", "find", "fmt",
        "fold", "free", "grep", "groups", "head", "help", "hexdump", "history", "id", "locale", "ls", "lsof",
        "md5sum", "nl", "nproc", "numfmt", "od", "paste", "pgrep", "pr", "printf", "pwd", "readlink",
        "realpath", "rev", "seq", "sha1sum", "sha256sum", "sleep", "stat", "strings", "tac", "tail", "test",
        "tr", "true", "tsort", "type", "uname", "unexpand", "uptime", "wc", "which", "whoami",
    ]
)  # fmt: skip
"""Run with whatever they are given; their paths are looked at elsewhere."""

_NEVER = {"printf": ("-v",), "fd": ("-x", "-X", "--exec", "--exec-batch"), "lsof": ("+m",)}
_XARGS = ("echo", "grep", "head", "printf", "tail", "wc")


# Four sets for each command: short options without and with a value, long ones without and with a value.
# `_options("di", "w", "decode", "wrap")` knows `-di`, `-w 5`, `--decode` and `--wrap=5`.
def _options(none: str, valued: str = "", long: str = "", long_valued: str = "") -> tuple[set[str], ...]:
    return set(none), set(valued), set(long.split()), set(long_valued.split())


_TABLE: dict[str, tuple[set[str], ...]] = {
    "base64": _options("diD", "w", "decode ignore-garbage", "wrap"),
    "date": _options("uR", "dr", "utc universal rfc-email", "date reference rfc-3339"),
    "file": _options("bihkLNnprsz", "", "brief mime mime-type mime-encoding dereference"),
    "hostname": _options("fIsdiaA", "", "fqdn long short ip-address all-ip-addresses domain"),
    "man": _options("akfw", "", "all"),
    "netstat": _options("anrs", "", ""),
    "ps": _options("efAaxlFTLww", "p", ""),
    "rg": _options(
        "ilncvwFoSsULaP0hH.", "tTgmABCed", "hidden no-ignore ignore-case line-number count files-with-matches",
        "type glob max-count max-depth context",
    ),
    "sort": _options("bdfghiMnRrVcmsuz", "kt", "reverse unique numeric-sort ignore-case", "key"),
    "ss": _options("tulnpaxes46m", "", ""),
    "tput": _options("", "T", ""),
    "tree": _options("adfilpsuhDCnNQS", "LIP", "dirsfirst", ""),
    "uniq": _options("cdiuDz", "fsw", "count repeated unique ignore-case", ""),
}  # fmt: skip
_WORDS = {
    "date": r"\+.*",
    "hostname": r"$^",
    "uniq": r"$^",
    "ps": r"[auxwl]+",
    "netstat": r"$^",
    "ss": r"$^",
    "tput": r"cols|lines|colors",
}
"""What a command may be given beside its options, where not everything is let through."""

_GIT: dict[str, tuple[set[str], ...]] = {
    "blame": _options("lstpecw", "L", "porcelain show-email", "since"),
    "branch": _options(
        "avrl",
        "",
        "all remotes list show-current verbose no-color",
        "contains no-contains merged no-merged sort points-at format",
    ),
    "cat-file": _options("tpse", "", "", ""),
    "describe": _options("", "", "tags all long always dirty contains", "match abbrev"),
    "diff": _options(
        "pwbMCRz",
        "SG",
        "stat cached staged name-only name-status numstat shortstat summary no-color color word-diff "
        "no-index check patch ignore-all-space raw",
        "diff-filter unified color stat",
    ),
    "for-each-ref": _options("", "", "", "format sort count"),
    "grep": _options("nilcwEFPvoh", "eABC", "ignore-case line-number count", ""),
    "log": _options(
        "pnSG",
        "nSGL",
        "oneline graph all stat decorate reverse merges no-merges name-only name-status patch "
        "first-parent follow shortstat numstat no-color abbrev-commit show-signature branches tags remotes",
        "pretty format since until after before author grep max-count skip date committer diff-filter "
        "decorate color",
    ),
    "ls-files": _options("cdomskuz", "x", "others cached deleted modified stage exclude-standard ignored", "exclude"),
    "ls-remote": _options("", "", "heads tags refs quiet", ""),
    "merge-base": _options("a", "", "is-ancestor all octopus fork-point", ""),
    "reflog": _options("", "n", "all oneline", "date"),
    "rev-list": _options("", "n", "count all oneline reverse", "max-count since until author"),
    "rev-parse": _options(
        "q",
        "",
        "show-toplevel git-dir abbrev-ref verify short symbolic is-inside-work-tree show-prefix "
        "absolute-git-dir git-common-dir show-cdup all branches tags",
        "abbrev-ref short",
    ),
    "shortlog": _options("sne", "", "summary numbered email", "since until"),
    "show": _options(
        "p",
        "",
        "stat name-only name-status oneline no-color patch summary numstat shortstat no-patch",
        "pretty format color",
    ),
    "stash": _options("p", "", "stat patch name-only", ""),
    "status": _options(
        "sbuz",
        "",
        "short branch porcelain long verbose ignored show-stash no-renames",
        "untracked-files",
    ),
    "tag": _options("l", "", "list", "contains merged sort points-at format"),
    "worktree": _options("", "", "porcelain", ""),
}  # fmt: skip
_DOCKER = ("images", "inspect", "logs", "ps")


def reads_only(words: list[str]) -> bool:  # noqa: PLR0911 - a list of cases, read one by one
    """Whether the CLI runs this without asking; an option it does not know is asked about."""
    if not words:
        return True
    name, given = words[0], words[1:]
    if name in ("docker", "git"):
        return bool(given) and (_docker(given) if name == "docker" else _git(given))
    if name in ("node", "python", "python3"):
        return given == ["--version"] or (name == "node" and given == ["-v"])
    if name == "ip":
        return given == ["addr"]
    if name == "xargs":
        return _xargs(given)
    if name == "ifconfig":
        return not given
    if name == "jq":
        return bool(given) and not any(re.search(r"\benv\b|\$ENV", word) for word in given)
    if name in ("sed", "awk"):
        return name == "sed" and reading_sed(given)
    if name in _TABLE:
        return _fits(given, *_TABLE[name], words=_WORDS.get(name))
    return name in ANY and not any(word in _NEVER.get(name, ()) for word in given)


def _fits(  # noqa: C901 - a list of cases, read one by one
    given: list[str],
    none: set[str],
    valued: set[str],
    long: set[str],
    long_valued: set[str],
    *,
    words: str | None = None,
) -> bool:
    """Look at each option; what is attached to a short option makes it another one."""
    rest = iter(given)
    for word in rest:
        if word == "--":
            # Behind `--` anything may stand, unless the plain words are limited.
            return words is None
        if word.startswith("--"):
            name, equals, _ = word[2:].partition("=")
            if name in long_valued:
                if not equals:
                    # The value is the next word, and not an option whatever it begins with.
                    next(rest, None)
            elif name not in long or equals:
                return False
        elif word.startswith("-") and len(word) > 1:
            # Exactly one letter: in `-k2` the letters are looked up one by one, `2` is none, and so it is asked
            # about.
            if word[1:] in valued:
                next(rest, None)
            elif not set(word[1:]) <= none:
                return False
        elif words is not None and not re.fullmatch(words, word):
            return False
    return True


def _git(given: list[str]) -> bool:  # noqa: C901, PLR0911, PLR0912 - a list of cases, read one by one
    name, rest = given[0], given[1:]
    table = _GIT.get(name)
    plain = [word for word in rest if not word.startswith("-")]
    match name:
        case "remote":
            return rest in ([], ["-v"], ["--verbose"])
        case "config":
            return len(rest) == 2 and rest[0] == "--get"
        case "worktree":
            return rest[:1] == ["list"] and set(rest[1:]) <= {"--porcelain"}
        case "stash":
            return rest[:1] in (["list"], ["show"])
        case "branch":
            # `git branch x` makes a branch, `git branch --list x` looks for it.
            lists = any(
                word.split("=")[0] in ("-l", "--list", "--contains", "--merged", "--no-merged", "--sort")
                for word in rest
            )
            if plain and not lists:
                return False
        case "tag":
            if plain and not any(
                word.split("=")[0] in ("-l", "--list", "--contains", "--merged") for word in rest
            ):
                return False
        case "reflog":
            # These change or test the log; any other word is the name of a ref.
            if plain and plain[0] in ("expire", "delete", "exists"):
                return False
        case "ls-remote":
            # A word would be a server, so the command would use the network.
            if plain:
                return False
        # `-5` is a number of commits; as short options its digits are in no table.
        case "log" if any(re.fullmatch(r"-\d+", word) for word in rest):
            rest = [word for word in rest if not re.fullmatch(r"-\d+", word)]
    return table is not None and _fits(rest, *table)


def _docker(given: list[str]) -> bool:
    return given[0] in _DOCKER


def _xargs(given: list[str]) -> bool:
    rest = list(given)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-n", "-I", "-L", "-P", "-d", "-s", "-E"):
            del rest[:1]
        elif option not in ("-0", "-r", "-t"):
            return False
    return not rest or rest[0] in _XARGS


def reading_sed(given: list[str]) -> bool:
    """Whether this prints lines of files, or replaces in what it is piped: that much of ``sed`` only reads."""
    options = [word for word in given if word.startswith("-") and len(word) > 1]
    words = [word for word in given if word not in options]
    if not words or not all(
        word in ("-E", "-n", "-r", "-z", "--quiet", "--silent", "--posix") for word in options
    ):
        return False
    quiet = any(word in ("-n", "--quiet", "--silent") for word in options)
    if quiet:
        # With `-n` only printing by line number is known: `1,5p;9p`. A `w` command or a pattern is asked about.
        return all(re.fullmatch(r"(?:\d+(?:,\d+)?)?p", piece.strip()) for piece in words[0].split(";"))
    # Without a file it replaces in its input, which is piped; with one the CLI asks.
    return len(words) == 1 and re.fullmatch(r"s/[^/]*/[^/]*/[gpiIm0-9]*", words[0]) is not None


def replacing_sed(given: list[str]) -> bool:
    """Whether this replaces in files, which edits may do where edits are accepted."""
    words = [word for word in given if not word.startswith("-")]
    return bool(words) and re.fullmatch(r"s/[^/]*/[^/]*/[gpiIm0-9]*", words[0]) is not None
