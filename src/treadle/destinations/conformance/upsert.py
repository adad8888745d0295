"""Upsert by key, highest sequence wins (loading.md 2)."""

import pytest

from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    ORDERS,
    TEXT,
    TableLoads,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Session
from treadle.tables.model import AddColumn, CreateRelation, Relation, TableWrite


def test_the_first_load_makes_the_table_and_fills_it(loads: TableLoads) -> None:
    result = loads.load(
        table(ORDERS), upsert([(1, 10, "x"), (2, 10, None)]), changes=[CreateRelation(ORDERS)]
    )
    assert loads.orders() == [(1, "x", 10), (2, None, 10)]
    assert dict(result.rows) == {"orders": 2}
    assert dict(result.superseded) == {}


@pytest.mark.parametrize(
    ("tie", "expected"),
    [
        ("first", [(1, "old", 10), (2, "old", 10), (3, "new", 11), (4, "new", 1)]),
        ("last", [(1, "old", 10), (2, "new", 10), (3, "new", 11), (4, "new", 1)]),
    ],
)
def test_a_greater_sequence_replaces_a_lower_one_never(
    loads: TableLoads, tie: str, expected: list[tuple[object, ...]]
) -> None:
    loads.load(
        table(ORDERS),
        upsert([(1, 10, "old"), (2, 10, "old"), (3, 10, "old")]),
        changes=[CreateRelation(ORDERS)],
    )
    result = loads.load(
        table(ORDERS),
        upsert(
            [(1, 9, "new", 4), (2, 10, "new", 4), (3, 11, "new", 5), (4, 1, "new", 5)],
            ("id", "_sdc_sequence", "a", "entry"),
            tie="last" if tie == "last" else "first",
        ),
    )
    assert loads.orders() == expected
    superseded = 2 if tie == "first" else 1
    assert dict(result.superseded) == {4: superseded}
    assert dict(result.rows) == {"orders": 4 - superseded}


def test_sequences_are_compared_as_64_bit_integers(loads: TableLoads) -> None:
    top = 2**63 - 1
    loads.load(table(ORDERS), upsert([(1, top - 1, "old"), (2, -(2**63), "old")]),
               changes=[CreateRelation(ORDERS)])  # fmt: skip
    loads.load(table(ORDERS), upsert([(1, top, "new"), (2, 1 - 2**63, "new")]))
    assert loads.orders() == [(1, "new", top), (2, "new", 1 - 2**63)]


def test_a_row_the_user_wrote_without_a_sequence_counts_as_lowest(loads: TableLoads) -> None:
    loads.create(ORDERS)
    loads.read("INSERT INTO web.orders (id, a) VALUES (1, 'mine')")
    result = loads.load(table(ORDERS), upsert([(1, -5, "new")]))
    assert loads.orders() == [(1, "new", -5)]
    assert dict(result.superseded) == {}


