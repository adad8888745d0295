"""PostgreSQL 14 or newer as a destination, by psycopg 3.

The connection is in autocommit mode; a load writes BEGIN and COMMIT itself, so that an error of
COMMIT can be told from every other. Table and column names are quoted by `psycopg.sql`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import psycopg
from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.datetime import TimestamptzLoader

from treadle import failpoint
from treadle.destinations.layout import (
    BATCHED_AT,
    PRIVATE_SCHEMA,
    REJECTED,
    decode_result,
    digest_name,
    unescape_name,
)
from treadle.destinations.load_counter import foreseen
from treadle.destinations.postgres.bookkeeping import CATALOGUE, POSITIONS, create_rejected
from treadle.destinations.postgres.changes import create_tombstones, statements
from treadle.destinations.postgres.errors import MISSING, at_login, server_message, translate
from treadle.destinations.postgres.first import begin
from treadle.destinations.postgres.load import carry_out, carry_out_first
from treadle.destinations.postgres.rebuild import compare, relations, remove
from treadle.destinations.postgres.rows import stage_rows
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
from treadle.errors import OperatorError
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
from treadle.tables.profiles import POSTGRES

CONNECT_DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "treadle",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    # A vanished server is noticed within about a minute, not after the system's two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    # Keepalives wait while something sent is unanswered; the system tries that for a quarter hour.
    "tcp_user_timeout": "60000",
}
"""Connection parameters that the operator's URL may override."""

SESSION_SETTINGS: Final = sql.SQL(
    """
    SET TIME ZONE 'UTC';
    SET lock_timeout = '15s';
    SET statement_timeout = '15min';
    SET idle_in_transaction_session_timeout = '15min';
    """
)
"""A lock that somebody holds delays the load, which is repeated; a hung statement ends."""

_LOGICAL: Final[Mapping[str, ColumnType]] = {
    "bool": ColumnType.BOOLEAN,
    "float8": ColumnType.DOUBLE,
    "int8": ColumnType.BIGINT,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
    "numeric": ColumnType.DECIMAL,
    "text": ColumnType.TEXT,
    "timestamptz": ColumnType.TIMESTAMP,
}

_PREPARE_LOCK: Final = 0x747265616465  # "treade": one session at a time makes schemas

_PHYSICAL: Final = sql.SQL(
    """
    SELECT r.relname, a.attname, t.typname, a.attnum = ANY (k.conkey)
    FROM pg_catalog.pg_class r
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a
      ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type t
      ON t.oid = a.atttypid AND t.typnamespace = 'pg_catalog'::regnamespace
    LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'p'
    WHERE n.nspname = %s AND r.relname = ANY (%s) AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY r.relname, a.attnum
    """
)


_KNOWN: Final = """
    SELECT coalesce(c.revision, 0), c.document, EXISTS (
      SELECT FROM pg_catalog.pg_class r
      JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
      WHERE n.nspname = %s AND r.relname = %s
    )
    FROM (VALUES (1)) AS always
    LEFT JOIN _treadle.catalogue c ON c.schema_name = %s AND c.table_key = %s
    """


