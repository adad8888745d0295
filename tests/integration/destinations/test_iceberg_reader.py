"""A reader that shares no code with the writer: DuckDB's own Iceberg extension reads the tables.

The extension is on PyPI for DuckDB 1.5.5 alone, so it runs in an environment of its own, which
`ICEBERG_READER` may name; otherwise one is made, of wheels of PyPI.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.destinations.conformance.builders import (
    ITEMS,
    ORDERS,
    TableLoads,
    items,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import Session
from treadle.destinations.registry import make_destination
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, CreateRelation, Relation

pytestmark = [pytest.mark.release, pytest.mark.slow]

VERSION = "1.5.5"
WHEELS = [
    f"duckdb=={VERSION}",
    f"duckdb-extension-iceberg=={VERSION}",
    f"duckdb-extension-avro=={VERSION}",
]

PROGRAM = """
import duckdb, json, pathlib, sys
connection = duckdb.connect(config={"allow_unsigned_extensions": "false"})
packages = pathlib.Path(duckdb.__file__).parents[1]
for name in ("avro", "iceberg"):
    [found] = packages.glob(f"**/{name}.duckdb_extension")
    connection.execute(f"LOAD '{found}'")
connection.execute("SET TimeZone = 'UTC'")
rows = connection.execute(sys.argv[1]).fetchall()
print(json.dumps(rows, default=str))
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has DuckDB 1.5.5 with its extension."""
    if "ICEBERG_READER" in os.environ:
        return Path(os.environ["ICEBERG_READER"]) / "bin" / "python"
    place = tmp_path_factory.mktemp("reader")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    made = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *WHEELS],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"DuckDB {VERSION} with its extensions cannot be had: {made.stderr[-300:]}")
    return python


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"iceberg+sql://{tmp_path / 'lake.db'}?compact-files=4"


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    with make_destination(url).open() as opened:
        opened.prepare("web")
        yield opened


def ask(reader: Path, url: str, statement: str, *names: str) -> list[list[Any]]:
    """Rows of a statement in which {0}, {1}, ... are tables."""
    from tests.servers.iceberg_hand import open_catalog

    catalog = open_catalog(url)
    scans = []
    for name in names:
        location = catalog.load_table(("web", name)).metadata_location.removeprefix("file://")
        scans.append(f"iceberg_scan('{location}')")
    catalog.close()
    done = subprocess.run(
        [str(reader), "-c", PROGRAM, statement.format(*scans)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_another_reader_sees_the_same_rows(reader: Path, url: str, session: Session) -> None:
    loads = TableLoads(session)
    loads.load(
        table(ORDERS, ITEMS),
        upsert(
            [(number, 1, "x") for number in range(5000)],
            children=[items([(number, 0, 1, "a") for number in range(5000)])],
        ),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    late = Column("späte", "späte", ColumnType.TIMESTAMP)
    grown = Relation((), "orders", (*ORDERS.columns, late), ORDERS.key, "orders")
    changes = [AddColumn("orders", late)]
    for sequence in range(2, 12):  # some compactions among them
        write = upsert(
            [(number, sequence, f"y{sequence}", sequence) for number in range(0, 5000, sequence)],
            ("id", "_sdc_sequence", "a", "späte"),
            grown,
            children=[items([(n, 0, sequence, "b") for n in range(0, 5000, sequence)])],
            stale=[ITEMS],
        )
        loads.load(table(grown, ITEMS), write, changes=changes)
        changes = []
    gone = rows(ORDERS, ("id", "_sdc_sequence"), [(7, 99)])
    loads.load(table(grown, ITEMS, tombstones=True), upsert([], of=grown, deletes=gone))
    statement = "SELECT id, a, _sdc_sequence, epoch_us({table}.späte) FROM {table} ORDER BY id"
    ours = loads.read(statement.format(table="web.orders").replace("web.orders.späte", "späte"))
    theirs = ask(reader, url, "SELECT id, a, _sdc_sequence, epoch_us(späte) FROM {0} ORDER BY id",
                 "orders")  # fmt: skip
    assert theirs == [list(row) for row in ours]
    assert len(theirs) == 4999
    children = ask(
        reader,
        url,
        "SELECT count(*), count(DISTINCT _sdc_source_key_id), sum(_sdc_sequence) FROM {0}",
        "orders__items",
    )
    assert children == [list(loads.read(
        "SELECT count(*), count(DISTINCT _sdc_source_key_id), sum(_sdc_sequence)::BIGINT"
        " FROM web.orders__items"
    )[0])]  # fmt: skip
    torn = ask(
        reader,
        url,
        "SELECT count(*) FROM {0} o LEFT JOIN {1} i ON i._sdc_source_key_id = o.id"
        " AND i._sdc_sequence = o._sdc_sequence WHERE i._sdc_source_key_id IS NULL",
        "orders",
        "orders__items",
    )
    assert torn == [[0]]
