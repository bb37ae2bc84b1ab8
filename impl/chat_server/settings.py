"""The server's settings: one typed value, read from ``CHAT_*`` once at start.

A field's annotation says everything about a setting: its type, bounds and description. From it follow the conversion
of the variable's text, the sentence that refuses a value, and the table of docs/settings.md.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta, inspect

from chat_server.authority import origin_of, parse_authority, parse_origin

_ORIGIN = re.compile(r"https?://[^/?#@\s,]+", re.ASCII)
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?", re.ASCII)
PLACEHOLDER = re.compile(r"\{(\w*)\}")
PLACEHOLDERS = ("home", "work", "tmp", "claude")
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?", re.ASCII)

_BOOLS = {
    "yes": True,
    "no": False,
    "true": True,
    "false": False,
    "on": True,
    "off": False,
    "1": True,
    "0": False,
}

_SOURCES = {"user", "project", "local"}

_PREFIX = "CHAT_"

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class SettingsError(Exception):
    """A setting is unknown or does not fit; the message names it and says what would."""


def about(description: str, *, secret: bool = False) -> Meta:
    """What a setting is. A secret may also be in a file, which the variable with ``_FILE`` at its end names."""
    return Meta(description=description, extra={"secret": secret})


def _default_data() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "chatgate"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are seconds, sizes bytes. Field ``x`` is the variable ``CHAT_X``.

    msgspec checks types and bounds where it converts (`from_env`), not in the constructor.
    """

    host: Annotated[str, about("address to listen on; the dev identity allows loopback only")] = "127.0.0.1"
    port: Annotated[Port, about("port to listen on; 0 takes a free one")] = 8000
    data: Annotated[Path, about("folder of the database and of the built-in fake, for this server alone")] = (
        msgspec.field(default_factory=_default_data)
    )
    database: Annotated[
        str,
        about(
            "URL of the database, such as postgresql://user@host/name; empty: SQLite in the data folder",
            secret=True,
        ),
    ] = ""
    claude: Annotated[str, about("path of the claude CLI; empty: the built-in fake")] = ""
    claude_args: Annotated[tuple[str, ...], about("more arguments for the CLI, in shell syntax")] = ()
    claude_tools: Annotated[str, about("tools Claude may use, comma-separated; empty: none")] = ""
    claude_mentions: Annotated[
        bool,
        about("whether a path after @ in a prompt is read with the rights of the CLI and shown to the model"),
    ] = False
    claude_commands: Annotated[
        bool, about("whether a prompt that begins with / is a command of the CLI, such as /clear or /model")
    ] = False
    claude_settings: Annotated[
        str,
        about(
            "whose settings, memory, hooks, commands and MCP servers the CLI uses: user, "
            "project, local, comma-separated; empty: none"
        ),
    ] = ""
    claude_permission_mode: Annotated[
        str, about("how the CLI decides about a tool's use, such as acceptEdits; empty: the CLI's default")
    ] = ""
    claude_model: Annotated[str, about("model for the CLI; empty: the CLI's default")] = ""
    claude_cwd: Annotated[
        Path | None,
        about(
            "working folder of the CLI, for all conversations; empty: a folder for each, in the data folder"
        ),
    ] = None
    claude_home: Annotated[
        Path | None,
        about("HOME of the CLI, for all conversations; empty: a folder for each, in the data folder"),
    ] = None
    claude_env: Annotated[
        tuple[str, ...],
        about(
            "further variables that the CLI gets of the server's environment, such as 'OTEL_* "
            "NPM_CONFIG_REGISTRY'"
        ),
    ] = ()
    claude_wrapper: Annotated[
        tuple[str, ...],
        about(
            "a command before the CLI, such as a sandbox; {home}, {work}, {tmp} and {claude} are filled in"
        ),
    ] = ()
    claude_idle_seconds: Annotated[
        Seconds, about("how long a process stays warm after a turn; 0: one per turn")
    ] = 600.0
    claude_spare: Annotated[
        Count, about("idle processes that are started in advance for new conversations; 0: none")
    ] = 1
    claude_max_processes: Annotated[Positive, about("how many claude processes may live at once")] = 32
    claude_wait_seconds: Annotated[
        Seconds, about("how long a turn waits while all processes answer others; 0: it is refused at once")
    ] = 30.0
    claude_waiting: Annotated[Count, about("how many turns may wait so; one more is refused")] = 100
    claude_grace_seconds: Annotated[Seconds, about("time between interrupt, TERM and KILL")] = 2.0
    claude_silence_seconds: Annotated[PositiveSeconds, about("a turn that is silent for longer is ended")] = (
        600.0
    )
    claude_line_max_bytes: Annotated[Positive, about("longest line the CLI may write")] = 64 * 2**20
    identity: Annotated[
        Literal["dev", "proxy", "oauth"],
        about("who users are: dev (one local user), proxy (a header), oauth (a forge)"),
    ] = "dev"
    proxy_secret: Annotated[
        str, about("what a trusted proxy sends as X-Chat-Secret; the proxy identity needs it", secret=True)
    ] = ""
    proxy_fold_names: Annotated[
        bool, about("whether the proxy's Ada and ada are one user, as in LDAP and Active Directory")
    ] = False
    oauth_url: Annotated[str, about("address of the forge where people log in")] = ""
    oauth_client_id: Annotated[str, about("id of this server as an application of the forge")] = ""
    oauth_client_secret: Annotated[
        str, about("secret of this server as an application of the forge", secret=True)
    ] = ""
    public_url: Annotated[
        str, about("address of this server as browsers see it, such as https://chat.example")
    ] = ""
    users: Annotated[
        tuple[str, ...],
        about("who may log in at the forge: names, or id:NUMBER of an account; * is every account there"),
    ] = ()
    session_seconds: Annotated[PositiveSeconds, about("how long a login at the forge lasts")] = 30 * 86_400.0
    session_idle_seconds: Annotated[
        Seconds, about("how long a login at the forge lasts that is not used; 0: as long as any")
    ] = 7 * 86_400.0
    logout_url: Annotated[
        str,
        about(
            "where the proxy logs people out, for the page's link; a path such as /oauth2/sign_out, or a URL"
        ),
    ] = ""
    header_seconds: Annotated[
        PositiveSeconds, about("how long the header of a request may take to arrive")
    ] = 10.0
    receive_seconds: Annotated[
        PositiveSeconds, about("how long a message, or the body of a request, may take to arrive")
    ] = 60.0
    input_bytes_per_second: Annotated[
        Count,
        about("what one connection may send in the long run, 4,096 for each frame included; 0: no limit"),
    ] = 2**20
    sockets_per_user: Annotated[Count, about("WebSockets of a user; 0: no limit")] = 32
    connections: Annotated[
        Count, about("connections there may be; 0: as many as the limit of open files has room for")
    ] = 0
    connections_per_address: Annotated[
        Count, about("connections from one address, loopback and a trusted proxy excepted; 0: no limit")
    ] = 256
    metrics_token: Annotated[
        str,
        about("bearer token that /metrics requires; empty: /metrics is off, except with the dev identity"),
    ] = ""
    origins: Annotated[
        tuple[str, ...], about("further origins that may use the chat, such as https://chat.example")
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        about(
            "hosts the server answers to, besides that of CHAT_PUBLIC_URL; .example.org: all below it; *: any"
        ),
    ] = ()
    keepalive_seconds: Annotated[PositiveSeconds, about("interval between pings")] = 15.0
    message_max_bytes: Annotated[Positive, about("longest prompt")] = 2**20
    requests_per_hour: Annotated[Count, about("turns of a user in any hour; 0: no limit")] = 60
    requests_per_day: Annotated[Count, about("turns of a user in a UTC day; 0: no limit")] = 500
    tokens_per_day: Annotated[Count, about("tokens of a user in a UTC day; 0: no limit")] = 1_000_000
    concurrent_turns: Annotated[
        Count, about("turns of a user that may run at the same time; 0: no limit")
    ] = 4
    turn_kept_seconds: Annotated[Seconds, about("how long a finished turn can be resumed from memory")] = 60.0
    stop_grace_seconds: Annotated[
        Seconds, about("how long running turns may finish when the server stops")
    ] = 5.0

    def __post_init__(self) -> None:
        """Refuse, by name, values that a type cannot rule out or that do not go together."""
        self._check_addresses()
        self._check_sources()
        self._check_claude()
        self._check_users()
        self._check_identity()

    def _check_users(self) -> None:
        for user in self.users:
            if user.startswith("id:") and not user[3:].isalnum():
                raise SettingsError(f"CHAT_USERS has {user!r}; an account's number is written like id:42")
        # To a browser //evil.example and /\evil.example are other hosts, not paths.
        if self.logout_url and not (_URL.match(self.logout_url) or re.match(r"/(?![/\\])", self.logout_url)):
            raise SettingsError(
                f"CHAT_LOGOUT_URL is {self.logout_url!r}; it must be a path such as /oauth2/sign_out, or a URL"
            )

    def _check_addresses(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin) or parse_origin(origin) is None:
                raise SettingsError(
                    f"CHAT_ORIGINS has {origin!r}; an origin is like https://chat.example; "
                    "several are separated by spaces"
                )
        for name in ("oauth_url", "public_url"):
            url = getattr(self, name)
            if url and (not _URL.fullmatch(url) or origin_of(url) is None):
                raise SettingsError(f"{variable(name)} is {url!r}; it must be like https://chat.example")
        for host in self.allowed_hosts:
            authority = parse_authority(host.removeprefix("."))
            if host != "*" and (authority is None or host.endswith(":") or authority.port is not None):
                raise SettingsError(
                    f"CHAT_ALLOWED_HOSTS has {host!r}; a host is a name or an address without a port, "
                    "such as chat.example or [2001:db8::1]; several are separated by spaces"
                )

    def _check_sources(self) -> None:
        if unknown := {*self.claude_settings.split(",")} - _SOURCES - {""}:
            raise SettingsError(
                f"CHAT_CLAUDE_SETTINGS has {min(unknown)!r}; known are user, project and local, separated by commas"
            )
        if "user" in self.claude_settings.split(",") and self.claude_home is None:
            raise SettingsError(
                "CHAT_CLAUDE_SETTINGS has user, which also needs CHAT_CLAUDE_HOME: whose settings they are, "
                "such as your own HOME"
            )

    def _check_claude(self) -> None:
        for name in self.claude_env:
            if not _NAMES.fullmatch(name) or name.startswith("CHAT_"):
                raise SettingsError(
                    f"CHAT_CLAUDE_ENV has {name!r}; it takes names of variables, with * for any end, and none of CHAT_*"
                )
        for word in self.claude_wrapper:
            for name in PLACEHOLDER.findall(word):
                if name not in PLACEHOLDERS:
                    known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                    raise SettingsError(f"CHAT_CLAUDE_WRAPPER has {{{name}}}; known are {known}")

    def _check_identity(self) -> None:
        needs: dict[str, tuple[str, ...]] = {
            "dev": (),
            "proxy": ("proxy_secret",),
            "oauth": ("oauth_url", "oauth_client_id", "oauth_client_secret", "public_url", "users"),
        }
        missing = [variable(name) for name in needs[self.identity] if not getattr(self, name)]
        if missing:
            raise SettingsError(f"CHAT_IDENTITY is {self.identity}, which also needs {', '.join(missing)}")
        if self.identity == "dev" and not _is_loopback(self.host):
            raise SettingsError(
                f"CHAT_HOST is {self.host!r}, but the dev identity lets in every client that can connect: "
                "it listens on loopback only (127.0.0.1, ::1 or localhost)"
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str], **overrides: Any) -> Settings:
        """Settings from ``CHAT_*`` variables; ``overrides`` (from the command line) win where not ``None``.

        Raises:
            SettingsError: An unknown ``CHAT_*`` name, or a value that does not fit.
        """
        known = settings()
        given: dict[str, Any] = {
            name: text for name, text in _with_files(env, known).items() if name.startswith(_PREFIX)
        }
        given.update((variable(name), value) for name, value in overrides.items() if value is not None)
        values = {}
        for name, value in given.items():
            if name not in known:
                raise SettingsError(f"{name} is not a setting{_suggestion(name, known)}")
            values[known[name].field] = _convert(known[name], value)
        return cls(**values)


