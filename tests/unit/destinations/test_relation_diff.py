"""Which relations and columns of two builds of one table are the same."""

from dataclasses import replace

from treadle.destinations.protocol import RelationPair
from treadle.destinations.relation_diff import pair_relations
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation, Table
from treadle.tables.profiles import DUCKDB, POSTGRES

BIGINT, TEXT, JSON = ColumnType.BIGINT, ColumnType.TEXT, ColumnType.JSON
AT = Column("_sdc_batched_at", "_sdc_batched_at", ColumnType.TIMESTAMP)
ID = Column("id", "id", BIGINT, nullable=False)


def relation(name: str, *columns: Column, path: tuple[str, ...] = ()) -> Relation:
    return Relation(path, name, (AT, ID, *columns), ("id",), name)


def table(*relations: Relation, append: bool = False) -> Table:
    return Table("s", relations[0].name, (ID,), False, append, 0, relations)


def test_columns_are_paired_by_field_and_type() -> None:
    here = table(
        relation("t", Column("n__bi", "n", BIGINT), Column("n__st", "n", TEXT)),
    )
    there = table(relation("t", Column("n", "n", TEXT), Column("m", "m", JSON)))
    assert pair_relations(here, there, POSTGRES, ["t"]) == [
        RelationPair(
            "t",
            "t",
            (("id", "id"),),
            ((None, "m"), ("n__bi", None), ("n__st", "n")),
            frozenset({"m"}),
        )
    ]


def test_relations_are_paired_by_path() -> None:
    root = relation("t")
    ours = table(root, relation("t__X", path=("X",)), relation("t__y", path=("y",)))
    theirs = table(root, relation("t__x", path=("x",)), relation("t__z", path=("z",)))
    found = pair_relations(ours, theirs, DUCKDB, ["T", "t__x", "t__y"])
    assert [(pair.here, pair.there) for pair in found] == [
        ("t", "t"),
        ("t__X", "t__x"),
        ("t__y", None),
        (None, "t__z"),
    ]
    assert all(pair.key == (("id", "id"),) for pair in found[:2])


def test_what_was_dropped_or_never_made_is_missing() -> None:
    one = table(relation("t"))
    assert [(pair.here, pair.there) for pair in pair_relations(one, one, DUCKDB, [])] == [
        (None, "t")
    ]
    assert [(pair.here, pair.there) for pair in pair_relations(one, None, DUCKDB, ["t"])] == [
        ("t", None)
    ]
    assert pair_relations(None, None, DUCKDB, []) == []


def test_rows_without_one_key_are_compared_whole() -> None:
    one = table(relation("t"))
    for other in (
        table(relation("t"), append=True),
        table(replace(relation("t"), key=())),
        table(replace(relation("t", Column("k", "k", TEXT)), key=("k",))),
    ):
        for found in (
            pair_relations(one, other, DUCKDB, ["t"]),
            pair_relations(other, one, DUCKDB, ["t"]),
        ):
            assert found[0].key == ()
            assert ("id", "id") in found[0].columns
