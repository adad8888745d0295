"""Accounts on one destination, a worker that asks, and a desk that answers."""

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from psycopg import sql
from tests.acceptance.tenants import Tenant, Tenants
from tests.conformance.loading.runner import Rig
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import eventually

from treadle.desk.question_desk import QuestionDesk
from treadle.questions.channel import SOCKET_NAME
from treadle.store.token_rules import TokenRequest

RECORDS: list[dict[str, Any]] = [
    {
        "id": 1,
        "name": "one",
        "big": 9223372036854775807,
        "price": 1.10,
        "at": "2024-01-02T03:04:05Z",
    },
    {"id": 2, "name": None, "big": -1, "price": 0.1, "tags": ["x"]},
]


@dataclass
class Scene:
    """A rig whose questions are answered.

    Attributes:
        tenants: accounts A and B.
        desk: in a thread of this process; its task processes are processes of their own.
    """

    tenants: Tenants
    desk: QuestionDesk

    @property
    def kind(self) -> str:
        return self.tenants.url.partition("://")[0]

    def ask(self, statement: str, tenant: Tenant | None = None, **more: Any) -> httpx.Response:
        """Run a statement as account A."""
        asking = tenant or self.tenants.a
        headers = {"Authorization": f"Bearer {asking.token}", **more.pop("headers", {})}
        return self.tenants.rig.http.post(
            "/v1/query", json={"sql": statement, **more}, headers=headers
        )

    def rows(self, statement: str, **more: Any) -> list[list[Any]]:
        answer = self.ask(statement, **more)
        assert answer.status_code == 200, answer.text
        found: list[list[Any]] = answer.json()["rows"]
        return found

    def refusal(self, statement: str, **more: Any) -> tuple[int, str, str]:
        """Status, code and message of what is refused."""
        answer = self.ask(statement, **more)
        assert answer.status_code != 200, answer.text
        body = answer.json()
        return answer.status_code, body["error"], body["data"]["message"]

    def newest(
        self, table: str, query: str = "", tenant: Tenant | None = None, **headers: str
    ) -> httpx.Response:
        asking = tenant or self.tenants.a
        return self.tenants.rig.http.get(
            f"/v1/sources/{asking.source_id}/tables/{table}/rows{query}",
            headers={"Authorization": f"Bearer {asking.token}", **headers},
        )

    def stop(self, question_id: str, tenant: Tenant | None = None) -> httpx.Response:
        asking = tenant or self.tenants.a
        return self.tenants.rig.http.delete(
            f"/v1/query/{question_id}", headers={"Authorization": f"Bearer {asking.token}"}
        )

    def processes(self) -> list[int]:
        """The processes that answer now."""
        with self.desk._lock:
            found = [question.process for question in self.desk._running.values()]
        ids = [None if process is None else process.process_id for process in found]
        return [number for number in ids if number is not None]

    def load(self, tenant: Tenant, table: str = "orders") -> None:
        """Have the records of this module loaded."""
        rows = [(number, record) for number, record in enumerate(RECORDS, 1)]
        assert tenant.push(table, *rows).status_code == 201
        self.tenants.load()


@contextmanager
def serve_questions(
    folder: Path, url: str | None, settings: Mapping[str, Any] | None = None
) -> Iterator[Scene]:
    """Give a scene in which account A has the source `shop` with the table `orders`."""
    rig = Rig(folder, url)
    rig.config = replace(rig.config, **(settings or {}))
    with rig.running():
        tenants = Tenants.__new__(Tenants)
        tenants.rig = rig
        tenants.a = make_tenant(rig, rig.client_id)
        desk = QuestionDesk(folder, rig.config.query_seconds)
        thread = threading.Thread(target=desk.run, daemon=True)
        thread.start()
        try:
            eventually(lambda: (folder / SOCKET_NAME).exists())
            scene = Scene(tenants, desk)
            tenants.a.use("shop")
            scene.load(tenants.a)
            yield scene
        finally:
            desk.stop()
            thread.join(30)


def make_tenant(rig: Rig, account_id: int) -> Tenant:
    token = rig.store.tokens.issue_token(TokenRequest("account"), account_id=account_id)
    assert token.secret is not None
    return Tenant(rig, account_id, token.secret)


def add_tenant(scene: Scene) -> Tenant:
    """Make account B, which loads into the same destination."""
    account, token = scene.tenants.rig.store.accounts.create_account("B")
    scene.tenants.b = Tenant(scene.tenants.rig, account.id, token)
    return scene.tenants.b


@contextmanager
def lend_plain_role(server: PostgresServer) -> Iterator[str]:
    """Give the URL of a new database as its owner, who is no superuser."""
    name = f"q_{secrets.token_hex(6)}"
    url = server.create_database(name)
    role = sql.Identifier(name)
    server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
    server.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(role, role))
    try:
        yield server.url(name, user=name, password="secret")
    finally:
        server.drop_database(url)
        server.execute(sql.SQL("DROP OWNED BY {}").format(role))
        server.execute(sql.SQL("DROP ROLE {}").format(role))


def parse_exact(text: str) -> Any:
    """A JSON value whose numbers are the texts that were sent."""
    return json.loads(text, parse_int=str, parse_float=str)
