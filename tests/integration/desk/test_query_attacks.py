"""Statements that want more than to read: refused or ended, and nothing is changed (J23)."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pytest
from tests.integration.desk.question_scene import Scene, lend_plain_role, serve_questions
from tests.servers.postgres import PostgresServer

SECONDS = 3.0
OVERDUE = (
    "The statement took longer than 3 s and was ended. Ask for less, or set query_seconds to more."
)
MADE = Path("/var/tmp/treadle-made")  # noqa: S108 - what must not be made


@pytest.fixture(scope="module")
def duckdb_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("duckdb") / "data"
    with serve_questions(folder, None, {"query_seconds": SECONDS}) as scene:
        (folder / "secret.txt").write_text("hidden")
        with duckdb.connect(str(folder / "other.duckdb")) as other:
            other.execute("CREATE TABLE t AS SELECT 'hidden' AS x")
        yield scene


@pytest.fixture(scope="module")
def postgres_scene(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Scene]:
    with lend_plain_role(postgres_server) as url:
        database = url.rpartition("/")[2]
        with psycopg.connect(postgres_server.url(database), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION dblink")
        folder = tmp_path_factory.mktemp("postgres") / "data"
        with serve_questions(folder, url, {"query_seconds": SECONDS}) as scene:
            scene.tenants.run_as_treadle("CREATE SEQUENCE shop.numbers")
            yield scene


DUCKDB_REFUSED = (
    "COPY (SELECT 1) TO '{folder}/made.csv'",
    "COPY shop.orders TO '/dev/stdout'",
    "EXPORT DATABASE '{folder}/made'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "ATTACH ':memory:' AS other",
    "SELECT * FROM '{folder}/other.duckdb'",
    "SELECT * FROM read_text('{folder}/secret.txt')",
    "SELECT * FROM read_blob('{folder}/secret.txt')",
    "SELECT * FROM read_csv('{folder}/secret.txt')",
    "SELECT * FROM glob('/etc/*')",
    "FROM '{folder}/secret.txt'",
    "SELECT * FROM sniff_csv('{folder}/secret.txt')",
    "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
    "SELECT * FROM sqlite_scan('{folder}/store.sqlite', 'accounts')",
    "SELECT * FROM enable_logging('QueryLog', storage = 'file', storage_path = '{folder}/made')",
    "CALL enable_logging('QueryLog', storage = 'file')",
    "CALL enable_profiling(format = 'json', save_location = '{folder}/made')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/secret.txt'",
    "SET enable_external_access = true",
    "SET memory_limit = '100GB'",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "PRAGMA enable_profiling = 'json'",
    "PRAGMA profiling_output = '{folder}/made'",
    "CREATE TABLE shop.made (n integer)",
    "CREATE TEMP TABLE made AS SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "CREATE PERSISTENT SECRET (TYPE s3)",
    "CREATE MACRO f() AS 1",
    "DELETE FROM shop.orders",
    "INSERT INTO shop.orders (id) VALUES (9)",
    "UPDATE shop.orders SET id = 9",
    "DROP TABLE shop.orders",
    "SELECT * FROM shop.orders; DROP TABLE shop.orders",
    "SELECT 1) AS q; DROP TABLE shop.orders; SELECT * FROM (SELECT 1",
    "SELECT 1) AS q UNION ALL SELECT * FROM (SELECT 2",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "USE memory",
    "EXPLAIN ANALYZE DELETE FROM shop.orders",
    "PREPARE x AS DELETE FROM shop.orders",
    "EXECUTE x",
    "BEGIN TRANSACTION",
    "COMMIT",
    "SELECT /* open",
    "SELECT 'open",
    "SELECT $$ open",
)


@pytest.mark.parametrize("statement", DUCKDB_REFUSED)
def test_duckdb_refuses(statement: str, duckdb_scene: Scene) -> None:
    scene = duckdb_scene
    folder = scene.tenants.rig.config.data
    status, code, words = scene.refusal(statement.format(folder=folder))
    assert (status, code) == (400, "InvalidStatement"), words
    assert "hidden" not in words
    assert not [path for path in folder.iterdir() if path.name.startswith("made")]
    assert scene.rows("SELECT count(*) FROM shop.orders") == [[2]]


def test_duckdb_gives_away_no_variable_of_the_program(duckdb_scene: Scene) -> None:
    for name in ("statement", "text", "columns", "described", "os", "order"):
        assert duckdb_scene.refusal(f"SELECT * FROM {name}")[1] == "InvalidStatement"
    assert duckdb_scene.rows("SELECT current_setting('lock_configuration')") == [[True]]
    assert duckdb_scene.rows("SELECT current_setting('enable_external_access')") == [[False]]


DUCKDB_ENDED = (
    "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c",
    "SELECT list(a.range) FROM range(100000000) a, range(100) b",
    "SELECT count(*) FROM (SELECT DISTINCT a.range, b.range FROM range(100000) a, range(100000) b)",
    "SELECT repeat('x', 2000000000)",
)


@pytest.mark.parametrize("statement", DUCKDB_ENDED)
def test_duckdb_ends_what_takes_too_much(statement: str, duckdb_scene: Scene) -> None:
    began = time.monotonic()
    status, code, _ = duckdb_scene.refusal(statement)
    assert status == 400
    assert code in ("InvalidStatement", "StatementOverdue", "StatementTooLarge")
    assert time.monotonic() - began < 40
    assert duckdb_scene.rows("SELECT count(*) FROM shop.orders") == [[2]]


def test_what_a_statement_left_reserved_is_not_missing_to_the_next(duckdb_scene: Scene) -> None:
    """DuckDB's allocator keeps the address space of what it gave back, which the limit counts."""
    distinct = DUCKDB_ENDED[2]
    for _ in range(3):
        duckdb_scene.refusal(distinct)
        for _ in range(2):
            assert duckdb_scene.rows("SELECT count(*) FROM shop.orders") == [[2]]


