"""What treadle keeps in PostgreSQL beside the rows: positions, the catalogue, rejections."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

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
from treadle.destinations.postgres.rows import Connection, copy_into, definitions
from treadle.tables import table_codec
from treadle.tables.model import LoadPlan, OffsetCommit, Rejection, Relation, RelationRows

POSITIONS: Final = sql.SQL(
    """
    CREATE TABLE IF NOT EXISTS _treadle.positions (
      log_id text NOT NULL,
      source_id bigint NOT NULL,
      table_key text NOT NULL,
      table_name text NOT NULL,
      position bigint NOT NULL,
      fence bigint NOT NULL,
      report text NOT NULL,
      result text NOT NULL,
      PRIMARY KEY (log_id, source_id, table_key)
    )
    """
)
"""How far each table's log entries are loaded; `table_key` is the digest of the name as sent."""

CATALOGUE: Final = sql.SQL(
    """
    CREATE TABLE IF NOT EXISTS _treadle.catalogue (
      schema_name text NOT NULL,
      table_key text NOT NULL,
      table_name text NOT NULL,
      revision bigint NOT NULL,
      document text,
      PRIMARY KEY (schema_name, table_key)
    )
    """
)
"""What treadle made; `table_key` is the digest of the canonical table name."""


def lock(connection: Connection, plan: LoadPlan) -> None:
    """Lock the table's position and catalogue entry, and check that the plan follows them.

    Raises:
        PlanOutdated, Fenced: it does not.
    """
    mark = plan.offset
    held = connection.execute(
        """
        INSERT INTO _treadle.positions AS p
          (log_id, source_id, table_key, table_name, position, fence, report, result)
        VALUES (%s, %s, %s, %s, -1, 0, '', '')
        ON CONFLICT (log_id, source_id, table_key) DO UPDATE SET fence = p.fence
        RETURNING position, fence
        """,
        [mark.log_id, mark.source_id, digest_name(mark.table_name), escape_name(mark.table_name)],
    ).fetchone()
    check_offset(mark, *_some(held))
    name = catalogue_name(plan)
    if plan.table_after is None:
        known: tuple[Any, ...] | None = connection.execute(
            "SELECT revision FROM _treadle.catalogue"
            " WHERE schema_name = %s AND table_key = %s FOR UPDATE",
            [plan.schema, digest_name(name)],
        ).fetchone() or (0,)
    else:
        known = connection.execute(
            """
            INSERT INTO _treadle.catalogue AS c (schema_name, table_key, table_name, revision)
            VALUES (%s, %s, %s, 0)
            ON CONFLICT (schema_name, table_key) DO UPDATE SET revision = c.revision
            RETURNING revision
            """,
            [plan.schema, digest_name(name), escape_name(name)],
        ).fetchone()
    check_revision(plan, _some(known)[0])


def finish(connection: Connection, plan: LoadPlan, result: str) -> None:
    """Write the catalogue entry and the mark."""
    if plan.table_after is not None:
        connection.execute(
            "UPDATE _treadle.catalogue SET revision = revision + 1, document = %s"
            " WHERE schema_name = %s AND table_key = %s",
            [
                table_codec.encode_table(plan.table_after),
                plan.schema,
                digest_name(plan.table_after.name),
            ],
        )
    if moves_offset(plan.offset):
        hold(connection, plan.offset, result)


def hold(connection: Connection, mark: OffsetCommit, result: str) -> None:
    """Write the mark where one is held."""
    connection.execute(
        "UPDATE _treadle.positions SET position = %s, fence = %s, report = %s, result = %s"
        " WHERE log_id = %s AND source_id = %s AND table_key = %s",
        [
            *(mark.position, mark.fence, escape_name(mark.report), result),
            *(mark.log_id, mark.source_id, digest_name(mark.table_name)),
        ],
    )


def create_rejected(schema: str) -> sql.Composed:
    """The statement that makes `_sdc_rejected` (loading.md 8.1) where it is missing."""
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
        sql.Identifier(schema, REJECTED), definitions(REJECTED_COLUMNS)
    )


def reject(
    connection: Connection, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    """Write rows of `_sdc_rejected`."""
    connection.execute(create_rejected(schema))
    relation = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
    values: tuple[Sequence[Any], ...] = (
        [_storable(rejection.record) for rejection in rejections],
        [_storable(rejection.reason) for rejection in rejections],
        [_storable(rejection.table_name) for rejection in rejections],
        [rejected_at] * len(rejections),
    )
    names = [column.name for column in REJECTED_COLUMNS]
    copy_into(
        connection,
        sql.Identifier(schema, REJECTED),
        RelationRows(relation, dict(zip(names, values, strict=True))),
    )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _some(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise psycopg.DataError("the statement returned no row")
    return row
