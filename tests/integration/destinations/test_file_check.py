"""Who holds a file of a database, and whether it can be opened, seen from outside."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from treadle.destinations.duckdb.destination import DuckDBDestination
from treadle.destinations.file_check import FileHolder, check_file, find_holder
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError
from treadle.errors import OperatorError

READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def reader(file: Path) -> Iterator[int]:
    """Another process has the file open for reading, as a BI tool has; yields its number."""
    holding = subprocess.Popen(
        [sys.executable, "-c", READER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holding:
        assert holding.stdin is not None
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"open\n"
        yield holding.pid
        holding.stdin.close()


def test_a_reader_that_holds_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    with DuckDBDestination(file).open():
        pass
    assert find_holder(file) is None
    check_file(file)
    with reader(file) as pid:
        program = Path(f"/proc/{pid}/exe").readlink().name
        assert find_holder(file) == FileHolder(pid, program)
        with pytest.raises(DestinationUnavailableError, match=rf"is held by \S+ \(PID {pid}\)$"):
            check_file(file)
    check_file(file)


def test_a_file_that_is_missing_needs_a_folder(tmp_path: Path) -> None:
    check_file(tmp_path / "new.duckdb")
    assert not (tmp_path / "new.duckdb").exists()
    with pytest.raises(OperatorError, match="its folder is missing"):
        check_file(tmp_path / "gone" / "new.duckdb")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_rights_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "theirs.duckdb"
    file.touch(0o444)
    with pytest.raises(AccessDeniedError, match="cannot be opened for writing"):
        check_file(file)


def test_who_cannot_be_named_is_described() -> None:
    assert FileHolder(0, "").describe() == "a process of another machine or container"
    assert FileHolder(7, "").describe() == "a process (PID 7)"
