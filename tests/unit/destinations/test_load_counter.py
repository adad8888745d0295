"""What a load has written so far."""

from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.protocol import LoadResult
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    CreateRelation,
    LoadPlan,
    OffsetCommit,
    Relation,
    RelationRows,
    Table,
    TableWrite,
)

ID = Column("id", "id", ColumnType.BIGINT)
LIVE = Relation((), "t", (ID,), ("id",), "t")
CHILD = Relation(("x",), "t__x", (ID,), (), "x")
STAGED = Relation((), "stage_1", (ID,), ("id",), "t")


def write(*relations: Relation, private: bool = False) -> TableWrite:
    root, *children = (RelationRows(relation, {"id": [1]}) for relation in relations)
    return TableWrite(private, "upsert", root, tuple(children))


def test_writes_are_counted_under_the_live_names() -> None:
    after = Table("s", "t", (ID,), False, False, 0, (LIVE, CHILD))
    changes = (CreateRelation(LIVE), CreateRelation(CHILD))
    writes = (write(LIVE), write(STAGED, private=True), write(LIVE, CHILD))
    mark = OffsetCommit("log", 1, "t", -1, 5)
    plan = LoadPlan("s", "t", mark, 0, changes, writes, (), 0, 0, after)
    progress = LoadCounter(plan)
    empty = []
    for number, each in enumerate(progress.writes()):
        empty.append([progress.is_empty(relation) for relation in (LIVE, CHILD, STAGED)])
        progress.count(each.root.relation, number + 1)
        for child in each.children:
            progress.count(child.relation, 10)
        progress.supersede([(0, 2), (number, 1)])
    # Only what was made in this load and not yet written is empty for certain.
    assert empty == [[True, True, False], [False, False, False], [False, True, False]]
    assert progress.result == LoadResult({"t": 6, "t__x": 10}, {0: 7, 1: 1, 2: 1})
