"""A first target file for a server, from a recorded session of its page."""
