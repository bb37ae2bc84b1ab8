"""Conversations, turns and logins in a database."""
