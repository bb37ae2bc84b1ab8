"""A user talks to Claude in a browser, through Caddy."""

from __future__ import annotations

import re
import sqlite3
import uuid
from contextlib import closing

import pytest
from playwright.async_api import BrowserContext, Page, expect

from e2e.site import Site
from e2e.tests.chat import STRICT, Chat
from fake_claude import ledger

pytestmark = pytest.mark.asyncio(loop_scope="session")

THREE = "t1 t2 t3"
SIX = "t1 t2 t3 t4 t5 t6"
COUNT_REMOVALS = """() => {
    window.removed = 0;
    new MutationObserver((records) => {
        for (const record of records) window.removed += record.removedNodes.length;
    }).observe(document.querySelector("[role=log]"), { childList: true });
}"""


def default_answer(prompt: str, turn: int) -> str:
    """What the fake answers without a script."""
    return f'You said: "{prompt}". This is turn {turn} of our conversation.'


async def test_answer_grows_before_the_turn_is_over(site: Site, page: Page) -> None:
    """Tokens are on the screen while Claude still writes, and after a reload the answer is in history."""
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("Count for me [[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")

        gate.open()
        await chat.expect_answer(SIX)

    await page.reload()
    await chat.expect_answer(SIX)
    await expect(chat.prompts).to_have_text(["Count for me [[fake tokens=6 hold=g1@3]]"])


async def test_first_message_stays_when_its_conversation_is_made(site: Site, page: Page) -> None:
    """The address and the list learn of the new conversation; nothing on the page is rebuilt."""
    chat = Chat(page)
    await page.evaluate(COUNT_REMOVALS)
    with site.gate("g1") as gate:
        await chat.say("Hello there [[fake tokens=1 hold=g1@0]]")
        await gate.reached()
        await expect(page).to_have_url(re.compile("#[0-9a-f]{12}$"))
        await expect(chat.conversations).to_have_count(1)
        await expect(chat.prompts).to_contain_text("Hello there")
        gate.open()
    await chat.expect_answer("t1")

    assert await page.evaluate("window.removed") == 0


async def test_two_messages_get_two_answers(page: Page) -> None:
    """The second answer does not end up in the first one's bubble."""
    chat = Chat(page)
    await chat.say("one")
    await chat.expect_answer(default_answer("one", 1))
    await chat.say("two")
    await chat.expect_answer(default_answer("two", 2), number=1)

    await chat.expect_answer(default_answer("one", 1))
    await expect(chat.answers).to_have_count(2)
    await expect(chat.prompts).to_have_text(["one", "two"])


