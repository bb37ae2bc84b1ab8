"""Control requests about files of the working folder."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.control_request import ControlRequest

READ_LIMIT = 1 << 20
"""Bytes that are read of a file unless the host wants fewer."""


def _read_file(request: ControlRequest) -> None:
    members = request.members
    given = members.get("path")
    path = _readable(request, given if isinstance(given, str) else "")
    whole = _content(path) if path is not None else None
    if whole is None:
        request.refuse(f"read denied: {given if isinstance(given, str) else ''}")
        return
    offset, limit = members.get("offset"), members.get("max_bytes")
    start = offset if isinstance(offset, int) and offset > 0 else 0
    most = limit if isinstance(limit, int) and limit > 0 else READ_LIMIT
    data = whole[start : start + most]
    cut = start + len(data) < len(whole)
    text: dict[str, Any] = {"truncated": True} if cut else {}
    if members.get("encoding") == "base64":
        import base64

        response = {
            "contents": base64.b64encode(data).decode(),
            "absPath": path,
            **text,
            "encoding": "base64",
        }
    else:
        # A text that is no UTF-8 is sent with U+FFFD and marked: a host that writes it back would spoil the
        # file.
        contents = data.decode("utf-8", "replace")
        response = {"contents": contents, "absPath": path, **text, "lossy": contents.encode() != data}
    # Only a host that asked for a part is sent where it lies.
    if "offset" in members:
        request.run.record.note("unimitated", what="read_file with an offset: its etag")
        response |= {"offset": start, "read_bytes": len(data), "total_bytes": len(whole)}
    request.succeed({**response, "requested_path": given})


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _readable(request: ControlRequest, path: str) -> str | None:
    """Return the whole path of a plain file inside the working folders."""
    from fake_claude.invocation.permissions import inside

    whole = os.path.normpath(os.path.join(request.run.context.cwd, path))
    return whole if path and os.path.isfile(whole) and inside(whole, request.run.context) else None


def _file_suggestions(request: ControlRequest) -> None:
    """Name what is in the working folder; what it holds below is indexed in the background, and not yet."""
    cwd, query = request.run.context.cwd, request.members.get("query")
    names = os.listdir(cwd) if query in ("", ".") else []
    entries = [f"{name}/" if os.path.isdir(os.path.join(cwd, name)) else name for name in names]
    request.succeed({"suggestions": [{"path": entry} for entry in entries], "cwd": cwd})


def _register_repo_root(request: ControlRequest) -> None:
    context, given = request.run.context, request.members.get("directory")
    try:
        path = os.path.realpath(os.path.join(context.cwd, given)) if isinstance(given, str) else ""
    except ValueError:  # a character that no path has
        path = ""
    if not path or not os.path.exists(path):
        request.refuse("register_repo_root: target path could not be resolved")
        return
    # The order of these is the CLI's: a path that is both outside and no folder is refused as outside.
    text = None
    if path == os.path.realpath(context.cwd):
        text = (
            f"{given} is the session's working directory, which is already registered;"
            " pass the cloned repo's own directory instead"
        )
    elif not path.startswith(os.path.realpath(context.cwd) + os.sep):
        text = (
            f"{given} is not a subdirectory of the session's working directory or of a launch-time --add-dir root"
            " that still leads where it first did"
        )
    elif not os.path.isdir(path):
        text = f"{given} is not a directory"
    elif path in context.directories:
        text = f"{path} is already a registered working directory"
    if text is not None:
        request.refuse(f"register_repo_root: {text}")
        return
    # From here on tools read in it unasked: it counts as one of the working directories.
    context.directories.append(path)
    request.succeed({"directory": path})


def _rewind_files(request: ControlRequest) -> None:
    dry = request.members.get("dry_run") is True
    checkpoints = request.run.checkpoints
    if checkpoints.enabled and checkpoints.known(request.members.get("user_message_id")):
        request.succeed(checkpoints.rewind(str(request.members["user_message_id"]), dry_run=dry))
        return
    text = (
        "No file checkpoint found for this message."
        if checkpoints.enabled
        else "File rewinding is not enabled."
    )
    # A dry run only asks: that nothing can be undone is its answer, and no error.
    if dry:
        request.succeed({"canRewind": False, "error": text})
    else:
        request.refuse(text)


def _seed_read_state(request: ControlRequest) -> None:
    request.succeed()


ANSWERS = {
    "file_suggestions": _file_suggestions,
    "read_file": _read_file,
    "register_repo_root": _register_repo_root,
    "rewind_files": _rewind_files,
    "seed_read_state": _seed_read_state,
}
