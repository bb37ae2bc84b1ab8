"""The page for every user: by screen reader, by keyboard, on a phone, in the dark, without motion."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Page, expect

from e2e.site import Site
from e2e.tests.chat import Chat, expect_nothing_serious

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = """# Title\n\nA **bold** [link](https://example.org) and `code`.\n\n> quoted\n\n1. one\n2. two\n
```python\nprint("a line that is long enough to be scrolled to the side, as lines of code so often are, " * 2)\n```\n
| a | b |\n|---|--:|\n| 1 | 2 |\n\n- [x] done"""


async def test_axe_finds_nothing_serious_on_the_empty_page(page: Page) -> None:
    await expect(page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    await expect_nothing_serious(page)


async def test_axe_finds_nothing_serious_in_a_conversation(site: Site, page: Page) -> None:
    chat = Chat(page)
    await chat.say(f"[[fake say={json.dumps(ANSWER)}]]")
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    await chat.say("[[fake tokens=3 exit=3]]")
    await expect(chat.answers.nth(1)).to_have_attribute("data-state", "failed")
    with site.gate("axe") as gate:
        await chat.say("[[fake tokens=3 hold=axe@2]]")
        await gate.reached()
        await chat.expect_answer("t1 t2", "streaming", number=2)
        await expect_nothing_serious(page)
        gate.open()
    await chat.expect_answer("t1 t2 t3", number=2)


async def test_axe_finds_nothing_serious_in_search_help_and_undo(page: Page) -> None:
    chat = Chat(page)
    await chat.say("to delete [[fake tokens=1]]")
    await chat.expect_answer("t1")
    await page.get_by_role("button", name="Delete to delete").first.click()
    await page.get_by_role("searchbox").fill("no such thing")
    await expect(page.get_by_role("button", name="Undo")).to_be_visible()
    await expect_nothing_serious(page)
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("button", name="Keyboard shortcuts").click()
    await expect_nothing_serious(page)


async def test_axe_finds_nothing_serious_on_a_phone(page: Page) -> None:
    chat = Chat(page)
    await chat.say("small [[fake tokens=1]]")
    await chat.expect_answer("t1")
    await page.set_viewport_size({"width": 390, "height": 800})
    await expect_nothing_serious(page)
    await page.get_by_role("button", name="Conversations").click()
    await expect(chat.conversations.first).to_be_visible()
    await expect_nothing_serious(page)


async def test_answer_is_read_out_in_sentences(site: Site, page: Page) -> None:
    """Half a sentence is not spoken, and code only by its name."""
    chat = Chat(page)
    spoken = page.locator("[data-part=speech] p")
    text = "First **sentence** ends. The second one\\nhas two lines.\\n\\n```py\\nx = 1\\n```\\n\\nLast"
    with site.gate("say") as gate:
        await chat.say(f'[[fake hold=say@5 say="{text}"]]')
        await gate.reached()
        await expect(chat.answers).to_contain_text("The second")
        await expect(spoken).to_have_text(["First sentence ends."])
        gate.open()
        await expect(spoken.last).to_have_text("End of the answer.")
    everything = " ".join(await spoken.all_text_contents())
    assert (
        everything == "First sentence ends. The second one has two lines. Code in py. Last End of the answer."
    )


async def test_code_is_not_read_out_and_prose_is(page: Page) -> None:
    """A fence in a fence, in a list, and a span of three ticks that only looks like one."""
    chat = Chat(page)
    spoken = page.locator("[data-part=speech] p")
    text = (
        "````md\n```\ninner\n```\nstill code\n````\n\n"
        "```span``` of three ticks\n\n- delete it:\n\n  ```sh\n  rm -rf build\n  ```\n\n"
        "| a | b |\n|---|---|\n| one | two |"
    )
    await chat.say(f"[[fake say={json.dumps(text)}]]")
    await expect(spoken.last).to_have_text("End of the answer.")
    everything = " ".join(await spoken.all_text_contents())

    assert everything == (
        "Code in md. span of three ticks delete it: Code in sh. a b one two End of the answer."
    )


async def test_conversation_is_had_by_keyboard_alone(page: Page) -> None:
    """From the first Tab on: write, send, copy, delete, undo."""
    chat = Chat(page)
    await page.keyboard.type("keys only [[fake tokens=1]]")
    await page.keyboard.press("Enter")
    await chat.expect_answer("t1")
    copy = page.get_by_role("button", name="Copy answer")
    await page.keyboard.press("Shift+Tab")
    for _ in range(4):
        if await copy.evaluate("(button) => button === document.activeElement"):
            break
        await page.keyboard.press("Shift+Tab")
    await expect(copy).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Copied")).to_be_focused()
    assert (await page.evaluate("navigator.clipboard.readText()")).strip() == "t1"
    delete = page.get_by_role("button", name="Delete keys only").first
    await delete.focus()
    await expect(delete).to_have_css("opacity", "1")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()
    await page.keyboard.press("Enter")

    await expect(chat.prompts).to_contain_text("keys only")


async def test_nothing_moves_for_those_who_asked_for_that(site: Site, page: Page) -> None:
    chat = Chat(page)
    await page.emulate_media(reduced_motion="reduce")
    with site.gate("still") as gate:
        await chat.say("[[fake tokens=2 hold=still@1]]")
        await gate.reached()
        await chat.expect_answer("t1", "streaming")
        assert await page.evaluate("document.getAnimations().length") == 0
        await page.emulate_media(reduced_motion="no-preference")
        assert await page.evaluate("document.getAnimations().length") > 0
        gate.open()
    await chat.expect_answer("t1 t2")
