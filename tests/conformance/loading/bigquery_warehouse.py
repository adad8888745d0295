"""Looks into BigQuery with Google's client, not with treadle's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery import DatasetReference, QueryJobConfig
from tests.conformance.loading.warehouse import plain

from treadle.destinations.conformance.bigquery_statements import spell_for_bigquery
from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "BOOLEAN": "boolean",
    "FLOAT": "double",
    "INTEGER": "bigint",
    "JSON": "json",
    "NUMERIC": "decimal",
    "STRING": "text",
    "TIMESTAMP": "timestamp",
}
"""Types of fields in the API -> logical type."""

KEYS = "_sdc_primary_keys"


class Bigquery:
    """A dataset of a project, which is what a schema is elsewhere."""

    name = "bigquery"
    display_name = "BigQuery"

    def __init__(self, url: str, schema: str) -> None:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query))
        self._project = str(parts.hostname)
        self._endpoint = given.get("endpoint")
        self._location = given.get("location")
        self._dataset = DatasetReference(self._project, schema)

    @contextmanager
    def _client(self) -> Iterator[bigquery.Client]:
        client = bigquery.Client(
            project=self._project,
            location=self._location,
            credentials=AnonymousCredentials() if self._endpoint else None,
            client_options={"api_endpoint": self._endpoint} if self._endpoint else None,
        )
        try:
            yield client
        finally:
            client.close()

    def _ask(self, client: bigquery.Client, statement: str) -> list[tuple[Any, ...]]:
        job = client.query(statement, QueryJobConfig(default_dataset=self._dataset))
        return [tuple(map(plain, row.values())) for row in job.result()]

    def run(self, statement: str) -> None:
        with self._client() as client:
            for one in statement.split("; "):
                for spelled in spell_for_bigquery(one, self._dataset.dataset_id):
                    self._ask(client, spelled)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._client() as client:
            return self._ask(client, statement)

    def tables(self) -> dict[str, FoundTable]:
        with self._client() as client:
            if self._dataset.dataset_id not in {each.dataset_id for each in client.list_datasets()}:
                return {}
            names = {
                each.table_id
                for each in client.list_tables(self._dataset)
                if each.table_type == "TABLE"
            }
            keys: dict[str, set[str]] = {}
            if KEYS in names:
                for table, column in self._ask(client, f"SELECT * FROM {KEYS}"):
                    keys.setdefault(table, set()).add(column)
            return {
                name: self._table(client, name, frozenset(keys.get(name, ())))
                for name in names - {KEYS}
            }

    def _table(self, client: bigquery.Client, name: str, key: frozenset[str]) -> FoundTable:
        fields = client.get_table(self._dataset.table(name)).schema
        return FoundTable(
            [(field.name, KINDS.get(field.field_type, field.field_type)) for field in fields],
            key,
            self._ask(client, f"SELECT * FROM `{name}`"),
        )
