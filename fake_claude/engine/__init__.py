"""A run of the CLI: the poll loop, turns, requests and tool calls."""
