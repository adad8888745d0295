"""Requests that were stored once and noted elsewhere, carried over into the log."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from treadle.log import sql
from treadle.log.disk import Connect, connect, open_log, transaction, translated


class Carried(NamedTuple):
    """What the log is to know.

    Attributes:
        name: of the request, 32 bytes.
        digest: of what was asked, 32 bytes.
        first: position of the first entry.
        at: when it was stored, microseconds since 1970.
    """

    name: bytes
    digest: bytes
    first: int
    at: int


def carry(path: Path, requests: Iterable[Carried], *, connect: Connect = connect) -> None:
    """Note requests as stored, durably; one that is known already changes nothing.

    Raises:
        OperatorFault, TryLater: they may be noted or not; it can be done again.
    """
    connection, lock, _ = open_log(path, connect, durable=True)
    try:
        with translated(), lock, transaction(connection):
            connection.executemany(sql.KEEP_REQUEST, [(*one, 0) for one in requests])
    finally:
        connection.close()
        lock.close()
