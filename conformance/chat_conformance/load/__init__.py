"""How much a chat server holds: servers under the same load in one run, side by side."""
