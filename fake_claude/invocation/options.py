"""The option table of the CLI and a parser that refuses what the CLI refuses, in the same words."""

from __future__ import annotations

from fake_claude.invocation.javascript import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FLAG, VALUE, OPTIONAL, VARIADIC = "flag", "value", "optional", "variadic"


class Refusal(Exception):
    """The CLI refuses to run: ``str`` is its text on stderr, ``code`` its exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Option:
    """One option: its names as help shows them, what it takes and what it may be."""

    __slots__ = (
        "arity",
        "check",
        "choices",
        "extra",
        "flags",
        "hidden",
        "ignored",
        "key",
        "names",
        "preset",
        "refused",
    )

    def __init__(
        self,
        flags: str,
        *,
        choices: Sequence[str] = (),
        extra: Sequence[str] = (),
        check: Callable[[str], str | None] | None = None,
        hidden: bool = False,
        preset: str | None = None,
        ignored: str = "",
        refused: str = "",
    ) -> None:
        self.flags = flags
        self.choices = choices
        self.extra = extra  # accepted, but not named in the refusal
        self.check = check
        self.hidden = hidden
        self.preset = preset
        self.ignored = ignored  # accepted without effect, for this reason
        self.refused = refused  # the CLI does something that the fake does not, for this reason
        words = flags.replace(",", "").split()
        self.names = [word for word in words if word.startswith("-")]
        takes = words[-1] if not words[-1].startswith("-") else ""
        if not takes:
            self.arity = FLAG
        elif takes.endswith(("...>", "...]")):
            self.arity = VARIADIC
        else:
            self.arity = VALUE if takes.startswith("<") else OPTIONAL
        self.key = self.names[-1].lstrip("-")


def _number(text: str) -> str | None:
    return "must be a number" if number(text) is None else None


def _above_zero(text: str) -> str | None:
    value = number(text)
    if value is None or value <= 0:
        return "--max-budget-usd must be a number greater than 0"
    return None


def _whole_above_zero(text: str) -> str | None:
    value = number(text)
    if value is None or value <= 0 or value != value // 1:
        return "--task-budget must be a positive integer"
    return None


def _window(text: str) -> str | None:
    """Check ``auto`` or a number of tokens; small numbers are thousands."""
    thousands = text[-1:].lower() == "k"
    value = number(text[:-1] if thousands else text) if text[:1].isdigit() else None
    # `500k` and `500` are the same; `200000` is meant as it stands.
    if value is not None and (thousands or value < 1000):
        value *= 1000
    if text != "auto" and (value is None or value < 100_000):
        return "It must be 'auto', or at least 100k (e.g. 500k, 200000, or 200 as shorthand)"
    return None


MODES = ("acceptEdits", "auto", "bypassPermissions", "manual", "dontAsk", "plan")
_FORMATS = ("text", "json", "stream-json")
_YES_NO = ("true", "false", "1", "0", "yes", "no", "on", "off")

OPTIONS = (
    Option("--add-dir <directories...>"),
    Option("--agent <agent>", ignored="all agents say what the script says"),
    Option("--agents <json-or-file>", ignored="no subagents run"),
    Option("--allow-dangerously-skip-permissions"),
    Option("--allowedTools, --allowed-tools <tools...>"),
    Option("--append-system-prompt <prompt>", ignored="no model reads it"),
    Option("--autocompact <auto|tokens>", ignored="nothing grows too long", check=_window),
    Option("--ax-screen-reader", refused="there is no terminal display"),
    Option("--bg, --background", refused="there are no background sessions"),
    Option("--bare"),
    Option("--betas <betas...>"),
    Option("--brief", refused="there is no SendUserMessage tool"),
    Option("--chrome", refused="there is no browser"),
    Option("--cloud [description|session_id|url]", refused="there are no remote sessions"),
    Option("-c, --continue"),
    Option("--dangerously-skip-permissions"),
    Option("-d, --debug [filter]", ignored="there is nothing to debug"),
    Option("--debug-file <path>", ignored="there is nothing to debug"),
    Option("--desktop", refused="there is no desktop app"),
    Option("--disable-slash-commands"),
    Option("--disallowedTools, --disallowed-tools <tools...>"),
    Option("--effort <level>", ignored="no model makes one"),
    Option("--environment <environment_id>", refused="there are no remote sessions"),
    Option("--exclude-dynamic-system-prompt-sections", ignored="no model reads it"),
    Option("--fallback-model <model>"),
    Option("--file <specs...>", refused="nothing can be downloaded"),
    Option("--fork-session"),
    Option("--forward-subagent-text", ignored="no subagents run"),
    Option("--from-pr [value]", refused="sessions are not linked to pull requests"),
    Option("-h, --help"),
    Option("--ide", refused="there is no IDE"),
    Option("--include-hook-events", ignored="no hooks run"),
    Option("--include-partial-messages"),
    Option("--input-format <format>", choices=("text", "stream-json")),
    Option("--json-schema <schema>"),
    Option("--max-budget-usd <amount>", check=_above_zero),
    Option("--mcp-config <configs...>"),
    Option("--model <model>"),
    Option("-n, --name <name>"),
    Option("--no-chrome", ignored="it is never on"),
    Option("--no-session-persistence"),
    Option("--output-format <format>", choices=_FORMATS),
    Option("--permission-mode <mode>", choices=MODES, extra=("default",)),
    Option("--permission-prompts <target>", choices=("host", "none")),
    Option("--plugin-dir <path>", refused="there are no plugins"),
    Option("--plugin-url <url>", refused="there are no plugins"),
    Option("-p, --print"),
    Option("--prompt-suggestions [value]", refused="nothing is suggested", choices=_YES_NO, preset="true"),
    Option("--remote-control [name]", refused="there are no remote sessions"),
    Option("--remote-control-session-name-prefix <prefix>", refused="there are no remote sessions"),
    Option("--replay-user-messages"),
    Option("--restricted", refused="its rules are not known"),
    Option("-r, --resume [value]"),
    Option("--safe-mode", ignored="nothing can be customised"),
    Option("--session-id <uuid>"),
    Option("--setting-sources <sources>"),
    Option("--settings <file-or-json>"),
    Option("--strict-mcp-config", ignored="no other MCP configuration is read"),
    Option("--system-prompt <prompt>", ignored="no model reads it"),
    Option("--system-prompt-snapshot <on|off>", ignored="no model reads it", choices=("on", "off")),
    Option("--teleport [session]", refused="there are no remote sessions"),
    Option("--tmux", refused="there are no worktrees"),
    Option("--tools <tools...>"),
    Option("--verbose"),
    Option("-v, --version"),
    Option("-w, --worktree [name]", refused="there are no worktrees"),
    # Accepted without standing in --help (docs/claude-cli.md, options).
    Option("--append-system-prompt-file <file>", ignored="no model reads it", hidden=True),
    Option(
        "--max-thinking-tokens <tokens>", ignored="thoughts come from the script", hidden=True, check=_number
    ),
    Option("--max-turns <turns>", hidden=True, check=_number),
    Option("--permission-prompt-tool <tool>", hidden=True),
    Option("--resume-drops-turn", hidden=True),
    Option("--resume-session-at <message id>", hidden=True),
    Option("--session-mirror", refused="transcripts are not mirrored", hidden=True),
    Option("--system-prompt-file <file>", ignored="no model reads it", hidden=True),
    Option("--task-budget <tokens>", ignored="no model keeps to one", hidden=True, check=_whole_above_zero),
    Option(
        "--thinking <mode>",
        ignored="thoughts come from the script",
        hidden=True,
        choices=("enabled", "adaptive", "disabled"),
    ),
    Option(
        "--thinking-display <display>",
        ignored="thoughts come from the script",
        hidden=True,
        choices=("summarized", "omitted", "highlights"),
    ),
)

_BY_NAME = {name: option for option in OPTIONS for name in option.names}


class Options:
    """Parsed arguments: option values by their last long name, and what is left over."""

    def __init__(self) -> None:
        self.values: dict[str, str | bool] = {}
        self.lists: dict[str, list[str]] = {}
        self.positionals: list[str] = []
        self.swallowed: tuple[str, str] | None = None  # (option, last word) of the last variadic option

    def flag(self, key: str) -> bool:
        """Return whether the option was given."""
        return key in self.values or key in self.lists

    def text(self, key: str, default: str | None = None) -> str | None:
        """Return the option's text, or ``default`` where it was absent or had no value."""
        value = self.values.get(key)
        return value if isinstance(value, str) else default