POSTGRES_REFUSED = (
    "COPY (SELECT 1) TO PROGRAM 'touch /var/tmp/treadle-made'",
    "COPY shop.orders TO '/var/tmp/treadle-made'",
    "COPY shop.orders TO STDOUT",
    "COPY shop.orders FROM PROGRAM 'id'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT * FROM pg_stat_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/var/tmp/treadle-made')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "DO $$ BEGIN DELETE FROM shop.orders; END $$",
    "SELECT * FROM shop.orders; DROP TABLE shop.orders",
    "SELECT 1; COMMIT; DROP TABLE shop.orders",
    "CREATE TABLE shop.made (n integer)",
    "CREATE TEMP TABLE made (n integer)",
    "SELECT 1 AS n INTO shop.made",
    "CREATE EXTENSION file_fdw",
    "CREATE FUNCTION shop.made() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "DELETE FROM shop.orders",
    "DELETE FROM shop.orders RETURNING id",
    "WITH x AS (DELETE FROM shop.orders RETURNING id) SELECT * FROM x",
    "INSERT INTO shop.orders (id) VALUES (9) RETURNING id",
    "SELECT * FROM shop.orders FOR UPDATE",
    "SELECT nextval('shop.numbers')",
    "SELECT setval('shop.numbers', 5)",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true), nextval('shop.numbers')",
    "SELECT set_config('role', 'treadle_test', false)",
    "SELECT set_config('session_authorization', 'treadle_test', false)",
    "RESET ROLE",
    "SET ROLE treadle_test",
    "SET SESSION AUTHORIZATION treadle_test",
    "SET default_transaction_read_only = off",
    "BEGIN; DELETE FROM shop.orders; COMMIT",
    "COMMIT",
    "ROLLBACK",
    "EXPLAIN ANALYZE DELETE FROM shop.orders",
    "EXPLAIN SELECT 1",
    "SHOW ALL",
    "CALL shop.nix()",
    "EXECUTE nix",
    "PREPARE nix AS DELETE FROM shop.orders",
    "LISTEN nix",
    "LOCK TABLE shop.orders",
    "VACUUM",
    "GRANT SELECT ON shop.orders TO PUBLIC",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (n integer)",
    "SELECT dblink_exec('dbname=postgres', 'CREATE TABLE made (n integer)')",
    "SELECT dblink_connect_u('dbname=postgres')",
    "SELECT query_to_xml('COPY shop.orders TO PROGRAM ''id''', true, false, '')",
    "SELECT query_to_xml('DELETE FROM shop.orders RETURNING id', true, false, '')",
    "SELECT pg_reload_conf()",
    "SELECT 1) AS q; DELETE FROM shop.orders; SELECT * FROM (SELECT 1",
    "SELECT 1) AS q UNION ALL SELECT * FROM (SELECT 2",
    "SELECT 1) AS q CROSS JOIN (SELECT 2) AS r LIMIT 9 --",
    "SELECT 1) AS q LIMIT ALL /*",
    "SELECT 1 /*",
    "SELECT $$ open",
    "SELECT $x$ open $y$",
    "SELECT E'\\\\'; DROP TABLE shop.orders; --'",
    "SELECT 'open",
    "SELECT 1 --\n) AS q; DROP TABLE shop.orders; --",
    "SELECT $1",
    "SELECT",
)


