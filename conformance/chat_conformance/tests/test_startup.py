"""A command imports only what it runs: looking something up is quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    pytest.param(["--help"], {"aiohttp", "pytest", "sqlalchemy", "chat_server", "websockets"}, id="help"),
    pytest.param(["schema"], {"aiohttp", "pytest", "sqlalchemy", "chat_server", "websockets"}, id="schema"),
    pytest.param(["list"], {"pytest", "sqlalchemy", "chat_server", "websockets"}, id="list"),
    pytest.param(
        ["load", "--target", "none.toml"], {"pytest", "sqlalchemy", "chat_server", "websockets"}, id="load"
    ),
]
SHOW = """
import sys
from chat_conformance.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize(("words", "not_needed"), COMMANDS)
def test_command_imports_only_what_it_runs(words: list[str], not_needed: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SHOW, *words], capture_output=True, text=True, check=True)

    assert not_needed.intersection(done.stderr.split()) == set()
