"""Which pages and hosts are the server's own, however headers and settings spell them."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Request
from multidict import CIMultiDict

from chat_server.authority import Authority, Origin, origin_of, parse_authority, parse_origin
from chat_server.errors import BadRequest, Forbidden
from chat_server.settings import Settings
from chat_server.web.origins import OwnOrigins, check_host, check_origin

PROXY = {"identity": "proxy", "proxy_secret": "swordfish", "host": "0.0.0.0"}
SECRET = ("X-Chat-Secret", "swordfish")


def request(*headers: tuple[str, str], method: str = "GET", path: str = "/chat/ws") -> Request:
    return make_mocked_request(method, path, CIMultiDict(headers))


def own(**settings: Any) -> OwnOrigins:
    return OwnOrigins(Settings(**{**PROXY, **settings}))


# --- spellings

SAME_HOST = [
    ("chat.example", "CHAT.Example"),
    ("chat.example", "chat.example."),
    ("chat.example", "chat.example:"),
    ("xn--bcher-kva.example", "b\u00fccher.example"),
    ("xn--bcher-kva.example", "B\u00dcCHER.example"),
    ("xn--bcher-kva.example", "bu\u0308cher.example"),
    ("xn--strae-oqa.example", "stra\u00dfe.example"),
    ("[2001:db8::1]", "[2001:DB8:0:0::1]"),
    ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
]


@pytest.mark.parametrize(("one", "other"), SAME_HOST)
def test_spellings_of_a_host_are_one(one: str, other: str) -> None:
    assert parse_authority(one) == parse_authority(other) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a b",
        "a:b",
        "a:65536",
        "a:-1",
        "a@b",
        "a/b",
        "a?b",
        "a#b",
        "[",
        "[::1",
        "[::1]x",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "a\\b",
        "�",
        "a\x00",
        "a,b c",
        "%61.example",
        "-ü-.example",
    ],
)
def test_what_is_no_host_is_none(text: str) -> None:
    assert parse_authority(text) is None


def test_port_is_a_number() -> None:
    assert parse_authority("chat.example:08443") == Authority("chat.example", 8443)
    assert parse_origin("https://chat.example:0443") == Origin("https", "chat.example", 443)
    assert origin_of("HTTPS://Chat.Example/tools/") == Origin("https", "chat.example", 443)


# --- pages

ANY_SCHEME = [
    ("chat.example", "https://chat.example"),
    ("chat.example", "http://chat.example"),
    ("chat.example:443", "https://chat.example"),
    ("chat.example", "https://chat.example:443"),
    ("chat.example:80", "http://chat.example"),
    ("chat.example", "http://chat.example:80"),
    ("chat.example:8443", "https://chat.example:8443"),
    ("Chat.Example.", "https://chat.example"),
    ("[2001:db8::1]:8000", "http://[2001:DB8:0::1]:8000"),
    ("xn--bcher-kva.example", "https://b\u00fccher.example"),
]


@pytest.mark.parametrize(("host", "origin"), ANY_SCHEME)
def test_own_page_may_ask(host: str, origin: str) -> None:
    check_origin(request(("Host", host), ("Origin", origin)), own())


OTHER = [
    ("chat.example", "https://chat.example:8443"),
    ("chat.example:8443", "https://chat.example"),
    ("chat.example:443", "http://chat.example"),
    ("chat.example:80", "https://chat.example"),
    ("chat.example", "https://evil.example"),
    ("chat.example", "https://chat.example.evil.example"),
    ("chat.example", "https://evil.example/chat.example"),
    ("chat.example", "https://chat.example@evil.example"),
    ("chat.example", "https://evil.example#chat.example"),
    ("chat.example", "ftp://chat.example"),
    ("chat.example", "wss://chat.example"),
    ("chat.example", "chat.example"),
    ("chat.example", "//chat.example"),
    ("chat.example", "https://chat.example/"),
    ("chat.example", "https://chat.example, https://chat.example"),
    ("chat.example", "null"),
    ("null", "null"),
    ("chat.example", ""),
    ("chat.example", "file://"),
    ("chat.example", "http://["),
    ("xn--strae-oqa.example", "https://strasse.example"),
]


@pytest.mark.parametrize(("host", "origin"), OTHER)
def test_foreign_page_may_not_ask(host: str, origin: str) -> None:
    with pytest.raises(Forbidden, match="may not use this chat"):
        check_origin(request(("Host", host), ("Origin", origin)), own())


def test_one_foreign_page_among_several_is_enough() -> None:
    headers = (("Host", "c.example"), ("Origin", "https://c.example"), ("Origin", "https://evil.example"))

    with pytest.raises(Forbidden, match="evil"):
        check_origin(request(*headers), own())


PUBLIC = {"public_url": "https://Chat.Example:443/tools/"}


@pytest.mark.parametrize("host", ["chat.example", "127.0.0.1:8000", "chat-server", "chat.example:3001"])
def test_public_url_is_the_origin(host: str) -> None:
    """Proxies change ``Host``: nginx sends the upstream's name, and ``$host`` has lost the port."""
    check_origin(request(("Host", host), ("Origin", "https://chat.example")), own(**PUBLIC))

    for origin in ("http://chat.example", f"https://{host}:1", f"http://{host}"):
        with pytest.raises(Forbidden):
            check_origin(request(("Host", host), ("Origin", origin)), own(**PUBLIC))


