"""Base against head: the suite on both revisions of a git checkout, by the rules of the base."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec

import fake_claude
from chat_conformance.errors import TargetError, UsageError
from chat_conformance.report import document
from chat_conformance.results import Change, ChangeKind, RunResult, Verdict
from chat_conformance.suite import baseline
from chat_conformance.suite.case import SURVIVES
from chat_conformance.suite.checkout import Checkout, without_git_variables
from chat_conformance.suite.compare import compare, compare_to_base
from chat_conformance.suite.hidden import seen_through
from chat_conformance.suite.kept import Kept, key_of
from chat_conformance.suite.rules import Sides, Source, judged, sides_of
from chat_conformance.target.file import Target

MOST_AGAIN = (
    # How many seeming regressions are played on the base once more; more of them are no accident.
    20
)
# Two suites on fewer cores slow each other, and what is slow fails for its deadlines: the gate would find
# regressions that are none.
CORES_FOR_BOTH = 4
_SUITE = Path(__file__).parents[2]
# The suite's folders go to the end of the path: what the interpreter has installed comes first, and the working
# directory, which is the base's checkout, is never on it (`-P`).
_STARTED = "import sys; sys.path += {paths}; from chat_conformance.__main__ import main; sys.exit(main())"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate is asked to do.

    Attributes:
        base: A revision, such as ``origin/main``.
        target: The target file, as it was given.
        options: Which cases are played and how, in words of ``chat-conformance run``.
        seed: Of both runs; None: whatever comes, or that of a base's kept result.
        prepare: A shell command that makes a fresh checkout ready to run, such as ``npm ci``.
        source: Whose rules judge the head.
        together: Whether base and head are played side by side.
    """

    base: str
    target: str
    options: tuple[str, ...] = ()
    seed: int | None = None
    prepare: str = ""
    source: Source = Source.BASE
    together: bool = False


def cores_for_both() -> bool:
    """Whether two runs at once leave each enough of the machine not to be slow."""
    return len(os.sched_getaffinity(0)) >= CORES_FOR_BOTH


def gate(
    asked: Asked,
    play: Callable[[Target, int | None, Sequence[str]], RunResult],
    *,
    kept: Kept,
    on_note: Callable[[str], None] = print,
) -> RunResult:
    """Judge what the checkout does otherwise than the base does.

    Args:
        asked: What to do.
        play: Plays the suite in the working directory, without known failures, on a target and with a seed; only the
            cases with these ids, if there are any.
        kept: What is known from earlier runs.
        on_note: Is called with each line of progress.

    Raises:
        UsageError: There is no such revision, or this is no git checkout, or a target file is wrong.
        TargetError: The target does not start in the checkout, or ``prepare`` fails.
    """
    with without_git_variables(), ExitStack() as stack:
        # The order: refuse a poisoned module path before anything of the checkout is used; look up the base;
        # read the rules of both sides; only then start servers. The base begins first, so that it can run
        # beside the head.
        checkout = Checkout()
        _expect_own_modules(checkout.top)
        commit = checkout.commit(asked.base)
        on_note(f"base: {asked.base} ({commit[:12]})")
        if not checkout.has(commit):
            on_note(
                f"note: the checkout does not contain {asked.base}; what only the base has counts as lost"
            )
        folder = stack.enter_context(checkout.files_of(commit))
        sides = sides_of(asked.target, checkout.top, folder)
        base = _Base(asked, commit, folder, checkout.inside, target=sides.base, kept=kept, on_note=on_note)
        before = base.known()
        # Both sides get one seed: with other prompts a difference might come from the prompts.
        seed = asked.seed if before is None else before.seed
        running = stack.enter_context(base.begun()) if before is None and sides.base is not None else None
        if running is not None and not asked.together:
            running.wait()
        on_note("head: this checkout")
        target = sides.rules.target if asked.source is Source.BASE else sides.head.target
        seed = running.seed if running is not None else seed
        after = play(target, seed, ())
        if running is not None:
            before = base.result(running)
        if before is not None:
            before, after = seen_through(before, after, base.through, lambda ids: play(target, seed, ids))
        again = base.again(before, after) if before is not None else None
        return _judged(asked, sides, before, again, after)


