"""Connections and transactions of the store, and the translation of its database's errors.

Several processes use one store at once. On SQLite a transaction that writes begins with BEGIN
IMMEDIATE. It waits for its turn before it reads anything, so it never has to give up half way.
"""

import copy
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import (
    Connection,
    CursorResult,
    Delete,
    Engine,
    Select,
    Update,
    create_engine,
    event,
    update,
)
from sqlalchemy import Insert as AnyInsert
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.exc import OperationalError as SqlOperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import Table

from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.files import make_private_file, sync_folder
from treadle.postgres_place import is_server_url
from treadle.store.schema import (
    access_tokens,
    account_owners,
    accounts,
    browser_sessions,
    destinations,
    ephemeral_tokens,
    hooks,
    meta,
    recipients,
    sources,
    trail,
    users,
)
from treadle.store.secrets import SecretCipher
from treadle.store.trail_event import (
    StoreActor,
    TrailAction,
    TrailOutcome,
    TrailTarget,
    shorten_text,
)

BUSY_TIMEOUT_MS: Final = 30_000  # longer than any write transaction of treadle takes
CONNECTIONS_MAX: Final = 4  # of one process to a server
UNREPLICATED_MARK: Final = "treadle_unreplicated"
"""In the `info` of a connection whose server said that it did not wait for its standbys."""
WAL_RETRY_PAUSE_S: Final = 0.01  # between tries to switch a new file to its write-ahead log

CACHE_KIB: Final = 256
"""KiB of the file that a connection keeps in memory. With SQLite's own bound of 2 MB, connections
were a third of what a worker grew by. Every change by another connection empties them, and the
system keeps the file in memory as well."""

STATEMENTS_MAX: Final = 500
"""Statements whose SQL a process keeps once it was written, half as many more at times: as many as
SQLAlchemy keeps by itself. One takes 30 KB."""

PREPARED_MAX: Final = 128
"""Statements that a connection to a file keeps prepared: as many as Python keeps by itself."""

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

TRAILED_TABLES: Final = frozenset(
    {
        accounts,
        account_owners,
        access_tokens,
        ephemeral_tokens,
        browser_sessions,
        sources,
        destinations,
        recipients,
        hooks,
        users,
    }
)
"""The tables of which no change is committed without an event in the trail."""

BOOKKEEPING: Final[Mapping[str, Any]] = {"treadle_bookkeeping": True}
"""Execution options of a statement that only notes what treadle itself saw, such as the uses of a
token. Nobody changed anything, so it needs no event."""


@dataclass(slots=True)
class ChangeWatch:
    """Watches a transaction: which trailed tables it changed, and if it recorded an event.

    Attributes:
        changed: names of tables, of those in TRAILED_TABLES.
        recorded: an event was recorded.
    """

    changed: set[str] = field(default_factory=set)
    recorded: bool = False

    def note_statement(
        self, statement: object, options: Mapping[str, Any], result: CursorResult[Any]
    ) -> None:
        """Note a statement that was executed, if it changed rows that nobody may change unseen."""
        if (
            isinstance(statement, AnyInsert | Update | Delete)
            and statement.table in TRAILED_TABLES
            and not options.get("treadle_bookkeeping")
            # The number of rows of a statement with RETURNING is only known when they were read.
            and (result.returns_rows or result.rowcount != 0)
        ):
            self.changed.add(str(statement.table))

    def require_event(self) -> None:
        """Check that the transaction may be committed.

        Raises:
            InternalError: it changed something, and has no event.
        """
        if self.changed and not self.recorded:
            raise InternalError(
                f"a change of {', '.join(sorted(self.changed))} has an event in the trail, and "
                "this transaction has none: call `StoreTransaction.record` in it"
            )


