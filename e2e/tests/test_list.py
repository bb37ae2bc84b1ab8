"""Conversations are found again, and a deletion can be taken back."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, Route, expect

from e2e.site import Site
from e2e.tests.chat import Chat, expect_nothing_serious

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def begin(chat: Chat, *prompts: str) -> None:
    """A conversation for each prompt; the last one stays on the screen."""
    for prompt in prompts:
        await chat.page.get_by_role("link", name="New chat").click()
        await expect(chat.prompts).to_have_count(0)
        await chat.say(f"{prompt} [[fake tokens=1]]")
        await chat.expect_answer("t1")


async def titles(site: Site, page: Page) -> list[str]:
    """What the server has."""
    response = await page.request.get(f"{site.url}history")
    return [each["title"] for each in (await response.json())["conversations"]]


def read(path: Path) -> str:
    """A file that was saved."""
    return path.read_text()


def is_delete(request: Request) -> bool:
    return request.method == "DELETE"


async def test_search_finds_by_words_of_title_and_last_answer(page: Page) -> None:
    chat = Chat(page)
    await begin(chat, "bake a cake", "mend a bike", "bake bread")
    search = page.get_by_role("searchbox", name="Search conversations")
    await expect(chat.conversations).to_have_count(3)
    await search.fill("BAKE c")
    await expect(chat.conversations).to_have_count(1)
    await expect(chat.conversations).to_contain_text("bake a cake")
    await chat.say('[[fake say="All\\naboard"]]')
    await chat.expect_answer("All aboard", number=1)
    await search.fill("aboard bread")
    found = page.get_by_role("link", name="bake bread [[fake tokens=1]]", exact=True)
    await expect(found.locator("[data-part=preview]")).to_have_text("All aboard")
    await expect(found).to_have_attribute("aria-description", re.compile("^All aboard · "))
    await expect(chat.conversations).to_have_count(1)
    await search.fill("train")
    nothing = "No conversation has that in its title or at the beginning of its last answer."
    await expect(page.get_by_text(nothing)).to_be_visible()
    await search.press("Escape")

    await expect(chat.conversations).to_have_count(3)


async def test_deletion_can_be_taken_back(page: Page) -> None:
    """What is on the screen comes back too, and the server was never asked."""
    chat = Chat(page)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if is_delete(request) else None)
    await begin(chat, "keep me", "spare me")
    url = page.url
    await page.get_by_role("button", name="Delete spare me").click()
    await expect(chat.conversations).to_have_count(1)
    await expect(chat.prompts).to_have_count(0)
    await page.get_by_role("button", name="Undo").click()

    await expect(chat.prompts).to_contain_text("spare me")
    await expect(page).to_have_url(url)
    await expect(chat.conversations).to_have_count(2)
    assert asked == []


async def test_deletion_is_done_when_the_time_is_over(page: Page) -> None:
    chat = Chat(page)
    await page.clock.install()
    await page.reload()
    await begin(chat, "forget me")
    await page.get_by_role("button", name="Delete forget me").click()
    await expect(page.get_by_role("button", name="Undo")).to_be_visible()
    async with page.expect_response(lambda response: is_delete(response.request)) as deleted:
        await page.clock.fast_forward(9_000)

    assert (await deleted.value).status == 204
    await expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    await page.reload()
    await expect(chat.conversations).to_have_count(0)


async def test_deletion_is_done_when_the_page_is_left(site: Site, page: Page) -> None:
    chat = Chat(page)
    await begin(chat, "keep me", "forget me")
    await page.get_by_role("button", name="Delete forget me").click()
    await page.goto(f"{site.caddy.url}/health")

    async with asyncio.timeout(15):  # the browser does not report how a request of a closed page ended
        while await titles(site, page) != ["keep me [[fake tokens=1]]"]:
            pass


async def test_list_says_when_each_was(page: Page) -> None:
    """Today's by their time, those of the last days by the day of the week, older ones by their date."""
    chat = Chat(page)
    await begin(chat, "a", "b", "c", "d")
    now = datetime.now(UTC)
    times = [now, now - timedelta(days=3), now - timedelta(days=40), now - timedelta(days=800)]

    async def age(route: Route) -> None:
        response = await route.fetch()
        page_of = await response.json()
        for each, time in zip(page_of["conversations"], times, strict=True):
            each["updated_at"] = time.isoformat()
        await route.fulfill(response=response, json=page_of)

    await page.route("**/chat/history", age)
    await page.reload()
    dates = page.locator("[data-part=date]")
    await expect(dates.nth(0)).to_have_text(re.compile(r"^\d{1,2}:\d\d"))
    await expect(dates.nth(1)).to_have_text(times[1].strftime("%a"))
    await expect(dates.nth(2)).to_have_text(re.compile(times[2].strftime("%b")))
    await expect(dates.nth(3)).to_have_text(re.compile(times[3].strftime("%Y")))


async def test_list_marks_what_answers_and_what_is_new(site: Site, page: Page) -> None:
    chat = Chat(page)
    await begin(chat, "the other")
    await page.get_by_role("link", name="New chat").click()
    with site.gate("mark") as gate:
        await chat.say("slow [[fake tokens=2 hold=mark@1]]")
        await gate.reached()
        slow = page.get_by_role("navigation").get_by_role("link", name="slow")
        await expect(slow).to_have_attribute("aria-description", re.compile("^Claude is answering"))
        await page.get_by_role("link", name="the other").click()
        await expect(chat.prompts).to_contain_text(["the other"])
        await expect(slow).to_have_attribute("aria-description", re.compile("^Claude is answering"))
        gate.open()
        await expect(slow).to_have_attribute("aria-description", re.compile("^New answer"))
    await slow.click()
    await expect(slow).not_to_have_attribute("aria-description", re.compile("New answer"))


async def test_conversation_can_be_taken_along(page: Page) -> None:
    """As Markdown, in a file or copied, and as the JSON that the server has."""
    chat = Chat(page)
    await begin(chat, "take/me: along")
    await page.get_by_role("button", name="Export").click()
    await expect_nothing_serious(page)
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save Markdown").click()
    download = await saved.value
    assert download.suggested_filename == "take-me-along-fake-tokens-1.md"
    text = read(await download.path())
    assert text.startswith("# take/me: along [[fake tokens=1]]\n")
    assert text.endswith("## You\n\ntake/me: along [[fake tokens=1]]\n\n## Claude\n\nt1\n")
    await page.get_by_role("button", name="Export").click()
    await page.get_by_role("button", name="Copy Markdown").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == text
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save JSON").click()
    history = json.loads(read(await (await saved.value).path()))
    assert [each["role"] for each in history["messages"]] == ["user", "assistant"]


async def test_fake_says_that_it_is_the_fake(page: Page) -> None:
    await expect(page.get_by_text("This is the built-in fake, not Claude")).to_be_visible()
