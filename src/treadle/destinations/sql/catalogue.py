"""Treadle's own records beside the rows: offsets, catalogue, rejections (loading.md 8.1).

All of it is written in the transaction of the load, so it says what the tables hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, LiteralString

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    check_offset,
    decode_result,
    digest_name,
    escape_name,
    moves_offset,
    unescape_name,
)
from treadle.destinations.protocol import CommittedOffset, PlanOutdatedError
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.schema_changes import create_relation
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables import table_codec
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, LoadPlan, Rejection, Relation, RelationRows, Table
from treadle.text import make_storable

_NUMBERS: Final = ("source_id", "position", "fence", "revision")


def _own(name: str, keys: int, columns: str) -> Relation:
    """Return a table of treadle's own, the first columns of which are its key."""
    made = [
        Column(
            column,
            column,
            ColumnType.BIGINT if column in _NUMBERS else ColumnType.TEXT,
            nullable=column == "document",
        )
        for column in columns.split()
    ]
    return Relation((), name, tuple(made), tuple(columns.split()[:keys]), name)


OFFSETS: Final = _own(
    "positions", 3, "log_id source_id table_key table_name position fence report result"
)
"""The position up to which each table's log entries are loaded.

`table_key` is the digest of the name as sent.
"""

ENTRIES: Final = _own("catalogue", 2, "schema_name table_key table_name revision document")
"""The tables that treadle made; `table_key` is the digest of the folded canonical table name."""

REJECTIONS: Final = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
"""Rejected records, in the schema of each source."""


def prepare_schema(connection: SqlConnection, schema: str) -> Iterator[Quoted]:
    """Give the statements that make what is missing of a source's schema and of treadle's own."""
    for place, relations in ((PRIVATE_SCHEMA, (OFFSETS, ENTRIES)), (schema, (REJECTIONS,))):
        missing = [each for each in relations if not connection.holds_table(place, each.name)]
        if not missing:
            continue
        if not holds_schema(connection, place):
            yield compose(
                "CREATE SCHEMA IF NOT EXISTS {schema}", schema=connection.dialect.schema(place)
            )
        for relation in missing:
            yield create_relation(connection.dialect, place, relation, if_missing=True)


def make_schema(connection: SqlConnection, schema: str) -> None:
    """Make what is missing of a source's schema and of treadle's own."""
    for statement in list(prepare_schema(connection, schema)):
        connection.run(statement)


def holds_schema(connection: SqlConnection, schema: str) -> bool:
    """Return whether there is such a schema."""
    return bool(connection.rows(connection.dialect.find_schema, schema))


def table_key(dialect: SqlDialect, table: str) -> str:
    """Return the key of a table's catalogue entry: names that are equal there have one."""
    return digest_name(dialect.profile.fold(table))


def read_offsets(
    connection: SqlConnection, log_id: str
) -> Mapping[tuple[int, str], CommittedOffset]:
    """Return (source id, table name as sent) -> the last load of it, for one log."""
    rows = _rows(
        connection,
        "SELECT source_id, table_name, position, report, result FROM {offsets} WHERE log_id = $1",
        log_id,
    )
    return {
        (source, unescape_name(table)): CommittedOffset(
            position, unescape_name(report), decode_result(result)
        )
        for source, table, position, report, result in rows
    }


def read_log_ids(connection: SqlConnection, prefix: str) -> list[str]:
    """Return the logs that there are offsets of and whose names begin with a prefix."""
    rows = _rows(connection, "SELECT DISTINCT log_id FROM {offsets}")
    return sorted(log_id for (log_id,) in rows if log_id.startswith(prefix))


def read_entry(connection: SqlConnection, schema: str, table: str) -> tuple[int, Table | None]:
    """Return a table's catalogue entry with its revision; 0 and None where there is none."""
    rows = _rows(
        connection,
        "SELECT revision, document FROM {entries} WHERE schema_name = $1 AND table_key = $2",
        schema,
        table_key(connection.dialect, table),
    )
    revision, document = rows[0] if rows else (0, None)
    return revision, table_codec.decode_table(document) if document else None


