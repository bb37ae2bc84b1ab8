"""Who is logged in, how that ends, and what people see who are refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from chat_conformance.target.oauth_server import OAuthServer
from e2e.site import Site
from e2e.tests.chat import Chat, expect_nothing_serious

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def look(page: Page, name: str) -> None:
    """Keep a picture of what the test sees."""
    if folder := os.environ.get("CHATGATE_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


async def test_name_is_shown_and_log_out_ends_every_tab(
    forge: OAuthServer, page: Page, context: BrowserContext, site: Site
) -> None:
    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await look(page, "account")
    other = await context.new_page()
    await other.goto(site.url)
    await expect(other.locator("[data-part=user]")).to_have_text(forge.user)
    await page.get_by_role("button", name="Log out").click()
    dialog = page.get_by_role("dialog", name="Log out?")
    await expect(dialog).to_be_visible()
    await expect_nothing_serious(page)
    await look(page, "log-out")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_be_hidden()
    await page.get_by_role("button", name="Log out").click()
    await dialog.get_by_role("button", name="Log out").click()

    await expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    await look(page, "logged-out")
    await expect_nothing_serious(page)
    await expect(other.get_by_text("You are logged out.")).to_be_visible()
    await page.get_by_role("link", name="Log in again").click()
    await expect(page.get_by_role("heading", name="What can I help with?")).to_be_visible()


async def test_log_out_forgets_what_was_typed(page: Page) -> None:
    chat = Chat(page)
    await chat.box.fill("hers alone")
    await page.reload()
    await expect(chat.box).to_have_value("hers alone")
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("dialog", name="Log out?").get_by_role("button", name="Log out").click()
    await page.get_by_role("link", name="Log in again").click()

    await expect(page.locator("[data-part=user]")).not_to_be_empty()
    await expect(chat.box).to_have_value("")


async def test_log_out_on_all_devices_ends_other_browsers(
    page: Page, context: BrowserContext, site: Site
) -> None:
    assert context.browser is not None
    phone = await context.browser.new_context()
    there = await phone.new_page()
    await there.goto(site.url)
    await expect(there.get_by_role("button", name="Send message")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("button", name="On all devices").click()

    await expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    await expect(there.get_by_text("You are logged out.")).to_be_visible()
    await phone.close()


async def test_account_line_fits_a_phone(page: Page, forge: OAuthServer) -> None:
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.emulate_media(color_scheme="dark")
    await page.get_by_role("button", name="Conversations").click()
    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await expect(page.get_by_role("button", name="Log out")).to_be_in_viewport(ratio=1)
    await look(page, "account-phone")
    await expect_nothing_serious(page)


async def test_login_in_another_tab_keeps_this_one(
    page: Page, context: BrowserContext, site: Site, forge: OAuthServer
) -> None:
    """A new login ends the old one; the tab goes on with it if it is the same user's, and stops if it is not."""
    chat = Chat(page)
    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await chat.say("[[fake tokens=1]]")
    await chat.expect_answer("t1")
    other = await context.new_page()
    await other.goto(f"{site.url}login")
    await expect(other.locator("[data-part=user]")).to_have_text(forge.user)
    await chat.box.fill("again [[fake tokens=2]]")
    await expect(page.get_by_role("button", name="Send message")).to_be_enabled()
    await chat.box.press("Enter")
    await chat.expect_answer("t1 t2", number=1)
    forge.user = f"{forge.user}x"
    await other.goto(f"{site.url}login")
    await expect(other.locator("[data-part=user]")).to_have_text(forge.user)

    await expect(page.get_by_text("You are logged out.")).to_be_visible()


async def test_tab_that_asks_too_early_comes_back(
    page: Page, context: BrowserContext, site: Site, forge: OAuthServer
) -> None:
    """The old login ends before the browser has the new one: who asks in between is out, but not for good."""
    chat = Chat(page)
    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await chat.say("[[fake tokens=1]]")
    await chat.expect_answer("t1")
    answered = asyncio.Event()
    others_turn = asyncio.Event()

    async def too_early(route: Route) -> None:
        await route.fulfill(status=401, json={"error": {"code": "unauthorized", "message": "not yet"}})
        answered.set()

    async def hold(route: Route) -> None:
        await others_turn.wait()
        await route.continue_()

    await page.route("**/chat/whoami", too_early)
    other = await context.new_page()
    await other.route("**/chat/whoami", hold)
    await other.goto(f"{site.url}login")
    await answered.wait()
    await expect(page.get_by_text("You are logged out.")).to_be_visible()
    await page.unroute("**/chat/whoami")
    others_turn.set()

    await expect(page.get_by_text("You are logged out.")).to_be_hidden()
    await chat.say("again [[fake tokens=2]]")
    await chat.expect_answer("t1 t2", number=1)


async def test_drafts_are_not_shown_to_the_next_user(page: Page, site: Site, forge: OAuthServer) -> None:
    message = page.get_by_role("textbox", name="Message")
    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await message.fill("hers alone")
    await page.reload()
    await expect(message).to_have_value("hers alone")
    forge.user = f"{forge.user}x"
    await page.goto(f"{site.url}login")

    await expect(page.locator("[data-part=user]")).to_have_text(forge.user)
    await expect(message).to_have_value("")
    kept = "Object.keys(localStorage).filter((name) => name.includes('draft'))"
    assert await page.evaluate(kept) == []


@pytest.mark.settings(CHAT_USERS="ada")
async def test_stranger_gets_a_page_with_ways_on(
    site: Site, context: BrowserContext, forge: OAuthServer
) -> None:
    forge.user = "mallory"
    page = await context.new_page()
    await page.set_viewport_size({"width": 390, "height": 700})
    await page.goto(f"{site.url}login")

    await expect(page.get_by_role("heading", name="You may not use this chat")).to_be_visible()
    await expect(page.get_by_text("The user mallory may not use this chat")).to_be_visible()
    await look(page, "stranger-phone")
    await expect_nothing_serious(page)
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 1000, "height": 700})
    await look(page, "stranger-dark")
    await expect_nothing_serious(page)
    forge.user = "ada"
    await page.get_by_role("link", name="Log in again").click()
    await expect(page.locator("[data-part=user]")).to_have_text("ada")
    await page.goto(f"{site.url}oauth/callback?code=old&state=old")
    await expect(page.get_by_role("button", name="Send message")).to_be_visible()
