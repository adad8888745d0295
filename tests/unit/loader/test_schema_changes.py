"""What the report of a load says that it changed of its table's schema."""

from typing import Any

from tests.unit.tables.executor import Executor, batch

from treadle.loader.schema_changes import describe_schema_changes
from treadle.records.message_batch import MessageBatch
from treadle.tables.model import LoadPlan, TableOptions
from treadle.tables.profiles import DUCKDB, POSTGRES
from treadle.tracking.schema_history import describe_change


def send(executor: Executor, *batches: MessageBatch, options: Any = None) -> LoadPlan:
    return executor.run(list(batches), options=options)


def changes(plan: LoadPlan) -> list[dict[str, Any]]:
    return describe_schema_changes(plan, [100 + entry for entry in range(10)])


def short(plan: LoadPlan) -> list[tuple[Any, ...]]:
    names = ("kind", "relation", "column", "record")
    return [tuple(change.get(name) for name in names) for change in changes(plan)]


def test_a_new_table_is_one_change_with_its_first_record() -> None:
    plan = send(Executor(POSTGRES), batch([(1, {"id": 1, "a": "x", "l": [1, 2]})]))
    assert short(plan) == [
        ("table_added", "t", None, "100.0"),
        ("subtable_added", "t__l", None, "100.0"),
    ]
    assert changes(plan)[0]["columns"] == len(plan.table_after.relations[0].columns)  # type: ignore[union-attr]


def test_an_added_column_names_the_first_record_that_has_a_value() -> None:
    executor = Executor(POSTGRES)
    send(executor, batch([(1, {"id": 1})]))
    plan = send(
        executor,
        batch([(2, {"id": 2}), (3, {"id": 3, "a": None})]),
        batch([(4, {"id": 4}), (5, {"id": 5, "a": 7}), (6, {"id": 6, "a": 8})]),
    )
    assert changes(plan) == [
        {
            "kind": "column_added",
            "relation": "t",
            "column": "a",
            "field": "a",
            "type": "bigint",
            "record": "101.1",
        }
    ]


def test_a_split_names_what_is_beside_it_and_the_record_with_the_other_type() -> None:
    executor = Executor(POSTGRES)
    send(executor, batch([(1, {"id": 1, "age": 7})]))
    plan = send(executor, batch([(2, {"id": 2, "age": 8}), (3, {"id": 3, "age": "nine"})]))
    renamed, split = changes(plan)
    assert renamed == {
        "kind": "column_renamed",
        "relation": "t",
        "from": "age",
        "column": "age__bi",
    }
    assert (split["kind"], split["column"], split["record"]) == (
        "column_split",
        "age__st",
        "100.1",
    )
    assert split["beside"] == [["age__bi", "bigint"]]
    assert describe_change(split) == (
        "column age__st (text) added to t beside age__bi (bigint), since field age has values of "
        "both types, first in record 100.1"
    )
    kept = Executor(DUCKDB)
    send(kept, batch([(1, {"id": 1, "age": 7})]))
    [only] = changes(send(kept, batch([(3, {"id": 3, "age": "nine"})])))
    assert (only["kind"], only["beside"]) == ("column_split", [["age", "bigint"]])


def test_a_widened_column_names_the_record_with_the_wider_value() -> None:
    executor, options = Executor(POSTGRES), TableOptions(split_mode="widen")
    send(executor, batch([(1, {"id": 1, "age": 7})]), options=options)
    plan = send(
        executor, batch([(2, {"id": 2, "age": 8}), (3, {"id": 3, "age": 1.5})]), options=options
    )
    assert short(plan) == [("column_widened", "t", "age", "100.1")]
    assert changes(plan)[0]["from"] == "bigint"
    assert changes(plan)[0]["type"] == "double"


def test_a_switched_version_is_told_and_its_stage_is_not() -> None:
    executor = Executor(POSTGRES)
    send(executor, batch([(1, {"id": 1})], version=1))
    staged = send(executor, batch([(2, {"id": 1, "a": 1})], version=2))
    assert changes(staged) == []
    plan = send(executor, batch([], version=2, activations=[(0, 2)]))
    kinds = {change["kind"] for change in changes(plan)}
    assert kinds == {"column_added", "version_switched"}
    assert {"kind": "version_switched", "version": 2} in changes(plan)


def test_a_key_that_is_gone_makes_its_columns_nullable() -> None:
    executor, options = Executor(POSTGRES), TableOptions(key_change="append")
    send(executor, batch([(1, {"id": 1})]))
    plan = send(executor, batch([(2, {"email": "x"})], keys=["email"]), options=options)
    found = {change["kind"]: change for change in changes(plan)}
    assert found["key_changed"]["from"] == ["id"]
    assert found["key_changed"]["key"] == []
    assert found["column_nullable"]["column"] == "id"


def test_a_load_that_changes_nothing_has_no_changes() -> None:
    executor = Executor(POSTGRES)
    send(executor, batch([(1, {"id": 1})]))
    assert changes(send(executor, batch([(2, {"id": 2})]))) == []
