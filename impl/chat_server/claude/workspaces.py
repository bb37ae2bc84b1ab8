"""Folders of the CLI: a HOME, a working folder and a place for temporary files for each conversation.

A process may be started before its conversation is known, so folders have names of their own. ``of/CONVERSATION`` is a
link to the folder of a conversation; the links of all other folders are in ``unused``, and what they lead to is removed
at the next start. To give a folder to a conversation, or to take it away, is one rename: a server that is killed leaves
neither a folder without a link nor a conversation without its folder.

Methods are called in the event loop where they make a few folders, and in a thread where they remove many.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chat_server.private_files import private_files

logger = logging.getLogger(__name__)

# An id becomes part of a file pattern: neither `*` nor `..` may be in it.
SESSION = re.compile(r"[0-9a-fA-F-]{36}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one CLI session."""

    folder: Path

    @property
    def home(self) -> Path:
        """HOME: transcripts, and whatever tools keep for themselves."""
        return self.folder / "home"

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.folder / "work"

    @property
    def tmp(self) -> Path:
        """TMPDIR."""
        return self.folder / "tmp"


class Workspaces:
    """All of them, below one folder that belongs to this server alone."""

    def __init__(self, root: Path) -> None:
        root = root.absolute()
        self._folders, self._of, self._unused = root / "folders", root / "of", root / "unused"

    def prepare(self) -> None:
        """Make what is missing, and remove what an earlier server left without a conversation."""
        with private_files():
            for folder in (self._folders, self._of, self._unused):
                folder.mkdir(parents=True, exist_ok=True)
        # A copy, since the links go while the folder is read.
        for link in tuple(self._unused.iterdir()):
            self._remove(link)

    def new(self) -> Workspace:
        """Folders that no conversation has yet."""
        name = secrets.token_hex(8)
        workspace = Workspace(self._folders / name)
        # The link comes first: after a kill in between, it leads nowhere, and the next start removes it. A folder
        # without a link would stay for ever. It is relative, so that the data folder can be moved.
        (self._unused / name).symlink_to(f"../folders/{name}")
        with private_files():
            for folder in (workspace.folder, workspace.home, workspace.work, workspace.tmp):
                folder.mkdir()
        return workspace

    def find(self, conversation_id: str) -> Workspace | None:
        """The folders of a conversation, if it has some."""
        try:
            return Workspace(self._folders / (self._of / conversation_id).readlink().name)
        except FileNotFoundError:
            return None

    def assign(self, workspace: Workspace, conversation_id: str) -> None:
        """Let a new workspace be that of a conversation."""
        (self._unused / workspace.folder.name).rename(self._of / conversation_id)

    def release(self, conversation_id: str) -> Workspace | None:
        """Take its folders from a conversation: they have to be removed. ``None`` if it has none."""
        workspace = self.find(conversation_id)
        if workspace is not None:
            (self._of / conversation_id).rename(self._unused / workspace.folder.name)
        return workspace

    def remove(self, workspace: Workspace) -> None:
        """Remove a workspace that no conversation has."""
        self._remove(self._unused / workspace.folder.name)

    def _remove(self, link: Path) -> None:
        folder = self._folders / link.readlink().name
        # The link goes last: while it is there, the next start tries again.
        if remove(folder):
            link.unlink(missing_ok=True)
        else:
            logger.error("%s cannot be removed; it is tried again at the next start", folder)


def remove(folder: Path) -> bool:
    """Remove a folder with all that is in it, whatever a tool has made there; whether it is gone.

    It is done by ``rm``, which takes any depth. Folders that are closed to their own user are opened first.
    """
    for argv in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        command = [*argv, "--", str(folder)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        # Not `exists`: a link that leads nowhere is still there.
        if not os.path.lexists(folder):
            return True
    return False


def transcripts(config: Path, session: str) -> Iterator[Path]:
    """What a CLI whose configuration is in this folder keeps of a session."""
    if SESSION.fullmatch(session):
        yield from (config / "projects").glob(f"*/{session}*")


def adopt_transcripts(config: Path, session: str, workspace: Workspace) -> None:
    """Copy the transcript of a session that began in another HOME, so that it can go on in this one."""
    for path in transcripts(config, session):
        if path.is_file():
            place = workspace.home / ".claude" / "projects" / path.parent.name
            with private_files():
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place / path.name)
