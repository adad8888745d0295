"""Comparing the rows of two relations, and dropping one of them."""

import pytest

from treadle.destinations.conformance.builders import (
    ITEMS,
    ORDERS,
    TableLoads,
    items,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import RelationPair, RowDiff

KEY = (("id", "id"),)
A = (("a", "a"),)


@pytest.fixture
def two(loads: TableLoads, traits: DestinationTraits) -> TableLoads:
    """Orders 1 to 4 in the schema `web`, and 2 to 5 with other texts in `other`."""
    loads.create(ORDERS)
    loads.load(table(ORDERS), upsert([(1, 1, "a"), (2, 1, "b"), (3, 1, None), (4, 1, None)]))
    loads.session.query(f"CREATE {traits.schema_word} other")
    text = traits.nullable.format(type="text")
    loads.session.query(f"CREATE TABLE other.orders (id bigint, a {text}){traits.table_options}")
    loads.session.query("INSERT INTO other.orders VALUES (2, 'b'), (3, 'x'), (4, NULL), (5, 'e')")
    return loads


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (RelationPair("orders", "orders", KEY, A), RowDiff(1, 1, 1)),
        (RelationPair("orders", "orders", KEY, A, frozenset({"a"})), RowDiff(1, 1, 1)),
        (RelationPair("orders", "orders", KEY, ()), RowDiff(1, 1, 0)),
        # A column that one side lacks is NULL there.
        (RelationPair("orders", "orders", KEY, (("a", None),)), RowDiff(1, 1, 1)),
        (RelationPair("orders", "orders", KEY, ((None, "a"),)), RowDiff(1, 1, 2)),
        # Without a key, rows as a whole, as often as they are there.
        (RelationPair("orders", "orders", (), KEY + A), RowDiff(2, 2, 0)),
        (RelationPair("orders", "orders", (), A), RowDiff(2, 2, 0)),
        (RelationPair("orders", "orders", (), (*KEY, ("a", None))), RowDiff(2, 2, 0)),
        (RelationPair("orders", "orders", (), (*KEY, (None, "a"))), RowDiff(3, 3, 0)),
        (RelationPair("orders", None, KEY, A), RowDiff(4, 0, 0)),
        (RelationPair(None, "orders", KEY, A), RowDiff(0, 4, 0)),
    ],
)
def test_rows_are_compared(two: TableLoads, pair: RelationPair, expected: RowDiff) -> None:
    assert two.session.compare("web", "other", pair) == expected


def test_a_table_is_dropped_with_all_that_is_kept_of_it(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.create(ORDERS, ITEMS)
    write = upsert([(1, 1, "a")], children=[items([(1, 0, 1, "x")])])
    loads.load(table(ORDERS, ITEMS), write)
    loads.session.query(f"CREATE TABLE web.mine (id bigint){traits.table_options}")
    loads.session.remove("web", "orders", loads.log_id)
    state = loads.session.state("web", "orders")
    assert (state.revision, state.table, state.physical) == (0, None, {})
    assert loads.session.committed(loads.log_id) == {}
    assert loads.session.query("SELECT count(*) FROM web.mine").rows == [(0,)]
    loads.session.query("DROP TABLE web.mine")
    for _ in range(2):  # also when there is nothing
        loads.session.remove("web", "orders", loads.log_id)
    schemas = loads.session.query("SELECT lower(schema_name) FROM information_schema.schemata").rows
    assert ("web",) not in schemas
