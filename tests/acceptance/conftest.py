"""A treadle server per test, loading into each kind of destination."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.treadle import Client, TreadleServer


@pytest.fixture(params=["duckdb", "postgres"])
def destination_url(request: pytest.FixtureRequest) -> str | None:
    """The destination to serve with: None for the embedded default."""
    if request.param == "duckdb":
        return None
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def server(tmp_path: Path, destination_url: str | None) -> Iterator[TreadleServer]:
    """A server on an empty data folder."""
    with TreadleServer(tmp_path / "data", destination_url) as running:
        yield running


@pytest.fixture
def client(server: TreadleServer) -> Client:
    """The account that was made at the first start."""
    return Client(server, *server.account())
