"""The addresses that the server connects to for an account (connect-rest.md A.2.2, A.2.6).

An account names hosts: of its warehouse, or of the receiver of a post-load hook. The server stands
in another network than the account, and could so be led to what only the machine itself may reach:
the metadata service of a cloud, which gives away credentials, or other servers of the machine.

A name says nothing, because it can point to another address at the next look. So what is checked is
the address that is connected to.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from treadle.errors import OperatorError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_EMBEDDING: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
"""Networks whose addresses hold one of IPv4 in their last 32 bits: of NAT64, and the old form."""

_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
)
"""Addresses of clouds' metadata services that are not link-local."""

_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")


class AddressRefusedError(OperatorError):
    """The server connects to no such address for an account."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The addresses that an account may name.

    Attributes:
        allows_loopback: it may name addresses of this machine.
    """

    allows_loopback: bool

    def check(self, address: str) -> None:
        """Check an address that is about to be connected to; private networks are allowed.

        Raises:
            AddressRefusedError: it is link-local, unspecified, multicast, of a metadata service,
                of this machine where that is not allowed, or no address at all.
        """
        why = self._find_reason(parse_full_address(address))
        if why is not None:
            raise AddressRefusedError(f"the server does not connect to {address}: it is {why}")

    def _find_reason(self, address: Address | None) -> str | None:
        if address is None:
            return "no IP address"
        if address.is_loopback:
            return None if self.allows_loopback else "an address of the server's own machine"
        if address.is_link_local:
            return "link-local, where clouds keep their credentials"
        if address in _METADATA:
            return "the address of a cloud's metadata service"
        if address.is_unspecified or address in _THIS_NETWORK:
            return "unspecified"
        if address.is_multicast or str(address) == "255.255.255.255":
            return "no address of one machine"
        return None


def parse_full_address(text: str) -> Address | None:
    """Return the address that a connection would reach; None for any other text.

    An IPv4 address inside of IPv6 is judged as itself.
    """
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is not None:
        return inner
    if any(address in network for network in _EMBEDDING) and int(address) & 0xFFFFFFFF > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