def test_friends_may_ask_however_they_are_written() -> None:
    friends = own(origins=("https://Friend.Example:443", "http://b\u00fccher.example:8000"))
    for origin in ("https://friend.example", "http://xn--bcher-kva.example:8000"):
        check_origin(request(("Host", "chat.example"), ("Origin", origin)), friends)

    with pytest.raises(Forbidden):
        check_origin(request(("Host", "chat.example"), ("Origin", "http://friend.example")), friends)


FORWARDED = ("X-Forwarded-Proto", "https")
HTTP_PAGE = (("Host", "chat.example"), ("Origin", "http://chat.example"))


def test_scheme_from_trusted_proxy_only() -> None:
    check_origin(request(*HTTP_PAGE, FORWARDED), own())
    check_origin(request(*HTTP_PAGE, SECRET), own())
    check_origin(request(*HTTP_PAGE, SECRET, ("X-Forwarded-Proto", "https, http")), own())

    with pytest.raises(Forbidden):
        check_origin(request(*HTTP_PAGE, SECRET, FORWARDED), own())


def test_dev_scheme_is_http_by_default() -> None:
    dev = OwnOrigins(Settings())
    https = (("Host", "localhost"), ("Origin", "https://localhost"))
    check_origin(request(("Host", "localhost:8000"), ("Origin", "http://localhost:8000")), dev)
    check_origin(request(*https, FORWARDED), dev)

    with pytest.raises(Forbidden):
        check_origin(request(*https), dev)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW"])
def test_foreign_origin_is_refused_by_any_method(method: str) -> None:
    with pytest.raises(Forbidden):
        check_origin(request(("Host", "c"), ("Origin", "https://evil.example"), method=method), own())


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "same-origin, cross-site", ""])
def test_fetch_site_counts_without_origin(site: str) -> None:
    headers = (("Host", "c"), ("Sec-Fetch-Site", site))
    check_origin(request(*headers), own())

    with pytest.raises(Forbidden, match="other sites"):
        check_origin(request(*headers, method="POST"), own())
    with pytest.raises(Forbidden, match="other sites"):
        check_origin(request(*headers, ("Upgrade", "websocket")), own())


def test_allowed_origin_outweighs_fetch_site() -> None:
    headers = (("Host", "c"), ("Origin", "https://friend.example"), ("Sec-Fetch-Site", "cross-site"))

    check_origin(request(*headers, method="POST"), own(origins=("https://friend.example",)))


# --- hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:1",
        "localhost.",
        "chat.localhost",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
        "[0:0::1]",
    ],
)
def test_dev_server_answers_to_loopback(host: str) -> None:
    check_host(request(("Host", host)), OwnOrigins(Settings()))


FOREIGN = [
    *(
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
    ),
    *("0.0.0.0", "192.168.0.1", "[::2]", "127.1", "localhost.localdomain", "xn--localhost-"),
]


@pytest.mark.parametrize("host", FOREIGN)
def test_dev_server_answers_to_no_other_host(host: str) -> None:
    with pytest.raises(Forbidden, match="does not answer to the host"):
        check_host(request(("Host", host)), OwnOrigins(Settings()))


@pytest.mark.parametrize("host", ["", ":8000", "[::1", "[", "127.0.0.1@evil.example", "localhost/", "a b"])
def test_odd_host_is_a_bad_request(host: str) -> None:
    with pytest.raises(BadRequest, match="one Host header"):
        check_host(request(("Host", host)), OwnOrigins(Settings()))


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_host(count: int) -> None:
    with pytest.raises(BadRequest, match="one Host header"):
        check_host(request(*[("Host", "localhost")] * count), OwnOrigins(Settings()))


@pytest.mark.parametrize(
    "host",
    [
        "chat.example",
        "CHAT.example:1",
        "friend.example",
        "other.example",
        "a.b.lan",
        "lan",
        "10.0.0.7",
        "[::2]",
        "localhost:8000",
    ],
)
def test_named_hosts_and_addresses_are_answered(host: str) -> None:
    """Who watches the server asks it by its address, and no name leads there."""
    allowed = ("Other.Example", ".lan", "[2001:db8::1]")
    settings = {**PUBLIC, "origins": ("https://friend.example",), "allowed_hosts": allowed}

    check_host(request(("Host", host)), own(**settings))


@pytest.mark.parametrize("host", ["evil.example", "chat.example.evil.example", "evillan", "a.other.example"])
def test_hosts_that_are_not_named_are_refused(host: str) -> None:
    with pytest.raises(Forbidden, match="CHAT_ALLOWED_HOSTS"):
        check_host(request(("Host", host)), own(**PUBLIC, allowed_hosts=("other.example", ".lan")))


def test_proxy_answers_any_host_by_default() -> None:
    check_host(request(("Host", "whatever.example")), own())
    check_host(request(("Host", "whatever.example")), own(**PUBLIC, allowed_hosts=("*",)))

    assert (own().answers_any_host, own(**PUBLIC).answers_any_host) == (True, False)


@pytest.mark.parametrize("headers", [[("Host", "10.0.0.7:8000")], [("Host", "evil.example")], []])
def test_health_answers_every_host(headers: list[tuple[str, str]]) -> None:
    sent = request(*headers, ("Origin", "https://status.example"), path="/health")

    check_host(sent, OwnOrigins(Settings()))
    check_origin(sent, OwnOrigins(Settings()))
