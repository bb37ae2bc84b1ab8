"""Developers of the chat have a panel beside it, below any path."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from e2e.site import Site
from e2e.tests.chat import Chat, expect_nothing_serious

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("unusual")]


@pytest_asyncio.fixture(loop_scope="session")
async def chat(unusual: Site, site: Site, context: BrowserContext) -> Chat:
    site.friends.append(unusual.caddy.url)
    page = await context.new_page()
    await page.goto(unusual.url)
    return Chat(page)


@pytest_asyncio.fixture(loop_scope="session")
async def panel(chat: Chat, context: BrowserContext) -> Page:
    async with context.expect_page() as opened:
        await chat.page.get_by_role("link", name="Dev panel").click()
    return await opened.value


async def test_panel_plays_scripts_and_shows_the_frames(chat: Chat, panel: Page, tmp_path: Path) -> None:
    """Thinking and a tool show in the chat, folded; the frames in the panel can be run again as they were."""
    frames = panel.get_by_role("list", name="Frames").get_by_role("listitem")
    await panel.get_by_role("button", name="Thinking and tools").click()
    answer = chat.answers.first
    await expect(answer).to_have_attribute("data-state", "complete")
    await expect(frames.filter(has_text='"type":"complete"')).to_have_count(1)
    await expect(frames.filter(has_text='"chat_request"')).to_have_attribute("data-way", ">")
    await expect(frames.filter(has_text='"type":"token"').first).to_have_attribute("data-way", "<")
    await expect_nothing_serious(panel)

    await panel.get_by_role("button", name="Copy as a reproduction").click()
    await expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    script = tmp_path / "reproduction.py"
    script.write_text(await panel.evaluate("navigator.clipboard.readText()"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    said = output.decode().splitlines()
    assert process.returncode == 0, output.decode()
    assert '"message": "play tools"' in said[0]
    assert sum('"type":"complete"' in line for line in said) == 1
    await panel.get_by_role("button", name="Clear").click()
    await expect(frames).to_have_count(0)


async def test_button_says_that_it_has_copied_for_as_long_as_the_pointer_stays(panel: Page) -> None:
    """Also where the pointer is on a part that the shorter word does not need."""
    copy = panel.locator("[data-part=copy]")
    await panel.get_by_role("button", name="An empty answer").click()
    await expect(copy).to_be_enabled()
    box = await copy.bounding_box()
    assert box is not None
    await copy.click(position={"x": 5, "y": 5})
    await expect(copy).to_have_text("Copied")
    await panel.mouse.move(box["x"] + 6, box["y"] + 6)
    await expect(copy).to_have_text("Copied")
    await panel.mouse.move(box["x"], box["y"] + 2 * box["height"])
    await expect(copy).to_have_text("Copy as a reproduction")
    assert await copy.bounding_box() == box


async def test_thinking_and_tools_are_folded_and_live(chat: Chat) -> None:
    await chat.say("play tools")
    answer = chat.answers.first
    thinking, tool = answer.get_by_text("Thinking…"), answer.get_by_role("list", name="Tools used")
    await expect(thinking).to_be_visible()
    await expect(answer.get_by_text("The question is")).to_be_hidden()
    await thinking.click()
    await expect(answer.get_by_text("The question is")).to_be_visible()
    await expect(tool).to_contain_text("WebFetch http://files.example/count done")
    await expect(answer.get_by_text("42", exact=True)).to_be_hidden()
    await tool.get_by_text("WebFetch").click()
    await expect(answer.get_by_text("42", exact=True)).to_be_visible()
    await expect(answer).to_contain_text("There are 42 files.")

    await expect(answer.locator("[data-part=thinking]")).to_contain_text("One call will do. 42, then.")
    await chat.page.reload()
    await expect(tool).to_contain_text("WebFetch http://files.example/count done")
    await expect(answer.locator("[data-part=thinking]")).to_contain_text("One call will do. 42, then.")
