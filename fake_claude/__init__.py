"""A deterministic stand-in for the claude command-line tool."""
