"""What is kept of a table's columns from load to load."""

from tests.loads import load

from treadle.store.column_history import find_times, merge_left_out
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation
from treadle.store.schema_event import LEFT_OUT_MAX, LeftOutField


def columns(*found: tuple[str, str, str]) -> KeptColumns:
    its = tuple(KeptColumn(name, field, type_, True, False) for name, field, type_ in found)
    return KeptColumns(("id",), (KeptRelation((), "t", its),))


def test_a_column_keeps_its_time_when_it_is_renamed_or_widened() -> None:
    held = columns(("id", "id", "bigint"), ("age", "age", "bigint"), ("w", "w", "bigint"))
    now = columns(
        ("id", "id", "bigint"),
        ("age__bi", "age", "bigint"),
        ("w", "w", "text"),
        ("age__st", "age", "text"),
    )
    assert find_times(held, ((1, 2, None),), now, 9) == ((1, 2, None, 9),)
    assert find_times(KeptColumns((), ()), (), now, None) == ((None,) * 4,)


def test_a_subtable_has_times_of_its_own() -> None:
    held = columns(("id", "id", "bigint"))
    inner = KeptRelation(("l",), "t__l", (KeptColumn("id", "id", "bigint", True, False),))
    now = KeptColumns(held.key_fields, (*held.relations, inner))
    assert find_times(held, ((1,),), now, 9) == ((1,), (9,))


def note(field: str, reason: str = "too long") -> dict[str, str]:
    return {"table": "t", "field": field, "reason": reason}


def test_left_out_fields_are_kept_once_and_go_with_their_column() -> None:
    report = load(1, "t", 5, 70)
    held = (LeftOutField("t", "a", "too long", 3, "load"), LeftOutField("t", "b", "x", 3, "load"))
    kept, fresh = merge_left_out(held, [note("a", "other"), note("c")], {("t", "b")}, report)
    assert fresh == (LeftOutField("t", "c", "too long", 70, report.id),)
    assert kept == (held[0], *fresh)
    many, fresh = merge_left_out(held, [note(str(n)) for n in range(1000)], set(), report)
    assert len(many) == LEFT_OUT_MAX
    assert len(fresh) == LEFT_OUT_MAX - 2
