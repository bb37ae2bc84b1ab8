"""The page, and the headers that let nothing run in it but its own script (HTTP-7)."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

PAGE = Path(__file__).with_name("page.html").read_bytes()
SCRIPT = b64encode(sha256(PAGE.partition(b"<script>")[2].partition(b"</script>")[0]).digest()).decode()
SAFE = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{SCRIPT}'; connect-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
