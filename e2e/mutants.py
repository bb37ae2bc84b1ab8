"""Faults of the page, each caught by its test: `python -m e2e.mutants` prints the kill table."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MUTANT = "CHATGATE_PAGE_MUTANT"
"""The environment variable by which the browser tests are told which fault to put into the page."""

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "impl/static"
TESTS = "e2e/tests"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: a piece of the page that is replaced, and the test that must notice."""

    about: str  # what is broken, as a user would say it
    file: str  # of impl/static
    old: str  # stands in the file exactly once
    new: str
    test: str  # FILE::TEST in e2e/tests

    def page_file(self) -> str:
        """The file with the fault in it.

        Raises:
            ValueError: The piece to replace is not there exactly once: the page has moved on.
        """
        text = (PAGE / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


MUTANTS = {
    "M-1": Mutant(
        "tokens are understood in another form than the server sends",
        "store.js",
        'turn.answer += message.token ?? "";',
        'turn.answer += /** @type {any} */ (message).text ?? "";',
        "test_chat.py::test_answer_grows_before_the_turn_is_over",
    ),
    "M-9": Mutant(
        "the page begins anew when the first message has made its conversation",
        "store.js",
        "    if (conversation.id === null) {\n      conversation.id = id;",
        "    if (conversation.id === null) {\n      void this.select(id);\n      conversation.id = id;",
        "test_chat.py::test_first_message_stays_when_its_conversation_is_made",
    ),
    "M-10": Mutant(
        "a finished answer goes on taking what comes",
        "store.js",
        "const turn = message.message_id === undefined ? undefined : this.#turns.get(message.message_id);\n"
        '    if (message.type === "accepted") {',
        'const turn = message.type === "accepted" ? this.#turns.get(message.message_id ?? "")\n'
        "      : this.#turns.values().next().value;\n"
        '    if (turn !== undefined && message.type !== "accepted") turn.state = "streaming";\n'
        '    if (message.type === "accepted") {',
        "test_chat.py::test_two_messages_get_two_answers",
    ),
    "lost-on-reconnect": Mutant(
        "what was written while the line was cut is missing",
        "socket.js",
        "    for (const [message, turn] of this.#turns) {\n      turn.catching = false;\n"
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "    for (const [message, turn] of this.#turns) {\n      turn.catching = false;\n"
        "      if (turn.request !== null) this.#send(turn.request);",
        "test_chat.py::test_cut_line_loses_and_doubles_nothing",
    ),
    "doubled-on-reconnect": Mutant(
        "what had been shown comes again after the line was cut",
        "socket.js",
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "      turn.seq = 0;\n"
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "test_chat.py::test_cut_line_loses_and_doubles_nothing",
    ),
    "unsanitised": Mutant(
        "links and HTML of the model go into the page as they are",
        "markdown.js",
        "DOMPurify.sanitize(marked.parser([token]), ALLOWED)",
        "document.createRange().createContextualFragment(marked.parser([token]))",
        "test_markdown.py::test_model_output_can_do_no_harm",
    ),
    "html-as-markup": Mutant(
        "HTML of the model is markup",
        "markdown.js",
        'return block ? `<p>${escape(text.trimEnd()).replaceAll("\\n", "<br>")}</p>\\n` : escape(text);',
        "return text;",
        "test_chat.py::test_answer_is_text_and_never_markup",
    ),
    "rendered-anew": Mutant(
        "each token builds the whole answer anew",
        "answer.js",
        "if (!text.startsWith(this.#text)) this.#clear();",
        "this.#clear();",
        "test_markdown.py::test_finished_blocks_are_never_touched_again",
    ),
}


def run(name: str) -> subprocess.CompletedProcess[str]:
    """Run the mutant's test against the page with this fault; ``name`` "" is the page as it is, and all the tests."""
    tests = [MUTANTS[name].test] if name else sorted({mutant.test for mutant in MUTANTS.values()})
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
    return subprocess.run(
        [*argv, *(f"{TESTS}/{test}" for test in tests)],
        cwd=ROOT,
        env=os.environ | {MUTANT: name, "CHATGATE_PATIENCE_MS": "5000"},
        capture_output=True,
        text=True,
        check=False,
    )


def verdict(name: str, done: subprocess.CompletedProcess[str]) -> str:
    """What a run says about a mutant: ``killed``, ``alive``, or that the run itself broke."""
    if not name:
        return "passes" if done.returncode == 0 else "broken"
    if done.returncode == 0:
        return "alive"
    return "killed" if done.returncode == 1 and " failed" in done.stdout.splitlines()[-1] else "broken"


def main() -> int:
    """Print the table; 0 when the page passes and every mutant is killed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m e2e.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants to run, all by default")
    names = parser.parse_args().names or list(MUTANTS)
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        parser.error(f"unknown mutant {unknown[0]!r}; known are {', '.join(MUTANTS)}")
    good = True
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, done in zip(["", *names], pool.map(run, ["", *names]), strict=True):
            said = verdict(name, done)
            good &= said in {"passes", "killed"}
            about = f"{MUTANTS[name].about} — {MUTANTS[name].test}" if name else "the page as it is"
            print(f"{said:8} {name or '-':22} {about}", flush=True)  # noqa: T201 - the table is what it is for
            if said not in {"passes", "killed"}:
                print(done.stdout, done.stderr)  # noqa: T201 - evidence
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
