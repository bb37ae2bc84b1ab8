"""The layers of the architecture page are those of the code: no import goes up, sideways or round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LAYERS = {
    folder: block.strip().splitlines()
    for folder, block in re.findall(r"^```layers (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
}
FOREIGN = {
    "fake_claude": {"chat_server", "chat_conformance", "e2e"},
    "impl/chat_server": {"chat_conformance", "e2e"},
    "conformance/chat_conformance": {"chat_server", "e2e"},
}
MAY = {"conformance/chat_conformance": {"mutants", "commands"}}
"""The top-level modules that may import other packages of ours."""

PURE = [
    *(f"impl/chat_server/{name}.py" for name in ("protocol", "limits", "errors", "text_buffer")),
    *(f"impl/chat_server/claude/{name}.py" for name in ("events", "answer", "parser", "lines")),
    "conformance/chat_conformance/results.py",
    *(f"conformance/chat_conformance/wire/{name}.py" for name in ("frames", "messages", "deflate", "audit")),
    *(f"conformance/chat_conformance/wire/{name}.py" for name in ("event_stream", "json_lines", "socket_io")),
]


def modules(folder: str) -> dict[str, Path]:
    """The modules of a package by dotted name, tests left out."""
    root = ROOT / folder
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "tests" not in parts:
            found[".".join([root.name, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a file imports, wherever in it the statement stands; modules of its package by their whole names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                yield whole if whole in known else node.module


def top(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_go_down(folder: str) -> None:
    known = modules(folder)
    rank = {name: number for number, line in enumerate(LAYERS[folder]) for name in line.split(" | ")}
    rest = rank.get("*", len(rank))
    wrong = []
    for module, path in known.items():
        for name in imports(path, known):
            if name not in known or top(name) in {top(module), ""}:
                continue
            mine, its = rank.get(top(module), rest), rank.get(top(name), rest)
            if its < mine or (its == mine and top(name) in rank):
                wrong.append(f"{module} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("folder", LAYERS)
def test_no_circle_of_imports(folder: str) -> None:
    known = modules(folder)
    graph = {module: {*imports(path, known)} & known.keys() - {module} for module, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", LAYERS)
def test_packages_keep_apart(folder: str) -> None:
    known = modules(folder)
    wrong = [
        f"{module} imports {name}"
        for module, path in known.items()
        if top(module) not in MAY.get(folder, set())
        for name in imports(path, known)
        if name.split(".")[0] in FOREIGN[folder]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", PURE)
def test_pure_module_does_no_io(path: str) -> None:
    found = {name.split(".")[0] for name in imports(ROOT / path, {})}
    assert found & {"asyncio", "aiohttp", "socket", "subprocess"} == set()


def test_named_layer_exists() -> None:
    for folder, lines in LAYERS.items():
        there = {top(module) for module in modules(folder)}
        named = {name for line in lines for name in line.split(" | ")} - {"*"}
        assert named <= there, folder


WALKS = {"message": (8, 5), "token": (6, 5)}
"""How many files and returns the page's ways through the server may have."""


def defined(path: Path) -> set[str]:
    """The functions of a module, those of classes with their class."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}.{each.name}" for each in inner}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_walk_names_what_exists(walk: str) -> None:
    section = PAGE.split(f"## The way of a {walk}\n")[1].split("\n## ")[0]
    steps = re.findall(r"^\d\. `([^`]+\.py)`, `([^`]+)`( ↩)?", section, re.MULTILINE)
    numbered = re.findall(r"^\d\. ", section, re.MULTILINE)
    most_files, most_returns = WALKS[walk]

    assert len(steps) == len(numbered) > 3
    assert len({path for path, _, _ in steps}) <= most_files
    assert sum(bool(returns) for _, _, returns in steps) <= most_returns
    for path, name, _ in steps:
        assert name in defined(ROOT / "impl/chat_server" / path), f"{path} has no {name}"
    mentioned = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", section))
    assert {path for path in mentioned if not (ROOT / "impl/chat_server" / path).is_file()} == set()
