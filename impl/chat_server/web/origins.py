"""Which hosts this server answers to, and which pages may use it."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import hdrs, web

from chat_server.authority import (
    DEFAULT_PORTS,
    Origin,
    address_of,
    is_loopback,
    origin_of,
    parse_authority,
    parse_origin,
)
from chat_server.errors import BadRequest, Forbidden
from chat_server.login.identity import has_secret
from chat_server.settings import Settings

HEALTH = "/health"
"""Load balancers ask for it by any address. It says nothing but that the server lives."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED_PROTO = "X-Forwarded-Proto"
SEC_FETCH_SITE = "Sec-Fetch-Site"


class OwnOrigins:
    """The hosts that this server answers to, and the pages that may use it, by the settings."""

    def __init__(self, settings: Settings) -> None:
        friends = [parse_origin(each) for each in settings.origins]
        self._friends = frozenset(each for each in friends if each is not None)
        self._public = origin_of(settings.public_url) if settings.public_url else None
        self._dev = settings.identity == "dev"
        self._secret = settings.proxy_secret if settings.identity == "proxy" else ""
        self._any_host = "*" in settings.allowed_hosts or not (
            self._dev or settings.public_url or settings.allowed_hosts
        )
        self._hosts, self._domains = _patterns(settings.allowed_hosts)
        self._hosts |= {each.host for each in self._friends}
        self._hosts |= {self._public.host} if self._public else set()

    @property
    def answers_any_host(self) -> bool:
        """Whether no ``Host`` is refused, since nothing says by which names browsers reach this server."""
        return self._any_host

    def answers_to(self, host: str) -> bool:
        """Whether this server answers to a host, which is spelled as of `Authority`.

        A foreign site may let its own name lead to this server's address (DNS rebinding); then its pages would be of
        the same origin as this server. An IP address cannot be made to lead elsewhere.
        """
        if self._any_host or is_loopback(host) or host in self._hosts:
            return True
        if address_of(host) is not None:
            return not self._dev
        return any(host.endswith(domain) for domain in self._domains)

    def accepts(self, origin: Origin, request: web.BaseRequest) -> bool:
        """Whether pages of this origin may use the chat: the server's own, and those of ``CHAT_ORIGINS``."""
        if origin in self._friends:
            return True
        if self._public is not None:
            return origin == self._public
        # Nothing says what the own origin is, so the host that the browser asked for has to be the page's.
        host = parse_authority(request.headers.get(hdrs.HOST, ""))
        if host is None or host.host != origin.host:
            return False
        scheme = self._scheme(request)
        port = DEFAULT_PORTS[origin.scheme] if host.port is None else host.port
        return port == origin.port and scheme in {None, origin.scheme}

    def _scheme(self, request: web.BaseRequest) -> str | None:
        """How the browser reached the chat; ``None`` where nobody who can be trusted says it.

        No page can send this header to another origin without being allowed to (it is no simple header), so the dev
        identity may believe it of anybody.
        """
        schemes = [each.strip().lower() for each in request.headers.getall(FORWARDED_PROTO, [])]
        if (
            len(schemes) == 1
            and schemes[0] in DEFAULT_PORTS
            and (self._dev or has_secret(request, self._secret))
        ):
            return schemes[0]
        return "http" if self._dev else None


def _patterns(allowed: Iterable[str]) -> tuple[set[str], tuple[str, ...]]:
    """The hosts of ``CHAT_ALLOWED_HOSTS``, and the ends of names of its domains."""
    hosts: set[str] = set()
    domains: list[str] = []
    for text in allowed:
        authority = parse_authority(text.removeprefix("."))
        if authority is None:
            continue
        hosts.add(authority.host)
        if text.startswith("."):
            domains.append(f".{authority.host}")
    return hosts, tuple(domains)


def check_host(request: web.BaseRequest, own: OwnOrigins) -> None:
    """Refuse what was meant for another server, before anything is served.

    Raises:
        BadRequest: There is not exactly one ``Host``, or it is none (RFC 9112 §3.2).
        Forbidden: This server does not answer to it.
    """
    if request.path == HEALTH:
        return
    given = request.headers.getall(hdrs.HOST, [])
    authority = parse_authority(given[0]) if len(given) == 1 else None
    if authority is None:
        raise BadRequest("a request needs one Host header with the name or address of this server")
    if not own.answers_to(authority.host):
        raise Forbidden(
            f"this server does not answer to the host {authority.host[:80]!r}; "
            "its operator can name the host in CHAT_ALLOWED_HOSTS"
        )


def check_origin(request: web.BaseRequest, own: OwnOrigins) -> None:
    """Refuse what a foreign page asks (HAND-4, HTTP-3), whatever it asks.

    Browsers send ``Origin`` with every WebSocket and every request that may change something. Where it is missing
    (RFC 6454 §7.3 lets it be), ``Sec-Fetch-Site`` says whether the page was one of this origin.

    Raises:
        Forbidden: The page that asks is foreign.
    """
    if request.path == HEALTH:
        return
    given = request.headers.getall(hdrs.ORIGIN, [])
    for text in given:
        origin = parse_origin(text)
        if origin is None or not own.accepts(origin, request):
            raise Forbidden(
                f"pages of {text[:80]!r} may not use this chat; if they are its own, "
                "its operator can name the origin in CHAT_PUBLIC_URL or CHAT_ORIGINS"
            )
    # A GET of the page itself has no Origin, and a foreign page cannot read its answer. A handshake of a WebSocket is
    # a GET, too, but what comes over the socket could be read by any page.
    if given or (request.method in SAFE_METHODS and hdrs.UPGRADE not in request.headers):
        return
    for site in request.headers.getall(SEC_FETCH_SITE, []):
        if site.strip().lower() not in {"same-origin", "none"}:
            raise Forbidden("pages of other sites may not use this chat")
