"""Which steps answer a request: the inline script, the script file, or the default answer."""

from __future__ import annotations

import os

from fake_claude.script import inline
from fake_claude.script.model import ScriptError, Step, TurnScript, default_answer, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from random import Random

    from fake_claude.script.ask import ApiRequest
    from fake_claude.script.file import Entry, ScriptFile


def count_use(folder: str | None, name: str) -> int:
    """Count one use of ``name`` and return how many there were before, over all processes."""
    if folder is None:
        # Without a folder no process could see the uses of another, so every use is the first.
        return 0
    os.makedirs(folder, exist_ok=True)
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # The size of the file is the count: one byte for each use, no lock, and a crash leaves no half-written
        # number.
        os.write(fd, b".")  # with O_APPEND no other process has the position after it
        return os.lseek(fd, 0, os.SEEK_CUR) - 1
    finally:
        os.close(fd)


class ScriptFinder:
    """Finds the steps for a request; both players ask it."""

    def __init__(self, path: str | None = None, state: str | None = None, cwd: str = "") -> None:
        """Load the script file, if one is given.

        Raises:
            FileError: It is not valid.
        """
        self.script: ScriptFile | None = None
        self.random: Random | None = None
        self._state = state
        self._cwd = cwd
        if path is not None:
            from random import Random  # only scripts need them

            from fake_claude.script.file import load

            self.script = load(path)
            self.random = Random(self.script.seed)  # noqa: S311 - a plan, not a secret

    def start(self) -> tuple[str | None, list[Step]]:
        """Return how this process's session is refused, and what it does before anything else."""
        script = self.script
        if script is None or not (script.start or script.refuse_session):
            return None, []
        if script.start_times is not None and count_use(self._state, "start") >= script.start_times:
            return None, []
        return script.refuse_session, script.start

    def find(self, ask: ApiRequest, *, again: Entry | None = None) -> tuple[TurnScript, Entry | None]:
        """Return what to play, and the file's entry it comes from.

        ``again`` is the entry that answered the earlier requests of the same turn: it is not counted again.

        Raises:
            ScriptError: An inline script cannot be understood, or a strict script expects no such prompt.
        """
        # A prompt that brings its own script wins over the file: a test can change one turn of a shared script.
        found = inline.find(ask.prompt)
        if found is not None:
            return TurnScript(inline.parse(found[0], ask, found[1]), name="inline"), None
        for entry in self.script.entries if self.script else ():
            match = entry.answers(ask)
            if match is None:
                continue
            # The match comes first: only a prompt that the entry answers uses it up.
            counted = again is not entry and entry.times is not None
            if counted and count_use(self._state, f"turn{entry.index + 1}") >= (entry.times or 0):
                continue
            return entry.render(ask, match, self._cwd), entry
        # Without ``strict`` an unexpected prompt gets the default answer, which quotes it, so that a test shows
        # what came.
        if self.script is not None and self.script.strict:
            raise ScriptError(f"no turn of {self.script.path} expects the prompt {ask.prompt[:200]!r}")
        return TurnScript([Step("pieces", list(words(default_answer(ask, ask.prompt))))]), None
