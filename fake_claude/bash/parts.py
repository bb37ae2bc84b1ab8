"""A command line of the shell, taken apart as far as the CLI does; what it does not take apart it asks about."""

from __future__ import annotations

import re

VARIABLE = "A variable in this command can't be checked before it runs"
VARIABLE_SET = "A variable set in this command can't be checked before it runs"
BRACED = "A variable in braces in this command can't be checked before it runs"
NESTED = "A nested command in this command can't be checked before it runs"
QUOTED = "Quoted text in this command can't be checked before it runs"
ESCAPES = "Text with escape codes in this command can't be checked before it runs"
AS_FILE = "A command used as a file in this command can't be checked before it runs"
GROUP = "A group in braces or double parentheses in this command can't be checked before it runs"
PARENTHESES = "A group in parentheses in this command can't be checked before it runs"
OPERATORS = "This command uses shell operators that require approval for safety"
UNCHECKED = "This command can't be checked before it runs"
LOOP = "A while or until loop in this command can't be checked before it runs"
CASE = "A case statement in this command can't be checked before it runs"
FUNCTION = "A function definition in this command can't be checked before it runs"
SELECT = "select statement reads stdin into $REPLY; cannot statically model"
HEREDOC = "Heredoc with unquoted delimiter undergoes shell expansion"
REDIRECT = "A file redirect in this command can't be checked before it runs"
BRACES = "Brace expansion"
BRACE_PATTERN = "A brace pattern in this command can't be checked before it runs"
ESCAPED_SPACE = "Contains backslash-escaped whitespace"
UNICODE_SPACE = "Contains Unicode whitespace"
ASSIGNMENTS = "Variable assignments in this command can't be checked before it runs"
FRAGMENT = "Command appears to be an incomplete fragment"
PARSE_ERROR = "Parse error"
TRAILING = "Parser did not consume trailing input"
TARGET = "Redirect target concatenation contains $/` — unanalyzable gap or substitution"
EXPANSION = "Shell expansion syntax in paths requires manual approval"
BACKGROUND = (
    "This command uses the `&` background operator, which defers execution past approval-time safety checks. Approve"
    " only if you trust it."
)

_OPENING = frozenset(["if", "then", "elif", "else", "while", "until", "do", "!"])
_CLOSING = frozenset(["fi", "done"])
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=")
_ARITHMETIC = re.compile(r"\$\(\([\d\s+*/%()<>=!&|^~-]*\)\)")
_HEREDOC = re.compile(r"<<(-?)\s*(\\?)(['\"]?)([\w.-]+)\3")


class Unclear(Exception):
    """The CLI does not know what this would do, and asks; ``reason`` is what it says."""

    def __init__(self, reason: str, kind: str = "other") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class Word:
    """One word: how it is written, and what it stands for (``$HOME`` filled in, quotes taken off)."""

    __slots__ = ("globs", "quoted", "raw", "value")

    def __init__(self, raw: str, value: str, *, globs: bool, quoted: bool) -> None:
        self.raw = raw
        self.value = value
        self.globs = globs
        self.quoted = quoted


class Redirect:
    """Where a command's output goes or its input comes from."""

    __slots__ = ("operator", "word")

    def __init__(self, operator: str, word: Word) -> None:
        self.operator = operator
        self.word = word

    @property
    def harmless(self) -> bool:
        """Whether no file is touched."""
        return self.operator.endswith(("<<<", "&")) or self.word.value == "/dev/null"


class Part:
    """One simple command; ``text`` is how it is written, ``plain`` the same without redirections."""

    __slots__ = ("assignments", "plain", "redirects", "text", "words")

    def __init__(self) -> None:
        self.assignments: list[Word] = []
        self.words: list[Word] = []
        self.redirects: list[Redirect] = []
        self.text = ""
        self.plain = ""

    @property
    def values(self) -> list[str]:
        """Return what the words stand for."""
        return [word.value for word in self.words]


def pipe_segments(command: str) -> list[str]:
    """Cut a command line at its pipes, outside quotes and parentheses."""
    segments, start = [], 0
    for at, sign in _operators(command):
        if sign in ("|", "|&"):
            segments.append(command[start:at].strip(" \t\n"))
            start = at + len(sign)
    return [*segments, command[start:].strip(" \t\n")]


def rough_parts(command: str) -> list[str]:
    """Cut a command line at ``;``, ``&&``, ``||``, ``|``, ``&``, lines and parentheses, whatever stands in them."""
    parts, start = [], 0
    for at, sign in _operators(command, inside=True):
        parts.append(command[start:at])
        start = at + len(sign)
    parts.append(command[start:])
    return [part.strip() for part in parts if part.strip()]


