"""Changes by hand in the destination while records keep coming (loading.md 5.2).

Every record that was accepted is loaded in the end, and what needs a hand says so.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg import sql
from tests.kinds import DUCKDB_DAILY, POSTGRES_DAILY
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer, eventually

SECONDS = 240.0
"""How long loading may take to go on: pauses between tries grow."""


@pytest.fixture
def destination_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """An ordinary user's own database: a superuser's rights cannot be revoked."""
    if request.param == "duckdb":
        yield None
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    admin = postgres.create_database()
    database = admin.rsplit("/", 1)[1]
    role, password = f"loader_{secrets.token_hex(4)}", secrets.token_hex(8)
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database)}
    postgres.execute(
        sql.SQL("CREATE ROLE {role} LOGIN PASSWORD {password}").format(
            password=sql.Literal(password), **names
        )
    )
    postgres.execute(sql.SQL("GRANT CREATE ON DATABASE {database} TO {role}").format(**names))
    yield f"postgresql://{role}:{password}@127.0.0.1:{postgres.port}/{database}"
    postgres.drop_database(admin)


POSTGRES = pytest.mark.parametrize("destination_url", ["postgres"], indirect=True)


def by_hand(server: TreadleServer, *statements: str) -> None:
    """What somebody does with a client of their own."""
    if server.destination is not None:
        with psycopg.connect(server.destination, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with closing(duckdb.connect(str(server.data / "warehouse.duckdb"))) as opened:
                for statement in statements:
                    opened.execute(statement)
                return
        except duckdb.IOException:  # the loader has the file
            assert time.monotonic() < deadline
            time.sleep(0.02)


class Traffic:
    """Pushes records one after the other until told to stop."""

    def __init__(self, client: Client, token: str, make: Callable[[int], dict[str, Any]]) -> None:
        self.sent = 0
        self._client, self._token, self._make = client, token, make
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.refused: list[str] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            number = self.sent + 1
            answer = self._client.push(self._token, [self._make(number)], table="t")
            if answer.status_code != 201:
                self.refused.append(answer.text)
                return
            self.sent = number
            time.sleep(0.02)

    def more(self, count: int = 10) -> None:
        """Wait until so many more records are accepted."""
        goal = self.sent + count
        eventually(lambda: self.sent >= goal or bool(self.refused), SECONDS)

    @contextmanager
    def flowing(self) -> Iterator["Traffic"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()
        assert self.refused == []


def traffic(server: TreadleServer, make: Callable[[int], dict[str, Any]]) -> Traffic:
    client = Client(server, *server.account())
    _, token = client.create_source("Web")
    return Traffic(client, token, make)


def ids(server: TreadleServer, condition: str = "") -> set[int]:
    return {row["id"] for row in server.query(f"SELECT id FROM web.t {condition}")}


def loaded(server: TreadleServer) -> bool:
    """The table is there, with a row."""
    return "1" in server.treadle("query", "SELECT 1 AS n FROM web.t LIMIT 1", "--csv", check=False)


def failed(server: TreadleServer) -> str:
    """Why tries failed, as the operator sees it."""
    return server.treadle("loads", "--failed", "--json")


@DUCKDB_DAILY
def test_a_dropped_column_comes_back(server: TreadleServer) -> None:
    with traffic(server, lambda n: {"id": n, "z": n}).flowing() as flow:
        eventually(lambda: loaded(server), SECONDS)
        by_hand(server, "ALTER TABLE web.t DROP COLUMN z")
        flow.more()
    everything = set(range(1, flow.sent + 1))
    eventually(lambda: ids(server) == everything, SECONDS)
    assert flow.sent in ids(server, "WHERE z = id")
    assert '"columns_added":["z"]' in server.treadle("loads", "--json")


@POSTGRES_DAILY
def test_a_dropped_table_is_made_again(server: TreadleServer) -> None:
    with traffic(server, lambda n: {"id": n, "x": [n]}).flowing() as flow:
        eventually(lambda: loaded(server), SECONDS)
        by_hand(server, "DROP TABLE web.t")
        after = flow.sent + 2  # one may have been on its way
        flow.more()
    fresh = set(range(after, flow.sent + 1))
    eventually(lambda: loaded(server) and fresh <= ids(server), SECONDS)
    children = server.query("SELECT _sdc_source_key_id AS id FROM web.t__x")
    assert fresh <= {row["id"] for row in children}


@DUCKDB_DAILY
def test_a_dropped_schema_is_made_again(server: TreadleServer) -> None:
    with traffic(server, lambda n: {"id": n}).flowing() as flow:
        eventually(lambda: loaded(server), SECONDS)
        by_hand(server, "DROP SCHEMA web CASCADE")
        after = flow.sent + 2
        flow.more()
    fresh = set(range(after, flow.sent + 1))
    eventually(lambda: loaded(server) and fresh <= ids(server), SECONDS)
    assert server.query("SELECT count(*) AS n FROM web._sdc_rejected") == [{"n": 0}]


@POSTGRES_DAILY
def test_a_dropped_split_column_stops_the_table_until_it_is_put_back(
    server: TreadleServer,
) -> None:
    with traffic(server, lambda n: {"id": n, "v": n if n % 2 else str(n)}).flowing() as flow:
        eventually(
            lambda: loaded(server) and len(ids(server, "WHERE v__st IS NOT NULL")) > 0, SECONDS
        )
        by_hand(server, "ALTER TABLE web.t DROP COLUMN v__st")
        eventually(lambda: '"v__st"' in failed(server).replace("\\", ""), SECONDS)
        flow.more()
        assert "split" in failed(server)
        kind = "VARCHAR" if server.destination is None else "text"
        by_hand(server, f"ALTER TABLE web.t ADD COLUMN v__st {kind}")
    everything = set(range(1, flow.sent + 1))
    eventually(lambda: ids(server) == everything, SECONDS)


@POSTGRES
@pytest.mark.parametrize(
    ("revoke", "grant", "said"),
    [
        ("REVOKE ALL ON web.t FROM CURRENT_USER", "GRANT ALL ON web.t TO CURRENT_USER", "t"),
        (
            "REVOKE ALL ON SCHEMA web FROM CURRENT_USER",
            "GRANT ALL ON SCHEMA web TO CURRENT_USER",
            "web",
        ),
    ],
)
def test_a_revoked_right_holds_loading_up_until_it_is_granted(
    server: TreadleServer, revoke: str, grant: str, said: str
) -> None:
    with traffic(server, lambda n: {"id": n}).flowing() as flow:
        eventually(lambda: loaded(server), SECONDS)
        by_hand(server, revoke)
        eventually(
            lambda: (
                f"permission denied for {'table' if said == 't' else 'schema'} {said}"
                in server.log.read_text()
            ),
            SECONDS,
        )
        assert "permission denied" in failed(server)
        flow.more()
        by_hand(server, grant)
    everything = set(range(1, flow.sent + 1))
    eventually(lambda: ids(server) == everything, SECONDS)
