import json
from dataclasses import replace

import msgspec
import pytest

from treadle.destinations.protocol import LoadResult
from treadle.loader.chunk import EntryChunk, build_chunk
from treadle.loader.load_report import (
    build_failure_report,
    complete_report,
    decode_planned_report,
    measure_received,
    plan_report,
)
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    KeyConflict,
    LoadPlan,
    OffsetCommit,
    Rejection,
    Relation,
    Table,
)
from treadle.tables.rejection_reason import RejectionCode

KEY = (7, "orders")


def entry(position: int, records: int = 10) -> LogEntry:
    return LogEntry(position, *KEY, received_at=0, records=records, payload=b"")


def plan(**changes: object) -> LoadPlan:
    base = LoadPlan(
        schema="s",
        table_name="orders",
        offset=OffsetCommit("log", *KEY, -1, 9),
        revision=0,
        changes=(),
        writes=(),
        rejections=(),
        rejected_at=5,
        batched_at=5,
        table_after=None,
    )
    for name, value in changes.items():
        setattr(base, name, value)
    return base


CHUNK = EntryChunk(
    KEY, -1, (entry(3), entry(5)), (DamagedEntry(9, *KEY, 0, 2, "its checksum differs"),)
)


def test_a_chunk_spans_sound_and_damaged_entries() -> None:
    assert (CHUNK.first, CHUNK.last, CHUNK.records) == (3, 9, 22)
    assert build_chunk(KEY, -1, []) is None
    assert build_chunk(KEY, -1, [*CHUNK.entries, *CHUNK.damaged]) == CHUNK


def test_every_record_is_loaded_superseded_or_rejected() -> None:
    planned = plan(
        rejections=(
            Rejection(
                "{}",
                "Field collision on id",
                "orders",
                entry=1,
                index=4,
                code=RejectionCode.FIELD_COLLISION,
                field="id",
            ),
            Rejection("{}", "Column name x is too long for DuckDB", "orders", entry=-1, index=-1),
        ),
        superseded={0: 2},
        ignored={1: 1},
    )
    noted = plan_report(CHUNK, planned, "load", started_at=1)
    result = LoadResult(rows={"orders": 15}, superseded={0: 3})
    load, outcomes = complete_report(noted, result, 8, lambda: [3, 5])

    assert [(o.position, o.superseded, o.rejected) for o in outcomes] == [
        (3, 5, ()),
        (5, 1, ((4, "Field collision on id", RejectionCode.FIELD_COLLISION, "id"),)),
        (
            9,
            0,
            (
                (0, "its checksum differs", RejectionCode.DAMAGED_ENTRY, None),
                (1, "its checksum differs", RejectionCode.DAMAGED_ENTRY, None),
            ),
        ),
    ]
    assert (load.rows_received, load.rows_discarded, load.rows_rejected) == (22, 6, 3)
    assert load.rows_loaded == 22 - 6 - 3
    assert (load.first, load.last, load.started_at, load.finished_at) == (3, 9, 1, 8)
    assert load.error is None


@pytest.mark.parametrize(
    ("rejected", "trouble"),
    [
        ([], None),
        ([(0, 0, "no"), (1, 2, "no")], None),
        (
            [(0, n, f"no {n}") for n in range(10)] + [(1, n, "no") for n in range(10)],
            "all 22 records of the last load were rejected; the first, 3.0: no 0",
        ),
    ],
)
def test_a_load_that_rejects_everything_is_trouble(
    rejected: list[tuple[int, int, str]], trouble: str | None
) -> None:
    found = plan(rejections=tuple(Rejection("{}", why, "t", at, n) for at, n, why in rejected))
    assert plan_report(CHUNK, found, "load", 1).details["trouble"] == trouble


def test_a_key_of_another_type_is_trouble_with_ways_out() -> None:
    conflict = KeyConflict("id", ColumnType.BIGINT, ColumnType.TEXT, 3, 1, 7)
    told = plan_report(CHUNK, plan(key_conflicts=(conflict,)), "load", 1).details["trouble"]
    assert "the key id is text in 3 records, 5.7 the first, and bigint in the table" in told
    assert "treadle rejects" in told
    assert "drop the table" in told
    one = plan(key_conflicts=(replace(conflict, records=1),))
    assert "is text in record 5.7, and" in plan_report(CHUNK, one, "load", 1).details["trouble"]