def test_a_field_left_out_becomes_null_and_the_users_column_stays(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    loads.read("ALTER TABLE web.orders ADD COLUMN note VARCHAR(20) DEFAULT 'none'")
    loads.read(traits.update.format(table="web.orders", changes="note = 'mine'"))
    loads.load(table(ORDERS), upsert([(1, 2), (2, 2)], ("id", "_sdc_sequence")))
    assert loads.read("SELECT id, a, note FROM web.orders ORDER BY id") == [
        (1, None, "mine"),
        (2, None, traits.default_text),
    ]


def test_a_column_is_added_and_filled_in_one_load(loads: TableLoads) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": BIGINT, "c": TEXT})
    loads.load(
        table(wider),
        upsert([(1, 2, 5, "n"), (2, 2, 6, None)], ("id", "_sdc_sequence", "b", "c"), wider),
        changes=[AddColumn("orders", column) for column in wider.columns[-2:]],
    )
    assert loads.read("SELECT id, a, b, c FROM web.orders ORDER BY id") == [
        (1, None, 5, "n"),
        (2, None, 6, None),
    ]


def test_several_keys_of_several_types(loads: TableLoads) -> None:
    pairs = relation("orders", {"a": TEXT, "b": BIGINT, "v": TEXT}, key=("a", "b"))
    columns = ("a", "b", "_sdc_sequence", "v")
    loads.load(
        table(pairs),
        upsert([("x", 1, 1, "1"), ("X", 1, 1, "2"), ("x ", 1, 1, "3")], columns, pairs),
        changes=[CreateRelation(pairs)],
    )
    loads.load(table(pairs), upsert([("x", 1, 2, "new"), ("x", 2, 2, "other")], columns, pairs))
    assert sorted(loads.read("SELECT a, b, v FROM web.orders")) == [
        ("X", 1, "2"),
        ("x", 1, "new"),
        ("x", 2, "other"),
        ("x ", 1, "3"),
    ]


def test_rows_beyond_all_keys_go_in_beside_rows_that_replace(loads: TableLoads) -> None:
    loads.load(
        table(ORDERS, ITEMS),
        upsert(
            [(1, 5, "a"), (2, 5, "b"), (-9, 5, "c")],
            children=[items([(1, 0, 5, "1"), (1, 1, 5, "2"), (2, 0, 5, "3")])],
        ),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    result = loads.load(
        table(ORDERS, ITEMS),
        upsert(
            [
                *((7, 1, "new", 0), (1, 6, "newer", 1), (2, 4, "late", 2)),
                *((0, 1, "between", 3), (3, -(2**63), "new", 4)),
            ],
            ("id", "_sdc_sequence", "a", "entry"),
            children=[
                items(
                    [
                        *((7, 0, 1, "4"), (1, 0, 6, "5"), (2, 0, 4, "late")),
                        *((0, 0, 1, "6"), (3, 0, -(2**63), "7")),
                    ]
                )
            ],
            stale=[ITEMS],
        ),
    )
    assert loads.orders() == [
        *((-9, "c", 5), (0, "between", 1), (1, "newer", 6)),
        *((2, "b", 5), (3, "new", -(2**63)), (7, "new", 1)),
    ]
    assert loads.items() == [
        *((0, 0, 1, "6"), (1, 0, 6, "5"), (2, 0, 5, "3")),
        *((3, 0, -(2**63), "7"), (7, 0, 1, "4")),
    ]
    assert dict(result.rows) == {"orders": 4, "orders__items": 4}
    assert dict(result.superseded) == {2: 1}


def test_children_that_a_user_wrote_for_a_key_to_come_are_replaced(loads: TableLoads) -> None:
    loads.create(ORDERS, ITEMS)
    loads.load(table(ORDERS, ITEMS), upsert([(1, 1, "x")]))
    for index in (0, 1):
        loads.read(
            "INSERT INTO web.orders__items (_sdc_level_0_id, _sdc_source_key_id, _sdc_sequence,"
            f" value) VALUES ({index}, 5, 1, 'mine')"
        )
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(5, 2, "new")], children=[items([(5, 0, 2, "new")])], stale=[ITEMS]),
    )
    assert loads.orders() == [(1, "x", 1), (5, "new", 2)]
    assert loads.items() == [(5, 0, 2, "new")]


def test_several_keys_of_which_the_first_is_beyond_all(loads: TableLoads) -> None:
    pairs = relation("orders", {"a": BIGINT, "b": TEXT, "v": TEXT}, key=("a", "b"))
    columns = ("a", "b", "_sdc_sequence", "v")
    loads.load(
        table(pairs),
        upsert([(1, "x", 1, "old"), (2, "x", 1, "old")], columns, pairs),
        changes=[CreateRelation(pairs)],
    )
    loads.load(
        table(pairs),
        upsert([(2, "x", 2, "new"), (2, "y", 2, "new"), (3, "x", 2, "new")], columns, pairs),
    )
    assert loads.read("SELECT a, b, v FROM web.orders ORDER BY a, b") == [
        (1, "x", "old"),
        (2, "x", "new"),
        (2, "y", "new"),
        (3, "x", "new"),
    ]


