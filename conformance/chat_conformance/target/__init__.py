"""The server under test: its file, its processes, its variants."""
