"""The target file: how a server is started or reached, and what it says of itself."""

from __future__ import annotations

import re
import ssl
import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.results import Case, matches
from chat_conformance.target.dialect import Dialect
from chat_conformance.target.forms import is_origin, of_address, of_request
from chat_conformance.target.lint import Description, faults
from chat_conformance.target.matching import Rule
from chat_conformance.target.opening import Step
from chat_conformance.target.roles import BY_PATH, ROLES, described
from chat_conformance.target.transport import SocketIO, Stream, Transport
from fake_claude.patience import patience

# Targets that come with the suite are looked up here.
SHIPPED = Path(__file__).parents[1]
_LOCATION = re.compile(r"[^:\s][^:\n]*(:[1-9][0-9]*)?")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = ("python", "port", "data", "claude", "url", "forge")
# In a start command: the folder of the target file.
HERE = "{here}"
# Stands for the name of a user in the headers of a variant.
USER = "{user}"
UNBOUNDED = 1 << 50


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user of the chat.

    Attributes:
        name: What the trace calls them.
        headers: What identifies them, sent with every request.
        values: What identifies them elsewhere: ``token`` here is ``{token}`` in paths, messages and opening steps.
    """

    name: str
    headers: dict[str, str] = {}
    values: dict[str, str] = {}


class Paths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the routes are; ``{id}`` in ``conversation`` is its id, and what is empty is not offered."""

    socket: str = "/chat/ws"
    health: str = "/health"
    page: str = "/chat/"
    turn: str = "/chat"
    new: str = "/chat/new"
    history: str = "/chat/history"
    # Where there is one, it is tested.
    usage: str = ""
    conversation: str = ""

    @property
    def alive(self) -> str:
        """A path at which a living server answers, whatever it answers."""
        return self.health or self.page or "/"

    def of(self, conversation_id: str) -> str:
        """Where one conversation is; by default below history."""
        return (self.conversation or f"{self.history}/{{id}}").replace("{id}", conversation_id)


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The target with something set otherwise: a capability that it claims, and that is tested because it does.

    Attributes:
        env: What is added to the environment of the target's command.
        headers: What identifies a user; with ``{user}`` in it there are as many users as cases want.
    """

    env: dict[str, str] = {}
    headers: dict[str, str] = {}

    def users(self, *names: str) -> list[User]:
        """Users of these names; empty if the headers know only one."""
        if not any(USER in text for text in self.headers.values()):
            return []
        return [
            User(each, {key: text.replace(USER, each) for key, text in self.headers.items()})
            for each in names
        ]


class Limited(Variant, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target with one small limit.

    Attributes:
        limit: How many turns, or tokens, a user has.
    """

    limit: int


