"""What is there after a load that ended amid schema changes that nothing undoes."""

from dataclasses import replace

import pytest

from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    ORDERS,
    TEXT,
    relation,
    table,
)
from treadle.destinations.sql.load_intent import (
    LoadAttempt,
    LoadIntent,
    LoadProof,
    TableReplacement,
    decode_intent,
    encode_intent,
    resolve_entry,
)
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, PhysicalRelation, Relation, StagedVersion, Table

HELD = table(ORDERS, batched_at=5, version=3)


def physical(of: Relation, *without: str, key: tuple[str, ...] | None = None) -> PhysicalRelation:
    columns = {c.name: c.type for c in of.columns if c.name not in without}
    return PhysicalRelation(columns, frozenset(of.key if key is None else key))


def resolve(
    held: Table | None,
    coming: Table,
    *live: tuple[str, PhysicalRelation],
    private: dict[str, PhysicalRelation] | None = None,
) -> Table | None:
    return resolve_entry(held, coming, dict(live), private or {}, str.lower)


def column_names(entry: Table | None, at: int = 0) -> list[str]:
    assert entry is not None
    return [column.name for column in entry.relations[at].columns]


def test_a_table_of_which_nothing_was_made_has_no_entry() -> None:
    assert resolve(None, table(ORDERS, ITEMS)) is None


def test_a_table_that_was_made_in_part_has_what_is_there() -> None:
    found = resolve(None, table(ORDERS, ITEMS, version=7), ("orders", physical(ORDERS)))
    assert found is not None
    assert found.relations == (ORDERS,)
    # No row was committed, so the first version that comes is the table's.
    assert found.adopted
    assert found.batched_at == 0


def test_columns_that_were_not_added_are_not_taken_for_dropped() -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT, "c": TEXT})
    found = resolve(HELD, table(wider), ("orders", physical(wider, "c")))
    assert column_names(found)[-3:] == ["id", "a", "b"]
    assert found is not None
    assert (found.version, found.batched_at, found.adopted) == (3, 5, False)


def test_a_column_that_the_user_dropped_stays_in_the_entry() -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    found = resolve(HELD, table(wider), ("orders", physical(wider, "a")))
    assert column_names(found)[-3:] == ["id", "a", "b"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["id", "a"], ["id", "a"]),  # nothing is done
        (["id", "a__st"], ["id", "a__st"]),  # renamed, and the other is not added
        (["id", "a__st", "a__bi"], ["id", "a__st", "a__bi"]),
    ],
)
def test_a_split_is_taken_over_as_far_as_it_came(there: list[str], expected: list[str]) -> None:
    split = replace(
        ORDERS,
        columns=(
            *ORDERS.columns[:-1],
            Column("a__st", "a", TEXT),
            Column("a__bi", "a", BIGINT),
        ),
    )
    types = {**{c.name: c.type for c in split.columns}, "a": TEXT}
    system = [c.name for c in ORDERS.columns[:4]]
    made = PhysicalRelation({name: types[name] for name in (*system, *there)}, frozenset({"id"}))
    assert column_names(resolve(HELD, table(split), ("orders", made)))[4:] == expected


@pytest.mark.parametrize("type_", [BIGINT, TEXT])
def test_a_column_has_the_type_that_it_has(type_: ColumnType) -> None:
    narrow = relation("orders", {"id": BIGINT, "v": BIGINT})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    there = relation("orders", {"id": BIGINT, "v": type_})
    found = resolve(table(narrow), table(wide), ("orders", physical(there)))
    assert found is not None
    assert found.relations[0].columns[-1].type is type_


def test_a_key_is_the_one_that_is_there() -> None:
    unkeyed = replace(ORDERS, key=())
    before = resolve(HELD, table(unkeyed), ("orders", physical(ORDERS)))
    after = resolve(HELD, table(unkeyed), ("orders", physical(ORDERS, key=())))
    assert before is not None
    assert after is not None
    assert (before.relations[0].key, after.relations[0].key) == (("id",), ())


def test_a_relation_that_the_user_dropped_stays_in_the_entry() -> None:
    found = resolve(table(ORDERS, ITEMS), table(ORDERS, ITEMS), ("orders", physical(ORDERS)))
    assert found is not None
    assert [each.name for each in found.relations] == ["orders", "orders__items"]


def test_a_stage_is_there_when_a_table_of_it_is() -> None:
    staged = relation("stage_x", {"id": BIGINT})
    other = relation("stage_y", {"id": BIGINT})
    stages = tuple(StagedVersion(n, (), (each,), 0) for n, each in ((8, staged), (9, other)))
    found = resolve(
        HELD,
        table(ORDERS, stages=stages),
        ("orders", physical(ORDERS)),
        private={"stage_y": physical(other)},
    )
    assert found is not None
    assert [stage.version for stage in found.stages] == [9]


@pytest.mark.parametrize("made", [False, True])
def test_deleted_keys_are_kept_once_their_table_is_there(made: bool) -> None:
    coming = table(ORDERS, tombstones=True, tombstones_relation="tombstones_x")
    private = {"tombstones_x": physical(ORDERS)} if made else {}
    found = resolve(HELD, coming, ("orders", physical(ORDERS)), private=private)
    assert found is not None
    assert (found.tombstones, found.tombstones_relation) == (made, "tombstones_x" if made else "")


def test_an_intent_is_kept_as_text() -> None:
    intent = LoadIntent("{}", (TableReplacement("web", "orders", "draft_x", False),), ("stage_x",))
    assert decode_intent(encode_intent(intent)) == intent
    assert intent
    assert not LoadIntent()
    assert len(intent.replacements[0].old) <= 64


def test_an_intent_tells_what_proves_its_load() -> None:
    attempts = (LoadAttempt(5), LoadAttempt(7, 8, ("orders", "ünï\\0")))
    proof = LoadProof(3, "log", 7, "digest", 12, attempts)
    draft = TableReplacement("web", "orders", "draft_ab", mark="of load 7")
    intent = LoadIntent("{}", (draft,), ("stage_x",), proof)
    assert decode_intent(encode_intent(intent)) == intent
    assert LoadIntent(proof=proof)
    assert not LoadIntent()
    # One of a release that knew no proofs.
    assert decode_intent('{"table":"","replacements":[["web","t","d",true]],"drops":[]}') == (
        LoadIntent("", (TableReplacement("web", "t", "d"),))
    )
