"""Nothing that a user types is lost."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from e2e.site import Site
from e2e.tests.chat import STRICT, Chat

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_draft_survives_a_reload(page: Page) -> None:
    chat = Chat(page)
    await chat.box.fill("half a thou")
    await page.reload()
    await expect(chat.box).to_have_value("half a thou")
    await expect(page.get_by_role("button", name="Send message")).to_be_enabled()

    await chat.say("a whole one [[fake tokens=1]]")
    await chat.expect_answer("t1")
    await page.reload()
    await chat.expect_answer("t1")
    await expect(chat.box).to_have_value("")


async def test_each_conversation_keeps_its_own_draft(page: Page) -> None:
    chat = Chat(page)
    await chat.say("[[fake tokens=1]]")
    await chat.expect_answer("t1")
    await chat.box.fill("for this one")
    await page.get_by_role("link", name="New chat").click()
    await expect(chat.box).to_have_value("")
    await chat.box.fill("for a new one")
    await page.go_back()
    await expect(chat.box).to_have_value("for this one")
    await page.reload()
    await expect(chat.box).to_have_value("for this one")
    await page.get_by_role("link", name="New chat").click()

    await expect(chat.box).to_have_value("for a new one")


@pytest.mark.xdist_group("strict")
@pytest.mark.settings(**STRICT)
async def test_refused_message_waits_in_the_box_and_counts_down(page: Page) -> None:
    chat = Chat(page)
    await page.clock.install()
    await page.reload()
    await chat.say("first [[fake tokens=1]]")
    await chat.expect_answer("t1")
    await chat.say("second [[fake tokens=1]]")

    timer, send = page.get_by_role("timer"), page.get_by_role("button", name="Send message")
    await expect(timer).to_have_text(re.compile(r"You can send again in (1:00:00|59:\d\d)"))
    await expect(page.get_by_role("alert")).to_contain_text("limit")
    await expect(chat.box).to_have_value("second [[fake tokens=1]]")
    await expect(send).to_be_disabled()
    await expect(chat.prompts).to_have_count(1)
    await page.clock.fast_forward(30 * 60 * 1000)
    await expect(timer).to_have_text(re.compile(r"in (30:00|29:\d\d)"))
    await page.clock.fast_forward(31 * 60 * 1000)
    await expect(timer).to_be_hidden()
    await expect(send).to_be_enabled()
    await expect(chat.box).to_have_value("second [[fake tokens=1]]")


@pytest.mark.xdist_group("strict")
@pytest.mark.settings(**STRICT)
async def test_what_is_left_of_each_limit_is_seen_at_a_glance(page: Page) -> None:
    chat = Chat(page)
    limits = page.get_by_role("list", name="Used of your limits").get_by_role("listitem")
    warning = page.get_by_role("status").filter(has_text="No messages left this hour.")
    await expect(limits).to_have_text(["Messages this hour0 of 1"])
    await expect(warning).to_be_hidden()
    await chat.say("the only one [[fake tokens=1]]")
    await chat.expect_answer("t1")

    await expect(limits).to_have_text(["Messages this hour1 of 1"])
    await expect(page.get_by_role("meter", name="Messages this hour: 1 of 1 used")).to_be_visible()
    await expect(limits).to_have_attribute("title", re.compile("comes back in (59|60) minutes"))
    await expect(warning).to_be_visible()


async def test_tab_title_shows_a_running_answer(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("title") as gate:
        await chat.say("Name the tab [[fake tokens=2 hold=title@1]]")
        await gate.reached()
        await expect(page).to_have_title(re.compile("^… Name the tab"))
        gate.open()
    await expect(page).to_have_title(re.compile("^Name the tab"))


async def test_keys_do_what_the_help_says(page: Page) -> None:
    chat = Chat(page)
    help_dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    await chat.say("with the keys [[fake tokens=1]]")
    await chat.expect_answer("t1")
    await page.keyboard.press("Control+k")
    await expect(page.get_by_role("searchbox", name="Search conversations")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(chat.box).to_be_focused()
    await page.keyboard.type("is it here?")
    await expect(help_dialog).to_be_hidden()
    await chat.box.fill("")
    await page.locator("body").press("Alt+n")
    await expect(chat.prompts).to_have_count(0)
    await chat.box.blur()
    await page.keyboard.press("?")
    await expect(help_dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(help_dialog).to_be_hidden()
    await chat.box.blur()
    await page.keyboard.press("/")

    await expect(chat.box).to_be_focused()
    await expect(chat.box).to_have_value("")
