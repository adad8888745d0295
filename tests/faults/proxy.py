"""A TCP proxy in front of a database that can cut a connection at its COMMIT or elsewhere."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

Cut = Literal["before", "sent", "answered"]
"""Before the mark is passed on, as soon as it is, or when the server's answer to it came back."""

COMMIT = b"COMMIT\0"
MYSQL_COMMIT = b"\x03COMMIT"
"""A statement of MySQL has its length and its kind before it."""
CLICKHOUSE_COMMIT = b"INSERT INTO `_treadle`.`positions`"
"""What commits a load where there are no transactions."""
PIECE = 1 << 16


class Proxy:
    """Passes bytes both ways until it is told to cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cut: Cut | None = None
        """Where to cut the next connection; None again once it was cut."""
        self.mark = COMMIT
        """What the client's bytes have in them where it is cut."""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                server = socket.create_connection(self._target)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting = threading.Event()
                for source, sink, up in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pass, args=(source, sink, up, waiting), daemon=True
                    ).start()

    def _pass(
        self, source: socket.socket, sink: socket.socket, up: bool, waiting: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if waiting.is_set() and not up:
                    break  # the answer
                cut = self.cut if up and self.mark in piece else None
                if cut == "answered":
                    waiting.set()
                if cut is not None:
                    self.cut = None
                    self.cuts += 1
                if cut != "before":
                    sink.sendall(piece)
                if cut == "sent":
                    time.sleep(0.001)
                if cut in ("before", "sent"):
                    break
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextlib.contextmanager
def before(host: str, port: int) -> Iterator[Proxy]:
    """A proxy for the time of the block."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.close()