def _operators(command: str, *, inside: bool = False) -> list[tuple[int, str]]:
    """Return where the operators stand outside quotes; ``inside`` also within parentheses and substitutions."""
    pattern = re.compile(
        # One pass, longest first: what has no operators in it (escapes, quoted text, `2>&1`, `&>`, comments) is
        # matched so that it is stepped over. In `echo "a|b" 2>&1 | wc` only the last `|` is found.
        r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|\d*>&\d*-?|&>>?|>\||<<<|&&|\|\||\|&|;;|[;&|\n()`]|\$\(|(?<!\S)#[^\n]*",
        re.DOTALL,
    )
    found, depth = [], 0
    for match in pattern.finditer(command):
        sign = match.group()
        if sign in ("$(", "("):
            depth += 1
        elif sign == ")":
            depth -= 1
        elif sign[0] in "\\'\"<>0123456789#" or sign.startswith("&>"):
            continue
        # A `)` too many makes the depth negative; such text is no reason to miss the operators behind it.
        if inside or (depth <= 0 and sign not in ("(", ")", "$(", "`")):
            found.append((match.start(), sign))
    return found


# Theory: the CLI runs unasked only what it can read completely. So the parser never guesses: it takes the small part
# of the grammar whose words are known beforehand, and raises ``Unclear`` with the CLI's sentence for all else.
# `A=1 touch x > y` is one part: assignment, two words, a redirect. `touch $(ls)` is a question.
class Parser:
    """Reads one segment of a command line (what stands between pipes) into its simple commands."""

    def __init__(self, text: str, home: str) -> None:
        self.text = text
        self.home = home
        self.at = 0
        self.parts: list[Part] = []
        self.known: set[str] = set()
        self._heredocs: list[tuple[bool, str]] = []

    def read(self) -> list[Part]:
        """Return the parts.

        Raises:
            Unclear: Something in it is unknown before it runs.
        """
        # The eye takes such a character for a blank, the shell for a letter: the words would be others than
        # they seem.
        if re.search(r"[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]", self.text):
            raise Unclear(UNICODE_SPACE)
        while self.at < len(self.text):
            self._statement()
        return self.parts

    def _blank(self) -> None:
        while self.at < len(self.text):
            if self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] in " \t":
                self.at += 1
            elif self.text[self.at] == "#" and (self.at == 0 or self.text[self.at - 1] in " \t\n;"):
                self.at = (self.text + "\n").index("\n", self.at)
            else:
                return

    def _statement(self) -> None:
        """Read up to and with the next separator."""
        self._blank()
        begin = self.at
        part = Part()
        cuts: list[tuple[int, int]] = []
        while True:
            self._blank()
            if self.at >= len(self.text) or self.text[self.at] in ";&|\n()":
                if not self._redirect_both(part, cuts):
                    break
                continue
            if self._redirect(part, cuts):
                continue
            start = self.at
            word = self._word()
            # Assignments and keywords count only before the first word: `echo a=1 done` has three plain words.
            if not part.words and _ASSIGNMENT.match(word.raw) and not word.raw.startswith(("'", '"')):
                self.known.add(word.raw.partition("=")[0].rstrip("+"))
                part.assignments.append(word)
            elif not part.words and not part.assignments and not word.quoted and self._keyword(word.raw):
                begin = self.at
            else:
                if not part.words and word.raw == "(":
                    self.at = start
                part.words.append(word)
        self._end(part, begin, cuts)
        self._separator(part)

    def _end(self, part: Part, begin: int, cuts: list[tuple[int, int]]) -> None:
        part.text = self.text[begin : self.at].strip()
        plain = self.text[begin : self.at]
        # From the back, so that the places of the earlier cuts stay right.
        for start, end in reversed(cuts):
            plain = plain[: start - begin] + plain[end - begin :]
        part.plain = plain.strip()
        if len(part.assignments) > 1 and not part.words:
            raise Unclear(ASSIGNMENTS)
        if part.words or part.redirects or part.assignments:
            self.parts.append(part)

    def _keyword(self, raw: str) -> bool:
        """Step over the words of the shell's grammar that need no thought; refuse the others."""
        if raw in _OPENING:
            # The loop's input or output stands behind its end, where no single command of it shows it.
            if raw in ("while", "until") and re.search(r"\bdone\s*[<>]", self.text):
                raise Unclear(LOOP)
            return True
        if raw in _CLOSING:
            return True
        if raw == "for":
            return self._for()
        reasons = {"case": CASE, "function": FUNCTION, "select": SELECT, "{": GROUP, "}": PARSE_ERROR}
        if raw in reasons:
            raise Unclear(reasons[raw])
        if raw == "time":
            self._blank()
            if self.text.startswith("(", self.at):
                raise Unclear(PARENTHESES)
            if self.text.startswith("-", self.at):
                raise Unclear(FRAGMENT)
        return False

    def _for(self) -> bool:
        # Only `for x in a b`: the list is stepped over, and a use of `$x` in the body is refused as a variable.
        head = re.compile(r"\s+(\w+)\s+in\s+").match(self.text, self.at)
        if head is None:
            raise Unclear(UNCHECKED)
        self.at = head.end()
        while self.at < len(self.text) and self.text[self.at] not in ";\n":
            self._word()
            self._blank()
        return True

    def _separator(self, part: Part) -> None:  # noqa: C901 - a list of cases
        rest = self.text[self.at :]
        if not rest:
            return
        for sign in ("&&", "||", ";;", ";", "\n"):
            if rest.startswith(sign):
                # `&&` at either end of the text has no command on one side.
                if sign in ("&&", "||") and (not self.text[: self.at].strip() or not rest[2:].strip()):
                    raise Unclear(PARSE_ERROR)
                self.at += len(sign)
                # The bodies of heredocs begin behind the line that names them, not behind the operator.
                if sign == "\n":
                    self._skip_heredocs()
                return
        if rest.startswith("&"):
            raise Unclear(BACKGROUND, "safetyCheck")
        # Before the single parenthesis, which it begins with.
        if rest.startswith("(("):
            raise Unclear(GROUP)
        if rest.startswith("("):
            if part.words:
                raise Unclear(FUNCTION if rest.startswith("()") else PARSE_ERROR)
            if ")" not in rest:
                raise Unclear(TRAILING)
            raise Unclear(UNCHECKED if re.search(r"[;&\n]", rest[: rest.rindex(")")]) else OPERATORS)
        raise Unclear(PARSE_ERROR)

    # Redirections.

    def _redirect_both(self, part: Part, cuts: list[tuple[int, int]]) -> bool:
        """``&>`` begins like the end of a command."""
        return self.text.startswith("&>", self.at) and self._redirect(part, cuts)

    def _redirect(self, part: Part, cuts: list[tuple[int, int]]) -> bool:  # noqa: C901 - a list of cases
        match = re.compile(r"(\d*)(<<<|<<-?|>>|>\||>&|<&|<>|<|>)|(&>>?)").match(self.text, self.at)
        if match is None:
            return False
        start = self.at
        if self.text.startswith(("<(", ">("), self.at):
            raise Unclear(AS_FILE)
        operator = match.group(2) or match.group(3)
        if operator in ("<<", "<<-"):
            # Without quotes around its name the shell fills in variables in the body, so the text is not known.
            # It is refused only after the name was read, since a redirection behind it has its own sentence.
            heredoc = _HEREDOC.match(self.text, match.start(2))
            if heredoc is None:
                raise Unclear(PARSE_ERROR)
            self._heredocs.append((heredoc.group(1) == "-", heredoc.group(4)))
            self.at = heredoc.end()
            cuts.append((start, self.at))
            self._blank()
            if self.at < len(self.text) and self.text[self.at] in "<>":
                raise Unclear(REDIRECT)
            if not (heredoc.group(2) or heredoc.group(3)):
                raise Unclear(HEREDOC)
            return True
        self.at = match.end()
        # `2>&1` and `2>&-` move a descriptor and touch no file; `>& name` goes on as a file.
        closed = re.compile(r"\d+|-").match(self.text, self.at)
        if operator in (">&", "<&") and closed:
            self.at = closed.end()
            cuts.append((start, self.at))
            return True
        self._blank()
        begin = self.at
        if begin >= len(self.text) or self.text[begin] in ";&|\n()<>":
            raise Unclear(PARSE_ERROR)
        word = self._word()
        if operator != "<<<":
            if "$" in word.raw and not word.raw.startswith("'"):
                raise Unclear(TARGET)
            if word.raw.startswith("~"):
                raise Unclear(EXPANSION)
        part.redirects.append(Redirect(operator, word))
        # Rules are matched against the text without harmless redirections; a file stays in it.
        if operator == "<<<" or word.value == "/dev/null":
            cuts.append((start, self.at))
        return True

    def _skip_heredocs(self) -> None:
        # In the order in which the line names them; `<<-` takes tabs off before the closing name is compared.
        for dashed, name in self._heredocs:
            while self.at < len(self.text):
                end = (self.text + "\n").index("\n", self.at)
                line = self.text[self.at : end]
                self.at = min(end + 1, len(self.text))
                if (line.lstrip("\t") if dashed else line) == name:
                    break
        self._heredocs = []

    # Words.

    def _word(self) -> Word:  # noqa: C901, PLR0912 - a list of cases, read one by one
        start, value = self.at, ""
        globs = quoted = False
        # A substitution is allowed in `A=$(cmd)`: its commands become parts of their own. As an argument it is
        # unknown.
        assigns = _ASSIGNMENT.match(self.text, self.at)
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\n;&|<>()" and not self.text.startswith(("$(", "<(", ">("), self.at):
                break
            if char == "\\":
                value += self._escaped()
            elif char == "'":
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise Unclear(PARSE_ERROR)
                value += self.text[self.at + 1 : end]
                self.at, quoted = end + 1, True
            elif char == '"':
                value += self._double()
                quoted = True
            elif char == "$":
                value += self._dollar(assigned=assigns is not None)
            elif char == "`":
                if assigns is None:
                    raise Unclear(NESTED)
                self._substitution("`")
            else:
                globs = globs or char in "*?["
                value += char
                self.at += 1
        raw = self.text[start : self.at]
        if not quoted:
            # `{a,b}` becomes two words, so one word here would not be what the command gets.
            if re.search(r"\{[^{}\s]*,[^{}\s]*\}", raw):
                raise Unclear(BRACES)
            if re.search(r"\{[^{}\s]*\.\.[^{}\s]*\}", raw):
                raise Unclear(BRACE_PATTERN)
            if raw == "~" or raw.startswith("~/"):
                value = self.home + value[1:]
        return Word(raw, value, globs=globs, quoted=quoted)

    def _escaped(self) -> str:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if following == "\n":
            return ""
        # `a\ b` is one word for the shell and looks like two.
        if following in (" ", "\t"):
            raise Unclear(ESCAPED_SPACE)
        return following

    def _double(self) -> str:
        value = ""
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return value
            if char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                # In double quotes a backslash stays in the text except before these four signs.
                value += following if following in '$`"\\' else char + following
                self.at += 2
            elif char == "`" or (
                self.text.startswith("$(", self.at) and not _ARITHMETIC.match(self.text, self.at)
            ):
                raise Unclear(QUOTED)
            elif char == "$" and not self.text.startswith('$"', self.at):
                value += self._dollar()
            else:
                value += char
                self.at += 1
        raise Unclear(PARSE_ERROR)

    def _dollar(self, *, assigned: bool = False) -> str:
        """Read what begins with ``$``."""
        arithmetic = _ARITHMETIC.match(self.text, self.at)
        if arithmetic is not None:
            self.at = arithmetic.end()
            return arithmetic.group()
        rest = self.text[self.at + 1 :]
        if rest.startswith("("):
            if not assigned:
                raise Unclear(NESTED)
            return self._substitution()
        if rest.startswith("{"):
            raise Unclear(BRACED)
        if rest.startswith("'"):
            raise Unclear(ESCAPES)
        if rest.startswith('"'):
            raise Unclear(UNCHECKED)
        # A dollar sign without a name is a plain character, as in `grep 'x' "a$"`.
        name = re.match(r"[A-Za-z_]\w*|[\d?$!#@*-]", rest)
        if name is None:
            self.at += 1
            return "$"
        if name.group() != "HOME":
            raise Unclear(VARIABLE_SET if self._literal(name.group()) else VARIABLE)
        self.at += 1 + name.end()
        return self.home

    def _literal(self, name: str) -> bool:
        return any(
            word.raw.startswith(f"{name}=") and "$" not in word.raw
            for part in self.parts
            for word in part.assignments
        )

    def _substitution(self, quote: str = "") -> str:
        """A nested command whose output is assigned: its own parts count like the others."""
        if quote:
            end = self.text.find(quote, self.at + 1)
            if end < 0:
                raise Unclear(PARSE_ERROR)
            return self._nested(self.text[self.at + 1 : end], end + 1)
        # The matching parenthesis is found by counting. Quotes are not looked at: with one inside, the parser of the
        # inner text or of the rest raises ``Unclear``, which errs on the side of a question.
        depth, end = 0, self.at + 1
        while end < len(self.text):
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
            if depth == 0:
                break
        else:
            raise Unclear(PARSE_ERROR)
        return self._nested(self.text[self.at + 2 : end - 1], end)

    def _nested(self, inner: str, end: int) -> str:
        for segment in pipe_segments(inner):
            self.parts += Parser(segment, self.home).read()
        self.at = end
        return ""


def read_parts(segment: str, home: str, *, piped: bool = False) -> list[Part]:
    """Return the simple commands of a segment; with a pipe beside it, it may not be empty.

    Raises:
        Unclear: Something in it is unknown before it runs.
    """
    if piped and not segment:
        raise Unclear(PARSE_ERROR)
    return Parser(segment, home).read()
