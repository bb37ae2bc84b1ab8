"""An answer is Markdown from its first word, and can do no harm."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Page, expect

from e2e.site import Site
from e2e.tests.chat import Chat

pytestmark = pytest.mark.asyncio(loop_scope="session")

WATCH_FINISHED = """() => {
    const text = document.querySelector("[data-part=text]");
    window.finished = Array.from(text.children).slice(0, 2);
    window.touched = [];
    new MutationObserver((records) => {
        for (const { target, removedNodes } of records) {
            const isFinished = (node) => window.finished.some((each) => each.contains(node));
            const touched = [target, ...removedNodes].find(isFinished);
            if (touched) window.touched.push(touched.nodeName);
        }
    }).observe(text, { subtree: true, childList: true, characterData: true, attributes: true });
}"""

EVIL = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "[click](javascript:window.pwned=1)",
    "[click](JaVaScRiPt&colon;window.pwned=1)",
    "[click](data:text/html,<script>window.pwned=1</script>)",
    "[here](#0123456789ab) and [there](../logout) and [login](/chat/login)",
    '[x](https://example.org/"onmouseover="window.pwned=1)',
    "![cat](https://evil.example/cat.png)",
    '![" onerror="window.pwned=1](https://evil.example/x.png)',
    "<iframe src='https://evil.example'></iframe>",
    "<form action='https://evil.example'><input name=q><button>Log in</button></form>",
    "<style>body { display: none }</style>",
    "<a href='https://evil.example' onclick='window.pwned=1' style='position:fixed;inset:0'>x</a>",
    "<svg onload=window.pwned=1><use href='#icon-mark'/></svg>",
    "<math><mi//xlink:href='data:x,<script>window.pwned=1</script>'>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<sub onclick=window.pwned=1>x</sub>",
    "```<img/src=x/onerror=window.pwned=1>\ncode\n```",
    '<kbd><p/class="quiet banner trouble">Your login has expired <a/href=&#104;ttps://evil.example class=quiet>Log in',
    "| a | b |\n|---|---|\n| <img src=x onerror=window.pwned=1> | [x](vbscript:pwned) |",
]
FOUND = """(text) => ({
    pwned: window.pwned,
    tags: Array.from(new Set(Array.from(text.querySelectorAll("*"), (each) => each.localName))),
    attributes: Array.from(new Set(Array.from(text.querySelectorAll("*")).flatMap((each) => each.getAttributeNames()))),
    classes: Array.from(new Set(Array.from(text.querySelectorAll("[class]")).flatMap((each) => [...each.classList]))),
    links: Array.from(text.querySelectorAll("a[href]"), ({ href, rel, target }) => [href, rel, target]),
})"""
TAGS = {
    "p",
    "br",
    "h2",
    "h3",
    "ul",
    "ol",
    "li",
    "a",
    "em",
    "strong",
    "code",
    "pre",
    "div",
    "span",
    "button",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "sub",
    "sup",
    "kbd",
}
ATTRIBUTES = {"dir", "href", "rel", "target", "class", "data-part", "type", "tabindex", "role", "aria-label"}


def says(text: str, hold: str = "") -> str:
    """A prompt that makes the fake say this."""
    return f"[[fake {hold} say={json.dumps(text, ensure_ascii=False)}]]"


async def test_answer_is_markdown_while_it_is_written(site: Site, page: Page) -> None:
    """A bold word is bold before its closing mark has come, and no mark is ever seen."""
    chat = Chat(page)
    with site.gate("md1") as gate:
        await chat.say(says("# A title\n\nSome **bold words here** and more", "hold=md1@6"))
        await gate.reached()
        await expect(chat.answers.locator("strong")).to_have_text("bold words")
        await expect(chat.answers.get_by_role("heading", name="A title")).to_be_visible()
        await expect(chat.answers.locator("[data-part=text]")).not_to_contain_text("*")
        gate.open()
        await expect(chat.answers.locator("strong")).to_have_text("bold words here")
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")


async def test_mark_that_may_become_a_list_is_not_shown_as_a_heading(site: Site, page: Page) -> None:
    """A line that is only a dash so far would make a heading of the line above."""
    chat = Chat(page)
    with site.gate("md2") as gate:
        await chat.say(says("Two things:\n- first\n- second", "hold=md2@3"))
        await gate.reached()
        await expect(chat.answers.locator("[data-part=text] p")).to_have_text("Two things:")
        gate.open()
        await expect(chat.answers.get_by_role("listitem")).to_have_text(["first", "second"])
    await expect(chat.answers.get_by_role("heading")).to_have_count(0)


async def test_finished_blocks_are_never_touched_again(site: Site, page: Page) -> None:
    chat = Chat(page)
    before = "One *paragraph*.\n\n- an item\n- another\n\nA third.\n\n"
    after = "Then **more** of it.\n\n```py\nprint(1)\n```\n\nAnd an end."
    with site.gate("md3") as gate:
        await chat.say(says(before + after, f"hold=md3@{len(before.split()) + 2}"))
        await gate.reached()
        await expect(chat.answers.locator("[data-part=text]")).to_contain_text("Then more")
        await page.evaluate(WATCH_FINISHED)
        gate.open()
        await expect(chat.answers.first).to_have_attribute("data-state", "complete")
        await expect(chat.answers.locator("[data-part=text]")).to_contain_text("And an end.")

    assert await page.evaluate("window.touched") == []
    assert await page.evaluate("window.finished.every((each) => each.isConnected)")


async def test_answer_from_history_looks_as_it_did_live(page: Page) -> None:
    chat = Chat(page)
    parts = [
        f"## Part {n}\n\nText *{n}*.\n\n1. one\n\n2. two\n   - deep\n\n```js\nlet x = {n};\n```\n"
        for n in range(40)
    ]
    await chat.say(says("\n".join([*parts, "| a | b |\n|--:|---|\n| 1 | 2 |"])))
    text = chat.answers.locator("[data-part=text]")
    await expect(text.locator("td")).to_have_text(["1", "2"])
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    live = await text.inner_html()
    await page.reload()
    await expect(text.locator("td")).to_have_text(["1", "2"])

    assert await text.inner_html() == live
    assert await text.locator("ol").count() == 40
    assert await text.locator("th").first.get_attribute("align") == "right"


async def test_model_output_can_do_no_harm(page: Page) -> None:
    """No script, no form, no picture from elsewhere, no link that stays in this tab: live, and from history."""
    chat = Chat(page)
    await chat.say(says("\n\n".join([*EVIL, "the end"])))
    text = chat.answers.locator("[data-part=text]")
    for _ in range(2):
        await expect(text).to_contain_text("the end")
        found = await text.evaluate(FOUND)
        assert found["pwned"] is None
        assert set(found["tags"]) <= TAGS
        assert set(found["attributes"]) <= ATTRIBUTES
        assert set(found["classes"]) <= {"code", "wide", "quiet"}  # of code and tables, which the page makes
        assert found["links"]
        for href, rel, target in found["links"]:
            assert href.startswith("https://")
            assert (rel, target) == ("noopener noreferrer", "_blank")
        await page.reload()


async def test_link_opens_elsewhere_and_the_chat_stays(
    site: Site, page: Page, context: BrowserContext
) -> None:
    chat = Chat(page)
    await chat.say(says(f"see [the health]({site.caddy.url}/health)"))
    async with context.expect_page() as opened:
        await chat.answers.get_by_role("link", name="the health").click()
    other = await opened.value

    assert other.url == f"{site.caddy.url}/health"
    assert await other.evaluate("window.opener") is None
    await expect(chat.answers).to_have_count(1)


async def test_code_names_its_language_and_can_be_copied(page: Page) -> None:
    chat = Chat(page)
    code = "def f(x):\n    return '<b>' + x\n"
    await chat.say(says(f"Look:\n\n```python\n{code}```\n\n1. nested\n   ```\n   one\n   ```\n"))
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    await expect(page.get_by_role("region", name="Code in python")).to_have_text(code.rstrip())
    copy = chat.answers.locator("[data-part=copy-code]")
    await expect(copy).to_have_count(2)
    await copy.first.click()

    await expect(copy.first).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == code.rstrip()
    await copy.last.click()
    await expect(copy.last).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "one"


async def test_right_to_left_text_runs_that_way_block_by_block(page: Page) -> None:
    chat = Chat(page)
    await chat.say(says("שלום עולם\n\nHello world\n\n- פריט ראשון"))
    blocks = chat.answers.locator("[data-part=text] > *")
    await expect(blocks).to_have_count(3)

    directions = await blocks.evaluate_all("(all) => all.map((each) => getComputedStyle(each).direction)")
    assert directions == ["rtl", "ltr", "rtl"]


async def test_code_in_a_list_grows_without_stray_marks(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("md4") as gate:
        await chat.say(
            says("1. Do this:\n\n     ```sh\n     ls -l\n     cat x\n     ```\n\n2. Done", "hold=md4@6")
        )
        await gate.reached()
        await expect(chat.answers.locator("pre")).to_contain_text("ls -l")
        await expect(chat.answers.locator("[data-part=text]")).not_to_contain_text("`")
        gate.open()
        await expect(chat.answers.locator("pre")).to_have_text("ls -l\ncat x")
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")


async def test_markdown_that_cannot_be_read_is_shown_as_it_is(page: Page) -> None:
    """A fault of the Markdown library must not cost the answer."""
    chat = Chat(page)
    await page.add_init_script(
        "window.reportError = () => {};"
        "const parse = DOMParser.prototype.parseFromString;"
        "DOMParser.prototype.parseFromString = function (text, type) {"
        "  if (text.includes('boom')) throw new Error('boom'); return parse.call(this, text, type); };"
    )
    await page.reload()
    await chat.say(says("goes **boom** here"))
    await chat.expect_answer("goes **boom** here")
