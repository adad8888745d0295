"""Connections to the database of a log by psycopg, and what its errors mean.

A session that appends is never cancelled: a cancelled wait for a standby would answer success for
rows that can be lost. Who gives up on it shuts its socket, and finds out later what became of it.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor, pq
from psycopg.abc import AdaptContext
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError
from treadle.log.postgres.entry_rows import (
    EncodedBlobs,
    EncodedInt4s,
    EncodedInt8s,
    EncodedUuids,
)
from treadle.log.postgres.outcome import is_damage, needs_operator
from treadle.postgres_place import name_postgres_place, read_libpq_url

CONNECT_DEFAULTS: Final[Mapping[str, str]] = {
    "connect_timeout": "2",
    "target_session_attrs": "read-write",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""A server that is gone is noticed within some seconds, also when nothing says that it is gone."""

_FORBIDDEN_AT_LOGIN: Final = (
    "authentication failed",
    "no pg_hba.conf entry",
    "no password supplied",
    "not permitted to log in",
    "certificate",
)
"""Login errors carry no SQLSTATE in libpq, so their text has to tell."""

Row = tuple[Any, ...]


class _EncodedDumper(Dumper):
    """Passes on what is in PostgreSQL's binary form already."""

    format = pq.Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        found: bytes = obj
        return found


def _make_dumper(oid_: int) -> type[Dumper]:
    return type("EncodedDumper", (_EncodedDumper,), {"oid": oid_})


_ARRAY_OIDS: Final = (
    (EncodedInt4s, 1007),
    (EncodedInt8s, 1016),
    (EncodedBlobs, 1001),
    (EncodedUuids, 2951),
)


def _make_context() -> AdaptContext:
    adapters = AdaptersMap(psycopg.adapters)
    for encoded, oid in _ARRAY_OIDS:
        adapters.register_dumper(encoded, _make_dumper(oid))
    return _EncodedContext(adapters)


class _EncodedContext:
    """What psycopg asks of a context: the adapters of its values."""

    def __init__(self, adapters: AdaptersMap) -> None:
        self._adapters = adapters

    @property
    def adapters(self) -> AdaptersMap:
        """How values are written."""
        return self._adapters

    @property
    def connection(self) -> None:
        """No connection: the adapters are for all of them."""
        return


_CONTEXT: Final = _make_context()


def make_parameters(url: str, member: str) -> str:
    """Return the parameters of a connection to the database of a log.

    Args:
        url: `postgresql://user:password@host1,host2/database?parameters`. Only the server that
            takes writes is connected to.
        member: who connects; its application name is "treadle <member>".

    Raises:
        OperatorError: it is no such URL.
    """
    given = read_libpq_url(
        url,
        "the log's URL is not a PostgreSQL URL; expected "
        "postgresql://user:password@host1,host2/database with special characters percent-encoded",
    )
    given = {"application_name": f"treadle {member}", **CONNECT_DEFAULTS, **given}
    return make_conninfo("", **{name: str(value) for name, value in given.items()})


def name_place(url: str) -> str:
    """Return the servers and the database of a URL, as people may see them.

    Raises:
        OperatorError: it is no URL of PostgreSQL.
    """
    given = conninfo_to_dict(make_parameters(url, ""))
    host, port, database = (str(given.get(name) or "") for name in ("host", "port", "dbname"))
    return name_postgres_place(host, port, database)


def make_member() -> str:
    """Return a name for this process, where it was given none."""
    return f"{socket.gethostname()} {os.getpid()}"


async def connect_lane(parameters: str) -> AsyncConnection[Row]:
    """Connect for appending.

    Raises:
        psycopg.Error: no server that takes writes can be reached.
    """
    return await AsyncConnection.connect(
        parameters, autocommit=True, cursor_factory=AsyncRawCursor, context=_CONTEXT
    )


def connect_reader(parameters: str) -> Connection[Row]:
    """Connect for reading and keeping; raises like `connect_lane`."""
    return Connection.connect(
        parameters, autocommit=True, cursor_factory=RawCursor, context=_CONTEXT
    )


def shut_socket(descriptor: int) -> None:
    """End both directions of a connection's socket, which stays open.

    Whoever waits for an answer on it is told that the connection is gone. To close it would leave
    that one waiting for ever.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as other:
        other.shutdown(socket.SHUT_RDWR)


def get_severity(error: psycopg.Error) -> str | None:
    """Return the severity of an error in English; None where the driver raised it by itself."""
    return error.diag.severity_nonlocalized


def describe_error(error: Exception) -> str:
    """Return the server's message as `ERROR: text`, or the driver's on one line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return f"{error.diag.severity or 'ERROR'}: {error.diag.message_primary}"
    return " ".join(str(error).split())


def translate_error(error: psycopg.Error) -> TreadleError:
    """Return the meaning of an error to who appends or reads."""
    text = describe_error(error)
    state = error.sqlstate
    if is_damage(state):
        return OperatorError(
            f"the log's database is damaged ({text}): restore the server from a standby or a "
            f"backup; what can be read is read"
        )
    forbidden = state is None and any(mark in text for mark in _FORBIDDEN_AT_LOGIN)
    if needs_operator(state) or forbidden:
        return OperatorError(
            f"the log's database cannot be used ({text}): check its URL and rights"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return RetriableError(f"the log's database is not available now ({text})")
    if state is None or state.startswith(("22", "23")):
        return InternalError(f"the log's database refused a statement ({text})")
    return RetriableError(f"the log's database is not available now ({text})")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of psycopg into those of treadle, by whose fault they are."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(error) from error


Connector = Callable[[str], Connection[Row]]
