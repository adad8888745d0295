"""Table versions: staging, activation, swapping (loading.md 9)."""

from typing import Any

import pytest
from msgspec import structs
from tests.unit.tables.executor import Executor, batch

from treadle.errors import TableStoppedError
from treadle.tables import table_codec
from treadle.tables.column_type import ColumnType
from treadle.tables.model import CopyStage, DropStage, EmptyRelation, LoadPlan, TableOptions
from treadle.tables.plan.planner import STAGE_AGE_MAX
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES

PROFILES = pytest.mark.parametrize("profile", [POSTGRES, DUCKDB], ids=["pg", "duckdb"])


def send(executor: Executor, *rows: Any, version: int = 0, **more: Any) -> LoadPlan:
    """One load of one request; a row is (sequence, data)."""
    options = more.pop("options", None)
    now = more.pop("now", 1_000_000)
    made = batch(list(rows), version=version, **more)
    return executor.run([made], options=options, now=now)


def rows(executor: Executor, *names: str, table: str = "t") -> list[tuple[Any, ...]]:
    return sorted(tuple(row.get(name) for name in names) for row in executor.live[table].rows)


@PROFILES
def test_several_newer_versions_wait_and_lower_ones_go(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": "w"}), version=100)
    send(executor, (1, {"id": 2, "a": "x"}), version=200)
    send(executor, (1, {"id": 3, "a": "y"}), version=300)
    send(executor, (1, {"id": 4, "a": "z"}), version=400)
    assert len(executor.private) == 3
    plan = send(executor, version=300, activations=[(0, 300)])
    assert plan.new_version
    assert rows(executor, "id", "a", "_sdc_table_version") == [(3, "y", 300)]
    assert len(executor.private) == 1
    send(executor, version=400, activations=[(0, 400)])
    assert rows(executor, "id", "a", "_sdc_table_version") == [(4, "z", 400)]
    assert executor.private == {}


@PROFILES
def test_a_stage_has_its_own_sequences_types_and_subtables(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (9, {"id": 1, "a": 5, "old": 1, "l": [1, 2]}), version=1)
    send(executor, (5, {"id": 1, "a": "x", "l": ["p"], "m": [{"k": 1}]}), version=2)
    send(executor, (4, {"id": 1, "a": "late", "late": 1}), version=2)
    send(executor, (6, {"id": 2, "a": 7.5}), version=2)
    plan = send(executor, (7, {"id": 3, "new": True}), version=2, activations=[(1, 2)])
    kinds = [type(change) for change in plan.changes]
    assert kinds.index(EmptyRelation) < kinds.index(CopyStage) < kinds.index(DropStage)
    held = executor.live["t"].columns
    assert "late" not in held
    bare = "a__bi" if profile.split == "rename" else "a"
    assert rows(executor, "id", bare, "a__st", "a__do", "old", "new", "_sdc_sequence") == [
        (1, None, "x", None, None, None, 5),
        (2, None, None, 7.5, None, None, 6),
        (3, None, None, None, None, True, 7),
    ]
    value = "value__st"
    assert rows(executor, "_sdc_source_key_id", value, table="t__l") == [(1, "p")]
    assert rows(executor, "_sdc_source_key_id", "k", table="t__m") == [(1, 1)]
    assert {row["_sdc_table_version"] for row in executor.live["t"].rows} == {2}


@PROFILES
def test_versions_before_and_after_an_activation_in_one_load(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    first = batch([(1, {"id": 1}), (2, {"id": 2})], version=10)
    second = batch([(3, {"id": 3}), (4, {"id": 4})], version=20, activations=[(1, 20)])
    none = batch([(5, {"id": 5})])
    late = batch([(6, {"id": 6})], version=10)
    plan = executor.run([first, none, second, none, late])
    assert rows(executor, "id", "_sdc_table_version") == [(3, 20), (4, 20), (5, 20)]
    assert plan.ignored == {0: 2, 1: 1, 4: 1}
    assert plan.received == 7
    assert not plan.new_version


@PROFILES
def test_a_table_made_and_emptied_by_one_load(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    executor.run([batch([(1, {"id": 1, "a": 1})]), batch([], version=2, activations=[(0, 2)])])
    assert executor.live["t"].key == ("id",)
    assert executor.live["t"].rows == []
    send(executor, (1, {"id": 2}))
    assert rows(executor, "id", "_sdc_table_version") == [(2, 2)]


@PROFILES
def test_versions_of_single_records(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    mixed = batch([(1, {"id": 1}), (2, {"id": 2}), (3, {"id": 3})])
    lists = structs.replace(mixed, versions=[5, 7, 0], activations=[(2, 7)])
    executor.run([lists])
    assert rows(executor, "id", "_sdc_table_version") == [(2, 7), (3, 7)]


@PROFILES
def test_a_rejected_record_gives_a_table_no_version(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    rejected, first, later = (
        batch([(1, {"id": 1, "v__st": 1})], version=5),
        batch([(1, {"id": 2})], version=7),
        batch([(1, {"id": 3}), (1, {"id": 4})], version=5),
    )
    executor.run([rejected, first, later])
    assert rows(executor, "id", "_sdc_table_version") == [(2, 7)]


@PROFILES
def test_activating_what_is_active_or_older_does_nothing(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}), version=100)
    for version in (100, 50):
        plan = send(executor, activations=[(0, version)])
        assert plan.changes == ()
        assert not plan.new_version
    assert rows(executor, "id") == [(1,)]


@PROFILES
def test_an_activation_without_a_table_makes_none(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    plan = send(executor, activations=[(0, 100)])
    assert plan.table_after is None
    assert executor.live == {}
    send(executor, (1, {"id": 1}), version=50)
    assert rows(executor, "_sdc_table_version") == [(50,)]


@PROFILES
def test_a_version_without_rows_empties_table_and_subtables(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}), version=1)
    send(executor, activations=[(0, 2)])
    assert rows(executor, "id") == rows(executor, "value", table="t__l") == []
    send(executor, (1, {"id": 1}))
    assert rows(executor, "_sdc_table_version") == [(2,)]


@PROFILES
def test_a_new_version_may_bring_another_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "email": "a", "l": [1]}), version=1)
    with pytest.raises(TableStoppedError, match="Keys for table do not match"):
        send(executor, (2, {"id": 1, "email": "b"}), keys=["email"], version=1)
    send(executor, (2, {"id": 1, "email": "b", "l": [2]}), keys=["email"], version=2)
    send(executor, (3, {"email": "c"}), keys=["email"], version=2, activations=[(1, 2)])
    assert executor.live["t"].key == ("email",)
    assert executor.live["t__l"].key == ("_sdc_level_0_id", "_sdc_source_key_email")
    assert rows(executor, "_sdc_source_key_email", "value", table="t__l") == [("b", 2)]
    send(executor, (4, {"id": 9, "email": "c", "l": [3, 4]}), keys=["email"])
    assert rows(executor, "email", "_sdc_sequence") == [("b", 2), ("c", 4)]
    assert len(executor.live["t__l"].rows) == 3


