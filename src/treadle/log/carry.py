"""Requests that were stored once and noted elsewhere, carried over into the log."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import (
    FileConnector,
    open_log_file,
    open_sqlite,
    translate_errors,
    write_transaction,
)


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


def carry(path: Path, requests: Iterable[Carried], *, connect: FileConnector = open_sqlite) -> None:
    """Note requests as stored, durably; one that is known already changes nothing.

    Raises:
        OperatorFault, TryLater: they may be noted or not; it can be done again.
    """
    connection, lock, _ = open_log_file(path, connect, durable=True)
    try:
        with translate_errors(), lock, write_transaction(connection):
            connection.executemany(statements.ADD_OR_RAISE_REQUEST, [(*one, 0) for one in requests])
    finally:
        connection.close()
        lock.close()
