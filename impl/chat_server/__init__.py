"""The reference server: a web chat over the claude command-line tool."""
