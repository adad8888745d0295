"""Loads into files that end anywhere: nothing is lost or doubled, no reader sees half a load."""

from dataclasses import replace
from typing import Any

import pytest
from tests.servers.files import DeathError, MemoryStore, read_shown

from treadle.destinations.conformance.builders import (
    ITEMS,
    LOG,
    ORDERS,
    TableLoads,
    column,
    items,
    table,
    upsert,
)
from treadle.destinations.files.object_names import PENDING
from treadle.destinations.files.session import FilesSession
from treadle.destinations.files.table_record import RECORDS_KEPT, RECORDS_MAX
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    FencedError,
    PlanOutdatedError,
    RelationPair,
    RowCounts,
    RowDiff,
)
from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    Rejection,
    WidenColumn,
)
from treadle.tables.schema_owner import UNOWNED

BOTH = (CreateRelation(ORDERS), CreateRelation(ITEMS))


def ids(store: MemoryStore) -> list[int]:
    return sorted(row["id"] for row in read_shown(store, "web/orders"))


def parents(store: MemoryStore) -> list[int]:
    return sorted(row["_sdc_source_key_id"] for row in read_shown(store, "web/orders__items"))


def opened(store: MemoryStore) -> FilesSession:
    session = FilesSession(store)
    session.prepare("web")
    return session


def first(loads: TableLoads) -> LoadPlan:
    write = upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a"), (2, 0, 1, "b")])])
    rejected = Rejection("{}", "why not", "orders", 0, 0)
    return loads.plan(table(ORDERS, ITEMS), write, changes=BOTH, rejections=[rejected])


def second(loads: TableLoads) -> LoadPlan:
    write = upsert([(3, 1, "z")], children=[items([(3, 0, 1, "c")])])
    return loads.plan(table(ORDERS, ITEMS), write)


def loaded(store: MemoryStore) -> TableLoads:
    loads = TableLoads(opened(store))
    loads.run(first(loads))
    return loads


def count_calls() -> int:
    store = MemoryStore()
    loads = loaded(store)
    before = store.calls
    loads.run(second(loads))
    return store.calls - before


CALLS = count_calls()


def go_on(store: MemoryStore, loads: TableLoads) -> FilesSession:
    """Another process: ask how far the table is, and load what is not."""
    store.dies_before = store.dies_after = store.loses = store.delays = store.conflicts = -1
    session = opened(store)
    held = session.committed(LOG)[7, "orders"].position
    again = replace(loads, session=session, position=held, revision=held + 1)
    if held == 0:
        # Planned again, a load may have other rows: here further ones have come meanwhile.
        write = upsert(
            [(3, 1, "z"), (4, 1, "later")], children=[items([(3, 0, 1, "c"), (4, 0, 1, "d")])]
        )
        again.run(again.plan(table(ORDERS, ITEMS), write))
    else:
        write = upsert([(4, 1, "later")], children=[items([(4, 0, 1, "d")])])
        again.run(again.plan(table(ORDERS, ITEMS), write))
    return session


@pytest.mark.parametrize("when", ["dies_before", "dies_after"])
@pytest.mark.parametrize("call", range(CALLS))
def test_a_load_that_ends_anywhere_is_done_once(when: str, call: int) -> None:
    store = MemoryStore()
    loads = loaded(store)
    setattr(store, when, store.calls + call)
    with pytest.raises(DeathError):
        loads.run(second(loads))
    go_on(store, loads)
    assert ids(store) == [1, 2, 3, 4]
    assert parents(store) == [1, 2, 3, 4]
    assert store.list_keys(PENDING) == []


@pytest.mark.parametrize("is_early", [False, True])
@pytest.mark.parametrize("when", ["loses", "delays", "conflicts"])
@pytest.mark.parametrize("call", range(CALLS))
def test_an_answer_that_is_lost_loses_and_doubles_nothing(
    when: str, call: int, is_early: bool
) -> None:
    store = MemoryStore()
    loads = loaded(store)
    setattr(store, when, store.calls + call)
    try:
        loads.run(second(loads))
    except (CommitUnknownError, DestinationUnavailableError):
        setattr(store, when, -1)
        if is_early:  # what came late is there before the next load
            store.deliver()
        go_on(store, loads)
    else:
        loads.run(loads.plan(table(ORDERS, ITEMS), upsert([(4, 1, "later")])))
    store.deliver()
    assert ids(store) == [1, 2, 3, 4]


