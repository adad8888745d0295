"""Where a connection goes: addresses that are checked before, and certificates that are in the URL.

libpq looks up a host by itself, and whoever answers for its name could give one address to a check
and another to libpq. So a host is looked up here, and libpq is told the address that was checked
(`hostaddr`). It goes on comparing the host with the server's certificate.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg import pq

from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.server_form import PEM_BEGIN

LOCAL_SOCKET: Final = "127.0.0.1"
"""What a socket of this machine is judged as."""

WITHHELD: Final = {
    "sslcertmode": "disable",
    "gssencmode": "disable",
    "require_auth": "!gss,!sspi",
    "options": "",
}
"""Parameters with which libpq shows a server no certificate and no ticket, and asks it for no
setting. It knows the first and the third from version 16 on."""


def pin_addresses(
    parameters: Mapping[str, Any], check_address: Callable[[str], None]
) -> dict[str, Any]:
    """Return parameters of libpq with the checked addresses of their hosts.

    Args:
        parameters: of the URL.
        check_address: raises for an address that is not to be connected to.

    Raises:
        DestinationUnavailableError: a name cannot be looked up now.
        Exception: what `check_address` raises, for any address of any host.
    """
    hosts = str(parameters.get("hostaddr") or parameters.get("host") or "").split(",")
    names = str(parameters.get("host") or "").split(",")
    ports = str(parameters.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    pinned: list[tuple[str, str, str]] = []
    for at, host in enumerate(hosts):
        name = names[at] if at < len(names) else host
        port = ports[at] if at < len(ports) else ports[-1]
        if not host or host[0] in "/@":
            check_address(LOCAL_SOCKET)
            pinned.append((host, "", port))
            continue
        for address in look_up(host):
            check_address(address)
            pinned.append((name, address, port))
    columns = zip(*pinned, strict=True)
    return dict(parameters) | dict(
        zip(("host", "hostaddr", "port"), (",".join(column) for column in columns), strict=True)
    )


def withhold_credentials(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with which libpq takes nothing of this machine's user to a server.

    What a URL does not set, libpq takes from files and the environment: a client certificate, a
    Kerberos ticket, settings of the session (PGOPTIONS). A server that an account named may be one
    that lets treadle's operator in by these.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    withheld = {name: value for name, value in WITHHELD.items() if name in known}
    if parameters.get("sslcert"):
        withheld.pop("sslcertmode", None)  # one that the URL names itself
    return withheld | dict(parameters)


def look_up(host: str) -> list[str]:
    """Return the addresses of a host, each once, in the order of the system.

    Raises:
        DestinationUnavailableError: the name is not known, or nobody answers.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise DestinationUnavailableError(f"the host {host} cannot be found: {said}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@contextmanager
def place_certificate(parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give parameters whose `sslrootcert` is a file, while libpq connects.

    Where it is the text of certificates, that is in a file for this user alone until the end of the
    block.
    """
    text = str(parameters.get("sslrootcert") or "")
    if PEM_BEGIN not in text:
        yield dict(parameters)
        return
    descriptor, path = tempfile.mkstemp(prefix="treadle-", suffix=".pem")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        yield dict(parameters) | {"sslrootcert": path}
    finally:
        Path(path).unlink()
