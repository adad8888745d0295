"""PostgreSQL's SQL.

Functions and operators are named so that the system's are found. A role that may create in a
schema of the search path, such as `public`, could make one that fits the types of the arguments
better, and it would run as treadle's user (CVE-2018-1058). So functions stand behind `pg_catalog.`,
and literals and operators have the types that the system's operators have. The search path itself
stays as it is, since the triggers of users run with it.
"""

from collections.abc import Iterator
from typing import ClassVar, Final

from psycopg import postgres, sql

from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.schema_changes import SchemaStatements
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import LoadPlan, Relation
from treadle.tables.profiles import POSTGRES

NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names (loading.md 6.2)."""

_PREPARE_LOCK: Final = 0x747265616465  # "treade": one session at a time makes schemas


class PostgresDialect(SqlDialect):
    """PostgreSQL 14 or newer."""

    profile = POSTGRES
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("bigint"),
        ColumnType.BOOLEAN: Quoted("boolean"),
        ColumnType.DECIMAL: Quoted("numeric"),
        ColumnType.DOUBLE: Quoted("double precision"),
        ColumnType.JSON: Quoted("jsonb"),
        ColumnType.TEXT: Quoted("text"),
        ColumnType.TIMESTAMP: Quoted("timestamp with time zone"),
    }
    logical_types: ClassVar = {
        postgres.types[name].oid: type_
        for name, type_ in {
            "bool": ColumnType.BOOLEAN,
            "float8": ColumnType.DOUBLE,
            "int8": ColumnType.BIGINT,
            "json": ColumnType.JSON,
            "jsonb": ColumnType.JSON,
            "numeric": ColumnType.DECIMAL,
            "text": ColumnType.TEXT,
            "timestamptz": ColumnType.TIMESTAMP,
        }.items()
    }
    text_forms: ClassVar = {
        ColumnType.DECIMAL: "pg_catalog.trim_scale({name})::text",
        ColumnType.DOUBLE: (
            "CASE WHEN {name} = pg_catalog.trunc({name})"
            " AND pg_catalog.abs({name}) < 1e16::double precision"
            " THEN {name}::bigint::text ELSE {name}::text END"
        ),
        ColumnType.TIMESTAMP: (
            "CASE WHEN {name} >= '0001-01-01 00:00:00Z' AND {name} < '10000-01-01 00:00:00Z'"
            " THEN pg_catalog.regexp_replace("
            "pg_catalog.to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),"
            " '\\.?0+$', '') || 'Z' ELSE {name}::text END"
        ),
    }
    microseconds = "(extract(epoch FROM {at}) * 1000000::numeric)::bigint"
    equals = "{one} OPERATOR(pg_catalog.=) {two}"
    empty_relation = "TRUNCATE {target}"
    adds_several_columns = True
    begin: ClassVar = {
        "load": Quoted("BEGIN"),
        "lookup": Quoted("BEGIN READ WRITE"),
        "snapshot": Quoted("BEGIN ISOLATION LEVEL REPEATABLE READ"),
    }
    rights_to_prepare = "grant CREATE on the database to treadle's user"
    # Two sessions that make one schema at once would trip over each other.
    before_prepare = Quoted(f"SELECT pg_catalog.pg_advisory_xact_lock({_PREPARE_LOCK:d})")
    # A row that is not there cannot be locked, so it is made. Who comes second waits for it.
    claims_rows = True
    finds_all = True
    claim_offset = """
        INSERT INTO {offsets} AS p
          (log_id, source_id, table_key, table_name, position, fence, report, result)
        VALUES ($1, $2, $3, $4, -1, 0, '', '')
        ON CONFLICT (log_id, source_id, table_key) DO UPDATE SET fence = p.fence
        RETURNING position, fence
        """
    claim_entry = """
        INSERT INTO {entries} AS c (schema_name, table_key, table_name, revision)
        VALUES ($1, $2, $3, 0)
        ON CONFLICT (schema_name, table_key) DO UPDATE SET revision = c.revision
        RETURNING revision
        """
    make_entry = """
        INSERT INTO {entries} AS c (schema_name, table_key, table_name, revision, document)
        VALUES ($1, $2, $3, 1, $4)
        ON CONFLICT (schema_name, table_key)
          DO UPDATE SET revision = 1, document = excluded.document WHERE c.revision = 0
        RETURNING 0
        """
    # A shared lock: two tables of a source may be loaded at once, and `adopt` waits for both.
    claim_schema = """
        SELECT installation_id, account_id, source_id FROM {schemas}
        WHERE schema_name = $1 FOR SHARE
        """
    find_schema = Quoted("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1")
    # Functions look names up in caches. Joins would have to be planned each time, which takes
    # longer than all else in the load of a small table.
    find_table = Quoted(
        "SELECT 1 WHERE"
        " pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1::text, $2::text)) IS NOT NULL"
    )
    list_relations = Quoted(
        "SELECT r.relname FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE n.nspname = $1 AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
    )
    list_columns = """
        SELECT r.relname, a.attname, a.atttypid, a.attnum = ANY (k.conkey)
        FROM pg_catalog.pg_class r
        LEFT JOIN pg_catalog.pg_attribute a
          ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'p'
        WHERE r.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1::text))
          AND r.relname IN ({names})
          AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY r.relname, a.attnum
        """
    find_key = Quoted(
        "SELECT k.conname FROM pg_catalog.pg_constraint k"
        " JOIN pg_catalog.pg_class r ON r.oid = k.conrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE k.contype = 'p' AND n.nspname = $1 AND r.relname = $2"
    )
    clock = Quoted(
        "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000::numeric)::bigint"
    )

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, as psycopg quotes it."""
        return Quoted(sql.Identifier(*parts).as_string(None))


class PostgresSchemaStatements(SchemaStatements):
    """Schema changes where indexes share their names with tables."""

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        super().__init__(connection, plan)
        self._indexes: set[tuple[str, str]] = set()
        """(schema, name) of the keys' indexes that earlier statements make."""

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        yield from self._free_name(schema, relation.name)
        yield from super()._create(schema, relation)
        if relation.key:
            stem = relation.name.encode()[: NAME_BYTES_MAX - len("_pkey")].decode(errors="ignore")
            self._indexes.add((schema, f"{stem}_pkey"))

    def _free_name(self, schema: str, name: str) -> Iterator[Quoted]:
        """Move a primary key's index out of the way.

        The index of table `a` is called `a_pkey`, which a client may call a table as well.
        """
        taken = (schema, name) in self._indexes or self._connection.rows(
            Quoted(
                "SELECT 1 FROM pg_catalog.pg_index"
                " WHERE indexrelid ="
                " pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1::text, $2::text))"
                " AND indisprimary"
            ),
            schema,
            name,
        )
        if taken:
            yield compose(
                "ALTER INDEX {index} RENAME TO {name}",
                index=self._dialect.quote(schema, name),
                name=self._dialect.quote(
                    names.name_auxiliary(self._plan.owner, "pkey_", schema, name)
                ),
            )
