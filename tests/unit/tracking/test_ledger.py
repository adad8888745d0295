"""The ledger's arithmetic, over a log and a store that hold a little."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from treadle.log.protocol import HourlyRecords, LogReader
from treadle.store.model import EntryOutcome, RecordRejection, TableLoadStatus
from treadle.store.store import Store
from treadle.tracking.ledger import HOUR_US, LedgerLine, compute_ledger, sum_lines


class Log:
    def list_tables(self) -> list[tuple[int, str]]:
        return [(2, "orders"), (1, "events"), (1, "never")]

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        if table_name == "never":
            return []
        assert loaded == (20 if table_name == "orders" else 0)
        return [HourlyRecords(5, 100, 0), HourlyRecords(6, 30, 10)]

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        kept = {11: 5 * HOUR_US + 3, 12: 6 * HOUR_US}
        return {position: kept[position] for position in positions if position in kept}


class Statuses:
    def list_statuses(self, source_id: int | None = None) -> list[TableLoadStatus]:
        return [TableLoadStatus(2, "orders", 20, 1, None, None, False)]


class Outcomes:
    def list_outcomes_of_table(self, source_id: int, table_name: str) -> list[EntryOutcome]:
        if table_name != "orders":
            return []
        return [
            EntryOutcome(3, 2, "orders", 9, ()),  # no longer kept
            EntryOutcome(
                11, 2, "orders", 7, (RecordRejection(0, "bad"), RecordRejection(4, "bad"))
            ),
            EntryOutcome(12, 2, "orders", 1, ()),
        ]


STORE = cast(Store, SimpleNamespace(tables=Statuses(), outcomes=Outcomes()))
LOG = cast(LogReader, SimpleNamespace(statistics=Log()))


def test_every_accepted_record_is_counted_once() -> None:
    lines = compute_ledger(STORE, LOG)
    assert lines == [
        LedgerLine(1, "events", 5 * HOUR_US, 100, 100, 0, 0, 0),
        LedgerLine(1, "events", 6 * HOUR_US, 30, 20, 0, 0, 10),
        LedgerLine(2, "orders", 5 * HOUR_US, 100, 91, 7, 2, 0),
        LedgerLine(2, "orders", 6 * HOUR_US, 30, 19, 1, 0, 10),
    ]
    for line in (*lines, sum_lines(lines)):
        assert line.accepted == line.loaded + line.superseded + line.rejected + line.waiting
    assert sum_lines(lines).accepted == 260
    assert compute_ledger(STORE, LOG, [2]) == lines[2:]
