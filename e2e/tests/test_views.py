"""The main views look as they did; their pictures are in e2e/views, for review.

Compared coarsely, since other machines have other fonts. After a change that was meant, write them again with
``CHATGATE_NEW_VIEWS=1 pytest e2e/tests/test_views.py``, and look at them.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from e2e.site import Site
from e2e.tests.chat import STRICT, Chat, expect_nothing_serious
from e2e.tests.conftest import ARTIFACTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEWS = Path(__file__).resolve().parent.parent / "views"
MOST = 0.08
"""The share of the picture's cells that may differ; another font costs five in a hundred."""

DIFFERENCE = """async (pictures) => {
    const CELL = 16, NOTICED = 24;
    const [one, other] = await Promise.all(pictures.map(async (picture) => {
        const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
        const [width, height] = [Math.round(image.width / CELL), Math.round(image.height / CELL)];
        const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
        canvas.imageSmoothingQuality = "high";
        canvas.drawImage(image, 0, 0, width, height);
        return { width, height, data: canvas.getImageData(0, 0, width, height).data };
    }));
    if (one.width !== other.width || one.height !== other.height) return 1;
    let differ = 0;
    for (let at = 0; at < one.data.length; at += 4) {
        const by = [0, 1, 2].map((channel) => Math.abs(one.data[at + channel] - other.data[at + channel]));
        differ += Math.max(...by) > NOTICED;
    }
    return differ / (one.width * one.height);
}"""
ANSWER = """# Title

A **bold** [link](https://example.org) and `code`.

1. one
2. two

```python
print("code")
```

| a | b |
|---|--:|
| 1 | 2 |"""


class Gallery:
    """Pictures of a page, each compared with the one that is kept."""

    def __init__(self, page: Page, judge: Page) -> None:
        self.page = page
        self._judge = judge
        self.differ: dict[str, float] = {}

    async def look(self, name: str) -> None:
        """Compare what is seen now with the picture of this name."""
        picture = await self.page.screenshot(animations="disabled")
        kept = VIEWS / f"{name}.png"
        if os.environ.get("CHATGATE_NEW_VIEWS"):
            kept.write_bytes(picture)
        self.differ[name] = await self.difference(picture, kept.read_bytes() if kept.exists() else None)
        if self.differ[name] > MOST:
            ARTIFACTS.mkdir(exist_ok=True)
            (ARTIFACTS / f"view-{name}.png").write_bytes(picture)

    async def difference(self, one: bytes, other: bytes | None) -> float:
        """Of the cells of two pictures, the part that differs; 1 if there is no other, or it has another size."""
        if other is None:
            return 1.0
        pictures = [base64.b64encode(each).decode() for each in (one, other)]
        return float(await self._judge.evaluate(DIFFERENCE, pictures))

    def assert_same(self) -> None:
        wrong = {name: f"{part:.1%}" for name, part in self.differ.items() if part > MOST}
        assert wrong == {}, f"differ from e2e/views; as they are now: {ARTIFACTS}/view-*.png; {__doc__}"


async def gallery(page: Page, context: BrowserContext) -> Gallery:
    await page.set_viewport_size({"width": 1008, "height": 704})
    return Gallery(page, await context.new_page())


async def test_main_views_look_as_they_did(site: Site, page: Page, context: BrowserContext) -> None:
    chat, views = Chat(page), await gallery(page, context)
    await expect(page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    await views.look("empty")
    await chat.say("[[fake tokens=3 exit=3]]")
    await expect(chat.answers.first).to_have_attribute("data-state", "failed")
    await views.look("failed")
    with site.gate("view") as gate:
        await chat.say("[[fake hold=view@2 tokens=9]]")
        await gate.reached()
        await chat.expect_answer("t1 t2", "streaming", number=1)
        await views.look("streaming")
        gate.open()
    await expect(chat.answers.nth(1)).to_have_attribute("data-state", "complete")
    await page.get_by_role("link", name="New chat").click()
    await expect(chat.prompts).to_have_count(0)
    await chat.say(f"[[fake say={json.dumps(ANSWER)}]]")
    await expect(chat.answers.first).to_have_attribute("data-state", "complete")
    await expect(chat.answers.locator("td")).to_have_count(2)
    await expect(chat.previews).to_contain_text(["Title A bold link and code.", "t9"])
    await views.look("conversation")
    await page.locator(".sidebar").evaluate("(sidebar) => { sidebar.hidden = true; }")
    broken = await page.screenshot(animations="disabled")
    assert await views.difference(broken, (VIEWS / "conversation.png").read_bytes()) > MOST
    await page.locator(".sidebar").evaluate("(sidebar) => { sidebar.hidden = false; }")
    await page.emulate_media(color_scheme="dark")
    await views.look("conversation-dark")
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 384, "height": 704})
    await views.look("phone")
    await page.get_by_role("button", name="Conversations").click()
    await expect(chat.conversations.first).to_be_visible()
    await views.look("phone-list")

    views.assert_same()


@pytest.mark.xdist_group("strict")
@pytest.mark.settings(**STRICT)
async def test_views_of_trouble_look_as_they_did(site: Site, page: Page, context: BrowserContext) -> None:
    """Nothing in them keeps anybody out, either."""
    chat, views = Chat(page), await gallery(page, context)
    await page.clock.install()
    await page.reload()
    await chat.say("[[fake tokens=1]]")
    await chat.expect_answer("t1")
    await expect(chat.previews).to_have_text(["t1"])
    await chat.say("one too many")
    await expect(page.get_by_role("timer")).to_be_visible()
    await expect(page.get_by_role("status").filter(has_text="No messages left this hour.")).to_be_hidden()
    await views.look("limit")
    await expect_nothing_serious(page)
    await page.emulate_media(color_scheme="light")
    ended = await page.request.post(f"{site.url}logout", headers={"Origin": site.caddy.url})
    assert ended.status == 204
    await expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    await views.look("login-expired")
    await expect_nothing_serious(page)

    views.assert_same()