async def test_reload_in_the_middle_goes_on_live(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await page.reload()
        await chat.expect_answer(THREE, "streaming")

        gate.open()
        await chat.expect_answer(SIX)
    await expect(chat.answers).to_have_count(1)


async def test_forgotten_session_is_noted(site: Site, page: Page) -> None:
    """The note stays: later it explains why Claude knew nothing of what was said before."""
    chat = Chat(page)
    await chat.say("one")
    await chat.expect_answer(default_answer("one", 1))
    await site.server.stop()
    with closing(sqlite3.connect(site.data / "chat.sqlite3")) as database, database:
        database.execute("UPDATE conversations SET claude_session = ?", (str(uuid.uuid4()),))
    await site.server.start()
    await chat.say("two")
    await chat.expect_answer(default_answer("two", 1), number=1)
    note = page.get_by_text("Claude no longer has the earlier part of this conversation.")
    await expect(note).to_be_visible()
    await page.reload()

    await expect(note).to_be_visible()


async def test_stop_keeps_what_was_said(site: Site, page: Page) -> None:
    """By the button, and by Escape."""
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await page.get_by_role("button", name="Stop answering").click()
        await chat.expect_answer(THREE, "cancelled")

    with site.gate("g2") as gate:
        await chat.say("[[fake tokens=6 hold=g2@3]]")
        await gate.reached()
        await page.keyboard.press("Escape")
        await chat.expect_answer(THREE, "cancelled", number=1)
    await chat.say("next")
    await expect(chat.answers.nth(2)).to_have_attribute("data-state", "complete")
    await page.reload()
    await chat.expect_answer(THREE, "cancelled")


async def test_shift_enter_starts_a_new_line_and_the_button_sends(page: Page) -> None:
    chat = Chat(page)
    send = page.get_by_role("button", name="Send message")
    await expect(send).to_be_disabled()
    await chat.box.press_sequentially("first")
    low = await chat.box.bounding_box()
    await chat.box.press("Shift+Enter")
    await chat.box.press_sequentially("second")
    high = await chat.box.bounding_box()
    assert low is not None
    assert high is not None
    assert high["height"] > low["height"]
    await expect(chat.box).to_have_value("first\nsecond")
    await expect(chat.answers).to_have_count(0)

    await send.click()
    await chat.expect_answer('You said: "first second". This is turn 1 of our conversation.')
    await expect(chat.box).to_have_value("")


@pytest.mark.xdist_group("strict")
@pytest.mark.settings(**STRICT)
async def test_refused_message_goes_back_into_the_box(page: Page) -> None:
    """A message over the limit is refused; nothing that was typed is lost, and the chat goes on."""
    chat = Chat(page)
    long = "many words " * 100
    await chat.say(long)

    await expect(page.get_by_role("alert")).to_contain_text("1,000")
    await expect(chat.box).to_have_value(long)
    await expect(chat.prompts).to_have_count(0)
    await chat.say("short")
    await chat.expect_answer(default_answer("short", 1))
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_failed_answer_says_so_and_can_be_sent_again(page: Page) -> None:
    chat = Chat(page)
    await chat.say("[[fake tokens=3 exit=3]]")
    await chat.expect_answer(THREE, "failed")
    await page.get_by_role("button", name="Send again").click()
    await chat.expect_answer(THREE, "failed", number=1)

    await expect(page.get_by_role("button", name="Send again")).to_have_count(1)


async def test_cut_line_loses_and_doubles_nothing(site: Site, page: Page) -> None:
    """Caddy goes away in the middle of an answer and comes back before its end."""
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await site.caddy.stop()
        await expect(chat.connection_notice).to_be_visible()
        # The page reads history when it is back, which must not be what mends the answer.
        async with page.expect_response(re.compile("/chat/history/")):
            await site.caddy.start()
        await expect(chat.connection_notice).to_be_hidden()
        await chat.expect_answer(THREE, "streaming")
        gate.open()
        await chat.expect_answer(SIX)
    await expect(chat.answers).to_have_count(1)


async def test_answer_that_ended_while_the_line_was_cut_is_shown(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await site.caddy.stop()
        await expect(chat.connection_notice).to_be_visible()
        gate.open()
        await site.caddy.start()
        await chat.expect_answer(SIX)
    await expect(chat.answers).to_have_count(1)


async def test_message_sent_while_the_line_is_cut_runs_once(site: Site, page: Page) -> None:
    chat = Chat(page)
    await chat.say("one")
    await chat.expect_answer(default_answer("one", 1))
    await site.caddy.stop()
    await expect(chat.connection_notice).to_be_visible()
    await chat.say("say it once")
    await expect(chat.answers.nth(1)).to_have_attribute("data-state", "sending")
    await site.caddy.start()
    await chat.expect_answer(default_answer("say it once", 2), number=1)

    await page.reload()
    await expect(chat.prompts).to_have_text(["one", "say it once"])
    asked = [line for run in ledger.read(site.ledger) for line in run.stdin if '"say it once"' in line]
    assert len(asked) == 1


async def test_second_tab_sees_the_answer_grow(site: Site, page: Page, context: BrowserContext) -> None:
    chat = Chat(page)
    await chat.say("one")
    await chat.expect_answer(default_answer("one", 1))
    other = Chat(await context.new_page())
    await other.page.goto(page.url)
    await other.expect_answer(default_answer("one", 1))
    with site.gate("g1") as gate:
        await chat.say("Both [[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await other.expect_answer(THREE, "streaming", number=1)
        await expect(other.prompts.nth(1)).to_contain_text("Both")
        gate.open()
        await other.expect_answer(SIX, number=1)
    await chat.expect_answer(SIX, number=1)


async def test_other_conversation_during_a_turn(site: Site, page: Page) -> None:
    chat = Chat(page)
    await chat.say("older")
    await chat.expect_answer(default_answer("older", 1))
    await page.get_by_role("link", name="New chat").click()
    await expect(chat.prompts).to_have_count(0)
    with site.gate("g1") as gate:
        await chat.say("newer [[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await chat.conversations.filter(has_text="older").click()
        await chat.expect_answer(default_answer("older", 1))
        await expect(chat.answers).to_have_count(1)
        gate.open()
        await chat.conversations.filter(has_text="newer").click()
        await chat.expect_answer(SIX)
    await page.go_back()
    await chat.expect_answer(default_answer("older", 1))


async def test_deleted_conversation_is_gone(page: Page) -> None:
    chat = Chat(page)
    await chat.say("keep me")
    await chat.expect_answer(default_answer("keep me", 1))
    await page.get_by_role("link", name="New chat").click()
    await expect(chat.prompts).to_have_count(0)
    await chat.say("forget me")
    await chat.expect_answer(default_answer("forget me", 1))

    await chat.conversations.filter(has_text="forget me").hover()
    async with page.expect_response(lambda response: response.request.method == "DELETE"):
        await page.get_by_role("button", name="Delete forget me").click()
        await expect(chat.titles).to_have_text(["keep me"])
        await page.get_by_role("button", name="Delete it now").click()

    await expect(chat.prompts).to_have_count(0)
    await page.go_back()
    await chat.expect_answer(default_answer("keep me", 1))
    await page.reload()
    await expect(chat.titles).to_have_text(["keep me"])


async def test_unknown_conversation_in_the_address(site: Site, page: Page) -> None:
    chat = Chat(page)
    await page.goto(f"{site.url}#0123456789ab")
    await expect(page.get_by_role("alert")).to_contain_text("does not exist")
    await chat.say("anyway")
    await chat.expect_answer(default_answer("anyway", 1))


async def test_answer_is_text_and_never_markup(page: Page) -> None:
    chat = Chat(page)
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b>"
    await chat.say(f'[[fake say="{evil}"]]')
    await chat.expect_answer(evil)
    assert await chat.answers.locator("img, script, b").count() == 0


async def test_end_of_a_long_answer_stays_in_view(page: Page) -> None:
    """A reader at the end sees the newest words; a reader who scrolled up is left alone."""
    chat = Chat(page)
    await chat.say("[[fake tokens=3000]]")
    answer = chat.answers.first
    await expect(answer).to_have_attribute("data-state", "complete")
    await expect(page.get_by_role("button", name="Copy answer")).to_be_in_viewport(ratio=1)
    await expect(chat.box).to_be_in_viewport(ratio=1)

    await answer.hover()
    await page.mouse.wheel(0, -100_000)
    await expect(chat.prompts.first).to_be_in_viewport(ratio=1)
    await page.get_by_role("button", name="Jump to the latest message").click()
    await expect(page.get_by_role("button", name="Copy answer")).to_be_in_viewport(ratio=1)


async def test_phone_has_its_conversations_in_a_drawer(page: Page) -> None:
    chat = Chat(page)
    await chat.say("a question that fills more than one line of a phone " * 2 + "[[fake tokens=1]]")
    await chat.expect_answer("t1")
    await page.set_viewport_size({"width": 390, "height": 800})
    await expect(chat.conversations.first).to_be_hidden()
    await page.get_by_role("button", name="Conversations").click()
    await expect(chat.conversations.first).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(chat.conversations.first).to_be_hidden()

    for seen in (chat.box, chat.prompts, chat.answers, page.get_by_role("button", name="Send message")):
        await expect(seen).to_be_in_viewport(ratio=1)
