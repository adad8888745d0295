"""The SQL of BigQuery, with the schema changes that are its own.

No constraint holds a key there: `_sdc_primary_keys` of each schema does (loading.md 8.2). So a key
changes, and a table is emptied, in the transaction of the rows, and nothing is built beside.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import ClassVar, Final

from msgspec.structs import replace

from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadIntent, TableReplacement
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.stepped_changes import SteppedStatements
from treadle.destinations.sql.stepped_dialect import RelationPlace, SteppedDialect
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CreateRelation,
    LoadPlan,
    Relation,
    WidenColumn,
)
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import BIGQUERY

PRIMARY_KEYS: Final = "_sdc_primary_keys"

KEY_COLUMNS: Final = tuple(
    Column(name, name, ColumnType.TEXT) for name in ("table_name", "column_name")
)

FIELD_TYPES: Final = {
    ColumnType.BIGINT: "INTEGER",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.DECIMAL: "NUMERIC",
    ColumnType.DOUBLE: "FLOAT",
    ColumnType.JSON: "JSON",
    ColumnType.TEXT: "STRING",
    ColumnType.TIMESTAMP: "TIMESTAMP",
}
"""Logical type -> type of a field in the API."""

_CUT_ZEROS: Final = "RTRIM(RTRIM({name}, '0'), '.')"


class SchemaRequest(str):
    """A statement that a request of the API carries out, which takes no job and costs nothing.

    Attributes:
        schema: of the table.
        relation: its name.
        columns: that are made.
        creates: with the table.
    """

    __slots__ = ("columns", "creates", "relation", "schema")

    schema: str
    relation: str
    columns: tuple[Column, ...]
    creates: bool


def make_request(
    text: Quoted, schema: str, relation: str, columns: Iterable[Column], *, creates: bool
) -> Quoted:
    """Return a statement that makes a table or columns, for a request of the API."""
    request = SchemaRequest(text)
    request.schema, request.relation = schema, relation
    request.columns, request.creates = tuple(columns), creates
    return Quoted(request)


class SqlExpression(str):
    """An SQL expression that stands where a statement has a value."""

    __slots__ = ()


class BigqueryDialect(SteppedDialect):
    """The SQL of BigQuery.

    Args:
        profile: with the loading mode of the destination.
    """

    profile = BIGQUERY
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("INT64"),
        ColumnType.BOOLEAN: Quoted("BOOL"),
        ColumnType.DECIMAL: Quoted("NUMERIC"),
        ColumnType.DOUBLE: Quoted("FLOAT64"),
        ColumnType.JSON: Quoted("JSON"),
        ColumnType.TEXT: Quoted("STRING"),
        ColumnType.TIMESTAMP: Quoted("TIMESTAMP"),
    }
    logical_types: ClassVar = {name: type_ for type_, name in FIELD_TYPES.items()}
    text_forms: ClassVar = {
        ColumnType.DECIMAL: (
            "IF(STRPOS(CAST({name} AS STRING), '.') > 0, "
            + _CUT_ZEROS.replace("{name}", "CAST({name} AS STRING)")
            + ", CAST({name} AS STRING))"
        ),
        ColumnType.DOUBLE: (
            "CASE WHEN ABS({name}) < 1e16 AND {name} = TRUNC({name})"
            " THEN CAST(CAST({name} AS INT64) AS STRING) ELSE CAST({name} AS STRING) END"
        ),
        ColumnType.JSON: "TO_JSON_STRING({name})",
        ColumnType.TIMESTAMP: (
            "CONCAT(LPAD(CAST(EXTRACT(YEAR FROM {name}) AS STRING), 4, '0'), "
            + _CUT_ZEROS.replace("{name}", "FORMAT_TIMESTAMP('-%m-%dT%H:%M:%E6S', {name})")
            + ", 'Z')"
        ),
    }
    instant_literal = "TIMESTAMP '{text}+00'"
    microseconds = "UNIX_MICROS({at})"
    delete_matching = (
        "DELETE FROM {target} {alias} WHERE EXISTS (SELECT 1 FROM {others} WHERE {condition})"
    )
    empty_relation = "DELETE FROM {target} WHERE TRUE"
    cast_as_text = "TO_JSON_STRING({value})"
    comparable = "TO_JSON_STRING({value})"  # JSON compares with nothing, NULL is a text there
    schema_tables: ClassVar = {PRIMARY_KEYS: Relation((), PRIMARY_KEYS, KEY_COLUMNS, (), "")}
    joins_fully = False
    locks_all = False
    rights_to_prepare = (
        "give treadle's service account the role BigQuery User on the project, or make the "
        "datasets {own} and {schema} and give it the role BigQuery Data Editor on both"
    )
    clock = Quoted("SELECT UNIX_MICROS(CURRENT_TIMESTAMP())")

    def __init__(self, profile: DestinationProfile = BIGQUERY) -> None:
        super().__init__()
        self.profile = profile  # type: ignore[misc]  # one for each loading mode

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, in backticks."""
        escaped = (part.replace("\\", "\\\\").replace("`", "\\`") for part in parts)
        return Quoted(".".join(f"`{part}`" for part in escaped))

    def literal(self, value: object) -> str:
        """Return a value of a statement; everything but numbers is a text."""
        if value is None:
            return "NULL"
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, SqlExpression):
            return value
        text = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return "'" + text.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\x00") + "'"

    def define(self, columns: Iterable[Column], key: Collection[str] = ()) -> Quoted:
        """Return column definitions; all of them may be NULL, since no column can lose that."""
        return join(
            ", ",
            (
                compose("{name} {type}", name=self.quote(column.name), type=self.types[column.type])
                for column in columns
            ),
        )

    def define_key(self, key: tuple[str, ...]) -> Quoted:
        """Return nothing: `_sdc_primary_keys` has the key."""
        return NOTHING

    def rename_relations(self, renames: Sequence[tuple[str, str, str]]) -> Iterator[Quoted]:
        """Give one script of the statements by which relations get other names."""
        yield join(
            "; ",
            (
                compose(
                    "ALTER TABLE {old} RENAME TO {new}",
                    old=self.quote(schema, old),
                    new=self.quote(new),
                )
                for schema, old, new in renames
            ),
        )


