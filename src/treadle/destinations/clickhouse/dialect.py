"""The SQL of ClickHouse.

A table with a key is a ReplacingMergeTree: an INSERT takes the place of the row of its key unless
that has a greater `_sdc_sequence`. A row with `_treadle_gone` hides the others of its key, so it is
a deleted row and the memory of its deletion. Who reads has to say FINAL, or to set `final = 1`, as
treadle does.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import ClassVar, Final, LiteralString

from treadle.destinations.layout import SEQUENCE, order_key
from treadle.destinations.sql.stepped_dialect import SteppedDialect
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.profiles import CLICKHOUSE, CLICKHOUSE_GONE

GONE: Final = Quoted(f"`{CLICKHOUSE_GONE}`")

VIEW_MARK: Final = "treadle: current rows"
"""The comment of the views that treadle makes, by which the statements here know them."""

VIEW_SUFFIX: Final = "_current"

REMEMBERING: Final = Quoted("non_replicated_deduplication_window = 10000")
"""The setting of a table by which the server takes none of its latest INSERTs twice: the driver
sends one again when the connection breaks."""

_BARE: Final = {
    ColumnType.BIGINT: Quoted("Int64"),
    ColumnType.BOOLEAN: Quoted("Bool"),
    ColumnType.DECIMAL: Quoted("Decimal(76, 38)"),
    ColumnType.DOUBLE: Quoted("Float64"),
    ColumnType.JSON: Quoted("String"),
    ColumnType.TEXT: Quoted("String"),
    ColumnType.TIMESTAMP: Quoted("DateTime64(6, 'UTC')"),
}
"""Types of columns that hold no NULL."""

# Digits as the server writes a double, which is as few as it takes, and where Python has them.
_DIGITS: Final = "replaceRegexpOne(replaceRegexpOne(toString(abs(x)), '0+$', ''), '^0\\\\.0*', '')"
_PLACED: Final = (
    "concat(if(x < 0, '-', ''), substring(" + _DIGITS + ", 1, 1),"
    " if(length(" + _DIGITS + ") > 1, '.', ''), substring(" + _DIGITS + ", 2),"
)
_DOUBLE_AS_TEXT: Final = (
    "arrayMap(x -> multiIf(NOT isFinite(x), toString(x),"
    " abs(x) < 1e16 AND x = floor(x), toString(toInt64(x)),"
    " abs(x) >= 1e21, replaceOne(toString(x), 'e', 'e+'),"
    " abs(x) >= 1e16, " + _PLACED + " 'e+', toString(length(toString(toInt128(abs(x)))) - 1)),"
    " abs(x) < 1e-6, replaceRegexpOne(toString(x), 'e-(\\\\d)$', 'e-0\\\\1'),"
    " abs(x) < 1e-5, " + _PLACED + " 'e-06'),"
    " abs(x) < 1e-4, " + _PLACED + " 'e-05'), toString(x)), [assumeNotNull({value})])[1]"
)
TEXT_OF_TEXT: Final[dict[ColumnType, LiteralString]] = {
    ColumnType.DOUBLE: (
        "if(isNull({name}), NULL, "
        + _DOUBLE_AS_TEXT.replace("{value}", "toFloat64OrZero({name})")
        + ")"
    ),
    ColumnType.TIMESTAMP: (
        "replaceRegexpOne(replaceOne({name}, ' ', 'T'),"
        " '^([^.Z]+)(?:(\\\\.\\\\d*[1-9])0*|\\\\.0*)?Z?$', '\\\\1\\\\2Z')"
    ),
}
"""Logical type -> a text `{name}` that the server made of a value, as `tables.columns.converted`
makes it; that text stays as it is."""


class ClickhouseDialect(SteppedDialect):
    """The SQL of ClickHouse."""

    profile = CLICKHOUSE
    types: ClassVar = {
        type_: Quoted(f"Nullable({bare})" + (" COMMENT 'json'" * (type_ is ColumnType.JSON)))
        for type_, bare in _BARE.items()
    }
    logical_types: ClassVar = {
        "Int64": ColumnType.BIGINT,
        "Bool": ColumnType.BOOLEAN,
        "Decimal(76, 38)": ColumnType.DECIMAL,
        "Float64": ColumnType.DOUBLE,
        "json": ColumnType.JSON,
        "String": ColumnType.TEXT,
        "DateTime64(6, 'UTC')": ColumnType.TIMESTAMP,
    }
    instant_literal = "toDateTime64('{text}', 6, 'UTC')"
    microseconds = "toUnixTimestamp64Micro({at})"
    differs = "ifNull({one} != {two}, isNull({one}) != isNull({two}))"
    empty_relation = "TRUNCATE TABLE {target}"
    excepts_all = False
    replaces_rows = True
    schema_word = Quoted("DATABASE")
    rights_to_prepare = (
        "grant ALL on the databases {own} and {schema}, or on all databases, to treadle's user"
    )
    find_schema = Quoted("SELECT 1 FROM system.databases WHERE name = $1")
    # A view that treadle made is none of the tables that a load could meet.
    find_table = Quoted(
        """
        SELECT 1 FROM system.tables
        WHERE database = $1 AND name = $2 AND comment != 'treadle: current rows'
        """
    )
    list_relations = Quoted(
        """
        SELECT name FROM system.tables
        WHERE database = $1 AND comment != 'treadle: current rows'
        """
    )
    list_columns = """
        SELECT
          table,
          name,
          if(comment = 'json', 'json', replaceRegexpOne(type, '^Nullable\\\\((.*)\\\\)$', '\\\\1')),
          is_in_sorting_key
        FROM system.columns
        WHERE database = $1 AND table IN ({names}) AND name != '_treadle_gone'
          AND table NOT IN (
            SELECT name FROM system.tables
            WHERE database = $1 AND comment = 'treadle: current rows'
          )
        ORDER BY table, position
        """
    clock = Quoted("SELECT toUnixTimestamp64Micro(now64(6))")

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, in backticks."""
        return Quoted(".".join("`" + _escape(part).replace("`", "\\`") + "`" for part in parts))

    def literal(self, value: object) -> str:
        """Return a value of a statement; everything but numbers is a text."""
        if value is None:
            return "NULL"
        if isinstance(value, int):
            return str(int(value))
        return "'" + _escape(str(value)).replace("'", "\\'") + "'"

    def define(self, columns: Iterable[Column], key: Collection[str] = ()) -> Quoted:
        """Return column definitions for CREATE TABLE; a relation with a key can hide its rows."""
        columns = list(columns)
        made = [self._define_column(column) for column in columns]
        if key and any(column.name == SEQUENCE for column in columns):
            # Not in `SELECT *`, and nobody has to give it.
            made.append(compose("{gone} UInt8 MATERIALIZED 0", gone=GONE))
        return join(", ", made)

    def _define_column(self, column: Column) -> Quoted:
        name = self.quote(column.name)
        if column.name == SEQUENCE:  # the version of a row: one without it counts as lowest
            return compose("{name} Int64 DEFAULT -9223372036854775808", name=name)
        if column.nullable:
            return compose("{name} {type}", name=name, type=self.types[column.type])
        return compose("{name} {type}", name=name, type=_BARE[column.type])

    def define_staged(self, column: Column) -> Quoted:
        """Return the type of a column of staged rows."""
        bare = _BARE[column.type]
        return compose("Nullable({bare})", bare=bare) if column.nullable else bare

    def define_key(self, key: tuple[str, ...]) -> Quoted:
        """Return nothing: the key stands behind the engine."""
        return NOTHING

    def describe_storage(self, relation: Relation) -> Quoted:
        """Return the engine of a relation, with its key."""
        if not relation.key:
            return compose(
                " ENGINE = MergeTree ORDER BY tuple() SETTINGS {remembering}",
                remembering=REMEMBERING,
            )
        names = {column.name for column in relation.columns}
        key = self.quote_all(order_key(relation.key))
        if SEQUENCE in names:
            return compose(
                " ENGINE = ReplacingMergeTree({sequence}, {gone}) ORDER BY ({key})"
                " SETTINGS {remembering}",
                sequence=self.quote(SEQUENCE),
                gone=GONE,
                key=key,
                remembering=REMEMBERING,
            )
        # A lower fence never takes the place of a greater one; all else of what came last.
        version = self.quote("fence") if "fence" in names else NOTHING
        return compose(
            " ENGINE = ReplacingMergeTree({version}) ORDER BY ({key})", version=version, key=key
        )

    def rename_relations(self, renames: Sequence[tuple[str, str, str]]) -> Iterator[Quoted]:
        """Give the one statement by which relations get other names."""
        yield compose(
            "RENAME TABLE {renames}",
            renames=join(
                ", ",
                (
                    compose("{old} TO {new}", old=self.quote(s, one), new=self.quote(s, other))
                    for s, one, other in renames
                ),
            ),
        )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0")