def _rows(
    connection: SqlConnection, template: LiteralString, *values: object
) -> list[tuple[Any, ...]]:
    """Return the rows of a table of treadle's own; none where no session has made it."""
    try:
        return connection.rows(_fill(connection, template), *values)
    except connection.errors as error:
        if connection.is_missing(error):
            return []
        raise


def _fill(connection: SqlConnection, template: LiteralString) -> Quoted:
    return compose(template, **connection.dialect.own_tables)


def claim(connection: SqlConnection, plan: LoadPlan) -> None:
    """Take hold of the table's offset and catalogue entry, and check that the plan follows them.

    Raises:
        PlanOutdatedError, FencedError: it does not.
    """
    dialect, mark = connection.dialect, plan.offset
    values: list[object] = [mark.log_id, mark.source_id, digest_name(mark.table_name)]
    if dialect.claims_rows:
        values.append(escape_name(mark.table_name))
    held = connection.rows(_fill(connection, dialect.claim_offset), *values)
    check_offset(mark, *(held[0] if held else (-1, 0)))
    name = plan.table_after.name if plan.table_after is not None else plan.table_name
    values = [plan.schema, table_key(dialect, name)]
    claims = dialect.claim_entry
    if plan.table_after is None:  # an entry that is not there is not to be made
        claims = SqlDialect.claim_entry
    elif dialect.claims_rows:
        values.append(escape_name(name))
    known = connection.rows(_fill(connection, claims), *values)
    revision = known[0][0] if known else 0
    if plan.revision != revision:  # another load changed the table since
        raise PlanOutdatedError(
            f"table {plan.table_name!r}: planned from revision {plan.revision}, "
            f"the destination holds {revision}"
        )


def finish(connection: SqlConnection, plan: LoadPlan, result: str) -> None:
    """Write the catalogue entry and the offset. Whether they are there is known since `claim`."""
    dialect, mark = connection.dialect, plan.offset
    statement: LiteralString
    if plan.table_after is not None:
        entry: tuple[object, ...] = (plan.revision + 1, table_codec.encode_table(plan.table_after))
        statement = (
            "UPDATE {entries} SET revision = $3, document = $4"
            " WHERE schema_name = $1 AND table_key = $2"
        )
        if not (plan.revision or dialect.claims_rows):
            statement = "INSERT INTO {entries} VALUES ($1, $2, $3, $4, $5)"
            entry = (escape_name(plan.table_after.name), *entry)
        place = (plan.schema, table_key(dialect, plan.table_after.name))
        connection.run(_fill(connection, statement), *place, *entry)
    if not moves_offset(mark):
        return
    held: tuple[object, ...] = (mark.position, mark.fence, escape_name(mark.report), result)
    statement = (
        "UPDATE {offsets} SET position = $4, fence = $5, report = $6, result = $7"
        " WHERE log_id = $1 AND source_id = $2 AND table_key = $3"
    )
    if mark.previous_position < 0 and not dialect.claims_rows:
        statement = "INSERT INTO {offsets} VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        held = (escape_name(mark.table_name), *held)
    row = (mark.log_id, mark.source_id, digest_name(mark.table_name))
    connection.run(_fill(connection, statement), *row, *held)


def forget(connection: SqlConnection, schema: str, table: str, log_id: str) -> None:
    """Delete a table's catalogue entry, and all offsets of a log."""
    connection.run(
        _fill(connection, "DELETE FROM {entries} WHERE schema_name = $1 AND table_key = $2"),
        schema,
        table_key(connection.dialect, table),
    )
    connection.run(_fill(connection, "DELETE FROM {offsets} WHERE log_id = $1"), log_id)


def reject(
    connection: SqlConnection, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    """Write rows of `_sdc_rejected`."""
    columns: dict[str, TypedColumn] = {
        "record": [make_storable(each.record) for each in rejections],
        "reason": [make_storable(each.reason) for each in rejections],
        "table_name": [make_storable(each.table_name) for each in rejections],
        "_sdc_rejected_at": [rejected_at] * len(rejections),
    }
    connection.insert(connection.dialect.place(schema, REJECTED), RelationRows(REJECTIONS, columns))