def test_a_load_names_the_objects_that_readers_see() -> None:
    store = MemoryStore()
    loads = TableLoads(opened(store))
    result = loads.run(first(loads))
    assert result.objects is not None
    named = {key.removeprefix("bucket/raw/") for keys in result.objects.values() for key in keys}
    assert {*result.objects} == {"orders", "orders__items"}
    assert named == {key for key in store.objects if key.endswith(".parquet")}
    # Whoever takes the table over after a death tells the same.
    assert opened(store).committed(LOG)[7, "orders"].result == result


def test_no_reader_sees_half_of_a_load() -> None:
    store = MemoryStore()
    loads = loaded(store)
    seen: list[tuple[list[int], list[int]]] = []
    shown: dict[str, bytes] = {}

    def look() -> None:
        seen.append((ids(store), parents(store)))
        now = {key: data for key, data in store.objects.items() if key.startswith("web/")}
        assert now.items() >= shown.items(), "a file that was seen was changed or removed"
        shown.update(now)

    store.watch = look
    loads.run(second(loads))
    assert {tuple(map(tuple, each)) for each in seen} == {
        ((1, 2), (1, 2)),
        ((1, 2), (1, 2, 3)),  # children come before their parents
        ((1, 2, 3), (1, 2, 3)),
    }


def test_of_two_loaders_with_one_plan_one_commits() -> None:
    store = MemoryStore()
    loads = loaded(store)
    plan = second(loads)
    late = opened(store)
    late.state("web", "orders")
    loads.run(plan)
    with pytest.raises(PlanOutdatedError):
        late.load(plan)
    assert ids(store) == [1, 2, 3]
    assert store.list_keys(PENDING) == []


def test_a_loader_that_was_overtaken_commits_nothing() -> None:
    store = MemoryStore()
    loads = loaded(store)
    plan = second(loads)
    session = FilesSession(store)
    session.prepare("web")
    session.change(plan)
    load: Any = session._load
    result = load.write(rehearses=False)  # and then it is stopped
    successor = replace(loads, session=opened(store), fence=2)
    write = upsert([(3, 1, "z"), (4, 1, "later")])
    successor.run(successor.plan(table(ORDERS, ITEMS), write))
    with pytest.raises(PlanOutdatedError):
        load.commit(result)
    load.discard()
    assert ids(store) == [1, 2, 3, 4]
    with pytest.raises(FencedError):
        session.load(replace(plan, offset=replace(plan.offset, previous_position=1, position=2)))


def test_files_of_a_loader_that_may_still_commit_stay() -> None:
    store = MemoryStore()
    loads = loaded(store)
    session = FilesSession(store)
    session.prepare("web")
    session.change(second(loads))
    load: Any = session._load
    result = load.write(rehearses=False)
    # A successor looks what there is, and has nothing to load.
    successor = opened(store)
    successor.state("web", "orders")
    successor.committed(LOG)
    load.commit(result)
    load.finish()
    assert ids(store) == [1, 2, 3]


def test_a_number_that_is_free_again_is_not_taken() -> None:
    store = MemoryStore()
    loads = loaded(store)
    session = FilesSession(store)
    session.prepare("web")
    session.change(second(loads))
    load: Any = session._load
    result = load.write(rehearses=False)  # and then it is stopped for many loads
    for number in range(RECORDS_MAX + RECORDS_KEPT):
        loads.run(loads.plan(table(ORDERS, ITEMS), upsert([(10 + number, 1, "x")])))
    folder = "_treadle/tables/web/orders"
    assert f"{folder}/000000000002.json" not in store.objects
    assert len(store.list_keys(folder)) <= RECORDS_MAX
    before = dict(store.objects)
    with pytest.raises((PlanOutdatedError, CommitUnknownError)):
        load.commit(result)
    assert 3 not in ids(store)
    assert FilesSession(store).committed(LOG)[7, "orders"].position == loads.position
    assert before.items() <= store.objects.items()


