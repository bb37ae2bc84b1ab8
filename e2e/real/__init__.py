"""The chat with the real claude CLI behind it, without network or key."""
