"""What the MERGE of Snowflake's dialect means, by an engine that is not the emulator's: Databend.

The text is the product's own, with the names of its tables and types. Databend knows MERGE with
conditions as Snowflake does, and runs in a process; it is in the environment of the emulator.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.servers.snowflake import PYTHON

from treadle.destinations.conformance.builders import ORDERS
from treadle.destinations.snowflake.dialect import SnowflakeDialect
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, merge
from treadle.destinations.sql.writer import _NEWER
from treadle.tables.model import RelationRows

pytestmark = pytest.mark.release

RUN = """
import json, sys
from databend import SessionContext
session = SessionContext()
for statement in json.load(sys.stdin):
    found = session.sql(statement).collect()
found = session.sql("SELECT id, a, _sdc_sequence FROM web.orders ORDER BY id").to_arrow_table()
print("ROWS", json.dumps([list(map(str, row.values())) for row in found.to_pylist()]))
"""

HELD = (
    "INSERT INTO web.orders (_sdc_batched_at, _sdc_sequence, id, a)"
    " VALUES ('2024-01-01', 5, 1, 'one'), ('2024-01-01', NULL, 2, 'two')"
)
"""All with a first column, as treadle writes them: Databend takes a row without one for missing."""


def make_merge(tie: str) -> str:
    """The statement that the loader would send for rows 1, 2 and 3 of the stage."""
    columns: dict[str, Any] = {
        "_sdc_batched_at": [9, 9, 9],
        "id": [1, 2, 3],
        "_sdc_sequence": [5, 6, 7],
        "a": ["x", "y", "z"],
    }
    stage = StagedRows(
        Quoted("web.staged"),
        {
            "id": Quoted("c0"),
            "_sdc_sequence": Quoted("c1"),
            "a": Quoted("c2"),
            "_sdc_batched_at": Quoted("c3"),
        },
        entries=True,
    )
    rows = RelationRows(ORDERS, columns, (0, 0, 0))
    upsert = StagedUpsert(Quoted("web.orders"), rows, stage, wins=_NEWER[tie])
    # Databend folds names that are not quoted to lower case, and Snowflake to upper case.
    return str(merge(SnowflakeDialect(), upsert)).replace('"', "").lower()


def run_in_databend(folder: Path, *statements: str) -> list[list[str]]:
    """The rows of the table after some statements; the engine keeps its files in a folder."""
    done = subprocess.run(
        [str(PYTHON), "-I", "-c", RUN],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("ROWS ")]
    assert found, done.stdout + done.stderr
    rows: list[list[str]] = json.loads(found[-1].removeprefix("ROWS "))
    return rows


@pytest.mark.parametrize(
    ("tie", "first"),
    [("first", ["1", "one", "5"]), ("last", ["1", "x", "5"])],
)
def test_the_greater_sequence_wins(tmp_path: Path, tie: str, first: list[str]) -> None:
    if not PYTHON.exists():
        pytest.skip("Databend is not installed; make snowflake-needs installs it")
    types = {
        "TIMESTAMP_TZ(9)": "TIMESTAMP",
        "NUMBER(38,0)": "BIGINT",
        "VARCHAR(16777216)": "VARCHAR",
    }
    columns = str(SnowflakeDialect().define(ORDERS.columns)).replace('"', "").lower()
    for ours, theirs in types.items():
        columns = columns.replace(ours.lower(), f"{theirs} NULL")
    columns = columns.replace("NULL not null", "NOT NULL")
    found = run_in_databend(
        tmp_path,
        "CREATE DATABASE web",
        f"CREATE TABLE web.orders ({columns})",
        "CREATE TABLE web.staged (c0 BIGINT, c1 BIGINT, c2 VARCHAR, c3 TIMESTAMP)",
        HELD,
        "INSERT INTO web.staged VALUES (1, 5, 'x', '2024-01-02'), (2, 6, 'y', '2024-01-02'),"
        " (3, 7, 'z', '2024-01-02')",
        make_merge(tie),
        make_merge("first"),  # done twice, it changes nothing
    )
    assert found == [first, ["2", "y", "6"], ["3", "z", "7"]]
