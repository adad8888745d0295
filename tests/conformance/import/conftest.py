"""The fixtures of import-api.md 18: one server for all cases of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.ingest import ImportServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportServer]:
    folder: Path = tmp_path_factory.mktemp("import")
    server = ImportServer(folder)
    with server.running():
        yield server
    server.store.close()
