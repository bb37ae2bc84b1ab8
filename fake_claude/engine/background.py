"""Shell commands that outlive the tool call that started them, and start a turn when they end.

docs/claude-cli.md, tools: even a one-shot run prints a second result then.
"""

from __future__ import annotations

import os
import selectors
import time

from fake_claude.engine.transcript import encode_cwd
from fake_claude.ids import fresh_id
from fake_claude.lines import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.inbox import Inbox
    from fake_claude.engine.run import Run
    from fake_claude.engine.shell import Running
    from fake_claude.invocation.context import Context

    Message = dict[str, Any]


class Task:
    """One command in the background."""

    def __init__(self, context: Context, running: Running, tool_use_id: str, description: str) -> None:
        self.id = fresh_id("b")[3:12]
        self.run_id = fresh_id("0m")[3:15]
        self.running = running
        self.tool_use_id = tool_use_id
        self.description = description
        # The model is given this path to read from, so it stands where the CLI's own stands.
        folder = os.path.join("/tmp", f"claude-{os.getuid()}", encode_cwd(context.cwd), context.session_id)  # noqa: S108
        self.output_file = os.path.join(folder, "tasks", f"{self.id}.output")

    @property
    def listed(self) -> Message:
        """The task as lists of tasks show it."""
        return {
            "task_id": self.id,
            "run_id": self.run_id,
            "task_type": "local_bash",
            "description": self.description,
        }


class Background:
    """The background commands of one process."""

    def __init__(self, run: Run, inbox: Inbox, selector: selectors.PollSelector) -> None:
        self._run = run
        self._inbox = inbox
        self._selector = selector
        self.tasks: list[Task] = []

    def start(self, running: Running, tool_use_id: str, description: str) -> Task:
        """Move a command to the background and announce it."""
        task = Task(self._run.context, running, tool_use_id, description)
        self.tasks.append(task)
        self._selector.register(running.fd, selectors.EVENT_READ, lambda: self._ready(task))
        # The list comes before the task's own line at the start, and after it at the end, as the CLI prints
        # them.
        self._emit_task_list()
        self._emit(
            "task_started",
            task_id=task.id,
            run_id=task.run_id,
            tool_use_id=tool_use_id,
            description=description,
            is_backgrounded=True,
            task_type="local_bash",
        )
        return task

    def find(self, task_id: str) -> Task | None:
        """Return the task with this id, if it still runs."""
        return next((task for task in self.tasks if task.id == task_id), None)

    def stop(self, task_id: str) -> None:
        """End one command because the host wants it; an unknown one is none."""
        task = self.find(task_id)
        if task is not None:
            # Its pipe ends then, and `_ready` reads what it still holds; nothing is closed that the selector has.
            task.running.end()

    def kill(self) -> None:
        """End every command: the process ends."""
        # Out of the selector first: ``kill`` closes the descriptor, and the system may give its number to
        # another file.
        for task in self.tasks:
            self._selector.unregister(task.running.fd)
            task.running.kill()
        self.tasks.clear()

    def _ready(self, task: Task) -> None:
        fd = task.running.fd
        if not task.running.read():
            return
        self._selector.unregister(fd)
        self.tasks.remove(task)
        code = task.running.code
        status = "failed" if code else "completed"
        end = f"failed with exit code {code}" if code else "completed (exit code 0)"
        ids = {"task_id": task.id, "run_id": task.run_id}
        # The file comes before the lines that name it: a host may open it as soon as it reads them.
        self._save(task)
        self._emit("task_updated", **ids, patch={"status": status, "end_time": int(time.time() * 1000)})
        summary = f'Background command "{task.description}" {end}'
        self._emit(
            "task_notification",
            **ids,
            tool_use_id=task.tool_use_id,
            status=status,
            output_file=task.output_file,
            summary=summary,
        )
        self._emit_task_list()
        # The notice is a prompt to the model, so it starts a turn. For scripts it is none: ``NOT_A_PROMPT``
        # has its tag.
        self._inbox.enqueue_synthetic(
            f"<task-notification>\n<task-id>{task.id}</task-id>\n<tool-use-id>{task.tool_use_id}</tool-use-id>\n"
            f"<output-file>{task.output_file}</output-file>\n<status>{status}</status>\n"
            f"<summary>{summary}</summary>\n</task-notification>",
            {"kind": "task-notification", "producer": "session-task", "runId": task.run_id},
        )

    def _save(self, task: Task) -> None:
        """Write the command's output to the file that the model was given."""
        try:
            os.makedirs(os.path.dirname(task.output_file), exist_ok=True)
            with open(task.output_file, "wb") as file:
                file.write(task.running.output)
        # The notice must come all the same: a turn waits for it.
        except OSError:
            return

    def _emit_task_list(self) -> None:
        self._emit("background_tasks_changed", tasks=[task.listed for task in self.tasks])

    def _emit(self, subtype: str, **members: object) -> None:
        self._run.emit(events.system(self._run.context, subtype, **members))
