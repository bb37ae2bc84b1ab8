"""Free ports for servers that are started, also where several suites run at once."""

from __future__ import annotations

import socket
from random import Random

from chat_conformance.errors import TargetError

PORTS = range(20_000, 32_000)
"""Below the range from which the kernel takes ports for outgoing connections (ip_local_port_range)."""

_used_ports: dict[int, socket.socket] = {}


def free_port(key: str) -> int:
    """A port on loopback that is free and that no other suite on this machine has drawn.

    Args:
        key: Draws the port, so that a run can be repeated.

    Raises:
        TargetError: A hundred ports in a row were taken.
    """
    for port in Random(key).sample(PORTS, 100):  # noqa: S311 - it is to be repeatable
        # The port itself cannot stay bound, since the server wants it. An abstract socket can: it reserves the number
        # among suites, and is gone with this process. It is never released, as a server may be started again.
        taken = socket.socket(socket.AF_UNIX)
        try:
            taken.bind(f"\0chatgate-port-{port}")
            with socket.socket() as probe:
                # Servers set it, too: a port in TIME_WAIT is free for them.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            taken.close()
            continue
        _used_ports[port] = taken
        return port
    raise TargetError(f"no port from {PORTS.start} to {PORTS.stop} is free")
