"""Cases that do not come with the suite: files of a folder, and modules of installed packages.

A package names its modules in the entry point group ``chatgate.cases``. What cannot be read ends the command with a
sentence that says where, since a case that is left out in silence judges nothing.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from chat_conformance.errors import UsageError
from chat_conformance.suite import case as registry
from chat_conformance.suite.case import all_cases, case_function

GROUP = "chatgate.cases"
PREFIX = "chatgate_own_cases"
_modules: dict[Path, ModuleType] = {}


@contextmanager
def own_cases(folders: Sequence[str]) -> Iterator[None]:
    """Add the cases of folders, and of installed packages, for the length of the block.

    Raises:
        UsageError: A folder or a package has none, or one of them cannot be used; the sentence says where.
    """
    # Cases of the suite come first, so that no other file takes their ids.
    all_cases()
    # All that reading cases changes is global: the registry, sys.path, sys.modules. It is put back, so that a
    # process can run two sets of cases, as tests do.
    before, path, names = set(registry.ids()), list(sys.path), set(sys.modules)
    try:
        for entry in entry_points(group=GROUP):
            where = f"the cases of {entry.dist.name if entry.dist else entry.value} ({GROUP}: {entry.name})"
            _read(lambda entry=entry: _with_submodules(entry.load()), where, None)  # type: ignore[misc]
        for number, folder in enumerate(folders):
            _read_folder(Path(folder), number)
        # Checked when all are read: a case may need one of a later file.
        for case_id in set(registry.ids()) - before:
            _check(case_id)
        yield
    finally:
        registry.forget(set(registry.ids()) - before)
        _modules.clear()
        sys.path[:] = path
        for name in [each for each in sys.modules if each.startswith(PREFIX) and each not in names]:
            del sys.modules[name]


def module_of(path: Path) -> ModuleType | None:
    """The module that a file of a folder was read as; None for any other file."""
    return _modules.get(path)


def _read_folder(folder: Path, number: int) -> None:
    if not folder.is_dir():
        raise UsageError(
            f"--cases {folder}: {'that is a file; name its folder' if folder.is_file() else 'there is no such folder'}"
        )
    before = len(registry.ids())
    # So that cases can import modules that they share.
    sys.path.insert(0, str(folder.absolute()))
    for path in sorted(folder.absolute().glob("*.py")):
        if not path.name.startswith(("_", "conftest.", "test_")):
            # Two folders may have a file of one name; the number keeps them apart in sys.modules.
            name = f"{PREFIX}_{number}_{path.stem}"
            _read(lambda name=name, path=path: _file(name, path), str(path), path)  # type: ignore[misc]
    if len(registry.ids()) == before:
        raise UsageError(f"--cases {folder}: there is no case in its files; a case is a function under @case")


def _file(name: str, path: Path) -> None:
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    # Registered before it is run, as import does: dataclasses and pickles look a module up while it is read.
    module = sys.modules[name] = _modules[path] = module_from_spec(spec)
    spec.loader.exec_module(module)


def _with_submodules(module: ModuleType) -> None:
    for inner in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        importlib.import_module(inner.name)


def _read(read: Callable[[], None], where: str, path: Path | None) -> None:
    """Import a module.

    Raises:
        UsageError: It cannot be imported.
    """
    try:
        read()
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UsageError(f"{error.filename or where}{line}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's file does
        # The last line of the user's own file: where it fails inside a library, their call of it is what they
        # can mend.
        frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        said = str(error) or "it ends while it is read"
        raise UsageError(f"{where}{line}: {type(error).__name__}: {said}") from None


def _check(case_id: str) -> None:
    """See that a case can be played.

    Raises:
        UsageError: It cannot.
    """
    function = case_function(case_id)
    own = inspect.unwrap(function)
    where = f"{inspect.getfile(own)}, line {own.__code__.co_firstlineno}: case {case_id!r}"
    if not inspect.iscoroutinefunction(function):
        raise UsageError(f"{where} is no async function")
    if list(inspect.signature(function).parameters) != ["chat"]:
        raise UsageError(f"{where} takes {inspect.signature(function)}; it must take (chat)")
    known = registry.ids()
    for need in registry.needs(case_id):
        if need not in known:
            near = get_close_matches(need, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{where} needs {need!r}, which is no case{hint}")
