"""Fixtures: a browser and chats behind Caddy for the run; for each test a user who has just logged in."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, nullcontext
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    async_playwright,
    expect,
)

from chat_conformance.target.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from chat_conformance.target.oauth_server import oauth_server as running_forge
from e2e.browser import NoBrowserError, arguments, find_or_install
from e2e.mutants import MUTANT, MUTANTS
from e2e.site import Site
from e2e.site import site as running_site

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
PATIENCE_MS = int(os.environ.get("CHATGATE_PATIENCE_MS") or "15000")
"""How long an expectation may take on a slow machine; none waits longer than it has to."""

UNUSUAL = Path(__file__).parent / "unusual.Caddyfile"
FAILED = pytest.StashKey[bool]()
Sites = Callable[[dict[str, str]], Awaitable[Site]]

_users = count()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "settings(CHAT_X=...): a chat server and a Caddy with these settings")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have a Chromium before the first test, and fail without one: browser tests are never skipped."""
    if session.config.option.collectonly or not any("browser" in _fixtures(item) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            find_or_install(os.environ)
    except NoBrowserError as error:
        raise pytest.UsageError(str(error)) from None
    expect.set_options(timeout=PATIENCE_MS)


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=find_or_install(os.environ), args=arguments()
        )
        yield chromium
        await chromium.close()


UNLIMITED = {
    "CHAT_REQUESTS_PER_HOUR": "0",
    "CHAT_REQUESTS_PER_DAY": "0",
    "CHAT_TOKENS_PER_DAY": "0",
    "CHAT_CONCURRENT_TURNS": "0",
    "CHAT_SOCKETS_PER_USER": "0",
}
FRUGAL = {
    "CHAT_STOP_GRACE_SECONDS": "0.1",  # nobody waits for the turns of tests that are over
    "CHAT_CLAUDE_MAX_PROCESSES": "4",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def forge() -> AsyncIterator[OAuthServer]:
    async with running_forge() as place:
        yield place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sites(forge: OAuthServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sites]:
    """Chats by their settings: those of equal settings are one, with users of their own for each test."""
    async with AsyncExitStack() as stack:
        started: dict[tuple[tuple[str, str], ...], Site] = {}

        async def start(env: dict[str, str]) -> Site:
            key = tuple(sorted(env.items()))
            if key not in started:
                folder = tmp_path_factory.mktemp("site")
                login = {
                    "CHAT_IDENTITY": "oauth",
                    "CHAT_OAUTH_URL": forge.url,
                    "CHAT_OAUTH_CLIENT_ID": CLIENT_ID,
                    "CHAT_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
                    "CHAT_USERS": "*",
                }
                chat = running_site(folder, UNLIMITED | FRUGAL | login | env, forward_auth=True)
                started[key] = await stack.enter_async_context(chat)
            return started[key]

        yield start


@pytest_asyncio.fixture(loop_scope="session")
async def site(sites: Sites, forge: OAuthServer, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A chat behind Caddy, for a user of the test's own, who logs in at the forge; with the settings of its mark."""
    marker = request.node.get_closest_marker("settings")
    chat = await sites({} if marker is None else marker.kwargs)
    forge.user = f"user{next(_users)}"
    chat.friends = [forge.url]
    before = chat.written()
    yield chat
    await chat.mend()
    if request.node.stash.get(FAILED, False):
        request.node.add_report_section("teardown", "logs", chat.logs(before))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def unusual(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A chat of the dev identity below a path; its tests are of the xdist group ``unusual``."""
    async with running_site(tmp_path_factory.mktemp("unusual"), caddyfile=UNUSUAL, prefix="/tools") as chat:
        yield chat


class Watch:
    """What a page must never do: throw, offend its own policy, or ask anybody but its own site."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.offences: list[str] = []
        self._site = site
        context.on("weberror", lambda error: self.offences.append(f"error: {error.error}"))
        context.on("console", self._console)
        context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        refused = "Content Security Policy" in message.text
        if refused or (message.type == "warning" and not message.text.startswith("WebSocket")):
            self.offences.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._site.caddy.url, "data:", *self._site.friends)):
            self.offences.append(f"request: {request.url}")


@pytest_asyncio.fixture(loop_scope="session")
async def context(
    browser: Browser, site: Site, request: pytest.FixtureRequest
) -> AsyncIterator[BrowserContext]:
    async with AsyncExitStack() as stack:
        context = await browser.new_context(
            viewport={"width": 1200, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
        )
        stack.push_async_callback(context.close)
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(context, site)
        # Its snapshots show every step; a film of them would cost a third of the whole run.
        await context.tracing.start(snapshots=True)
        before = site.written()
        await mutate(context)
        yield context
        if request.node.stash.get(FAILED, False) or watch.offences:
            folder = ARTIFACTS / re.sub(r"\W+", "-", request.node.name)
            await _keep(context, folder)
            (folder / "logs.txt").write_text(site.logs(before))
            show = f"playwright show-trace {folder}/trace.zip"
            request.node.add_report_section(
                "teardown", "artifacts", f"screenshots and logs in {folder}; `{show}`"
            )
        else:
            await context.tracing.stop()
        assert watch.offences == []


async def mutate(context: BrowserContext) -> None:
    """Give the page the faults that `chat-conformance mutants --e2e` asks for."""
    mutant = MUTANTS.get(os.environ.get(MUTANT, ""))
    if mutant is None:
        return
    body = mutant.page_file()

    async def serve(route: Route) -> None:
        kind = "css" if mutant.file.endswith(".css") else "javascript"
        await route.fulfill(body=body, content_type=f"text/{kind}")

    await context.route(f"**/chat/static/{mutant.file}", serve)


async def _keep(context: BrowserContext, folder: Path) -> None:
    for number, page in enumerate(context.pages, 1):
        await page.screenshot(path=folder / f"page-{number}.png")
    await context.tracing.stop(path=folder / "trace.zip")


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, site: Site) -> Page:
    page = await context.new_page()
    await page.goto(site.url)
    return page
