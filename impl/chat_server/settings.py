"""The server's settings: one typed value, read from ``CHAT_*`` once at start."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


class SettingsError(Exception):
    """A setting is unknown or does not fit; the sentence names it and says what would."""


def _default_data() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "chatgate"


def _setting(default: Any, help_text: str, *, secret: bool = False) -> Any:
    """A ``secret`` may be in a file, too, which the variable with ``_FILE`` at its end names."""
    return field(default=default, metadata={"help": help_text, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Durations are seconds, sizes bytes. Field ``x`` is the variable ``CHAT_X``."""

    host: str = _setting("127.0.0.1", "address to listen on; the dev identity allows loopback only")
    port: int = _setting(8000, "port to listen on; 0 takes a free one")
    data: Path = field(
        default_factory=_default_data,
        metadata={"help": "folder of the database and of the built-in fake, for this server alone"},
    )
    database: str = _setting(
        "",
        "URL of the database, such as postgresql://user@host/name; empty: SQLite in the data folder",
        secret=True,
    )
    claude: str = _setting("", "path of the claude CLI; empty: the built-in fake")
    claude_args: tuple[str, ...] = _setting((), "more arguments for the CLI, in shell syntax")
    claude_tools: str = _setting("", "tools Claude may use, comma-separated; empty: none")
    claude_mentions: bool = _setting(
        False, "whether a path after @ in a prompt is read with the rights of the CLI and shown to the model"
    )
    claude_commands: bool = _setting(
        False, "whether a prompt that begins with / is a command of the CLI, such as /clear or /model"
    )
    claude_settings: str = _setting(
        "",
        "whose settings, memory, hooks, commands and MCP servers the CLI uses: user, project, local, "
        "comma-separated; empty: none",
    )
    claude_permission_mode: str = _setting(
        "", "how the CLI decides about a tool's use, such as acceptEdits; empty: the CLI's default"
    )
    claude_model: str = _setting("", "model for the CLI; empty: the CLI's default")
    claude_cwd: Path | None = _setting(
        None, "working folder of the CLI, for all conversations; empty: a folder for each, in the data folder"
    )
    claude_home: Path | None = _setting(
        None, "HOME of the CLI, for all conversations; empty: a folder for each, in the data folder"
    )
    claude_env: tuple[str, ...] = _setting(
        (),
        "further variables that the CLI gets of the server's environment, such as 'OTEL_* NPM_CONFIG_REGISTRY'",
    )
    claude_wrapper: tuple[str, ...] = _setting(
        (),
        "a command before the CLI, such as a sandbox; {home}, {work}, {tmp} and {claude} are filled in",
    )
    claude_idle_seconds: float = _setting(
        600.0, "how long a process stays warm after a turn; 0: one per turn"
    )
    claude_spare: int = _setting(
        1, "idle processes that are started in advance for new conversations; 0: none"
    )
    claude_max_processes: int = _setting(32, "how many claude processes may live at once")
    claude_wait_seconds: float = _setting(
        30.0, "how long a turn waits while all processes answer others; 0: it is refused at once"
    )
    claude_waiting: int = _setting(100, "how many turns may wait so; one more is refused")
    claude_grace_seconds: float = _setting(2.0, "time between interrupt, TERM and KILL")
    claude_silence_seconds: float = _setting(600.0, "a turn that is silent for longer is ended")
    claude_line_max_bytes: int = _setting(64 * 2**20, "longest line the CLI may write")
    identity: str = _setting("dev", "who users are: dev (one local user), proxy (a header), oauth (a forge)")
    proxy_secret: str = _setting(
        "", "what a trusted proxy sends as X-Chat-Secret; the proxy identity needs it", secret=True
    )
    proxy_fold_names: bool = _setting(
        False, "whether the proxy's Ada and ada are one user, as in LDAP and Active Directory"
    )
    oauth_url: str = _setting("", "address of the forge where people log in")
    oauth_client_id: str = _setting("", "id of this server as an application of the forge")
    oauth_client_secret: str = _setting(
        "", "secret of this server as an application of the forge", secret=True
    )
    public_url: str = _setting("", "address of this server as browsers see it, such as https://chat.example")
    users: tuple[str, ...] = _setting(
        (), "who may log in at the forge: names, or id:NUMBER of an account; * is everybody it knows"
    )
    session_seconds: float = _setting(30 * 86_400.0, "how long a login at the forge lasts")
    session_idle_seconds: float = _setting(
        7 * 86_400.0, "how long a login at the forge lasts that is not used; 0: as long as any"
    )
    logout_url: str = _setting(
        "", "where the proxy logs people out, for the page's link; a path such as /oauth2/sign_out, or a URL"
    )
    header_seconds: float = _setting(10.0, "how long the header of a request may take to arrive")
    receive_seconds: float = _setting(
        60.0, "how long a message, or the body of a request, may take to arrive"
    )
    input_bytes_per_second: int = _setting(
        2**20,
        "what one connection may send in the long run, 4,096 for each frame included; 0: no limit",
    )
    sockets_per_user: int = _setting(32, "WebSockets of a user; 0: no limit")
    connections: int = _setting(
        0, "connections there may be; 0: as many as the limit of open files has room for"
    )
    connections_per_address: int = _setting(
        256, "connections from one address, loopback and a trusted proxy excepted; 0: no limit"
    )
    metrics_token: str = _setting(
        "",
        "what whoever reads /metrics sends as Authorization: Bearer; empty: there are none, but with the dev identity",
    )
    origins: tuple[str, ...] = _setting(
        (), "further origins that may use the chat, such as https://chat.example"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (), "hosts the server answers to, besides that of CHAT_PUBLIC_URL; .example.org: all below it; *: any"
    )
    keepalive_seconds: float = _setting(15.0, "interval between pings")
    message_max_bytes: int = _setting(2**20, "longest prompt")
    requests_per_hour: int = _setting(60, "turns of a user in any hour; 0: no limit")
    requests_per_day: int = _setting(500, "turns of a user in a UTC day; 0: no limit")
    tokens_per_day: int = _setting(1_000_000, "tokens of a user in a UTC day; 0: no limit")
    concurrent_turns: int = _setting(4, "turns of a user that may run at the same time; 0: no limit")
    turn_kept_seconds: float = _setting(60.0, "how long a finished turn can be resumed from memory")
    stop_grace_seconds: float = _setting(5.0, "how long running turns may finish when the server stops")

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise SettingsError(f"{variable(each.name)} is {value}; it must be a number of at least 0")
        for name in (
            "header_seconds",
            "receive_seconds",
            "keepalive_seconds",
            "message_max_bytes",
            "claude_max_processes",
            "claude_line_max_bytes",
            "claude_silence_seconds",
            "session_seconds",
        ):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{variable(name)} is {getattr(self, name)}; it must be more than 0")
        if self.port > 65_535:
            raise SettingsError(f"CHAT_PORT is {self.port}; ports end at 65535")
        self._check_addresses()
        self._check_sources()
        self._check_claude()
        self._check_users()
        self._check_identity()

    def _check_users(self) -> None:
        for user in self.users:
            if user.startswith("id:") and not user[3:].isalnum():
                raise SettingsError(f"CHAT_USERS has {user!r}; an account's number is written like id:42")
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
        needs = {
            "dev": (),
            "proxy": ("proxy_secret",),
            "oauth": ("oauth_url", "oauth_client_id", "oauth_client_secret", "public_url", "users"),
        }
        if self.identity not in needs:
            raise SettingsError(f"CHAT_IDENTITY is {self.identity!r}; it must be one of {', '.join(needs)}")
        missing = [variable(name) for name in needs[self.identity] if not getattr(self, name)]
        if missing:
            raise SettingsError(f"CHAT_IDENTITY is {self.identity}, which also needs {', '.join(missing)}")
        if self.identity == "dev" and not _is_loopback(self.host):
            raise SettingsError(
                f"CHAT_HOST is {self.host!r}, but the dev identity lets everybody in who can connect: "
                "it listens on loopback only (127.0.0.1, ::1 or localhost)"
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str], **overrides: Any) -> Settings:
        """Settings from ``CHAT_*`` variables; ``overrides`` (from the command line) win where not ``None``.

        Raises:
            SettingsError: An unknown ``CHAT_*`` name, or a value that does not fit.
        """
        fields = {variable(each.name): each for each in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, text in _with_files(env, fields).items():
            if not name.startswith("CHAT_"):
                continue
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise SettingsError(f"{name} is not a setting{hint}")
            values[fields[name].name] = _parse(name, str(fields[name].type), text)
        values.update((name, value) for name, value in overrides.items() if value is not None)
        return cls(**values)


def _with_files(env: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, str]:
    """The variables, where a secret that is in a file stands in the place of the variable that names the file."""
    found = dict(env)
    for name, each in fields.items():
        place = f"{name}_FILE"
        if not each.metadata.get("secret") or place not in env:
            continue
        if name in env:
            raise SettingsError(f"{name} and {place} are both set; set one of them")
        try:
            text = Path(found.pop(place)).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"{place} is {env[place]!r}, which cannot be read: {reason}") from None
        if not text:
            raise SettingsError(f"{place} is {env[place]!r}, which is empty")
        found[name] = text
    return found


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"CHAT_{name.upper()}"