def test_a_planned_report_survives_being_kept_as_text() -> None:
    noted = plan_report(CHUNK, plan(superseded={0: 2}), "load", started_at=1)
    assert decode_planned_report(noted.encode()) == noted


def test_a_report_says_how_long_records_waited() -> None:
    entries = (entry(3, 1), entry(5, 98), entry(6, 1))
    times = [replace(one, received_at=at) for one, at in zip(entries, (50, 70, 20), strict=True)]
    assert measure_received(times) == (20, 70)
    assert measure_received([]) is None
    assert measure_received([replace(times[0], records=0)]) is None
    noted = plan_report(CHUNK, plan(), "load", started_at=1, received=(20, 70))
    load, _ = complete_report(decode_planned_report(noted.encode()), LoadResult({}, {}), 100, list)
    assert (load.waited_max_us, load.waited_p50_us) == (80, 30)
    # The clock of who accepted them is ahead.
    early, _ = complete_report(noted, LoadResult({}, {}), 60, list)
    assert (early.waited_max_us, early.waited_p50_us) == (40, 0)


def test_a_report_names_the_objects_that_a_load_wrote_and_the_key() -> None:
    columns = [Column(name, name, ColumnType.BIGINT) for name in ("id", "_sdc_sequence")]
    repeated = [
        Column(name, name, ColumnType.BIGINT)
        for name in ("_sdc_source_key_id", "_sdc_level_0_id", "price")
    ]
    table = Table(
        schema="s",
        name="orders",
        keys=(columns[0],),
        keyless=False,
        append=True,
        version=0,
        relations=(
            Relation((), "orders", tuple(columns), (), "orders"),
            Relation(("items",), "orders__items", tuple(repeated), (), "items"),
        ),
    )
    noted = plan_report(CHUNK, plan(table_after=table), "load", started_at=1)
    result = LoadResult({"orders": 1}, {}, {"orders": ["bucket/s/orders/0_1.parquet"]})
    details = complete_report(noted, result, 8, list)[0].details
    assert details["objects"] == result.objects
    assert details["primary_keys"] == {
        "orders": ["id"],
        "orders__items": ["_sdc_source_key_id", "_sdc_level_0_id"],
    }
    assert "objects" not in complete_report(noted, LoadResult({}, {}), 8, list)[0].details
    # The key is another one than that which the subtable repeats; and all rows are in a stage.
    rekeyed = replace(table, keys=(*table.keys, columns[1]))
    for after in (rekeyed, replace(table, relations=())):
        found = plan_report(CHUNK, plan(table_after=after), "load", started_at=1).details
        assert found["primary_keys"] == {
            relation.name: ["_sdc_source_key_id", "_sdc_level_0_id"]
            if relation.path
            else ["id", "_sdc_sequence"]
            for relation in after.relations
        }


def test_a_report_of_an_earlier_release_is_read() -> None:
    noted = plan_report(CHUNK, plan(), "load", started_at=1)
    earlier = msgspec.json.encode(msgspec.json.decode(noted.encode())[:-1]).decode()
    assert decode_planned_report(earlier) == noted
    load, _ = complete_report(noted, LoadResult({}, {}), 8, list)
    assert (load.waited_max_us, load.waited_p50_us) == (None, None)


def test_a_report_of_an_earlier_release_has_rejections_without_a_cause() -> None:
    noted = plan_report(CHUNK, plan(), "load", started_at=1)
    written = json.loads(noted.encode())
    written[8] = {"9": [[0, "its checksum differs"]]}
    kept = decode_planned_report(json.dumps(written))
    assert kept.rejected == {9: [(0, "its checksum differs", RejectionCode.UNKNOWN, None)]}


def test_positions_are_asked_for_only_when_rows_were_superseded() -> None:
    def never() -> list[int]:
        raise AssertionError("nothing was superseded")

    noted = plan_report(CHUNK, plan(superseded={0: 2}), "load", started_at=1)
    _, outcomes = complete_report(noted, LoadResult({}, {}), 8, never)
    assert [outcome.position for outcome in outcomes] == [3, 9]


def test_a_failed_try_loads_nothing_and_says_why() -> None:
    load = build_failure_report(CHUNK, "permission denied", "load", 1, 2)
    assert (load.error, load.rows_received, load.rows_loaded) == ("permission denied", 22, 0)
