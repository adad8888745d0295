"""The kinds of log that the suite of the contract runs over."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg

from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.installation import make_log
from treadle.log.postgres.keeper import KeeperConnection, LogKeeper
from treadle.log.postgres.reader import PostgresReader
from treadle.log.protocol import LogAppender, LogReader
from treadle.log.sqlite.log import SqliteAppender, SqliteReader


class LogKind(Protocol):
    """One log of a kind, which is made where it is opened first.

    Attributes:
        keeps_times: entries have the times that they were given; others get times that grow with
            their positions.
        trims_at_once: `trim` removes all that it may.
    """

    keeps_times: bool
    trims_at_once: bool

    def open_appender(self, get_tables_max: Callable[[int], int] = ...) -> LogAppender:
        """Open the log for writing."""

    def open_reader(self) -> LogReader:
        """Open the log for reading; marks are written at each look."""

    def open_another(self) -> LogReader:
        """Open another log."""

    def roll(self) -> None:
        """Let the log go on in another segment, where it has segments."""

    def damage(self, position: int) -> None:
        """Change a byte of the stored payload of an entry."""


class SqliteKind:
    """The log in a file."""

    keeps_times = True
    trims_at_once = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def open_appender(
        self, get_tables_max: Callable[[int], int] = lambda source_id: 0
    ) -> LogAppender:
        return SqliteAppender(self._path, get_tables_max=get_tables_max)

    def open_reader(self) -> LogReader:
        return SqliteReader(self._path)

    def open_another(self) -> LogReader:
        return SqliteReader(self._path.with_name("another.db"))

    def roll(self) -> None:
        pass

    def damage(self, position: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            [payload] = connection.execute(
                "SELECT payload FROM entries WHERE position = ?", (position,)
            ).fetchone()
            connection.execute(
                "UPDATE entries SET payload = ? WHERE position = ?", (flip(payload), position)
            )
            connection.commit()


class PostgresKind:
    """A log in a database.

    Args:
        url: of the database.
        number: the log's.
    """

    keeps_times = False
    trims_at_once = False

    def __init__(self, url: str, number: int = 1) -> None:
        self.url = url
        self.number = number
        make_log(url, number)

    def open_appender(
        self, get_tables_max: Callable[[int], int] = lambda source_id: 0
    ) -> PostgresAppender:
        return PostgresAppender(self.url, self.number, get_tables_max=get_tables_max)

    def open_reader(self) -> PostgresReader:
        return PostgresReader(self.url, self.number, mark_seconds=0)

    def open_another(self) -> PostgresReader:
        return PostgresKind(self.url, self.number + 1).open_reader()

    def keep(
        self,
        *,
        retention_us: int = 10**18,
        switching: bool = False,
        now: int = 0,
        bytes_max: int = 0,
    ) -> None:
        """Let the keeper do what is due."""
        given: dict[str, Any] = {"clock": lambda: now, "bytes_max": bytes_max}
        if switching:
            given["should_switch_segment"] = lambda *values, has_entries: has_entries
        with closing(KeeperConnection(self.url)) as connection:
            LogKeeper(connection, self.number, retention_us, **given).keep()

    def roll(self) -> None:
        self.keep(switching=True)

    def damage(self, position: int) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for (segment,) in connection.execute(
                "SELECT segment FROM treadle_log.segments WHERE log = %s", (self.number,)
            ).fetchall():
                connection.execute(
                    f"""
                    UPDATE treadle_log.e_{self.number}_{segment}
                    SET payload = set_byte(payload, length(payload) - 1,
                        get_byte(payload, length(payload) - 1) # 1)
                    WHERE position = %s
                    """.encode(),
                    (position,),
                )


def flip(payload: bytes) -> bytes:
    """The same bytes but for one bit."""
    return payload[:-1] + bytes([payload[-1] ^ 1])