class _AnyYear(TimestamptzLoader):
    """Timestamps as datetimes; those outside the years 1 to 9999 as the server's text."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class PostgresDestination:
    """One database.

    Args:
        url: a libpq URL, `postgresql://user:secret@host:port/database?parameters`.
    """

    kind = "postgres"
    exclusive = False

    def __init__(self, url: str) -> None:
        # The driver's own message may repeat the part that holds the password.
        malformed = OperatorError(
            "the destination's URL is not a PostgreSQL URL; expected "
            "postgresql://user:password@host:5432/database with special characters "
            "percent-encoded"
        )
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise malformed from None
        if "@" in str(given.get("host", "")):  # a password with an @ that is not encoded
            raise malformed
        self._parameters: dict[str, Any] = {**CONNECT_DEFAULTS, **given}

    @property
    def profile(self) -> DestinationProfile:
        """PostgreSQL's answers to the loading rules."""
        return POSTGRES

    @property
    def identity(self) -> str:
        """Host, port and database."""
        found = {
            option.keyword.decode(): option.val.decode() if option.val else ""
            for option in pq.Conninfo.get_defaults()
        }
        found.update({name: str(value) for name, value in self._parameters.items()})
        host = found.get("host") or found.get("hostaddr") or "local"
        database = found.get("dbname") or found.get("user", "")
        return f"postgresql://{host.lower()}:{found.get('port') or '5432'}/{database}"

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        try:
            connection = psycopg.connect(
                make_conninfo("", **self._parameters),
                autocommit=True,
                prepare_threshold=None,  # poolers may move us between servers
            )
        except psycopg.Error as error:
            raise at_login(error) from error
        try:
            connection.execute(SESSION_SETTINGS)
            if read_only:
                connection.execute("SET default_transaction_read_only = on")
        except psycopg.Error as error:
            connection.close()
            raise translate(error) from error
        return PostgresSession(connection)

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)


