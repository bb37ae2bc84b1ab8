"""The files that a command names, and whether it reads or writes them."""

from __future__ import annotations

import os
import re

READING = {
    "awk": "process text from files in",
    "base64": "encode/decode files from",
    "cat": "concatenate files from",
    "cd": "change directories to",
    "cmp": "compare files from",
    "column": "format files from",
    "comm": "compare files from",
    "cut": "extract columns from files in",
    "diff": "compare files from",
    "egrep": "search for patterns in files from",
    "expand": "convert tabs in files from",
    "fgrep": "search for patterns in files from",
    "file": "examine file types in",
    "find": "search files in",
    "fmt": "reformat files from",
    "fold": "wrap lines of files from",
    "git": "access files with git from",
    "grep": "search for patterns in files from",
    "head": "read the beginning of files from",
    "hexdump": "display hex dump of files from",
    "jq": "process JSON from files in",
    "ls": "list files in",
    "man": "read manual page files from",
    "md5sum": "compute MD5 checksums for files in",
    "nl": "number lines in files from",
    "numfmt": "reformat numbers in files from",
    "od": "display octal dump of files from",
    "paste": "merge files from",
    "pr": "paginate files from",
    "rev": "read files (reversed lines) from",
    "rg": "search for patterns in files from",
    "sha1sum": "compute SHA-1 checksums for files in",
    "sha256sum": "compute SHA-256 checksums for files in",
    "sort": "sort contents of files from",
    "stat": "read file stats from",
    "strings": "extract strings from files in",
    "tac": "read files (reversed) from",
    "tail": "read the end of files from",
    "tsort": "sort files from",
    "unexpand": "convert spaces in files from",
    "uniq": "filter duplicate lines from files in",
    "wc": "count lines/words/bytes in files from",
}
"""What the CLI says a command may do only in the working directories."""

WRITING = frozenset(["cp", "mkdir", "mv", "rm", "rmdir", "sed", "tee", "touch"])
_VALUED = {
    "cut": "dfcb", "diff": "", "find": "", "grep": "eABCmf", "egrep": "eABCmf", "fgrep": "eABCmf", "head": "nc",
    "jq": "", "rg": "eABCmtTgr", "sort": "kt", "stat": "cf", "tail": "nc", "mkdir": "m", "column": "sco", "fold": "w",
    "od": "ANjtw", "hexdump": "nse", "base64": "w", "nl": "bdfhilnpsvw", "awk": "Fv", "touch": "drt",
}  # fmt: skip
_PATTERN_FIRST = frozenset(["awk", "egrep", "fgrep", "grep", "jq", "rg", "sed"])


def named(words: list[str]) -> list[str]:
    """Return the paths that these words name, as they are written."""
    name, given = words[0], words[1:]
    if name == "find":
        return _find(given)
    if name == "cd":
        # `cd` alone goes home; `cd -` names no path.
        return [word for word in given if word != "-"] or ([] if given else ["~"])
    if name == "ls":
        return _plain(given, "") or ["."]
    if name == "jq":
        given = _without_arguments(given)
    if name == "git":
        return _plain(given[1:], "") if given[:1] == ["diff"] and "--no-index" in given else []
    paths = _plain(given, _VALUED.get(name, ""))
    # In `grep x file` the first word is the pattern. With `-e x` the pattern stands elsewhere and every word is
    # a path.
    if name in _PATTERN_FIRST and not any(re.match(r"-e$|-f$|--expression", word) for word in given):
        paths = paths[1:]
    elif name == "sed" and "-f" in given:
        paths = [
            given[given.index("-f") + 1],
            *[path for path in paths if path != given[given.index("-f") + 1]],
        ]
    elif name == "sed" and "-e" in given:
        scripts = {given[at + 1] for at, word in enumerate(given[:-1]) if word == "-e"}
        paths = [path for path in paths if path not in scripts]
    if name == "man":
        # `man ls` names a page, `man ./ls.1` a file.
        return [path for path in paths if "/" in path]
    return paths


def _plain(given: list[str], valued: str) -> list[str]:
    found: list[str] = []
    rest = iter(given)
    for word in rest:
        if word == "--":
            # Behind `--` a word with a dash is a file: `rm -- -x`.
            return found + list(rest)
        if word.startswith("-") and len(word) > 1:
            # `-n 5` takes the next word along; `-n5` has its value with it.
            if len(word) == 2 and word[1] in valued:
                next(rest, None)
        else:
            found.append(word)
    return [word for word in found if word != "-"]


def _find(given: list[str]) -> list[str]:
    found: list[str] = []
    for word in given:
        if word in ("-H", "-L", "-P"):
            continue
        # Paths of `find` come before its expression, and `.` stands for none.
        if word.startswith("-") or word in ("(", "!", ")"):
            break
        found.append(word)
    return found or ["."]


def _without_arguments(given: list[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(given)
    for word in rest:
        if word in ("--arg", "--argjson", "--slurpfile", "--rawfile"):
            # These take a name and a value.
            next(rest, None)
            next(rest, None)
        else:
            kept.append(word)
    return kept


def absolute(path: str, cwd: str, home: str) -> str:
    """Return where a path leads; an end of ``/`` outside stays."""
    if path == "~" or path.startswith("~/"):
        path = home + path[1:]
    full = os.path.normpath(os.path.join(cwd, path))
    # POSIX lets two slashes at the start mean something else, so ``normpath`` keeps them; the CLI has one.
    return re.sub(r"^//", "/", full)


def globbed(path: str) -> bool:
    """Whether the shell would fill in names."""
    return re.search(r"[*?\[]", path) is not None


SENSITIVE = re.compile(
    r"(?:^|/)(?:\.git|\.vscode|\.idea|\.claude)(?:/|$)|(?:^|/)\.(?:bashrc|bash_profile|zshrc|zprofile|profile|gitconfig|gitmodules|ripgreprc|mcp\.json|claude\.json)$"
)
_OWN = re.compile(r"/\.claude/(?:settings(?:\.local)?\.json$|commands(?:/|$)|agents(?:/|$)|skills(?:/|$))")


def guarded(path: str) -> str | None:
    """Return why a path may not be written even where edits are accepted."""
    if _OWN.search(path):
        return f"Claude requested permissions to write to {path}, but you haven't granted it yet."
    if SENSITIVE.search(path):
        return f"Claude requested permissions to edit {path} which is a sensitive file."
    return None
