"""The SQL of Snowflake, with the schema changes that are its own."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from treadle.destinations.layout import PRIVATE_SCHEMA, order_key
from treadle.destinations.sql.load_intent import LoadIntent, TableReplacement
from treadle.destinations.sql.stepped_changes import DRAFT, SteppedStatements
from treadle.destinations.sql.stepped_dialect import SteppedDialect
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, ChangeKey, SchemaChange, WidenColumn
from treadle.tables.profiles import SNOWFLAKE


class SnowflakeDialect(SteppedDialect):
    """The SQL of Snowflake.

    The database has names in upper case, so that a reader need not quote them. Everywhere else they
    are in lower case.
    """

    profile = SNOWFLAKE
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("NUMBER(38,0)"),
        ColumnType.BOOLEAN: Quoted("BOOLEAN"),
        ColumnType.DECIMAL: Quoted("NUMBER(38,6)"),
        ColumnType.DOUBLE: Quoted("FLOAT"),
        ColumnType.JSON: Quoted("VARIANT"),
        ColumnType.TEXT: Quoted("VARCHAR(16777216)"),
        ColumnType.TIMESTAMP: Quoted("TIMESTAMP_TZ(9)"),
    }
    logical_types: ClassVar = {
        "NUMBER(38,0)": ColumnType.BIGINT,
        "BOOLEAN": ColumnType.BOOLEAN,
        "NUMBER(38,6)": ColumnType.DECIMAL,
        "FLOAT": ColumnType.DOUBLE,
        "VARIANT": ColumnType.JSON,
        "TEXT": ColumnType.TEXT,
        "TIMESTAMP_TZ": ColumnType.TIMESTAMP,
    }
    staged_types: ClassVar = types | {
        ColumnType.JSON: types[ColumnType.TEXT],
        ColumnType.TIMESTAMP: types[ColumnType.BIGINT],
    }
    """Types of the columns of a stage: what a Parquet file says of these has more than one
    reading."""
    staged_forms: ClassVar = {
        ColumnType.JSON: "PARSE_JSON({value})",
        ColumnType.TIMESTAMP: "TO_TIMESTAMP_TZ({value}, 6)",
    }
    """Type -> the expression that makes a value of it of the staged one, `{value}`."""
    text_forms: ClassVar = {
        ColumnType.DECIMAL: "REGEXP_REPLACE(TO_VARCHAR({name}), '[.]?0+$', '')",
        ColumnType.DOUBLE: (
            "CASE WHEN ABS({name}) < 1e16 AND {name} = FLOOR({name})"
            " THEN TO_VARCHAR(CAST({name} AS NUMBER(38,0))) ELSE TO_VARCHAR({name}) END"
        ),
        ColumnType.TIMESTAMP: (
            "REGEXP_REPLACE(TO_VARCHAR(CONVERT_TIMEZONE('UTC', {name}),"
            " 'YYYY-MM-DD\"T\"HH24:MI:SS.FF6'), '[.]?0+$', '') || 'Z'"
        ),
    }
    instant_literal = "CAST('{text} +00:00' AS TIMESTAMP_TZ)"
    microseconds = "DATE_PART(EPOCH_MICROSECOND, {at})"
    joins_fully = False
    rights_to_prepare = (
        "grant CREATE SCHEMA on the database to treadle's role, or make the schemas {own} and "
        "{schema} and give it their ownership"
    )
    find_schema = Quoted("SELECT 1 FROM information_schema.schemata WHERE schema_name = UPPER($1)")
    find_table = Quoted(
        "SELECT 1 FROM information_schema.tables"
        " WHERE table_schema = UPPER($1) AND table_name = UPPER($2)"
    )
    list_relations = Quoted(
        "SELECT LOWER(table_name) FROM information_schema.tables WHERE table_schema = UPPER($1)"
    )
    list_columns = """
        SELECT table_name, LOWER(column_name),
          CASE
            WHEN data_type = 'NUMBER'
            THEN 'NUMBER(' || numeric_precision || ',' || numeric_scale || ')'
            WHEN data_type = 'TEXT' AND character_maximum_length < 16777216 THEN 'VARCHAR'
            ELSE data_type
          END
        FROM information_schema.columns
        WHERE table_schema = UPPER($1) AND table_name IN ({names})
        ORDER BY table_name, ordinal_position
        """
    clock = Quoted("SELECT DATE_PART(EPOCH_MICROSECOND, CURRENT_TIMESTAMP())")
    drop_temporary = "DROP TABLE IF EXISTS {table}"

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, in upper case and quotes."""
        return Quoted(".".join('"' + part.upper().replace('"', '""') + '"' for part in parts))

    def rename_relations(self, renames: Sequence[tuple[str, str, str]]) -> Iterator[Quoted]:
        """Give the statements by which drafts take their places.

        A clone takes a place in one statement, with the rights that others have there. So the table
        whose place is taken needs no other name.
        """
        taken = {(schema, new) for schema, _, new in renames}
        for schema, name, new in renames:
            if (schema, name) not in taken:
                draft = self.quote(schema, name)
                yield compose(
                    "CREATE OR REPLACE TABLE {place} CLONE {draft} COPY GRANTS",
                    place=self.quote(schema, new),
                    draft=draft,
                )
                yield compose("DROP TABLE {draft}", draft=draft)