def test_append_keeps_every_row(loads: TableLoads) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    loads.create(log, append=True)
    for sequence in (5, 4):
        write = TableWrite(
            False, "append", rows(log, ("id", "_sdc_sequence", "a"), [(1, sequence, "x")])
        )
        assert dict(loads.load(table(log, append=True), write).rows) == {"orders": 1}
    assert loads.read("SELECT id, _sdc_sequence FROM web.orders ORDER BY 2") == [(1, 4), (1, 5)]


def test_a_table_without_columns_of_its_own_but_the_key(loads: TableLoads) -> None:
    bare = relation("orders", {"id": BIGINT})
    loads.load(
        table(bare), upsert([(1, 1)], ("id", "_sdc_sequence"), bare), changes=[CreateRelation(bare)]
    )
    loads.load(table(bare), upsert([(1, 2)], ("id", "_sdc_sequence"), bare))
    assert loads.read("SELECT id, _sdc_sequence FROM web.orders") == [(1, 2)]


def test_sequences_tells_what_each_key_holds(session: Session, loads: TableLoads) -> None:
    pairs = relation("orders", {"a": TEXT, "b": BIGINT}, key=("a", "b"))
    loads.load(
        table(pairs),
        upsert([("x", 1, 11), ("y", 2, 22)], ("a", "b", "_sdc_sequence"), pairs),
        changes=[CreateRelation(pairs)],
    )
    found = session.sequences("web", pairs, [["y", "x", "x"], [2, 2, 1]], private=False)
    assert found == [22, None, 11]
    assert session.sequences("web", pairs, [[], []], private=False) == []


# --- children -------------------------------------------------------------------------------------


def _with_items(loads: TableLoads, child: Relation = ITEMS) -> None:
    loads.load(
        table(ORDERS, child),
        upsert(
            [(1, 1, "x"), (2, 1, "x")],
            children=[
                items([(1, 0, 1, "a"), (1, 1, 1, "b"), (1, 2, 1, "c"), (2, 0, 1, "d")], child)
            ],
            stale=[child],
        ),
        changes=[CreateRelation(ORDERS), CreateRelation(child)],
    )


def test_children_are_counted_under_their_own_relation(loads: TableLoads) -> None:
    _with_items(loads)
    assert loads.items() == [(1, 0, 1, "a"), (1, 1, 1, "b"), (1, 2, 1, "c"), (2, 0, 1, "d")]
    result = loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 2, "y")], children=[items([(1, 0, 2, "z")])], stale=[ITEMS]),
    )
    assert dict(result.rows) == {"orders": 1, "orders__items": 1}


def test_stale_children_of_a_written_parent_go(loads: TableLoads) -> None:
    _with_items(loads)
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 2, "y")], children=[items([(1, 0, 2, "z")])], stale=[ITEMS]),
    )
    assert loads.items() == [(1, 0, 2, "z"), (2, 0, 1, "d")]


def test_all_children_go_when_the_new_record_has_none(loads: TableLoads) -> None:
    _with_items(loads)
    loads.load(table(ORDERS, ITEMS), upsert([(1, 2, "y")], stale=[ITEMS]))
    assert loads.items() == [(2, 0, 1, "d")]


def test_stale_children_stay_when_they_are_to_be_kept(loads: TableLoads) -> None:
    _with_items(loads)
    loads.load(
        table(ORDERS, ITEMS), upsert([(1, 2, "y")], children=[items([(1, 0, 2, "z")])], stale=[])
    )
    assert loads.items() == [(1, 0, 2, "z"), (1, 1, 1, "b"), (1, 2, 1, "c"), (2, 0, 1, "d")]


