"""What a load does to a table: warehouse changes, keys, limits, options, reports."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs
from tests.unit.tables.executor import Executor, Held, batch

from treadle.errors import TableStoppedError
from treadle.records.message_batch import MessageBatch
from treadle.records.transit import encoding
from treadle.tables import table_codec
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    KeyConflict,
    LoadPlan,
    OffsetCommit,
    Table,
    TableOptions,
    TableState,
)
from treadle.tables.plan.explain import explain_plan
from treadle.tables.plan.planner import plan_load
from treadle.tables.plan.sequence_lookup import SequenceLookup
from treadle.tables.prepare.key_mismatch import KEY_TYPE_DIFFERS, KEYS_DIFFER
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.prepare.rejections import RECORD_BYTES_MAX
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES, REDSHIFT

PROFILES = pytest.mark.parametrize("profile", [POSTGRES, DUCKDB], ids=["pg", "duckdb"])


def send(
    executor: Executor, *rows: Any, options: TableOptions | None = None, **more: Any
) -> LoadPlan:
    """One load of one request; a row is (sequence, data)."""
    return executor.run([batch(list(rows), **more)], options=options)


def rows(executor: Executor, *names: str, table: str = "t") -> list[tuple[Any, ...]]:
    found = [tuple(row.get(name) for name in names) for row in executor.live[table].rows]
    return sorted(found, key=repr)


def entry(executor: Executor, name: str = "t") -> Table:
    return table_codec.decode_table(executor.catalogue[name])


def reasons(executor: Executor) -> list[str]:
    return [reason for _, reason, _ in executor.rejected]


# --- the user's changes ---------------------------------------------------------------------------


@PROFILES
def test_a_dropped_column_comes_back_with_its_next_value(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": "x", "b": 1}))
    executor.live["t"].columns.pop("a")
    executor.live["t"].rows[0].pop("a")
    send(executor, (2, {"id": 2, "b": 2}))
    assert "a" not in executor.live["t"].columns
    send(executor, (3, {"id": 3, "a": "y"}))
    assert list(executor.live["t"].columns)[-1] == "a"
    assert rows(executor, "id", "a") == [(1, None), (2, None), (3, "y")]


@PROFILES
def test_a_renamed_column_is_dropped_and_new(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": "x"}))
    held = executor.live["t"]
    held.columns["mine"] = held.columns.pop("a")
    held.rows[0]["mine"] = held.rows[0].pop("a")
    send(executor, (2, {"id": 1, "a": "y"}))
    assert rows(executor, "id", "a", "mine") == [(1, "y", "x")]


@PROFILES
def test_a_column_of_the_user_with_a_fields_name_takes_its_values(
    profile: DestinationProfile,
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}))
    executor.live["t"].columns |= {"a": ColumnType.TEXT, "b": None}
    send(executor, (2, {"id": 2, "a": "x"}), (3, {"id": 3, "b": "y"}))
    assert rows(executor, "id", "a") == [(1, None), (2, "x")]
    assert reasons(executor) == ["Field collision on b"]


@PROFILES
def test_a_dropped_table_may_get_another_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}))
    executor.live.clear()
    send(executor, (1, {"email": "a", "l": [1]}), keys=["email"])
    assert executor.live["t"].key == ("email",)
    assert [column.name for column in entry(executor).keys] == ["email"]


@PROFILES
def test_a_subtable_that_outlived_its_table_must_have_the_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}))
    del executor.live["t"]
    with pytest.raises(TableStoppedError, match='"t__l" is still there'):
        send(executor, (1, {"email": "a"}), keys=["email"])
    send(executor, (2, {"id": 1, "l": [2]}))
    assert rows(executor, "_sdc_source_key_id", "value", table="t__l") == [(1, 2)]


@PROFILES
def test_a_dropped_subtable_is_made_again(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}))
    del executor.live["t__l"]
    send(executor, (2, {"id": 2}))
    assert sorted(executor.live) == ["t"]
    send(executor, (3, {"id": 3, "l": [3]}))
    assert rows(executor, "value", table="t__l") == [(3,)]


def test_a_dropped_key_column_makes_a_postgres_table_append_only() -> None:
    executor = Executor(POSTGRES)
    send(executor, (1, {"id": 1, "a": "x", "l": [1]}))
    held = executor.live["t"]
    held.columns.pop("id")
    held.not_null.discard("id")
    held.key = ()
    held.rows[0].pop("id")
    send(executor, (2, {"id": 1, "a": "y", "l": [2]}))
    assert rows(executor, "id", "a") == [(1, "y"), (None, "x")]
    assert executor.live["t__l"].key == ()
    assert entry(executor).append
    send(executor, (1, {"id": 1, "a": "z", "l": [3]}))
    assert len(executor.live["t"].rows) == len(executor.live["t__l"].rows) == 3


def test_a_dropped_key_stops_a_duckdb_table() -> None:
    executor = Executor(DUCKDB)
    send(executor, (1, {"id": 1}))
    executor.live["t"].key = ()
    with pytest.raises(TableStoppedError, match="expected id, found none"):
        send(executor, (2, {"id": 1}))


def test_a_constraint_put_back_ends_append_only() -> None:
    executor = Executor(POSTGRES)
    send(executor, (1, {"id": 1}))
    executor.live["t"].key = ()
    send(executor, (2, {"id": 1}))
    assert len(executor.live["t"].rows) == 2
    executor.live["t"].rows.pop(0)
    executor.live["t"].key = ("id",)
    send(executor, (3, {"id": 1}))
    assert rows(executor, "id", "_sdc_sequence") == [(1, 3)]
    assert not entry(executor).append


@PROFILES
@pytest.mark.parametrize("column", ["_sdc_source_key_id", "_sdc_level_0_id", "_sdc_received_at"])
def test_a_subtable_without_its_system_columns_stops(
    profile: DestinationProfile, column: str
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}))
    executor.live["t__l"].columns.pop(column)
    with pytest.raises(TableStoppedError, match=f'"{column}" of table "t__l" was dropped'):
        send(executor, (2, {"id": 2}))


# --- tables treadle did not make ------------------------------------------------------------------


def foreign(key: tuple[str, ...] = ("id",), **columns: ColumnType) -> Held:
    system = {
        "_sdc_batched_at": ColumnType.TIMESTAMP,
        "_sdc_received_at": ColumnType.TIMESTAMP,
        "_sdc_sequence": ColumnType.BIGINT,
        "_sdc_table_version": ColumnType.BIGINT,
    }
    return Held({**columns, **system}, set(key), key)


def test_a_table_of_another_loader_is_adopted() -> None:
    executor = Executor(POSTGRES)
    executor.live["t"] = foreign(
        id=ColumnType.BIGINT,
        age__bigint=ColumnType.BIGINT,
        age__double=ColumnType.DOUBLE,
        n__bigint=ColumnType.BIGINT,
    )
    executor.live["t__l"] = foreign(
        ("_sdc_level_0_id", "_sdc_source_key_id"),
        _sdc_source_key_id=ColumnType.BIGINT,
        _sdc_level_0_id=ColumnType.BIGINT,
        value=ColumnType.TEXT,
    )
    executor.live["t"].rows = [{"id": 1, "age__bigint": 5, "_sdc_sequence": 3}]
    with pytest.raises(TableStoppedError, match="`treadle source adopt s t`"):
        send(executor, (4, {"id": 1, "age": 6}))
    executor.adopt("t")
    assert entry(executor).adopted
    send(
        executor,
        (4, {"id": 1, "age": 6, "l": ["x"]}),
        (1, {"id": 2, "age": "old", "n__bigint": 1}),
        version=7,
    )
    assert rows(executor, "id", "age__bigint", "age__st", "n__bigint", "_sdc_table_version") == [
        (1, 6, None, None, 7),
        (2, None, "old", 1, 7),
    ]
    assert rows(executor, "value", table="t__l") == [("x",)]
    assert entry(executor).version == 7
    assert not entry(executor).adopted


@PROFILES
def test_a_table_that_does_not_fit_stops(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    executor.live["t"] = foreign(id=ColumnType.BIGINT)
    executor.live["t"].columns["_sdc_sequence"] = ColumnType.TEXT
    with pytest.raises(
        TableStoppedError, match='"_sdc_sequence" should be of type bigint and is text'
    ):
        executor.adopt("t")
    del executor.live["t"].columns["_sdc_sequence"]
    with pytest.raises(TableStoppedError, match="and is not there"):
        executor.adopt("t")
    executor.live["t"] = foreign((), id=ColumnType.BIGINT)
    with pytest.raises(TableStoppedError, match="has no primary key"):
        executor.adopt("t")
    executor.live["t"] = foreign(("other",), id=ColumnType.BIGINT, other=ColumnType.TEXT)
    executor.adopt("t")
    with pytest.raises(TableStoppedError, match="Keys for table do not match"):
        send(executor, (1, {"id": 1}))


# --- keys -----------------------------------------------------------------------------------------


@PROFILES
def test_the_order_of_key_names_does_not_matter(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"b": 1, "a": 2}), keys=["b", "a"])
    send(executor, (2, {"b": 1, "a": 2}), keys=["a", "b"])
    assert executor.live["t"].key == ("a", "b")
    assert rows(executor, "_sdc_sequence") == [(2,)]


@PROFILES
@pytest.mark.parametrize(("first", "second"), [(["id"], []), ([], ["id"])])
def test_keys_neither_come_nor_go(
    profile: DestinationProfile, first: list[str], second: list[str]
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}), keys=first)
    with pytest.raises(TableStoppedError, match="Keys for table do not match Primary Keys"):
        send(executor, (2, {"id": 1}), keys=second)


@PROFILES
def test_the_first_record_decides_the_type_of_a_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    found = send(executor, (1, {"id": 1}), (2, {"id": "one"}), (3, {"id": "two"}), (4, {"id": 1.5}))
    assert rows(executor, "id") == [(1,)]
    assert reasons(executor) == [KEY_TYPE_DIFFERS] * 3
    text, double = found.key_conflicts
    assert text == KeyConflict("id", ColumnType.BIGINT, ColumnType.TEXT, 2, 0, 1)
    assert double == KeyConflict("id", ColumnType.BIGINT, ColumnType.DOUBLE, 1, 0, 3)
    found = send(executor, (5, {"id": "one"}), (6, {"id": 2}))
    assert rows(executor, "id") == [(1,), (2,)]
    assert found.key_conflicts == (KeyConflict("id", ColumnType.BIGINT, ColumnType.TEXT, 1, 0, 0),)
    assert send(executor, (7, {"id": 3})).key_conflicts == ()


@PROFILES
def test_all_records_of_a_wrong_key_are_rejected_at_once(profile: DestinationProfile) -> None:
    """Those that lost among themselves too: else each would take a plan of its own."""
    executor = Executor(profile)
    send(executor, (1, {"id": 1}))
    lost = [(n, {"id": "same"}) for n in range(2, 302)]
    prepared: list[Any] = []
    reject = PreparedLoad.reject_records

    def count(*words: Any) -> PreparedLoad:
        prepared.append(words)
        return reject(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedLoad, "reject_records", count)
        send(executor, *lost)
    assert len(prepared) == 1
    assert reasons(executor) == [KEY_TYPE_DIFFERS] * 300


@PROFILES
def test_the_option_key_types_stops_the_table_and_names_the_record(
    profile: DestinationProfile,
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}))
    before = rows(executor, "id")
    with pytest.raises(TableStoppedError) as stopped:
        send(
            executor,
            (2, {"id": 2}),
            (3, {"id": "one"}),
            options=TableOptions(key_types="stop"),
        )
    assert str(stopped.value).startswith(KEY_TYPE_DIFFERS)
    assert "the key id is text in record" in str(stopped.value)
    assert "bigint in the table" in str(stopped.value)
    assert rows(executor, "id") == before


@PROFILES
def test_a_stopped_table_names_both_keys(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}))
    told = r"the table has the key id, record \d+\.0 has "
    with pytest.raises(TableStoppedError, match=told + "the key nr"):
        send(executor, (2, {"nr": 1}), keys=["nr"])
    with pytest.raises(TableStoppedError, match=told + "no key"):
        send(executor, (2, {"nr": 1}), keys=[])


@PROFILES
def test_who_may_only_append_does_not_stop_a_table_with_a_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1}))
    appended = structs.replace(batch([(2, {"id": 1}), (3, {"id": 2})], keys=[]), append_only=True)
    executor.run([appended, batch([(4, {"id": 4})])])
    assert rows(executor, "id", "_sdc_sequence") == [(1, 1), (4, 4)]
    assert reasons(executor) == [KEYS_DIFFER] * 2
    # Where there is no table yet, they make one without a key; so they do with key_change: append.
    other = structs.replace(appended, table_name="u")
    executor.run([other])
    assert rows(executor, "id", table="u") == [(1,), (2,)]
    executor.run([appended], options=TableOptions(key_change="append"))
    assert rows(executor, "id") == [(1,), (1,), (2,), (4,)]


@PROFILES
@pytest.mark.parametrize("value", [None, {}, {"a": 1}, [1], []])
def test_a_key_without_a_single_value_rejects_its_record(
    profile: DestinationProfile, value: Any
) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": value, "a": 1}), (2, {"id": 2}))
    assert reasons(executor) == ["Key field id holds no single value"]
    assert rows(executor, "id") == [(2,)]


@PROFILES
def test_key_change_append(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(key_change="append")
    send(executor, (1, {"id": 1, "l": [1]}))
    send(executor, (2, {"email": "a", "l": [2]}), keys=["email"], options=options)
    send(executor, (2, {"email": "a", "l": [2]}), keys=["email"], options=options)
    assert rows(executor, "id", "email") == [(1, None), (None, "a"), (None, "a")]
    other = batch([(3, {"email": "b"}), (4, {"email": "c"})], keys=["email"])
    executor.run([batch([(3, {"id": 1})]), other], options=options)
    assert len(executor.live["t"].rows) == 6
    assert executor.live["t"].key == ()


@PROFILES
def test_keys_of_every_type(profile: DestinationProfile) -> None:
    schema = {
        "properties": {
            "k": {"type": "string", "format": "date-time"},
            "d": {"type": "string", "format": "singer.decimal"},
            "f": {"type": "number"},
            "b": {"type": "boolean"},
        }
    }
    executor = Executor(profile)
    keys = ["k", "d", "f", "b"]
    one = {"k": "2024-01-01T00:00:00Z", "d": "1.0", "f": 1, "b": True, "l": [1]}
    same = {"k": "2024-01-01T01:00:00+01:00", "d": "1.00", "f": 1.0, "b": True, "l": [2]}
    send(executor, (1, one), (2, same), keys=keys, schema=schema)
    assert rows(executor, "d", "f", "_sdc_sequence") == [(Decimal("1.00"), 1.0, 2)]
    assert rows(executor, "value", table="t__l") == [(2,)]


# --- limits ---------------------------------------------------------------------------------------


def test_too_many_columns_for_postgres() -> None:
    executor = Executor(POSTGRES)
    wide = {f"c{n:04}": n for n in range(1, 1601)}
    send(executor, (1, {"id": 1, **wide}), (2, {"id": 2}))
    assert executor.live == {}
    assert reasons(executor) == ["ERROR: too many columns"] * 2
    executor.rejected.clear()
    send(executor, (1, {"id": 1, **{f"c{n:04}": "x" for n in range(1400)}}))
    before = executor.catalogue["t"]
    send(executor, (2, {"id": 2, **{f"d{n:04}": "x" for n in range(300)}}), (3, {"id": 1}))
    assert reasons(executor) == ["ERROR: too many columns"] * 2
    assert executor.catalogue["t"] == before
    assert len(executor.live["t"].rows) == 1


def test_duckdb_takes_any_number_of_columns() -> None:
    executor = Executor(DUCKDB)
    send(executor, (1, {"id": 1, **{f"c{n:04}": n for n in range(1, 1601)}}))
    assert len(executor.live["t"].columns) == 1601 + 4


@PROFILES
def test_twelve_levels_of_arrays(profile: DestinationProfile) -> None:
    value: Any = 1
    for _ in range(12):
        value = [{"a": value}]
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": value}))
    deepest = "t" + "__a" * 12
    assert executor.live[deepest].columns["_sdc_level_11_id"] is ColumnType.BIGINT
    executor = Executor(profile)
    value = 1
    for _ in range(12):
        value = [{"array": value}]
    send(executor, (1, {"id": 1, "array": value}), (2, {"id": 2, "array": value}))
    if profile is POSTGRES:
        name = "t" + "__array" * 9
        assert reasons(executor) == [f"Table name {name} is too long for PostgreSQL"]
        assert len(executor.live) == 9
    else:
        assert len(executor.live) == 13


@pytest.mark.slow
@PROFILES
def test_records_with_fields_of_their_own_need_little_memory(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    sparse = [(n, {"id": n, **{f"f{n}_{k}": 1 for k in range(40)}}) for n in range(300)]
    send(executor, *sparse)
    assert executor.live == {}
    assert reasons(executor) == ["ERROR: too many columns"] * 300
    executor.rejected.clear()
    send(executor, *sparse[:30])
    assert len(executor.live["t"].rows) == 30
    assert len(executor.live["t"].columns) == 30 * 40 + 5


def test_many_thousand_elements() -> None:
    executor = Executor(POSTGRES)
    send(executor, (1, {"id": 1, "l": list(range(10_000))}))
    assert rows(executor, "_sdc_level_0_id", "value", table="t__l") == sorted(
        ((n, n) for n in range(10_000)), key=repr
    )


@PROFILES
def test_deep_objects_do_not_exhaust_the_stack(profile: DestinationProfile) -> None:
    value: Any = 1
    for _ in range(250):
        value = {"a": value}
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "o": value}))
    assert rows(executor, "id") == [(1,)]
    assert len(executor.rejected) == (1 if profile is POSTGRES else 0)


def test_a_long_key_leaves_out_arrays_in_postgres() -> None:
    executor = Executor(POSTGRES)
    key = "k" * 48
    send(executor, (1, {key: 1, "l": [1]}), keys=[key])
    assert reasons(executor) == [f"Column name _sdc_source_key_{key} is too long for PostgreSQL"]
    assert sorted(executor.live) == ["t"]
    send(executor, (1, {"k" * 60: 1}), keys=["k" * 60], table="u")
    assert reasons(executor)[1:] == [f"Column name {'k' * 60} is too long for PostgreSQL"]


@PROFILES
def test_rejected_records_are_cut(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "v__st": "é" * 40_000}))
    record = executor.rejected[0][2]
    assert RECORD_BYTES_MAX - 4 < len(record.encode()) <= RECORD_BYTES_MAX


# --- collisions of splits -------------------------------------------------------------------------


@PROFILES
def test_a_split_gives_way_to_a_flattened_name(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "lang": {"st": "x"}}), (1, {"id": 2, "lang": 5}))
    send(
        executor,
        (9, {"id": 1, "lang": "new"}),
        (5, {"id": 1, "lang": 6}),
        (1, {"id": 3, "lang": 7}),
    )
    assert reasons(executor) == ["Field collision on lang__st"]
    assert executor.rejected[0][2] == '{"id":1,"lang":"new"}'
    found = rows(executor, "id", "_sdc_sequence")
    assert found == [(1, 5), (2, 1), (3, 1)]


@PROFILES
def test_both_in_one_load(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(
        executor,
        (1, {"id": 1, "lang": {"st": "x"}}),
        (1, {"id": 2, "lang": 5}),
        (1, {"id": 3, "lang": "y"}),
    )
    assert reasons(executor) == ["Field collision on lang__st"]
    assert rows(executor, "id") == [(1,), (2,)]


def test_a_rename_that_cannot_be_made() -> None:
    executor = Executor(POSTGRES)
    send(executor, (1, {"id": 1, "lang": {"bi": "x"}}), (1, {"id": 2, "lang": 5}))
    send(executor, (2, {"id": 2, "lang": "y"}))
    assert reasons(executor) == ["Field collision on lang__bi"]
    assert rows(executor, "id", "lang") == [(1, None), (2, 5)]


# --- lookups --------------------------------------------------------------------------------------


@PROFILES
def test_only_rows_with_something_new_are_looked_up(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (5, {"id": 1}), (5, {"id": 2}), (5, {"id": 3}))
    assert executor.lookups == 0
    plan_ = send(
        executor,
        (4, {"id": 1, "late": 1}),
        (6, {"id": 2, "new": 1}),
        (7, {"id": 3}),
        (1, {"id": 4, "l": [1]}),
        (3, {"id": 1}),
    )
    assert executor.lookups == 1
    assert plan_.superseded == {0: 2}
    assert "late" not in executor.live["t"].columns
    assert rows(executor, "id", "_sdc_sequence") == [(1, 5), (2, 6), (3, 7), (4, 1)]
    send(executor, (1, {"id": 1, "l": [2], "m": [1]}))
    assert "t__m" not in executor.live


def test_a_lookup_asks_by_key_columns() -> None:
    executor = Executor(POSTGRES)
    send(executor, (1, {"b": 1, "a": "x"}), keys=["b", "a"])
    arrival = LogBatch(batch([(2, {"b": 2, "a": "y", "c": 1})], keys=["b", "a"]), 1, 1)
    prepared = prepare_load([arrival], profile=POSTGRES, options=TableOptions(), schema="s")
    asked = plan_load(
        prepared,
        executor.state("t"),
        profile=POSTGRES,
        options=TableOptions(),
        mark=OffsetCommit("log", 1, "t", 0, 1),
        now=1,
        log_id="log",
    )
    assert isinstance(asked, SequenceLookup)
    assert asked.relation.key == ("a", "b")
    assert asked.keys == (("y",), (2,))
    assert not asked.private


# --- options --------------------------------------------------------------------------------------


@PROFILES
def test_hard_delete(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(hard_delete=True)
    send(executor, (1, {"id": 1, "l": [1]}), (1, {"id": 2, "l": [2]}), options=options)
    send(
        executor,
        (5, {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z", "extra": 1}),
        (4, {"id": 1, "l": [9]}),
        options=options,
    )
    assert rows(executor, "id") == [(2,)]
    assert rows(executor, "value", table="t__l") == [(2,)]
    assert "extra" not in executor.live["t"].columns
    assert entry(executor).tombstones
    send(executor, (3, {"id": 1}), options=options)
    assert rows(executor, "id") == [(2,)]
    send(executor, (6, {"id": 1}), options=options)
    assert rows(executor, "id") == [(1,), (2,)]


@PROFILES
def test_hard_delete_takes_children_along_that_are_else_kept(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(hard_delete=True, stale_children="keep")
    send(executor, (1, {"id": 1, "l": [1, 2]}), (1, {"id": 2, "l": [2]}), options=options)
    gone = {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}
    send(executor, (2, gone), (2, {"id": 2}), options=options)
    assert rows(executor, "_sdc_source_key_id", "value", table="t__l") == [(2, 2)]


@PROFILES
def test_sequence_tie_last(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(sequence_tie="last")
    send(executor, (1, {"id": 1, "a": "x"}), (1, {"id": 1, "a": "y"}), options=options)
    assert rows(executor, "a") == [("y",)]
    send(executor, (1, {"id": 1, "a": "z", "b": 1}), options=options)
    assert rows(executor, "a", "b") == [("z", 1)]


@PROFILES
def test_nested_as_json(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    record = {"id": 1, "o": {"a": [1, 2.5, None]}, "l": [{"k": "é"}], "e": {}}
    send(executor, (1, record), options=TableOptions(nested="json"))
    assert executor.live["t"].columns["o"] is ColumnType.JSON
    assert rows(executor, "o", "l", "e") == [('{"a":[1,2.5,null]}', '[{"k":"é"}]', "{}")]


@PROFILES
def test_max_nesting(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(
        executor,
        (1, {"id": 1, "o": {"p": {"q": 1}, "l": [1]}}),
        options=TableOptions(max_nesting=1),
    )
    assert rows(executor, "o__p", "o__l") == [('{"q":1}', "[1]")]
    assert executor.live["t"].columns["o__p"] is ColumnType.TEXT


@PROFILES
def test_null_field(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(on_bad_value="null_field")
    send(executor, (1, {"id": 1, "v": 2**63, "a": 1}), (1, {"id": 2, "v": 1}), options=options)
    assert executor.rejected == []
    assert rows(executor, "id", "v", "a") == [(1, None, 1), (2, 1, None)]
    reason = f"integer out of range for {profile.display_name} on 9223372036854775808"
    assert [row["_treadle_meta"] for row in executor.live["t"].rows if row["id"] == 1] == [
        f'[{{"field":"v","reason":"{reason}"}}]'
    ]


@PROFILES
def test_a_field_that_became_null_makes_no_column(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    options = TableOptions(on_bad_value="null_field")
    send(
        executor,
        (1, {"id": 1, "v": 2**63, "w": 1}),
        (1, {"id": 2, "w": 2, "l": [1, {"k": 2**63}]}),
        options=options,
    )
    send(executor, (1, {"id": 3, "w": "x", "o": {"v": -(2**70)}}), options=options)
    assert not {"v", "o__v", "v__bi"} & set(executor.live["t"].columns)
    assert "k" not in executor.live["t__l"].columns
    assert len(executor.live["t__l"].rows) == 2


@PROFILES
@pytest.mark.parametrize(("choice", "text"), [("replace", "a�b"), ("reject", None)])
def test_nul_characters(profile: DestinationProfile, choice: Any, text: str | None) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "v": "a\0b"}), options=TableOptions(nul_characters=choice))
    if text is None:
        assert reasons(executor) == ["NUL character in text"]
    else:
        assert rows(executor, "v") == [(text,)]


@PROFILES
@pytest.mark.parametrize("option", [{"nested": "json"}, {"max_nesting": 0}])
@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("remove", r'{"k":["xy\\u0000","\\"]}'),
        ("replace", r'{"�k":["x�y\\u0000","\\�"]}'),
        ("reject", None),
    ],
)
def test_nul_characters_in_json(
    profile: DestinationProfile, choice: Any, text: str | None, option: dict[str, Any]
) -> None:
    executor = Executor(profile)
    sent = {"id": 1, "o": {"\0k": ["x\0y\\u0000", "\\\0"]}}
    planned = send(executor, (1, sent), options=TableOptions(nul_characters=choice, **option))
    if text is None:
        assert reasons(executor) == ["NUL character in text"]
    else:
        assert rows(executor, "o") == [(text,)]
    assert planned.nul_removed == (3 if choice == "remove" else 0)


@PROFILES
def test_removed_nul_characters_are_counted(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    assert send(executor, (1, {"id": 1, "v": "\0a\0", "l": ["\0"]})).nul_removed == 3


def test_texts_that_are_too_long_are_cut_between_characters_and_counted() -> None:
    executor = Executor(REDSHIFT)
    fits, long = "é" * 32_767 + "a", "é" * 32_768 + "b"
    found = send(executor, (1, {"id": 1, "v": fits, "l": [long]}), (2, {"id": 2, "v": long}))
    assert rows(executor, "id", "v") == [(1, fits), (2, "é" * 32_767)]
    assert {(note.table, note.field): note.total for note in found.rounded} == {
        ("t", "v"): 1,
        ("t__l", "value"): 1,
    }
    assert "1 value of field 'v' rounded or cut to what its column holds" in explain_plan(found)


def test_a_key_and_json_that_are_too_long_are_rejected() -> None:
    executor = Executor(REDSHIFT)
    long = "x" * 65_536
    send(executor, (1, {"id": long}), (2, {"id": "a"}))
    assert reasons(executor) == ["text out of range for Amazon Redshift in key on id"]
    send(
        executor,
        (3, {"id": "b", "o": {"a": long[:-10]}}),
        (4, {"id": "c", "o": {"a": long}}),
        options=TableOptions(nested="json"),
    )
    assert reasons(executor)[1:] == ["text out of range for Amazon Redshift"]
    assert rows(executor, "id") == [("a",), ("b",)]


def test_a_destination_without_a_limit_keeps_any_text() -> None:
    executor = Executor(POSTGRES)
    assert send(executor, (1, {"id": 1, "v": "x" * 100_000})).rounded == ()
    assert rows(executor, "v") == [("x" * 100_000,)]


def test_collisions_may_be_hashed() -> None:
    executor = Executor(POSTGRES)
    options = TableOptions(collisions="hash")
    send(executor, (1, {"id": 1, "e-mail": "a", "email": "b"}), options=options)
    send(executor, (1, {"id": 2, "email": "c"}), options=options)
    (other,) = [name for name in executor.live["t"].columns if name.startswith("email_")]
    assert rows(executor, "id", "email", other) == [(1, "a", "b"), (2, "c", None)]
    assert executor.rejected == []


def test_a_hashed_collision_does_not_split_the_first_field() -> None:
    executor = Executor(POSTGRES)
    send(
        executor, (1, {"id": 1, "e-mail": 1, "email": "b"}), options=TableOptions(collisions="hash")
    )
    assert {name: type_ for name, type_ in executor.live["t"].columns.items() if "em" in name} == {
        "email": ColumnType.BIGINT,
        next(n for n in executor.live["t"].columns if n.startswith("email_")): ColumnType.TEXT,
    }


@PROFILES
def test_contracts_that_freeze(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    frozen = TableOptions(
        contract_tables="freeze", contract_columns="freeze", contract_types="freeze"
    )
    with pytest.raises(
        TableStoppedError, match=r'Table t is not in the contract.*\{"id":1,"a":1\}'
    ):
        send(executor, (1, {"id": 1, "a": 1}), options=frozen)
    send(executor, (1, {"id": 1, "a": 1}))
    send(executor, (2, {"id": 1, "a": 2}), options=frozen)
    for data, message in (
        ({"b": 1}, "Column b is not in the contract"),
        ({"a": "x"}, "Type text of column a is not in the contract"),
        ({"l": [1]}, "Table t__l is not in the contract"),
    ):
        with pytest.raises(TableStoppedError, match=message):
            send(executor, (3, {"id": 1, **data}), options=frozen)
    send(executor, (1, {"id": 1, "b": 1}), options=frozen)  # a discarded record adds nothing


@PROFILES
def test_contracts_that_discard(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": 1}))
    rows_ = TableOptions(contract_columns="discard_row", contract_types="discard_row",
                    contract_tables="discard_row")  # fmt: skip
    send(executor, (9, {"id": 1, "b": 1}), (5, {"id": 1, "a": 5}), (2, {"id": 2, "l": [1]}),
         options=rows_)  # fmt: skip
    assert reasons(executor) == [
        "Column b is not in the contract",
        "Table t__l is not in the contract",
    ]
    assert rows(executor, "id", "a") == [(1, 5)]
    values = TableOptions(contract_columns="discard_value", contract_types="discard_value")
    executor.rejected.clear()
    plan_ = send(executor, (6, {"id": 1, "a": "x", "b": 1}), (6, {"id": 2, "b": 1}), options=values)
    assert sorted(reasons(executor)) == [
        "Column b is not in the contract",
        "Type text of column a is not in the contract",
    ]
    assert sorted((note.field, note.total) for note in plan_.left_out) == [("a", 1), ("b", 2)]
    assert rows(executor, "id", "a") == [(1, None), (2, None)]


@PROFILES
def test_a_contract_that_discards_new_tables_as_values(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    values = TableOptions(contract_tables="discard_value")
    send(executor, (1, {"id": 1}), options=values)
    assert (executor.live, reasons(executor)) == ({}, ["Table t is not in the contract"])
    executor.rejected.clear()
    send(executor, (1, {"id": 1, "k": [{"n": 1}]}))
    sent = (
        (2, {"id": 1, "o": [{"m": [1], "b": 1}], "k": [{"n": 2, "o": ["x"]}], "c": 3}),
        (2, {"id": 2, "o": [{"m": [2]}]}),
    )
    plan_ = send(executor, *sent, options=values)
    assert sorted(reasons(executor)) == [
        "Table t__k__o is not in the contract",
        "Table t__o is not in the contract",
    ]
    assert [(note.field, note.total) for note in plan_.left_out] == [("o", 1), ("o", 2)]
    assert sorted(executor.live) == ["t", "t__k"]
    assert rows(executor, "id", "c") == [(1, 3), (2, None)]
    assert rows(executor, "n", table="t__k") == [(2,)]


@PROFILES
def test_a_field_discarded_in_two_tables_is_told_for_each(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    values = TableOptions(contract_columns="discard_value")
    send(executor, (1, {"id": 1, "k": [{"n": 1}]}))
    send(executor, (2, {"id": 1, "x": 2, "k": [{"n": 3, "x": 4}, {"x": 5}]}), options=values)
    assert [row[:2] for row in executor.rejected] == [
        ("t", "Column x is not in the contract"),
        ("t__k", "Column x is not in the contract"),
    ]
    assert rows(executor, "n", table="t__k") == [(3,), (None,)]


@PROFILES
def test_append_to_a_table_born_to_be_upserted(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "l": [1]}))
    send(executor, (2, {"id": 1, "l": [2]}), options=TableOptions(loading_behavior="append"))
    assert len(executor.live["t"].rows) == len(executor.live["t__l"].rows) == 2
    assert executor.live["t"].key == executor.live["t__l"].key == ()


# --- reports --------------------------------------------------------------------------------------


@PROFILES
def test_batched_at_grows(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    times = [
        executor.run([batch([(n, {"id": n})])], now=now).batched_at
        for n, now in enumerate([50, 50, 10, 60])
    ]
    assert times == [50, 51, 52, 60]


@PROFILES
def test_extraction_times_and_bookmarks(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    schema = {
        "properties": {"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}}
    }
    plan_ = send(
        executor,
        (1, {"id": 1, "at": "2024-01-02T00:00:00Z"}),
        (2, {"id": 2, "at": "2024-01-01T00:00:00Z", "_sdc_extracted_at": "mine", "l": [1]}),
        (3, {"id": 3}),
        schema=schema,
        bookmarks=["at", "id", "none"],
        extracted=["2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z", None],
    )  # fmt: skip
    assert plan_.bookmarks == (
        ("at", '"2024-01-01T00:00:00Z"', '"2024-01-02T00:00:00Z"'),
        ("id", "1", "3"),
    )
    assert plan_.extracted_max == 1_711_929_600_000_000
    assert {str(n) for n in executor.live["t"].columns if "extracted" in n} >= {
        "_sdc_extracted_at__ti"
    }
    assert not any("extracted" in name for name in executor.live["t__l"].columns)


def transit(*records: dict[str, Any]) -> MessageBatch:
    fields = batch([(n, {}) for n, _ in enumerate(records)])
    data = encoding.join_records([encoding.encode_record(record) for record in records])
    return structs.replace(fields, form="transit", data=data)


@PROFILES
def test_transit_values_have_their_types(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    record = {
        "id": 1,
        "at": datetime(2020, 1, 13, 21, 25, 3, 123000, tzinfo=UTC),
        "d": encoding.ExactDecimal("10.50"),
        "f": 2.0,
        "n": math.inf,
        "s": "2020-01-13T21:25:03Z",
        "l": [encoding.ExactDecimal("1.5"), 2],
    }
    executor.run([transit(record)])
    held = executor.live["t"]
    assert {name: held.columns[name] for name in record if name != "l"} == {
        "id": ColumnType.BIGINT,
        "at": ColumnType.TIMESTAMP,
        "d": ColumnType.DECIMAL,
        "f": ColumnType.DOUBLE,
        "n": ColumnType.DOUBLE,
        "s": ColumnType.TEXT,
    }
    assert rows(executor, "at", "d", "n") == [(1_578_950_703_123_000, Decimal("10.50"), math.inf)]
    value = "value__bi" if profile is POSTGRES else "value"
    assert rows(executor, value, "value__de", table="t__l") == [
        (2, None),
        (None, Decimal("1.5")),
    ]


@PROFILES
def test_transit_values_out_of_range(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    far = encoding.DistantInstant(profile.timestamp_max_us + 1, "9999999999999999")
    executor.run(
        [
            transit(
                {"id": 1, "v": encoding.WideInteger(2**63)},
                {"id": 2, "v": far},
                {"id": 3, "v": encoding.DistantInstant(profile.timestamp_max_us, "8")},
            )
        ]
    )
    name = profile.display_name
    assert reasons(executor) == [
        f"integer out of range for {name} on 9223372036854775808",
        f"timestamp out of range for {name} on 9999999999999999",
    ]
    assert rows(executor, "id", "v") == [(3, profile.timestamp_max_us)]


@PROFILES
def test_nan_is_no_key(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    executor.run([transit({"id": math.nan}, {"id": 1.0})])
    assert reasons(executor) == [f"decimal out of range for {profile.display_name} on NaN"]


@PROFILES
def test_special_numbers_in_a_json_column(profile: DestinationProfile) -> None:
    value = {"a": [math.nan, math.inf, 1.5], "b": {"c": -math.inf}, "d": None}
    for choice, wanted in (
        ("null", '{"a":[null,null,1.5],"b":{"c":null},"d":null}'),
        ("text", '{"a":["NaN","Infinity",1.5],"b":{"c":"-Infinity"},"d":null}'),
    ):
        executor = Executor(profile)
        options = TableOptions(nested="json", json_special_numbers=choice)  # type: ignore[arg-type]
        executor.run([transit({"id": 1, "o": value})], options=options)
        assert rows(executor, "o") == [(wanted,)]


@PROFILES
def test_fields_left_out_and_rounded_are_counted_by_entry(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    long = "c" * 60
    schema = {
        "properties": {
            "d": {"type": "number", "multipleOf": 1e-10},
            "t": {"type": "string", "format": "date-time"},
            "n": {"type": "number"},
        }
    }
    first = [
        (1, {"id": 1, "d": 1e-10, "t": "2024-01-01T00:00:00.0000001Z", long: 1}),
        (2, {"id": 2, "d": 0.5, "t": "2024-01-01T00:00:00.1234560Z", "n": 2**53 + 1}),
        (3, {"id": 3, "d": 1e-10, "v__st": "rejected", long: 1}),
    ]
    second = [(4, {"id": 4, "d": 0.1234567891, "n": 2**53, "x": [{long: 1}, {long: 2}]})]
    found = executor.run([batch(first, schema=schema), batch(second, schema=schema)])
    rounded = {(note.table, note.field): dict(note.counts) for note in found.rounded}
    left_out = {(note.table, note.field): dict(note.counts) for note in found.left_out}
    finer = {("t", "d"): {0: 1, 1: 1}} if profile is DUCKDB else {}
    assert rounded == {**finer, ("t", "t"): {0: 1}, ("t", "n"): {0: 1}}
    too_long = {("t", long): {0: 1}, ("t__x", long): {1: 1}} if profile is POSTGRES else {}
    assert left_out == too_long
    assert all(note.reason.endswith("is too long for PostgreSQL") for note in found.left_out)


def test_decimals_are_kept_exactly_as_text() -> None:
    executor = Executor(DUCKDB)
    schema = {"properties": {"d": {"type": "number", "multipleOf": 1e-10}}}
    exact = TableOptions(decimals="exact")
    found = send(
        executor,
        (1, {"id": 1, "d": 1e-10}),
        (2, {"id": 2, "d": 7}),
        (3, {"id": 3, "d": 0.1230000000}),
        schema=schema,
        options=exact,
    )
    assert rows(executor, "id", "d", "d__st") == [
        (1, None, "0.0000000001"),
        (2, Decimal(7), None),
        (3, Decimal("0.123"), None),
    ]
    assert found.rounded == ()
    # A key cannot be in a column of its own.
    key = {"properties": {"k": {"type": "number", "multipleOf": 1e-10}}}
    found = send(executor, (1, {"k": 1e-10}), table="u", keys=["k"], schema=key, options=exact)
    assert [(note.field, note.total) for note in found.rounded] == [("k", 1)]


@PROFILES
def test_an_explained_plan_names_what_happens(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    send(executor, (1, {"id": 1, "a": 1, "l": [1]}))
    long = "c" * 60
    plan_ = send(
        executor,
        (2, {"id": 1, "a": "x\0", "l": [2], "b": 1, long: 1}),
        (3, {"id": 2, "a": 2**63}),
        (1, {"id": 1}),
    )
    text = explain_plan(plan_)
    assert "Table s.t: 3 records received, 1 rejected, 1 superseded within the load." in text
    assert "Table t: new column a__st text." in text
    assert "1 row upserted into table t." in text
    assert "Older rows of the same keys go from t__l." in text
    assert "entry 0, record 1: " in text
    assert "1 NUL character removed from texts." in text
    if profile is POSTGRES:
        assert "Table t: column a becomes a__bi, its type splits." in text
        assert f"Field '{long}' is left out of 1 record: Column name {long} is too long" in text


def test_an_empty_load_changes_nothing() -> None:
    prepared = prepare_load(
        [LogBatch(batch([]), 0, 0)], profile=POSTGRES, options=TableOptions(), schema="s"
    )
    made = plan_load(
        prepared, TableState(3, None, {}), profile=POSTGRES, options=TableOptions(),
        mark=OffsetCommit("log", 1, "t", 0, 1), now=1, log_id="log",
    )  # fmt: skip
    assert isinstance(made, LoadPlan)
    assert (made.changes, made.writes, made.table_after, made.revision) == ((), (), None, 3)
    assert "Nothing is written to the table." in explain_plan(made)
