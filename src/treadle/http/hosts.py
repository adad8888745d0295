"""The host names under which the server gives protected pages: a defence against DNS rebinding.

A web page of an attacker can let its own host name point to this machine. A browser then sends
requests here, with that name in the header `Host`, and gives the answers to the page. So pages that
are protected by the address of the client, and pages into which people type secrets, are given
under known names only. An IP address cannot be made to point elsewhere, so the address to which the
connection came is known, too.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

LOCAL_NAME: Final = "localhost"


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The known names of a server.

    Attributes:
        names: in lower case, without a port.
    """

    names: frozenset[str]

    @classmethod
    def parse(
        cls, listen_host: str, others: str | None, public_url: str | None = None
    ) -> "AllowedHosts":
        """Return the names of a server: of its listen address, of its public URL, and others.

        Args:
            listen_host: where it listens, a name or an address.
            others: names with commas between them; None for none.
            public_url: under which people reach the server; None for no other than the address.
        """
        listed = [listen_host, *(others or "").split(","), urlsplit(public_url or "").netloc]
        found = (normalize_host(name.strip()) for name in listed)
        return cls(frozenset(name for name in found if name is not None))

    def allows(self, scope: Scope) -> bool:
        """Return whether a request names the server by a known name, or by a loopback address."""
        host = read_host(scope)
        if host is None:
            return False
        return host in self.names or is_loopback_host(host) or host == _read_own_address(scope)


def read_host(scope: Scope) -> str | None:
    """Return the host that a request names, without its port; None unless there is exactly one."""
    found = [value for name, value in scope["headers"] if name == b"host"]
    if len(found) != 1:
        return None
    return normalize_host(found[0].decode("latin-1"))


def normalize_host(text: str) -> str | None:
    """Return a host in lower case, without port, brackets and the dot of the root.

    Args:
        text: `name`, `name:port`, `[address]:port`, or an IPv6 address by itself.

    Returns:
        None for a text that is none of these.
    """
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    host = host.lower().removesuffix(".")
    if not host or not host.isascii() or not (port == "" or port.isdigit()):
        return None
    address = parse_address(host)
    return host if address is None else str(address)


def is_loopback_host(host: str | None) -> bool:
    """Return whether a host is this machine's loopback name, or one of its loopback addresses."""
    if host is None:
        return False
    address = parse_address(host)
    return host == LOCAL_NAME if address is None else address.is_loopback


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, an IPv4 address inside IPv6 as itself; None for any other text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _read_own_address(scope: Scope) -> str | None:
    """Return the address of the server that the connection came to; None for a UNIX socket."""
    server = scope.get("server")
    address = parse_address(str(server[0])) if server else None
    return None if address is None else str(address)
