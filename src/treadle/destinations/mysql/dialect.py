"""The SQL of MySQL 8 and MariaDB 10.6 or newer, with the schema changes that are its own."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final, LiteralString

from treadle.destinations.layout import PRIVATE_SCHEMA, order_key
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import TableReplacement
from treadle.destinations.sql.stepped_changes import SteppedStatements
from treadle.destinations.sql.stepped_dialect import SteppedDialect
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    LoadPlan,
    SchemaChange,
    WidenColumn,
)
from treadle.tables.profiles import MYSQL

KEY_BYTES_MAX: Final = 3072
"""Of an entry of an index; a character takes four."""

NUMBER_BYTES: Final = 20
"""Room in it for a key column that is no text: a decimal takes most."""

LOCK_SECONDS_MAX: Final = 15

# Digits as the server writes a double, which is as few as it takes, and where Python has them.
_PLAIN: Final = "CAST({name} AS CHAR)"
_FRACTION: Final = "SUBSTRING_INDEX(CAST(ABS({name}) AS CHAR), '.', -1)"
_DIGITS: Final = "TRIM(LEADING '0' FROM SUBSTRING_INDEX(CAST(ABS({name}) AS CHAR), '.', -1))"
_MANTISSA: Final = "REPLACE(SUBSTRING_INDEX(CAST(ABS({name}) AS CHAR), 'e', 1), '.', '')"
_DOUBLE_AS_TEXT: Final = (
    "CASE WHEN {name} IS NULL THEN NULL"
    " WHEN ABS({name}) < 1e16 AND {name} = FLOOR({name})"
    " THEN CAST(CAST({name} AS SIGNED) AS CHAR)"
    " WHEN ABS({name}) >= 1e16 THEN REPLACE(" + _PLAIN + ", 'e', 'e+')"
    " WHEN ABS({name}) >= 1e15 THEN CONCAT(IF({name} < 0, '-', ''), LEFT(" + _MANTISSA + ", 16),"
    " '.', SUBSTRING(" + _MANTISSA + ", 17))"
    " WHEN ABS({name}) >= 1e-4 OR LOCATE('e', " + _PLAIN + ") THEN " + _PLAIN + ""
    " ELSE CONCAT(IF({name} < 0, '-', ''), LEFT(" + _DIGITS + ", 1),"
    " IF(CHAR_LENGTH(" + _DIGITS + ") > 1, '.', ''), SUBSTRING(" + _DIGITS + ", 2), 'e-',"
    " LPAD(CHAR_LENGTH(" + _FRACTION + ") - CHAR_LENGTH(" + _DIGITS + ") + 1, 2, '0')) END"
)


class MysqlDialect(SteppedDialect):
    """One kind of server.

    Args:
        is_mariadb: it is MariaDB.
    """

    profile = MYSQL
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("BIGINT"),
        ColumnType.BOOLEAN: Quoted("TINYINT(1)"),
        ColumnType.DECIMAL: Quoted("DECIMAL(38,6)"),
        ColumnType.DOUBLE: Quoted("DOUBLE"),
        # MariaDB's JSON is LONGTEXT, and MySQL's changes what it is given.
        ColumnType.JSON: Quoted("LONGTEXT COMMENT 'json'"),
        ColumnType.TEXT: Quoted("LONGTEXT"),
        ColumnType.TIMESTAMP: Quoted("DATETIME(6)"),
    }
    logical_types: ClassVar = {
        "bigint": ColumnType.BIGINT,
        "tinyint(1)": ColumnType.BOOLEAN,
        "decimal(38,6)": ColumnType.DECIMAL,
        "double": ColumnType.DOUBLE,
        "json": ColumnType.JSON,
        "longtext": ColumnType.TEXT,
        "datetime(6)": ColumnType.TIMESTAMP,
    }
    text_forms: ClassVar = {
        ColumnType.BOOLEAN: (
            "CASE WHEN {name} IS NULL THEN NULL WHEN {name} THEN 'true' ELSE 'false' END"
        ),
        ColumnType.DECIMAL: (
            "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST({name} AS CHAR)))"
        ),
        ColumnType.DOUBLE: _DOUBLE_AS_TEXT,
        ColumnType.TIMESTAMP: (
            "CONCAT(TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM"
            " DATE_FORMAT({name}, '%Y-%m-%dT%H:%i:%s.%f'))), 'Z')"
        ),
    }
    instant_literal = "TIMESTAMP'{text}'"
    microseconds = "TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', {at})"
    delete_matching = "DELETE {alias} FROM {target} {alias}, {others} WHERE {condition}"
    differs = "NOT ({one} <=> {two})"
    adds_several_columns = True
    column_absent = Quoted("")  # MySQL does not know IF NOT EXISTS there
    cast_as_text = "CAST({value} AS CHAR)"
    joins_fully = False
    begin: ClassVar = {
        "load": Quoted("START TRANSACTION READ WRITE"),
        "lookup": Quoted("START TRANSACTION READ WRITE"),
        "snapshot": Quoted("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
    }
    rights_to_prepare = (
        "grant ALL on the databases {own} and {schema}, or on all databases, to treadle's user"
    )
    claim_offset = """
        SELECT position, fence FROM {offsets}
        WHERE log_id = $1 AND source_id = $2 AND table_key = $3 FOR UPDATE
        """
    claim_entry = """
        SELECT revision FROM {entries} WHERE schema_name = $1 AND table_key = $2 FOR UPDATE
        """
    claim_schema = """
        SELECT installation_id, account_id, source_id FROM {schemas}
        WHERE schema_name = $1 LOCK IN SHARE MODE
        """
    # Of one table: MariaDB opens all tables of a schema where none is named.
    list_columns = """
        SELECT column_name,
          CASE
            WHEN column_comment = 'json' AND data_type = 'longtext' THEN 'json'
            WHEN data_type = 'varchar' AND column_key = 'PRI' THEN 'longtext'
            WHEN column_type = 'bigint(20)' THEN 'bigint'
            ELSE column_type
          END,
          column_key = 'PRI'
        FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2
        ORDER BY ordinal_position
        """
    clock = Quoted("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
    take_lock = Quoted(f"SELECT GET_LOCK($1, {LOCK_SECONDS_MAX:d})")
    leave_lock = Quoted("SELECT RELEASE_LOCK($1)")
    copy_definition = "CREATE TEMPORARY TABLE {copy} LIKE {original}"
    rename_temporary = "ALTER TABLE {copy} RENAME TO {name}"
    drop_temporary = "DROP TEMPORARY TABLE IF EXISTS {table}"

    def __init__(self, *, is_mariadb: bool) -> None:
        super().__init__()
        # Both compare bytes, and do not take 'a' and 'a ' for one.
        self._collation = Quoted("utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin")

    @property
    def table_options(self) -> Quoted:
        """The engine, and how texts are compared."""
        return compose(
            " ENGINE InnoDB CHARACTER SET utf8mb4 COLLATE {collation}", collation=self._collation
        )

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, in backticks."""
        return Quoted(".".join("`" + part.replace("`", "``") + "`" for part in parts))

    def define(self, columns: Iterable[Column], key: Collection[str] = ()) -> Quoted:
        """Return column definitions for CREATE TABLE; texts of a key share the room of an index."""
        columns = list(columns)
        types = [column.type for column in columns if column.name in key]
        return join(
            ", ",
            (self.define_column(column, types if column.name in key else ()) for column in columns),
        )

    def define_column(self, column: Column, key_types: Sequence[ColumnType]) -> Quoted:
        """Return the definition of a column.

        Args:
            column: its name and type.
            key_types: of the columns of the key that it is in; empty where it is in none.
        """
        type_: Quoted = self.types[column.type]
        if key_types and column.type is ColumnType.TEXT:
            texts = sum(each is ColumnType.TEXT for each in key_types)
            room = (KEY_BYTES_MAX - NUMBER_BYTES * (len(key_types) - texts)) // 4 // texts
            type_ = Quoted(f"VARCHAR({room:d})")
        template: LiteralString = "{name} {type}" if column.nullable else "{name} {type} NOT NULL"
        return compose(template, name=self.quote(column.name), type=type_)

    def rename_relations(self, renames: Sequence[tuple[str, str, str]]) -> Iterator[Quoted]:
        """Give the one statement by which relations get other names, all at once."""
        yield compose(
            "RENAME TABLE {renames}",
            renames=join(
                ", ",
                (
                    compose(
                        "{old} TO {new}",
                        old=self.quote(schema, name),
                        new=self.quote(schema, new_name),
                    )
                    for schema, name, new_name in renames
                ),
            ),
        )