class SnowflakeStatements(SteppedStatements):
    """Schema changes in Snowflake's words."""

    @property
    def intent(self) -> LoadIntent:
        """What is noted before the first statement, with the copies in which columns are widened.

        So whoever comes after a load that ended amid one drops it.
        """
        noted = super().intent
        if not noted.table:  # it would be taken for what is left of a load
            return noted
        widens = (change for change in self._plan.changes if isinstance(change, WidenColumn))
        copies = set(map(self._name_copy, widens))
        widened = (TableReplacement(PRIVATE_SCHEMA, each, each) for each in sorted(copies))
        return LoadIntent(noted.table, (*noted.replacements, *widened))

    def _name_copy(self, change: WidenColumn) -> str:
        return names.name_auxiliary(self._plan.owner, DRAFT, self._schema, change.relation)

    def _make(self, change: SchemaChange | list[AddColumn]) -> Iterator[Quoted]:
        if isinstance(change, WidenColumn):
            yield from self._widen_column(change)
        else:
            yield from super()._make(change)

    def _add_columns(self, additions: list[AddColumn]) -> Iterator[Quoted]:
        dialect = self._dialect
        yield compose(
            "ALTER TABLE {target} ADD COLUMN {columns}",
            target=self._place(additions[0].relation, additions[0].private),
            columns=join(
                ", ",
                (
                    compose(
                        "{name} {type}",
                        name=dialect.quote(each.name),
                        type=dialect.types[each.type],
                    )
                    for each in (addition.column for addition in additions)
                ),
            ),
        )

    def _widen_column(self, change: WidenColumn) -> Iterator[Quoted]:
        """Widen a column in a copy that takes the place of the table, since no type is changed."""
        dialect, column = self._dialect, change.column
        name, other = dialect.quote(column.name), dialect.quote("_treadle_" + column.name)
        table = self._place(change.relation, change.private)
        draft = dialect.own(self._name_copy(change))
        value = dialect.widen(column, change.old)
        parts = {"t": table, "d": draft, "n": name, "o": other, "v": value}
        type_ = dialect.types[column.type]
        yield compose("CREATE OR REPLACE TABLE {d} CLONE {t}", **parts)
        yield compose("ALTER TABLE {d} ADD COLUMN {o} {type}", type=type_, **parts)
        yield compose("UPDATE {d} SET {o} = {v}", **parts)
        yield compose("ALTER TABLE {d} DROP COLUMN {n}", **parts)
        yield compose("ALTER TABLE {d} RENAME COLUMN {o} TO {n}", **parts)
        yield compose("CREATE OR REPLACE TABLE {t} CLONE {d} COPY GRANTS", **parts)
        yield compose("DROP TABLE {d}", **parts)

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        yield from self._alter_key(self._place(relation), relation, old, key)

    def _build_draft(self, draft: TableReplacement, change: ChangeKey) -> Iterator[Quoted]:
        place = self._dialect.place(draft.schema, draft.draft)
        live = self._place(change.relation)
        yield compose("CREATE OR REPLACE TABLE {place} LIKE {live}", place=place, live=live)
        yield from self._alter_key(place, change.relation, change.old, change.key)

    def _alter_key(
        self, place: Quoted, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        dialect = self._dialect
        there = self._connection.describe(self._schema, [relation])
        steps = []
        if any(found.key for found in there.values()):
            steps.append(Quoted("DROP PRIMARY KEY"))
        steps += [
            compose("ALTER COLUMN {c} DROP NOT NULL", c=dialect.quote(name))
            for name in old
            if name not in key
        ]
        if key:
            steps.append(compose("ADD PRIMARY KEY ({key})", key=dialect.quote_all(order_key(key))))
        for step in steps:
            yield compose("ALTER TABLE {place} {step}", place=place, step=step)