def test_a_load_that_is_shown_late_is_shown_once() -> None:
    store = MemoryStore()
    loads = loaded(store)
    session = FilesSession(store)
    session.prepare("web")
    session.change(second(loads))
    load: Any = session._load
    load.commit(load.write(rehearses=False))  # and then it is stopped
    assert ids(store) == [1, 2]
    assert FilesSession(store, read_only=True).committed(LOG)[7, "orders"].position == 1
    assert ids(store) == [1, 2]  # who only reads shows nothing
    opened(store).committed(LOG)
    assert ids(store) == [1, 2, 3]
    load.finish()
    assert ids(store) == [1, 2, 3]
    assert store.list_keys(PENDING) == []


def test_a_new_column_is_in_new_files_and_read_with_the_old() -> None:
    store = MemoryStore()
    loads = loaded(store)
    wide = replace(ORDERS, columns=(*ORDERS.columns, column("b")))
    loads.load(
        table(wide, ITEMS),
        upsert([(3, 1, "z", "new")], ("id", "_sdc_sequence", "a", "b"), of=wide),
        changes=[AddColumn("orders", column("b"))],
    )
    assert loads.read("SELECT id, b FROM web.orders ORDER BY id") == [
        (1, None),
        (2, None),
        (3, "new"),
    ]


@pytest.mark.parametrize(
    "change", [WidenColumn("orders", column("a"), column("a").type), EmptyRelation("orders")]
)
def test_a_file_is_not_changed_for_a_load(change: Any) -> None:
    store = MemoryStore()
    loads = loaded(store)
    with pytest.raises(TableStoppedError, match="only added"):
        loads.load(table(ORDERS, ITEMS), upsert([(3, 1, "z")]), changes=[change])
    assert ids(store) == [1, 2]


def test_a_folder_is_one_relations() -> None:
    store = MemoryStore()
    loads = loaded(store)
    # A table of the name of a subtable that has rows.
    state = loads.session.state("web", "orders__items")
    assert state.table is None
    assert {*state.physical} == {"orders__items"}
    others = TableLoads(loads.session, table_name="orders__items", batched_at=loads.batched_at)
    other = replace(ORDERS, name="orders__items", source_name="orders__items")
    with pytest.raises(TableStoppedError, match=r'is a table of "orders" already'):
        others.load(
            replace(table(other), name="orders__items"),
            upsert([(1, 1, "x")], of=other),
            changes=[CreateRelation(other)],
        )
    # A subtable whose name somebody else's files have.
    store.objects["web/orders__more/x.parquet"] = b""
    more = replace(ITEMS, name="orders__more", path=("more",))
    with pytest.raises(TableStoppedError, match="treadle did not write"):
        loads.load(
            table(ORDERS, ITEMS, more), upsert([(3, 1, "z")]), changes=[CreateRelation(more)]
        )
    assert ids(store) == [1, 2]


def test_a_table_that_is_called_otherwise_goes_on_after_its_mark() -> None:
    store = MemoryStore()
    loads = loaded(store)
    named = replace(ORDERS, name="orders_2")
    overtaken = second(loads)  # planned by the former options
    renamed = replace(
        TableLoads(opened(store)),
        position=loads.position,
        batched_at=loads.batched_at,
        fence=loads.fence + 1,
    )
    plan = renamed.plan(
        replace(table(named), name="orders_2"),
        upsert([(3, 1, "z")], of=named),
        changes=[CreateRelation(named)],
    )
    renamed.run(plan)
    assert sorted(row["id"] for row in read_shown(store, "web/orders_2")) == [3]
    assert opened(store).committed(LOG)[7, "orders"].position == 1
    with pytest.raises(FencedError):
        loads.session.load(overtaken)
    assert ids(store) == [1, 2]


