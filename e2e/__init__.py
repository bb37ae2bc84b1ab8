"""The chat in a real browser, through the real Caddy."""
