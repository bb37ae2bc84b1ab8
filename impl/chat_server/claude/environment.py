"""The environment of the CLI: what it needs of the server's own, by name, and nothing else (PROC-8).

It is an allow-list, since nobody knows which variables of a machine hold a secret. Names that begin with ``ANTHROPIC_``
or ``CLAUDE_`` are the CLI's own; the others that it reads are listed at https://code.claude.com/docs/en/env-vars. What
gives access to a cloud is passed on only where the CLI is set to use that cloud.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from chat_server.claude.workspaces import Workspace

SYSTEM = (
    *("PATH", "LANG", "LANGUAGE", "LC_*", "TERM", "TZ", "USER", "LOGNAME", "SHELL", "LD_LIBRARY_PATH"),
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""What programs need to run, to be found and to reach the network."""

OWN = (
    *(
        "ANTHROPIC_*",
        "CLAUDE_*",
        "DISABLE_*",
        "API_TIMEOUT_MS",
        "MAX_THINKING_TOKENS",
        "MAX_MCP_OUTPUT_TOKENS",
    ),
    *("BASH_DEFAULT_TIMEOUT_MS", "BASH_MAX_TIMEOUT_MS", "BASH_MAX_OUTPUT_LENGTH", "USE_BUILTIN_RIPGREP"),
)
"""What the CLI itself reads."""

CLOUDS: Mapping[str, Sequence[str]] = {
    "CLAUDE_CODE_USE_BEDROCK": ("AWS_*",),
    "CLAUDE_CODE_USE_VERTEX": (
        *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"),
        *("CLOUD_ML_REGION", "VERTEX_REGION_*"),
    ),
    "CLAUDE_CODE_USE_FOUNDRY": ("AZURE_*",),
}
"""What gives access to a cloud, by the variable that makes the CLI use it."""

FOLDERS = ("HOME", "TMPDIR", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_TMPDIR")
"""Where the CLI and its tools write; decided by the workspace, whatever the server's own are."""

LOGIN = "CLAUDE_SECURESTORAGE_CONFIG_DIR"
"""Where the CLI keeps its login when that is not in its HOME; it also renews and locks it there."""

FIXED = {
    # A HOME per conversation would get a copy of the CLI each.
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",  # same, of the plug-in catalogue
}


def passed_on(server: Mapping[str, str], further: Sequence[str] = ()) -> dict[str, str]:
    """Of the server's environment what children may have; ``further`` are the operator's names, with ``*`` for any."""
    clouds = [name for switch, names in CLOUDS.items() if _is_on(server.get(switch, "")) for name in names]
    allowed = (*SYSTEM, *OWN, *clouds, *further)
    return {
        name: value
        for name, value in server.items()
        # The server's own settings, secrets among them: not even a `*` of the operator passes them on.
        if not name.startswith("CHAT_") and any(fnmatchcase(name, each) for each in allowed)
    }


def environment(
    server: Mapping[str, str], passed: Mapping[str, str], workspace: Workspace, home: Path | None = None
) -> dict[str, str]:
    """All of the environment of a CLI that runs in a workspace.

    Args:
        server: The server's own environment, for the folders it names.
        passed: What is passed on of it.
        workspace: Its folders become HOME and TMPDIR.
        home: The operator's HOME for all, in place of the workspace's.
    """
    # FIXED is last and wins: a DISABLE_AUTOUPDATER=0 of the server's own is passed on, since it is among OWN.
    env = {name: value for name, value in passed.items() if name not in FOLDERS} | FIXED
    env["TMPDIR"] = env["CLAUDE_CODE_TMPDIR"] = str(workspace.tmp)
    if home is not None:
        env["HOME"] = str(home)
        if "CLAUDE_CONFIG_DIR" in server:
            env["CLAUDE_CONFIG_DIR"] = server["CLAUDE_CONFIG_DIR"]
        return env
    env["HOME"] = str(workspace.home)
    # The HOME of a workspace is new and has no login. So the CLI uses the server's, unless the operator names
    # another.
    login = config_folder(server)
    if LOGIN not in env and (login / ".credentials.json").exists():
        env[LOGIN] = str(login)
    return env


def config_folder(server: Mapping[str, str]) -> Path:
    """Where a CLI that is started with this environment keeps its files."""
    home = server.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - it never fails
    return Path(server.get("CLAUDE_CONFIG_DIR") or Path(home) / ".claude")


def _is_on(value: str) -> bool:
    return value.lower() in {"1", "true", "yes", "on"}
