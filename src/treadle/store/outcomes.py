"""The repository of outcomes: entries with records that were superseded or rejected."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, select

from treadle.store.database import StoreRepository
from treadle.store.logs import select_log_id, select_log_of_source
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.schema import outcomes, tables
from treadle.tables.rejection_reason import RejectionCode, RejectionReason, read_code
from treadle.text import digest_text

# SQLite takes 32,766 parameters in one statement, PostgreSQL 65,535.
POSITIONS_PER_STATEMENT: Final = 10_000

_outcomes = select(outcomes, tables.c.source_id, tables.c.name.label("table_name")).join(
    tables, tables.c.id == outcomes.c.table_id
)


class OutcomeRepository(StoreRepository):
    """Outcomes of entries with records that were superseded or rejected."""

    def list_outcomes(self, log: int, positions: Sequence[int]) -> list[EntryOutcome]:
        """Return outcomes of entries, by position; one that waits or is all loaded has none.

        Args:
            log: the number of the log.
            positions: of entries in it.
        """
        found: list[EntryOutcome] = []
        of_log = _outcomes.where(outcomes.c.log_id == select_log_id(log))
        wanted = sorted(set(positions))
        with self._database.read() as tx:
            for start in range(0, len(wanted), POSITIONS_PER_STATEMENT):
                some = wanted[start : start + POSITIONS_PER_STATEMENT]
                rows = tx.connection.execute(
                    of_log.where(outcomes.c.position.in_(some)).order_by(outcomes.c.position)
                )
                found += [_read_outcome(row) for row in rows]
        return found

    def list_outcomes_of_table(self, source_id: int, table_name: str) -> list[EntryOutcome]:
        """Return the outcomes of all entries of a table, by position."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                _outcomes.where(
                    outcomes.c.log_id == select_log_of_source(source_id),
                    tables.c.source_id == source_id,
                    tables.c.name_sha256 == digest_text(table_name),
                ).order_by(outcomes.c.position)
            )
            return [_read_outcome(row) for row in rows]

    def find_rejected_records(
        self, log: int, entries: Mapping[int, int]
    ) -> dict[tuple[int, int], RejectionReason]:
        """Return the rejected records of entries: (position, index in the entry) -> reason.

        Args:
            log: the number of the log.
            entries: position -> number of records in the entry.
        """
        return {
            (outcome.position, each.record): RejectionReason(each.reason, each.code, each.field)
            for outcome in self.list_outcomes(log, list(entries))
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
