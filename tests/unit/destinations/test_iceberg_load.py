"""The parts of a load into Iceberg, each alone: on a catalogue in memory, without a session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from pyiceberg.exceptions import BadRequestError, ServerError

from treadle.destinations.conformance.builders import ITEMS, ORDERS, TableLoads, table, upsert
from treadle.destinations.iceberg.catalogue import IcebergCatalogue, open_catalogue
from treadle.destinations.iceberg.compaction import CompactionRule
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.load_context import LoadContext
from treadle.destinations.iceberg.load_drafts import LoadDrafts
from treadle.destinations.iceberg.load_rows import LoadRows, find_lost
from treadle.destinations.iceberg.relation_draft import commit_part
from treadle.destinations.iceberg.row_delta import RowDelta
from treadle.destinations.iceberg.schema_owners import OwnerRecords
from treadle.destinations.iceberg.session import IcebergSession
from treadle.destinations.iceberg.table_head import read_head
from treadle.destinations.iceberg.table_load import IcebergLoad, make_record, rank_place
from treadle.destinations.iceberg_form import SQL_SCHEME, IcebergUrl
from treadle.destinations.layout import PRIVATE_SCHEMA, REJECTED, SEQUENCE
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    LoadResult,
    PlanOutdatedError,
)
from treadle.errors import TableStoppedError
from treadle.tables.model import CreateRelation
from treadle.tables.profiles import ICEBERG
from treadle.tables.schema_owner import UNOWNED


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[IcebergCatalogue]:
    made = open_catalogue(IcebergUrl(SQL_SCHEME), warehouse=f"file://{tmp_path}")
    OwnerRecords(made, ICEBERG).prepare_schema("web", UNOWNED)
    yield made
    made.close()


def make_context(catalogue: IcebergCatalogue, *, rehearses: bool = False) -> LoadContext:
    """Return the context of a load that makes a table with two rows."""
    plan = TableLoads(cast("Any", None)).plan(
        table(ORDERS), upsert([(1, 1, "a"), (2, 1, "b")]), changes=[CreateRelation(ORDERS)]
    )
    return LoadContext(
        catalogue, KeySearch(), plan, read_head(catalogue, "web", "orders"), rehearses
    )


def test_a_schema_is_made_with_its_owner(catalogue: IcebergCatalogue) -> None:
    owners = OwnerRecords(catalogue, ICEBERG)
    assert owners.read_owner("web") == UNOWNED
    assert owners.read_owner("other") is None
    assert catalogue.list_tables("web") == [REJECTED]


@pytest.mark.parametrize("rehearses", [False, True])
def test_rows_are_drafted_and_not_committed(catalogue: IcebergCatalogue, rehearses: bool) -> None:
    context = make_context(catalogue, rehearses=rehearses)
    drafts = LoadDrafts(context)
    drafts.draft_changes()
    assert LoadRows(context, drafts).draft_writes() == LoadResult({"orders": 2}, {})
    draft = drafts.by_place["web", "orders"]
    assert draft.is_touched
    assert (draft.table is None) is rehearses
    made = catalogue.load("web", "orders")
    assert (made is None) is rehearses
    assert made is None or made.current_snapshot() is None


def test_a_relation_that_is_not_there_has_no_draft(catalogue: IcebergCatalogue) -> None:
    drafts = LoadDrafts(make_context(catalogue))
    with pytest.raises(PlanOutdatedError):
        drafts.require_draft(ITEMS.name, private=False)
    assert drafts.find_tombstones(ORDERS, private=False) is None
    assert drafts.by_place == {}


def test_the_files_of_a_part_that_lost_against_itself_stay(
    catalogue: IcebergCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(catalogue)
    drafts = LoadDrafts(context)
    drafts.draft_changes()
    LoadRows(context, drafts).draft_writes()
    send = catalogue.catalogue.commit_table

    def send_twice(*given: Any) -> Any:
        send(*given)
        return send(*given)

    monkeypatch.setattr(catalogue.catalogue, "commit_table", send_twice)
    commit_part(drafts.by_place["web", "orders"])
    made = catalogue.load("web", "orders")
    assert made is not None
    assert made.scan().to_arrow()["id"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("step", "error", "expected"),
    [
        ("commit_table", BadRequestError("no such type"), TableStoppedError),
        ("commit_table", ServerError("busy"), DestinationUnavailableError),
        ("stage", OSError("the store is away"), DestinationUnavailableError),
        ("stage", ValueError("no such column"), TableStoppedError),
    ],
)
def test_a_part_that_surely_was_not_committed_leaves_no_files(
    catalogue: IcebergCatalogue,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    expected: type[Exception],
) -> None:
    context = make_context(catalogue)
    drafts = LoadDrafts(context)
    drafts.draft_changes()
    LoadRows(context, drafts).draft_writes()
    draft = drafts.by_place["web", "orders"]
    assert draft.table is not None
    io = draft.table.io
    paths = list(draft.files)
    assert [io.new_input(path).exists() for path in paths] == [True]

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(RowDelta if step == "stage" else catalogue.catalogue, step, fail)
    with pytest.raises(expected):
        commit_part(draft)
    is_unknown = isinstance(error, ServerError)
    assert [io.new_input(path).exists() for path in paths] == [is_unknown]


def test_a_refused_commit_of_the_head_stops_the_table(
    catalogue: IcebergCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(catalogue)
    load = IcebergLoad(context)
    load.change()
    result = load.write()

    def fail(*_: Any) -> Any:
        raise BadRequestError("no such type")

    monkeypatch.setattr(catalogue.catalogue, "commit_table", fail)
    with pytest.raises(TableStoppedError, match="refused a commit: no such type"):
        load.commit(result)
    monkeypatch.undo()
    again = make_context(catalogue)
    load = IcebergLoad(again)
    load.change()
    load.commit(load.write())
    made = catalogue.load("web", "orders")
    assert made is not None
    assert made.scan().to_arrow()["id"].to_pylist() == [1, 2]


def test_a_load_is_done_whatever_its_compaction_ends_with(
    catalogue: IcebergCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise TableStoppedError("a file cannot be read")

    monkeypatch.setattr("treadle.destinations.iceberg.session.compact_table", fail)
    with IcebergSession(catalogue, CompactionRule()) as session:
        loads = TableLoads(session)
        changes = [CreateRelation(ORDERS)]
        result = loads.load(table(ORDERS), upsert([(1, 1, "a")]), changes=changes)
        assert dict(result.rows) == {"orders": 1}


def test_a_record_says_what_the_load_has_done(catalogue: IcebergCatalogue) -> None:
    context = make_context(catalogue)
    record = make_record(context, {"stage": "uuid"}, LoadResult({"orders": 2}, {}))
    assert (record.note.number, record.note.revision) == (1, 1)
    assert record.note.loads == (context.name,)
    assert record.note.leftovers == {"stage": "uuid"}
    assert record.entry == context.plan.table_after
    mark = record.get_mark(context.plan.offset)
    assert mark is not None
    assert mark.offset.result == LoadResult({"orders": 2}, {})


@pytest.mark.parametrize(("tie", "lost"), [("first", {1, 2}), ("last", {2})])
def test_a_row_loses_against_a_greater_sequence(tie: str, lost: set[int]) -> None:
    coming = pa.table({SEQUENCE: [5, 5, 5, 5]})
    found = pa.table({"row": [0, 1, 2], "x0": [4, 5, 6]})
    assert find_lost(found, coming, tie) == lost


def test_deleted_keys_are_committed_first_and_subtables_last() -> None:
    places = [("web", "a"), (PRIVATE_SCHEMA, "stage_1"), (PRIVATE_SCHEMA, "tombstones_1")]
    assert sorted(places, key=rank_place) == places[::-1]
