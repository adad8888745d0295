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
        """Return the greatest key that the relations hold; None where COPY may not go."""
        tables = [self._place(relation) for relation, _ in places]
        asked = [
            compose(
                "SELECT max({name}) AS key, row_security_active({mark}) AS shut FROM {table}",
                name=self._dialect.quote(name),
                mark=Quoted(f"${number:d}::text"),
                table=table,
            )
            for number, ((_, name), table) in enumerate(zip(places, tables, strict=True), 1)
        ]
        [(key, shut)] = self._connection.rows(
            compose(
                "SELECT max(key), bool_or(shut) FROM ({asked}) g", asked=join(" UNION ALL ", asked)
            ),
            *tables,
        )
        if shut:
            return None
        return INT64_MIN if key is None else int(key)
