"""Which steps answer a request: the inline script, the script file, or the default answer."""

from __future__ import annotations

from . import inline
from .script import Step, default_answer, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .conversation import Ask


class Scripts:
    """Finds the steps for a request; both players ask it."""

    def steps(self, ask: Ask) -> list[Step]:
        """Return what to play.

        Raises:
            ScriptError: The prompt holds an inline script that cannot be understood.
        """
        found = inline.find(ask.prompt)
        if found is not None:
            return inline.parse(found[0], ask, found[1])
        return [Step("pieces", list(words(default_answer(ask, ask.prompt))))]
