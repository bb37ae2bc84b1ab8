"""One turn: prompt in, messages out, as the CLI's own loop makes them."""

from __future__ import annotations

from fake_claude.engine import slash
from fake_claude.engine.assistant_message import AssistantMessage
from fake_claude.engine.endings import Endings, logged_out, output_limit
from fake_claude.engine.hooks import Blocked, has_hooks, prompt_submitted, run_hooks
from fake_claude.engine.misbehaviour import misbehave
from fake_claude.engine.refusals import Refusals
from fake_claude.engine.request import Request
from fake_claude.engine.tool_calls import EndedByHost, ToolCalls
from fake_claude.engine.turn_state import TurnState
from fake_claude.invocation.javascript import shown
from fake_claude.lines import events
from fake_claude.prompt.attachments import said
from fake_claude.prompt.user_text import NotImitated, UserText
from fake_claude.script.ask import CUT_NOTE, EMPTY_NOTE, OUTPUT_LIMIT_NOTE, STRUCTURE_NOTE
from fake_claude.waits import YIELD, Interrupted, LoggedOut, Preempted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from fake_claude.engine.background import Background
    from fake_claude.engine.inbox import Inbox
    from fake_claude.engine.retries import Failure
    from fake_claude.engine.run import Run
    from fake_claude.waits import Wait

    Message = dict[str, Any]

STOP_BLOCKS = 8
"""How often in a row hooks may keep a turn from its end."""

STOP_CAP = (
    "A hook blocked the turn from ending {} consecutive times—overriding and ending turn. For Stop/SubagentStop hooks,"
    " check stop_hook_active in the input and return success while it's true. Set CLAUDE_CODE_STOP_HOOK_BLOCK_CAP to"
    " raise this limit."
)
CONTINUATIONS = 3
"""How often an answer that hit the output limit is continued."""


