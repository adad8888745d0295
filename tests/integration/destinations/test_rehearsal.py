"""A rehearsed load in real databases: each phase in order, and the one that fails is named."""

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from tests.servers.database_server import free_port
from tests.servers.postgres import PostgresServer

from treadle.destinations.registry import make_destination
from treadle.destinations.rehearsal import LoadRehearsal
from treadle.destinations.rehearsal_result import RehearsalResult, describe_rehearsal
from treadle.tables.schema_owner import SchemaOwner

if TYPE_CHECKING:
    from tests.servers.bigquery import BigqueryServer
    from tests.servers.clickhouse import ClickhouseServer
    from tests.servers.mariadb import MariaServer

OWNER = SchemaOwner("installation", 1, 2)


def rehearse(url: str, *schemas: str) -> RehearsalResult:
    rehearsal = LoadRehearsal(make_destination(url), 1_800_000_000_000_000, Path("/nowhere"))
    return rehearsal.run([(schema, OWNER) for schema in schemas])


def phases(found: RehearsalResult) -> list[tuple[str, bool]]:
    return [(each.phase.value, each.failed) for each in found.phases]


def test_a_load_that_is_possible_passes_every_phase(postgres_database: str) -> None:
    found = rehearse(postgres_database, "web", "app")
    assert found.fault is None
    assert found.schemas == ("web", "app")
    assert phases(found) == [
        ("connect", False), ("log in", False), ("rights", False), ("load", False),
    ]  # fmt: skip
    by_name = rehearse(postgres_database.replace("127.0.0.1", "localhost"))
    assert phases(by_name)[0] == ("name", False)
    with psycopg.connect(postgres_database) as connection:
        left = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname IN ('web', 'app', 'treadle_doctor')"
        ).fetchall()
    assert left == []


def test_a_right_that_only_later_loads_need_is_missed_at_once(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(postgres_database)["dbname"])
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE ROLE loader LOGIN PASSWORD 'secret-word';"
                "GRANT CREATE ON DATABASE {database} TO loader;"
                "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
            ).format(database=sql.Identifier(name))
        )
        try:
            found = rehearse(postgres_server.url(name, user="loader", password="secret-word"))
        finally:
            connection.execute("DROP OWNED BY loader; DROP ROLE loader")
    assert phases(found)[-1] == ("rights", True)
    assert f'run: GRANT TEMPORARY ON DATABASE "{name}" TO' in (found.fault or "")


def test_a_wrong_password_fails_at_the_log_in_and_is_not_repeated(
    postgres_server: PostgresServer,
) -> None:
    found = rehearse(postgres_server.url(password="wrong-pa55word"))
    assert phases(found) == [("connect", False), ("log in", True)]
    assert not found.may_pass
    assert "password authentication failed" in (found.fault or "")
    assert "wrong-pa55word" not in describe_rehearsal(found)


def test_a_database_that_is_not_there_fails_at_the_log_in(postgres_server: PostgresServer) -> None:
    found = rehearse(postgres_server.url("nowhere"))
    assert phases(found)[-1] == ("log in", True)
    assert 'database "nowhere" does not exist' in (found.fault or "")


def test_an_encrypted_connection_that_is_not_to_be_had_fails_at_tls(
    postgres_database: str,
) -> None:
    found = rehearse(f"{postgres_database}?sslmode=require")
    assert phases(found) == [("connect", False), ("TLS", True)]
    assert "SSL" in (found.fault or "")


def test_a_server_that_is_not_there_or_says_nothing_fails_at_the_connection() -> None:
    found = rehearse(f"postgresql://u:p@127.0.0.1:{free_port()}/d")
    assert phases(found) == [("connect", True)]
    assert found.may_pass
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://u:p@127.0.0.1:{port}/d?connect_timeout=1&gssencmode=disable"
        found = rehearse(url)
    assert phases(found) == [("connect", False), ("TLS", True)]
    assert "no answer within 1 s" in (found.fault or "")


def test_a_host_without_an_address_fails_at_its_name() -> None:
    found = rehearse("postgresql://u:p@no-such-host.invalid/d")
    assert phases(found) == [("name", True)]
    assert "no-such-host.invalid" in (found.fault or "")


def test_a_missing_right_is_named(postgres_server: PostgresServer, postgres_database: str) -> None:
    role = sql.Identifier("weak_at_check")
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pa55word'").format(role))
        try:
            name = postgres_database.rpartition("/")[2]
            found = rehearse(postgres_server.url(name, user="weak_at_check", password="pa55word"))
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
    assert phases(found)[-1] == ("rights", True)
    assert "permission denied for database" in (found.fault or "")


