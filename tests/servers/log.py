"""The log of servers that run in the process of a test: a file, or, with LOG_TESTS=postgres in the
environment, a log in a database.
"""

import atexit
import functools
import itertools
import os
from pathlib import Path
from typing import Final

from tests.servers.postgres import PostgresServer

from treadle.log.protocol import LogAppender, LogReader
from treadle.log.sqlite.log import SqliteAppender, SqliteReader

LOGS_VARIABLE: Final = "LOG_TESTS"

_numbers = itertools.count(1)


def is_on_postgres() -> bool:
    """Whether logs are to be in a database."""
    return os.environ.get(LOGS_VARIABLE) == "postgres"


def open_test_appender(folder: Path) -> LogAppender:
    """Open the log of a folder for writing; it is made by the first call."""
    if not is_on_postgres():
        return SqliteAppender(folder / "log.sqlite")
    from treadle.log.postgres.appender import PostgresAppender

    return PostgresAppender(_start_server(), _make_log(folder))


def open_test_reader(folder: Path) -> LogReader:
    """Open the log of a folder for reading."""
    if not is_on_postgres():
        return SqliteReader(folder / "log.sqlite")
    from treadle.log.postgres.reader import PostgresReader

    return PostgresReader(_start_server(), _make_log(folder), mark_seconds=0)


@functools.cache
def _start_server() -> str:
    """The URL of a database for all logs of this process, on a server of its own."""
    server = PostgresServer()
    server.start()
    atexit.register(server.close)
    return server.create_database()


@functools.cache
def _make_log(folder: Path) -> int:
    """The number of the log of a folder in that database."""
    from treadle.log.postgres.installation import make_log

    number = next(_numbers)
    make_log(_start_server(), number)
    return number