class Turn:
    """The life of one prompt, driven by the loop through ``play``."""

    def __init__(self, run: Run, inbox: Inbox, background: Background, prompts: list[Message]) -> None:
        self.run = run
        self.context = run.context
        self.state = TurnState(run, prompts)
        self.tools = ToolCalls(self.state, background)
        self._inbox = inbox
        self._background = background
        self._endings = Endings(self.state)
        self._refusals = Refusals(self.state)
        self._request: Request | None = None
        self._in_tools = False
        self._rounds = 0
        self._stops_blocked = 0

    def play(self) -> Generator[Wait, Any, None]:
        """Play the turn; yields what it waits for."""
        run, state = self.run, self.state
        run.emit_state("running")
        run.transcript.enqueue(state.content)
        try:
            text = UserText(self.context, run.record, state.content)
            # Hooks see the prompt before it is written: one that they block is not in the history.
            yield from self._write_prompt(text)
            self._begin(text)
            yield from self._play_rounds()
        except Blocked as blocked:
            slash.blocked(run, state.tally, state.content, blocked)
            return
        except NotImitated as refusal:
            slash.not_imitated(run, state.tally, str(refusal))
            return
        except Interrupted as interrupt:
            self._interrupted(interrupt)
        except EndedByHost:
            self._endings.aborted_in_tools()
        except Preempted:
            self._preempted()
        except LoggedOut:
            self._endings.failed(logged_out())
        self._misbehave_at("after_result")

    def _interrupted(self, interrupt: Interrupted) -> None:
        # Without a request it came while hooks were asked about the prompt. ``_in_tools`` is still set if the
        # exception came out of ``_run_tools``: that is how this place knows.
        if self._request is None:
            self._endings.unchecked()
        elif self._in_tools:
            self.tools.interrupted(by_host=interrupt.by_host)
            self._endings.aborted_in_tools()
        else:
            self._endings.aborted(self._request)

    def _preempted(self) -> None:
        if self._request is None:
            # Nothing of it is written yet: it is played after the message that came in between.
            self.run.emit(events.init(self.context, self.run.project_dir, self.state.uuids), "init")
            self._inbox.put_back(self.state.prompts)
            return
        if self._in_tools:
            self.tools.interrupted(by_host=False)
        self._endings.preempted(self._request)

    def _write_prompt(self, text: UserText) -> Iterator[Wait]:
        """Write the prompt and what is attached to it to the transcript, and note the attachments in the ledger."""
        run, state = self.run, self.state
        added: list[Message] = []
        if has_hooks(run, "UserPromptSubmit", None):
            added = yield from prompt_submitted(run, said(state.content))
        # Taken after the hooks: a prompt that they or an interrupt keep out leaves these to the next one.
        extra, run.attached = [*run.attached, *added], []
        run.transcript.prompt(text.lines[0], state.uuids[-1] if state.uuids else None)
        run.checkpoints.begin(run.transcript.last_prompt_uuid)
        place = run.transcript.place
        for line in text.lines[1:]:
            run.transcript.user(events.user(self.context, line), isMeta=True)
        for attachment in [*text.attachments(run.transcript.shown, run.seen_files), *extra]:
            place = run.transcript.attachment(attachment, place)
            run.note_attachment(attachment)

    def _begin(self, text: UserText) -> None:
        """Find the script of the prompt, and print the turn's first lines."""
        run, state = self.run, self.state
        state.model = text.model or state.model
        state.find_play()
        self._misbehave_at("before_init")
        if (
            not run.results
            and len(run.transcript.messages) < 2
            and (not self.context.customised or self.context.configuration.hooks_off)
        ):
            run.emit(events.system(self.context, "ui_invalidate", event="ui.render"))
        run.emit(events.init(self.context, run.project_dir, state.uuids), "init")

    def _play_rounds(self) -> Iterator[Wait]:  # noqa: C901, PLR0911, PLR0912 - a list of cases, read one by one
        """Ask, run tools, ask again, until the answer is there."""
        state, endings = self.state, self._endings
        continued = asked_again = 0
        enforced = False
        while True:
            # The answer that breaks the budget is charged, but not in the turn's usage: so the result has it.
            before = dict(state.tally.usage)
            # A resumed session brings its costs along and may be over the budget before anything is asked.
            if self._rounds == 0 and self._over_budget():
                self._overspent(None)
                return
            message = yield from self._ask()
            # The answer decides what comes next, and the order of the cases counts: a limit goes before the
            # tools that it would pay for. The notes for the output limit, an empty answer, a refusal and a
            # form are sent a bounded number of times, or a script that never changes would keep the turn for
            # ever.
            # For example only answers with stop reason max_tokens: four of them, three user lines of the
            # CLI's own in between, and the failure of the output limit.
            if not isinstance(message, AssistantMessage):
                endings.failed(message)
                return
            if self._over_budget():
                state.tally.usage = before
                self._overspent(message)
                return
            assert self._request is not None
            if self._request.truncated:
                state.add_synthetic_line(CUT_NOTE)
            elif message.tools:
                yield from self._run_tools()
                if self.tools.stopped is not None:
                    endings.completed(message, text="", reason="hook_stopped")
                    return
                if state.structured is not None:
                    endings.completed(message)
                    return
                # 0 and less are no limit. The result counts one more than the limit, as ``num_turns`` is 1
                # plus the user lines (docs/claude-cli.md, the result): `--max-turns 2` reports 3.
                if 0 < self.context.max_turns < self._rounds + 1:
                    limit = shown(self.context.max_turns)
                    state.tally.user_lines = int(self.context.max_turns)
                    endings.limit_reached(
                        message, "error_max_turns", f"Reached maximum number of turns ({limit})", "max_turns"
                    )
                    return
                self._merge_queued()
            elif message.stop_reason == "max_tokens":
                if continued == CONTINUATIONS:
                    endings.failed(output_limit())
                    return
                continued += 1
                state.add_synthetic_line(OUTPUT_LIMIT_NOTE)
            elif message.stop_reason == "refusal":
                if self._refusals.final_line is not None:
                    endings.refused_twice(self._refusals.final_line)
                    return
                self._refusals.continue_once(message)
            elif self.context.wants_structure and not enforced:
                # Once: a model that does not use the form even then is done all the same.
                enforced = True
                state.add_synthetic_line(STRUCTURE_NOTE)
            elif not message.visible and not asked_again:
                asked_again = 1
                state.add_synthetic_line(EMPTY_NOTE)
            elif not (yield from self._may_stop(message)):
                continue
            else:
                return

    def _may_stop(self, message: AssistantMessage) -> Generator[Wait, Any, bool]:
        """Run the hooks of a turn's end; end it, or have the model go on with what they say."""
        run, state = self.run, self.state
        facts = {
            "stop_hook_active": self._stops_blocked > 0,
            "last_assistant_message": message.text,
            "background_tasks": [],
            "session_crons": [],
        }
        outcome = yield from run_hooks(run, "Stop", None, facts)
        if outcome.stopped is not None:
            self._endings.completed(message, reason="stop_hook_prevented")
            return True
        if outcome.blocked is None:
            self._endings.completed(message)
            return True
        # A hook that always blocks would keep the turn for ever: after eight times the CLI goes over it.
        # ``stop_hook_active`` is how a hook can know by itself.
        self._stops_blocked += 1
        state.add_synthetic_line(f"Stop hook feedback:\n{outcome.blocked}")
        state.find_play()  # for the model it is another prompt
        if self._stops_blocked == 1:
            text = "stop hook problem · ctrl+o to see"
            run.emit(
                events.system(
                    run.context, "notification", key="stop-hook-error", text=text, priority="immediate"
                )
            )
        if self._stops_blocked <= STOP_BLOCKS:
            return False
        text = STOP_CAP.format(self._stops_blocked)
        run.emit(events.system(run.context, "informational", content=text, level="warning"))
        more = {"key": "stop-hook-block-cap", "text": text, "priority": "high", "color": "warning"}
        run.emit(events.system(run.context, "notification", **more))
        self._endings.completed(message, text="")
        return True

    def _ask(self) -> Generator[Wait, Any, AssistantMessage | Failure]:
        self._rounds += 1
        if self.context.partial and self.context.streams_out:
            self.run.emit(events.status(self.context, "requesting", self.state.uuids))
        # Fresh for each message: results go to the calls of this one.
        self.tools = ToolCalls(self.state, self._background)
        self.state.results = []
        self._request = Request(self.state, self.tools, self._refusals)
        self.run.note_request(self.state.model)
        yield YIELD  # an interrupt that came together with the prompt is in time
        return (yield from self._request.play())

    def _run_tools(self) -> Iterator[Wait]:
        self._in_tools = True
        yield from self.tools.run()
        # Not in a ``finally``: see ``_interrupted``.
        self._in_tools = False
        self.state.write_results()
        for attachment in self.tools.attachments:
            self.run.transcript.attachment(attachment, 0)

    def _merge_queued(self) -> None:
        """Take in messages that came while tools ran (docs/claude-cli.md, persistent process)."""
        for prompt in self._inbox.take():
            if self.context.replay:
                self.state.replay(prompt["content"], prompt["uuid"], timestamped=True)
            if prompt["uuid"]:
                self.run.emit(events.lifecycle(self.context, prompt["uuid"], "started"))
                self.state.uuids.append(prompt["uuid"])
            # As an attachment and not as a prompt: the turn count stays, and the running answer takes it in.
            self.run.transcript.queued(prompt["content"])

    def _overspent(self, message: AssistantMessage | None) -> None:
        text = f"Reached maximum budget (${shown(self.context.max_budget or 0.0)})"
        self._endings.limit_reached(message, "error_max_budget_usd", text, "budget_exhausted")

    def _over_budget(self) -> bool:
        return self.context.max_budget is not None and self.run.costs.total > self.context.max_budget

    def _misbehave_at(self, moment: str) -> None:
        """Play the steps that belong before the first line or after the last."""
        for step in self.state.play.at(moment):
            if step.where:
                self.run.record.note("step", where=step.where)
            misbehave(self.run, step)
