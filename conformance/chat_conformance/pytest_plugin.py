"""pytest fixtures for tests of one's own chat: the fake, its gates and ledger, and a case's context.

pytest loads this file in every run on a machine that has this package. So it imports nothing but pytest until a fixture
is asked for, and adds no hook that a test could notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chat_conformance.testing import Chat, ChatServer, Gate, InstalledFake
    from fake_claude.ledger import Run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the server of the fixture ``chat`` is described."""
    said = "target file of the server that the fixture chat talks to"
    parser.getgroup("chatgate").addoption("--chat-target", metavar="FILE", help=said)
    parser.addini("chat_target", said)


@pytest.fixture
def fake_claude(tmp_path_factory: pytest.TempPathFactory) -> InstalledFake:
    """A stand-in for the CLI of this test alone: start it as `fake_claude.path`."""
    from chat_conformance.testing import InstalledFake  # noqa: PLC0415 - see above

    return InstalledFake(tmp_path_factory.mktemp("fake_claude"))


@pytest.fixture
def gate(fake_claude: InstalledFake) -> Iterator[Callable[[str], Gate]]:
    """Makes a gate by name, at which the fake waits (``[[fake gate=NAME]]``); all are open once the test is over."""
    # A test may make several gates; all are opened at its end, also where it fails.
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(fake_claude.gate(name))


@pytest.fixture
def ledger(fake_claude: InstalledFake) -> Callable[[], list[Run]]:
    """Gives the runs of the fake so far, oldest first."""
    return fake_claude.runs


@pytest.fixture(scope="session")
def chat_server(request: pytest.FixtureRequest) -> Iterator[ChatServer]:
    """The server of the target file, started once for all tests that use ``chat``."""
    named = request.config.getoption("--chat-target")
    file = named or str(request.config.getini("chat_target"))
    # A failure of this test and no usage error: other tests of the run do not need the server.
    if not file:
        pytest.fail("the fixture chat needs a target file: --chat-target FILE, or chat_target", pytrace=False)
    from chat_conformance.testing import ChatServer  # noqa: PLC0415 - see above

    # What the configuration names is relative to it, and not to where pytest is started.
    with ChatServer(file if named else str(Path(request.config.rootpath, file))) as server:
        yield server


@pytest.fixture
def chat(chat_server: ChatServer, request: pytest.FixtureRequest) -> Chat:
    """Plays an async function with a case's context: ``chat.run(function)``."""
    return chat_server.chat(request.node.nodeid)
