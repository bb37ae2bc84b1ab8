"""Which file answers which control request."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_claude.engine.control_request import ControlRequest

MODULES = {
    "files": ("file_suggestions", "read_file", "register_repo_root", "rewind_files", "seed_read_state"),
    "mcp": (
        "channel_enable", "mcp_authenticate", "mcp_call", "mcp_clear_auth", "mcp_message", "mcp_oauth_callback_url",
        "mcp_read_resource", "mcp_reconnect", "mcp_set_servers", "mcp_status", "mcp_toggle",
    ),
    "listings": (
        "get_binary_version", "get_hooks_listing", "list_models", "reload_output_styles", "reload_plugins",
        "reload_skills",
    ),
    "options": ("apply_flag_settings", "get_settings", "list_permission_rules", "update_settings"),
    "session": ("generate_session_title", "rename_session", "set_has_subscribers"),
    "tasks": ("background_tasks", "get_task_output", "stop_task"),
    "usage": ("get_context_usage", "get_session_cost", "get_usage"),
}  # fmt: skip
"""The requests of each file, whose ``ANSWERS`` carries them out."""


def answer(request: ControlRequest) -> None:
    """Carry out a request of one of the modules, or refuse it as the CLI does, or under the fake's own name."""
    handler = _handler(request.subtype)
    if handler is not None:
        handler(request)
        return
    # What no file claims is either answered without the network, or unknown to the CLI itself.
    from fake_claude.engine.requests.offline import refuse

    refuse(request)


def _handler(subtype: str) -> Callable[[ControlRequest], None] | None:
    for module, subtypes in MODULES.items():
        if subtype in subtypes:
            # Imported by name, so that a request loads its own file only: an import at the top would be paid
            # by each run, and most send none of these.
            answers: dict[str, Callable[[ControlRequest], None]] = import_module(
                f"{__package__}.{module}"
            ).ANSWERS
            return answers[subtype]
    return None