def _maybe_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


def _store(options: Options, option: Option, value: str | None) -> None:
    """Check and keep one value; the last one wins, variadic ones add up."""
    if value is not None:
        if option.choices and value not in option.choices and value not in option.extra:
            raise Refusal(
                f"error: option '{option.flags}' argument '{value}' is invalid."
                f" Allowed choices are {', '.join(option.choices)}."
            )
        wrong = option.check(value) if option.check else None
        if wrong:
            raise Refusal(f"error: option '{option.flags}' argument '{value}' is invalid. {wrong}")
    if option.arity == VARIADIC:
        options.lists.setdefault(option.key, []).append(value or "")
    else:
        # An option without its value (`--resume`) is there but has no text: that is what ``True`` stands for.
        options.values[option.key] = value if value is not None else (option.preset or True)


def parse(argv: Sequence[str]) -> Options:  # noqa: C901, PLR0912, PLR0915 - a list of cases, read one by one
    """Read ``argv`` (without the program's name) as the CLI does.

    Raises:
        Refusal: An unknown option, a missing value or one that is not allowed.
    """
    options = Options()
    # Theory: the option parser of the CLI is commander. Each word is an option, a value of the option before
    # it, or left over. A variadic option (`--tools Bash Read`) takes words up to the next option, a prompt too:
    # in `-p --tools Bash hello` there is no prompt. `--` ends all of it. `-pc` is `-p -c`; `-rID` is `-r ID`.
    words = list(argv)
    unknown: str | None = None
    variadic: tuple[Option, str] | None = None
    while words:
        word = words.pop(0)
        if word == "--":
            options.positionals += words
            break
        if variadic and not _maybe_option(word):
            _store(options, variadic[0], word)
            # Kept for the refusal of a missing prompt, which names the option that took the last word.
            options.swallowed = (variadic[1], word)
            continue
        variadic = None
        if not _maybe_option(word):
            options.positionals.append(word)
            continue
        name, equals, inline = word.partition("=")
        # The whole word first, then the part before `=`: a flag takes no value that way, so `--print=x` is unknown.
        option = _BY_NAME.get(word)
        if option is None and equals and name.startswith("--"):
            option = _BY_NAME.get(name)
            if option is not None and option.arity != FLAG:
                _store(options, option, inline)
                continue
            option = None
        if option is None and not word.startswith("--") and len(word) > 2:
            # Short options in one word: -pc, -r<value> (commander's combined short flags).
            short = _BY_NAME.get(word[:2]) if word[:2] != "-h" else None  # help stands alone
            if short is not None and short.arity == FLAG:
                _store(options, short, None)
                words.insert(0, "-" + word[2:])
                continue
            if short is not None:
                _store(options, short, word[2:])
                continue
        if option is None:
            # Not refused yet: a later `--help`, `--version` or wrong value comes first in the CLI. The first
            # unknown is named.
            unknown = unknown or word
            continue
        if option.arity == FLAG:
            _store(options, option, None)
        elif option.arity == OPTIONAL:
            takes = bool(words) and not _maybe_option(words[0])
            _store(options, option, words.pop(0) if takes else None)
        else:
            if not words:
                raise Refusal(f"error: option '{option.flags}' argument missing")
            value = words.pop(0)
            _store(options, option, value)
            if option.arity == VARIADIC:
                variadic = (option, name)
                options.swallowed = (name, value)
        # At once: what stands behind them is not looked at, not even if it is wrong.
        if option.key in ("version", "help"):
            return options
    if unknown is not None:
        from fake_claude.suggestions import suggestion  # only a refusal pays for it

        # Hidden options are never proposed, and neither are short ones.
        names = [name for known in OPTIONS if not known.hidden for name in known.names if name[:2] == "--"]
        raise Refusal(f"error: unknown option '{unknown}'{suggestion(unknown, names)}")
    return options
