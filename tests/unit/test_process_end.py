"""The end of a process: quick, and silent where DuckDB is loaded."""

import subprocess
import sys

import pytest

ENDS = """
import gc, sys
{load}
gc.freeze()
from treadle.process_end import skip_last_collection
skip_last_collection()
print(gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("load", "frozen"),
    [
        ("", "True"),
        ("import duckdb; found = duckdb.connect().execute('select 1').fetchall()", "False"),
    ],
)
def test_the_end_of_a_process_says_nothing(load: str, frozen: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS.format(load=load)], capture_output=True, text=True, check=True
    )
    assert (ended.stdout.strip(), ended.stderr) == (frozen, "")
