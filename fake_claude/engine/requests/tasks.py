"""Control requests about commands in the background."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.engine.control_request import ControlRequest


def _stop_task(request: ControlRequest) -> None:
    if not isinstance(request.members.get("task_id"), str):
        request.refuse("stop_task: task_id must be a string")
        return
    # A task that is unknown, or over already, is a success too: a host may race with its end.
    request.turns.background.stop(request.members["task_id"])
    request.succeed({})


def _background_tasks(request: ControlRequest) -> None:
    request.succeed({"backgrounded": False} if "tool_use_id" in request.members else {})


def _get_task_output(request: ControlRequest) -> None:
    task_id = request.members.get("task_id")
    if not isinstance(task_id, str):
        request.refuse("get_task_output: task_id must be a string")
        return
    if request.turns.background.find(task_id) is None:
        request.refuse("get_task_output: no shell or Monitor task with that task_id in this session")
        return
    request.refuse("fake-claude does not imitate get_task_output of a task that runs", "unsupported_request")


ANSWERS = {
    "background_tasks": _background_tasks,
    "get_task_output": _get_task_output,
    "stop_task": _stop_task,
}
