"""Control requests about the session as a whole: its title, and who reads it."""

from __future__ import annotations

from fake_claude.lines.events import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.engine.control_request import ControlRequest
    from fake_claude.engine.run import Run


def set_title(run: Run, title: str) -> None:
    """Give the session a title, and say so."""
    run.emit(system(run.context, "session_title_changed", title=title))
    # Said at once, written when the turn is over: the lines of a turn stay together.
    run.defer_write(lambda: run.transcript.name(title))


def _rename_session(request: ControlRequest) -> None:
    title, source = request.members.get("title"), request.members.get("source")
    session = request.members.get("session_id")
    if not isinstance(title, str):
        request.refuse("rename_session: title must be a string")
    elif source not in (None, "remote", "host"):
        request.refuse("rename_session: source must be 'remote' or 'host'")
    elif not title.strip():
        request.refuse("title must be non-empty")
    elif session not in (None, request.run.context.session_id):
        request.refuse("session_id is not the current session")
    else:
        # A title is one line: it is what `--resume TITLE` is compared with.
        set_title(request.run, " ".join(title.split()))
        request.succeed()


def _generate_session_title(request: ControlRequest) -> None:
    if not isinstance(request.members.get("description"), str):
        request.refuse("generate_session_title: description must be a string")
    elif not isinstance(request.members.get("persist", False), bool):
        request.refuse("generate_session_title: persist must be a boolean")
    else:
        request.succeed({"title": None})


def _set_has_subscribers(request: ControlRequest) -> None:
    wanted = request.members.get("has_subscribers", "absent")
    if wanted is None or isinstance(wanted, bool):
        request.succeed()
        return
    request.refuse("Invalid set_has_subscribers: has_subscribers must be true, false or null")


ANSWERS = {
    "generate_session_title": _generate_session_title,
    "rename_session": _rename_session,
    "set_has_subscribers": _set_has_subscribers,
}
