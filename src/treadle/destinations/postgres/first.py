"""How the first load of a table begins: everything but its rows in one round trip.

Of a table that neither the position nor the catalogue knows, both entries can be inserted as they
will be in the end. That nobody else has inserted them is what `bookkeeping.lock` asks, and their
keys say so here. Small loads into many new tables are made of little else.
"""

import psycopg

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    digest_name,
    encode_result,
    escape_name,
    tombstones_name,
)
from treadle.destinations.postgres.changes import create
from treadle.destinations.postgres.rows import Connection
from treadle.destinations.protocol import LoadResult
from treadle.tables import table_codec
from treadle.tables.model import CreateRelation, LoadPlan

_IN_THE_WAY = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable)
"""A position, a catalogue entry, a relation or the index of a key is there."""


def begin(connection: Connection, plan: LoadPlan, result: LoadResult) -> bool:
    """Begin the transaction of a first load, with the entries it leaves and the relations it makes.

    Args:
        connection: outside a transaction.
        plan: one of which `progress.foreseen` knew the result.
        result: which it foresaw.

    Returns:
        Whether that is done. If not, something of the table is there and nothing was changed:
        `load.carry_out`, which looks at each thing, can say what it is or clear it away.
    """
    try:
        buried = _send(connection, plan, result)
    except _IN_THE_WAY:
        buried = True
    if buried:
        connection.execute("ROLLBACK")
    return not buried


def _send(connection: Connection, plan: LoadPlan, result: LoadResult) -> bool:
    """Send everything; returns whether keys that were deleted from an older table are kept."""
    relations = [change.relation for change in plan.changes if isinstance(change, CreateRelation)]
    refused: psycopg.Error | None = None
    try:
        with connection.pipeline():
            try:
                connection.execute("BEGIN")
                _insert(connection, plan, result)
                buried = connection.execute(
                    "SELECT 1 FROM pg_catalog.pg_class r"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
                    " WHERE n.nspname = %s AND r.relname = ANY (%s)",
                    [
                        PRIVATE_SCHEMA,
                        [tombstones_name(plan.schema, made.name) for made in relations],
                    ],
                )
                for relation in relations:
                    connection.execute(create(plan.schema, relation))
            except psycopg.Error as error:
                # An answer that is quick comes to whoever sends what follows. The end of the block
                # then says that the rest was skipped, which the driver would log as a second error.
                refused = error
    except psycopg.Error as error:
        refused = refused or error
    if refused is not None:
        raise refused
    return buried.fetchone() is not None


def _insert(connection: Connection, plan: LoadPlan, result: LoadResult) -> None:
    mark = plan.offset
    connection.execute(
        """
        INSERT INTO _treadle.positions
          (log_id, source_id, table_key, table_name, position, fence, report, result)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            *(
                mark.log_id,
                mark.source_id,
                digest_name(mark.table_name),
                escape_name(mark.table_name),
            ),
            *(mark.position, mark.fence, escape_name(mark.report)),
            encode_result(result.rows, result.superseded),
        ],
    )
    assert plan.table_after is not None  # noqa: S101 - nothing is foreseen where no table will be
    connection.execute(
        "INSERT INTO _treadle.catalogue (schema_name, table_key, table_name, revision, document)"
        " VALUES (%s, %s, %s, 1, %s)",
        [
            *(plan.schema, digest_name(plan.table_after.name), escape_name(plan.table_after.name)),
            table_codec.encode_table(plan.table_after),
        ],
    )
