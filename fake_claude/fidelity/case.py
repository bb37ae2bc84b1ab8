"""An invocation as a list of parts that can be left out one by one: what the generator makes, and what it shrinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fake_claude.fidelity.invocation import SID, Act, Invocation, control, user

GROUP = "generated"
FORMS = {
    "text": ["-p"],
    "json": ["-p", "--output-format", "json"],
    "lines": ["-p", "--output-format", "stream-json", "--verbose"],
    "stream": ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"],
}
"""How the CLI is started; ``stream`` takes many messages, the others one prompt."""

SILENT_WORK = 0.3
"""Seconds that the CLI has for what it does silently."""


@dataclass(frozen=True)
class Part:
    """One thing that may be left out: ``kind`` says what ``value`` is.

    ``option`` words of the command line, ``file`` name and content, ``env`` name and value, ``turn`` a prompt,
    ``held`` a prompt whose answer waits and what happens then, ``control`` subtype and members, ``answer`` what the
    host answers when it is asked, ``before`` the prompt of an earlier run, ``piped`` text on standard input.
    """

    kind: str
    value: Any


@dataclass(frozen=True)
class Case:
    """A name, a form and parts."""

    name: str
    form: str
    parts: tuple[Part, ...]

    def of(self, kind: str) -> list[Any]:
        """Return the values of one kind."""
        return [part.value for part in self.parts if part.kind == kind]

    def smaller(self) -> Iterator[Case]:
        """Yield this case with one part less, for each part that is not its last prompt."""
        # A case without a prompt does nothing in either CLI, which would hide the difference that is looked for.
        turns = [part for part in self.parts if part.kind in ("turn", "held")]
        for index, part in enumerate(self.parts):
            if part.kind not in ("turn", "held") or len(turns) > 1:
                yield Case(self.name, self.form, (*self.parts[:index], *self.parts[index + 1 :]))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "form": self.form,
            "parts": [[part.kind, part.value] for part in self.parts],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Case:
        """Return the case of plain data."""
        return Case(data["name"], data["form"], tuple(Part(kind, value) for kind, value in data["parts"]))

    def row(self) -> Invocation:
        """Return the invocation."""
        argv = [*FORMS[self.form], *(word for words in self.of("option") for word in words)]
        before = [
            Invocation("before", GROUP, ["-p", "--session-id", SID, "--", prompt])
            for prompt in self.of("before")
        ]
        acts: list[Act] = []
        piped = self.of("piped")
        if self.form == "stream":
            acts = list(self._acts())
        else:
            # Behind `--`, or a variadic option before it would take the prompt as one of its values.
            argv += ["--", str(self.of("turn")[0])]
        return Invocation(
            self.name,
            GROUP,
            argv,
            acts,
            stdin=piped[0] if piped and self.form != "stream" else None,
            env=dict(self.of("env")),
            files=dict(self.of("file")),
            before=before,
            answers=self.of("answer"),
            # Options are drawn by chance, and some make the CLI refuse: then the acts that are left cannot be done.
            may_end=True,
        )

    def _acts(self) -> Iterator[Act]:
        """Send the messages and requests one after the other, each when the one before is done."""
        # ``last`` is the sign that the act before is done: the next one waits for it, so that both CLIs get
        # their input at the same point. Sent at once, the real CLI may or may not have read it before its turn
        # ends.
        last, results, requests = "now", 0, 0
        for part in self.parts:
            if part.kind == "turn":
                results += 1
                yield (last, "send", user(part.value))
                last = f"result:{results}"
            elif part.kind == "held":
                prompt, then = part.value
                # The message that waits in the queue gets a result of its own.
                results += 1 + (then == "queue")
                yield (last, "send", user(prompt))
                # The answer stands at the gate, but the CLI may still be writing down what came before it.
                yield ("arrived", "pause", SILENT_WORK)
                if then == "interrupt":
                    yield ("now", "send", control("interrupt", "interrupt"))
                elif then == "queue":
                    yield ("now", "send", user("queued"))
                    yield ("now", "pause", SILENT_WORK)
                    yield ("now", "gate", None)
                else:
                    yield ("now", "gate", None)
                last = f"result:{results}"
            elif part.kind == "control":
                subtype, members = part.value
                requests += 1
                yield (last, "send", control(subtype, f"c{requests}", **members))
                last = f"response:c{requests}"
        yield (last, "eof", None)