@dataclass(frozen=True, slots=True)
class StoreTransaction:
    """An open transaction, with the clock, the cipher and the maker of tokens for its statements.

    Attributes:
        now: the time of its beginning, microseconds since 1970, UTC.
        mint: prefix -> a new token.
        actor: who acts; None while nobody is named, so that nothing can be changed.
        watch: what was changed so far.
        key_check: the check value of the key in force; None where nothing may be sealed.
    """

    connection: Connection
    now: int
    cipher: SecretCipher
    mint: Callable[[str], str]
    actor: StoreActor | None
    watch: ChangeWatch
    key_check: str | None = None

    def seal(self, text: str, context: str) -> bytes:
        """Encrypt a text for one row with the key in force, in a transaction that changes.

        Raises:
            OperatorError: this process does not know the key in force.
            InternalError: the transaction is of another kind; it may run beside a rotation.
        """
        if self.key_check is None:
            raise InternalError(
                "a secret is sealed in a transaction of `StoreDatabase.change` only"
            )
        return self.cipher.seal(text, context, self.key_check)

    def with_key(self, key_check: str) -> "StoreTransaction":
        """Return the same transaction with another key in force."""
        return replace(self, key_check=key_check)

    def record(
        self,
        action: TrailAction,
        target: TrailTarget,
        *,
        account_id: int | None,
        outcome: TrailOutcome = TrailOutcome.DONE,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Add an event to the trail, in this transaction; return its id.

        Args:
            action: what was done.
            target: on what.
            account_id: the account that it concerns; None for the whole server.
            outcome: how it ended.
            detail: JSON values that say more; no secrets.

        Raises:
            InternalError: nobody is named who acts.
        """
        actor = self.actor
        if actor is None:
            raise InternalError(
                "every change is made by somebody, and here nobody is named: take the repositories "
                "of `Store.for_actor`"
            )
        result = self.connection.execute(
            self.insert(trail)
            .values(
                at=self.now,
                actor_kind=actor.kind.value,
                actor_id=shorten_text(actor.id),
                address=shorten_text(actor.address),
                account_id=account_id,
                action=action.value,
                target_kind=target.kind.value,
                target_id=shorten_text(target.id),
                target_name=shorten_text(target.name),
                outcome=outcome.value,
                detail=dict(detail or {}),
            )
            .returning(trail.c.id)
        )
        event_id: int = result.scalar_one()
        self.watch.recorded = True
        return event_id

    def insert(self, table: Table) -> "sqlite.Insert | postgresql.Insert":
        """Return an INSERT that can have ON CONFLICT, which SQLAlchemy has by dialect only."""
        return make_insert(self.connection.dialect.name, table)


def make_insert(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT of a dialect that can have ON CONFLICT.

    The dialect of PostgreSQL is imported where it is used: it takes 45 ms of each start and 2 MB
    of each process, and the store of most servers is a file.
    """
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


class KeptConnection:
    """A connection to a store in a file, kept for questions that are asked several times a second.

    A transaction of SQLAlchemy takes 75 microseconds, of which SQLite has 3. Every process asks
    four times a second whether anything changed, for as long as it runs.
    """

    def __init__(self, engine: Engine) -> None:
        """Open nothing before the first question."""
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._texts: dict[Select[*tuple[Any, ...]], str] = {}

    def fetch_row(self, statement: Select[*tuple[Any, ...]]) -> tuple[Any, ...] | None:
        """Return the first row of a statement; see `StoreDatabase.ask_often`.

        Raises:
            sqlite3.Error, SQLAlchemyError: it cannot be asked now; the connection is closed.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                # All rows are taken, because a statement that is not at its end holds its lock.
                rows = self._connection.execute(self._compile(statement)).fetchall()
            except sqlite3.Error:
                self._close()
                raise
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the connection; a further question opens another."""
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - of an SQLite engine
        pooled.detach()  # the pool has all of its places for others
        return connection

    def _compile(self, statement: Select[*tuple[Any, ...]]) -> str:
        text = self._texts.get(statement)
        if text is None:
            compiled = statement.compile(self._engine, compile_kwargs={"literal_binds": True})
            text = self._texts[statement] = str(compiled)
        return text

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class StoreDatabase:
    """Opens transactions on one database.

    Args:
        url: `sqlite:///path/of/a/file` or `postgresql://...`.
        clock: microseconds since 1970, UTC.
        actor: who makes the changes; None while nobody is named.
        connections: most that are open at once; a file is not bounded.
        statements: most of which the SQL is kept, about.
    """

    def __init__(
        self,
        url: str,
        cipher: SecretCipher,
        clock: Callable[[], int],
        mint: Callable[[str], str],
        actor: StoreActor | None,
        connections: int = CONNECTIONS_MAX,
        statements: int = STATEMENTS_MAX,
    ) -> None:
        self.engine = create_store_engine(url, connections, statements)
        # PostgreSQL is asked as usual: the pool finds out that a server was replaced by another.
        is_file = self.engine.dialect.name == "sqlite"
        self._kept = KeptConnection(self.engine) if is_file else None
        self._cipher = cipher
        self._clock = clock
        self._mint = mint
        self._actor = actor

    def for_actor(self, actor: StoreActor) -> Self:
        """Return the same database for somebody else; both use the same connections."""
        bound = copy.copy(self)
        bound._actor = actor
        return bound

    @contextmanager
    def read(self) -> Iterator[StoreTransaction]:
        """Open a transaction that only reads."""
        with translate_errors(), self.engine.connect() as connection:
            yield self._make_transaction(connection, ChangeWatch())

    def ask_often(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        """Return the row of a question that is asked several times a second.

        Args:
            statement: a constant without parameters, that returns one row of numbers and texts.
        """
        if self._kept is not None:
            # Whatever is wrong there, the usual way mends it, or says what it is.
            with suppress(sqlite3.Error, SQLAlchemyError):
                row = self._kept.fetch_row(statement)
                if row is not None:
                    return row
        with self.read() as tx:
            return tx.connection.execute(statement).one()

    @contextmanager
    def write(self) -> Iterator[StoreTransaction]:
        """Open a transaction that writes; it is committed when the block ends without an error.

        The store revision stays, so other processes do not read again: for what no request sees.

        Raises:
            InternalError: a change of TRAILED_TABLES has no event; it is undone.
        """
        watch = ChangeWatch()
        with translate_errors(), begin_write(self.engine, treadle_watch=watch) as connection:
            yield self._make_transaction(connection, watch)
            watch.require_event()

    @contextmanager
    def change(self) -> Iterator[StoreTransaction]:
        """Open a transaction that changes accounts, sources, tokens, destinations or recipients.

        It raises the store revision first, and so locks that row until it ends. In all processes
        together there is one change at a time, which makes "read, decide, write" safe inside it.
        A change that raises leaves the revision as it was.

        Its event is recorded inside it (`StoreTransaction.record`), so nothing changes when that
        cannot be written.
        """
        with self.write() as tx:
            raised = update(meta).values(revision=meta.c.revision + 1).returning(meta.c.key_check)
            yield tx.with_key(tx.connection.execute(raised).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        if self._kept is not None:
            self._kept.close()
        self.engine.dispose()

    def _make_transaction(self, connection: Connection, watch: ChangeWatch) -> StoreTransaction:
        return StoreTransaction(
            connection, self._clock(), self._cipher, self._mint, self._actor, watch
        )


class StoreRepository:
    """The base of repositories: all statements of the store about one noun.

    Methods block and may be called from any thread. Each is one transaction. Times are
    microseconds since 1970, UTC. A method that takes an account finds only what belongs to
    it (connect-api.md 4.5).

    Raises:
        RetriableError: from any method; the database is not available now.
        OperatorError: from any method; the database refuses its user, or its file cannot be used.
    """

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database


@contextmanager
def begin_write(engine: Engine, **options: Any) -> Iterator[Connection]:
    """Open a connection with a transaction that writes.

    Args:
        engine: of the store.
        options: further execution options of the connection.

    Raises:
        RetriableError: it was committed on a server that did not wait for its standby, so a
            failover may undo it.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(treadle_writes=True, **options)
        with connection.begin():
            yield connection
        if connection.info.pop(UNREPLICATED_MARK, False):
            raise RetriableError(
                "the store's server did not wait for its standby; what was changed may be undone "
                "by a failover, so it counts as not done"
            )


def create_store_engine(
    url: str, connections: int = CONNECTIONS_MAX, statements: int = STATEMENTS_MAX
) -> Engine:
    """Make the SQLAlchemy engine of a store's URL.

    Args:
        url: of the store.
        connections: most that are open to a server at once.
        statements: most of which the SQL is kept, about.

    Raises:
        OperatorError: the URL names no database that can hold the store.
    """
    if is_server_url(url):
        # Imported here: the driver takes memory that a store in a file saves.
        from treadle.store.postgres import create_postgres_engine

        engine = create_postgres_engine(url, connections, statements, UNREPLICATED_MARK)
    else:
        engine = _create_sqlite_engine(_parse_url(url), statements)
    event.listen(engine, "after_execute", _watch_changes)
    return engine


def _watch_changes(
    connection: Connection,
    statement: object,
    _: object,
    __: object,
    options: Mapping[str, Any],
    result: CursorResult[Any],
) -> None:
    watch: ChangeWatch | None = options.get("treadle_watch")
    if watch is not None:
        watch.note_statement(statement, options, result)


def _parse_url(url: str) -> URL:
    expected = "expected sqlite:///path/of/a/file or postgresql://user@host/database"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise OperatorError(f"the store's URL cannot be read: {expected}") from error
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite+pysqlite")
    raise OperatorError(
        f"the store cannot be kept in a {backend} database of this kind: {expected}"
    )


def _create_sqlite_engine(url: URL, statements: int) -> Engine:
    _make_file(Path(url.database or ""))
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_use_lifo=True,  # what one connection has read serves the next question, too
        query_cache_size=statements,
        connect_args={
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "check_same_thread": False,
            "cached_statements": min(statements, PREPARED_MAX),
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to be IMMEDIATE
        _switch_to_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("treadle_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _switch_to_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the file to its write-ahead log.

    When two connections switch a new file at once, SQLite answers one of them "locked" without
    waiting, whatever its timeout. By the next try the other one has done it.
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


def _make_file(path: Path) -> None:
    """Make the file where it is missing; only the user who runs treadle may read it."""
    try:
        if make_private_file(path):
            sync_folder(path.parent)  # or a power cut could remove the name of the new file
    except OSError as error:
        raise OperatorError(
            f"the store {path} cannot be made ({error.strerror}): make its folder, writable for "
            f"the user treadle runs as"
        ) from error


# SQLSTATEs that mean that somebody has to act: 28 a login is refused, 3D no such database, 42501
# missing rights; and SQLite's codes of the same meaning.
_OPERATOR_STATES: Final = ("28", "3D", "42501")
_OPERATOR_CODES: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    | {sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of the database drivers into those of `treadle.errors`."""
    try:
        yield
    except PoolTimeoutError as error:
        raise RetriableError("the store has no free connection now") from error
    except DBAPIError as error:
        said = _read_first_line(error.orig)
        if _needs_the_operator(error):
            raise OperatorError(
                f"the store cannot be used ({said}): check its file or the rights of its database "
                f"user"
            ) from error
        if isinstance(error, SqlOperationalError | InterfaceError) or _is_passing(error):
            raise RetriableError(f"the store is not available now ({said})") from error
        raise InternalError(f"the store's database refused a statement ({said})") from error


def _needs_the_operator(error: DBAPIError) -> bool:
    found = error.orig
    state = getattr(found, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_OPERATOR_STATES)
    if isinstance(found, sqlite3.Error):
        code = getattr(found, "sqlite_errorcode", None)
        return isinstance(code, int) and (code & 0xFF) in _OPERATOR_CODES
    from treadle.store.postgres import is_refused_login

    return is_refused_login(found)


def _is_passing(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return False
    from treadle.store.postgres import is_passing

    return is_passing(error.orig)


def _read_first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
