"""Frames, messages and handshakes as bytes on a socket."""
