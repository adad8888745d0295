"""Connections to database servers for drivers that take a socket, which libpq does by itself."""

import socket
import ssl
from collections.abc import Callable
from typing import Final

from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_form import PEM_BEGIN
from treadle.errors import OperatorError

CONNECT_SECONDS_MAX: Final = 10

_KEEP_ALIVE: Final = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 15_000),
)
"""Options with which a server that vanished is noticed in 11 seconds, not after the system's two
hours."""


def connect_server(
    server: str,
    host: str,
    port: int,
    timer: PhaseTimer,
    check_address: Callable[[str], None] | None = None,
) -> socket.socket:
    """Connect to a server.

    The host is looked up here, so that the address that was checked is the one connected to.

    Args:
        server: the name of its kind, for errors.
        host: a name or an address.
        port: of it.
        timer: at which each phase begins.
        check_address: raises for an address that is not to be connected to; None for any address.

    Raises:
        DestinationUnavailableError: it has no address, or none that answers.
    """
    timer.begin(CheckPhase.NAME)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DestinationUnavailableError(
            f"{server} cannot be reached: the host {host} has no address: {error}"
        ) from error
    if all(str(address[0]) == host for *_, address in found):
        timer.drop(CheckPhase.NAME)  # it is an address
    for *_, address in found:
        if check_address is not None:
            check_address(str(address[0]))
    timer.begin(CheckPhase.CONNECT)
    fault: OSError | None = None
    for family, kind, protocol, _, address in found:
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(CONNECT_SECONDS_MAX)
            connecting.connect(address)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):
                    connecting.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        except OSError as error:
            connecting.close()
            fault = error
        else:
            return connecting
    raise DestinationUnavailableError(f"{server} cannot be reached at {host}:{port}: {fault}")


def make_tls_context(
    authority: str, parameter: str, *, verifies: bool, checks_name: bool
) -> ssl.SSLContext:
    """Return how a connection is encrypted.

    Args:
        authority: certificates, or the path of a file of them; empty for the system's.
        parameter: of the URL that named them, for errors.
        verifies: the server has to prove who it is.
        checks_name: it has to be called as it is looked up.

    Raises:
        OperatorError: the certificates cannot be read.
    """
    try:
        if PEM_BEGIN in authority:
            context = ssl.create_default_context(cadata=authority)
        else:
            context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ValueError) as error:
        raise OperatorError(f"the certificates of {parameter} cannot be read: {error}") from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # those that MySQL makes do not pass
    context.check_hostname = checks_name
    if not verifies:
        context.verify_mode = ssl.CERT_NONE
    return context
