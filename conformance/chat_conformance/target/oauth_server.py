"""A forge to log in at: the part of Forgejo's and Gitea's OAuth that a chat server uses, on loopback."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlencode

from aiohttp import hdrs, web

CLIENT_ID = "chat"
CLIENT_SECRET = "forge-secret"  # noqa: S105 - of the fake forge


@dataclass(frozen=True, slots=True)
class _Grant:
    """A code that was given out and not yet used."""

    user: str
    number: int
    redirect_uri: str
    challenge: str
    method: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a server, not of a browser: its path, and the cookies that it had."""

    path: str
    cookies: dict[str, str]


@dataclass
class OAuthServer:
    """A forge that answers.

    Each visitor is the user that their cookie ``user`` names, as if they had logged in here, or else ``user``; empty:
    the login is refused. An account's number follows from its name, unless ``numbers`` or a cookie ``number`` says
    another.

    Attributes:
        url: Its address, without a slash at the end.
        user: Who comes without a cookie.
        numbers: Numbers of accounts, by name, as if a name had changed hands.
        sets_cookies: Whether it gives each user a cookie with every answer, and believes it first where it comes back.
        needs_pkce: Whether a login without a challenge of RFC 7636 is refused.
        asked: What servers asked it, oldest first.
    """

    url: str = ""
    user: str = "ada"
    numbers: dict[str, int] = field(default_factory=dict)
    sets_cookies: bool = False
    needs_pkce: bool = False
    asked: list[Asked] = field(default_factory=list)
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - codes and tokens of a fake forge
    _codes: dict[str, _Grant] = field(default_factory=dict)
    _tokens: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def authorize(self, request: web.Request) -> web.Response:
        """RFC 6749 §4.1.1: send the browser back with a code, as if the user had agreed."""
        query = request.query
        if query.get("client_id") != CLIENT_ID or query.get("response_type") != "code":
            return web.Response(status=400, text="unknown client or response type")
        answer = {"state": query.get("state", "")}
        challenge, method = query.get("code_challenge", ""), query.get("code_challenge_method", "plain")
        if self.needs_pkce and not challenge:
            answer["error"] = "invalid_request"
        elif user := request.cookies.get("user", self.user):
            code = self._random.randbytes(16).hex()
            number = int(request.cookies.get("number", self.number(user)))
            self._codes[code] = _Grant(user, number, query["redirect_uri"], challenge, method)
            answer["code"] = code
        else:
            answer["error"] = "access_denied"
        return web.Response(
            status=302, headers={hdrs.LOCATION: f"{query['redirect_uri']}?{urlencode(answer)}"}
        )

    async def access_token(self, request: web.Request) -> web.Response:
        """RFC 6749 §4.1.3 and RFC 7636 §4.6: a code is good once, for who asked for it."""
        self._note(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        # Taken out before it is looked at: a code is good for one attempt, right or wrong (RFC 6749 §4.1.2).
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or not self._fits(grant, form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = self._random.randbytes(16).hex()
        self._tokens[token] = (grant.user, grant.number)
        return web.json_response({"access_token": token, "token_type": "bearer"})

    async def profile(self, request: web.Request) -> web.Response:
        """Who the token's user is. Forgejo and Gitea take ``Authorization: token X``, too."""
        self._note(request)
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        found = self._tokens.get(token) if scheme.lower() in {"bearer", "token"} else None
        if found is None:
            return web.json_response({"message": "token is required"}, status=401)
        user, number = found
        if self.sets_cookies:
            # A server whose HTTP client keeps cookies sends one user's cookie with another's token, and gets
            # the wrong name.
            user = request.cookies.get("forge_session", user)
        response = web.json_response(
            {"id": number, "login": user, "created": "2020-01-02T03:04:05Z", "is_admin": False}
        )
        if self.sets_cookies:
            response.set_cookie("forge_session", user)
        return response

    def number(self, user: str) -> int:
        """The number of the account that has this name now."""
        # By hash, so that a name has the same number on every forge of a run; and never 0, which a server may
        # take for none.
        return self.numbers.get(user, int.from_bytes(hashlib.sha256(user.encode()).digest()[:4], "big") + 1)

    def _note(self, request: web.Request) -> None:
        self.asked.append(Asked(request.path, dict(request.cookies)))

    @staticmethod
    def _fits(grant: _Grant, form: Mapping[str, str]) -> bool:
        verifier = form.get("code_verifier", "")
        # S256 is BASE64URL(SHA256(verifier)) without "=" at its end (RFC 7636 §4.2). A server that sent no
        # challenge owes no proof; then `grant.challenge` is empty.
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        proof = challenge if grant.method == "S256" else verifier
        return (
            form.get("client_id") == CLIENT_ID
            and form.get("client_secret") == CLIENT_SECRET
            and form.get("redirect_uri") == grant.redirect_uri
            and grant.challenge in {"", proof}
        )


@asynccontextmanager
async def oauth_server(seed: object = 0) -> AsyncIterator[OAuthServer]:
    """A forge on a free loopback port, for the length of the block; its codes and tokens come from the seed."""
    place = OAuthServer(_random=Random(f"{seed} forge"))  # noqa: S311 - to be repeatable
    app = web.Application()
    app.router.add_get("/login/oauth/authorize", place.authorize)
    app.router.add_post("/login/oauth/access_token", place.access_token)
    app.router.add_get("/api/v1/user", place.profile)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield place
    finally:
        await runner.cleanup()
