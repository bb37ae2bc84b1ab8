"""The claude that a server starts under load, where there is no C compiler; launcher.c is the same.

Run as ``python -I -S launcher.py HUB ARGUMENT…``.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> int:
    """Hand stdin and stdout to the hub and wait for the exit status."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect(sys.argv[1])
        words = b"".join(os.fsencode(word) + b"\0" for word in sys.argv[2:])
        # An empty packet would look like the end of the channel, so there is always at least one byte.
        socket.send_fds(channel, [words[:65536] or b"\0"], [0, 1])
        # The hub has the only ends now: what it closes is closed for the server, too.
        os.close(0)
        os.close(1)
        status = channel.recv(1)
        return status[0] if status else 1


if __name__ == "__main__":
    os._exit(main())