class PostgresSession:
    """One connection; see `Session`."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._prepared: set[str] = set()  # schemas, until something fails

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def prepare(self, schema: str) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing."""
        if schema in self._prepared:
            return
        try:
            if all(self._present(schema)):
                self._prepared.add(schema)
                return
            with self._connection.transaction():
                # Two sessions that make one schema at once would trip over each other.
                self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [_PREPARE_LOCK])
                for statement in self._preparations(schema):
                    self._connection.execute(statement)
                failpoint.reach("destination.prepare")
        except psycopg.errors.InsufficientPrivilege as error:
            if all(self._present(schema)[::2]):
                raise translate(error) from error
            raise AccessDeniedError(
                "Encountered error while attempting to create new schema. "
                f"{server_message(error)}; grant CREATE on the database to treadle's user"
            ) from error
        except psycopg.Error as error:
            raise translate(error) from error

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """(source id, table name as sent) -> the last load, for one log."""
        try:
            rows = self._connection.execute(
                "SELECT source_id, table_name, position, report, result FROM _treadle.positions"
                " WHERE log_id = %s",
                [log_id],
            ).fetchall()
        except psycopg.errors.UndefinedTable:
            return {}
        except psycopg.Error as error:
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
            rows = self._connection.execute(
                "SELECT DISTINCT log_id FROM _treadle.positions WHERE starts_with(log_id, %s)"
                " ORDER BY log_id",
                [prefix],
            ).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        except psycopg.Error as error:
            raise translate(error) from error
        return [log_id for (log_id,) in rows]

    def relations(self, schema: str) -> list[str]:
        """The tables, views and sequences in a schema; see `Session.relations`."""
        try:
            return relations(self._connection, schema)
        except psycopg.Error as error:
            raise translate(error) from error

    def state(self, schema: str, table: str) -> TableState:
        """What is there for a canonical table name."""
        try:
            revision, document, taken = self._known(schema, table)
            if document is None and not taken:
                return TableState(revision, None, {})
            entry = table_codec.decode_table(document) if document else None
            relations = entry.relations if entry else ()
            names = {table, *(relation.name for relation in relations)}
            rows = self._connection.execute(_PHYSICAL, [schema, list(names)]).fetchall()
        except psycopg.Error as error:
            raise translate(error) from error
        return TableState(revision, entry, _physical(rows))

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """The `_sdc_sequence` each key has in the table now: None for no such row."""
        if not relation.key:
            return []
        wanted = RelationRows(relation, dict(zip(relation.key, keys, strict=True)))
        wanted.entries = range(len(wanted))
        target = sql.Identifier(PRIVATE_SCHEMA if private else schema, relation.name)
        try:
            with self._connection.transaction():
                # The keys travel in a temporary table, also in a session for reading.
                self._connection.execute("SET TRANSACTION READ WRITE")
                stage = stage_rows(self._connection, wanted, "treadle_wanted")
                rows = self._connection.execute(
                    sql.SQL(
                        "SELECT t._sdc_sequence FROM {stage} s LEFT JOIN {target} t ON {same_key}"
                        " ORDER BY s.entry"
                    ).format(
                        stage=stage.name,
                        target=target,
                        same_key=stage.matches("t", [(name, name) for name in relation.key]),
                    )
                ).fetchall()
                return [sequence for (sequence,) in rows]
        except psycopg.Error as error:
            raise translate(error) from error

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Session.counts`."""
        target = sql.Identifier(schema, relation.name)
        try:
            with self._connection.transaction():
                self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                rows = self._number(sql.SQL("SELECT count(*) FROM {t}").format(t=target))
                doubled = 0
                if relation.key:
                    doubled = self._number(
                        sql.SQL(
                            "SELECT coalesce(sum(n - 1), 0)::bigint"
                            " FROM (SELECT count(*) AS n FROM {t} GROUP BY {key}) AS keys"
                        ).format(
                            t=target, key=sql.SQL(", ").join(map(sql.Identifier, relation.key))
                        )
                    )
                batches = self._connection.execute(
                    sql.SQL(
                        "SELECT (extract(epoch FROM b.at) * 1000000)::bigint, b.n FROM"
                        " (SELECT {at} AS at, count(*) AS n FROM {t}"
                        "  WHERE {at} IS NULL OR {at} >= to_timestamp(0) + %s * interval '1 us'"
                        "  GROUP BY 1) AS b"
                    ).format(at=sql.Identifier(BATCHED_AT), t=target),
                    (since,),
                ).fetchall()
        except psycopg.Error as error:
            raise translate(error) from error
        return RowCounts(rows, doubled, dict(batches))

    def _number(self, statement: sql.Composed) -> int:
        row = self._connection.execute(statement).fetchone()
        assert row is not None  # noqa: S101 - an aggregate has always one
        return int(row[0])

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Session.compare`."""
        try:
            return compare(self._connection, schema, other, pair)
        except psycopg.Error as error:
            raise translate(error) from error

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Session.remove`."""
        self._prepared.discard(schema)
        try:
            if not self._present(schema)[1]:
                return
            with self._connection.transaction():
                _, document = self._catalogue_entry(schema, table) or (0, None)
                entry = table_codec.decode_table(document) if document else None
                remove(self._connection, schema, table, entry, log_id)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise OperatorError(
                f"{server_message(error)} ({error.diag.message_detail}); nothing was changed, drop "
                "those first"
            ) from error
        except psycopg.Error as error:
            raise translate(error) from error

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out in one transaction; see `Session.load`."""
        connection = self._connection
        first = None if rehearse else foreseen(plan)
        try:
            if first is not None and begin(connection, plan, first):
                result = carry_out_first(connection, plan, first)
            else:
                connection.execute("BEGIN")
                if rehearse:
                    for statement in self._preparations(plan.schema):
                        connection.execute(statement)
                result = carry_out(connection, plan)
            if rehearse:
                connection.execute("ROLLBACK")
                return result
        except psycopg.Error as error:
            self._roll_back()
            raise translate(error) from error
        except UnicodeEncodeError as error:
            self._roll_back()
            raise RowRefusedError(f"text that is not Unicode: {error.reason}") from error
        except BaseException:
            self._roll_back()
            raise
        failpoint.reach("destination.before-commit")
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if connection.broken or connection.closed:
                raise CommitUnknownError(
                    f"the connection to PostgreSQL broke during COMMIT: {server_message(error)}"
                ) from error
            self._roll_back()
            raise translate(error) from error
        failpoint.reach("destination.after-commit")
        return result

    def ddl(self, plan: LoadPlan) -> list[str]:
        """The statements by which a load would change the schema; see `Session.ddl`."""
        connection = self._connection
        try:
            found: list[sql.Composed | sql.SQL] = [
                *self._preparations(plan.schema),
                *statements(connection, plan),
                *(
                    create_tombstones(plan, write)
                    for write in plan.writes
                    if plan.table_after is not None
                    and plan.table_after.tombstones
                    and write.mode == "upsert"
                ),
            ]
        except psycopg.Error as error:
            raise translate(error) from error
        return [statement.as_string(connection) for statement in found]

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's."""
        cursor = self._connection.cursor()
        cursor.adapters.register_loader("timestamptz", _AnyYear)
        try:
            # A pipeline speaks the extended protocol, which refuses several statements in one text.
            with self._connection.pipeline():
                cursor.execute(sql.encode())
            columns = tuple(column.name for column in cursor.description or ())
            return QueryResult(columns, cursor.fetchall() if cursor.description else [])
        except psycopg.Error as error:
            fault = translate(error)
            if isinstance(fault, DestinationUnavailableError | AccessDeniedError):
                raise fault from error
            kind = MissingRelationError if error.sqlstate in MISSING else OperatorError
            raise kind(server_message(error)) from error

    # --- helpers ----------------------------------------------------------------------------------

    def _known(self, schema: str, table: str) -> tuple[int, str | None, bool]:
        """Revision and document of a table, and whether anything has its name.

        Of a table that is new that is all there is to know, and takes one statement.
        """
        with suppress(psycopg.errors.UndefinedTable):
            found = self._connection.execute(_KNOWN, [schema, table, schema, digest_name(table)])
            for row in found:
                return row
        return (0, None, True)

    def _catalogue_entry(self, schema: str, table: str) -> tuple[int, str | None] | None:
        with suppress(psycopg.errors.UndefinedTable):
            return self._connection.execute(
                "SELECT revision, document FROM _treadle.catalogue"
                " WHERE schema_name = %s AND table_key = %s",
                [schema, digest_name(table)],
            ).fetchone()
        return None

    def _preparations(self, schema: str) -> list[sql.Composed | sql.SQL]:
        """The statements that make what `prepare` finds missing."""
        own_schema, own_tables, its_schema, its_rejected = self._present(schema)
        made: list[sql.Composed | sql.SQL] = []
        if not own_schema:
            made.append(_create_schema(PRIVATE_SCHEMA))
        if not own_tables:
            made += [POSITIONS, CATALOGUE]
        if not its_schema:
            made.append(_create_schema(schema))
        if not its_rejected:
            made.append(create_rejected(schema))
        return made

    def _present(self, schema: str) -> tuple[bool, bool, bool, bool]:
        """Whether treadle's schema, its tables, the source's schema and `_sdc_rejected` exist."""
        found = self._connection.execute(
            "SELECT n.nspname, r.relname FROM pg_catalog.pg_namespace n"
            " LEFT JOIN pg_catalog.pg_class r"
            " ON r.relnamespace = n.oid AND r.relname = ANY (%s)"
            " WHERE n.nspname = ANY (%s)",
            [["positions", "catalogue", REJECTED], [schema, PRIVATE_SCHEMA]],
        ).fetchall()
        schemas = {name for name, _ in found}
        return (
            PRIVATE_SCHEMA in schemas,
            {(PRIVATE_SCHEMA, "positions"), (PRIVATE_SCHEMA, "catalogue")} <= set(found),
            schema in schemas,
            (schema, REJECTED) in found,
        )

    def _roll_back(self) -> None:
        self._prepared.clear()  # somebody may have dropped them
        # A broken connection has rolled back by itself.
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")


def _create_schema(name: str) -> sql.Composed:
    return sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name))


def _physical(
    rows: Sequence[tuple[str, str | None, str | None, bool | None]],
) -> dict[str, PhysicalRelation]:
    columns: dict[str, dict[str, ColumnType | None]] = {}
    keys: dict[str, set[str]] = {}
    for relation, column, type_name, in_key in rows:
        columns.setdefault(relation, {})
        keys.setdefault(relation, set())
        if column is not None:
            columns[relation][column] = _LOGICAL.get(type_name or "")
            if in_key:
                keys[relation].add(column)
    return {name: PhysicalRelation(columns[name], frozenset(keys[name])) for name in columns}
