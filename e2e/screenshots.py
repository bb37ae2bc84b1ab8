"""The pictures of the page in docs/: `python -m e2e.screenshots docs/`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Route, WebSocketRoute, async_playwright, expect

from e2e.browser import arguments, find_or_install
from e2e.site import Site, site
from e2e.tests.chat import Chat

EARLIER = {
    "Rename these photos by the date they were taken": "All 214 are renamed; three had no date and keep their names.",
    "A packing list for a week in Lisbon": "Light layers, good shoes for the hills, and a jacket for the evenings.",
    "What does “idempotent” mean in practice?": "That doing it twice leaves things as doing it once did.",
    "Regular expression for ISO dates": "It finds the shape of a date; whether there is such a day, a parser says.",
    "Name ideas for a neighbourhood bakery": "The Corner Crumb, Slow Rise, First Light, or Flour & Neighbours.",
}
"""Answers by prompt, the newest first."""
TITLE = "Why does my chat stop after exactly one minute?"
FIRST = """Why does my chat stop after exactly one minute? The answer is still being written, and then the \
connection is simply gone."""
FIRST_ANSWER = """\
A cut after exactly **sixty seconds** is almost always a proxy that takes a quiet connection for a dead one. While the \
model thinks, your server sends nothing, and the clock runs out.

| Proxy | Setting | Default |
|---|---|--:|
| nginx | `proxy_read_timeout` | 60 s |
| HAProxy | `timeout tunnel` | 1 h |

Two things to look at:

1. Does the server send a ping while it waits?
2. Does it still send them *while it reads from the model*?

The second is easy to miss: pings work in every test, and stop just when they are needed."""
SECOND = "It is the second one! How do I keep the ping going?"
SECOND_ANSWER = """\
Give the ping a task of its own:

```python
async with asyncio.TaskGroup() as group:
    group.create_task(keepalive(ws, every=15))
    async for line in claude.stdout:
        await ws.send_str(line.decode())
```

The loop is now free to send a ping whenever one is due. And so that the next change does not bring the fault back, \
hold the model at a gate in a test and wait for two pings before you let it go on."""
HOLD_AFTER = 44
"""Words of the second answer that are on the page when the picture is taken."""


def _scripts() -> dict[str, str]:
    """The answers of the fake, by prompt."""
    answers = {**EARLIER, FIRST: FIRST_ANSWER}
    scripts = {
        prompt: f"[[fake say={json.dumps(answer, ensure_ascii=False)}]]" for prompt, answer in answers.items()
    }
    scripts[SECOND] = (
        f"[[fake hold=picture@{HOLD_AFTER} say={json.dumps(SECOND_ANSWER, ensure_ascii=False)}]]"
    )
    return scripts


def _direct(route: WebSocketRoute) -> None:
    """Pass messages on to the server, each prompt with its script: the page itself never sees one."""
    server = route.connect_to_server()
    scripts = _scripts()

    def forward(raw: str | bytes) -> None:
        message = json.loads(raw)
        if message["type"] == "chat_request":
            message["message"] += scripts[message["message"]]
        server.send(json.dumps(message))

    route.on_message(forward)


async def _untell(route: Route) -> None:
    """Take the scripts out of the titles that the server made of the prompts."""
    response = await route.fetch()
    document = await response.json()
    for each in document["conversations"]:
        title = each["title"].partition("[[fake")[0]
        each["title"] = TITLE if title.startswith(TITLE) else title
    await route.fulfill(response=response, json=document)


async def _take(browser: Browser, chat_site: Site, folder: Path) -> None:
    context = await browser.new_context(
        viewport={"width": 1200, "height": 900}, device_scale_factor=2, color_scheme="light"
    )
    try:
        page = await context.new_page()
        await page.route_web_socket("**/chat/ws", _direct)
        await page.route("**/chat/history", _untell)
        await page.goto(chat_site.url)
        chat = Chat(page)
        for prompt, answer in reversed(EARLIER.items()):
            await chat.say(prompt)
            await chat.expect_answer(answer)
            await page.get_by_role("link", name="New chat").click()
            await expect(chat.prompts).to_have_count(0)
        with chat_site.gate("picture") as gate:
            await chat.say(FIRST)
            await expect(chat.answers.first).to_have_attribute("data-state", "complete")
            await chat.say(SECOND)
            await gate.reached()
            await expect(chat.answers.nth(1)).to_contain_text(SECOND_ANSWER.split()[HOLD_AFTER - 1])
            await page.mouse.move(600, 20)
            await page.screenshot(path=folder / "chat-light.png", animations="disabled")
            await page.emulate_media(color_scheme="dark")
            await page.screenshot(path=folder / "chat-dark.png", animations="disabled")
            await page.set_viewport_size({"width": 390, "height": 780})
            await page.emulate_media(color_scheme="light")
            await chat.box.focus()
            await page.screenshot(path=folder / "chat-phone.png", animations="disabled")
            gate.open()
            await expect(chat.answers.nth(1)).to_have_attribute("data-state", "complete")
        await page.unroute_all(behavior="wait")
        await _take_panel(context, chat_site, folder)
    finally:
        await context.close()


async def _take_panel(context: BrowserContext, chat_site: Site, folder: Path) -> None:
    page, panel = await context.new_page(), await context.new_page()
    await page.goto(chat_site.url)
    await panel.set_viewport_size({"width": 1200, "height": 640})
    await panel.goto(f"{chat_site.url}dev")
    await panel.get_by_role("button", name="Overloaded").click()
    await expect(Chat(page).answers).to_have_attribute("data-state", "complete")
    await expect(panel.get_by_role("listitem").filter(has_text='"complete"')).to_be_visible()
    await panel.mouse.move(600, 20)
    await panel.screenshot(path=folder / "dev-panel.png", animations="disabled")


async def main(folder: Path) -> None:
    """Write chat-light.png, chat-dark.png, chat-phone.png and dev-panel.png into ``folder``."""
    executable = find_or_install(os.environ)
    with tempfile.TemporaryDirectory() as data:
        async with site(Path(data)) as chat_site, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=arguments())
            try:
                await _take(browser, chat_site, folder)
            finally:
                await browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m e2e.screenshots FOLDER")
    asyncio.run(main(Path(sys.argv[1])))
