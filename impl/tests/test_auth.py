"""Who may come in, by which name and from which page."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Request
from multidict import CIMultiDict

from impl.auth import DevIdentity, Login, ProxyIdentity, check_origin, check_secret
from impl.errors import Forbidden, Unauthorized


def request(*headers: tuple[str, str]) -> Request:
    return make_mocked_request("GET", "/chat/ws", CIMultiDict(headers))


# --- dev


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"],
)
async def test_dev_user_comes_by_a_loopback_name(host: str) -> None:
    assert await DevIdentity().login(request(("Host", host))) == Login("dev")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "0.0.0.0",
        "[::1",
        "[",
        "",
        ":8000",
        "192.168.0.1",
        "[::2]",
    ],
)
async def test_dev_user_comes_by_no_other_name(host: str) -> None:
    with pytest.raises(Forbidden, match="the dev server answers to localhost"):
        await DevIdentity().login(request(("Host", host)))


# --- proxy

SECRET = ("X-Chat-Secret", "swordfish")


@pytest.mark.parametrize(
    "name", ["ada", "A", "ada.lovelace", "ada@example.org", "a+b_c-d.e", "x" * 128, "ada "]
)
async def test_proxy_names_the_user(name: str) -> None:
    login = await ProxyIdentity("swordfish").login(request(SECRET, ("X-Chat-User", name)))

    assert login == Login(name.strip())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "-",
            "{user}",
            "$user",
            "${user}",
            "{http.auth.user.id}",
            "null",
            "None",
            "undefined",
            "user",
        ),
        *("a b", "ada,bob", "é", "x" * 129, "(null)", "<user>", ".", "@", "ada/../bob"),
    ],
)
async def test_proxy_that_names_nobody_is_refused(name: str) -> None:
    with pytest.raises(Unauthorized, match="X-Chat-User is not a user's name"):
        await ProxyIdentity("swordfish").login(request(SECRET, ("X-Chat-User", name)))


@pytest.mark.parametrize("count", [0, 2])
async def test_proxy_must_name_exactly_one(count: int) -> None:
    names = [("X-Chat-User", "ada"), ("x-chat-user", "bob")][:count]

    with pytest.raises(Unauthorized, match=f"sent {count} X-Chat-User headers"):
        await ProxyIdentity("swordfish").login(request(SECRET, *names))


WITHOUT_SECRET = [
    pytest.param([], id="none"),
    pytest.param([("X-Chat-Secret", "")], id="empty"),
    pytest.param([("X-Chat-Secret", "Swordfish")], id="wrong"),
    pytest.param([("X-Chat-Secret", "swordfish!")], id="longer"),
    pytest.param([("X-Chat-Secret", "swördfish")], id="not-ascii"),
    pytest.param([SECRET, SECRET], id="twice"),
    pytest.param([("X-Chat-Secret", "guess"), SECRET], id="guess-and-right"),
]


@pytest.mark.parametrize("headers", WITHOUT_SECRET)
async def test_proxy_without_the_secret_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthorized, match="did not come by the trusted proxy") as caught:
        await ProxyIdentity("swordfish").login(request(*headers, ("X-Chat-User", "ada")))

    assert "swordfish" not in caught.value.message.lower()


def test_right_secret_is_enough_for_the_way() -> None:
    check_secret(request(SECRET), "swordfish")


# --- pages

HOST = ("Host", "chat.example:8443")


@pytest.mark.parametrize(
    "origin", ["https://chat.example:8443", "http://chat.example:8443", "https://Chat.Example:8443"]
)
def test_own_page_may_ask(origin: str) -> None:
    check_origin(request(HOST, ("Origin", origin)), ())


def test_request_of_no_page_may_ask() -> None:
    check_origin(request(HOST), ())


def test_allowed_page_may_ask() -> None:
    check_origin(request(HOST, ("Origin", "https://friend.example")), ["https://friend.example"])


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://chat.example",
        "https://chat.example:8443.evil.example",
        "https://chat.example:8443@evil.example",
        "https://evil.example/chat.example:8443",
        "https://evil.example#chat.example:8443",
        "null",
        "",
        "file://",
        "ftp://chat.example:8443",
        "chat.example:8443",
        "//chat.example:8443",
        "http://[",
        "http://[::1",
        "https://friend.example.evil.example",
    ],
)
def test_foreign_page_may_not_ask(origin: str) -> None:
    with pytest.raises(Forbidden, match="may not use this chat"):
        check_origin(request(HOST, ("Origin", origin)), ["https://friend.example"])


def test_one_foreign_page_among_several_is_enough() -> None:
    headers = (HOST, ("Origin", "https://chat.example:8443"), ("Origin", "https://evil.example"))

    with pytest.raises(Forbidden, match="evil"):
        check_origin(request(*headers), ())
