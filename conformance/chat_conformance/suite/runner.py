"""One run: start the target, play the cases, end the target."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from chat_conformance.errors import TargetError
from chat_conformance.load.background import BackgroundStreams
from chat_conformance.results import Case, CaseResult, RunResult, Severity
from chat_conformance.suite.baseline import Baseline, apply, today
from chat_conformance.suite.case import case_function, culprit
from chat_conformance.suite.plugin import CasePlugin
from chat_conformance.target.file import Target
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.server import Server

HERE = Path(__file__).parents[1]
# Plugins and options of the caller's environment must not reach our session.
_PYTEST_ENV = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}


def run(
    target: Target,
    selected: tuple[Case, ...],
    *,
    seed: int,
    side_by_side: int = 1,
    stop_early: bool = False,
    streams: int = 0,
    replay: Callable[[Case], str] = lambda case: case.id,
    known: Baseline | None = None,
    fail_on: Severity = Severity.MEDIUM,
    on_result: Callable[[CaseResult], None] = lambda _: None,
) -> RunResult:
    """Play the selected cases against the target.

    Args:
        target: What is judged.
        selected: The cases, in order of play.
        seed: What all randomness comes from.
        side_by_side: How many cases may be at work at once, besides those that mostly wait.
        stop_early: End with the first failure; the other cases have no result then.
        streams: How many answers stream on the target during the cases.
        replay: Makes the command that plays only one case again.
        known: The known failures of the target.
        fail_on: The least severity of a failure that the gate does not let through.
        on_result: Is called with each result as it comes.

    Raises:
        TargetError: The target cannot be reached, started or ended.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    day = today()

    def judged(result: CaseResult) -> CaseResult:
        counts = apply(known or {}, result, day)
        counts = msgspec.structs.replace(counts, location=target.location(culprit(result.case)))
        on_result(counts)
        return counts

    with temporary_folder(seed, "run") as folder, asyncio.Runner() as loop:
        server = Server(target, folder)
        try:
            loop.run(server.start())
            plugin = CasePlugin(
                loop,
                server,
                folder,
                selected,
                seed=seed,
                side_by_side=side_by_side,
                stop_early=stop_early,
                # Under load it is the load that is judged.
                again_alone=not streams,
                replay=replay,
                on_result=judged,
            )
            beside = BackgroundStreams(target, server, streams)
            loop.run(beside.start())
            try:
                with plugin.watching():
                    _pytest(plugin, selected)
            finally:
                trouble = loop.run(beside.stop())
                trouble += loop.run(plugin.close())
            plugin.note_traffic()
        finally:
            trouble_at_the_end = loop.run(server.end())
        if plugin.collection_errors:
            raise TargetError("the case files cannot be read:\n" + "\n".join(plugin.collection_errors))
        missing = {each.id for each in selected} - {result.case.id for result in plugin.results}
        trouble += tuple(each for each in trouble_at_the_end if each not in trouble)
        if missing and not plugin.stopped_early:
            trouble = (*trouble, f"not played: {', '.join(sorted(missing))}")
        found = RunResult(
            target=target.name,
            url=server.url,
            seed=seed,
            seconds=time.monotonic() - began,
            results=tuple(plugin.results),
            trouble=trouble,
            version=version("chatgate"),
            began=now.isoformat(timespec="seconds"),
            fail_on=fail_on,
        )
        return msgspec.structs.replace(found, levels=found.judged_levels)


def _pytest(plugin: CasePlugin, selected: tuple[Case, ...]) -> None:
    arguments = ["-c", str(HERE / "suite/cases.ini"), "--rootdir", str(HERE), "--import-mode=importlib"]
    # Ours are the report, the output and the cache; there is nothing to rewrite and no test folder to configure.
    arguments += ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:warnings", "-p", "no:faulthandler"]
    arguments += [
        "-p",
        "no:unraisableexception",
        "-p",
        "no:threadexception",
        # Each collects garbage, five times.
    ]
    files = {inspect.getfile(inspect.unwrap(case_function(each.id))) for each in selected}
    arguments += ["--assert=plain", "--capture=no", "--noconftest", *sorted(files)]
    with _environment(_PYTEST_ENV):
        pytest.main(arguments, plugins=[plugin])


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
