"""Servers broken on purpose, each caught by the case that was made for it."""
