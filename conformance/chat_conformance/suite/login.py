"""Logging in at the suite's forge as a browser does."""

from __future__ import annotations

from urllib.parse import urlsplit

from chat_conformance.errors import Failure
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.http import HttpResponse
from chat_conformance.target.file import Login


async def log_in(chat: CaseContext, variant: Login, **at_the_forge: str) -> dict[str, str]:
    """Log in as the variant's user and return the headers that say so; further cookies are sent to the forge.

    Raises:
        Failure: The login does not lead through the forge and back, or sets no cookie.
    """
    back, cookies = await returning(chat, variant, **at_the_forge)
    answer = await chat.http.request("GET", back, headers=cookies)
    if variant.cookie not in answer.cookies:
        raise Failure(
            f"the login to set the cookie {variant.cookie}", f"status {answer.status}, {answer.cookies}"
        )
    return {"Cookie": f"{variant.cookie}={answer.cookies[variant.cookie]}"}


async def returning(chat: CaseContext, variant: Login, **at_the_forge: str) -> tuple[str, dict[str, str]]:
    """Begin a login, agree at the forge, and return the path to which it sends back and the browser's cookies."""
    # The steps of OAuth as a browser takes them: the server redirects to the forge and sets a cookie for this
    # attempt; the forge redirects back with a code; only with the cookie of the first step does the server take
    # that code (or an attacker could log a victim in as the attacker).
    begun = await chat.http.request("GET", variant.path, headers={})
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in begun.cookies.items())}
    known = {"user": variant.user, **at_the_forge}
    at_forge = {"Cookie": "; ".join(f"{name}={value}" for name, value in known.items())}
    agreed = await chat.http.request("GET", _to(begun, chat.forge.url), url=chat.forge.url, headers=at_forge)
    return _to(agreed, chat.server.url), cookies if begun.cookies else {}


def _to(answer: HttpResponse, url: str) -> str:
    """The path of a redirect to this origin."""
    target = urlsplit(answer.headers.get("location", ""))
    if not 300 <= answer.status < 400 or f"{target.scheme}://{target.netloc}" != url:
        raise Failure(f"a redirect to {url}", f"status {answer.status} to {answer.headers.get('location')}")
    return f"{target.path}?{target.query}"
