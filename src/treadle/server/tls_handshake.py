"""Accepts connections that begin with a TLS handshake.

uvicorn shows a connection to its protocol when the handshake is done. Whoever begins none would
hold a socket for a minute, and nobody would count it. So a connection is accepted here, counted as
a stranger's, and given to the protocol once it is encrypted.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from treadle.ingest.fastpath.connection_table import ConnectionTable

HANDSHAKE_SECONDS: Final = 10.0
"""Seconds that a handshake may take. Normally it takes milliseconds and two round trips."""

GOODBYE_SECONDS: Final = 2.0
"""Seconds to wait until the client ends the encryption, when a connection is closed."""

ACCEPT_PAUSE_SECONDS: Final = 0.1
"""Pause after a connection that could not be accepted, as where files run out."""

FAILED: Final = "a connection was closed, because its TLS handshake failed"


class TlsAcceptor:
    """Accepts connections, and gives each a protocol once it is encrypted.

    Args:
        context: the TLS settings.
        make_protocol: makes the protocol of one connection.
        table: counts the connections.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        table: ConnectionTable,
    ) -> None:
        self._context = context
        self._make_protocol = make_protocol
        self._table = table
        self._handshakes: set[TlsHandshake] = set()

    async def accept_all(self, listening: socket.socket) -> None:
        """Accept until cancelled; the caller closes the socket."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            address = str(peer[0]) if isinstance(peer, tuple) else ""
            handshake = TlsHandshake(accepted, address)
            if not self._table.add(handshake, address):
                accepted.close()
                continue
            self._handshakes.add(handshake)
            handshake.task = loop.create_task(self._shake_hands(handshake))
            handshake.task.add_done_callback(partial(self._forget, handshake))

    async def _shake_hands(self, handshake: "TlsHandshake") -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                handshake.socket,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
        except OSError as error:  # also those of OpenSSL, and one that took too long
            self._table.log.record(FAILED, handshake.address, _explain(error))

    def _forget(self, handshake: "TlsHandshake", task: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        self._table.remove(handshake)
        if task.cancelled():  # maybe before it began
            handshake.socket.close()

    async def end_handshakes(self) -> None:
        """Give up what is not encrypted yet: nobody has asked for anything over it."""
        tasks = [one.task for one in self._handshakes if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TlsHandshake:
    """A connection that is not encrypted yet.

    Attributes:
        socket: of it.
        address: where it comes from; empty for a socket of this machine.
        task: that waits for the end of the handshake.
    """

    def __init__(self, socket: socket.socket, address: str) -> None:
        self.socket = socket
        self.address = address
        self.task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Close at once; another connection gets its place."""
        if self.task is not None:
            self.task.cancel()


def _explain(error: OSError) -> str:
    """Return why a handshake failed, in OpenSSL's words or the system's."""
    if isinstance(error, ssl.SSLError) and error.reason is not None:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError):
        return f"it took longer than {HANDSHAKE_SECONDS:.0f} s"
    return error.strerror or "the connection was closed"
