"""Reading and writing a log in tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.log.sqlite.log import SqliteReader


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def reader(log_path: Path) -> Iterator[SqliteReader]:
    reader = SqliteReader(log_path)
    yield reader
    reader.close()