def test_a_superseded_parent_brings_no_children_and_removes_none(loads: TableLoads) -> None:
    _with_items(loads)
    result = loads.load(
        table(ORDERS, ITEMS),
        upsert(
            [(1, 1, "equal"), (2, 5, "new")],
            children=[items([(1, 0, 1, "no"), (1, 9, 1, "no"), (2, 1, 5, "yes")])],
            stale=[ITEMS],
        ),
    )
    assert loads.items() == [(1, 0, 1, "a"), (1, 1, 1, "b"), (1, 2, 1, "c"), (2, 1, 5, "yes")]
    assert dict(result.rows) == {"orders": 1, "orders__items": 1}
    assert dict(result.superseded) == {0: 1}


def test_with_tie_last_an_equal_sequence_replaces_the_children_too(loads: TableLoads) -> None:
    _with_items(loads)
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "y")], children=[items([(1, 1, 1, "z")])], stale=[ITEMS], tie="last"),
    )
    assert loads.items() == [(1, 1, 1, "z"), (2, 0, 1, "d")]


def test_a_new_subtable_of_an_old_table_takes_only_the_winners_children(loads: TableLoads) -> None:
    loads.load(table(ORDERS), upsert([(1, 5, "x"), (2, 5, "x")]), changes=[CreateRelation(ORDERS)])
    loads.load(
        table(ORDERS, ITEMS),
        upsert(
            [(1, 4, "lost"), (2, 6, "won")],
            children=[items([(1, 0, 4, "no"), (2, 0, 6, "yes")])],
            stale=[ITEMS],
        ),
        changes=[CreateRelation(ITEMS)],
    )
    assert loads.items() == [(2, 0, 6, "yes")]


def test_a_subtable_whose_key_the_user_dropped_is_still_replaced(loads: TableLoads) -> None:
    unkeyed = relation("orders__items", {c.name: c.type for c in ITEMS.columns[4:]}, (), ("items",))
    _with_items(loads, unkeyed)
    loads.load(
        table(ORDERS, unkeyed),
        upsert([(1, 2, "y")], children=[items([(1, 0, 2, "z")], unkeyed)], stale=[unkeyed]),
    )
    assert loads.items() == [(1, 0, 2, "z"), (2, 0, 1, "d")]


def test_a_root_the_user_dropped_is_made_again_and_its_old_children_go(loads: TableLoads) -> None:
    _with_items(loads)
    loads.read("DROP TABLE web.orders")
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 3, "again")], children=[items([(1, 0, 3, "z")])], stale=[ITEMS]),
        changes=[CreateRelation(ORDERS)],
    )
    assert loads.items() == [(1, 0, 3, "z"), (2, 0, 1, "d")]


# --- hard deletes ---------------------------------------------------------------------------------


def test_a_delete_takes_row_and_children_and_bars_lower_sequences(loads: TableLoads) -> None:
    _with_items(loads)
    kept = table(ORDERS, ITEMS, tombstones=True)
    gone = rows(ORDERS, ("id", "_sdc_sequence"), [(1, 5)])
    loads.load(kept, upsert([], stale=[ITEMS], deletes=gone))
    assert loads.orders() == [(2, "x", 1)]
    assert loads.items() == [(2, 0, 1, "d")]
    late = loads.load(
        kept,
        upsert([(1, 5, "late")], children=[items([(1, 0, 5, "late")])], stale=[ITEMS]),
    )
    assert loads.orders() == [(2, "x", 1)]
    assert loads.items() == [(2, 0, 1, "d")]
    assert dict(late.superseded) == {0: 1}
    loads.load(kept, upsert([(1, 6, "back")], stale=[ITEMS]))
    assert loads.orders() == [(1, "back", 6), (2, "x", 1)]


def test_a_delete_older_than_the_row_loses(loads: TableLoads) -> None:
    _with_items(loads)
    kept = table(ORDERS, ITEMS, tombstones=True)
    result = loads.load(
        kept, upsert([], deletes=rows(ORDERS, ("id", "_sdc_sequence"), [(1, 0), (2, 9)]))
    )
    assert loads.orders() == [(1, "x", 1)]
    assert len(loads.items()) == 3
    assert dict(result.superseded) == {0: 1}
