"""Counting the rows of a table by batch and by key."""

from dataclasses import replace

from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.protocol import RowCounts


def test_rows_are_counted_by_batch_and_by_key(loads: TableLoads) -> None:
    loads.create(ORDERS)
    loads.load(table(ORDERS), upsert([(1, 1, "a"), (2, 1, "b"), (3, 1, "b")]))
    first = loads.batched_at
    loads.load(table(ORDERS), upsert([(3, 2, "d"), (4, 2, "e")]))
    second = loads.batched_at
    session = loads.session
    assert session.counts("web", ORDERS, first) == RowCounts(4, 0, {first: 2, second: 2})
    assert session.counts("web", ORDERS, first + 1).batches == {second: 2}
    by_hand = loads.read("SELECT count(*) FROM web.orders WHERE a = 'd' OR a = 'e'")
    assert by_hand == [(2,)]
    # As if `a` were the key: no two rows share one, then two do.
    keyed = replace(ORDERS, key=("a",))
    assert session.counts("web", keyed, first).duplicates == 0
    loads.load(table(ORDERS), upsert([(5, 3, "e"), (6, 3, None)]))
    assert session.counts("web", keyed, first).duplicates == 1
