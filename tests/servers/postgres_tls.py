"""PostgreSQL behind TLS: a front of its own, or a server that has TLS itself.

The server of the wheel is built without TLS. A front takes the request for encryption that a client
of PostgreSQL begins with, and passes on in clear what comes over the encrypted connection.
"""

import contextlib
import shutil
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

from tests.servers.certificates import CertificateFiles
from tests.servers.postgres import PostgresServer, system_binaries

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
SECONDS_MAX = 60.0


@contextlib.contextmanager
def tls_front(port: int, certificate: CertificateFiles) -> Iterator[int]:
    """A port that speaks TLS before the PostgreSQL server at another port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_alpn_protocols(["postgresql"])
    listening = socket.create_server(("127.0.0.1", 0))

    def pass_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := one.recv(1 << 16):
                other.sendall(piece)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve(raw: socket.socket) -> None:
        raw.settimeout(SECONDS_MAX)
        with raw, contextlib.suppress(OSError):
            if raw.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                return
            raw.sendall(b"S")
            with (
                context.wrap_socket(raw, server_side=True) as client,
                socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as server,
            ):
                back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
                back.start()
                pass_on(client, server)
                back.join(SECONDS_MAX)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listening.accept()
                threading.Thread(target=serve, args=(raw,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@contextlib.contextmanager
def tls_server(certificate: CertificateFiles) -> Iterator[PostgresServer]:
    """The PostgreSQL of the system, with TLS of its own.

    Raises:
        NoServerError: none is installed.
    """
    server = PostgresServer(system_binaries())
    for path in (certificate.cert, certificate.key):
        there = server._root / path.name
        shutil.copyfile(path, there)
        there.chmod(0o600)
        server._give_to_account(there)
    server._settings = {
        **server._settings,
        "ssl": "on",
        "ssl_cert_file": str(server._root / certificate.cert.name),
        "ssl_key_file": str(server._root / certificate.key.name),
    }
    with server:
        yield server
