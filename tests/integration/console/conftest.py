"""A console over a real SQLite store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.console.visitor import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console where tokens are shown once."""
    made = Console(tmp_path)
    yield made
    made.close()
