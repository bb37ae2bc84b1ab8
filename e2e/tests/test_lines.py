"""Lines are cut, blocked and slow; servers restart; logins end. The answer arrives all the same, once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, WebSocket, expect

from chat_conformance.wire.listening import listening
from e2e.site import Site
from e2e.tests.chat import Chat
from e2e.tests.middle import Middle
from fake_claude import ledger

pytestmark = pytest.mark.asyncio(loop_scope="session")

THREE = "t1 t2 t3"
SIX = "t1 t2 t3 t4 t5 t6"
"""The scripts below hold after three of six."""


async def test_caddy_is_reloaded_in_the_middle_of_an_answer(site: Site, page: Page) -> None:
    """A reload closes all sockets; the page is back at once and misses nothing."""
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        async with page.expect_websocket() as again:
            await site.caddy.reload()
        await again.value
        gate.open()
        await chat.expect_answer(SIX)
    await expect(chat.answers).to_have_count(1)


async def test_server_is_restarted_in_the_middle_of_an_answer(site: Site, page: Page) -> None:
    """What had arrived is kept and marked, the next message is answered."""
    chat = Chat(page)
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await site.server.stop()
        await expect(chat.connection_notice).to_be_visible()
        await site.server.start()
        await chat.expect_answer(THREE, "interrupted")
    await chat.say("again [[fake tokens=2]]")
    await chat.expect_answer("t1 t2", number=1)
    await page.reload()

    await chat.expect_answer(THREE, "interrupted")
    await chat.expect_answer("t1 t2", number=1)


async def test_shown_words_outlive_a_kill(site: Site, page: Page) -> None:
    """A server that was killed may have saved less than it had sent."""
    chat = Chat(page)

    async def save_less(route: Route) -> None:
        response = await route.fetch()
        document = await response.json()
        document["messages"][1]["content"] = "t1 "
        await route.fulfill(response=response, json=document)

    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        await site.server.stop()
        await page.route(re.compile("/chat/history/[0-9a-f]{12}$"), save_less)
        await site.server.start()
        await expect(chat.answers).to_have_attribute("data-state", "interrupted")
        await chat.expect_answer(THREE, "interrupted")
    await page.reload()

    await chat.expect_answer("t1", "interrupted")


@pytest_asyncio.fixture(loop_scope="session")
async def middle(site: Site) -> AsyncIterator[Middle]:
    """A proxy between browser and Caddy."""
    host, _, port = site.caddy.url.removeprefix("http://").partition(":")
    proxy = Middle(host, int(port))
    # It owns its connections: the page opens new ones while the old ones are cut.
    async with listening(proxy.serve) as listens:
        proxy.url = f"http://127.0.0.1:{listens}"
        site.friends.append(proxy.url)
        yield proxy
        proxy.close()


async def test_connections_are_reset_in_the_middle_of_an_answer(
    site: Site, middle: Middle, page: Page
) -> None:
    chat = Chat(page)
    await page.goto(f"{middle.url}/chat/")
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        for _ in range(3):
            async with page.expect_websocket() as again:
                middle.cut()
            await again.value
        gate.open()
        await chat.expect_answer(SIX)
    await expect(chat.answers).to_have_count(1)


async def dead_line(middle: Middle, page: Page) -> Chat:
    """A conversation whose line has died without a word."""
    chat = Chat(page)
    await page.clock.install()
    await page.goto(f"{middle.url}/chat/")
    await chat.say("one [[fake tokens=1]]")
    await chat.expect_answer("t1")
    middle.swallow()
    return chat


async def test_dead_line_is_noticed_by_sending(site: Site, middle: Middle, page: Page) -> None:
    """The message goes out by a new socket within ten seconds, and once."""
    chat = await dead_line(middle, page)
    await chat.say("into the dark [[fake tokens=2]]")
    await expect(chat.answers.nth(1)).to_have_attribute("data-state", "sending")
    await page.clock.fast_forward(10_000)

    await chat.expect_answer("t1 t2", number=1)
    await expect(chat.answers).to_have_count(2)
    asked = [line for run in ledger.read(site.ledger) for line in run.stdin if '"into the dark' in line]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "wakes",
    ["dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"],
    ids=["online", "visible"],
)
async def test_dead_line_is_noticed_by_waking(middle: Middle, page: Page, wakes: str) -> None:
    await dead_line(middle, page)
    async with page.expect_websocket() as again:
        await page.evaluate(wakes)
        await page.clock.fast_forward(10_000)

    assert (await again.value).url.endswith("/chat/ws")


async def test_dead_line_is_noticed_in_mid_answer(site: Site, middle: Middle, page: Page) -> None:
    """Nobody sends anything, and the rest of the answer comes all the same."""
    chat = Chat(page)
    await page.clock.install()
    await page.goto(f"{middle.url}/chat/")
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        middle.swallow()
        gate.open()
        await page.clock.fast_forward(20_000)
        await page.clock.fast_forward(10_000)
        await chat.expect_answer(SIX)


async def test_quiet_line_is_left_alone(site: Site, page: Page) -> None:
    """Claude says nothing for minutes: the line is asked now and then, answers, and is never given up."""
    chat = Chat(page)
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 - it must be a function
    await page.clock.install()
    await page.reload()
    with site.gate("g1") as gate:
        await chat.say("[[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await chat.expect_answer(THREE, "streaming")
        for _ in range(6):
            async with sockets[0].expect_event("framereceived", lambda frame: "probe" in str(frame)):
                await page.clock.fast_forward(20_000)
        gate.open()
        await chat.expect_answer(SIX)
    assert len(sockets) == 1


async def test_slow_network_brings_the_same_answer(middle: Middle, page: Page) -> None:
    """Bytes come in threes, so that no frame and no character comes in one piece."""
    chat = Chat(page)
    await page.goto(f"{middle.url}/chat/")
    middle.portion = 3
    text = " ".join(f"{n}: žluťoučký kůň 🐎" for n in range(40))
    await chat.say(f'[[fake say="{text}"]]')
    await chat.expect_answer(text)


@pytest.mark.xdist_group("unusual")
async def test_chat_lives_below_any_path(unusual: Site, site: Site, page: Page) -> None:
    chat = Chat(page)
    site.friends.append(unusual.caddy.url)
    await page.goto(unusual.url.removesuffix("/"))
    await expect(page).to_have_url(unusual.url)
    await chat.say("below [[fake tokens=2]]")
    await chat.expect_answer("t1 t2")
    await page.reload()
    await chat.expect_answer("t1 t2")
    await page.get_by_role("button", name="Delete below").click()
    async with page.expect_response(lambda response: response.request.method == "DELETE") as deleted:
        await page.get_by_role("button", name="Delete it now").click()

    assert (await deleted.value).status == 204


@pytest.mark.xdist_group("unusual")
async def test_messages_go_by_post_where_no_socket_can_be_had(unusual: Site, site: Site, page: Page) -> None:
    """Answers, errors and a reload in the middle: all as ever, only later."""
    chat = Chat(page)
    site.friends.append(unusual.caddy.url)
    await page.goto(unusual.url.replace("/tools/", "/blocked/"))
    await chat.say("one [[fake tokens=3]]")
    await chat.expect_answer(THREE)
    await expect(page.get_by_role("status").filter(has_text="when they are complete")).to_be_visible()
    await chat.say("two [[fake tokens=2 exit=3]]")
    await expect(chat.answers.nth(1)).to_have_attribute("data-state", "failed")
    with unusual.gate("g1") as gate:
        await chat.say("three [[fake tokens=6 hold=g1@3]]")
        await gate.reached()
        await page.reload()
        await expect(chat.answers.nth(2)).to_have_attribute("data-state", "streaming")
        gate.open()
        await chat.expect_answer(SIX, number=2)

    lines = [line for run in ledger.read(unusual.ledger) for line in run.stdin]
    assert [sum(f'"{word} [[fake' in line for line in lines) for word in ("one", "two", "three")] == [1, 1, 1]


async def test_ended_login_leads_back_to_where_one_was(site: Site, page: Page) -> None:
    chat = Chat(page)
    await expect(page).to_have_url(site.url)
    await chat.say("mine [[fake tokens=2]]")
    await chat.expect_answer("t1 t2")
    where = page.url
    await chat.box.fill("not sent yet")
    ended = await page.request.post(f"{site.url}logout", headers={"Origin": site.caddy.url})
    assert ended.status == 204
    again = page.get_by_role("link", name="Log in again")
    await expect(again).to_be_visible()
    await expect(page.get_by_role("button", name="Send message")).to_be_disabled()
    await again.click()

    await expect(page).to_have_url(where)
    await chat.expect_answer("t1 t2")
    await expect(chat.box).to_have_value("not sent yet")
    await expect(page).to_have_url(re.compile("#[0-9a-f]{12}$"))


async def test_login_that_ended_while_the_line_was_cut_is_noticed(site: Site, page: Page) -> None:
    """A refused upgrade gives the page no reason; it makes a request."""
    chat = Chat(page)
    await chat.say("mine [[fake tokens=2]]")
    await chat.expect_answer("t1 t2")
    await site.caddy.stop()
    await expect(chat.connection_notice).to_be_visible()
    await page.context.clear_cookies()
    await site.caddy.start()

    await expect(page.get_by_role("link", name="Log in again")).to_be_visible()