def test_mysql_is_connected_to_phase_by_phase(
    mariadb_server: "MariaServer", mariadb_url: str
) -> None:
    found = rehearse(mariadb_url, "web", "app")
    assert (found.fault, found.schemas) == (None, ("web", "app"))
    good = [("connect", False), ("log in", False), ("rights", False), ("load", False)]
    assert phases(found) == good
    assert phases(rehearse(mariadb_url.replace("127.0.0.1", "localhost"))) == [
        ("name", False),
        *good,
    ]
    left = mariadb_server.execute("SHOW DATABASES")
    assert {"web", "app", "treadle_doctor"}.isdisjoint(name for (name,) in left)
    refused = rehearse(mariadb_server.url(password="wrong-pa55word"))
    assert phases(refused) == [("connect", False), ("log in", True)]
    assert not refused.may_pass
    assert "wrong-pa55word" not in describe_rehearsal(refused)
    away = rehearse(f"mysql://u:p@127.0.0.1:{free_port()}/")
    assert (phases(away), away.may_pass) == ([("connect", True)], True)
    clear = rehearse(f"{mariadb_url}?ssl-mode=REQUIRED")
    assert phases(clear) == [("connect", False), ("TLS", True)]
    with mariadb_server.lend_user("ALL ON `_treadle`.*") as weak:
        found = rehearse(weak, "web")
    assert phases(found)[-1] == ("rights", True)
    assert "Access denied" in (found.fault or "")


def test_clickhouse_is_connected_to_phase_by_phase(
    clickhouse_server: "ClickhouseServer", clickhouse_url: str
) -> None:
    found = rehearse(clickhouse_url, "web", "app")
    assert (found.fault, found.schemas) == (None, ("web", "app"))
    good = [("connect", False), ("log in", False), ("rights", False), ("load", False)]
    assert phases(found) == good
    assert phases(rehearse(clickhouse_url.replace("127.0.0.1", "localhost"))) == [
        ("name", False),
        *good,
    ]
    left = clickhouse_server.execute("SHOW DATABASES")
    assert {"web", "app", "treadle_doctor"}.isdisjoint(name for (name,) in left)
    refused = rehearse(clickhouse_server.url(password="wrong-pa55word"))
    assert phases(refused) == [("connect", False), ("log in", True)]
    assert not refused.may_pass
    assert "wrong-pa55word" not in describe_rehearsal(refused)
    away = rehearse(f"clickhouse://u:p@127.0.0.1:{free_port()}/")
    assert (phases(away), away.may_pass) == ([("connect", True)], True)
    clear = rehearse(f"{clickhouse_url}?secure=1")
    assert phases(clear) == [("connect", False), ("TLS", True)]


@pytest.mark.release
def test_bigquery_is_logged_in_to(
    bigquery_server: "BigqueryServer", bigquery_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treadle.destinations.bigquery import destination

    found = rehearse(bigquery_url, "web", "app")
    assert (found.fault, found.schemas) == (None, ("web", "app"))
    assert phases(found) == [("log in", False), ("rights", False), ("load", False)]
    with contextlib.closing(bigquery_server.connect()) as client:
        assert [each.dataset_id for each in client.list_datasets()] == ["_treadle"]
        kept = {each.table_id for each in client.list_tables("_treadle")}
    assert kept == {"catalogue", "intents", "positions", "schemas"}
    monkeypatch.setattr(destination, "_RETRY", destination._RETRY.with_timeout(0.5))
    away = rehearse(f"bigquery://treadle-test/?endpoint=http://127.0.0.1:{free_port()}")
    assert (phases(away), away.may_pass) == ([("log in", True)], True)


def test_a_file_is_opened_and_nothing_else_is_connected_to(tmp_path: Path) -> None:
    url = f"duckdb://{tmp_path / 'x.duckdb'}"
    assert rehearse(url).missing
    with make_destination(url).open() as session:
        session.query("create table t (n int)")
    found = rehearse(url, "web")
    assert found.schemas == ("web",)
    assert phases(found) == [("connect", False), ("rights", False), ("load", False)]


@pytest.mark.parametrize("parameter", ["connect_timeout=nonsense", "connect_timeout=0"])
def test_any_connect_timeout_is_read(postgres_database: str, parameter: str) -> None:
    assert rehearse(f"{postgres_database}?{parameter}").phases