def test_a_table_whose_files_a_user_removed_is_gone() -> None:
    store = MemoryStore()
    loads = loaded(store)
    for key in store.list_keys("web/orders"):
        del store.objects[key]
    state = loads.session.state("web", "orders")
    assert set(state.physical) == {"orders__items"}
    for key in store.list_keys("web/orders__items"):
        del store.objects[key]
    assert loads.session.state("web", "orders").physical == {}


def test_a_rejected_record_is_a_line() -> None:
    store = MemoryStore()
    loaded(store)
    [key] = store.list_keys("web/_sdc_rejected")
    assert key.endswith(".jsonl")
    assert store.objects[key].count(b"\n") == 1
    assert b'"reason":"why not"' in store.objects[key]


def test_a_table_that_was_removed_is_made_anew() -> None:
    store = MemoryStore()
    loads = loaded(store)
    held = FilesSession(store)
    held.committed(LOG)
    loads.session.remove("web", "orders", LOG)
    assert loads.session.state("web", "orders").table is None
    assert held.committed(LOG) == {}
    assert ids(store) == []
    again = TableLoads(opened(store))
    again.run(first(again))
    assert ids(store) == [1, 2]
    assert held.committed(LOG)[7, "orders"].position == 0


def test_rows_are_counted_by_batch_and_by_key() -> None:
    store = MemoryStore()
    loads = loaded(store)
    first_batch = loads.batched_at
    loads.run(loads.plan(table(ORDERS, ITEMS), upsert([(2, 2, "again"), (3, 1, "z")])))
    found = loads.session.counts("web", ORDERS, first_batch)
    assert found == RowCounts(4, 1, {first_batch: 2, loads.batched_at: 2})
    assert loads.session.counts("web", ORDERS, first_batch + 1).batches == {loads.batched_at: 2}


def test_the_rows_of_two_schemas_are_compared() -> None:
    store = MemoryStore()
    loads = loaded(store)
    other = FilesSession(store)
    other.prepare("other")
    plan = loads.plan(
        replace(table(ORDERS), schema="other"),
        upsert([(2, 1, "y"), (1, 1, "changed"), (9, 1, "new")]),
        changes=[CreateRelation(ORDERS)],
    )
    offset = replace(plan.offset, log_id="rebuild", previous_position=-1)
    other.load(replace(plan, schema="other", revision=0, offset=offset))
    keyed = RelationPair("orders", "orders", (("id", "id"),), (("a", "a"),))
    whole = RelationPair("orders", "orders", (), (("id", "id"), ("a", "a")))
    session = loads.session
    assert session.compare("web", "other", keyed) == RowDiff(0, 1, 1)
    assert session.compare("web", "other", whole) == RowDiff(1, 2, 0)
    assert session.compare("web", "other", replace(keyed, there=None)) == RowDiff(2, 0, 0)
    assert session.list_log_ids("") == sorted([LOG, "rebuild"])
    other.remove("other", "orders", "rebuild")
    assert session.list_log_ids("") == [LOG]
    assert store.list_keys("other") == []
    assert ids(store) == [1, 2]


def test_a_folder_of_somebody_else_is_not_written_into_until_it_is_adopted() -> None:
    store = MemoryStore()
    loaded(store)
    for key in store.list_keys("web/orders"):
        store.objects[key.replace("web/", "theirs/")] = store.objects[key]
    session = FilesSession(store)
    with pytest.raises(TableStoppedError, match="not made for this one"):
        session.prepare("theirs")
    [(name, found)] = session.unknown_relations("theirs").items()
    assert (name, found.columns["id"], found.columns["a"]) == (
        "orders",
        ColumnType.BIGINT,
        ColumnType.TEXT,
    )
    assert session.relations("theirs") == ["orders"]
    session.adopt("theirs", UNOWNED, [replace(table(ORDERS), schema="theirs")])
    session.prepare("theirs")
    assert session.unknown_relations("theirs") == {}
    assert session.query("SELECT count(*) FROM theirs.orders").rows == [(2,)]
