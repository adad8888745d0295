"""The addresses that the server connects to when a client says where (connect-rest.md A.2.2).

Whoever has an account token may name a host. Without a rule that host could be a service that
trusts this machine, or the metadata service of a cloud.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from treadle.errors import OperatorError

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of IPv6 that stand for one of IPv4 (RFC 6052)."""


class AddressRefusedError(OperatorError):
    """The server does not connect to an address that a client of its API named."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The rule which addresses the server connects to (connect-rest.md A.2.2).

    Private networks are allowed: that is where databases are.

    Attributes:
        allows_loopback: addresses of this machine are allowed, too.
    """

    allows_loopback: bool = False

    def check(self, address: str) -> None:
        """Check a resolved address, just before it is connected to.

        Args:
            address: of IPv4 or IPv6. One of IPv6 that stands for one of IPv4 is judged as that.

        Raises:
            AddressRefusedError: the server does not connect to it.
        """
        kind = _name_kind(address)
        if kind is None or (kind == LOOPBACK and self.allows_loopback):
            return
        raise AddressRefusedError(
            f"the server does not connect to {address}, which is {kind}; name another host"
        )


LOOPBACK: Final = "an address of this machine"


def _name_kind(address: str) -> str | None:
    """Return what kind of address is not connected to; None for any other."""
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(found, ipaddress.IPv6Address):
        plain = ipaddress.IPv6Address(int(found))  # without the name of a network interface
        if plain.ipv4_mapped is not None:
            found = plain.ipv4_mapped
        elif plain in NAT64:
            found = ipaddress.IPv4Address(int(plain) & 0xFFFF_FFFF)
        else:
            found = plain
    if found.is_link_local:
        return "a link-local address"
    if found.is_unspecified:
        return "the unspecified address"
    if found.is_multicast:
        return "a multicast address"
    return LOOPBACK if found.is_loopback else None
