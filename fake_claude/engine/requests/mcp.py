"""Control requests about MCP servers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.control_request import ControlRequest


def _known(request: ControlRequest, name: str) -> dict[str, Any] | None:
    return next((server for server in request.run.context.mcp_servers if server["name"] == name), None)


def _mcp_status(request: ControlRequest) -> None:
    request.succeed({"mcpServers": list(request.run.context.mcp_servers)})


def _mcp_message(request: ControlRequest) -> None:
    request.succeed()


def _of_server(request: ControlRequest) -> None:
    """Answer a request about one server: there is none of that name, or the fake has no connection to it."""
    name = request.members.get("serverName")
    # First the shape of the request, then whether there is such a server: the sentence names the first
    # mistake. The three that are listed check the name; the others take a missing one for a server that is
    # not there.
    if not isinstance(name, str) and request.subtype in ("mcp_reconnect", "mcp_toggle", "mcp_read_resource"):
        request.refuse(f"{request.subtype}: serverName must be a string")
    elif request.subtype == "mcp_toggle" and not isinstance(request.members.get("enabled"), bool):
        request.refuse("mcp_toggle: enabled must be a boolean")
    elif request.subtype == "mcp_read_resource" and not isinstance(request.members.get("uri"), str):
        request.refuse("mcp_read_resource: uri must be a string")
    elif request.subtype == "mcp_read_resource" and not str(request.members.get("uri", "")).startswith(
        "ui://"
    ):
        request.refuse("mcp_read_resource: uri must use the ui:// scheme")
    elif _known(request, str(name or "")) is None:
        request.refuse(f"Server not found: {name or ''}")
    else:
        request.run.record.note("unimitated", what=f"{request.subtype} of a server")
        request.refuse(f"fake-claude does not imitate {request.subtype} of a server", "unsupported_request")


def _mcp_oauth_callback_url(request: ControlRequest) -> None:
    request.refuse(f"No active OAuth flow for server: {request.members.get('serverName') or ''}")


def _channel_enable(request: ControlRequest) -> None:
    request.refuse(f"server {request.members.get('serverName') or ''} is not connected")


def _mcp_call(request: ControlRequest) -> None:
    tool = request.members.get("tool")
    if not isinstance(tool, str):
        request.refuse("mcp_call: tool must be a string")
        return
    # Names are `mcp__server__tool`, and a tool's own name may have `__` in it: so three parts are the least.
    parts = tool.split("__")
    if len(parts) < 3 or parts[0] != "mcp":
        request.refuse(f"Not a fully-qualified MCP tool name: {tool}")
        return
    request.refuse(f"MCP server not connected: {parts[1]}")


def _mcp_set_servers(request: ControlRequest) -> None:
    servers = request.members.get("servers")
    if not isinstance(servers, dict) or not all(isinstance(config, dict) for config in servers.values()):
        request.refuse("mcp_set_servers: servers must be an object of config objects")
        return
    # An empty set asks for nothing, so that is carried out; real ones would need a client for MCP.
    if servers:
        request.run.record.note("unimitated", what="mcp_set_servers")
        request.refuse("fake-claude does not imitate MCP servers of mcp_set_servers", "unsupported_request")
        return
    request.succeed({"added": [], "removed": [], "errors": {}})


ANSWERS = {
    "channel_enable": _channel_enable,
    "mcp_authenticate": _of_server,
    "mcp_call": _mcp_call,
    "mcp_clear_auth": _of_server,
    "mcp_message": _mcp_message,
    "mcp_oauth_callback_url": _mcp_oauth_callback_url,
    "mcp_read_resource": _of_server,
    "mcp_reconnect": _of_server,
    "mcp_set_servers": _mcp_set_servers,
    "mcp_status": _mcp_status,
    "mcp_toggle": _of_server,
}
