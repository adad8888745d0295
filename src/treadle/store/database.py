"""The door to SQLite or PostgreSQL: connections, transactions, and whose fault a failure is.

Several processes use one store at once. On SQLite a transaction that writes begins with BEGIN
IMMEDIATE: it waits for its turn before it reads anything, so it never has to give up half way.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError
from sqlalchemy.exc import OperationalError as SqlOperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import Table

from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.files import make_private_file, sync_folder
from treadle.store.schema import meta
from treadle.store.secrets import SecretCipher

BUSY_TIMEOUT_MS: Final = 30_000  # longer than any write transaction of treadle's takes
WAL_RETRY_PAUSE_S: Final = 0.01  # between tries to switch a new file to its write-ahead log

Insert = sqlite.Insert | postgresql.Insert


@dataclass(frozen=True, slots=True)
class StoreTransaction:
    """A transaction that is open now, and what the statements in it need from outside.

    Attributes:
        now: when it began; microseconds since 1970, UTC.
        mint: prefix -> a new token.
    """

    connection: Connection
    now: int
    cipher: SecretCipher
    mint: Callable[[str], str]

    def insert(self, table: Table) -> Insert:
        """An INSERT that can say ON CONFLICT."""
        if self.connection.dialect.name == "sqlite":
            return sqlite.insert(table)
        return postgresql.insert(table)


class StoreDatabase:
    """Transactions on one database.

    Args:
        url: `sqlite:///path/of/a/file` or `postgresql://...`.
        clock: microseconds since 1970, UTC.
    """

    def __init__(
        self,
        url: str,
        cipher: SecretCipher,
        clock: Callable[[], int],
        mint: Callable[[str], str],
    ) -> None:
        self._engine = create_store_engine(url)
        self._cipher = cipher
        self._clock = clock
        self._mint = mint

    @contextmanager
    def read(self) -> Iterator[StoreTransaction]:
        """A transaction that only reads."""
        with translate_errors(), self._engine.connect() as connection:
            yield self._transaction(connection)

    @contextmanager
    def write(self) -> Iterator[StoreTransaction]:
        """A transaction that writes what no pusher notices; committed when the block ends well."""
        with translate_errors(), begin_write(self._engine) as connection:
            yield self._transaction(connection)

    @contextmanager
    def change(self) -> Iterator[StoreTransaction]:
        """A transaction that changes accounts, sources, tokens or destinations.

        It raises the revision first, and so holds that row until it ends: one change at a time,
        in all processes, which is what makes "read, decide, write" safe inside it. A change that
        raises leaves the revision as it was.
        """
        with self.write() as tx:
            tx.connection.execute(update(meta).values(revision=meta.c.revision + 1))
            yield tx

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """For migrations."""
        return self._engine

    def _transaction(self, connection: Connection) -> StoreTransaction:
        return StoreTransaction(connection, self._clock(), self._cipher, self._mint)


class StoreRepository:
    """Everything the store knows of one noun.

    Methods block, may be called from any thread, and are each one transaction. Times are
    microseconds since 1970, UTC. Every look-up that takes an account finds only what is that
    account's (connect-api.md 4.5).

    Any method raises `RetriableError` when the database is not available now, and `OperatorError`
    when it refuses its user or its file cannot be used.
    """

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database


@contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """A connection inside a transaction that writes."""
    with engine.connect() as connection:
        connection = connection.execution_options(treadle_writes=True)
        with connection.begin():
            yield connection


def create_store_engine(url: str) -> Engine:
    """The engine for a store URL.

    Raises:
        OperatorFault: the URL names no database treadle can keep its store in.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    # Parameters hold sealed secrets and names of clients: never in an error text.
    return create_engine(parsed, hide_parameters=True, pool_pre_ping=True, pool_recycle=3600)


def _parsed(url: str) -> URL:
    expected = "expected sqlite:///path/of/a/file or postgresql://user@host/database"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise OperatorError(f"the store's URL cannot be read: {expected}") from error
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite")
    raise OperatorError(
        f"the store cannot be kept in a {backend} database of this kind: {expected}"
    )


def _sqlite_engine(url: URL) -> Engine:
    _make_private_file(Path(url.database or ""))
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to be IMMEDIATE
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("treadle_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to its write-ahead log.

    Of two connections that switch a new file at once, SQLite tells one that it is locked without
    waiting; by the next try the other has done it.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_PAUSE_S)
        else:
            return


def _make_private_file(path: Path) -> None:
    """Make the file where missing, for treadle's user alone; SQLite's side files inherit that."""
    try:
        if make_private_file(path):
            sync_folder(path.parent)  # or a power cut could take the new file's name away again
    except OSError as error:
        raise OperatorError(
            f"the store {path} cannot be made ({error.strerror}): make its folder, writable for "
            f"the user treadle runs as"
        ) from error


# SQLSTATEs that mean somebody has to act: 28 who may log in, 3D no such database, 42501 missing
# rights; and SQLite's codes of the same meaning.
_OPERATOR_STATES: Final = ("28", "3D", "42501")
_OPERATOR_CODES: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    | {sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the drivers' errors into treadle's, by whose fault they are."""
    try:
        yield
    except PoolTimeoutError as error:
        raise RetriableError("the store has no free connection now") from error
    except DBAPIError as error:
        said = _first_line(error.orig)
        if _needs_the_operator(error.orig):
            raise OperatorError(
                f"the store cannot be used ({said}): check its file or the rights of its database "
                f"user"
            ) from error
        if isinstance(error, SqlOperationalError | InterfaceError):
            raise RetriableError(f"the store is not available now ({said})") from error
        raise InternalError(f"the store's database refused a statement ({said})") from error


def _needs_the_operator(error: Any) -> bool:
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_OPERATOR_STATES)
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and (code & 0xFF) in _OPERATOR_CODES


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
