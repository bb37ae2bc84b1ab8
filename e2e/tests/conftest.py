"""Fixtures: a browser for the run; for each test a chat of its own, behind Caddy."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack, nullcontext
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

from e2e.browser import NoBrowserError, arguments, find_or_install
from e2e.mutants import MUTANT, MUTANTS
from e2e.site import Site
from e2e.site import site as running_site

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
PATIENCE_MS = int(os.environ.get("CHATGATE_PATIENCE_MS", "15000"))
"""How long an expectation may take on a slow machine; none waits longer than it has to."""

FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "own_site(CHAT_X=...): a chat server and a Caddy for this test alone, with these settings"
    )


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


UNLIMITED = {"CHAT_REQUESTS_PER_HOUR": "0", "CHAT_REQUESTS_PER_DAY": "0", "CHAT_TOKENS_PER_DAY": "0"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running_site(tmp_path_factory.mktemp("shared"), UNLIMITED) as chat:
        yield chat


@pytest_asyncio.fixture(loop_scope="session")
async def site(shared_site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The chat that tests share, each in conversations of its own; or one alone, for tests marked ``own_site``."""
    marker = request.node.get_closest_marker("own_site")
    if marker is None:
        before = shared_site.written()
        yield shared_site
        if request.node.stash.get(FAILED, False):
            request.node.add_report_section("teardown", "logs", shared_site.logs(before))
        return
    async with running_site(tmp_path, UNLIMITED | marker.kwargs) as chat:
        yield chat
        if request.node.stash.get(FAILED, False):
            request.node.add_report_section("teardown", "logs", chat.logs())


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
        await context.tracing.start(screenshots=True, snapshots=True)
        await _mutate(context)
        yield context
        if request.node.stash.get(FAILED, False) or watch.offences:
            folder = ARTIFACTS / re.sub(r"\W+", "-", request.node.name)
            await _keep(context, folder)
            show = f"playwright show-trace {folder}/trace.zip"
            request.node.add_report_section("teardown", "artifacts", f"screenshots in {folder}; `{show}`")
        else:
            await context.tracing.stop()
        assert watch.offences == []


async def _mutate(context: BrowserContext) -> None:
    """Give the page the faults that `python -m e2e.mutants` asks for."""
    mutant = MUTANTS.get(os.environ.get(MUTANT, ""))
    if mutant is None:
        return
    body = mutant.page_file()

    async def serve(route: Route) -> None:
        await route.fulfill(body=body, content_type="text/javascript")

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
