"""MCP servers of configuration files: they are started, count as failed, and are noted in the ledger."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fake_claude.engine.run import Run


def start_servers(run: Run) -> None:
    """Start the programs of all servers that count; each is reported as failed, since no tools are imitated."""
    context = run.context
    for name, source, server in _servers(run):
        command = [str(server.get("command", "")), *(str(word) for word in server.get("args", ()))]
        run.record.note("command", why=f"MCP server {name}", command=command, source=source)
        run.record.note("unimitated", what=f"MCP server {name}")
        if server.get("command"):
            # Really started: a file of a project that starts programs is what a server must shut out, and its
            # tests look for the traces of such a program. ``mcp_servers`` of ``init`` alone would show an
            # entry and no harm.
            _spawn(run, command, server.get("env"))
        context.mcp_servers.append({"name": name, "status": "failed", "source": source})


def _servers(run: Run) -> Iterator[tuple[str, str, dict[str, Any]]]:
    context = run.context
    # What turns the servers off: docs/claude-cli.md, what turns it off.
    if not context.customised or context.options.flag("strict-mcp-config"):
        return
    sources = context.configuration.sources
    places = {
        "user": (context.state_file, "user" in sources),
        "project": (os.path.join(context.cwd, ".mcp.json"), "project" in sources),
    }
    for source, (path, counts) in places.items():
        try:
            with open(path, encoding="utf-8") as file:
                servers = json.load(file).get("mcpServers", {})
        except (OSError, ValueError, AttributeError):
            continue
        for name, server in servers.items() if counts and isinstance(servers, dict) else ():
            if isinstance(server, dict):
                yield name, source, server


def _spawn(run: Run, command: list[str], env: object) -> None:
    """Start a program with nothing to read, and wait for its end as the CLI waits for an answer."""
    import subprocess  # slow to import, and few runs have servers

    more = {str(name): str(value) for name, value in env.items()} if isinstance(env, dict) else {}
    try:
        subprocess.run(
            command,
            cwd=run.context.cwd,
            env={**run.context.env, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return


START_TIMEOUT = 5.0
"""Seconds that a server may run before it is killed."""
