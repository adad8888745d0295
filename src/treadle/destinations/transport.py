"""Risks of the network between treadle and a destination."""

import ipaddress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class TransportRisk:
    """A reason for which others can read a connection to a destination, or take it over.

    Attributes:
        found: what is set, one sentence.
        meaning: what follows from it, one sentence.
        remedy: what to do, one sentence.
    """

    found: str
    meaning: str
    remedy: str


@runtime_checkable
class RemoteDestination(Protocol):
    """A destination that may be on another machine. One that is a file has no such method."""

    def find_risk(self) -> TransportRisk | None:
        """Return what is wrong with how it is connected to; None for nothing. Asks no server."""


def find_transport_risk(destination: object) -> TransportRisk | None:
    """Return what is wrong with how a destination is connected to; None for nothing."""
    return destination.find_risk() if isinstance(destination, RemoteDestination) else None


def describe_risk(identity: str, setting: str, remedy: str, *, encrypts: bool) -> TransportRisk:
    """Return the risk of a server that does not have to prove who it is.

    Args:
        identity: the destination's name for people.
        setting: how it is connected to, as its URL says that.
        remedy: what to do, one sentence.
        encrypts: nothing is sent in clear.
    """
    way = "answer in place of the server" if encrypts else "have the connection in clear"
    return TransportRisk(
        f"{identity} is connected to with {setting}, which does not verify the server.",
        f"Whoever is on the way can {way}, and read the rows and change them.",
        remedy,
    )


def is_local_host(host: str) -> bool:
    """Return whether a host is this machine, by its socket or by a loopback address."""
    host = host.strip()
    if not host or host[0] in "/@" or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