class Proxy(Variant, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target whose users are named by a proxy.

    Attributes:
        user_header: The header that names the user.
        secret_header: The header by which the proxy proves itself.
    """

    user_header: str
    secret_header: str


class Login(Variant, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target whose users log in at the suite's own forge (``{forge}``), as ``user``.

    Attributes:
        user: Who may log in.
        stranger: Who may not, though the forge knows them; empty where everybody may.
        session_seconds: How long a login lasts.
        path: Where a login begins.
        callback: Where the forge sends people back to.
        cookie: The cookie that names a login.
        logout: Where a POST ends it; empty where nothing does.
    """

    session_seconds: float
    user: str = "ada"
    stranger: str = ""
    path: str = "/chat/login"
    callback: str = "/chat/oauth/callback"
    cookie: str = "chat_session"
    logout: str = ""


class Bounded(Variant, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target with something set to a short time: see `Variants`.

    Attributes:
        seconds: How long.
    """

    seconds: float


class Load(Variant, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the target is put under load: what to set otherwise, and what turns look like where it is not chat-stream-v1.

    Attributes:
        ask: The text message that begins a turn; ``{prompt}`` stands for the prompt.
        ask_again: The one for a further turn of a conversation, with ``{conversation}`` for its id; empty: as ``ask``.
        conversation: What stands before the id of a conversation, up to its quotation mark, in what the server sends.
        end: What the end of a turn contains, and nothing before it.
        failed: What a failure contains; empty where there is nothing to recognise.
        subprotocol: What the handshake offers; empty: none.
        exact: Whether the text of an answer is sent once; a server that passes on the CLI's lines sends it three times.
        connections: How many connections it is asked to hold at most, where each is a process; 0: as many as planned.
    """

    ask: str = '{"type":"chat_request","message":"{prompt}"}'
    ask_again: str = '{"type":"chat_request","message":"{prompt}","conversation_id":"{conversation}"}'
    conversation: str = '"conversation_id":"'
    end: str = '"type":"complete"'
    failed: str = '"type":"error"'
    subprotocol: str = "chat-stream-v1"
    exact: bool = True
    connections: int = 0


class Variants(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the target can be set to; what is left out is not offered.

    ``silence`` is for how long Claude may be silent in a turn, ``idle`` how long its process may outlive one, ``held``
    how long a finished turn can be replayed, ``header`` how long the header of a request may take. ``process_1`` says
    that the server may be process 1 of a container, without another that reaps. ``patient`` is no
    capability: where it is given, what takes long is played on it, so that a short keepalive that makes other cases
    quick does not end a connection that is only slow.
    """

    requests_per_hour: Limited | None = None
    requests_per_day: Limited | None = None
    tokens_per_day: Limited | None = None
    concurrent_turns: Limited | None = None
    processes: Limited | None = None
    process_1: Variant | None = None
    proxy: Proxy | None = None
    login: Login | None = None
    silence: Bounded | None = None
    idle: Bounded | None = None
    held: Bounded | None = None
    header: Bounded | None = None
    patient: Variant | None = None


VARIANT_TYPES: dict[str, type[Variant]] = {
    each.name: get_args(each.type)[0] for each in msgspec.structs.fields(Variants)
}
"""The class of each, which stands there beside None."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server to be judged; the fields are those of the target file.

    Attributes:
        name: What reports call it.
        url: Its origin, such as ``http://127.0.0.1:{port}``.
        version: Of the form of this file.
        ca: The certificate, or authority, by which an ``https`` origin is known; ``{here}`` is the file's folder.
        transport: By what its messages travel.
        stream: Which requests stream, for the transports ``sse`` and ``json-lines``.
        socket_io: For the transport ``socket.io``.
        opening: What comes before a connection counts as open.
        messages: What is sent, in templates, where the protocol is the server's own: ``chat_request`` and, where there
            are such, ``cancel``, ``subscribe`` and ``pong``. With these, nothing is offered that is not described.
        events: What comes, by rules.
        captures: What is kept of any frame, by path, such as ``conversation_id = "session_id"``.
        cli_lines: Where frames have the CLI's own lines, which its page puts together; ``*``: they are these lines.
        lacks: Parts that it does not have (target/roles.py), though its protocol is chat-stream-v1.
        start: The command that starts it; empty for a server that runs already. ``{here}`` is the file's folder.
        env: What is added to the environment of the command.
        ready_line: Words in its output that say that it listens; without them its health path is asked.
        ready_within: How long the start may take, in seconds.
        stop_within: How long SIGTERM may take, in seconds.
        within: How long a case waits for what must happen, in seconds.
        keepalive: The interval between pings that the target is set to, in seconds.
        grace: The time between asking Claude to stop and killing it that the target is set to, in seconds.
        message_max_bytes: The longest message it takes.
        inherits: Names of variables of the suite's own environment that the command gets, besides the usual few.
        secrets: Names of variables in ``env`` that the CLI must not get.
        ledger: The ledger of the fake that a running server uses.
        gates: The gates of the fake that a running server uses.
        sqlite: The SQLite file of a started server's history, such as ``{data}/chat.sqlite3``; empty:
            there is none.
        paths: The paths of its routes.
        dialect: What it calls things.
        users: Who may use it; at least one.
        variants: What else it can be set to.
        load: How it is put under load.
        anchor: Where in its sources findings point to, ``path`` or ``path:line``; empty: this file.
        routes: The same for some cases only: an area, the beginning of an id, a clause or a finding, and the place.
    """

    name: str
    url: str
    version: Literal[1] = 1
    ca: str = ""
    transport: Transport = "websocket"
    stream: Stream = Stream()
    socket_io: SocketIO = SocketIO()
    opening: list[Step] = []
    messages: dict[str, Any] = {}
    events: list[Rule] = []
    captures: dict[str, str] = {}
    cli_lines: str = ""
    lacks: list[str] = []
    start: list[str] = []
    env: dict[str, str] = {}
    ready_line: str = ""
    ready_within: float = 20.0
    stop_within: float = 10.0
    within: float = 5.0
    keepalive: float = 30.0
    grace: float = 5.0
    message_max_bytes: int = 1 << 20
    inherits: list[str] = []
    secrets: list[str] = []
    ledger: str = ""
    gates: str = ""
    sqlite: str = ""
    paths: Paths = Paths()
    dialect: Dialect = Dialect()
    users: list[User] = msgspec.field(default_factory=lambda: [User("user")])
    variants: Variants = Variants()
    load: Load = Load()
    anchor: str = ""
    routes: dict[str, str] = {}

    @property
    def starts(self) -> bool:
        """Whether the suite starts the server itself."""
        return bool(self.start)

    def tls(self) -> ssl.SSLContext | None:
        """How its certificate is checked; None where its origin is ``http``.

        Raises:
            UsageError: ``ca`` is no file of certificates.
        """
        if not self.url.startswith("https:"):
            return None
        try:
            # A server may write its certificate when it starts, and starts more than once.
            return _trusting(self.ca, Path(self.ca).stat().st_mtime_ns if self.ca else 0)
        except OSError as error:
            raise UsageError(f"ca is {self.ca!r}: {error}") from None

    @property
    def described(self) -> bool:
        """Whether its protocol is its own, and described by the file, rather than chat-stream-v1."""
        return bool(self.messages)

    @property
    def says_end(self) -> bool:
        """Whether a message says that an answer has ended; where none does, the end of a stream may."""
        return (
            not self.described or bool(self.cli_lines) or any(each.kind == "complete" for each in self.events)
        )

    @property
    def is_websocket(self) -> bool:
        """Whether its frames travel over a WebSocket."""
        return self.transport in ("websocket", "socket.io")

    @property
    def answers_each(self) -> bool:
        """Whether each message is answered by a stream of its own."""
        return not self.is_websocket and not self.stream.open

    @property
    def socket_path(self) -> str:
        """Where the WebSocket is; that of Engine.IO has members in its address."""
        if self.transport != "socket.io":
            return self.paths.socket
        return f"{self.socket_io.path}?{urlencode({'EIO': '4', 'transport': 'websocket', **self.socket_io.query})}"

    @property
    def roles(self) -> frozenset[str]:
        """The parts that it plays; a case that relies on another one is not offered."""
        paths = {role for role, path in BY_PATH.items() if getattr(self.paths, path)}
        other = {"pings", "frames"} if self.is_websocket else {"pings"}
        other |= {"end"} if self.answers_each else set()
        other |= {"handshake"} if self.transport == "websocket" else set()
        other |= {"subprotocol"} if self.dialect.subprotocol else set()
        if self.described:
            # A described protocol has what it describes; chat-stream-v1 has all but what its paths leave out
            # and `lacks` names.
            found = described(self.messages, self.events, self.captures)
            found |= {"end", "error"} if self.cli_lines else {"assembled"}
        else:
            found = frozenset(ROLES.keys() - BY_PATH.keys() - {"frames", "pings", "handshake", "subprotocol"})
        return frozenset({*found, *paths, *other} - set(self.lacks))

    def location(self, case: Case) -> str:
        """Where to look when a case fails: by the longest of the routes that mean it, else the anchor."""
        # "turns" and "turns/cancel" may both mean a case: the longest says most about it.
        meant = [route for route in self.routes if matches(case, route)]
        return self.routes[max(meant, key=len)] if meant else self.anchor


# A context takes some 20 ms to make, and each request needs one.
@cache
def _trusting(ca: str, _written: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca or None)


def find(path: str) -> Path:
    """The target file, relative to the working directory or else to this package.

    Raises:
        UsageError: It is in neither place.
    """
    for place in (Path(path), SHIPPED / path):
        if place.is_file():
            return place
    names = sorted(each.name for each in (SHIPPED / "targets").glob("*.toml") if each.suffixes == [".toml"])
    shipped = ", ".join(f"targets/{name}" for name in names)
    init = f"chat-conformance init {path} writes one"
    raise UsageError(f"there is no target file {path}; shipped with the suite: {shipped}; {init}")


def load(path: str) -> Target:
    """The target of a file.

    Raises:
        UsageError: The file is missing, is no TOML, or a field is unknown or does not fit.
    """
    place = find(path)
    try:
        text = place.read_bytes()
    except OSError as error:
        raise UsageError(f"{place}: {error}") from None
    return parse(text, place, path, here=place.parent)


def parse(text: bytes, place: Path, name: str, *, here: Path) -> Target:
    """The target of a text.

    Args:
        text: What is in the file.
        place: Where it is, for errors.
        name: What reports call it.
        here: What ``{here}`` means.

    Raises:
        UsageError: It is no TOML, or a field is unknown or does not fit.
    """
    try:
        document = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: {error}") from None
    # Before the conversion: after it a default cannot be known from what the file says.
    if document.get("messages"):
        document = {**document, **_nothing_but_described(document)}
    try:
        target = msgspec.convert(document, Target)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {_explain(str(error))}") from None
    # Not by `fill`, later: this one belongs to the file, whose folder the target does not keep; the others
    # belong to one started server.
    start = [each.replace(HERE, str(here.absolute())) for each in target.start]
    target = msgspec.structs.replace(target, start=start, ca=target.ca.replace(HERE, str(here.absolute())))
    check(target, place)
    # After the check, which is for what the file says. Only waits are stretched: a keepalive is a setting of
    # the server.
    waits = {field: patience(getattr(target, field)) for field in ("ready_within", "stop_within", "within")}
    return msgspec.structs.replace(target, anchor=target.anchor or name, **waits)


def _nothing_but_described(document: dict[str, Any]) -> dict[str, Any]:
    """The paths and the dialect of a server with a protocol of its own: it has no path by default, but a socket."""
    # By the defaults it would be asked for history and health at addresses that it never claimed.
    paths = {**dict.fromkeys(Paths.__struct_fields__, ""), "socket": "/"}
    given = {name: document.get(name, {}) for name in ("paths", "dialect")}
    return {
        "paths": {**paths, **given["paths"]} if isinstance(given["paths"], dict) else given["paths"],
        "dialect": {"subprotocol": "", **given["dialect"]}
        if isinstance(given["dialect"], dict)
        else given["dialect"],
    }


HINTS = {
    r"`\$\.version`": "; this is for files of version = 1",
    r"`\$\.transport`": f"; it must be one of {', '.join(get_args(Transport))}",
    r"got `object` - at `\$\.(users|events|opening)`": "; it stands in double brackets, as in [[events]]",
    r"got `object` - at `\$\.events.*\.when": '; a path is written with dots, as in "event.type" = "x"',
    r"Expected `array`, got `(str|int)`": "; it must be a list, in brackets",
}
"""What to add to sentences of msgspec."""


def _explain(sentence: str) -> str:
    """The sentence of msgspec with the nearest field in place of an unknown one, or with what fits."""
    found = re.search(r"unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?$", sentence)
    if found is None:
        hint = next((says for pattern, says in HINTS.items() if re.search(pattern, sentence)), "")
        return f"{sentence}{hint}"
    unknown, where = found[1], found[2] or ""
    structs: dict[str, type[msgspec.Struct]] = {
        "paths": Paths,
        "dialect": Dialect,
        "users": User,
        "variants": Variants,
        "load": Load,
        "opening": Step,
        "events": Rule,
        "stream": Stream,
        "socket_io": SocketIO,
    }
    structs |= {f"variants.{name}": kind for name, kind in VARIANT_TYPES.items()}
    # msgspec names the place as `users[...]`; the suggestion is for the fields of that table, the nearest in
    # any case.
    struct = structs.get(where.split("[")[0], Target)
    near = get_close_matches(unknown, struct.__struct_encode_fields__, n=1, cutoff=0)
    place = f" in {where}" if where else ""
    return f"unknown field {unknown!r}{place}; did you mean {near[0]!r}?"


def check(target: Target, place: Path) -> None:
    """Refuse combinations of fields that do not fit.

    Raises:
        UsageError: A value does not fit; the sentence names its field.
    """
    for field in ("ready_within", "stop_within", "within", "keepalive", "grace", "message_max_bytes"):
        if not 0 < getattr(target, field) < UNBOUNDED:
            raise UsageError(
                f"{place}: {field} is {getattr(target, field)}; it must be more than 0, and bounded"
            )
    _check_locations(target, place)
    _check_names(target, place)
    _check_description(target, place)
    if not target.users:
        raise UsageError(f"{place}: users is empty; leave it out for one user without headers")
    for field, text in [
        ("url", target.url),
        *(("start", each) for each in target.start),
        *((f"env.{name}", text) for name, text in target.env.items()),
        *((f"load.env.{name}", text) for name, text in target.load.env.items()),
    ]:
        # Filled in for nothing but its errors: a misspelt placeholder shows now, and not in the middle of a
        # run.
        fill(text, dict.fromkeys(PLACEHOLDERS, "1"), f"{place}: {field}")
    for name in VARIANT_TYPES:
        for key, text in getattr(getattr(target.variants, name), "env", {}).items():
            fill(text, dict.fromkeys(PLACEHOLDERS, "1"), f"{place}: variants.{name}.env.{key}")
    if not is_origin(target.url):
        raise UsageError(f"{place}: url is {target.url!r}; it must be like http://127.0.0.1:{{port}}")
    if not target.starts and "{port}" in target.url:
        raise UsageError(f"{place}: url has {{port}}, but there is no start command to give it to")


def _check_names(target: Target, place: Path) -> None:
    for name in target.secrets:
        if name not in target.env:
            raise UsageError(
                f"{place}: secrets has {name!r}, which is not in env: without it nothing is tested"
            )
    if (unknown := target.dialect.unknown()) is not None:
        raise UsageError(f"{place}: dialect.{unknown} is no name of the protocol (docs/protocol.md)")
    if target.paths.history and target.paths.of("1") == target.paths.of("2"):
        raise UsageError(f"{place}: paths.conversation is {target.paths.conversation!r}; it must have {{id}}")


def _check_description(target: Target, place: Path) -> None:
    # Only what every user has may stand in templates: any of them may be the one who sends.
    values = [set(each.values) for each in target.users]
    requests = {"stream.send": target.stream.send, "stream.open": target.stream.open}
    requests |= {f"stream.requests.{name}": each for name, each in target.stream.requests.items()}
    beside = {f"stream.headers.{name}": each for name, each in target.stream.headers.items()}
    beside |= {f"socket_io.auth.{name}": each for name, each in target.socket_io.auth.items()}
    given = Description(
        messages=target.messages,
        events=target.events,
        opening=target.opening,
        captures=target.captures,
        cli_lines=target.cli_lines,
        lacks=target.lacks,
        values=set.intersection(*values) if values else set(),
        paths={"paths.socket": target.paths.socket, **requests, **beside},
    )
    for each in faults(given):
        raise UsageError(f"{place}: {each}")
    for field, path in _addresses(target).items():
        for each in of_address(field, path):
            raise UsageError(f"{place}: {each}")
    for field, request in requests.items():
        for each in of_request(field, request):
            raise UsageError(f"{place}: {each}")
    for field, kinds in (("stream", ("sse", "json-lines")), ("socket_io", ("socket.io",))):
        if getattr(target, field) != type(getattr(target, field))() and target.transport not in kinds:
            raise UsageError(
                f"{place}: {field} is for the transport {' or '.join(kinds)}, and that is {target.transport!r}"
            )
    if target.transport in ("sse", "json-lines") and not target.stream.send:
        raise UsageError(f"{place}: stream.send is missing: which request sends a prompt")
    if target.ca and not target.url.startswith("https:"):
        raise UsageError(f"{place}: ca is for a url of https, and that is {target.url!r}")


def _addresses(target: Target) -> dict[str, str]:
    paths = {f"paths.{name}": path for name, path in msgspec.structs.asdict(target.paths).items()}
    return {**paths, "socket_io.path": target.socket_io.path}


def _check_locations(target: Target, place: Path) -> None:
    for field, text in [("anchor", target.anchor or "unset"), *target.routes.items()]:
        if not _LOCATION.fullmatch(text):
            raise UsageError(f"{place}: {field} is {text!r}; it must be like src/chat.py or src/chat.py:12")


def fill(text: str, values: dict[str, str], where: str) -> str:
    """The text with its placeholders filled in.

    Raises:
        UsageError: A placeholder is unknown.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise UsageError(f"{where}: unknown placeholder {found[0]}; known are {known}")
        return values[found[1]]

    return _PLACEHOLDER.sub(value, text)
