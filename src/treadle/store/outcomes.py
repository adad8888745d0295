"""The repository of outcomes: entries with records that were superseded or rejected."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Text, cast, func, select

from treadle.store.database import StoreRepository
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.schema import loads, outcomes, tables
from treadle.store.tables import present_log
from treadle.tables.rejection_reason import RejectionCode, RejectionReason, read_code
from treadle.text import digest_text

# SQLite takes 32,766 parameters in one statement, PostgreSQL 65,535.
POSITIONS_PER_STATEMENT: Final = 10_000

_outcomes = (
    select(outcomes, tables.c.source_id, tables.c.name.label("table_name"))
    .join(tables, tables.c.id == outcomes.c.table_id)
    .where(outcomes.c.log_id == present_log)
)

# The load that took an entry is the first load of its table that ends at or after it.
_load_started_at = (
    select(loads.c.started_at)
    .where(
        loads.c.table_id == outcomes.c.table_id,
        loads.c.log_id == outcomes.c.log_id,
        loads.c.error.is_(None),
        loads.c.last >= outcomes.c.position,
    )
    .order_by(loads.c.last)
    .limit(1)
    .scalar_subquery()
)


class OutcomeRepository(StoreRepository):
    """Outcomes of entries with records that were superseded or rejected."""

    def list_outcomes(self, positions: Sequence[int]) -> list[EntryOutcome]:
        """Return outcomes of entries, by position; one that waits or is all loaded has none."""
        found: list[EntryOutcome] = []
        wanted = sorted(set(positions))
        with self._database.read() as tx:
            for start in range(0, len(wanted), POSITIONS_PER_STATEMENT):
                some = wanted[start : start + POSITIONS_PER_STATEMENT]
                rows = tx.connection.execute(
                    _outcomes.where(outcomes.c.position.in_(some)).order_by(outcomes.c.position)
                )
                found += [_read_outcome(row) for row in rows]
        return found

    def list_outcomes_of_table(self, source_id: int, table_name: str) -> list[EntryOutcome]:
        """Return the outcomes of all entries of a table, by position."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                _outcomes.where(
                    tables.c.source_id == source_id, tables.c.name_sha256 == digest_text(table_name)
                ).order_by(outcomes.c.position)
            )
            return [_read_outcome(row) for row in rows]

    def list_rejections(
        self,
        *,
        source_id: int | None = None,
        table_name: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[EntryOutcome, int]]:
        """Return outcomes of entries with rejected records, newest first, each with a time.

        The time is `_sdc_rejected_at` of the rows of these records, microseconds since 1970; 0
        where the load is no longer known.

        Args:
            source_id: only this source's.
            table_name: only of tables of this name, as sent.
            before: only of entries below this position: the last one of the page before.
            limit: how many entries at most.
        """
        query = (
            _outcomes.add_columns(func.coalesce(_load_started_at, 0).label("began"))
            .where(cast(outcomes.c.rejected, Text) != "[]")
            .order_by(outcomes.c.position.desc())
            .limit(limit)
        )
        if source_id is not None:
            query = query.where(tables.c.source_id == source_id)
        if table_name is not None:
            query = query.where(tables.c.name_sha256 == digest_text(table_name))
        if before is not None:
            query = query.where(outcomes.c.position < before)
        with self._database.read() as tx:
            return [(_read_outcome(row), row.began) for row in tx.connection.execute(query)]

    def find_rejected_records(
        self, entries: Mapping[int, int]
    ) -> dict[tuple[int, int], RejectionReason]:
        """Return the rejected records of entries: (position, index in the entry) -> reason.

        Args:
            entries: position -> number of records in the entry.
        """
        return {
            (outcome.position, each.record): RejectionReason(each.reason, each.code, each.field)
            for outcome in self.list_outcomes(list(entries))
            for each in outcome.rejected
            if each.record < entries[outcome.position]
        }


def _read_outcome(row: Row[Any]) -> EntryOutcome:
    return EntryOutcome(
        position=row.position,
        source_id=row.source_id,
        table_name=row.table_name,
        superseded=row.superseded,
        rejected=tuple(_read_rejection(*kept) for kept in row.rejected),
    )


def _read_rejection(
    record: int, reason: str, code: str = RejectionCode.UNKNOWN, field: str | None = None
) -> RecordRejection:
    return RecordRejection(record, reason, read_code(code), field)
