"""A DuckDB file as a destination.

One process at a time may write a DuckDB file, so a session holds the file only while it is open,
and it should be open only for a load. Inside one process sessions share the file, and loads into
it follow one another.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from treadle import failpoint
from treadle.destinations.duckdb.attach import attached, catalog_of, use
from treadle.destinations.duckdb.bookkeeping import (
    CATALOGUE,
    POSITIONS,
    catalogue_key,
    create_rejected,
)
from treadle.destinations.duckdb.changes import create_tombstones, statements
from treadle.destinations.duckdb.errors import (
    at_open,
    is_missing,
    message,
    out_of_memory,
    translate,
)
from treadle.destinations.duckdb.load import carry_out, carry_out_first
from treadle.destinations.duckdb.memory import (
    GATHERED_BYTES_MAX,
    LIMIT_BYTES,
    LOGGED_BYTES_MAX,
    Gathered,
    checkpoint,
    higher,
    logged,
    release_memory,
)
from treadle.destinations.duckdb.quoting import Quoted, compose, name, names
from treadle.destinations.duckdb.rebuild import compare, relations, remove
from treadle.destinations.duckdb.rows import Database, Stage
from treadle.destinations.layout import (
    BATCHED_AT,
    PRIVATE_SCHEMA,
    REJECTED,
    decode_result,
    unescape_name,
)
from treadle.destinations.load_counter import foreseen
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommittedOffset,
    CommitUnknownError,
    DestinationUnavailableError,
    LoadResult,
    MissingRelationError,
    QueryResult,
    RelationPair,
    RowCounts,
    RowDiff,
    RowRefusedError,
    Session,
)
from treadle.errors import OperatorError, TreadleError
from treadle.tables import table_codec
from treadle.tables.model import (
    ColumnType,
    LoadPlan,
    PhysicalRelation,
    Relation,
    RelationRows,
    TableState,
)
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB

CONFIG: Final[Mapping[str, str]] = {
    # A statement of an operator reads and writes this file and no other, and fetches nothing.
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # What DuckDB freed goes back to the system at once, not when 128 MB of it have come together.
    "allocator_flush_threshold": "1MB",
    "allocator_bulk_deallocation_flush_threshold": "1MB",
    # Of a file that is made now; one that is there keeps its own. A small table takes two blocks,
    # which are 256 KB each if nothing is said.
    "default_block_size": "65536",
    # No COMMIT makes a checkpoint; a session does, between loads (memory.py).
    "checkpoint_threshold": "1TB",
}
"""Settings of the file; one process must open it with the same ones everywhere."""

TURN_SECONDS_MAX: Final = 15.0
"""How long a load waits for another load into the same file."""

_LOGICAL: Final[Mapping[str, ColumnType]] = {
    "BIGINT": ColumnType.BIGINT,
    "BOOLEAN": ColumnType.BOOLEAN,
    "DOUBLE": ColumnType.DOUBLE,
    "JSON": ColumnType.JSON,
    "TIMESTAMP WITH TIME ZONE": ColumnType.TIMESTAMP,
    "VARCHAR": ColumnType.TEXT,
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE: Final = 146_097 * 86_400_000_000  # microseconds of 400 years

LITTLE_ROWS_MAX: Final = 1000
"""Rows up to which the first load of a table is a small one."""

_turns: dict[str, threading.Lock] = {}
_turns_guard = threading.Lock()


class _InTheWay(Exception):  # noqa: N818 - says what happened
    """Something of a table that a first load makes is there; nothing was changed."""


class DuckDBDestination:
    """One file.

    Args:
        path: of the file; its directory must exist, the file need not.
        gathered_max: bytes that DuckDB may have gathered before it has to let go of them.
    """

    kind = "duckdb"
    exclusive = True

    def __init__(self, path: Path, gathered_max: int = GATHERED_BYTES_MAX) -> None:
        self._path = path.absolute()
        self._gathered_max = gathered_max

    @property
    def profile(self) -> DestinationProfile:
        """DuckDB's answers to the loading rules."""
        return DUCKDB

    @property
    def identity(self) -> str:
        """The file's absolute path, links resolved."""
        return f"duckdb://{self._path.resolve()}"

    def open(self, *, read_only: bool = False) -> Session:
        """Open the file; see `Destination.open`."""
        path = str(self._path.resolve())
        with _turns_guard:
            turn = _turns.setdefault(path, threading.Lock())
        return DuckDBSession(
            partial(self._opened, path, read_only),
            turn,
            Gathered(self._gathered_max),
            read_only=read_only,
            path=None if read_only else Path(path),
        )

    def preview(self) -> Session:
        """Open the file for reading; one that is missing reads as empty. See `Destination`."""
        if self._path.exists():
            return self.open(read_only=True)
        return DuckDBSession(
            partial(self._imagined, catalog_of(str(self._path.resolve()))),
            threading.Lock(),
            Gathered(None),
            read_only=False,
            path=None,
        )

    @staticmethod
    def _imagined(called: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=dict(CONFIG))
        # Called as DuckDB would call the file, so that statements name it so.
        if called.lower() != "memory":
            connection.execute(compose("ATTACH ':memory:' AS {called}", called=name(called)))
            use(connection, called)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _opened(self, path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
        try:
            connection = attached(path, CONFIG, read_only=read_only)
        except duckdb.Error as error:
            raise at_open(error, path) from error
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # A name that is not there is no mistake to us: no search for one that is like it.
            connection.execute("SET catalog_error_max_schemas = 0")
        except duckdb.Error as error:
            connection.close()
            raise translate(error) from error
        return connection


class DuckDBSession:
    """One connection at a time; see `Session`.

    Args:
        connect: opens the file.
        turn: held by who writes to the file in this process.
        gathered: what it gathers in memory.
        read_only: whether the operator's statements may only read.
        path: of the file that it makes checkpoints of; None for none.
    """

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        turn: threading.Lock,
        gathered: Gathered,
        *,
        read_only: bool,
        path: Path | None,
    ) -> None:
        self._connect = connect
        self._turn = turn
        self._gathered = gathered
        self._read_only = read_only
        self._path = path
        self._limit: int | None = LIMIT_BYTES
        self._connection = connection = connect()
        row = connection.execute("SELECT current_database()").fetchone()
        self._catalog = str(row[0]) if row else ""
        self._database = Database(connection, self._catalog)
        self._prepared: set[str] = set()  # schemas, until something fails

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection; the last one in a process lets go of the file."""
        try:
            # What cannot be written into the file now stays in its write-ahead log.
            with suppress(duckdb.Error, TreadleError, OSError):
                self._database.hurry(alone=False)
                self._write_down()
        finally:
            self._connection.close()

    def prepare(self, schema: str) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing."""
        if schema in self._prepared:
            return
        database = self._database
        self._take_turn()
        try:
            self._connection.execute("BEGIN")
            for statement in self._preparations(schema):
                database.run(statement)
            failpoint.reach("destination.prepare")
            self._connection.execute("COMMIT")
            self._prepared.add(schema)
        except duckdb.Error as error:
            self._roll_back()
            raise translate(error) from error
        finally:
            self._turn.release()

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """(source id, table name as sent) -> the last load, for one log."""
        try:
            if not self._has_own_tables():
                return {}
            rows = self._database.rows(
                compose(
                    "SELECT source_id, table_name, position, report, result"
                    " FROM {positions} WHERE log_id = ?",
                    positions=self._database.private("positions"),
                ),
                log_id,
            )
        except duckdb.Error as error:
            raise translate(error) from error
        return {
            (source, unescape_name(table)): CommittedOffset(
                position, unescape_name(report), decode_result(result)
            )
            for source, table, position, report, result in rows
        }

    def list_log_ids(self, prefix: str) -> list[str]:
        """The logs of which it holds a mark, of those whose names begin so."""
        try:
            if not self._has_own_tables():
                return []
            rows = self._database.rows(
                compose(
                    "SELECT DISTINCT log_id FROM {positions} WHERE starts_with(log_id, ?)"
                    " ORDER BY log_id",
                    positions=self._database.private("positions"),
                ),
                prefix,
            )
        except duckdb.Error as error:
            raise translate(error) from error
        return [log_id for (log_id,) in rows]

    def relations(self, schema: str) -> list[str]:
        """The tables, views and sequences in a schema; see `Session.relations`."""
        try:
            return relations(self._database, schema)
        except duckdb.Error as error:
            raise translate(error) from error

    def state(self, schema: str, table: str) -> TableState:
        """What is there for a canonical table name."""
        try:
            revision, document = self._catalogue_entry(schema, table)
            entry = table_codec.decode_table(document) if document else None
            names = [table, *(relation.name for relation in (entry.relations if entry else ()))]
            return TableState(revision, entry, self._physical(schema, names))
        except duckdb.Error as error:
            raise translate(error) from error

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """The `_sdc_sequence` each key has in the table now: None for no such row."""
        if not relation.key:
            return []
        wanted = RelationRows(relation, dict(zip(relation.key, keys, strict=True)))
        wanted.entries = range(len(wanted))
        try:
            stage = Stage(self._database, wanted, "treadle_wanted")
            rows = self._database.rows(
                compose(
                    "SELECT t._sdc_sequence FROM {stage} s"
                    " LEFT JOIN {target} t ON {same_key} ORDER BY s.entry",
                    stage=stage.name,
                    target=self._database.place(
                        PRIVATE_SCHEMA if private else schema, relation.name
                    ),
                    same_key=stage.matches("t", [(key, key) for key in relation.key]),
                )
            )
            self._database.forget()
        except duckdb.Error as error:
            raise translate(error) from error
        return [sequence for (sequence,) in rows]

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Session.counts`."""
        target = self._database.place(schema, relation.name)
        try:
            [(rows,)] = self._database.rows(compose("SELECT count(*) FROM {t}", t=target))
            doubled = 0
            if relation.key:
                [(doubled,)] = self._database.rows(
                    compose(
                        "SELECT CAST(coalesce(sum(n - 1), 0) AS BIGINT)"
                        " FROM (SELECT count(*) AS n FROM {t} GROUP BY {key})",
                        t=target,
                        key=names(relation.key),
                    )
                )
            batches = self._database.rows(
                compose(
                    "SELECT epoch_us({at}), count(*) FROM {t}"
                    " WHERE {at} IS NULL OR epoch_us({at}) >= ? GROUP BY 1",
                    at=name(BATCHED_AT),
                    t=target,
                ),
                since,
            )
        except duckdb.Error as error:
            raise translate(error) from error
        return RowCounts(rows, doubled, dict(batches))

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Session.compare`."""
        try:
            return compare(self._database, schema, other, pair)
        except duckdb.Error as error:
            raise translate(error) from error

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Session.remove`."""
        self._take_turn()
        try:
            if not self._has_own_tables():
                return
            self._prepared.discard(schema)
            self._connection.execute("BEGIN")
            _, document = self._catalogue_entry(schema, table)
            entry = table_codec.decode_table(document) if document else None
            remove(self._database, schema, table, entry, log_id)
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            self._roll_back()
            raise translate(error) from error
        finally:
            self._turn.release()

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out in one transaction; see `Session.load`."""
        first = None if rehearse else foreseen(plan)
        little = first is not None and sum(first.rows.values()) <= LITTLE_ROWS_MAX
        self._take_turn()
        try:
            self._make_room(adds_little=little)
            if first is not None:
                with suppress(_InTheWay):
                    return self._first(plan, first)
            return self._load(
                lambda: carry_out(self._database, plan), plan.schema if rehearse else None
            )
        except TreadleError as error:
            if out_of_memory(error.__cause__):
                with suppress(duckdb.Error):
                    # Its indexes may be wrong now: they are made anew from the write-ahead log.
                    self._connection.execute("PRAGMA disable_checkpoint_on_shutdown")
                    self._path = None
            raise
        finally:
            with suppress(duckdb.Error):  # a broken connection has nothing registered
                self._database.forget()
            self._turn.release()

    def ddl(self, plan: LoadPlan) -> list[str]:
        """The statements by which a load would change the schema; see `Session.ddl`."""
        database = self._database
        try:
            found = [] if self._is_prepared(plan.schema) else self._preparations(plan.schema)
            return [
                *found,
                *statements(database, plan),
                *(
                    create_tombstones(database, plan, write)
                    for write in plan.writes
                    if plan.table_after is not None
                    and plan.table_after.tombstones
                    and write.mode == "upsert"
                ),
            ]
        except duckdb.Error as error:
            raise translate(error) from error

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's."""
        connection = self._connection
        try:
            if len(connection.extract_statements(sql)) != 1:
                raise OperatorError("expected one statement; send several one by one")
            connection.execute(
                "BEGIN TRANSACTION READ ONLY" if self._read_only else "BEGIN TRANSACTION"
            )
            relation = connection.sql(sql)
            found = None if relation is None else relation.to_arrow_table()
            connection.execute("COMMIT")
        except duckdb.Error as error:
            self._roll_back()
            fault = translate(error)
            if isinstance(fault, DestinationUnavailableError | AccessDeniedError):
                raise fault from error
            kind = MissingRelationError if is_missing(error) else OperatorError
            raise kind(message(error)) from error
        if found is None:
            return QueryResult((), [])
        columns = [_python_values(column) for column in found.columns]
        return QueryResult(tuple(found.column_names), list(zip(*columns, strict=True)))

    # --- helpers ----------------------------------------------------------------------------------

    def _make_room(self, *, adds_little: bool) -> None:
        """Make a checkpoint when it is time, and have DuckDB let go of what it gathered.

        Nothing is under way, so nothing is lost.
        """
        try:
            if self._path is not None:
                size = logged(self._path)
                much = self._gathered.is_much(self._connection, size, adds_little=adds_little)
                if much or size >= LOGGED_BYTES_MAX:
                    self._checkpoint()
                if much and not release_memory(self._connection, self._gathered.kept):
                    self._reopen()
            self._database.hurry(alone=adds_little)
        except duckdb.Error as error:
            raise translate(error) from error

    def _write_down(self) -> None:
        """Make a checkpoint at the end, when nobody else of this process writes."""
        if self._path and logged(self._path) and self._turn.acquire(timeout=TURN_SECONDS_MAX):
            try:
                self._checkpoint()
            finally:
                self._turn.release()

    def _checkpoint(self) -> None:
        """Make one; where it meets its limit the file is opened anew and it gets more."""
        while True:
            try:
                checkpoint(self._connection, self._limit)
            except duckdb.Error as error:
                if self._limit is None or not out_of_memory(error):
                    raise
                self._limit = higher(self._limit)
                self._reopen()
            else:
                return

    def _reopen(self) -> None:
        with suppress(duckdb.Error):  # after a fatal error it takes no statement
            self._database.hurry(alone=False)  # other sessions may share the instance
        self._connection.close()
        self._connection = self._connect()
        self._database = Database(self._connection, self._catalog)

    def _first(self, plan: LoadPlan, foreseen: LoadResult) -> LoadResult:
        try:
            return self._load(lambda: carry_out_first(self._database, plan, foreseen))
        except TreadleError as error:
            if isinstance(error.__cause__, duckdb.ConstraintException | duckdb.CatalogException):
                raise _InTheWay from error
            raise

    def _load(self, work: Callable[[], LoadResult], rehearsed: str | None = None) -> LoadResult:
        """Do the work of a load in a transaction; with the schema it is rehearsed in, undo it."""
        try:
            self._connection.execute("BEGIN TRANSACTION")
            if rehearsed is not None and not self._is_prepared(rehearsed):
                for statement in self._preparations(rehearsed):
                    self._database.run(statement)
            result = work()
            if rehearsed is not None:
                self._connection.execute("ROLLBACK")
                return result
        except duckdb.Error as error:
            self._roll_back()
            raise translate(error) from error
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            self._roll_back()
            raise RowRefusedError(f"DuckDB cannot store a value: {error}") from error
        except BaseException:
            self._roll_back()
            raise
        failpoint.reach("destination.before-commit")
        try:
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            self._roll_back()
            if "constraint" in message(error).lower():
                raise RowRefusedError(message(error)) from error
            # DuckDB wraps a full disk and a conflict alike; what is in the file tells them apart.
            raise CommitUnknownError(f"the COMMIT of DuckDB failed: {message(error)}") from error
        failpoint.reach("destination.after-commit")
        return result

    def _preparations(self, schema: str) -> list[Quoted]:
        """The statements of `prepare`."""
        database = self._database
        return [
            *(
                compose("CREATE SCHEMA IF NOT EXISTS {name}", name=name(self._catalog, place))
                for place in (PRIVATE_SCHEMA, schema)
            ),
            compose(POSITIONS, place=database.private("positions")),
            compose(CATALOGUE, place=database.private("catalogue")),
            create_rejected(database, schema),
        ]

    def _is_prepared(self, schema: str) -> bool:
        found = self._database.rows(
            Quoted(
                "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
                " AND schema_name = ? AND table_name = ?"
            ),
            schema,
            REJECTED,
        )
        return bool(found) and self._has_own_tables()

    def _take_turn(self) -> None:
        if not self._turn.acquire(timeout=TURN_SECONDS_MAX):
            raise DestinationUnavailableError(
                "another load into the same DuckDB file is still running"
            )

    def _roll_back(self) -> None:
        self._prepared.clear()  # somebody may have dropped them
        # A failed statement may have ended the transaction already.
        with suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")

    def _has_own_tables(self) -> bool:
        if self._prepared:
            return True
        found = self._database.rows(
            Quoted(
                "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
                " AND schema_name = ? AND table_name = 'catalogue'"
            ),
            PRIVATE_SCHEMA,
        )
        return bool(found)

    def _catalogue_entry(self, schema: str, table: str) -> tuple[int, str | None]:
        if not self._has_own_tables():
            return (0, None)
        found = self._database.rows(
            compose(
                "SELECT revision, document FROM {catalogue}"
                " WHERE schema_name = ? AND table_key = ?",
                catalogue=self._database.private("catalogue"),
            ),
            schema,
            catalogue_key(table),
        )
        return (found[0][0], found[0][1]) if found else (0, None)

    def _physical(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        found: dict[str, PhysicalRelation] = {}
        # The catalogue's own spelling of a relation, which comes later, wins over the question's.
        for relation in {DUCKDB.fold(called): called for called in names}.values():
            if not relation:
                continue  # no table is called so; the plan rejects what is meant for one
            # Of one relation by name: what lists all of them takes longer the more there are.
            try:
                rows = self._database.rows(
                    Quoted("SELECT name, type, pk FROM pragma_table_info(?)"),
                    self._database.place(schema, relation),
                )
            except duckdb.CatalogException:
                continue
            found[relation] = PhysicalRelation(
                {column: _logical(type_) for column, type_, _ in rows},
                frozenset(column for column, _, in_key in rows if in_key),
            )
        return found


def _logical(type_: str) -> ColumnType | None:
    if type_.startswith("DECIMAL("):
        return ColumnType.DECIMAL
    return _LOGICAL.get(type_)


def _python_values(column: "pa.ChunkedArray[Any]") -> list[Any]:
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        return list(column.to_pylist())
    microseconds = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    return [None if value is None else instant(value) for value in microseconds]


def instant(microseconds: int) -> datetime | str:
    """A datetime, or a text for a year that Python's datetime does not know."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        # The calendar repeats itself every 400 years.
        cycles, rest = divmod(microseconds, _CYCLE)
        like = _EPOCH + timedelta(microseconds=rest)
        year = like.year + 400 * cycles
        era = "" if year > 0 else " BC"
        return f"{year if year > 0 else 1 - year:04}-{like:%m-%d %H:%M:%S.%f}+00{era}"