def table() -> str:
    """All settings as the Markdown table of docs/settings.md: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for each in dataclasses.fields(Settings):
        default = "`~/.local/share/chatgate`" if each.name == "data" else _written(each.default)
        file = f"; or `{variable(each.name)}_FILE`: where it is" if each.metadata.get("secret") else ""
        rows.append(f"| `{variable(each.name)}` | {default} | {each.metadata['help']}{file} |")
    return "\n".join(rows) + "\n"


def _written(default: object) -> str:
    return (
        ("`yes`" if default else "`no`")
        if isinstance(default, bool)
        else f"`{default:.15g}`"
        if isinstance(default, float)
        else f"`{default}`"
        if default not in {"", (), None}
        else ""
    )


def _parse(name: str, kind: str, text: str) -> Any:  # noqa: PLR0911 - one for each kind
    try:
        match kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                value = _BOOLS.get(text.strip().lower())
                if value is None:
                    raise ValueError(text)  # noqa: TRY301 - the sentence is the same
                return value
            case "Path" if text:
                return Path(text)
            case "Path | None":
                return Path(text) if text else None
            case "tuple[str, ...]":
                return tuple(shlex.split(text))
            case "str":
                return text
            case _:
                raise ValueError(kind)  # noqa: TRY301 - the sentence is the same
    except ValueError:
        words = {"int": "a whole number", "float": "a number", "Path": "a path", "bool": "yes or no"}
        wanted = words.get(kind, "in shell syntax")
        raise SettingsError(f"{name} is {text!r}; it must be {wanted}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
