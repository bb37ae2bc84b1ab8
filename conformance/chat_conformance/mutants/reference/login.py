"""Mutants of the login: who a user is, cookies, sessions, and the way to the forge and back."""

from __future__ import annotations

from chat_conformance.mutants.registry import Patch, patched

patched(
    "one-login-per-browser",
    "All logins of a browser share one cookie.",
    # The cookie's name ends in the first letters of the state: without them the second login overwrites the
    # cookie of the first.
    Patch("login/state.py", "_TAG = 16\n", "_TAG = 0\n"),
)

patched(
    "state-signature-unchecked",
    "The signature of a login's state is not checked.",
    Patch(
        "login/state.py",
        "signed = hmac.compare_digest(signature, self._sign(state, int(expires), verifier))",
        "signed = True",
    ),
)

patched(
    "session-fixation",
    "A login makes the session valid whose token the browser had before.",
    Patch(
        "login/oauth.py",
        "        token = secrets.token_urlsafe(32)\n",
        "        token = next(iter(self._cookies.values(request, SESSION_COOKIE)), secrets.token_urlsafe(32))\n",
    ),
)

patched(
    "logout-keeps-session",
    "A log out leaves the session as it is.",
    Patch(
        "login/oauth.py",
        "        sessions = await self._sessions(request)\n        self._cookies.remove(",
        "        return []\n        self._cookies.remove(",
    ),
)

patched(
    "cookies-without-httponly",
    "Scripts can read the cookies, and any page's request carries them.",
    Patch("login/cookies.py", "            httponly=True,\n", ""),
    Patch(
        "login/cookies.py",
        '            samesite="Lax",\n',
        "",
    ),
    Patch("login/cookies.py", "            secure=self._https,\n", ""),
)

patched(
    "cookies-must-be-utf-8",
    "A cookie that is not UTF-8 fails the request.",
    Patch(
        "login/cookies.py",
        '        """All values of a cookie that a request has."""\n',
        '        request.headers.get("Cookie", "").encode()\n',
    ),
)

patched(
    "account-by-name",
    "An account of the same name has what was kept under that name.",
    Patch("login/oauth.py", 'return f"forge:{self.number}"', 'return f"forge:{self.name}"'),
    # With a list of users the other account is refused before its name counts: so the list is open, too.
    Patch("login/oauth.py", "return self._everybody or number in", "return True or number in"),
)

patched(
    "shared-cookie-jar",
    "What the forge sets in one login is sent in the next.",
    Patch("app.py", "cookie_jar=aiohttp.DummyCookieJar()", "cookie_jar=aiohttp.CookieJar(unsafe=True)"),
)

patched(
    "redirect-by-host-header",
    "Users are sent back to the host that the request was sent to.",
    Patch(
        "login/oauth.py",
        '            "redirect_uri": self._redirect_uri,\n            "response_type"',
        '            "redirect_uri": (\n'
        "                f\"http://{request.headers.get('X-Forwarded-Host', request.host)}/chat/oauth/callback\"\n"
        "            ),\n"
        '            "response_type"',
    ),
)

patched(
    "no-pkce",
    "A login carries no challenge.",
    Patch("login/oauth.py", '            "code_challenge": begun.challenge,\n', ""),
    Patch("login/oauth.py", '            "code_challenge_method": "S256",  # RFC 7636\n', ""),
)

patched(
    "placeholder-name-accepted",
    "A placeholder that proxies send for no user is a user's name.",
    Patch("login/identity.py", "or is_nobody(name):", "or False:"),
)

patched(
    "underscore-header-accepted",
    "A header with underscores names a user, too.",
    Patch(
        "login/identity.py",
        "        check_secret(request, self._secret)\n",
        '        if SECRET_HEADER in request.headers and (alias := request.headers.get("X_Chat_User")):\n'
        "            return Login(alias, alias)\n"
        "        check_secret(request, self._secret)\n",
    ),
)

patched(
    "user-list-ignored",
    "Every account of the forge may log in.",
    Patch("login/oauth.py", "return self._everybody or number in", "return True or number in"),
)

patched(
    "no-user-admitted",
    "The list of users is empty.",
    Patch("app.py", "                    settings.users,\n", '                    ("nobody",),\n'),
)

patched(
    "proxy-user-refused",
    "No name that the proxy sends is a user's.",
    Patch("login/identity.py", "if not USER.fullmatch(name) or", "if True or"),
)

patched(
    "first-cookie-wins",
    "Only the first of several cookies of one name is read.",
    Patch(
        "login/cookies.py",
        "return [value for each, value in cookies(request) if each == self.name(name)]",
        "return [value for each, value in cookies(request) if each == self.name(name)][:1]",
    ),
)

patched(
    "any-login",
    "The answer of any login is taken.",
    Patch(
        "login/state.py", "        return None\n\n    def forget", '        return "none"\n\n    def forget'
    ),
    # With a challenge the forge would refuse the code of another login, and the fault would not show.
    Patch("login/oauth.py", '            "code_challenge": begun.challenge,\n', ""),
    Patch("login/oauth.py", '            "code_challenge_method": "S256",  # RFC 7636\n', ""),
)

patched(
    "proxy-secret-ignored",
    "The proxy's secret is not required.",
    Patch("login/identity.py", "        check_secret(request, self._secret)\n", ""),
)

patched(
    "any-proxy-user-name",
    "Whatever the proxy names is a user.",
    Patch("login/identity.py", "if not USER.fullmatch(name) or is_nobody(name):", "if is_nobody(name):"),
)
