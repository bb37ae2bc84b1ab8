"""Input methods, keys alone, phones, colours of the user's own and paper work as well."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, Page, expect

from e2e.site import Site
from e2e.tests.chat import Chat, expect_nothing_serious
from e2e.tests.conftest import mutate
from e2e.tests.test_weight import longest_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

THREE = "t1 t2 t3"
PRESS = """(box, init) => box.dispatchEvent(
    new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init }))"""
COMPOSING: list[dict[str, object]] = [
    {"isComposing": True, "keyCode": 229},
    {"isComposing": False, "keyCode": 229},
]
"""A key that belongs to an input method, as Chromium and Firefox report it, and as Safari reports the last one."""
KEYS: list[dict[str, object]] = [
    {"key": "Enter"},
    {"key": "Escape"},
    {"key": "k", "ctrlKey": True},
    {"key": "n", "code": "KeyN", "altKey": True},
]


async def test_keys_of_an_input_method_are_left_to_it(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("keys") as gate:
        await chat.say("[[fake tokens=6 hold=keys@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await chat.box.fill("half a w")
        for key in KEYS:
            for composing in COMPOSING:
                await chat.box.evaluate(PRESS, {**key, **composing})
        await chat.box.evaluate(PRESS, {"key": "Enter", "isComposing": True})
        await chat.expect_answer(THREE, "streaming")
        await expect(page.get_by_role("alert")).to_be_hidden()
        await expect(chat.box).to_be_focused()
        await expect(chat.prompts).to_have_count(1)
        gate.open()
        await chat.expect_answer("t1 t2 t3 t4 t5 t6")
    for composing in COMPOSING:
        await chat.box.evaluate(PRESS, {"key": "Enter", **composing})
    await expect(chat.box).to_have_value("half a w")
    await chat.box.press("Enter")
    await expect(chat.prompts.nth(1)).to_have_text("half a w")


async def test_messages_scroll_by_key_while_an_answer_streams(site: Site, page: Page) -> None:
    """From the box, and from the messages, which one reaches without passing every conversation."""
    chat = Chat(page)
    scroller = page.get_by_role("region", name="Conversation", exact=True)
    with site.gate("scroll") as gate:
        await chat.say("[[fake tokens=4000 hold=scroll@3000]]")
        await gate.reached()
        await expect(chat.answers.locator("[data-part=text]")).to_contain_text("t3000")
        end = await scroller.evaluate("(each) => each.scrollTop")
        await chat.box.press("PageUp")
        await expect(page.get_by_role("button", name="Jump to the latest message")).to_be_visible()
        gate.open()
        await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    assert await scroller.evaluate("(each) => each.scrollTop") < end
    await page.get_by_role("button", name="Jump to the latest message").press("Enter")
    await expect(page.get_by_role("button", name="Copy answer")).to_be_in_viewport()
    await expect(scroller).to_be_focused()
    await page.keyboard.press("Home")
    await expect(chat.prompts.first).to_be_in_viewport()
    await page.reload()
    skip = page.get_by_role("button", name="Skip to the messages")
    await page.locator(".brand span").click()  # above it there is nothing else
    await page.keyboard.press("Shift+Tab")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport(ratio=1)
    await page.keyboard.press("Enter")
    await expect(scroller).to_be_focused()


async def test_drawer_of_a_phone_holds_the_focus(page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 800})
    menu = page.get_by_role("button", name="Conversations")
    await menu.click()
    for _ in range(12):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.closest('main') === null")
    await expect_nothing_serious(page)
    await page.get_by_role("button", name="Log out").press("Escape")
    await expect(menu).to_be_focused()
    await Chat(page).say("on the phone [[fake tokens=1]]")
    await Chat(page).expect_answer("t1")
    await page.get_by_role("link", name="New chat").click()
    await expect(Chat(page).prompts).to_have_count(0)


async def test_finger_gets_a_new_line_by_enter(browser: Browser, site: Site) -> None:
    context = await browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    await mutate(context)
    page = await context.new_page()
    await page.goto(site.url)
    chat = Chat(page)
    await chat.box.press_sequentially("one\ntwo")
    await expect(chat.box).to_have_value("one\ntwo")
    await expect(chat.prompts).to_have_count(0)
    await page.get_by_role("button", name="Send message").click()
    await expect(chat.prompts).to_have_text(["one\ntwo"])
    await context.close()


async def test_paper_has_the_conversation_alone_and_whole(page: Page) -> None:
    chat = Chat(page)
    wide = "x" * 300
    code = "\n".join([wide, *(f"line {n}" for n in range(200))])
    await chat.say(f"[[fake say={json.dumps(f'Look:{chr(10) * 2}```{chr(10)}{code}{chr(10)}```')}]]")
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    await expect(chat.answers.first).to_contain_text("line 199")
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 700, "height": 900})
    for unseen in (page.locator(".sidebar"), chat.box, page.locator("[data-part=copy-code]")):
        await expect(unseen).to_be_hidden()
    sizes = await page.evaluate(
        """() => [document.documentElement, document.querySelector(".scroller"), document.querySelector(".code pre")]
            .map((each) => [each.scrollWidth - each.clientWidth, each.scrollHeight, each.clientHeight])"""
    )

    assert [wider for wider, _, _ in sizes] == [0, 0, 0]
    assert sizes[0][1] > 3_000
    assert all(whole <= seen for _, whole, seen in sizes[1:])


async def test_colours_of_the_readers_own_leave_all_to_be_seen(page: Page, site: Site) -> None:
    chat = Chat(page)
    await page.emulate_media(forced_colors="active")
    with site.gate("colours") as gate:
        await chat.say("[[fake tokens=6 hold=colours@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await expect(page.locator(".sidebar [aria-current]")).to_be_visible()
        seen = await page.evaluate(
            """() => {
                const style = (part, pseudo) => getComputedStyle(document.querySelector(part), pseudo);
                return {
                    prompt: style(".prompt").borderTopStyle,
                    stop: style("[data-part=stop]").borderTopStyle,
                    chosen: style(".sidebar li:has([aria-current])").outlineStyle,
                    caret: style(".text > p", "::after").backgroundColor !== style("body").backgroundColor,
                };
            }"""
        )
        gate.open()

    assert seen == {"prompt": "solid", "stop": "solid", "chosen": "solid", "caret": True}


async def test_megabyte_can_be_pasted(browser: Browser, page: Page) -> None:
    """It is in the box within a second of the page's own time, and the box can be typed in."""
    chat = Chat(page)
    text = "words that are pasted " * 47_000
    assert len(text) > 1_000_000
    await chat.box.focus()
    await page.evaluate("(text) => navigator.clipboard.writeText(text)", text)

    async def paste() -> None:
        await page.keyboard.press("Control+v")
        await expect(page.get_by_role("button", name="Send message")).to_be_enabled()
        await page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")

    longest = await longest_task(browser, page, paste)

    assert await chat.box.evaluate("(box) => box.value.length") == len(text)
    assert longest < 1_000


