"""Hosts and origins, however they are spelled in headers and settings, as values that can be compared.

A browser's page is named by its origin: scheme, host and port (RFC 6454 §4). The same origin has several spellings:
default ports, letter case, forms of IPv6, names in Unicode. So nothing compares texts.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f/?#@\\:%\[\]]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and, where one was given, a port (RFC 3986 §3.2)."""

    host: (
        # In lower case and ASCII, without a dot at the end; IPv6 in its shortest form, without brackets.
        str
    )
    port: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a page is (RFC 6454 §4)."""

    scheme: str
    host: str  # as of `Authority`
    port: int


def parse_authority(text: str) -> Authority | None:
    """The host and port of a ``Host`` header; ``None`` if it is none."""
    found = _AUTHORITY.fullmatch(text)
    host = None if found is None else _host(found[1])
    if found is None or host is None:
        return None
    port = int(found[2]) if found[2] else None
    return Authority(host, port) if port is None or port <= 65_535 else None


def parse_origin(text: str) -> Origin | None:
    """The origin in an ``Origin`` header; ``None`` if it is none, as ``null`` is."""
    found = _ORIGIN.fullmatch(text)
    authority = None if found is None else parse_authority(found[2])
    if found is None or authority is None:
        return None
    scheme = found[1].lower()
    return Origin(scheme, authority.host, DEFAULT_PORTS[scheme] if authority.port is None else authority.port)


def origin_of(url: str) -> Origin | None:
    """The origin of an http URL; ``None`` if it is none."""
    return parse_origin("/".join(url.split("/", 3)[:3]))


def _host(text: str) -> str | None:
    """One spelling for each host."""
    try:
        if text.startswith("["):
            return str(ipaddress.IPv6Address(text[1:-1]))
        # Some proxies take the dot of a full name away, some do not.
        text = text.removesuffix(".").lower()
        return text if text.isascii() else idna.encode(text, uts46=True).decode()
    except (ValueError, UnicodeError):  # no IPv6 address; no name that DNS could have
        return None


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is; ``None`` if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine: browsers never ask DNS for ``localhost`` (RFC 6761 §6.3)."""
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")
