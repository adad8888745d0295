"""Looks into ClickHouse with clickhouse-connect, not with treadle's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from tests.conformance.loading.warehouse import plain

from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "Bool": "boolean",
    "DateTime64(6, 'UTC')": "timestamp",
    "Decimal(76, 38)": "decimal",
    "Float64": "double",
    "Int64": "bigint",
    "String": "text",
}
"""Type names of the server, without Nullable -> logical type."""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return plain(value)


def _quote(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Clickhouse:
    """A database of a server, which is what a schema is elsewhere."""

    name = "clickhouse"
    display_name = "ClickHouse"

    def __init__(self, url: str, schema: str) -> None:
        parts = urlsplit(url)
        self._login: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or 8123,
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        }
        self._schema = schema

    @contextmanager
    def _client(self) -> Iterator[Client]:
        client = get_client(
            **self._login,
            compress=False,
            pool_mgr=urllib3.PoolManager(),
            autogenerate_session_id=False,
            # As a reader has to say it who wants to see what is there now.
            settings={"final": 1, "mutations_sync": 2},
        )
        try:
            found = client.query("SELECT name FROM system.databases").result_rows
            if (self._schema,) in found:
                client.database = self._schema
            yield client
        finally:
            client.close_connections()

    def run(self, statement: str) -> None:
        with self._client() as client:
            for one in statement.split("; "):
                client.command(one)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._client() as client:
            return [tuple(map(_plain, row)) for row in client.query(statement).result_rows]

    def tables(self) -> dict[str, FoundTable]:
        with self._client() as client:
            found = client.query(
                "SELECT name FROM system.tables"
                f" WHERE database = '{self._schema}' AND engine LIKE '%MergeTree'"
            )
            return {name: self._table(client, name) for (name,) in found.result_rows}

    def _table(self, client: Client, name: str) -> FoundTable:
        described = client.query(
            "SELECT name, type, is_in_sorting_key, comment FROM system.columns"
            " WHERE database = {schema:String} AND table = {table:String}"
            " AND default_kind != 'MATERIALIZED' ORDER BY position",
            parameters={"schema": self._schema, "table": name},
        ).result_rows
        columns = []
        for column, kind, _, comment in described:
            bare = kind.removeprefix("Nullable(").removesuffix(")") if "Nullable" in kind else kind
            columns.append((column, "json" if comment == "json" else KINDS.get(bare, bare)))
        rows = client.query(f"SELECT * FROM {_quote(self._schema)}.{_quote(name)}").result_rows
        return FoundTable(
            columns,
            frozenset(column for column, _, in_key, _ in described if in_key),
            [tuple(map(_plain, row)) for row in rows],
        )
