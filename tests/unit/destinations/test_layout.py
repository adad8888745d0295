"""How names are kept, keys are ordered and plans are checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations import layout
from treadle.destinations.protocol import FencedError, LoadResult, PlanOutdatedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    CopyStage,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    OffsetCommit,
    Relation,
    RelationRows,
    Table,
    TableWrite,
)

names = st.text(st.sampled_from(["\0", "\\", "0", "a", "🧵"])) | st.text()


@given(names)
def test_a_spelled_name_reads_back(name: str) -> None:
    spelled = layout.escape_name(name)
    assert "\0" not in spelled
    assert layout.unescape_name(spelled) == name


@given(names, names)
def test_spelling_and_digest_tell_names_apart(one: str, other: str) -> None:
    assert (layout.escape_name(one) == layout.escape_name(other)) is (one == other)
    assert (layout.digest_name(one) == layout.digest_name(other)) is (one == other)


def test_a_digest_takes_text_that_is_not_unicode() -> None:
    assert len(layout.digest_name("\ud800")) == 64


def test_the_parents_key_leads_the_index() -> None:
    key = ("_sdc_level_0_id", "_sdc_level_10_id", "_sdc_level_2_id", "_sdc_source_key_id")
    assert layout.order_key(key) == (
        "_sdc_source_key_id",
        "_sdc_level_0_id",
        "_sdc_level_2_id",
        "_sdc_level_10_id",
    )
    assert layout.order_key(("a", "b")) == ("a", "b")


def _relation(
    name: str, columns: tuple[str, ...], key: tuple[str, ...], path: tuple[str, ...] = ()
) -> Relation:
    made = tuple(Column(column, column, ColumnType.TEXT) for column in columns)
    return Relation(path, name, made, key, name)


def test_a_child_repeats_its_parents_key() -> None:
    root = _relation("t", ("b", "a"), ("a", "b"))
    child = _relation(
        "t__x", ("_sdc_source_key_b", "_sdc_source_key_a", "_sdc_level_0_id"), ("_sdc_level_0_id",)
    )
    assert layout.pair_parent_key(root, child) == (
        ("a", "_sdc_source_key_a"),
        ("b", "_sdc_source_key_b"),
    )


def test_a_shortened_source_key_is_found_by_its_place() -> None:
    long = "k" * 59
    root = _relation("t", ("a", long), (long, "a"))
    child = _relation("t__x", ("_sdc_source_key_kkk_0a1b2c", "_sdc_source_key_a"), ())
    assert layout.pair_parent_key(root, child) == (
        ("a", "_sdc_source_key_a"),
        (long, "_sdc_source_key_kkk_0a1b2c"),
    )


@pytest.mark.parametrize(
    ("after", "position", "held"),
    [(-1, 5, 5), (-1, 5, 9), (4, 5, -1), (4, 5, 3), (4, 9, 5), (5, 5, 5)],
)
def test_a_mark_that_does_not_follow_is_outdated(after: int, position: int, held: int) -> None:
    with pytest.raises(PlanOutdatedError):
        layout.check_offset(OffsetCommit("log", 1, "t", after, position), held, 0)


@pytest.mark.parametrize(("after", "position", "held"), [(-1, 0, -1), (-1, 7, -1), (4, 9, 4)])
def test_a_mark_that_follows_passes(after: int, position: int, held: int) -> None:
    layout.check_offset(OffsetCommit("log", 1, "t", after, position, fence=2), held, 2)
    layout.check_offset(OffsetCommit("log", 1, "t", after, position, fence=3), held, 2)


def test_a_lower_fence_is_told_before_anything_else() -> None:
    with pytest.raises(FencedError, match="fence 1 was overtaken by 2"):
        layout.check_offset(OffsetCommit("log", 1, "t", 0, 9, fence=1), 5, 2)


@pytest.mark.parametrize(("after", "held"), [(5, 4), (5, 6), (-1, 5), (5, -1)])
def test_rows_are_swapped_in_only_where_they_end(after: int, held: int) -> None:
    with pytest.raises(PlanOutdatedError):
        layout.check_offset(OffsetCommit("log", 1, "t", after, 5, replaces_rows=True), held, 0)


@pytest.mark.parametrize(("after", "moves"), [(5, False), (-1, True)])
def test_a_swap_needs_no_lease_and_moves_no_position_that_is_there(after: int, moves: bool) -> None:
    mark = OffsetCommit("log", 1, "t", after, 5, replaces_rows=True)
    layout.check_offset(mark, after, 9)
    assert layout.moves_offset(mark) is moves
    assert layout.moves_offset(OffsetCommit("log", 1, "t", 4, 5))


ROOT = _relation("t", ("id",), ("id",))
CHILD = _relation("t__x", ("_sdc_source_key_id",), (), ("x",))
STAGED = _relation("stage_1", ("id",), ("id",))
STAGED_CHILD = _relation("stage_1_x", ("_sdc_source_key_id",), (), ("x",))
STAGED_OTHER = _relation("stage_1_y", ("_sdc_source_key_id",), (), ("y",))


def _plan(*changes: CreateRelation | EmptyRelation | CopyStage) -> LoadPlan:
    mark = OffsetCommit("log", 1, "t", -1, 0)
    return LoadPlan("s", "t", mark, 0, changes, (), (), 0, 0, None)


def test_which_relations_are_empty_after_the_changes() -> None:
    plan = _plan(
        CreateRelation(ROOT),
        CreateRelation(STAGED, private=True),
        EmptyRelation("t__x"),
        EmptyRelation("t__y"),
        CopyStage("stage_1_y", "t__y", ()),
    )
    assert layout.find_empty_relations(plan) == {(False, "t"), (True, "stage_1"), (False, "t__x")}


def test_staged_rows_are_reported_under_the_live_names() -> None:
    after = Table("s", "t", (), False, False, 0, (ROOT, CHILD))
    write = TableWrite(
        True,
        "upsert",
        RelationRows(STAGED, {}),
        (RelationRows(STAGED_CHILD, {}), RelationRows(STAGED_OTHER, {})),
    )
    assert layout.map_report_names(after, write) == {
        "stage_1": "t",
        "stage_1_x": "t__x",
        "stage_1_y": "stage_1_y",
    }
    live = TableWrite(False, "upsert", RelationRows(ROOT, {}), (RelationRows(CHILD, {}),))
    assert layout.map_report_names(after, live) == {"t": "t", "t__x": "t__x"}


@given(
    st.dictionaries(st.text(), st.integers(0, 2**62)),
    st.dictionaries(st.integers(0, 2**40), st.integers(0, 2**40)),
    st.none() | st.dictionaries(st.text(), st.lists(st.text())),
)
def test_a_result_reads_back(
    rows: dict[str, int], superseded: dict[int, int], objects: dict[str, list[str]] | None
) -> None:
    result = LoadResult(rows, superseded, objects)
    assert layout.decode_result(layout.encode_result(result)) == result


def test_a_result_without_objects_is_kept_as_earlier_releases_kept_it() -> None:
    assert layout.encode_result(LoadResult({"t": 1}, {0: 2})) == '[{"t":1},{"0":2}]'


def test_columns_given_and_missing() -> None:
    wide = _relation("t", ("a", "b", "c"), ())
    given_, missing = layout.partition_columns(RelationRows(wide, {"c": ["x"], "a": ["y"]}))
    assert [column.name for column in given_] == ["a", "c"]
    assert [column.name for column in missing] == ["b"]
