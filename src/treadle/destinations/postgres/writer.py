"""Writes rows into PostgreSQL: what a planner has to be told, and what COPY may not."""

from collections.abc import Sequence
from typing import Final

from treadle.destinations.sql.appending_writer import AppendingWriter, KeyPlace
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import StagedRows
from treadle.tables.model import RelationRows
from treadle.tables.prepare.convert import INT64_MIN

ANALYZE_ROWS_MIN: Final = 1_000
"""A smaller stage joins well whatever the planner believes of it."""


class PostgresWriter(AppendingWriter):
    """Writes one `TableWrite`, new rows by COPY."""

    def _stage(self, rows: RelationRows) -> StagedRows:
        stage = super()._stage(rows)
        if len(rows) >= ANALYZE_ROWS_MIN and (self._write.stale or self._write.children):
            self._connection.run(compose("ANALYZE {stage}", stage=stage.name))
        return stage

    def _read_greatest(self, places: Sequence[KeyPlace]) -> int | None:
        """Return the greatest key that the relations hold; None where rows have to be staged.

        That is where COPY may not go, and where a person has given a key another type: its order
        may be another one then.
        """
        tables = [self._place(relation) for relation, _ in places]
        asked = [
            compose(
                "(SELECT pg_catalog.max({name}) FROM {table})",
                name=self._dialect.quote(name),
                table=table,
            )
            for (_, name), table in zip(places, tables, strict=True)
        ]
        shut = [
            Quoted(f"pg_catalog.row_security_active(${number:d}::text)")
            for number in range(1, len(tables) + 1)
        ]
        [(is_shut, *keys)] = self._connection.rows(
            compose("SELECT {shut}, {asked}", shut=join(" OR ", shut), asked=join(", ", asked)),
            *tables,
        )
        if is_shut or not all(key is None or type(key) is int for key in keys):
            return None
        return max((key for key in keys if key is not None), default=INT64_MIN)
