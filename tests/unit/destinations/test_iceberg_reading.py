"""The rows of tables with files of another program, and with files that cannot be read."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException, ServerError
from pyiceberg.io.pyarrow import PyArrowFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.name_mapping import parse_mapping_from_json
from pyiceberg.types import LongType, NestedField, StringType

from treadle.destinations.iceberg.catalogue import IcebergCatalogue, open_catalogue
from treadle.destinations.iceberg.compaction import CompactionRule, compact_table
from treadle.destinations.iceberg.errors import translate
from treadle.destinations.iceberg.file_io import SyncedFileIO
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.live_rows import (
    FIELD_ID,
    LiveRows,
    find_fields,
    read_all,
)
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.row_delta import RowDelta
from treadle.destinations.iceberg_form import SQL_SCHEME, IcebergUrl
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
)
from treadle.errors import TableStoppedError

MAPPING = "schema.name-mapping.default"
COLUMNS = Schema(
    NestedField(1, "id", LongType(), required=False),
    NestedField(2, "a", StringType(), required=False),
)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[IcebergCatalogue]:
    made = open_catalogue(IcebergUrl(SQL_SCHEME), warehouse=f"file://{tmp_path}/lake")
    made.make_schema("web")
    yield made
    made.close()


@pytest.fixture
def table(catalogue: IcebergCatalogue, tmp_path: Path) -> Table:
    """A table with a file that another program wrote, in which no column has an id."""
    made = catalogue.make("web", "orders", COLUMNS, {})
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": ["x", "y"], "other": [0, 0], "id": [1, 2]}).drop("other"), path)
    made.add_files([f"file://{path}"])
    return made


def read(table: Table) -> list[dict[str, Any]]:
    names = [field.name for field in table.schema().fields]
    return read_all(table).read_rows(names).read_all().to_pylist()


def test_a_file_without_ids_is_read_by_names(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column("a", "b")
    assert read(table) == [{"id": 1, "b": "x"}, {"id": 2, "b": "y"}]
    live = RelationDraft(table, None).find_keys(["id"], pa.table({"id": [2]}))
    with contextlib.closing(KeySearch()) as engine:
        found = engine.find_rows(live, ["id"], pa.table({"id": [2]}), ["b"])
    assert found.to_pylist() == [{"row": 0, "file": 0, "pos": 1, "x0": "y"}]


def test_a_compaction_keeps_what_is_in_a_file_without_ids(
    catalogue: IcebergCatalogue, table: Table
) -> None:
    table.append(pa.table({"id": [3], "a": ["z"]}))
    assert compact_table(table, CompactionRule(files=1))
    now = catalogue.load("web", "orders")
    assert now is not None
    rows = now.scan().to_arrow().sort_by("id").to_pylist()
    assert rows == [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"id": 3, "a": "z"}]
    assert len(list(now.scan().plan_files())) == 1


def test_a_file_without_ids_and_names_stops_the_table(table: Table) -> None:
    table.append(pa.table({"id": [3], "a": ["z"]}))
    with table.transaction() as transaction:
        transaction.remove_properties(MAPPING)
    with pytest.raises(TableStoppedError, match=MAPPING):
        read(table)
    with pytest.raises(TableStoppedError, match=r"foreign\.parquet"):
        compact_table(table, CompactionRule(files=1))


def test_names_count_only_where_no_column_has_an_id() -> None:
    mapping = parse_mapping_from_json(
        '[{"field-id": 1, "names": ["id", "ID"]}, {"field-id": 2, "names": ["a"]},'
        ' {"names": ["n"]}]'
    )
    text = pa.string()
    plain = pa.schema([("ID", text), ("n", text), ("unknown", text)])
    assert find_fields(plain, mapping, "x") == {1: "ID"}
    given: Any = pa.schema([pa.field("a", text, metadata={FIELD_ID: b"7"}), pa.field("id", text)])
    assert find_fields(given, mapping, "x") == {7: "a"}
    assert find_fields(pa.schema([]), None, "x") == {}


@pytest.mark.parametrize(
    ("error", "stays"), [(CommitFailedException("x"), False), (ServerError("x"), True)]
)
def test_a_compaction_that_lost_leaves_no_files(
    catalogue: IcebergCatalogue,
    table: Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    stays: bool,
) -> None:
    table.append(pa.table({"id": [3], "a": ["z"]}))
    before = set(tmp_path.rglob("*.parquet"))

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(catalogue.catalogue, "commit_table", fail)
    with pytest.raises(type(error)):
        compact_table(table, CompactionRule(files=1))
    after = set(tmp_path.rglob("*.parquet"))
    assert before <= after
    assert (after != before) is stays
    monkeypatch.setattr(RowDelta, "stage", fail)
    with pytest.raises(type(error)):
        compact_table(table, CompactionRule(files=1))
    assert set(tmp_path.rglob("*.parquet")) == after


# --- files that cannot be read --------------------------------------------------------------------


class FailingIO(SyncedFileIO):
    """A store that does not give its files."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def new_input(self, location: str) -> PyArrowFile:
        raise self._error


def search(live: LiveRows) -> pa.Table:
    with contextlib.closing(KeySearch()) as engine:
        return engine.find_rows(live, ["id"], pa.table({"id": [1]}))


def read_whole(live: LiveRows) -> pa.Table:
    return live.read_rows(["id"]).read_all()


@pytest.mark.parametrize("way", [search, read_whole])
@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (OSError, "AWS Error NETWORK_CONNECTION: timeout", DestinationUnavailableError),
        (OSError, "AWS Error ACCESS_DENIED", AccessDeniedError),
        (PermissionError, "not in an S3 store", AccessDeniedError),
        (FileNotFoundError, "no such object", PlanOutdatedError),
        (TableStoppedError, "another format", TableStoppedError),
    ],
)
def test_an_error_of_a_store_means_the_same_inside_of_a_join(
    table: Table,
    way: Callable[[LiveRows], pa.Table],
    kind: type[Exception],
    text: str,
    expected: type[Exception],
) -> None:
    live = read_all(table)
    live.io = FailingIO(kind(text))
    with pytest.raises(kind, match=text) as raised:
        way(live)
    assert type(translate(raised.value)) is expected


@pytest.mark.parametrize("way", [search, read_whole])
def test_a_damaged_file_is_no_refused_record(
    table: Table, tmp_path: Path, way: Callable[[LiveRows], pa.Table]
) -> None:
    (tmp_path / "foreign.parquet").write_bytes(b"no file of columns")
    with pytest.raises(TableStoppedError, match=r"foreign\.parquet of the table cannot be read"):
        way(read_all(table))


def test_an_error_of_the_engine_stays_one(table: Table) -> None:
    live = read_all(table)
    with (
        contextlib.closing(KeySearch()) as engine,
        pytest.raises(TableStoppedError, match="cannot be compared"),
    ):
        engine.run("SELECT no_such_column FROM stored", stored=live.read_places(["id"]))
    assert live.failure is None