class Setting(NamedTuple):
    """What the annotation of a field says."""

    variable: str
    field: str
    annotation: Any
    type: inspect.Type
    description: str
    default: Any
    secret: bool


def settings() -> dict[str, Setting]:
    """All settings by their variables, in the order of the fields."""
    found = {}
    for field in msgspec.structs.fields(Settings):
        described = cast("inspect.Metadata", inspect.type_info(field.type))
        name = variable(field.name)
        found[name] = Setting(
            variable=name,
            field=field.name,
            annotation=field.type,
            type=described.type,
            description=(described.extra_json_schema or {})["description"],
            default=field.default,
            secret=(described.extra or {})["secret"],
        )
    return found


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"{_PREFIX}{name.upper()}"


def table() -> str:
    """All settings as the Markdown table of docs/settings.md: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, setting in settings().items():
        default = "`~/.local/share/chatgate`" if setting.field == "data" else _shown(setting.default)
        file = f"; or `{name}_FILE`: where it is" if setting.secret else ""
        rows.append(f"| `{name}` | {default} | {setting.description}{file} |")
    return "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "`yes`" if default else "`no`"
    if isinstance(default, float):
        return f"`{default:.15g}`"
    return f"`{default}`" if default not in {"", (), None} else ""


def _suggestion(name: str, known: Collection[str]) -> str:
    """The setting that was probably meant."""
    # All names share the prefix: with it, difflib finds CHAT_FOO close to CHAT_PORT.
    ends = [each.removeprefix(_PREFIX) for each in known]
    near = difflib.get_close_matches(name.removeprefix(_PREFIX).upper(), ends, n=1)
    return f"; did you mean {_PREFIX}{near[0]}?" if near else ""


def _with_files(env: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, str]:
    """The variables; a secret from a file stands in the place of the variable that names the file."""
    found = dict(env)
    for name, setting in known.items():
        place = f"{name}_FILE"
        if not setting.secret or place not in env:
            continue
        if name in env:
            raise SettingsError(f"{name} and {place} are both set; set one of them")
        try:
            # Editors end a file with a line break; other white space may belong to the secret.
            text = Path(found.pop(place)).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"{place} is {env[place]!r}, which cannot be read: {reason}") from None
        if not text:
            raise SettingsError(f"{place} is {env[place]!r}, which is empty")
        found[name] = text
    return found


def _convert(setting: Setting, value: Any) -> Any:
    """The value of a setting, from the text of a variable or from an option.

    msgspec checks type, bounds and choices. The text is read here, since msgspec's lenient mode takes neither
    ``yes`` nor ``.5``, and takes ``inf``.
    """
    try:
        read = _read(setting.type, value) if isinstance(value, str) else value
        return msgspec.convert(read, setting.annotation)
    except (ValueError, msgspec.ValidationError):
        raise SettingsError(f"{setting.variable} is {value!r}; it must be {_wanted(setting.type)}") from None


def _read(kind: inspect.Type, text: str) -> Any:
    match kind:
        case inspect.IntType():
            return int(text)
        case inspect.FloatType():
            return _finite(text)
        case inspect.BoolType():
            # None for any other word, which msgspec refuses.
            return _BOOLS.get(text.strip().lower())
        case inspect.CustomType() | inspect.UnionType():  # None for an optional path; else msgspec refuses it
            return Path(text) if text else None
        case inspect.VarTupleType():
            return tuple(shlex.split(text))
        case _:
            return text


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _wanted(kind: inspect.Type) -> str:
    """What a setting takes, as its error says it."""
    match kind:
        case inspect.IntType():
            return f"a whole number{_bounds(kind)}"
        case inspect.FloatType():
            return f"a number{_bounds(kind)}"
        case inspect.BoolType():
            return "yes or no"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.CustomType():
            return "a path"
        case _:
            return "in shell syntax"


def _bounds(number: inspect.IntType | inspect.FloatType) -> str:
    if number.le is not None:
        return f" from {number.ge} to {number.le}"
    return f" of at least {number.ge}" if number.ge is not None else f" of more than {number.gt}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