class MysqlSchemaStatements(SteppedStatements):
    """Schema changes in MySQL's words."""

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        assert isinstance(connection.dialect, MysqlDialect)  # noqa: S101 - for the type
        self._mysql = connection.dialect
        super().__init__(connection, plan)

    def _make(self, change: SchemaChange | list[AddColumn]) -> Iterator[Quoted]:
        if isinstance(change, WidenColumn):
            yield from self._widen_column(change)
        else:
            yield from super()._make(change)

    def _widen_column(self, change: WidenColumn) -> Iterator[Quoted]:
        """Change a type; what the server would spell otherwise goes by way of another column."""
        dialect, column = self._dialect, change.column
        target = self._place(change.relation, change.private)
        name, type_ = dialect.quote(column.name), dialect.types[column.type]
        if column.type is not ColumnType.TEXT or change.old not in dialect.text_forms:
            yield compose("ALTER TABLE {t} MODIFY {n} {type}", t=target, n=name, type=type_)
            return
        other = names.name_auxiliary(self._plan.owner, "_treadle_", column.name)
        schema = PRIVATE_SCHEMA if change.private else self._schema
        there = self._connection.describe(schema, [change.relation])
        if any(other in found.columns for found in there.values()):  # of a load that ended early
            yield compose("ALTER TABLE {t} DROP COLUMN {o}", t=target, o=dialect.quote(other))
        parts = {"t": target, "n": name, "o": dialect.quote(other), "type": type_}
        yield compose("ALTER TABLE {t} ADD COLUMN {o} {type} AFTER {n}", **parts)
        yield compose("UPDATE {t} SET {o} = {v}", v=dialect.widen(column, change.old), **parts)
        yield compose("ALTER TABLE {t} DROP COLUMN {n}, CHANGE COLUMN {o} {n} {type}", **parts)

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        if alter := self._alter_key(self._place(relation), relation, key):
            yield alter

    def _build_draft(self, draft: TableReplacement, change: ChangeKey) -> Iterator[Quoted]:
        dialect = self._dialect
        place = dialect.place(draft.schema, draft.draft)
        if not self.rehearsed:
            yield compose("DROP TABLE IF EXISTS {place}", place=place)
        yield compose(
            "CREATE {temporary}TABLE {place} LIKE {live}",
            temporary=Quoted("TEMPORARY " if self.rehearsed else ""),
            place=place,
            live=self._place(change.relation),
        )
        if alter := self._alter_key(place, change.relation, change.key):
            yield alter

    def _alter_key(self, place: Quoted, relation: str, key: tuple[str, ...]) -> Quoted | None:
        """Return the statement that changes a key with the types of its columns, in one piece."""
        fold = self._dialect.profile.fold
        there = self._connection.describe(self._schema, [relation])
        present = next(iter(there.values()), None)
        former = frozenset() if present is None else present.key
        after = self._plan.table_after
        columns = {
            fold(column.name): column
            for each in (after.relations if after is not None else ())
            if fold(each.name) == fold(relation)
            for column in each.columns
        }
        wanted = set(map(fold, key))
        types = [columns[name].type for name in wanted if name in columns]
        steps = [Quoted("DROP PRIMARY KEY")] if former else []
        for name in sorted({*map(fold, former), *wanted} & columns.keys()):
            column = replace(columns[name], nullable=name not in wanted)
            definition = self._mysql.define_column(column, types if name in wanted else ())
            steps.append(compose("MODIFY {definition}", definition=definition))
        if key:
            names_ = self._dialect.quote_all(order_key(key))
            steps.append(compose("ADD PRIMARY KEY ({key})", key=names_))
        if not steps:
            return None
        return compose("ALTER TABLE {place} {steps}", place=place, steps=join(", ", steps))
