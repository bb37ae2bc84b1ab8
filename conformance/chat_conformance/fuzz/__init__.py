"""A seeded fuzzer of a chat server: hostile frames and hostile HTTP, with valid traffic in between."""
