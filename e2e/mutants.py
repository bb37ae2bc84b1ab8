"""Faults of the page, each caught by its test: `chat-conformance mutants --e2e` judges them with the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MUTANT = "CHATGATE_PAGE_MUTANT"
"""The environment variable that names the fault that the browser tests put into the page."""

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "impl/chat_server/static"
TESTS = "e2e/tests"
PATIENCE_MS = "5000"
"""What a broken page lacks does not come later either."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: a piece of the page that is replaced, and the test that must notice."""

    about: str  # what is broken, as a user would say it
    file: str  # of impl/chat_server/static
    old: str  # stands in the file exactly once
    new: str
    test: str  # FILE::TEST in e2e/tests
    finding: str = ""  # the id of the review finding that this fault is, if it is one

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
    "page/tokens-not-understood": Mutant(
        "tokens are understood in another form than the server sends",
        "store.js",
        'turn.answer += message.token ?? "";',
        'turn.answer += /** @type {any} */ (message).text ?? "";',
        "test_chat.py::test_answer_grows_before_the_turn_is_over",
        finding="M-1",
    ),
    "page/replaced-at-first-message": Mutant(
        "the page is replaced when the first message has made its conversation",
        "store.js",
        "    if (conversation.id === null) {\n      conversation.id = id;",
        "    if (conversation.id === null) {\n      void this.select(id);\n      conversation.id = id;",
        "test_chat.py::test_first_message_stays_when_its_conversation_is_made",
        finding="M-9",
    ),
    "page/ended-answer-grows": Mutant(
        "a finished answer goes on taking what comes",
        "store.js",
        "const turn = message.message_id === undefined ? undefined : this.#turns.get(message.message_id);\n"
        '    if (message.type === "accepted") {',
        'const turn = message.type === "accepted" ? this.#turns.get(message.message_id ?? "")\n'
        "      : this.#turns.values().next().value;\n"
        '    if (turn !== undefined && message.type !== "accepted") turn.state = "streaming";\n'
        '    if (message.type === "accepted") {',
        "test_chat.py::test_two_messages_get_two_answers",
        finding="M-10",
    ),
    "page/lost-on-reconnect": Mutant(
        "what was written while the line was cut is missing",
        "socket.js",
        "    for (const [message, turn] of this.#turns) {\n      turn.catching = false;\n"
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "    for (const [message, turn] of this.#turns) {\n      turn.catching = false;\n"
        "      if (turn.request !== null) this.#send(turn.request);",
        "test_chat.py::test_cut_line_loses_and_doubles_nothing",
    ),
    "page/shown-words-are-dropped": Mutant(
        "words that were read disappear when the server is killed",
        "store.js",
        'const savedLess = turn.state === "interrupted" && turn.answer.startsWith(message.content);',
        "const savedLess = false;",
        "test_lines.py::test_shown_words_outlive_a_kill",
    ),
    "page/steps-are-not-read": Mutant(
        "tools and thinking are gone after a reload",
        "store.js",
        "const steps = message.steps ?? [];",
        "const steps = /** @type {Step[]} */ ([]);",
        "test_dev.py::test_thinking_and_tools_are_folded_and_live",
    ),
    "page/doubled-on-reconnect": Mutant(
        "what had been shown comes again after the line was cut",
        "socket.js",
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "      turn.seq = 0;\n"
        "      if (turn.request !== null) this.#send(turn.request);\n      else this.#resume(message, turn);",
        "test_chat.py::test_cut_line_loses_and_doubles_nothing",
    ),
    "page/unsanitised": Mutant(
        "links and HTML of the model go into the page as they are",
        "markdown.js",
        "DOMPurify.sanitize(marked.parser([token]), ALLOWED)",
        "document.createRange().createContextualFragment(marked.parser([token]))",
        "test_markdown.py::test_model_output_can_do_no_harm",
    ),
    "page/html-as-markup": Mutant(
        "HTML of the model is markup",
        "markdown.js",
        'return block ? `<p>${escape(text.trimEnd()).replaceAll("\\n", "<br>")}</p>\\n` : escape(text);',
        "return text;",
        "test_chat.py::test_answer_is_text_and_never_markup",
    ),
    "page/copied-and-gone": Mutant(
        "a button that says that it has copied shrinks away from the pointer, and says so no more",
        "clipboard.js",
        "  button.style.minWidth = `${button.offsetWidth}px`;\n",
        "",
        "test_dev.py::test_button_says_that_it_has_copied_for_as_long_as_the_pointer_stays",
    ),
    "page/out-for-good": Mutant(
        "a tab that asks between the end of the old login and the new one stays logged out",
        "main.js",
        'logins.addEventListener("message", () => socket.wake());\n',
        "",
        "test_account.py::test_tab_that_asks_too_early_comes_back",
    ),
    "page/log-out-is-not-noticed": Mutant(
        "other tabs seem to be logged in after the log out",
        "socket.js",
        "login = await ownLogin();",
        'await ownLogin();\n      login = "in";',
        "test_account.py::test_name_is_shown_and_log_out_ends_every_tab",
    ),
    "page/goes-on-as-another": Mutant(
        "a tab goes on when another user has logged in",
        "api.js",
        'return (await whoAmI()).user === before ? "in" : "out";',
        'await whoAmI();\n    return before === undefined ? "out" : "in";',
        "test_account.py::test_login_in_another_tab_keeps_this_one",
    ),
    "page/drafts-of-another": Mutant(
        "what one user typed is shown to the next user of the browser",
        "main.js",
        "    if (found.user !== null && ownDrafts(found.user)) store.forgetDraft();\n",
        "",
        "test_account.py::test_drafts_are_not_shown_to_the_next_user",
    ),
    "page/drafts-outlive-log-out": Mutant(
        "what was typed is kept after the log out, which promises to forget it",
        "account.js",
        'find(dialog, "form", HTMLFormElement).addEventListener("submit", forgetDrafts);',
        "",
        "test_account.py::test_log_out_forgets_what_was_typed",
    ),
    "page/trusts-a-dead-line": Mutant(
        "a line that died without a word is trusted for ever after sending",
        "socket.js",
        "    if (answered) this.#expectAnswer();\n",
        "",
        "test_lines.py::test_dead_line_is_noticed_by_sending",
    ),
    "page/sleeps-on": Mutant(
        "a line that died during sleep is trusted when the page is seen or the network is back",
        "socket.js",
        "    else if (this.#socket === null) this.connect();\n    else this.#probe();",
        "    else if (this.#socket === null) this.connect();",
        "test_lines.py::test_dead_line_is_noticed_by_waking",
    ),
    "page/waits-for-the-rest": Mutant(
        "an answer whose line died in the middle never goes on",
        "socket.js",
        "    if (this.#turns.size > 0) this.#quiet = setTimeout(() => this.#probe(), QUIET_MS);\n",
        "",
        "test_lines.py::test_dead_line_is_noticed_in_mid_answer",
    ),
    "page/gives-up-quiet-lines": Mutant(
        "a line on which nothing happens is taken for dead",
        "socket.js",
        "  #resetProbe() {\n    clearTimeout(this.#deadline);",
        "  #resetProbe() {",
        "test_lines.py::test_quiet_line_is_left_alone",
    ),
    "page/takes-keys-of-input-methods": Mutant(
        "a key that ends a composition sends, or stops the answer",
        "dom.js",
        " && !event.isComposing && event.keyCode !== 229",
        " && !event.isComposing",
        "test_everyone.py::test_keys_of_an_input_method_are_left_to_it",
    ),
    "page/box-does-not-scroll": Mutant(
        "who has the focus in the box cannot scroll the messages",
        "view.js",
        "    this.scroller.scrollBy({ top: (up ? -0.9 : 0.9) * this.scroller.clientHeight });\n",
        "",
        "test_everyone.py::test_messages_scroll_by_key_while_an_answer_streams",
    ),
    "page/behind-the-drawer": Mutant(
        "the focus gets behind the drawer of a phone",
        "view.js",
        "    this.main.inert = open && narrow.matches;\n",
        "",
        "test_everyone.py::test_drawer_of_a_phone_holds_the_focus",
    ),
    "page/finger-sends": Mutant(
        "on a phone no second line can be written",
        "view.js",
        "event.shiftKey || fingers.matches",
        "event.shiftKey",
        "test_everyone.py::test_finger_gets_a_new_line_by_enter",
    ),
    "page/lays-out-all": Mutant(
        "a megabyte in the box takes seconds",
        "view.js",
        "    if (this.message.dir !== runs) this.message.dir = runs;\n"
        '    this.message.classList.toggle("much", this.message.value.length > MUCH);\n',
        '    this.message.dir = "auto";\n',
        "test_everyone.py::test_megabyte_can_be_pasted",
    ),
    "page/prints-the-controls": Mutant(
        "a printed conversation has the sidebar and the box on it",
        "chat.css",
        "  .skip, .sidebar, .scrim, .dock,",
        "  .skip, .scrim,",
        "test_everyone.py::test_paper_has_the_conversation_alone_and_whole",
    ),
    "page/colours-of-its-own": Mutant(
        "with the reader's own colours the chosen conversation, the caret and the buttons are not seen",
        "chat.css",
        "@media (forced-colors: active) {",
        "@media (forced-colors: none) {",
        "test_everyone.py::test_colours_of_the_readers_own_leave_all_to_be_seen",
    ),
    "page/box-runs-one-way": Mutant(
        "Hebrew and Arabic are typed from left to right",
        "dom.js",
        'RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr"',
        '"ltr"',
        "test_everyone.py::test_box_runs_as_its_text_does",
    ),
    "page/silent-copy": Mutant(
        "where there is no clipboard, nothing is copied and nothing is said",
        "clipboard.js",
        "    return selected(text);\n",
        "    return true;\n",
        "test_everyone.py::test_copying_works_where_there_is_no_clipboard",
    ),
    "page/silent-refusal": Mutant(
        "what is not done is not said",
        "store.js",
        "  refuse(text) {\n    this.#showNotice(text, null);",
        "  refuse(text) {\n    void text;",
        "test_everyone.py::test_what_is_not_done_is_said",
    ),
    "page/single-tildes": Mutant(
        "a single tilde strikes out and vanishes",
        "grammar.js",
        'del: (source) => (source.startsWith("~~") ? false : undefined),',
        "",
        "test_text.py::test_text_is_read_as_it_was_meant",
    ),
    "page/no-cjk-emphasis": Mutant(
        "bold beside Chinese and Japanese punctuation is not seen, or lies on other words",
        "grammar.js",
        "return WITHOUT_BLANKS.test(around) ? { mark, end } : null;",
        "return null;",
        "test_text.py::test_text_is_read_as_it_was_meant",
    ),
    "page/damages-formulas": Mutant(
        "formulas lose their marks",
        "grammar.js",
        "return end === 0 ? undefined",
        'return end === 0 || !source.startsWith("$$") ? undefined',
        "test_text.py::test_text_is_read_as_it_was_meant",
    ),
    "page/address-too-late": Mutant(
        "a link whose address comes later is one only after a reload",
        "answer.js",
        "      for (const block of this.#lacking.get(label) ?? []) complete.add(block);\n",
        "",
        "test_text.py::test_address_that_comes_later_makes_the_link",
    ),
    "page/cut-where-it-happens": Mutant(
        "what an answer looks like depends on how it arrived",
        "parts.js",
        "return token.raw.length < LONG ? null : cut(token, CUT);",
        "return token.raw.length < LONG ? null : cut(token, token.raw.length - 1_000);",
        "test_text.py::test_any_cutting_ends_as_the_whole_does",
    ),
    "page/tables-stay-whole": Mutant(
        "a long table gets slower with each row",
        "parts.js",
        'return cutLines(raw, most, /^[^\\n]*\\n[^\\n]*\\n/.exec(raw)?.[0] ?? "");',
        "return null;",
        "test_text.py::test_every_kind_of_block_costs_what_a_list_does",
    ),
    "page/selection-is-lost": Mutant(
        "what is selected in the paragraph that grows is selected no more",
        "answer.js",
        "  const kept = grows ? old : [];\n  if (!grows) for",
        "  const kept = /** @type {Element[]} */ ([]);\n  for",
        "test_text.py::test_selection_outlives_the_growth_of_its_paragraph",
    ),
    "page/state-of-tags": Mutant(
        "a tag that is shown as text switches off that the text after it is escaped",
        "grammar.js",
        "        Object.assign(this.lexer.state, before);\n",
        "        void before;\n",
        "test_text.py::test_text_is_read_as_it_was_meant",
    ),
    "page/spells-code": Mutant(
        "code is read out",
        "markdown.js",
        'if (element.matches(".code")) return',
        'if (element.matches("never")) return',
        "test_access.py::test_code_is_not_read_out_and_prose_is",
    ),
    "page/no-dates": Mutant(
        "the list does not say when a conversation was",
        "view.js",
        "      say(date, when.short);\n",
        "",
        "test_list.py::test_list_says_when_each_was",
    ),
    "page/no-news": Mutant(
        "an answer that came while another conversation was read is not marked",
        "store.js",
        "this.news.add(turn.conversation.id);",
        "this.news.clear();",
        "test_list.py::test_list_marks_what_answers_and_what_is_new",
    ),
    "page/exports-half": Mutant(
        "an exported conversation has no answers",
        "export.js",
        "const parts = messages.map(",
        'const parts = messages.filter(({ role }) => role === "user").map(',
        "test_list.py::test_conversation_can_be_taken_along",
    ),
    "page/fake-in-disguise": Mutant(
        "the fake's answers are taken for Claude's",
        "account.js",
        "if (fake) say(",
        "if (!fake) say(",
        "test_list.py::test_fake_says_that_it_is_the_fake",
    ),
    "page/renders-everything-again": Mutant(
        "each token builds the whole answer again",
        "answer.js",
        "if (this.#taken === 0 || !text.startsWith(this.#text)) this.#clear();",
        "this.#clear();",
        "test_markdown.py::test_finished_blocks_are_never_touched_again",
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one mutant of the page.

    Attributes:
        name: The mutant; empty is the page as it is, which all the tests must let pass.
        wrong: What is wrong with it; empty when its test caught it.
        seconds: How long it took.
    """

    name: str
    wrong: str
    seconds: float

    def __str__(self) -> str:
        mark = "WRONG" if self.wrong else "ok   "
        test = MUTANTS[self.name].test.partition("::")[2] if self.name else "all of them"
        cause = self.wrong or (MUTANTS[self.name].about if self.name else "the page without a fault passes")
        return f"{mark} {self.name or 'page':<26} {test} {self.seconds:5.1f} s  {cause}"


def names(selected: tuple[str, ...] = ()) -> list[str]:
    """The mutants whose name begins with one of these; all without any."""
    return [name for name in MUTANTS if not selected or name.startswith(selected)]


def judge(wanted: list[str], *, on_row: Callable[[Row], None], side_by_side: int = 1) -> list[Row]:
    """Run each mutant's test against the page with its fault, and all those tests against the page as it is."""
    rows = []
    with ThreadPoolExecutor(max_workers=side_by_side) as pool:
        for row in pool.map(lambda name: _judge(name, wanted), ["", *wanted]):
            on_row(row)
            rows.append(row)
    return rows


def _judge(name: str, wanted: list[str]) -> Row:
    began = time.monotonic()
    tests = sorted({MUTANTS[each].test for each in ([name] if name else wanted)})
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "--tb=line",
    ]
    done = subprocess.run(
        [*argv, *(f"{TESTS}/{test}" for test in tests)],
        cwd=ROOT,
        env=os.environ | {MUTANT: name, "CHATGATE_PATIENCE_MS": PATIENCE_MS if name else ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return Row(name, verdict(name, done.returncode, done.stdout + done.stderr), time.monotonic() - began)


def verdict(name: str, code: int, output: str) -> str:
    """What is wrong, by pytest's exit code and words: 0 is all passed, 1 some failed, others that the run broke."""
    if code == (1 if name else 0):
        return ""
    if name and code == 0:
        return "not caught: its test passes"
    return f"the tests {'fail without a fault' if code == 1 else 'could not be run'}:\n{output}"
