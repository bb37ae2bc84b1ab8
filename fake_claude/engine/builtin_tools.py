"""The tools that the fake really carries out, and what it says about their results."""

from __future__ import annotations

import os

from fake_claude.bash.parts import rough_parts
from fake_claude.invocation.permissions import SILENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.shell import Running

    Input = dict[str, Any]
    Block = dict[str, Any]


class ToolResult:
    """A finished tool call: the block for the model, and the CLI's own account of it."""

    __slots__ = ("block", "facts", "meta")

    def __init__(self, block: Block, facts: object, meta: Input | None) -> None:
        self.block = block
        self.facts = facts
        self.meta = meta


def failed(
    tool_id: str, text: str, *, meta: Input | None = None, tagged: bool = False, plain: str = ""
) -> ToolResult:
    """A call that did not work, or was not made."""
    # The tag marks calls that the tool itself did not take, such as an unknown tool or a path that cannot be
    # read. A command that ran and failed is plain text. The account has the text once more, with ``Error:``
    # before it.
    content = f"<tool_use_error>{text}</tool_use_error>" if tagged else text
    block = {"type": "tool_result", "content": content, "is_error": True, "tool_use_id": tool_id}
    return ToolResult(block, plain or (text if text.startswith("Error") else f"Error: {text}"), meta)


def bash_result(
    tool_id: str, command: str, running: Running, meta: Input, *, reset: str | None = None
) -> ToolResult:
    """What a finished command comes to; ``reset`` is the folder to which the shell was brought back."""
    text = running.text
    meaning = code_meaning(command, running.code or 0)
    # Exit code 1 of `grep`, `diff`, `find` and `test` is an answer, no failure (docs/claude-cli.md, tools).
    if running.code and meaning is None:
        return failed(tool_id, f"Exit code {running.code}" + (f"\n{text}" if text else ""), meta=meta)
    parts = rough_parts(command)
    # `mkdir a && cd a` says nothing when all is well: then a host need not show that there was no output.
    silent = bool(parts) and all(part.split()[0] in SILENT for part in parts)
    warning = f"Shell cwd was reset to {reset}" if reset else ""
    content = "\n".join(filter(None, (text, warning))) or "(Bash completed with no output)"
    block = {"tool_use_id": tool_id, "type": "tool_result", "content": content, "is_error": False}
    facts: Input = {
        "stdout": text,
        "stderr": f"\n{warning}" if warning else "",
        "interrupted": False,
        "isImage": False,
        **({"returnCodeInterpretation": meaning} if meaning else {}),
        "noOutputExpected": silent,
    }
    return ToolResult(block, facts, meta)


_CODE_ONE = {
    "[": "Condition is false",
    "diff": "Files differ",
    "egrep": "No matches found",
    "fgrep": "No matches found",
    "find": "Some directories were inaccessible",
    "grep": "No matches found",
    "rg": "No matches found",
    "test": "Condition is false",
}


def code_meaning(command: str, code: int) -> str | None:
    """Return what exit code 1 says, where it is not a failure: the last command decides."""
    # The shell's exit code is that of the last command run: in `cd src && grep x a.txt` that of grep. `git
    # grep` exits as grep does; `git diff` does as diff only with ``--no-index``.
    words = (rough_parts(command) or [""])[-1].split()
    if words[:2] == ["git", "grep"] or (words[:2] == ["git", "diff"] and "--no-index" in words):
        words = words[1:]
    return _CODE_ONE.get(words[0]) if code == 1 and words else None


def read_file(tool_id: str, given: Input, meta: Input) -> ToolResult:
    """``Read``: the file with line numbers."""
    path = str(given.get("file_path", ""))
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            content = file.read()
    except FileNotFoundError:
        cwd = os.getcwd()
        text = f"File does not exist. Note: your current working directory is {cwd}."
        return failed(tool_id, text, meta=meta)
    except IsADirectoryError:
        return failed(tool_id, f"EISDIR: illegal operation on a directory, read '{path}'", meta=meta)
    except OSError as error:
        return failed(tool_id, f"{error.strerror}: {path}", tagged=True, meta=meta)
    # Not ``splitlines``: only \n ends a line for the CLI, and an empty line behind the last \n is a line.
    lines = content.split("\n")
    numbered = "\n".join(f"{number}\t{line}" for number, line in enumerate(lines, 1))
    count = len(lines)
    file_facts = {
        "filePath": path,
        "content": content,
        "numLines": count,
        "startLine": 1,
        "totalLines": count,
    }
    block = {"tool_use_id": tool_id, "type": "tool_result", "content": numbered}
    return ToolResult(block, {"type": "text", "file": file_facts}, meta)


def write_file(tool_id: str, given: Input, meta: Input) -> ToolResult:
    """``Write``: create the file, or replace it."""
    path, content = str(given.get("file_path", "")), str(given.get("content", ""))
    original: str | None = None
    try:
        # Read before it is replaced: the account has the old text and the patch.
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                original = file.read()
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        return failed(tool_id, f"{error.strerror}: {path}", tagged=True, meta=meta)
    what = f"File created successfully at: {path}"
    if original is not None:
        what = f"The file {path} has been updated successfully."
    text = f"{what} (file state is current in your context — no need to Read it back)"
    facts: Input = {
        "type": "create" if original is None else "update",
        "filePath": path,
        "content": content,
        "structuredPatch": _patch(original, content) if original is not None else [],
        "originalFile": original,
        "userModified": False,
    }
    return ToolResult({"tool_use_id": tool_id, "type": "tool_result", "content": text}, facts, meta)


def _patch(before: str, after: str) -> list[Input]:
    """Return the changes of a file as the CLI's account has them: hunks of lines, three around each change."""
    import difflib  # only a change of a file pays for it

    old, new = before.splitlines(), after.splitlines()
    hunks: list[Input] = []
    # Without ``autojunk=False`` lines that are frequent in a long file would begin no match, and hunks would
    # grow.
    # A group is a list of ``(tag, old start, old end, new start, new end)``, all counted from 0; hunks count
    # from 1.
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        lines: list[str] = []
        for tag, a, b, c, d in group:
            if tag == "equal":
                lines += [f" {line}" for line in old[a:b]]
                continue
            lines += [f"-{line}" for line in old[a:b]] + [f"+{line}" for line in new[c:d]]
        first, last = group[0], group[-1]
        hunks.append(
            {
                "oldStart": first[1] + 1,
                "oldLines": last[2] - first[1],
                "newStart": first[3] + 1,
                "newLines": last[4] - first[3],
                "lines": lines,
            }
        )
    return hunks


SUPPORTED = ("Bash", "Read", "Write")
"""Tools that run; a script gives the others their ``result``."""
