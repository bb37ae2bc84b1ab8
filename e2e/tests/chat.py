"""What a user does on the page, and what there is to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import Locator, Page, expect

AXE = (Path(__file__).resolve().parent.parent / "vendor/axe.js").read_text()
SERIOUS = """async (rules) => {
    const { violations, passes } = await axe.run(rules ? { runOnly: rules } : {});
    const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return [passes.length, bad.map(({ id, nodes }) => [id, nodes.map((node) => node.html.slice(0, 200))])];
}"""

SCHEMES: list[tuple[Literal["light", "dark"], list[str] | None, int]] = [
    ("light", None, 10),
    ("dark", ["color-contrast"], 1),
]
STRICT = {"CHAT_REQUESTS_PER_HOUR": "1", "CHAT_MESSAGE_MAX_BYTES": "1000"}
"""Settings of a server that refuses much."""


@dataclass(frozen=True)
class Chat:
    """The chat page as its user sees it."""

    page: Page

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def prompts(self) -> Locator:
        return self.page.get_by_role("article", name="You")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Answer")

    @property
    def conversations(self) -> Locator:
        return self.page.get_by_role("navigation", name="Earlier conversations").get_by_role("link")

    @property
    def titles(self) -> Locator:
        return self.conversations.locator("[data-part=name]")

    @property
    def previews(self) -> Locator:
        return self.conversations.locator("[data-part=preview]")

    @property
    def connection_notice(self) -> Locator:
        return self.page.get_by_role("status").filter(has_text="Connection lost")

    async def say(self, text: str) -> None:
        """Type a message and send it by Enter."""
        await self.box.fill(text)
        await self.box.press("Enter")

    async def expect_answer(self, text: str, state: str = "complete", *, number: int = 0) -> None:
        """Wait until the answer (counted from 0) is exactly ``text``, in ``state``."""
        answer = self.answers.nth(number)
        await expect(answer.locator("[data-part=text]")).to_have_text(text)
        await expect(answer).to_have_attribute("data-state", state)


async def expect_nothing_serious(page: Page) -> None:
    """Let axe-core look at the page as it is, in the dark for its colours only: nothing else differs there."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    for scheme, rules, least in SCHEMES:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        passes, bad = await page.evaluate(SERIOUS, rules)
        assert passes >= least
        assert bad == [], f"in the {scheme} scheme"