@pytest.mark.parametrize("statement", POSTGRES_REFUSED)
def test_postgres_refuses(statement: str, postgres_scene: Scene) -> None:
    status, code, words = postgres_scene.refusal(statement)
    assert (status, code) == (400, "InvalidStatement"), words
    assert not MADE.exists()
    rows = postgres_scene.rows(
        "SELECT count(*), (SELECT count(*) FROM pg_largeobject_metadata), to_regclass('shop.made'),"
        " (SELECT last_value FROM shop.numbers) FROM shop.orders"
    )
    assert rows == [[2, 0, None, 1]]


def test_postgres_keeps_nothing_of_a_session(postgres_scene: Scene) -> None:
    scene = postgres_scene
    assert scene.ask("SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)").status_code == 200
    assert scene.ask("SELECT set_config('application_name', 'evil', false)").status_code == 200
    assert scene.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [[0]]
    assert scene.rows("SELECT current_setting('application_name')") != [["evil"]]
    # A lock that treadle takes itself is let go of with the question.
    assert scene.ask("SELECT pg_advisory_lock(128001001063780)").status_code == 200
    scene.load(scene.tenants.a, "after")
    assert scene.newest("after").json()["row_count"] == 2


POSTGRES_ENDED = (
    "SELECT pg_sleep(60)",
    "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)",
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "SELECT pg_sleep(1) FROM generate_series(1, 60)",
    "WITH RECURSIVE t AS (SELECT 1::int8 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
)


@pytest.mark.parametrize("statement", POSTGRES_ENDED)
def test_postgres_ends_what_takes_too_long(statement: str, postgres_scene: Scene) -> None:
    began = time.monotonic()
    assert postgres_scene.refusal(statement) == (
        400,
        "StatementOverdue",
        OVERDUE,
    )
    assert time.monotonic() - began < 40
    assert postgres_scene.rows("SELECT count(*) FROM shop.orders") == [[2]]


def test_a_value_that_fits_no_memory_ends_its_question_alone(postgres_scene: Scene) -> None:
    statement = "SELECT " + ", ".join(["repeat('x', 250000000)"] * 4)
    status, _, _ = postgres_scene.refusal(statement)
    assert status == 400
    assert postgres_scene.rows("SELECT count(*) FROM shop.orders") == [[2]]


def test_no_password_is_in_an_answer_or_the_log(
    postgres_scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene = postgres_scene
    texts = [scene.ask(statement).text for statement in ("SELECT * FROM nix", "SELECT 1")]
    assert not [text for text in texts if "secret@" in text]
    assert os.environ.get("TREADLE_DESTINATION", "secret@") not in caplog.text
