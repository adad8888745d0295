"""What treadle keeps in DuckDB beside the rows: positions, the catalogue, rejections."""

from collections.abc import Sequence
from typing import Any, Final

from treadle.destinations.duckdb.quoting import Quoted, compose, definitions, names
from treadle.destinations.duckdb.rows import Database, Stage
from treadle.destinations.layout import (
    REJECTED,
    REJECTED_COLUMNS,
    catalogue_name,
    check_offset,
    check_revision,
    digest_name,
    escape_name,
    moves_offset,
)
from treadle.tables import table_codec
from treadle.tables.model import LoadPlan, Rejection, Relation, RelationRows
from treadle.tables.profiles import DUCKDB

POSITIONS: Final = """
    CREATE TABLE IF NOT EXISTS {place} (
      log_id VARCHAR NOT NULL,
      source_id BIGINT NOT NULL,
      table_key VARCHAR NOT NULL,
      table_name VARCHAR NOT NULL,
      position BIGINT NOT NULL,
      fence BIGINT NOT NULL,
      report VARCHAR NOT NULL,
      result VARCHAR NOT NULL,
      PRIMARY KEY (log_id, source_id, table_key)
    )
"""
"""How far each table's log entries are loaded; `table_key` is the digest of the name as sent."""

CATALOGUE: Final = """
    CREATE TABLE IF NOT EXISTS {place} (
      schema_name VARCHAR NOT NULL,
      table_key VARCHAR NOT NULL,
      table_name VARCHAR NOT NULL,
      revision BIGINT NOT NULL,
      document VARCHAR,
      PRIMARY KEY (schema_name, table_key)
    )
"""
"""What treadle made; `table_key` is the digest of the folded canonical table name."""


def catalogue_key(table: str) -> str:
    """Under which key the catalogue keeps a table: DuckDB ignores the case of A to Z."""
    return digest_name(DUCKDB.fold(table))


def check(database: Database, plan: LoadPlan) -> None:
    """Check that the plan follows the position, fence and revision held.

    Raises:
        PlanOutdated, Fenced: it does not.
    """
    mark = plan.offset
    held = database.rows(
        compose(
            "SELECT position, fence FROM {positions}"
            " WHERE log_id = ? AND source_id = ? AND table_key = ?",
            positions=database.private("positions"),
        ),
        mark.log_id,
        mark.source_id,
        digest_name(mark.table_name),
    )
    check_offset(mark, *(held[0] if held else (-1, 0)))
    known = database.rows(
        compose(
            "SELECT revision FROM {catalogue} WHERE schema_name = ? AND table_key = ?",
            catalogue=database.private("catalogue"),
        ),
        plan.schema,
        catalogue_key(catalogue_name(plan)),
    )
    check_revision(plan, known[0][0] if known else 0)


def finish(database: Database, plan: LoadPlan, result: str) -> None:
    """Write the catalogue entry and the mark; whether they are there is known from `check`.

    DuckDB takes three times as long for ON CONFLICT as for INSERT or UPDATE.
    """
    if plan.table_after is not None:
        entry = (plan.revision + 1, table_codec.encode_table(plan.table_after))
        place = (plan.schema, catalogue_key(plan.table_after.name))
        if plan.revision:
            database.run(
                compose(
                    "UPDATE {catalogue} SET revision = ?, document = ?"
                    " WHERE schema_name = ? AND table_key = ?",
                    catalogue=database.private("catalogue"),
                ),
                *entry,
                *place,
            )
        else:
            database.run(
                compose(
                    "INSERT INTO {catalogue} VALUES (?, ?, ?, ?, ?)",
                    catalogue=database.private("catalogue"),
                ),
                *place,
                escape_name(plan.table_after.name),
                *entry,
            )
    mark = plan.offset
    if not moves_offset(mark):
        return
    row = (mark.log_id, mark.source_id, digest_name(mark.table_name))
    held = (mark.position, mark.fence, escape_name(mark.report), result)
    if mark.previous_position >= 0:
        database.run(
            compose(
                "UPDATE {positions} SET position = ?, fence = ?, report = ?, result = ?"
                " WHERE log_id = ? AND source_id = ? AND table_key = ?",
                positions=database.private("positions"),
            ),
            *held,
            *row,
        )
    else:
        database.run(
            compose(
                "INSERT INTO {positions} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                positions=database.private("positions"),
            ),
            *row,
            escape_name(mark.table_name),
            *held,
        )


def create_rejected(database: Database, schema: str) -> Quoted:
    """The statement that makes `_sdc_rejected` (loading.md 8.1) where it is missing."""
    return compose(
        "CREATE TABLE IF NOT EXISTS {rejected} ({columns})",
        rejected=database.place(schema, REJECTED),
        columns=definitions(REJECTED_COLUMNS),
    )


def reject(
    database: Database, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    """Write rows of `_sdc_rejected`."""
    database.run(create_rejected(database, schema))
    relation = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
    values: tuple[Sequence[Any], ...] = (
        [_storable(rejection.record) for rejection in rejections],
        [_storable(rejection.reason) for rejection in rejections],
        [_storable(rejection.table_name) for rejection in rejections],
        [rejected_at] * len(rejections),
    )
    rows = RelationRows(
        relation,
        dict(zip((column.name for column in REJECTED_COLUMNS), values, strict=True)),
    )
    stage = Stage(database, rows, "treadle_rejected")
    database.run(
        compose(
            "INSERT INTO {rejected} ({columns}) SELECT {values} FROM {stage} s",
            rejected=database.place(schema, REJECTED),
            columns=names(rows.columns),
            values=stage.values(rows.columns),
            stage=stage.name,
        )
    )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