async def test_box_runs_as_its_text_does(page: Page) -> None:
    chat = Chat(page)
    for text, runs in (("שלום", "rtl"), ("1) مرحبا", "rtl"), ("hello שלום", "ltr"), ("", "ltr")):
        await chat.box.fill(text)
        await expect(chat.box).to_have_attribute("dir", runs)


async def test_copying_works_where_there_is_no_clipboard(page: Page) -> None:
    """As on plain http beyond loopback; and where nothing helps, it is said."""
    chat = Chat(page)
    await page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
        "document.addEventListener('copy', () => (window.copied = String(document.activeElement?.value)));"
    )
    await page.reload()
    await chat.say("[[fake tokens=3]]")
    await chat.expect_answer(THREE)
    copy = page.locator("[data-part=copy]")
    await copy.click()
    await expect(copy).to_have_attribute("aria-label", "Copied")
    assert (await page.evaluate("window.copied")).strip() == THREE
    await page.mouse.move(0, 0)
    await expect(copy).to_have_attribute("aria-label", "Copy answer")
    await page.evaluate("document.execCommand = () => false")
    await copy.click()
    await expect(copy).to_have_attribute("aria-label", "Not copied")


async def test_what_is_not_done_is_said(site: Site, page: Page) -> None:
    """Sending while an answer streams, a picture, an answer without a word."""
    chat = Chat(page)
    alert = page.get_by_role("alert")
    with site.gate("said") as gate:
        await chat.say("[[fake tokens=6 hold=said@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await chat.say("too early")
        await expect(alert).to_contain_text("Claude is still answering.")
        await expect(chat.box).to_have_value("too early")
        gate.open()
        await chat.expect_answer("t1 t2 t3 t4 t5 t6")
    await chat.box.evaluate(
        """(box) => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "cat.png", { type: "image/png" }));
            box.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    await expect(alert).to_contain_text("Pictures and files cannot be sent here.")
    await chat.say("[[fake tokens=0]]")
    await expect(chat.answers.nth(1).locator("[data-part=outcome]")).to_have_text("Claude said nothing.")
