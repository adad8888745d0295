"""Recognises the environment variables that Kubernetes sets for each Service.

A container gets them for every Service of its namespace, with the name of the Service in capitals
at their beginning. Those of a Service called `treadle`, or `treadle-postgres`, begin as the
variables of settings do: `TREADLE_PORT=tcp://10.3.0.11:8484`. Docker's links have the same form.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Final

ADDRESS_PATTERN: Final = re.compile(r"(tcp|udp|sctp)://(.+):(\d{1,5})")
PORT_MAX: Final = 65_535


def is_service_link(name: str, text: str) -> bool:
    """Return whether a variable is one that Kubernetes sets for a Service.

    Name and value are both looked at, so that a wrong name of a setting is still an error. A
    setting's own name can be such a variable, too: TREADLE_PORT is, with an address as its value.

    Args:
        name: of the variable, such as `TREADLE_SERVICE_HOST` or `TREADLE_PORT_8484_TCP_ADDR`.
        text: its value.
    """
    return any(pattern.fullmatch(name) and check(text) for pattern, check in FORMS)


def _is_address(text: str) -> bool:
    """Return whether a text is an IP address, without the brackets of a URL."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= PORT_MAX


def _is_protocol(text: str) -> bool:
    return text in {"tcp", "udp", "sctp"}


def _is_link(text: str) -> bool:
    """Return whether a text is a protocol, an address and a port: `tcp://[fd00::1]:8484`."""
    found = ADDRESS_PATTERN.fullmatch(text)
    if found is None or not _is_port(found[3]):
        return False
    host = found[2]
    bracketed = host.startswith("[") and host.endswith("]")
    return _is_address(host[1:-1] if bracketed else host)


_SERVICE: Final = r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*"
"""The name of a Service: capitals, with a `_` for each `-`."""
FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]] = (
    (re.compile(rf"{_SERVICE}_SERVICE_HOST"), _is_address),
    (re.compile(rf"{_SERVICE}_SERVICE_PORT(_[A-Z0-9_]+)?"), _is_port),
    (re.compile(rf"{_SERVICE}_PORT(_\d+_(TCP|UDP|SCTP))?"), _is_link),
    (re.compile(rf"{_SERVICE}_PORT_\d+_(TCP|UDP|SCTP)_PROTO"), _is_protocol),
    (re.compile(rf"{_SERVICE}_PORT_\d+_(TCP|UDP|SCTP)_PORT"), _is_port),
    (re.compile(rf"{_SERVICE}_PORT_\d+_(TCP|UDP|SCTP)_ADDR"), _is_address),
)
"""The forms of the names, and what a value of each is."""
