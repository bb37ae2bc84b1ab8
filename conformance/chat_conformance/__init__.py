"""A black-box suite that judges any chat server speaking chat-stream-v1."""
