"""Every setting is read, every wrong one is refused by name, and the page lists them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat_server.settings import Settings, SettingsError, settings, table

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"

READ: list[Any] = [
    ("CHAT_HOST", "::1", "::1"),
    ("CHAT_PORT", "0", 0),
    ("CHAT_DATA", "/var/lib/chat", Path("/var/lib/chat")),
    ("CHAT_DATABASE", "postgresql://x/y", "postgresql://x/y"),
    ("CHAT_CLAUDE", "claude", "claude"),
    ("CHAT_CLAUDE_ARGS", "--effort low --append-system-prompt 'be kind'", None),
    ("CHAT_CLAUDE_TOOLS", "Read,Bash", "Read,Bash"),
    ("CHAT_CLAUDE_PERMISSION_MODE", "acceptEdits", "acceptEdits"),
    ("CHAT_CLAUDE_MODEL", "haiku", "haiku"),
    ("CHAT_CLAUDE_CWD", "/srv", Path("/srv")),
    ("CHAT_CLAUDE_CWD", "", None),
    ("CHAT_CLAUDE_MENTIONS", "yes", True),
    ("CHAT_CLAUDE_COMMANDS", "TRUE", True),
    ("CHAT_CLAUDE_COMMANDS", "0", False),
    ("CHAT_CLAUDE_SETTINGS", "project,local", "project,local"),
    ("CHAT_CLAUDE_HOME", "/home/ada", Path("/home/ada")),
    ("CHAT_CLAUDE_HOME", "", None),
    ("CHAT_CLAUDE_ENV", "OTEL_* GIT_AUTHOR_NAME", ("OTEL_*", "GIT_AUTHOR_NAME")),
    ("CHAT_CLAUDE_WRAPPER", "bwrap --bind {home} '{work}' --", ("bwrap", "--bind", "{home}", "{work}", "--")),
    ("CHAT_CLAUDE_IDLE_SECONDS", "0", 0.0),
    ("CHAT_CLAUDE_SPARE", "2", 2),
    ("CHAT_CLAUDE_MAX_PROCESSES", "1", 1),
    ("CHAT_CLAUDE_WAIT_SECONDS", "0", 0.0),
    ("CHAT_CLAUDE_WAITING", "0", 0),
    ("CHAT_CONCURRENT_TURNS", "2", 2),
    ("CHAT_HEADER_SECONDS", "2.5", 2.5),
    ("CHAT_RECEIVE_SECONDS", "2.5", 2.5),
    ("CHAT_INPUT_BYTES_PER_SECOND", "4096", 4096),
    ("CHAT_SOCKETS_PER_USER", "3", 3),
    ("CHAT_CONNECTIONS", "99", 99),
    ("CHAT_CONNECTIONS_PER_ADDRESS", "9", 9),
    ("CHAT_CLAUDE_GRACE_SECONDS", "0.5", 0.5),
    ("CHAT_CLAUDE_SILENCE_SECONDS", "1e3", 1000.0),
    ("CHAT_CLAUDE_LINE_MAX_BYTES", "1048576", 1_048_576),
    ("CHAT_IDENTITY", "dev", "dev"),
    ("CHAT_PROXY_SECRET", "s", "s"),
    ("CHAT_PROXY_FOLD_NAMES", "yes", True),
    ("CHAT_ALLOWED_HOSTS", "chat.example .lan [2001:db8::1]", ("chat.example", ".lan", "[2001:db8::1]")),
    ("CHAT_OAUTH_URL", "https://git.example/sub", "https://git.example/sub"),
    ("CHAT_OAUTH_CLIENT_ID", "id", "id"),
    ("CHAT_OAUTH_CLIENT_SECRET", "s", "s"),
    ("CHAT_PUBLIC_URL", "https://chat.example", "https://chat.example"),
    ("CHAT_USERS", "ada bob", ("ada", "bob")),
    ("CHAT_SESSION_SECONDS", "60", 60.0),
    ("CHAT_SESSION_IDLE_SECONDS", "0", 0.0),
    ("CHAT_LOGOUT_URL", "/oauth2/sign_out", "/oauth2/sign_out"),
    ("CHAT_USERS", "ada id:42", ("ada", "id:42")),
    ("CHAT_ORIGINS", "https://a.example http://b:8080", ("https://a.example", "http://b:8080")),
    ("CHAT_METRICS_TOKEN", "t", "t"),
    ("CHAT_KEEPALIVE_SECONDS", "20", 20.0),
    ("CHAT_MESSAGE_MAX_BYTES", "2000000", 2_000_000),
    ("CHAT_REQUESTS_PER_HOUR", "0", 0),
    ("CHAT_REQUESTS_PER_DAY", "1", 1),
    ("CHAT_TOKENS_PER_DAY", "2", 2),
    ("CHAT_TURN_KEPT_SECONDS", "0", 0.0),
    ("CHAT_STOP_GRACE_SECONDS", "3", 3.0),
]


@pytest.mark.parametrize(("name", "text", "value"), READ, ids=[f"{name}={text}" for name, text, _ in READ])
def test_setting_is_read(name: str, text: str, value: object) -> None:
    found = Settings.from_env({name: text, "OTHER": "ignored"})

    if name == "CHAT_CLAUDE_ARGS":
        value = ("--effort", "low", "--append-system-prompt", "be kind")
    assert getattr(found, name.removeprefix("CHAT_").lower()) == value


def test_every_setting_is_in_the_table_above() -> None:
    assert {name for name, _, _ in READ} == {*settings()}


REFUSED = [
    ({"CHAT_CLAUDE_COMMANDS": "maybe"}, "CHAT_CLAUDE_COMMANDS is 'maybe'; it must be yes or no"),
    (
        {"CHAT_CLAUDE_SETTINGS": "user,home"},
        "CHAT_CLAUDE_SETTINGS has 'home'; known are user, project and local",
    ),
    pytest.param(
        {"CHAT_PROT": "1"}, "CHAT_PROT is not a setting; did you mean CHAT_PORT?", id="unknown-near"
    ),
    pytest.param({"CHAT_prot": "1"}, "did you mean CHAT_PORT?", id="unknown-lower-case"),
    pytest.param({"CHAT_USER": "1"}, "did you mean CHAT_USERS?", id="unknown-singular"),
    pytest.param({"CHAT_REQUESTS_PER_HOUR": "-1"}, "a whole number of at least 0", id="count-negative"),
    pytest.param({"CHAT_CLAUDE_IDLE_SECONDS": "inf"}, "a number of at least 0", id="seconds-infinite"),
    pytest.param({"CHAT_PORT": "http"}, "CHAT_PORT is 'http'; it must be a whole number", id="port-word"),
    pytest.param({"CHAT_PORT": ""}, "CHAT_PORT is ''; it must be a whole number", id="port-empty"),
    pytest.param({"CHAT_PORT": "80.5"}, "CHAT_PORT is '80.5'; it must be a whole number", id="port-fraction"),
    pytest.param(
        {"CHAT_PORT": "-1"},
        "CHAT_PORT is '-1'; it must be a whole number from 0 to 65535",
        id="port-negative",
    ),
    pytest.param(
        {"CHAT_PORT": "65536"},
        "CHAT_PORT is '65536'; it must be a whole number from 0 to 65535",
        id="port-too-high",
    ),
    pytest.param({"CHAT_DATA": ""}, "CHAT_DATA is ''; it must be a path", id="no-path"),
    pytest.param(
        {"CHAT_KEEPALIVE_SECONDS": "soon"}, "CHAT_KEEPALIVE_SECONDS is 'soon'; it must be a number", id="word"
    ),
    pytest.param({"CHAT_KEEPALIVE_SECONDS": "nan"}, "it must be a number of more than 0", id="nan"),
    pytest.param({"CHAT_KEEPALIVE_SECONDS": "inf"}, "it must be a number of more than 0", id="infinite"),
    pytest.param({"CHAT_KEEPALIVE_SECONDS": "-1"}, "CHAT_KEEPALIVE_SECONDS is '-1'", id="negative"),
    pytest.param({"CHAT_KEEPALIVE_SECONDS": "0"}, "of more than 0", id="keepalive-0"),
    pytest.param({"CHAT_MESSAGE_MAX_BYTES": "0"}, "of more than 0", id="message-0"),
    pytest.param({"CHAT_CLAUDE_MAX_PROCESSES": "0"}, "of more than 0", id="processes-0"),
    pytest.param({"CHAT_CLAUDE_LINE_MAX_BYTES": "0"}, "of more than 0", id="line-0"),
    pytest.param({"CHAT_CLAUDE_SILENCE_SECONDS": "0"}, "of more than 0", id="silence-0"),
    pytest.param({"CHAT_SESSION_SECONDS": "0"}, "of more than 0", id="session-0"),
    pytest.param(
        {"CHAT_CLAUDE_ARGS": "'open"}, 'CHAT_CLAUDE_ARGS is "\'open"; it must be in shell syntax', id="quote"
    ),
    pytest.param(
        {"CHAT_CLAUDE_SETTINGS": "project,user"},
        "CHAT_CLAUDE_SETTINGS has user, which also needs CHAT_CLAUDE_HOME",
        id="settings-of-nobody",
    ),
    pytest.param(
        {"CHAT_CLAUDE_ENV": "A,B"}, "CHAT_CLAUDE_ENV has 'A,B'; it takes names of variables", id="env-comma"
    ),
    pytest.param({"CHAT_CLAUDE_ENV": "*"}, "CHAT_CLAUDE_ENV has '*'", id="env-everything"),
    pytest.param({"CHAT_CLAUDE_ENV": "A=1"}, "CHAT_CLAUDE_ENV has 'A=1'", id="env-value"),
    pytest.param({"CHAT_CLAUDE_ENV": "CHAT_PROXY_SECRET"}, "and none of CHAT_*", id="env-of-the-server"),
    pytest.param(
        {"CHAT_CLAUDE_WRAPPER": "bwrap {data}"},
        "CHAT_CLAUDE_WRAPPER has {data}; known are {home}, {work}, {tmp}, {claude}",
        id="wrapper-placeholder",
    ),
    pytest.param({"CHAT_CLAUDE_WRAPPER": "bwrap {}"}, "CHAT_CLAUDE_WRAPPER has {}", id="wrapper-empty"),
    pytest.param(
        {"CHAT_ORIGINS": "*"}, "CHAT_ORIGINS has '*'; an origin is like https://chat.example", id="star"
    ),
    pytest.param({"CHAT_ORIGINS": "https://a/"}, "CHAT_ORIGINS has 'https://a/'", id="origin-with-path"),
    pytest.param({"CHAT_ORIGINS": "https://a,https://b"}, "separated by spaces", id="origins-with-comma"),
    pytest.param(
        {"CHAT_PUBLIC_URL": "chat.example"}, "CHAT_PUBLIC_URL is 'chat.example'", id="url-without-scheme"
    ),
    pytest.param(
        {"CHAT_OAUTH_URL": "file:///etc"}, "it must be like https://chat.example", id="url-of-a-file"
    ),
    pytest.param(
        {"CHAT_IDENTITY": "magic"},
        "CHAT_IDENTITY is 'magic'; it must be one of dev, oauth, proxy",
        id="identity",
    ),
    pytest.param(
        {"CHAT_IDENTITY": "proxy"}, "is proxy, which also needs CHAT_PROXY_SECRET", id="proxy-no-secret"
    ),
    pytest.param(
        {"CHAT_IDENTITY": "oauth", "CHAT_USERS": "*", "CHAT_PUBLIC_URL": "https://c"},
        "is oauth, which also needs CHAT_OAUTH_URL, CHAT_OAUTH_CLIENT_ID, CHAT_OAUTH_CLIENT_SECRET",
        id="oauth-half",
    ),
    pytest.param(
        {"CHAT_ALLOWED_HOSTS": "chat.example:8000"}, "a name or an address without a port", id="host-port"
    ),
    pytest.param({"CHAT_ALLOWED_HOSTS": "https://c"}, "CHAT_ALLOWED_HOSTS has 'https://c'", id="host-url"),
    pytest.param({"CHAT_ORIGINS": "https://a:b"}, "an origin is like https://chat.example", id="origin-port"),
    pytest.param({"CHAT_PUBLIC_URL": "https://a:99999"}, "like https://chat.example", id="url-port"),
    pytest.param({"CHAT_PROXY_FOLD_NAMES": "maybe"}, "it must be yes or no", id="neither-yes-nor-no"),
    pytest.param({"CHAT_LOGOUT_URL": "javascript:x"}, "it must be a path such as", id="logout-script"),
    pytest.param({"CHAT_LOGOUT_URL": "//evil.example"}, "it must be a path such as", id="logout-elsewhere"),
    pytest.param({"CHAT_USERS": "id:"}, "is written like id:42", id="user-without-number"),
    pytest.param(
        {"CHAT_HOST": "0.0.0.0"},
        "the dev identity lets in every client that can connect",
        id="dev-everywhere",
    ),
    pytest.param({"CHAT_HOST": "chat.example"}, "it listens on loopback only", id="dev-by-name"),
    pytest.param({"CHAT_HOST": ""}, "it listens on loopback only", id="dev-no-host"),
]


@pytest.mark.parametrize(("env", "sentence"), REFUSED)
def test_wrong_setting_is_refused_by_name(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)

    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["CHAT_FOO", "CHAT_XYZZY_PLUGH", "CHAT_BAR", "CHAT_"])
def test_prefix_alone_suggests_nothing(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: "1"})

    assert str(caught.value) == f"{name} is not a setting"


@pytest.mark.parametrize(("text", "value"), [(" 5 ", 5), ("+5", 5), ("1_000", 1000), ("007", 7)])
def test_numbers_are_read_as_python_does(text: str, value: int) -> None:
    found = Settings.from_env({"CHAT_CLAUDE_WAITING": text, "CHAT_STOP_GRACE_SECONDS": text})

    assert (found.claude_waiting, found.stop_grace_seconds) == (value, value)


SECRETS = ["CHAT_DATABASE", "CHAT_PROXY_SECRET", "CHAT_OAUTH_CLIENT_SECRET"]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secret_may_be_in_a_file(name: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f" two words{end}", newline="")
    found = Settings.from_env({f"{name}_FILE": str(tmp_path / "secret")})

    assert getattr(found, name.removeprefix("CHAT_").lower()) == " two words"


def test_secret_in_two_places_is_refused(tmp_path: Path) -> None:
    env = {"CHAT_PROXY_SECRET": "a", "CHAT_PROXY_SECRET_FILE": str(tmp_path)}
    with pytest.raises(SettingsError, match="CHAT_PROXY_SECRET and CHAT_PROXY_SECRET_FILE are both set"):
        Settings.from_env(env)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), (b"\n", "is empty"), (b"\xff", "cannot be read: .*utf-8")],
    ids=["missing", "empty", "no-text"],
)
def test_file_without_a_secret_is_refused(content: bytes | None, reason: str, tmp_path: Path) -> None:
    place = tmp_path / "secret"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(SettingsError, match=f"CHAT_PROXY_SECRET_FILE is '{place}', which {reason}"):
        Settings.from_env({"CHAT_PROXY_SECRET_FILE": str(place)})


def test_only_secrets_may_be_in_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CHAT_HOST_FILE is not a setting"):
        Settings.from_env({"CHAT_HOST_FILE": str(tmp_path)})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_dev_listens_on_loopback(host: str) -> None:
    assert Settings(host=host).host == host


def test_others_may_listen_anywhere() -> None:
    found = Settings(host="0.0.0.0", identity="proxy", proxy_secret="s")

    assert found.host == "0.0.0.0"


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("1", True), ("No", False), ("off", False)])
def test_switch_is_set_by_a_word(text: str, *, value: bool) -> None:
    assert Settings.from_env({"CHAT_PROXY_FOLD_NAMES": text}).proxy_fold_names is value


def test_option_wins_over_the_environment() -> None:
    found = Settings.from_env({"CHAT_PORT": "1", "CHAT_HOST": "::1"}, port=2, host=None)

    assert (found.port, found.host) == (2, "::1")


def test_wrong_option_is_refused_like_a_variable() -> None:
    with pytest.raises(SettingsError, match="CHAT_PORT is 70000; it must be a whole number from 0 to 65535"):
        Settings.from_env({}, port=70_000)


def test_data_folder_follows_the_desktop_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Settings().data == Path("/data/chatgate")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert Settings().data == Path("/home/ada/.local/share/chatgate")


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Settings().port = 1  # type: ignore[misc]  # that is the point


def test_page_lists_every_setting() -> None:
    assert table() in PAGE.read_text(), "put the output of chat_server.settings.table() into docs/settings.md"


def test_every_setting_says_what_it_is() -> None:
    assert all(len(each.description) > 8 for each in settings().values())
