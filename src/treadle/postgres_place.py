"""How URLs of libpq are read, and how their database is named to people, without secrets."""

import re
from typing import Any, Final

from treadle.errors import OperatorError

_PORTS: Final = re.compile(r"[0-9,]*")
"""Ports of one server or several, each empty for the default."""


def is_server_url(url: str) -> bool:
    """Return whether a URL names a database of PostgreSQL, and not a file."""
    return re.match(r"postgres(ql)?(\+psycopg)?://", url) is not None


def read_libpq_url(url: str, expected: str) -> dict[str, Any]:
    """Return the parameters of a URL, as libpq reads it.

    Args:
        url: of a database.
        expected: the text of the error; it does not repeat the URL, which may have a password.

    Raises:
        OperatorError: libpq cannot read it.
    """
    import psycopg  # an extra: who names a database without it has no URL of libpq
    from psycopg.conninfo import conninfo_to_dict

    try:
        given: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The driver's own message may repeat the part that holds the password.
        raise OperatorError(expected) from None
    # A user or a password with an @ or a / that is not encoded ends up in the host, or in the port.
    if "@" in str(given.get("host", "")) or not _PORTS.fullmatch(str(given.get("port", ""))):
        raise OperatorError(expected)
    return given


def name_postgres_place(host: str, port: str, database: str | None) -> str:
    """Return `postgresql://host1:port,host2:port/database`.

    Args:
        host: several of them with commas between, as libpq takes them.
        port: one for all of them, or one for each; empty for the default.
        database: its name; None where the user's is meant.
    """
    hosts, ports = host.split(","), port.split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    pairs = [f"[{one}]" if ":" in one else one for one in hosts]
    servers = [f"{one}:{at}" if at else one for one, at in zip(pairs, ports, strict=False)]
    return f"postgresql://{','.join(servers)}/{database or ''}"