class BigqueryStatements(SteppedStatements):
    """Schema changes in BigQuery's words.

    Attributes:
        copies: relations in whose place a rehearsal writes to others -> their names. It grows.
        made: schemas and names of the tables that a rehearsal made.
        attempt: of the load; see `LoadIntent`.
    """

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        assert isinstance(connection.dialect, BigqueryDialect)  # noqa: S101 - for the type
        self._spelled = connection.dialect
        super().__init__(connection, plan)
        self._rekeyed = []  # a key is rows
        self._forgotten = []
        self.replacements = tuple(self._replace_tombstones())
        self.copies: dict[RelationPlace, str] = self.drafts
        self.made: list[RelationPlace] = []
        self.attempt = ""

    @property
    def ending(self) -> LoadIntent:
        """What is left to be done when the rows are committed."""
        return replace(super().ending, attempt=self.attempt)

    def take_over(self, noted: LoadIntent | None) -> LoadIntent:
        """Return what is noted before the first statement, in place of what another load noted.

        Its drafts are of no use to anybody: they are dropped with those of this one.
        """
        if noted is None:
            return replace(self.intent, attempt=self.attempt)
        ours = self.intent
        drafts = {each.draft for each in ours.replacements}
        others = [e for e in noted.replacements if e.is_new and e.draft not in drafts]
        return replace(
            ours,
            table=ours.table or noted.table,
            replacements=(*ours.replacements, *others),
            attempt=self.attempt,
        )

    # --- before the transaction -------------------------------------------------------------------

    def generate_structure(self) -> Iterator[Quoted]:
        """Give the statements that come before the transaction of the rows."""
        if self.rehearsed:
            yield from self._copy_changed()
        yield from super().generate_structure()

    def _copy_changed(self) -> Iterator[Quoted]:
        """Make empty copies of the tables that a rehearsal changes."""
        made = {
            (change.private, change.relation.name)
            for change in self._plan.changes
            if isinstance(change, CreateRelation)
        }
        for change in self._plan.changes:
            if not isinstance(change, AddColumn | WidenColumn):
                continue
            schema = PRIVATE_SCHEMA if change.private else self._schema
            place = (schema, change.relation)
            if place not in self.copies and (change.private, change.relation) not in made:
                live = self._dialect.place(*place)
                name = self._add_copy(place)
                yield from self._drop_leftover(schema, name)  # of a rehearsal that was killed
                copy = self._dialect.quote(schema, name)
                yield compose("CREATE TABLE {copy} LIKE {live}", copy=copy, live=live)

    def _add_copy(self, place: RelationPlace) -> str:
        """Return the name of the table that a rehearsal makes in place of another one."""
        name = place[1]
        if name not in self.drafts.values():
            name = names.name_auxiliary(self._plan.owner, "rehearsal_", *place)
            self.copies[place] = name
        self.made.append((place[0], name))
        return name

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        name = relation.name
        if self.rehearsed:
            name = self._add_copy((schema, name))
            yield from self._drop_leftover(schema, name)
        elif schema == PRIVATE_SCHEMA:
            yield from self._drop_leftover(schema, relation.name)
        else:  # before the table, which would look changed by hand without these rows
            yield from self._note_key(relation.name, relation.key)
        text = create_relation(self._dialect, schema, relation)
        yield make_request(text, schema, name, relation.columns, creates=True)

    def _note_key(self, relation: str, key: tuple[str, ...]) -> Iterator[Quoted]:
        parts = {
            "keys": self._dialect.quote(self._schema, PRIMARY_KEYS),
            "name": Quoted(self._spelled.literal(relation)),
        }
        yield compose("DELETE FROM {keys} WHERE table_name = {name}", **parts)
        if key:
            columns = (Quoted(self._spelled.literal(column)) for column in key)
            rows = join(", ", (compose("({name}, {c})", c=c, **parts) for c in columns))
            yield compose(
                "INSERT INTO {keys} (table_name, column_name) VALUES {rows}", rows=rows, **parts
            )

    def _add_columns(self, additions: list[AddColumn]) -> Iterator[Quoted]:
        schema = PRIVATE_SCHEMA if additions[0].private else self._schema
        relation = additions[0].relation
        columns = [each.column for each in additions]
        parts = (compose("ADD COLUMN {column}", column=self._dialect.define([c])) for c in columns)
        text = compose(
            "ALTER TABLE {target} {parts}",
            target=self._dialect.place(schema, relation),
            parts=join(", ", parts),
        )
        name = self._stepped.name_of(schema, relation)
        yield make_request(text, schema, name, columns, creates=False)

    def _widen(self, target: Quoted, column: Column, old: ColumnType) -> Iterator[Quoted]:
        """Change a type; for a text the table is written anew, which no ALTER makes of a number."""
        if column.type is not ColumnType.TEXT:
            yield compose(
                "ALTER TABLE {target} ALTER COLUMN {name} SET DATA TYPE {type}",
                target=target,
                name=self._dialect.quote(column.name),
                type=self._dialect.types[column.type],
            )
            return
        yield compose(
            "CREATE OR REPLACE TABLE {target} AS SELECT * REPLACE ({value} AS {name})"
            " FROM {target}",
            target=target,
            value=self._dialect.widen(column, old),
            name=self._dialect.quote(column.name),
        )

    def _build_draft(self, draft: TableReplacement, change: ChangeKey) -> Iterator[Quoted]:
        yield from ()  # there is none

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        yield from ()  # it is one of the contents

    # --- in the transaction -----------------------------------------------------------------------

    def generate_contents(self) -> Iterator[Quoted]:
        """Give the statements about rows, for the transaction, after those about keys."""
        for change in self._plan.changes:
            if isinstance(change, ChangeKey):
                yield from self._note_key(change.relation, change.key)
        yield from super().generate_contents()
