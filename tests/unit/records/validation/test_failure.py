"""The text of a failure: as the original writes it, and never larger than an answer may be."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema_attacks import bomb_pointers

from treadle.errors import RequestRefusedError
from treadle.records import batch
from treadle.records.validation.failure import (
    TEXT_BYTES_MAX,
    ValidationFailure,
    combine_failures,
    cut_text,
)

Tree = tuple[str, list[str], list[Any]]
"""A text, the names around it from the inside outwards, and its causes."""

names = st.text("a~/01é", max_size=4)
texts = st.text("xyé\n\x00", max_size=6)
trees: st.SearchStrategy[Tree] = st.recursive(
    st.tuples(texts, st.lists(names, max_size=3), st.just([])),
    lambda inner: st.tuples(texts, st.lists(names, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=12,
)


def make_failure(tree: Tree) -> ValidationFailure:
    text, places, causes = tree
    failure = ValidationFailure(text, causes=[make_failure(cause) for cause in causes])
    for name in places:
        failure.move_inside(name)
    return failure


def write_all(tree: Tree) -> list[list[str]]:
    """Pointer and text of each line, as the original makes them: each name is escaped at once, in
    the whole tree below."""
    text, places, causes = tree
    lines = [["#", text], *(line for cause in causes for line in write_all(cause))]
    depths = [0, *(depth + 1 for cause in causes for depth in measure_depths(cause))]
    for name in places:
        for line, depth in zip(lines, depths, strict=True):
            escaped = name
            for _ in range(depth + 1):
                escaped = escaped.replace("~", "~0").replace("/", "~1")
            line[0] = f"#/{escaped}{line[0][1:]}"
    return lines


def measure_depths(tree: Tree) -> list[int]:
    _, _, causes = tree
    return [0, *(depth + 1 for cause in causes for depth in measure_depths(cause))]


def as_json(text: str) -> int:
    return len(msgspec.json.encode(text)) - 2


@given(trees)
def test_lines_are_those_of_the_original(tree: Tree) -> None:
    expected = [f"{pointer}: {text}\n" for pointer, text in write_all(tree)]
    failure = make_failure(tree)
    assert [*failure.format_lines()] == expected
    assert failure.lines == len(expected)


@given(trees, st.integers(10, 300))
def test_a_text_that_is_too_long_ends_with_a_count(tree: Tree, room: int) -> None:
    failure = make_failure(tree)
    whole = [*failure.format_lines()]
    found = [*failure.format_lines(room)]
    if as_json("".join(whole)) <= room:
        assert found == whole
        return
    counted = found[-1].endswith(" more\n") and len(whole) > 1
    kept = found[:-1] if counted else found
    if kept and kept[0] != whole[0]:
        assert as_json(kept[0]) <= room + 1
        assert kept[0].endswith("...\n")
        assert kept[0][:-4] == whole[0][: len(kept[0]) - 4]
    elif kept:
        assert as_json("".join(kept)) <= room
        assert kept == whole[: len(kept)]
    assert counted == (len(whole) > len(kept))
    if counted:
        assert found[-1] == f"and {len(whole) - len(kept):,} more\n"


@given(st.text(), st.integers(4, 100))
def test_a_text_is_cut_where_it_is_too_long(text: str, room: int) -> None:
    found = cut_text(text, room)
    assert as_json(found) <= room
    if as_json(text) <= room:
        assert found == text
    else:
        assert found.endswith("...")
        assert text.startswith(found[:-3])


def test_leaves_are_counted_once() -> None:
    leaf = [ValidationFailure("x") for _ in range(3)]
    tree = combine_failures([*leaf, ValidationFailure("#: y", causes=[ValidationFailure("z")] * 2)])
    assert tree is not None
    assert next(iter(tree.format_lines())) == "#: 5 schema violations found\n"


def test_no_more_of_a_long_value_is_written_than_fits() -> None:
    value = "x" * 50_000_000
    failure = ValidationFailure("string [", value, "] is wrong")
    [line] = failure.format_lines()
    assert len(line) < TEXT_BYTES_MAX + 10
    assert line.startswith("#: string [xxx")


@pytest.mark.parametrize(("levels", "width"), [(120, 100), (200, 400), (240, 700), (30, 10_000)])
def test_pointers_do_not_grow_with_the_cube_of_their_depth(levels: int, width: int) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        batch.read_body(bomb_pointers(levels, width))
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["error"].startswith("Record 0 did not conform to schema:\n#: ")
    assert body["error"].endswith(" more\n")
    assert as_json(body["error"]) < TEXT_BYTES_MAX + 1024


def test_a_text_just_below_the_bound_is_sent_whole() -> None:
    item = {"type": "null"}
    count = 1300
    body = {
        "table_name": "t",
        "schema": {"properties": {"a": {"items": item}}},
        "messages": [{"action": "upsert", "sequence": 1, "data": {"a": [1] * count}}],
    }
    with pytest.raises(RequestRefusedError) as refused:
        batch.read_body(msgspec.json.encode(body))
    expected = f"#/a: {count} schema violations found\n" + "".join(
        f"#/a/{n}: expected: null, found: Integer\n" for n in range(count)
    )
    assert refused.value.body == {"error": f"Record 0 did not conform to schema:\n{expected}"}
