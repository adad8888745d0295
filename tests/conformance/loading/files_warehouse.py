"""Looks into a folder of Parquet files with DuckDB, by the globs of the how-to page."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow.parquet as pq
from tests.conformance.loading.warehouse import plain

from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "DECIMAL(38,9)": "decimal",
    "BOOLEAN": "boolean",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "VARCHAR": "text",
}
"""Types of DuckDB -> logical type."""


class Files:
    """The folder of a schema."""

    name = "files"
    display_name = "Parquet"

    def __init__(self, url: str, schema: str) -> None:
        self._folder = Path(unquote(urlsplit(url).path)) / schema

    def run(self, statement: str) -> None:
        """What a user does: a table goes with its folder."""
        words = statement.split()
        assert words[:2] == ["DROP", "TABLE"], f"files take no statement: {statement}"
        shutil.rmtree(self._folder / words[2])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(duckdb.connect()) as driver:
            driver.execute("SET TimeZone = 'UTC'")
            for folder in self._list():
                driver.execute(f'CREATE VIEW "{folder.name}" AS {self._read(folder)}')
            if not (self._folder / "_sdc_rejected").exists():
                driver.execute("CREATE TABLE _sdc_rejected (record TEXT, reason TEXT)")
            found = driver.execute(statement).fetchall()
        return [tuple(map(plain, row)) for row in found]

    def _list(self) -> list[Path]:
        return sorted(self._folder.iterdir()) if self._folder.exists() else []

    def _read(self, folder: Path) -> str:
        if folder.name == "_sdc_rejected":
            # The first of the texts that look like numbers would make numbers of them.
            types = (
                "{record: 'VARCHAR', reason: 'VARCHAR', table_name: 'VARCHAR',"
                " _sdc_rejected_at: 'TIMESTAMPTZ', code: 'VARCHAR', field: 'VARCHAR'}"
            )
            return f"SELECT * FROM read_json('{folder}/*.jsonl', columns = {types})"
        return f"SELECT * FROM read_parquet('{folder}/*.parquet', union_by_name = true)"

    def tables(self) -> dict[str, FoundTable]:
        return {unquote(folder.name): self._table(folder) for folder in self._list()}

    def _table(self, folder: Path) -> FoundTable:
        notes: dict[str, str] = {}
        for file in folder.glob("*.parquet"):
            for field in pq.read_schema(file):
                if field.metadata and b"treadle.type" in field.metadata:
                    notes[field.name] = field.metadata[b"treadle.type"].decode()
        with closing(duckdb.connect()) as driver:
            driver.execute("SET TimeZone = 'UTC'")
            described = driver.execute(f"DESCRIBE {self._read(folder)}").fetchall()
            found = driver.sql(self._read(folder)).to_arrow_table()
        columns = [
            (name, notes.get(name, KINDS.get(type_, "other"))) for name, type_, *_ in described
        ]
        values = [column.to_pylist() for column in found.columns]
        rows = [tuple(map(plain, row)) for row in zip(*values, strict=True)]
        return FoundTable(columns, None, rows)
