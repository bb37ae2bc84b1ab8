"""What people get who open an address in a browser and are refused: a small page, where programs get JSON."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from aiohttp import hdrs, web

STYLE = """
:root { color-scheme: light dark; --page: #fdfcfa; --raised: #fff; --line: #e3ddd2; --ink: #24221e; --soft: #6a645a;
  --accent: #b4532f; --on-accent: #fff; font: 16px/1.65 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Ubuntu,
  Cantarell, "Noto Sans", "Liberation Sans", system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --page: #1d1c1a; --raised: #292724; --line: #3b3833; --ink: #ece8e0;
  --soft: #a8a196; --accent: #e0875f; --on-accent: #1d1210; } }
body { display: grid; place-items: center; min-height: 100vh; min-height: 100dvh; margin: 0; padding: 1rem;
  box-sizing: border-box; background: var(--page); color: var(--ink); }
main { width: 100%; max-width: 27rem; padding: 2rem; box-sizing: border-box; border: 1px solid var(--line);
  border-radius: 1.1rem; background: var(--raised); overflow-wrap: anywhere; }
svg { width: 1.75rem; height: 1.75rem; fill: none; stroke: var(--accent); stroke-width: 2.2; stroke-linecap: round;
  stroke-linejoin: round; }
h1 { margin: .6rem 0 .4rem; font-size: 1.25rem; font-weight: 650; line-height: 1.35; }
p { margin: .4rem 0; color: var(--soft); }
.links { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1.4rem; }
a { padding: .45rem 1rem; border: 1px solid var(--line); border-radius: .7rem; color: inherit; font-weight: 500;
  text-decoration: none; }
a:first-child { border-color: var(--accent); background: var(--accent); color: var(--on-accent); }
a:hover { border-color: var(--ink); }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Such a page has its style within it: the page's own files may be behind a login."""

TITLES = {
    401: "You are not logged in",
    403: "You may not use this chat",
    404: "There is nothing here",
    429: "That was too much at once",
    503: "The chat is not available now",
}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Chatgate</title>
<style>{style}</style>
</head>
<body>
<main>
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 20V12a8 8 0 0 1 16 0v8M9 20v-8a3 3 0 0 1 6 0v8"/></svg>
<h1>{title}</h1>
{words}
<p class="links">{links}</p>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A way on from such a page."""

    words: str
    target: str


def wants_page(request: web.BaseRequest) -> bool:
    """Whether a request is a browser's that opens an address, and not a program's, nor one of the page's own.

    A page's own requests take anything (``*/*``), and say that they do not navigate.
    """
    if request.method not in {"GET", "HEAD", "POST"} or hdrs.UPGRADE in request.headers:
        return False
    if request.headers.get("Sec-Fetch-Mode", "navigate").lower() != "navigate":
        return False
    return any(
        kind.partition(";")[0].strip().lower() == "text/html"
        and kind.replace(" ", "").partition(";")[2] != "q=0"
        for kind in request.headers.get(hdrs.ACCEPT, "").split(",")
    )


def page(
    title: str,
    words: Sequence[str],
    links: Sequence[Link],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A page of a few sentences, the first link being what most people want."""
    text = PAGE.format(
        title=escape(title),
        style=STYLE,
        words="\n".join(f"<p>{escape(each)}</p>" for each in words),
        links="\n".join(f'<a href="{escape(each.target)}">{escape(each.words)}</a>' for each in links),
    )
    own = {"Content-Security-Policy": POLICY, hdrs.CACHE_CONTROL: "no-store", hdrs.VARY: hdrs.ACCEPT}
    return web.Response(
        text=text,
        content_type="text/html",
        charset="utf-8",
        status=status,
        headers={**(headers or {}), **own},
    )


def sentence(words: str) -> str:
    """Words of an error as a sentence for people."""
    text = words[:1].upper() + words[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
