"""The Import API over a real socket with a loader into DuckDB beside it."""

import uuid
from pathlib import Path
from typing import Any

import duckdb
from tests.servers.cases import compare
from tests.servers.ingest import CLIENT, Answer, ImportServer
from tests.servers.log import open_test_reader

from treadle.clock import read_clock as microseconds
from treadle.destinations.registry import make_destination
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor


class Warehouse(ImportServer):
    """An import server with a loader into DuckDB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "warehouse.duckdb"
        url = f"duckdb:///{self.file}"
        destination = make_destination(url)
        self.store.destinations.set_default_destination(
            CLIENT, destination.kind, url, destination.identity
        )
        self.loader = LoaderSupervisor(
            store=self.store,
            open_reader=lambda: open_test_reader(folder),
            open_destination=make_destination,
            flush_policy=FlushPolicy(),
            retention_us=10**12,
            clock=microseconds,
            new_id=lambda: str(uuid.uuid4()),
        )

    def load(self) -> None:
        self.loader.load_once()

    def rows(self, columns: str, table: str, schema: str = "active") -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.file), read_only=True) as connection:
            return connection.execute(
                f'SELECT {columns} FROM "{schema}".{table} ORDER BY ALL'
            ).fetchall()

    def tables(self, schema: str = "active") -> list[str]:
        """Tables of a source that hold records, rejected ones too."""
        if not self.file.exists():
            return []
        with duckdb.connect(str(self.file), read_only=True) as connection:
            found = connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? ORDER BY 1", [schema]
            ).fetchall()
            return [name for (name,) in found if self.rows("1", f'"{name}"', schema)]

    def fate(self, answer: Answer) -> Any:
        receipt = answer.header("treadle-receipt")
        headers = {"Authorization": f"Bearer {self.token}"}
        found = self.send("GET", f"/v1/receipts/{receipt}", headers=headers)
        compare(found, 200, lambda body: body["id"] == receipt)
        return found.json()

    def hook(self, token: str | None = None) -> str:
        return f"/v1/clients/{CLIENT}/token/{token or self.token}"
