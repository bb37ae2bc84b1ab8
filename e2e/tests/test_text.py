"""The text of an answer is what was meant, however it arrives, whatever it is made of and however long it gets."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Page, expect

from e2e.site import Site
from e2e.tests.chat import Chat
from e2e.tests.test_markdown import says
from e2e.tests.test_weight import ATTEMPTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEANT = {
    "takes ~3~5 minutes, H~2~O, ~~gone~~": "takes ~3~5 minutes, H~2~O, <del>gone</del>",
    "**注意：**正文": "<strong>注意：</strong>正文",  # noqa: RUF001 - it is what this is about
    "**「A」**なので**「B」**です": "<strong>「A」</strong>なので<strong>「B」</strong>です",
    "*「A」*な": "<em>「A」</em>な",
    r"\(a^2\) and \[ \sum a_i * b_i * c \]": r"<code>\(a^2\)</code> and <code>\[ \sum a_i * b_i * c \]</code>",
    "$$\na*b*c\n+ d_1\n$$": "<code>$$<br>a*b*c<br>+ d_1<br>$$</code>",
    r"$e^{-x^2}\,dx$ costs $5 or *$6*": r"$e^{-x^2}\,dx$ costs $5 or <em>$6</em>",
    "\\begin{align}\nx &= b\n- c\n\\end{align}": r"<code>\begin{align}<br>x &amp;= b<br>- c<br>\end{align}</code>",
    "as one knows[^1]": "as one knows<sup>1</sup>",
    "[^1]: a note of *one*": "<sup>1</sup> a note of <em>one</em>",
    "<kbd><p/class=banner>a <a/href=&#104;ttps://evil.example>b</kbd>": (
        "<kbd>&lt;p/class=banner&gt;a &lt;a/href=https://evil.example&gt;b</kbd>"
    ),
    "![a picture](data:image/png;base64,AA) and [no link](javascript:x)": "a picture and no link",
}
BARE = "见 https://example.com/guide，详见 www.example.org。"  # noqa: RUF001 - as above

CUTTINGS = """async (rounds) => {
    const { AnswerText } = await import("/chat/static/answer.js");
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const render = async (text, cuts) => {
        const host = document.createElement("div");
        document.body.append(host);
        const answer = new AnswerText(host, () => {});
        for (const cut of cuts) {
            answer.show(text.slice(0, cut), true);
            await frame();
        }
        answer.show(text, false);
        while (!answer.drawn) await frame();
        const { innerHTML } = host;
        host.remove();
        return innerHTML;
    };
    let seed = 20;
    const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff;
    const pick = (list) => list[Math.floor(random() * list.length)];
    const many = (count, make) => Array.from({ length: count }, (_, index) => make(index));
    const WORDS = ["word", "**bold words**", "*em*", "`code x`", "[link](https://a.example/c)", "[ref][1]",
        "[ref][two]", "[solo]", "https://x.example/z", "~3~", "~~gone~~", "\\\\(a_1^2\\\\)", "$x_1$", "**「全」**角",
        "见。", "[^1]", "a & b", "<kbd>K</kbd>", "![pic](https://p.example)", "1986. no", "- dash"];
    const words = (count) => many(count, () => pick(WORDS)).join(" ");
    const KINDS = [
        () => words(3 + random() * 30),
        () => "# " + words(4),
        () => many(2 + random() * 9, () => pick(["- ", "- ", "- [ ] "]) + words(5)).join("\\n"),
        () => many(2 + random() * 9, (n) => `${n + 1}. ` + words(5) + pick(["", "\\n   - " + words(3)])).join("\\n\\n"),
        () => "```py\\n" + many(random() * 20, () => pick(["x = 1", "", "    y()"])).join("\\n") + "\\n```",
        () => `> ${words(9)}\\n> ${words(4)}\\n>\\n> - ${words(3)}\\n> - b`,
        () => "| a | b |\\n|---|--:|\\n" + many(1 + random() * 9, () => `| ${words(2)} | 2 |`).join("\\n"),
        () => pick(["[1]: https://one.example/", "[two]: https://two.example/", "[solo]: https://solo.example"]),
        () => pick(["[^1]: note " + words(4), "$$\\na*b\\n+ c\\n$$", "---", "title\\n===", "    indented\\n    code"]),
    ];
    const LONG = [
        () => many(400, () => "> quoted line " + words(2)).join("\\n"),
        () => "| a | b |\\n|---|--:|\\n" + many(300, (n) => `| ${n} | **x** |`).join("\\n"),
        () => "```js\\n" + many(400, (n) => (n % 7 ? `let x = ${n}` : "")).join("\\n") + "\\n```",
        () => many(300, (n) => `- item ${n}`).join("\\n"),
        () => many(300, () => "1. item").join("\\n"),
        () => "- top\\n" + many(400, (n) => `  - nested ${n}`).join("\\n"),
        () => "- top\\n\\n  ```py\\n" + many(400, (n) => `  x = ${n}`).join("\\n") + "\\n  ```",
        () => "> ```\\n" + many(400, (n) => `> y = ${n}`).join("\\n") + "\\n> ```",
        () => "- " + many(1500, () => "word").join(" "),
        () => "全角".repeat(4000),
        () => words(900),
    ];
    const wrong = [];
    for (let round = 0; round < rounds; round += 1) {
        const parts = many(1 + random() * 7, () => pick(KINDS)());
        if (round % 2 === 0) parts.splice(random() * parts.length, 0, LONG[(round / 2) % LONG.length]());
        const text = parts.join(pick(["\\n\\n", "\\n\\n", "\\n"]));
        const cuts = many(1 + random() * 6, () => Math.floor(random() * text.length)).sort((one, other) => one - other);
        const [cut, whole] = [await render(text, cuts), await render(text, [])];
        if (cut !== whole) wrong.push([text, cuts]);
    }
    return wrong;
}"""

COST = """async ([text, steps]) => {
    const { AnswerText } = await import("/chat/static/answer.js");
    const host = document.createElement("div");
    host.className = "text";
    document.body.append(host);
    const answer = new AnswerText(host, () => {});
    let spent = 0;
    const frame = () => new Promise((resolve) => requestAnimationFrame((time) => setTimeout(() => {
        host.offsetHeight;
        spent += performance.now() - time;
        resolve();
    })));
    for (let step = 1; step <= steps; step += 1) {
        answer.show(text.slice(0, Math.ceil((text.length * step) / steps)), true);
        await frame();
    }
    answer.show(text, false);
    while (!answer.drawn) await frame();
    host.remove();
    return spent;
}"""
UNITS = 2_000


def units(line: str, count: int = UNITS) -> str:
    return "\n".join(line.format(n=n) for n in range(count))


LIST = units("- item {n} with words")
KINDS = {
    "table": "| n | a |\n|---|---|\n" + units("| {n} | some words |"),
    "quotation": units("> line {n} of words"),
    "code": "```js\n" + units("let x = {n}; // words") + "\n```",
    "nested-list": "- top\n" + units("  - item {n} words"),
    "code-in-a-list": "- top\n\n  ```\n" + units("  x = {n} + 1000") + "\n  ```",
    "ordered-list": units("{n}. item with words"),
    "one-word": units("wordswithoutblanks{n}").replace("\n", ""),
    "marks": "__a*b_c**" * (len(LIST) // 9),
    "stars": "a**" * (len(LIST) // 3),
    "late-address": units("[a] [c{n}]", 700) + "\n\n" + units("[c{n}]: https://example.com/", 700),
}
SHIFTS = """() => new Promise((resolve) => new PerformanceObserver((list) => resolve(
    list.getEntries().reduce((sum, { value }) => sum + value, 0))).observe({ type: "layout-shift", buffered: true }))"""


async def test_text_is_read_as_it_was_meant(page: Page) -> None:
    chat = Chat(page)
    await chat.say(says("\n\n".join([*MEANT, BARE, "the end"])))
    text = chat.answers.locator("[data-part=text]")
    for _ in range(2):
        await expect(text).to_contain_text("the end")
        await expect(chat.answers.first).to_have_attribute("data-state", "complete")
        shown = await text.locator("> p").evaluate_all("(all) => all.map((each) => each.innerHTML)")
        assert shown[: len(MEANT)] == list(MEANT.values())
        links = text.locator("a")
        await expect(links).to_have_text(["https://example.com/guide", "www.example.org"])
        await page.reload()


async def test_address_that_comes_later_makes_the_link(site: Site, page: Page) -> None:
    """The block of the link is finished long before; its neighbours stay as they are."""
    chat = Chat(page)
    text = chat.answers.locator("[data-part=text]")
    before = "See [the guide][1].\n\na\n\nb\n\nc\n\nd"
    with site.gate("later") as gate:
        await chat.say(says(f"{before}\n\n[1]: https://example.com/\n\nlast", "hold=later@7"))
        await gate.reached()
        await expect(text.locator("> p").first).to_have_text("See [the guide][1].")
        await text.locator("> p").nth(1).evaluate("(each) => { each.same = true; }")
        gate.open()
        await expect(text.get_by_role("link", name="the guide")).to_have_attribute(
            "href", "https://example.com/"
        )
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    assert await text.locator("> p").nth(1).evaluate("(each) => each.same")
    live = await text.inner_html()
    await page.reload()
    await expect(text).to_contain_text("last")
    assert await text.inner_html() == live


async def test_any_cutting_ends_as_the_whole_does(page: Page) -> None:
    assert await page.evaluate(CUTTINGS, 44) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_block_costs_what_a_list_does(page: Page, kind: str) -> None:
    """Best of several, since other work on the machine makes single measurements longer."""
    spent = {"list": float("inf"), kind: float("inf")}
    for _ in range(ATTEMPTS):
        for name, text in (("list", LIST), (kind, KINDS[kind])):
            spent[name] = min(spent[name], await page.evaluate(COST, [text, 60]))
        if spent[kind] <= 2 * spent["list"]:
            return

    pytest.fail(f"{spent}")


async def test_selection_outlives_the_growth_of_its_paragraph(site: Site, page: Page) -> None:
    chat = Chat(page)
    with site.gate("select") as gate:
        await chat.say(says("Some **bold words** to be selected and more that follow", "hold=select@6"))
        await gate.reached()
        await expect(chat.answers.locator("[data-part=text]")).to_contain_text("to be")
        chosen = await page.evaluate(
            """() => {
                const strong = document.querySelector("[data-part=text] strong");
                getSelection().setBaseAndExtent(strong.firstChild, 0, strong.nextSibling, 3);
                return getSelection().toString();
            }"""
        )
        gate.open()
        await expect(chat.answers.first).to_have_attribute("data-state", "complete")
        await expect(chat.answers.locator("[data-part=text]")).to_contain_text("that follow")

    assert chosen == "bold words to"
    assert await page.evaluate("getSelection().toString()") == chosen


async def test_old_conversation_is_shown_at_once(page: Page) -> None:
    """It does not run past; nothing that is seen moves."""
    chat = Chat(page)
    sections = [f"## Part {n}\n\n" + "Words that fill a line of this part. " * 20 for n in range(100)]
    await chat.box.fill(f"[[fake say={json.dumps((chr(10) * 2).join([*sections, 'The very end.']))}]]")
    await chat.box.press("Enter")
    last = page.locator("[data-part=text] > :last-child")
    await expect(last).to_have_text("The very end.", timeout=60_000)
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    await page.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
            window.heights = [];
            const look = () => {
                const text = document.querySelector("[data-part=text]");
                if (text?.firstChild && text.checkVisibility({ visibilityProperty: true })) {
                    heights.push(text.childElementCount);
                }
                requestAnimationFrame(look);
            };
            look();
        });"""
    )
    await page.reload()
    await expect(last).to_have_text("The very end.")
    await expect(last).to_be_in_viewport()

    assert len(set(await page.evaluate("heights"))) == 1
    assert await page.evaluate(SHIFTS) < 0.1
