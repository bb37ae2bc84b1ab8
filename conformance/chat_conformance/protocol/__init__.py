"""chat-stream-v1 for machines: its messages and documents as types, and the schemas made from them.

The types are written from docs/protocol.md and not taken from the server: an oracle must not follow what it judges.
"""
