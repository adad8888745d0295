"""PyMySQL with rows that are sent out of memory and no other file, and statements only parsed.

LOAD DATA LOCAL has the server name the file that it wants. PyMySQL would send any file that a
server asks for; a server that an account named could ask for treadle's secrets. So the name is not
looked at, and what is sent is what this process offered, or nothing.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymysql import err
from pymysql.connections import Connection, MySQLResult
from pymysql.constants import COMMAND, CR

PACKET_BYTES: Final = 1 << 20
"""Of rows that are sent together; the driver's own 16 KB take half as long again."""


class OfferedRows(MySQLResult):  # type: ignore[misc]  # PyMySQL has no types
    """The answer to a statement, to which rows may belong."""

    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection: MysqlDriver = self.connection
        pieces, connection.offered = connection.offered, None
        if pieces is None:
            connection._force_close()
            raise err.OperationalError(
                CR.CR_MALFORMED_PACKET, "the server asked for a file that nobody offered"
            )
        try:
            for piece in pieces:
                for start in range(0, len(piece), PACKET_BYTES):
                    connection.write_packet(piece[start : start + PACKET_BYTES])
        finally:
            if connection.open:  # an empty packet is the end; what came of the rows is undone
                connection.write_packet(b"")
                ended = connection._read_packet()
        self._read_ok_packet(ended)


class MysqlDriver(Connection):  # type: ignore[misc]  # PyMySQL has no types
    """A connection.

    Attributes:
        offered: rows in pieces, for the next LOAD DATA.
    """

    offered: Iterable[bytes | memoryview] | None = None
    _read_timeout: int | None

    @contextmanager
    def waiting(self, seconds: int) -> Iterator[None]:
        """Wait so long for an answer in the block, not as long as was said when it was made."""
        former, self._read_timeout = self._read_timeout, seconds
        try:
            yield
        finally:
            self._read_timeout = former

    def _read_query_result(self, unbuffered: bool = False) -> int:
        self._result = None
        result = OfferedRows(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return int(result.affected_rows or 0)

    def load_rows(self, statement: str, pieces: Iterable[bytes | memoryview]) -> tuple[int, int]:
        """Run LOAD DATA with rows; returns how many were taken, and how many warnings there are."""
        self.offered = pieces
        try:
            taken = int(self.query(statement))
        finally:
            self.offered = None
        return taken, 0 if self._result is None else int(self._result.warning_count)

    def describe_statement(self, statement: str) -> tuple[int, int]:
        """Have the server parse one statement and run nothing.

        Returns:
            How many columns its rows have, 0 for one that gives none, and how many parameters.
        """
        self._execute_command(COMMAND.COM_STMT_PREPARE, statement)
        number, columns, parameters = self._read_packet().read_struct("<xIHH")
        for count in (parameters, columns):
            for _ in range(count + 1 if count else 0):  # the last packet says that it is that
                self._read_packet()
        self._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", number))
        return columns, parameters
