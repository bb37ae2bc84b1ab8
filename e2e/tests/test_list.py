"""Conversations are found again, and a deletion can be taken back."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Request, expect

from e2e.site import Site
from e2e.tests.chat import Chat

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
    await expect(found).to_have_attribute("aria-description", "All aboard")
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

    async with asyncio.timeout(15):  # the browser tells nobody how a request of a page that is gone has ended
        while await titles(site, page) != ["keep me [[fake tokens=1]]"]:
            pass
