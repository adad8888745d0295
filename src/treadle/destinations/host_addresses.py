"""The addresses of hosts that somebody else than the operator named."""

import socket
from collections.abc import Callable, Sequence


def check_addresses(hosts: Sequence[tuple[str, int]], check: Callable[[str], None]) -> None:
    """Check the addresses of hosts before they are connected to.

    Args:
        hosts: names, with ports.
        check: raises for an address that is not to be connected to.

    Raises:
        OSError: a host has no address.
    """
    for host, port in hosts:
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            check(str(address[0]))
