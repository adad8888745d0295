"""Check of a URL of libpq: is the connection encrypted, and is the server verified (libpq)."""

from collections.abc import Mapping
from typing import Final

from treadle.destinations.transport import TransportRisk, describe_risk, is_local_host

VERIFYING: Final = ("verify-ca", "verify-full")
CLEAR_TEXT: Final = ("disable", "allow", "prefer")
"""Values of sslmode with which libpq talks in clear where the server, or somebody who says to be
it, does not offer more."""

REMEDY: Final = (
    "Add sslmode=verify-full to its URL, with sslrootcert=/path/of/the/authority.pem, or "
    "sslrootcert=system for a public authority."
)


def judge_transport(identity: str, parameters: Mapping[str, str]) -> TransportRisk | None:
    """Return what is wrong with how a server is connected to; None for nothing.

    Args:
        identity: the destination's name for people.
        parameters: of libpq: those of the URL, and for others their defaults.
    """
    mode = parameters.get("sslmode") or "prefer"
    if parameters.get("sslrootcert") == "system":
        return None  # libpq refuses any other mode than verify-full with it
    if mode in VERIFYING or parameters.get("gssencmode") == "require":
        return None
    if all(map(is_local_host, _list_hosts(parameters))):
        return None
    return describe_risk(identity, f"sslmode={mode}", REMEDY, encrypts=mode not in CLEAR_TEXT)


def _list_hosts(parameters: Mapping[str, str]) -> list[str]:
    """Return the hosts that libpq may connect to; an empty one is the socket of this machine."""
    addresses = parameters.get("hostaddr") or parameters.get("host") or ""
    return addresses.split(",")
