"""The ledger's arithmetic, over a log and a store that hold a little."""

from collections.abc import Sequence

from treadle.control.ledger import HOUR_US, Line, ledger, total
from treadle.log.protocol import Hour
from treadle.store.model import Outcome, TableStatus


class Log:
    def tables(self) -> list[tuple[int, str]]:
        return [(2, "orders"), (1, "events"), (1, "never")]

    def hours(self, source_id: int, table_name: str, loaded: int) -> list[Hour]:
        if table_name == "never":
            return []
        assert loaded == (20 if table_name == "orders" else 0)
        return [Hour(5, 100, 0), Hour(6, 30, 10)]

    def received(self, positions: Sequence[int]) -> dict[int, int]:
        kept = {11: 5 * HOUR_US + 3, 12: 6 * HOUR_US}
        return {position: kept[position] for position in positions if position in kept}


class Store:
    def table_statuses(self, source_id: int | None = None) -> list[TableStatus]:
        return [TableStatus(2, "orders", 20, 1, None, None, False)]

    def outcomes_of(self, source_id: int, table_name: str) -> list[Outcome]:
        if table_name != "orders":
            return []
        return [
            Outcome(3, 2, "orders", 9, ()),  # no longer kept
            Outcome(11, 2, "orders", 7, ((0, "bad"), (4, "bad"))),
            Outcome(12, 2, "orders", 1, ()),
        ]


def test_every_accepted_record_is_counted_once() -> None:
    lines = ledger(Store(), Log())
    assert lines == [
        Line(1, "events", 5 * HOUR_US, 100, 100, 0, 0, 0),
        Line(1, "events", 6 * HOUR_US, 30, 20, 0, 0, 10),
        Line(2, "orders", 5 * HOUR_US, 100, 91, 7, 2, 0),
        Line(2, "orders", 6 * HOUR_US, 30, 19, 1, 0, 10),
    ]
    for line in (*lines, total(lines)):
        assert line.accepted == line.loaded + line.superseded + line.rejected + line.waiting
    assert total(lines).accepted == 260
    assert ledger(Store(), Log(), [2]) == lines[2:]
