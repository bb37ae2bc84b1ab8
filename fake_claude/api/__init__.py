"""The loopback Messages API."""
