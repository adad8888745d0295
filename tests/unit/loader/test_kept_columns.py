"""The columns that reports carry to the store."""

from dataclasses import replace
from typing import cast

import pytest
from tests.unit.loader.doubles import LOG_ID, NOW, MemorySession, share
from tests.unit.loader.test_execution import prepared, step

from treadle.destinations.protocol import Session
from treadle.loader.execution import LoadExecutor
from treadle.loader.kept_columns import ColumnWatch, describe_columns
from treadle.loader.load_report import decode_planned_report
from treadle.store.model import KeptColumn
from treadle.store.schema_event import LEFT_OUT_MAX
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, FieldNote, Relation, Table

KEY = (7, "orders")
ID = Column("id", "id", ColumnType.BIGINT, nullable=False)
SEQUENCE = Column("_sdc_sequence", "_sdc_sequence", ColumnType.BIGINT)
ROOT = Relation((), "orders", (SEQUENCE, ID), ("id",), "Orders")
TABLE = Table("shop", "orders", (ID,), False, False, 0, (ROOT,))


def test_columns_of_the_records_and_of_treadle_are_told_apart() -> None:
    kept = describe_columns(TABLE)
    assert kept.key_fields == ("id",)
    [relation] = kept.relations
    assert (relation.path, relation.name) == ((), "orders")
    assert relation.columns == (
        KeptColumn("_sdc_sequence", "_sdc_sequence", "bigint", nullable=True, system=True),
        KeptColumn("id", "id", "bigint", nullable=False, system=False),
    )


def test_a_generated_key_is_no_field() -> None:
    assert describe_columns(replace(TABLE, keyless=True)).key_fields == ()


def test_columns_are_sent_once_and_again_when_they_changed() -> None:
    watch = ColumnWatch()
    assert watch.find_change(KEY, None) is None
    assert watch.find_change(KEY, TABLE) == describe_columns(TABLE)
    assert watch.find_change(KEY, TABLE) is not None  # the load may not have been committed
    watch.note_kept(KEY, TABLE)
    watch.note_kept(KEY, None)
    assert watch.find_change(KEY, replace(TABLE, version=3, batched_at=9)) is None
    assert watch.find_change((8, "orders"), TABLE) is not None
    wider = replace(ROOT, columns=(*ROOT.columns, Column("x", "x", ColumnType.TEXT)))
    changed = watch.find_change(KEY, replace(TABLE, relations=(wider,)))
    assert changed is not None
    assert [column.name for column in changed.relations[0].columns] == ["_sdc_sequence", "id", "x"]


def test_columns_are_sent_again_with_a_field_that_was_never_left_out() -> None:
    watch = ColumnWatch()
    one, other = (FieldNote("orders", name, {0: 3}, "too long") for name in ("one", "other"))
    watch.note_kept(KEY, TABLE, [one])
    assert watch.find_change(KEY, TABLE, [one]) is None
    assert watch.find_change(KEY, TABLE, [one, other]) is not None
    watch.note_kept(KEY, TABLE, [other])
    assert watch.find_change(KEY, TABLE, [one, other]) is None
    many = [FieldNote("orders", str(n), {0: 1}, "too long") for n in range(LEFT_OUT_MAX)]
    watch.note_kept(KEY, TABLE, many)
    assert watch.find_change(KEY, TABLE, [FieldNote("orders", "more", {0: 1}, "x")]) is None


def test_the_first_load_of_a_table_carries_its_columns_and_the_next_one_does_not() -> None:
    executor = LoadExecutor(lambda _: LOG_ID, share(), lambda: NOW, lambda: "load-1")
    session = MemorySession()
    first = executor.load(cast(Session, session), step(prepared()))
    assert first.load.columns is not None
    [relation] = first.load.columns.relations
    assert [column.field for column in relation.columns if not column.system] == ["id"]
    committed = decode_planned_report(session.plans[0].offset.report)
    assert committed.columns == first.load.columns
    # The session forgets the table, so the next load makes it again, with the same columns.
    second = executor.load(cast(Session, session), step(prepared()))
    assert second.load.columns is None


def test_a_load_that_was_not_committed_leaves_the_columns_to_the_next_one() -> None:
    executor = LoadExecutor(lambda _: LOG_ID, share(), lambda: NOW, lambda: "load-1")

    def break_down(*_: object) -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        executor.load(cast(Session, MemorySession(before_load=break_down)), step(prepared()))
    assert executor.load(cast(Session, MemorySession()), step(prepared())).load.columns is not None
