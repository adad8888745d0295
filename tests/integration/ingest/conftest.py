"""Import servers, with and without a loader behind, and a look at which way requests go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.ingest import ImportServer
from tests.servers.loading import Warehouse

from treadle.ingest import arrival
from treadle.ingest.express import Express, Replier, Told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ImportServer]:
    server = ImportServer(tmp_path)
    with server.running():
        yield server
    server.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Warehouse]:
    house = Warehouse(tmp_path)
    with house.running():
        yield house
    house.loader.close()
    house.store.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may let pieces of a body wait for a while."""
    monkeypatch.setattr(arrival, "ARRIVAL_SECONDS", 3600)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request of a known head went the short way."""
    found: list[bool] = []
    take = Express.take

    def watched(self: Express, head: Told, body: bytes, replier: Replier) -> bool:
        found.append(take(self, head, body, replier))
        return found[-1]

    monkeypatch.setattr(Express, "take", watched)
    return found
