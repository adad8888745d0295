"""Import servers, with and without a loader behind, and a look at which way requests go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.ingest import ImportServer
from tests.servers.loading import Warehouse

from treadle.ingest.fastpath import body_buffer
from treadle.ingest.fastpath.handler import FastPathHandler, RequestHead, ResponseSink


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
    monkeypatch.setattr(body_buffer, "ARRIVAL_SECONDS", 3600)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request of a known head went the short way."""
    found: list[bool] = []
    take = FastPathHandler.take

    def watched(
        self: FastPathHandler, head: RequestHead, body: bytes, replier: ResponseSink
    ) -> bool:
        found.append(take(self, head, body, replier))
        return found[-1]

    monkeypatch.setattr(FastPathHandler, "take", watched)
    return found
