"""Control requests that mean nothing without a network, a browser or a terminal: what they are answered all the same.

A request that the CLI does not know gets its sentence for that; one that it carries out and the fake does not is
refused under the fake's own name, and noted in the ledger.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.control_request import ControlRequest

NO_WORKER = "not_managed_cloud_worker"
NO_BROWSER = "Claude in Chrome is not connected in this session"
NO_LOGIN = "No active claude_authenticate flow"

ERRORS = {
    "claim_session": (
        "not_a_spare: claim_session is only accepted by a process started with --await-claim that has not been claimed"
        " yet"
    ),
    "claude_oauth_callback": NO_LOGIN,
    "claude_oauth_wait_for_completion": NO_LOGIN,
    "get_chrome_browsers": NO_BROWSER,
    "poll_event": "poll-event delivery is not enabled for this session",
    "register_device_hooks": f"hook_forwarding_disabled: {NO_WORKER}",
    "reload_connectors": "The list of claude.ai connectors could not be read, so nothing changed.",
    "remote_tools_announce": f"remote_tools_disabled: {NO_WORKER}",
    "select_chrome_browser": NO_BROWSER,
    "set_chrome_browser_hints": "set_chrome_browser_hints is only accepted in a remote-hosted session",
    "stage_file": "CLAUDE_CODE_REMOTE_SESSION_ID unset",
    "turn_handoff": f"turn_handoff_disabled: {NO_WORKER}",
    "upload_device_hook_template": f"hook_forwarding_disabled: {NO_WORKER}",
}
"""Requests that always fail here, whatever they bring."""

SUCCESSES: dict[str, dict[str, Any] | None] = {
    "fork_conversation": {"forked": False, "error": "unsupported", "reason": "unsupported"},
    "get_plan": {"exists": False},
    "get_skills_dialog": {"skills": []},
    "list_cloud_sessions": {
        "status": "unavailable",
        "reason": "nonessential_traffic",
        "message": "Cloud sessions are unavailable while CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC is set.",
    },
    "log_host_events": {"status": "unavailable", "reason": "wrong_caller"},
    "mcp_tasks_changed": None,
    "prompt_draft_activity": None,
    "submit_feedback": {
        "feedback_id": None,
        "unavailable_reason": (
            "/feedback has been disabled via the CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC environment variable"
        ),
    },
    "ui_panes": {"panes": [], "shown_id": None, "focused_id": None, "focus_requested_id": None},
}
"""Requests that always have the same answer here."""

NOT_IMITATED = frozenset(
    [
        "add_directory", "claude_authenticate", "export_conversation", "get_chrome_dialog", "get_cloud_session",
        "get_cloud_session_transcript", "get_memory_dialog", "get_sandbox_dialog", "get_status", "get_workspace_diff",
        "message_rated", "remote_control", "rewind_conversation", "set_cwd", "set_message_waiting",
        "set_proactivity_level", "set_prompt_suggestions_paused", "side_question", "submit_survey_feedback",
        "ui_attach", "ui_client_fault", "ui_client_module", "ui_client_press", "ui_close", "ui_detach", "ui_focus",
        "ui_input", "ui_message", "ui_pane_focus", "ui_pane_show", "ui_press", "ui_prompt_autocomplete",
        "ui_prompt_edit", "ui_render", "ui_scroll", "ui_select", "ultrareview_launch", "update_cloud_session",
    ]
)  # fmt: skip
"""Requests that the CLI carries out and the fake does not."""


def refuse(request: ControlRequest) -> None:
    """Give the answer that a request has offline."""
    subtype = request.subtype
    if subtype in ERRORS:
        request.refuse(ERRORS[subtype])
    elif subtype in SUCCESSES:
        request.succeed(SUCCESSES[subtype])
    # Under the fake's own name and noted: a test must not take the fake's gap for the CLI's refusal.
    elif subtype in NOT_IMITATED:
        request.run.record.note("unimitated", what=f"control request {subtype}")
        request.refuse(f"fake-claude does not imitate the control request {subtype}", "unsupported_request")
    else:
        request.refuse(f"Unsupported control request subtype: {subtype}", "unsupported_request")
