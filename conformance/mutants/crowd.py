"""The reference server without a bound on what one user or stranger may take."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.mutants.breaks import breaks, put
from impl.serving import ClientProtocol


@breaks("silent-connections-stay")
def silent_connections_stay() -> None:
    """The time for a header begins with its first byte."""

    def make(connection_made: Any) -> Any:
        def mutant(self: ClientProtocol, transport: asyncio.BaseTransport) -> None:
            connection_made(self, transport)
            if self._late is not None:
                self._late.cancel()
                self._late = None

        return mutant

    put(ClientProtocol, "connection_made", make)


@breaks("each-byte-gains-time")
def each_byte_gains_time() -> None:
    """The time for a header begins anew with each byte."""

    def make(data_received: Any) -> Any:
        def mutant(self: ClientProtocol, data: bytes) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)
            data_received(self, data)

        return mutant

    put(ClientProtocol, "data_received", make)
