"""The CLI gets what it needs of the server's environment, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_server.claude.environment import FIXED, LOGIN, config_folder, environment, passed_on
from chat_server.claude.workspaces import Workspace

SECRETS = {
    "CHAT_PROXY_SECRET": "s",
    "CHAT_DATABASE": "postgresql://chat:s@db/chat",
    "CHATGATE_SECRET": "s",
    "DATABASE_URL": "postgresql://s",
    "PGPASSWORD": "s",
    "PGSERVICEFILE": "s",
    "GITHUB_TOKEN": "s",
    "FORGEJO_TOKEN": "s",
    "NPM_TOKEN": "s",
    "SSH_AUTH_SOCK": "/run/s",
    "DBUS_SESSION_BUS_ADDRESS": "s",
    "XDG_RUNTIME_DIR": "/run/user/1",
    "CREDENTIALS_DIRECTORY": "/run/credentials/s",
    "AWS_SECRET_ACCESS_KEY": "s",
    "GOOGLE_APPLICATION_CREDENTIALS": "/s",
    "AZURE_CLIENT_SECRET": "s",
    "OPENAI_API_KEY": "s",
    "LD_PRELOAD": "/s.so",
    "PYTHONPATH": "/s",
    "NODE_OPTIONS": "--require /s",
    "BASH_ENV": "/s",
    "ENV": "/s",
}
"""What operators of such servers have in their environments."""

NEEDED = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "TZ": "UTC",
    "HTTPS_PROXY": "http://proxy",
    "no_proxy": "localhost",
    "NODE_EXTRA_CA_CERTS": "/ca.pem",
    "ANTHROPIC_API_KEY": "key",
    "ANTHROPIC_BASE_URL": "http://gateway",
    "CLAUDE_CODE_OAUTH_TOKEN": "token",
    "CLAUDE_CODE_USE_BEDROCK": "",
    "DISABLE_TELEMETRY": "1",
    "API_TIMEOUT_MS": "1000",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


def test_secrets_are_not_passed_on() -> None:
    assert passed_on(SECRETS | NEEDED) == NEEDED


CLOUDS = [
    ("CLAUDE_CODE_USE_BEDROCK", "AWS_SECRET_ACCESS_KEY"),
    ("CLAUDE_CODE_USE_VERTEX", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("CLAUDE_CODE_USE_FOUNDRY", "AZURE_CLIENT_SECRET"),
]


@pytest.mark.parametrize(("switch", "name"), CLOUDS)
@pytest.mark.parametrize(("value", "passed"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_cloud_keys_go_with_their_switch(switch: str, name: str, value: str, *, passed: bool) -> None:
    assert (name in passed_on(SECRETS | {switch: value})) is passed


def test_operator_names_further_variables() -> None:
    server = {"OTEL_A": "1", "OTEL_B": "2", "NPM_TOKEN": "3", "NPM_TOKENS": "4"}

    assert passed_on(server, ("OTEL_*", "NPM_TOKEN")) == {"OTEL_A": "1", "OTEL_B": "2", "NPM_TOKEN": "3"}


def test_own_settings_are_not_passed_on() -> None:
    assert passed_on({"CHAT_PROXY_SECRET": "s"}, ("CHAT_PROXY_SECRET", "C*")) == {}


def test_folders_are_the_workspaces(workspace: Workspace) -> None:
    server = {
        "HOME": "/home/ada",
        "TMPDIR": "/scratch",
        "CLAUDE_CONFIG_DIR": "/c",
        "CLAUDE_CODE_TMPDIR": "/t",
    }
    env = environment(server, passed_on(server), workspace)

    tmp = str(workspace.tmp)
    assert env == {"HOME": str(workspace.home), "TMPDIR": tmp, "CLAUDE_CODE_TMPDIR": tmp, **FIXED}


def test_one_home_for_all_is_the_operators(workspace: Workspace) -> None:
    server = {"HOME": "/home/ada", "CLAUDE_CONFIG_DIR": "/c"}
    env = environment(server, passed_on(server), workspace, Path("/srv/claude"))

    assert (env["HOME"], env["CLAUDE_CONFIG_DIR"], env["TMPDIR"]) == ("/srv/claude", "/c", str(workspace.tmp))
    assert LOGIN not in env


@pytest.mark.parametrize("name", ["HOME", "CLAUDE_CONFIG_DIR"])
def test_operators_login_is_used_in_place(name: str, workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "ada" / ".claude"
    folder.mkdir(parents=True)
    server = {name: str(folder if name == "CLAUDE_CONFIG_DIR" else folder.parent)}
    assert LOGIN not in environment(server, passed_on(server), workspace)  # nobody is logged in

    (folder / ".credentials.json").touch()
    env = environment(server, passed_on(server), workspace)

    assert env[LOGIN] == str(folder)
    assert env["HOME"] == str(workspace.home)


def test_place_of_the_login_may_be_set(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / ".credentials.json").touch()
    server = {"HOME": str(tmp_path), LOGIN: "/elsewhere"}

    assert environment(server, passed_on(server), workspace)[LOGIN] == "/elsewhere"


def test_home_from_the_password_file() -> None:
    assert config_folder({}).name == ".claude"
    assert config_folder({"HOME": ""}) == config_folder({})
