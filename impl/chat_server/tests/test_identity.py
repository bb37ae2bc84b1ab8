"""Who may come in, by which name and from which page."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Request
from multidict import CIMultiDict

from chat_server.errors import Unauthorized
from chat_server.login.identity import DevIdentity, Login, ProxyIdentity, check_secret


def request(*headers: tuple[str, str]) -> Request:
    return make_mocked_request("GET", "/chat/ws", CIMultiDict(headers))


async def test_dev_user_is_always_the_same() -> None:
    assert await DevIdentity().login(request()) == Login("dev")


# --- proxy

SECRET = ("X-Chat-Secret", "swordfish")


@pytest.mark.parametrize(
    "name", ["ada", "A", "ada.lovelace", "ada@example.org", "a+b_c-d.e", "x" * 128, "ada "]
)
async def test_proxy_names_the_user(name: str) -> None:
    login = await ProxyIdentity("swordfish").login(request(SECRET, ("X-Chat-User", name)))

    assert (login.user, login.name) == (name.strip(), name.strip())


@pytest.mark.parametrize(("fold", "users"), [(True, {"ada"}), (False, {"Ada", "ADA", "ada"})])
async def test_folded_names_are_one_user(*, fold: bool, users: set[str]) -> None:
    identity = ProxyIdentity("swordfish", fold_names=fold)
    logins = [await identity.login(request(SECRET, ("X-Chat-User", name))) for name in ("Ada", "ADA", "ada")]

    assert {login.user for login in logins} == users
    assert [login.name for login in logins] == ["Ada", "ADA", "ada"]


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
        *("anonymous", "Anonymous", "anonymousUser", "unknown", "guest", "nobody", "n/a", "NaN", "(none)"),
        *("REMOTE_USER", "remote-user", "http.auth.user.id", "X-Forwarded-User", "x_auth_request_user"),
        *("$remote_user", "%{REMOTE_USER}s", "%{REMOTE_USER}e", "{{.User}}", "${REMOTE_USER:-}", "<nil>"),
        # what looks like a name, or hides in one
        *(
            "\u0430da",
            "ada\u202egnp",
            "ada\u200b",
            "ada\u00a0",
            "\u00a0ada",
            "a\x00da",
            "ada\x7f",
            "\uff41da",
        ),
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


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("X_Chat_User", "ada")], id="underscores"),
        pytest.param([("X-Chat_User", "ada")], id="one-underscore"),
        pytest.param([("X_Chat_User", "ada"), ("Connection", "X-Chat-User")], id="hop-by-hop"),
        pytest.param([("X-Chat-User", "ada"), ("X_Chat_Secret", "swordfish")], id="secret-by-underscores"),
    ],
)
async def test_alias_of_a_header_is_another_header(headers: list[tuple[str, str]]) -> None:
    by_name = any(name == "X-Chat-User" for name, _ in headers)
    given = headers if by_name else [SECRET, *headers]

    with pytest.raises(Unauthorized):
        await ProxyIdentity("swordfish").login(request(*given))


async def test_secret_that_is_not_set_proves_nothing() -> None:
    with pytest.raises(Unauthorized, match="did not come by the trusted proxy"):
        await ProxyIdentity("").login(request(("X-Chat-Secret", ""), ("X-Chat-User", "ada")))


def test_right_secret_is_enough_for_the_way() -> None:
    check_secret(request(SECRET), "swordfish")
