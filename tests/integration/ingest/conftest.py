"""An import server alone, and one with a loader behind it, in fresh folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.ingest import ImportServer
from tests.servers.loading import Warehouse


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