def _expect_own_modules(top: Path) -> None:
    """Refuse to judge with modules of what is judged.

    Raises:
        UsageError: Python looks for modules in the checkout, though the suite is not part of it.
    """
    # The project judges itself with the suite that is in its checkout: there is no other.
    if _SUITE.is_relative_to(top):
        return
    prefix = Path(sys.prefix).resolve()
    for word in sys.path:
        place = Path(word or ".").resolve()
        # A virtual environment inside the checkout is the user's installation, and fine. Any other folder of it
        # could replace a module of the suite, and so the judge (GATE-1).
        if place.is_relative_to(top) and not place.is_relative_to(prefix):
            raise UsageError(
                f"Python takes modules from {place}, which is part of what is judged; "
                "use chat-conformance or `python -P -m chat_conformance`, without PYTHONPATH"
            )


class _Base:
    """The base: its result, kept or played."""

    def __init__(
        self,
        asked: Asked,
        commit: str,
        folder: Path,
        inside: Path,
        *,
        target: Path | None,
        kept: Kept,
        on_note: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._folder = folder / inside if (folder / inside).is_dir() else folder
        self._target = target
        self._kept = kept
        self._on_note = on_note
        self._prepared = False
        # All that decides a result is part of the key; a change of the target file or of `prepare` must not
        # find an old result.
        text = b"" if target is None else target.read_bytes()
        self._key = key_of(commit, inside, text, asked.target, asked.options, asked.seed, asked.prepare)

    def known(self) -> RunResult | None:
        """Its result, if it is known from an earlier run."""
        found = self._kept.get(self._key)
        if found is not None:
            self._on_note(f"{self._asked.base} was played at {found.began}, seed {found.seed}; not again")
        return found

    def begun(self, *selected: str) -> _Run:
        """A run of it."""
        if self._asked.prepare and not self._prepared:
            command = self._asked.prepare
            if subprocess.run(command, shell=True, check=False, cwd=self._folder).returncode:  # noqa: S602 - the user's own command
                raise TargetError(f"{command!r} failed on {self._asked.base}")
        self._prepared = True
        options = self._asked.options
        if selected:
            options = tuple(word for case_id in selected for word in ("--select", case_id))
        return _Run(self._target, self._folder, options, seed=self._asked.seed, on_note=self._on_note)

    def result(self, running: _Run) -> RunResult | None:
        """What a whole run of it found; None if it cannot be judged."""
        try:
            found = running.result()
        except TargetError as error:
            self._on_note(f"{self._asked.base} cannot be judged, so everything counts as new: {error}")
            return None
        self._kept.put(self._key, found)
        return found

    def through(self, ids: Sequence[str]) -> RunResult | None:
        """A run of cases that a root cause hides, without what they need; None if it cannot be judged."""
        self._on_note(f"{len(ids)} cases are played in spite of what {self._asked.base} fails before them")
        with self.begun(*ids) as running:
            try:
                return running.result()
            except TargetError:
                return None

    def again(self, before: RunResult, after: RunResult) -> RunResult | None:
        """A second run of the cases that seem to be regressions; None if there are none, or many.

        What the base does now and then is not the change's doing.
        """
        # A case that fails one time in ten passes on the base and fails on the head by chance. Before the
        # change is blamed, the base has a second chance to fail in the same way. A survival is no case to be
        # played, so the case by which it failed is.
        failed = {each.case.id for each in after.of(Verdict.FAILED)}
        suspects = [each.case.id for each in compare(before, after) if each.kind is ChangeKind.REGRESSION]
        suspects = [each.removeprefix(SURVIVES) for each in suspects if each in failed]
        if not 0 < len(suspects) <= MOST_AGAIN:
            return None
        self._on_note(f"once more on {self._asked.base}: {', '.join(suspects)}")
        with self.begun(*suspects) as running:
            try:
                return running.result()
            except TargetError:
                return None


class _Run:
    """The suite in a process of its own, since working directory and environment belong to a process."""

    def __init__(
        self,
        target: Path | None,
        folder: Path,
        options: Sequence[str],
        *,
        seed: int | None,
        on_note: Callable[[str], None],
    ) -> None:
        self.seed = int.from_bytes(os.urandom(2)) if seed is None else seed
        self._on_note = on_note
        self._said: deque[str] = deque(maxlen=20)
        self._reports = tempfile.TemporaryDirectory(prefix="chatgate-report-")
        self._report = Path(self._reports.name) / "base.json"
        # The base is judged by this suite, not by the one in its checkout: its cases are older.
        paths = [str(_SUITE), str(Path(fake_claude.__file__).parents[1])]
        words = [sys.executable, "-P", "-c", _STARTED.format(paths=paths), "run", "--target", str(target)]
        words += [*options, "--seed", str(self.seed), "--no-baseline", "--report", f"json={self._report}"]
        self._process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # Its output is always read: a pipe that is full would block the run. The last lines are kept, for the
        # sentence of an error.
        self._reader = threading.Thread(target=self._read_output)
        self._reader.start()

    def __enter__(self) -> _Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It ends its servers then.
        self._process.terminate()
        self.wait()
        self._reports.cleanup()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()
        self._reader.join()

    def result(self) -> RunResult:
        """What it found.

        Raises:
            TargetError: It broke off without a result.
            UsageError: Its target file or its options are wrong.
        """
        self.wait()
        if self._report.exists():
            return document.read(str(self._report))
        said = "; ".join(self._said) or f"exit status {self._process.returncode}"
        # Status 2 is a wrong target file or option: that is the user's to mend, and no fault of the base.
        raise UsageError(said) if self._process.returncode == 2 else TargetError(said)

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        summary = False
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            # An empty line ends the list of cases.
            summary = summary or not text
            if not summary:
                self._on_note(f"base  {text}")
            self._said.append(text)


def _judged(
    asked: Asked, sides: Sides, before: RunResult | None, again: RunResult | None, after: RunResult
) -> RunResult:
    """The head's run as the gate sees it."""
    today = baseline.today()
    of_head = baseline.applying(sides.head.known, sides.head.target.name)
    known = baseline.applying(sides.rules.known, sides.rules.target.name)
    # A base that cannot be judged has no results: then everything the head fails is new (and stops).
    nothing = msgspec.structs.replace(after, results=())
    accepted = asked.source is Source.HEAD
    run = compare_to_base(before or nothing, after, asked.base, again=again, may_drop=accepted)
    results = []
    for result in run.results:
        # Entries of the head count for what passes: it may take out an entry that is no longer true. A failure
        # is accepted only where the base fails, too (compare_to_base); an entry then adds its reason and link.
        # With --rules head a reviewer has accepted the head's entries as they are.
        if result.verdict is Verdict.PASSED or accepted:
            results.append(baseline.apply(of_head, result, today))
        elif result.verdict is Verdict.KNOWN_FAILURE and (entry := known.get(result.case.id)) is not None:
            reason = f"{result.reason} ({entry.reason})"
            results.append(msgspec.structs.replace(result, reason=reason, link=entry.link))
        else:
            results.append(result)
    changes = run.changes
    if (own := judged(after, sides.edits, asked.source)) is not None:
        results.append(own)
        if own.verdict is Verdict.FAILED:
            change = Change(kind=ChangeKind.REGRESSION, case=own.case, after=own.happened)
            # Changes are sorted, regressions first: this one goes behind the last of them.
            last = sum(each.kind is ChangeKind.REGRESSION for each in changes)
            changes = (*changes[:last], change, *changes[last:])
    return msgspec.structs.replace(run, results=tuple(results), changes=changes)