@PROFILES
def test_a_keyless_table_may_get_a_key_with_a_version(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"m": "x", "l": [1]}), keys=[], version=1)
    send(executor, (1, {"m": "x"}), keys=["m"], version=2, activations=[(1, 2)])
    assert executor.live["t"].key == ("m",)
    send(executor, (2, {"m": "x", "l": [5]}), keys=["m"])
    assert rows(executor, "m", "_sdc_sequence") == [("x", 2)]
    assert rows(executor, "_sdc_source_key_m", "value", table="t__l") == [("x", 5)]


@PROFILES
def test_keyless_versions_are_swapped(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"m": "x"}), (1, {"m": "x"}), keys=[], version=1)
    send(executor, (1, {"m": "y", "l": [1]}), keys=[], version=2)
    send(executor, (1, {"m": "z"}), keys=[], version=2, activations=[(1, 2)])
    assert rows(executor, "m") == [("y",), ("z",)]
    (parent,) = [row for row in executor.live["t"].rows if row["m"] == "y"]
    (child,) = executor.live["t__l"].rows
    assert child["_sdc_source_key___sdc_primary_key"] == parent["__sdc_primary_key"]


@PROFILES
def test_a_stage_nobody_activates_goes_after_a_month(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}), version=1, now=10)
    send(executor, (1, {"id": 1}), version=2, now=20)
    send(executor, (2, {"id": 1}), version=1, now=20 + STAGE_AGE_MAX)
    assert len(executor.private) == 1
    send(executor, (3, {"id": 1}), version=1, now=21 + STAGE_AGE_MAX)
    assert executor.private == {}
    assert table_codec.decode_table(executor.catalogue["t"]).stages == ()


@PROFILES
def test_a_stage_outlives_a_dropped_table(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}), version=1)
    send(executor, (1, {"id": 2, "a": 1}), version=2)
    del executor.live["t"]
    send(executor, activations=[(0, 2)])
    assert rows(executor, "id", "a", "_sdc_table_version") == [(2, 1, 2)]


@PROFILES
def test_appending_keeps_every_version(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(loading_behavior="append")
    send(executor, (2, {"id": 1, "l": [1]}), (1, {"id": 1}), version=1, options=options)
    send(executor, (1, {"id": 1, "l": [2]}), version=2, activations=[(1, 2)], options=options)
    assert rows(executor, "id", "_sdc_sequence") == [(1, 1), (1, 2)]
    assert executor.live["t"].key == executor.live["t__l"].key == ()
    assert len(executor.live["t__l"].rows) == 2
    assert executor.live["t"].columns["id"] is ColumnType.BIGINT


@pytest.mark.parametrize(
    ("tie", "stays"), [("first", [("a", 1), ("c", 2)]), ("last", [("b", 1), ("d", 2)])]
)
@PROFILES
def test_a_tie_of_records_with_and_without_a_version(
    profile: DestinationProfile, tie: Any, stays: list[tuple[str, int]]
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 3, "a": "x"}), version=2)
    made = batch(
        [
            (4, {"id": 1, "a": "a"}),
            (4, {"id": 2, "a": "c"}),
            (4, {"id": 1, "a": "b"}),
            (4, {"id": 2, "a": "d"}),
        ]
    )
    # One request: the first in its version 2 is no earlier than the others.
    executor.run(
        [structs.replace(made, versions=[0, 2, 2, 0])], options=TableOptions(sequence_tie=tie)
    )
    assert rows(executor, "a", "id") == [*stays, ("x", 3)]
    executor = Executor(profile)
    send(executor, (1, {"id": 3, "a": "x"}), version=2)
    executor.run(
        [structs.replace(made, versions=[2, 0, 0, 2])], options=TableOptions(sequence_tie=tie)
    )
    assert rows(executor, "a", "id") == [*stays, ("x", 3)]
