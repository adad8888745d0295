"""A server with two accounts that load into one destination, and everything that is in it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psycopg
from tests.conformance.loading.runner import Rig

from treadle.destinations.registry import make_destination
from treadle.store.token_rules import TokenRequest

Cells = list[tuple[Any, ...]]


@dataclass
class Tenant:
    """An account with a source."""

    rig: Rig
    account: int
    token: str
    source_id: int = 0
    schema: str = ""
    import_token: str = ""

    def create(self, **asked: Any) -> httpx.Response:
        """Ask for a source over the Connect API."""
        return self.rig.http.post(
            "/v4/sources",
            json={"type": "import_api", "display_name": "x", **asked},
            headers={"Authorization": f"Bearer {self.token}"},
        )

    def use(self, name: str) -> None:
        """Make a source past the API, as a treadle without this rule has made it."""
        source = self.rig.store.sources.create_source(
            self.account, type="import_api", display_name=name, name=name, bootstrap_token=True
        )
        self._keep(source.id)

    def use_over_api(self, name: str) -> None:
        answer = self.create(name=name)
        assert answer.status_code == 200, answer.text
        self._keep(answer.json()["id"])

    def _keep(self, source_id: int) -> None:
        source = self.rig.store.sources.get_source(None, source_id)
        assert source is not None
        self.source_id, self.schema = source.id, source.schema
        [token] = self.rig.store.tokens.list_tokens(source.id)
        assert token.secret is not None
        self.import_token = token.secret

    def push(
        self,
        table: str,
        *rows: tuple[int, dict[str, Any]],
        keys: Sequence[str] = ("id",),
        version: int | None = None,
        activate: int | None = None,
    ) -> httpx.Response:
        body: list[dict[str, Any]] = [
            {
                "client_id": self.account,
                "table_name": table,
                "sequence": sequence,
                "action": "upsert",
                "key_names": list(keys),
                "data": data,
            }
            | ({} if version is None else {"table_version": version})
            for sequence, data in rows
        ]
        if activate is not None:
            body.append(
                {
                    "client_id": self.account,
                    "table_name": table,
                    "sequence": 1,
                    "action": "switch_view",
                    "table_version": activate,
                }
            )
        return self.send("/v2/import/push", body)

    def send(self, path: str, body: Any) -> httpx.Response:
        return self.rig.http.post(
            path,
            content=json.dumps(body),
            headers={
                "Authorization": f"Bearer {self.import_token}",
                "Content-Type": "application/json",
            },
        )

    def errors(self) -> dict[str, str]:
        """Table as sent -> why it was not loaded."""
        return {
            status.table_name: status.error
            for status in self.rig.store.tables.list_statuses(self.source_id)
            if status.error is not None
        }


class Tenants:
    """Accounts A and B on one destination."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        first = rig.store.tokens.issue_token(TokenRequest("account"), account_id=rig.client_id)
        assert first.secret is not None
        self.a = Tenant(rig, rig.client_id, first.secret)
        account, token = rig.store.accounts.create_account("B")
        self.b = Tenant(rig, account.id, token)

    def load(self) -> None:
        self.rig.loader.load_once()

    @property
    def url(self) -> str:
        return self.rig.config.destination_url

    def query(self, statement: str) -> Cells:
        """By another program than treadle."""
        if self.url.startswith("duckdb"):
            path = self.url.removeprefix("duckdb://")
            with closing(duckdb.connect(path)) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                relation = connection.sql(statement)
                if relation is None:
                    return []
                columns = relation.to_arrow_table().columns
                return [tuple(row) for row in zip(*(c.to_pylist() for c in columns), strict=True)]
        with psycopg.connect(self.url, autocommit=True) as database:
            cursor = database.execute(statement.encode())
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def run_as_treadle(self, statement: str) -> None:
        with make_destination(self.url).open() as session:
            session.query(statement)

    def tables(self, schema: str) -> list[str]:
        found = self.query(
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = '{schema}' ORDER BY 1"
        )
        return [name for (name,) in found]

    def dump(self, schema: str) -> dict[str, Any]:
        """Everything of a schema, and what treadle keeps of it: columns and rows by table."""
        found: dict[str, Any] = {}
        for table in self.tables(schema):
            place = f'"{schema}"."{table}"'
            found[place] = sorted(self.query(f"SELECT * FROM {place}"), key=repr)
            found[f"columns of {place}"] = self.query(
                "SELECT column_name, data_type FROM information_schema.columns"
                f" WHERE table_schema = '{schema}' AND table_name = '{table}' ORDER BY 1"
            )
        for kept in ("catalogue", "schemas"):
            if kept in self.tables("_treadle"):
                found[kept] = sorted(
                    self.query(f"SELECT * FROM _treadle.{kept} WHERE schema_name = '{schema}'")
                )
        return found

    def private(self) -> list[str]:
        """The relations that treadle keeps for itself, beside those that are always there."""
        kept = {"catalogue", "positions", "schemas"}
        return [name for name in self.tables("_treadle") if name not in kept]


@contextmanager
def serve_tenants(folder: Path, url: str | None) -> Iterator[Tenants]:
    with Rig(folder, url).running() as rig:
        yield Tenants(rig)
