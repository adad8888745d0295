"""The addresses of hosts that somebody else than the operator named."""

import socket
from collections.abc import Callable, Sequence


def check_addresses(hosts: Sequence[tuple[str, int]], check: Callable[[str], None]) -> None:
    """Check the addresses of hosts before they are connected to.

    Args:
        hosts: names, with ports.
        check: raises for an address that is not to be connected to.

    Raises:
        OSError: a host has no address, or its name is none.
    """
    for host, port in hosts:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label is empty or too long
            raise OSError(f"{host!r} is no name of a host") from error
        for *_, address in found:
            check(str(address[0]))
