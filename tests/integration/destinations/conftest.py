"""The same tests over every back-end: `destination` is a fresh, empty one of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.destinations.builders import Loads

from treadle.destinations.protocol import Destination, Session
from treadle.destinations.registry import make_destination


@pytest.fixture(params=["duckdb", "postgres", "system_postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database."""
    if request.param == "duckdb":
        return f"duckdb://{tmp_path / 'data.duckdb'}"
    return str(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


@pytest.fixture
def session(destination: Destination) -> Iterator[Session]:
    with destination.open() as opened:
        opened.prepare("web")
        yield opened


@pytest.fixture
def loads(session: Session) -> Loads:
    """Loads of the table `orders` in the schema `web`, one after the other."""
    return Loads(session)
