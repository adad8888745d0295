"""Schema changes, stages and their activation (loading.md 4, 5, 9)."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Destination, Session
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    PhysicalRelation,
    Relation,
    RenameColumn,
    StagedVersion,
    TableWrite,
    WidenColumn,
)
from treadle.tables.plan.column_split import widen_values
from treadle.tables.prepare.decimals import fit_decimal
from treadle.timestamps import from_datetime

EVERY_TYPE = relation("orders", {"id": BIGINT, **{f"c_{t}": t for t in ColumnType}})


def test_the_state_of_nothing(session: Session) -> None:
    state = session.state("web", "orders")
    assert (state.revision, state.table, dict(state.physical)) == (0, None, {})


def test_a_destination_that_was_never_prepared_holds_nothing(destination: Destination) -> None:
    with destination.open() as session:
        assert session.state("web", "orders").table is None
        assert session.committed("any") == {}


def test_preparing_again_changes_nothing(session: Session, loads: TableLoads) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    session.prepare("web")
    assert loads.orders() == [(1, "x", 1)]
    assert session.state("web", "orders").revision == 1


def test_the_state_shows_what_was_made(session: Session, loads: TableLoads) -> None:
    loads.create(EVERY_TYPE, ITEMS)
    loads.read("ALTER TABLE web.orders ADD COLUMN mine DATE")
    state = session.state("web", "orders")
    assert state.revision == 1
    assert state.table == table(EVERY_TYPE, ITEMS, batched_at=loads.batched_at)
    assert dict(state.physical) == {
        "orders": PhysicalRelation(
            {**{c.name: c.type for c in EVERY_TYPE.columns}, "mine": None}, frozenset({"id"})
        ),
        "orders__items": PhysicalRelation(
            {c.name: c.type for c in ITEMS.columns},
            frozenset({"_sdc_level_0_id", "_sdc_source_key_id"}),
        ),
    }
    assert list(state.physical["orders"].columns) == [
        *(c.name for c in EVERY_TYPE.columns),
        "mine",
    ]


def test_the_state_shows_a_table_of_the_user(
    session: Session, loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.read("CREATE TABLE web.orders (a BIGINT PRIMARY KEY, b DATE)")
    state = session.state("web", "orders")
    assert (state.revision, state.table) == (0, None)
    assert dict(state.physical) == {
        "orders": PhysicalRelation(
            {"a": BIGINT, "b": None}, frozenset({"a"} if traits.constrains_key else ())
        )
    }


def test_the_state_shows_what_the_user_dropped(session: Session, loads: TableLoads) -> None:
    loads.create(ORDERS, ITEMS)
    loads.read("DROP TABLE web.orders__items")
    loads.read("ALTER TABLE web.orders DROP COLUMN a")
    physical = session.state("web", "orders").physical
    assert set(physical) == {"orders"}
    assert "a" not in physical["orders"].columns


def test_a_key_column_is_not_null_and_others_are(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.create(ORDERS)
    assert loads.read(
        "SELECT lower(column_name), is_nullable FROM information_schema.columns"
        " WHERE lower(table_schema) = 'web' AND lower(table_name) = 'orders'"
        " ORDER BY ordinal_position"
    ) == [
        (name, traits.is_nullable[name not in traits.required])
        for name in (*(each.name for each in ORDERS.columns), *traits.columns_besides)
    ]


def test_a_split_renames_then_adds_then_writes(loads: TableLoads) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    split = relation("orders", {"id": BIGINT, "a__st": TEXT, "a__bi": BIGINT})
    loads.load(
        table(split),
        upsert([(2, 1, 5)], ("id", "_sdc_sequence", "a__bi"), split),
        changes=[
            RenameColumn("orders", "a", "a__st"),
            AddColumn("orders", column("a__bi", BIGINT)),
        ],
    )
    assert loads.read("SELECT id, a__st, a__bi FROM web.orders ORDER BY id") == [
        (1, "x", None),
        (2, None, 5),
    ]


JULY = datetime(2024, 7, 1, 12, 30, tzinfo=UTC)
WIDENED: list[tuple[ColumnType, ColumnType, list[Any]]] = [
    (BIGINT, ColumnType.DOUBLE, [5, -(2**53)]),
    (BIGINT, ColumnType.DECIMAL, [5, -(2**63)]),
    (BIGINT, TEXT, [5, -(2**63)]),
    (ColumnType.BOOLEAN, TEXT, [True, False]),
    (ColumnType.DOUBLE, TEXT, [15.0, -0.0, 0.1, -2.5, 1e-7, 2.0**53, 1e22, 5e-324, 1.5e300]),
    (
        ColumnType.DECIMAL,
        TEXT,
        [Decimal("0.10"), Decimal(100), Decimal("-0.000000001"), Decimal(0)],
    ),
    (
        ColumnType.TIMESTAMP,
        TEXT,
        [
            from_datetime(moment)
            for moment in (
                JULY,
                JULY.replace(microsecond=500_000),
                JULY.replace(microsecond=1),
                datetime(1, 1, 1, tzinfo=UTC),
                datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            )
        ],
    ),
]


@pytest.mark.parametrize(("old", "new", "values"), WIDENED)
def test_a_widened_column_holds_what_a_later_value_would_be(
    destination: Destination,
    loads: TableLoads,
    old: ColumnType,
    new: ColumnType,
    values: list[Any],
) -> None:
    """What is in the column is spelled like what comes after it was widened."""
    if old is ColumnType.DECIMAL:
        values = [each for each in values if fit_decimal(each, destination.profile) == each]
    narrow = relation("orders", {"id": BIGINT, "v": old})
    wide = relation("orders", {"id": BIGINT, "v": new})
    columns = ("id", "_sdc_sequence", "v")
    loads.load(
        table(narrow),
        upsert([(n, 1, value) for n, value in enumerate(values)], columns, narrow),
        changes=[CreateRelation(narrow)],
    )
    later = widen_values(values, old, new)
    loads.load(
        table(wide),
        upsert([(100 + n, 1, value) for n, value in enumerate(to_values(later))], columns, wide),
        changes=[WidenColumn("orders", column("v", new), old)],
    )
    before = loads.read("SELECT v FROM web.orders WHERE id < 100 ORDER BY id")
    assert before == loads.read("SELECT v FROM web.orders WHERE id >= 100 ORDER BY id")
    assert len(before) == len(values)


@pytest.mark.parametrize(
    ("old", "value", "expected"),
    [
        (BIGINT, 5, "5"),
        (ColumnType.BOOLEAN, True, "true"),
        (ColumnType.DOUBLE, 15.0, "15"),
        (ColumnType.DOUBLE, 0.1, "0.1"),
        (ColumnType.DECIMAL, Decimal("0.10"), "0.1"),
        (ColumnType.TIMESTAMP, from_datetime(JULY), "2024-07-01T12:30:00Z"),
    ],
)
def test_a_value_of_each_type_as_text(old: ColumnType, value: object, expected: str) -> None:
    assert widen_values([value, None], old, TEXT) == [expected, None]


def test_changes_work_below_a_view_and_beside_an_index(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    loads.read("CREATE VIEW web.seen AS SELECT id, a FROM web.orders")
    if traits.has_indexes:
        text = traits.index_text.format(column="a")
        loads.read(f"CREATE INDEX by_a ON web.orders ({text}){traits.index_options}")
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": BIGINT})
    for sequence in (2, 3):
        loads.load(
            table(wider),
            upsert([(1, sequence, "y", 5), (2, sequence, "y", 6)],
                   ("id", "_sdc_sequence", "a", "b"), wider),
            changes=[AddColumn("orders", column("b", BIGINT))] if sequence == 2 else [],
        )  # fmt: skip
    assert loads.read("SELECT id, a FROM web.seen ORDER BY id") == [(1, "y"), (2, "y")]


# --- stages ---------------------------------------------------------------------------------------

STAGED = relation("stage_ab12_200", {"id": BIGINT, "a": TEXT})
STAGED_ITEMS = Relation(
    ("items",), "stage_ab12_200_cd34", ITEMS.columns, ITEMS.key, ITEMS.source_name
)


def _staged(loads: TableLoads) -> None:
    """Version 100 is live with two rows, version 200 is staged with one."""
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x"), (2, 1, "x")], children=[items([(1, 0, 1, "old")])], stale=[ITEMS]),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    stage = StagedVersion(200, ORDERS.columns[4:5], (STAGED, STAGED_ITEMS), 0)
    result = loads.load(
        table(ORDERS, ITEMS, version=100, stages=(stage,)),
        upsert([(3, 1, "y")], of=STAGED, children=[items([(3, 0, 1, "new")], STAGED_ITEMS)],
               private=True),
        changes=[CreateRelation(STAGED, private=True), CreateRelation(STAGED_ITEMS, private=True)],
    )  # fmt: skip
    assert dict(result.rows) == {"orders": 1, "orders__items": 1}


def test_staged_rows_are_not_in_the_table(session: Session, loads: TableLoads) -> None:
    _staged(loads)
    assert loads.orders() == [(1, "x", 1), (2, "x", 1)]
    assert loads.items() == [(1, 0, 1, "old")]
    assert session.sequences("web", STAGED, [[3, 1]], private=True) == [1, None]
    assert set(session.state("web", "orders").physical) == {"orders", "orders__items"}


def test_a_stage_has_the_rules_of_upsert(loads: TableLoads) -> None:
    _staged(loads)
    result = loads.load(
        table(ORDERS, ITEMS, version=100),
        upsert([(3, 1, "z"), (4, 1, "z")], of=STAGED, private=True),
    )
    assert dict(result.rows) == {"orders": 1}
    assert dict(result.superseded) == {0: 1}


def test_activation_replaces_the_contents_in_one_load(loads: TableLoads) -> None:
    _staged(loads)
    loads.read("CREATE VIEW web.seen AS SELECT id FROM web.orders")
    result = loads.load(
        table(ORDERS, ITEMS, version=200),
        upsert([(3, 2, "z"), (5, 2, "z")], children=[items([(5, 0, 2, "now")])], stale=[ITEMS]),
        changes=[
            EmptyRelation("orders"),
            EmptyRelation("orders__items"),
            CopyStage(STAGED.name, "orders", tuple((c.name, c.name) for c in STAGED.columns)),
            CopyStage(
                STAGED_ITEMS.name, "orders__items", tuple((c.name, c.name) for c in ITEMS.columns)
            ),
            DropStage(STAGED_ITEMS.name),
            DropStage(STAGED.name),
        ],
    )
    assert loads.orders() == [(3, "z", 2), (5, "z", 2)]
    assert loads.items() == [(5, 0, 2, "now")]
    assert dict(result.rows) == {"orders": 2, "orders__items": 1}
    assert loads.read("SELECT id FROM web.seen ORDER BY id") == [(3,), (5,)]
    assert loads.read(
        "SELECT table_name FROM information_schema.tables"
        " WHERE lower(table_schema) = '_treadle' AND lower(table_name) LIKE 'stage%'"
    ) == []  # fmt: skip


def test_the_same_keys_come_back_after_emptying(loads: TableLoads) -> None:
    loads.load(table(ORDERS), upsert([(1, 9, "x"), (2, 9, "x")]), changes=[CreateRelation(ORDERS)])
    loads.load(table(ORDERS), upsert([(1, 1, "y")]), changes=[EmptyRelation("orders")])
    assert loads.orders() == [(1, "y", 1)]


def test_a_new_version_changes_the_key(
    session: Session, loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    loads.read(f"ALTER TABLE web.orders ADD COLUMN note {traits.text_type} DEFAULT 'none'")
    if traits.has_indexes:
        loads.read(f"CREATE INDEX by_note ON web.orders (note){traits.index_options}")
    rekeyed = relation("orders", {"id": BIGINT, "a": TEXT}, key=("a",))
    loads.load(
        table(rekeyed),
        upsert([("k", 1, None), ("l", 1, 4)], ("a", "_sdc_sequence", "id"), rekeyed),
        changes=[EmptyRelation("orders"), ChangeKey("orders", ("id",), ("a",))],
    )
    loads.load(table(rekeyed), upsert([("k", 2, 7)], ("a", "_sdc_sequence", "id"), rekeyed))
    assert loads.read("SELECT a, id, note FROM web.orders ORDER BY a") == [
        ("k", 7, traits.default_text),
        ("l", 4, traits.default_text),
    ]
    assert session.state("web", "orders").physical["orders"].key == {"a"}


def test_a_key_may_go_and_come(session: Session, loads: TableLoads) -> None:
    loads.create(ORDERS)
    unkeyed = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    loads.load(
        table(unkeyed, append=True),
        TableWrite(False, "append", rows(unkeyed, ("a", "_sdc_sequence"), [("x", 1), ("x", 1)])),
        changes=[ChangeKey("orders", ("id",), ())],
    )
    assert session.state("web", "orders").physical["orders"].key == frozenset()
    assert loads.read("SELECT count(*) FROM web.orders") == [(2,)]
    loads.load(table(ORDERS), changes=[EmptyRelation("orders"), ChangeKey("orders", (), ("id",))])
    assert session.state("web", "orders").physical["orders"].key == {"id"}


def test_the_rows_stay_when_the_key_goes(
    session: Session, loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.load(table(ORDERS), upsert([(1, 1, "x"), (2, 1, "y")]), changes=[CreateRelation(ORDERS)])
    loads.read(f"ALTER TABLE web.orders ADD COLUMN note {traits.text_type} DEFAULT 'none'")
    if traits.has_indexes:
        loads.read(f"CREATE INDEX by_note ON web.orders (note){traits.index_options}")
    loads.read("CREATE VIEW web.seen AS SELECT id, a, note FROM web.orders")
    unkeyed = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT}, key=())
    added = rows(
        unkeyed, ("id", "a", "b", "_sdc_sequence"), [(1, "z", "w", 2), (None, "v", "w", 2)]
    )
    loads.load(
        table(unkeyed, append=True),
        TableWrite(False, "append", added),
        changes=[AddColumn("orders", column("b")), ChangeKey("orders", ("id",), ())],
    )
    assert session.state("web", "orders").physical["orders"].key == frozenset()
    seen = "web.seen" if traits.views_follow else "web.orders"
    assert loads.read(f"SELECT id, a, note FROM {seen} ORDER BY a") == [
        (None, "v", traits.default_text),
        (1, "x", "none"),
        (2, "y", "none"),
        (1, "z", traits.default_text),
    ]


def test_what_a_version_deleted_stays_deleted_when_it_is_activated(loads: TableLoads) -> None:
    _staged(loads)
    stage = StagedVersion(200, ORDERS.columns[4:5], (STAGED, STAGED_ITEMS), 0)
    gone = rows(STAGED, ("id", "_sdc_sequence"), [(3, 5)])
    loads.load(
        table(ORDERS, ITEMS, version=100, stages=(stage,), tombstones=True),
        upsert([], of=STAGED, private=True, deletes=gone),
    )
    assert loads.read("SELECT count(*) FROM _treadle.stage_ab12_200_cd34") == [(0,)]
    result = loads.load(
        table(ORDERS, ITEMS, version=200, tombstones=True),
        upsert([(1, 1, "y"), (3, 5, "late")], stale=[ITEMS]),
        changes=[
            EmptyRelation("orders"),
            EmptyRelation("orders__items"),
            CopyStage(STAGED.name, "orders", (("id", "id"), ("a", "a"))),
            DropStage(STAGED.name),
            DropStage(STAGED_ITEMS.name),
        ],
    )
    assert loads.orders() == [(1, "y", 1)]
    assert dict(result.superseded) == {0: 1}
