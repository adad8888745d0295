"""Whose fault it is when a load fails, and that nothing of it stays (loading.md 10.3)."""

import os
import pwd
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.integration.destinations.questions import ask
from tests.kinds import some_at_release
from tests.servers.database_server import NoServerError
from tests.servers.postgres import PostgresServer

from treadle.destinations.conformance.builders import (
    BIGINT,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    relation,
    table,
    upsert,
)
from treadle.destinations.conformance.planning import NOW, prepared
from treadle.destinations.planning import execute_accepted
from treadle.destinations.postgres.connection import PostgresConnection
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    NamedSessions,
    RowRefusedError,
    Session,
    TableHeldError,
)
from treadle.destinations.registry import make_destination
from treadle.destinations.sql.text import Quoted
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    OffsetCommit,
    Rejection,
    WidenColumn,
)

# --- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def login(postgres_server: PostgresServer, postgres_database: str) -> Iterator[str]:
    """The URL of an ordinary user who owns the schema `web` of a fresh database."""
    name = psycopg.conninfo.conninfo_to_dict(postgres_database)["dbname"]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE ROLE loader LOGIN PASSWORD 'secret-word';"
                "GRANT CREATE ON DATABASE {} TO loader"
            ).format(sql.Identifier(str(name)))
        )
        yield postgres_server.url(str(name), user="loader", password="secret-word")
        connection.execute("DROP OWNED BY loader CASCADE; DROP ROLE loader")


def _as_superuser(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_missing_right_is_told_in_the_servers_words(login: str, postgres_database: str) -> None:
    with make_destination(login).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        _as_superuser(postgres_database, "ALTER TABLE web.orders OWNER TO CURRENT_USER")
        with pytest.raises(AccessDeniedError) as refused:
            loads.load(table(ORDERS), upsert([(1, 2, "y")]))
        assert "ERROR: permission denied for table orders; let its owner " in str(refused.value)
        assert 'run: ALTER TABLE "web"."orders" OWNER TO ' in str(refused.value)
        _as_superuser(postgres_database, "ALTER TABLE web.orders OWNER TO loader")
        loads.load(table(ORDERS), upsert([(1, 2, "y")]))
        assert loads.orders() == [(1, "y", 2)]


def test_a_schema_that_may_not_be_made(login: str, postgres_database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_database)["dbname"]
    _as_superuser(postgres_database, f'REVOKE CREATE ON DATABASE "{name}" FROM loader')
    with make_destination(login).open() as session, pytest.raises(AccessDeniedError) as refused:
        session.prepare("web")
    assert "Encountered error while attempting to create new schema." in str(refused.value)
    assert "permission denied for database" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"user": "nobody-here"}, "password authentication failed"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_refused_login_is_forbidden(
    postgres_server: PostgresServer, change: dict[str, str], expected: str
) -> None:
    with pytest.raises(AccessDeniedError, match=expected) as refused:
        make_destination(postgres_server.url(**change)).open()
    assert "wrong" not in str(refused.value)
    assert postgres_server.password not in str(refused.value)


def test_what_the_environment_sets_is_for_the_operators_databases(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=of_the_operator")
    asked = "SHOW search_path"
    with make_destination(postgres_database).open() as session:
        assert session.query(asked).rows == [("of_the_operator",)]
    named = make_destination(postgres_database, check_address=lambda address: None)
    with named.open() as session:
        assert session.query(asked).rows != [("of_the_operator",)]


def test_sessions_of_a_lost_loader_end_also_where_the_url_sets_a_role(
    login: str, postgres_database: str
) -> None:
    """Several log-ins may share one role that owns all tables."""
    _as_superuser(postgres_database, "CREATE ROLE owner; GRANT owner TO loader")
    try:
        url = login + "?options=-c%20role%3Downer"
        lost, ours = make_destination(url), make_destination(url)
        assert isinstance(lost, NamedSessions)
        lost.name_sessions("b0a8f1de-0000-4000-8000-000000000002")
        with ours.open() as session, lost.open() as other:
            assert other.query("SELECT current_user").rows == [("owner",)]
            assert session.evict("b0a8f1de-0000-4000-8000-000000000002") == 1
            assert session.query("SELECT current_user").rows == [("owner",)]
            with pytest.raises(DestinationUnavailableError):
                other.query("SELECT 1")
    finally:
        _as_superuser(postgres_database, "DROP ROLE owner")


def test_too_many_connections_are_unavailable(login: str, postgres_database: str) -> None:
    _as_superuser(postgres_database, "ALTER ROLE loader CONNECTION LIMIT 1")
    with (
        make_destination(login).open(),
        pytest.raises(DestinationUnavailableError, match="too many connections"),
    ):
        make_destination(login).open()


def test_a_lock_of_somebody_else_is_waited_for_a_while(postgres_database: str) -> None:
    with make_destination(postgres_database + "?options=-c%20lock_timeout%3D1").open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        with psycopg.connect(postgres_database) as other:
            other.execute("LOCK TABLE web.orders")
            session.query("SET lock_timeout = '100ms'")
            with pytest.raises(TableHeldError, match="lock timeout"):
                loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert loads.orders() == [(1, "x", 1)]


def load_another(session: Session) -> list[tuple[int]]:
    """Load another table; returns its keys."""
    loads = TableLoads(session, table_name="others")
    others = relation("others", {"id": BIGINT})
    loads.load(
        table(others),
        upsert([(1, 1)], ("id", "_sdc_sequence"), others),
        changes=[CreateRelation(others)],
    )
    return loads.read("SELECT id FROM web.others")


def test_a_reader_that_keeps_a_table_from_a_change_keeps_no_other_from_a_load(
    postgres_database: str,
) -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        plan = loads.plan(
            table(wider),
            upsert([(2, 1, "y")], of=wider),
            changes=[AddColumn("orders", column("b"))],
        )
        session.query("SET lock_timeout = '100ms'")
        with psycopg.connect(postgres_database) as other:
            other.execute("SELECT * FROM web.orders")
            with pytest.raises(TableHeldError, match="another session has the table"):
                session.load(plan)
            assert load_another(session) == [(1,)]
        session.load(plan)
        assert loads.orders() == [(1, "x", 1), (2, "y", 1)]


@pytest.mark.parametrize("state", ["XX001", *some_at_release("58030", "53400")])
def test_an_error_of_the_server_about_a_table_is_of_this_table_alone(
    postgres_database: str, state: str
) -> None:
    """Such as of an index that is damaged."""
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        _as_superuser(
            postgres_database,
            f"""
            CREATE FUNCTION web.fail() RETURNS trigger LANGUAGE plpgsql AS
              $$ BEGIN RAISE 'damaged' USING ERRCODE = '{state}'; END $$;
            CREATE TRIGGER fail BEFORE INSERT ON web.orders
              FOR EACH ROW EXECUTE FUNCTION web.fail()
            """,
        )
        with pytest.raises(TableHeldError, match="damaged"):
            loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert load_another(session) == [(1,)]


def test_no_function_of_another_role_runs_as_the_loader(postgres_database: str) -> None:
    """One that fits better than the system's, in a schema of the search path (CVE-2018-1058)."""
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        _as_superuser(
            postgres_database,
            """
            CREATE SEQUENCE public.ran_format; CREATE SEQUENCE public.ran_multiply;
            CREATE SEQUENCE public.ran_same; CREATE SEQUENCE public.ran_less;
            CREATE FUNCTION public.format(text, text, text) RETURNS text LANGUAGE plpgsql AS
              $$ BEGIN PERFORM nextval('public.ran_format');
              RETURN pg_catalog.format($1, $2, $3); END $$;
            CREATE FUNCTION public.multiply(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS
              $$ BEGIN PERFORM nextval('public.ran_multiply');
              RETURN $1 OPERATOR(pg_catalog.*) $2::numeric; END $$;
            CREATE OPERATOR public.* (
              LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.multiply);
            CREATE FUNCTION public.same(varchar, text) RETURNS boolean LANGUAGE plpgsql AS
              $$ BEGIN PERFORM nextval('public.ran_same');
              RETURN $1::text OPERATOR(pg_catalog.=) $2; END $$;
            CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.same);
            CREATE FUNCTION public.less(double precision, numeric) RETURNS boolean
              LANGUAGE plpgsql AS
              $$ BEGIN PERFORM nextval('public.ran_less'); RETURN true; END $$;
            CREATE OPERATOR public.< (
              LEFTARG = double precision, RIGHTARG = numeric, FUNCTION = public.less)
            """,
        )
        narrow = relation("orders", {"id": TEXT, "a": ColumnType.DOUBLE})
        wide = relation("orders", {"id": TEXT, "a": TEXT})
        loads.load(
            table(narrow), upsert([("1", 1, 1.5)], of=narrow), changes=[CreateRelation(narrow)]
        )
        session.query("ALTER TABLE web.orders ALTER COLUMN id TYPE varchar(20)")
        assert session.sequences("web", narrow, [["1"]], private=False) == [1]
        loads.load(table(narrow), upsert([("1", 2, 2.0)], of=narrow))
        loads.load(
            table(wide),
            changes=[WidenColumn("orders", column("a"), ColumnType.DOUBLE)],
        )
        assert session.counts("web", wide, 0).rows == 1
        assert session.evict("nobody") == 0
        assert session.clock()
        assert loads.read("SELECT id, a FROM web.orders") == [("1", "2")]
        # A sequence goes on also where a transaction is undone.
        ran = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL ORDER BY 1"
        assert loads.read(ran) == []


def test_a_session_that_stood_still_blames_no_table(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends its transaction: that of a loader that was stopped."""
    url = postgres_database + "?options=-c%20transaction_timeout%3D5s"
    with (
        make_destination(url).open() as session,
        psycopg.connect(postgres_database, autocommit=True) as watching,
    ):
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        assert session.query("SHOW transaction_timeout").rows == [("0",)]
        [(pid,)] = session.query("SELECT pg_backend_pid()").rows
        session.query("SET idle_in_transaction_session_timeout = '1ms'")

        def stand_still(name: str) -> None:
            found: object = None
            while name == "destination.after-rows" and found != (0,):
                asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                found = watching.execute(asked, [pid]).fetchone()

        monkeypatch.setattr("treadle.failpoint.reach", stand_still)
        with pytest.raises(DestinationUnavailableError) as fault:
            loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert type(fault.value) is DestinationUnavailableError


def test_a_broken_commit_is_unknown(postgres_database: str) -> None:
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        _as_superuser(
            postgres_database,
            """
            CREATE FUNCTION web.die() RETURNS trigger LANGUAGE plpgsql AS
              $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER die AFTER INSERT ON web.orders
              DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION web.die()
            """,
        )
        with pytest.raises(CommitUnknownError):
            loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        with pytest.raises(DestinationUnavailableError):
            session.committed(LOG)
    with make_destination(postgres_database).open() as session:
        assert session.committed(LOG)[7, "orders"].position == 0
        assert session.query("SELECT * FROM web.orders").rows == []


def test_a_constraint_checked_at_commit_is_no_unknown(postgres_database: str) -> None:
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        session.query("ALTER TABLE web.orders ADD UNIQUE (a) DEFERRABLE INITIALLY DEFERRED")
        with pytest.raises(Exception, match="duplicate key") as refused:
            loads.load(table(ORDERS), upsert([(1, 1, "x"), (2, 1, "x")]))
        assert type(refused.value) is RowRefusedError
        assert session.committed(LOG)[7, "orders"].position == 0


def test_the_record_that_a_constraint_refuses_at_commit_is_found(postgres_database: str) -> None:
    destination = make_destination(postgres_database)
    with destination.open() as session:
        first = prepared(destination.profile, 1, (1, {"id": 1, "a": "x"}))
        execute_accepted(session, first, offset=OffsetCommit(LOG, 7, "t", -1, 1), now=NOW)
        session.query("ALTER TABLE web.t ADD UNIQUE (a) DEFERRABLE INITIALLY DEFERRED")
        records = ((2, {"id": 2, "a": "y"}), (3, {"id": 3, "a": "x"}), (4, {"id": 4, "a": "z"}))
        second = prepared(destination.profile, 2, *records)
        mark = OffsetCommit(LOG, 7, "t", 1, 2)
        left, _, _ = execute_accepted(session, second, offset=mark, now=NOW + 1)
        assert session.query("SELECT id FROM web.t ORDER BY id").rows == [(1,), (2,), (4,)]
        [(record, reason)] = session.query("SELECT record, reason FROM web._sdc_rejected").rows
        assert '"id":3' in record.replace(" ", "")
        assert "duplicate key" in reason
        assert left.received == 3


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "a": "y"},  # a stage is a table, too
        {"id": 2, "a": "y", "b": 1},
        *some_at_release({"id": 1, "a": "y", "b": 1}, {"id": "no number"}),
    ],
)
def test_no_record_is_to_blame_where_the_schema_may_not_be_changed(
    postgres_database: str, record: dict[str, Any]
) -> None:
    """An event trigger of a person refuses that for a while."""
    destination = make_destination(postgres_database)
    with destination.open() as session:
        first = prepared(destination.profile, 1, (1, {"id": 1, "a": "x"}))
        execute_accepted(session, first, offset=OffsetCommit(LOG, 7, "t", -1, 1), now=NOW)
        session.query("DROP TABLE web._sdc_rejected")
        _as_superuser(
            postgres_database,
            """
            CREATE FUNCTION web.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
              $$ BEGIN RAISE EXCEPTION 'no DDL now'; END $$;
            CREATE EVENT TRIGGER no_ddl ON ddl_command_start
              WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION web.no_ddl()
            """,
        )
        second = prepared(destination.profile, 2, (2, record))
        mark = OffsetCommit(LOG, 7, "t", 1, 2)
        with pytest.raises(TableStoppedError, match="no record is to blame: ERROR: no DDL now"):
            execute_accepted(session, second, offset=mark, now=NOW + 1)
        _as_superuser(postgres_database, "DROP EVENT TRIGGER no_ddl")
        execute_accepted(session, second, offset=mark, now=NOW + 1)
        rejected = session.query("SELECT count(*) FROM web._sdc_rejected").rows
        assert rejected == [(int(record["id"] == "no number"),)]


def test_a_new_schema_that_may_not_be_made_blames_no_record(postgres_database: str) -> None:
    destination = make_destination(postgres_database)
    _as_superuser(
        postgres_database,
        """
        CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE EXCEPTION 'no DDL now'; END $$;
        CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION public.no_ddl()
        """,
    )
    first = prepared(destination.profile, 1, (1, {"id": 1, "a": "x"}))
    with destination.open() as session, pytest.raises(TableStoppedError, match="no DDL now"):
        execute_accepted(session, first, offset=OffsetCommit(LOG, 7, "t", -1, 1), now=NOW)


def test_a_statement_about_a_whole_table_is_not_taken_for_hung(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PostgresConnection.run
    asked: dict[str, list[str]] = {"15min": [], "1d": []}

    def note(self: PostgresConnection, statement: Quoted, *values: object) -> int:
        [(waits,)] = self.rows(Quoted("SHOW statement_timeout"))
        asked[waits].append(statement)
        return run(self, statement, *values)

    stage = replace(ORDERS, name="stage_orders")
    wide = relation("orders", {"id": BIGINT, "a": TEXT, "v": ColumnType.DOUBLE})
    narrow = relation("orders", {"id": BIGINT, "a": TEXT, "v": BIGINT})
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(narrow),
            upsert([(1, 1, "x")], of=narrow),
            upsert([(2, 1, "y")], of=stage, private=True),
            changes=[CreateRelation(narrow), CreateRelation(stage, private=True)],
        )
        monkeypatch.setattr(PostgresConnection, "run", note)
        loads.load(table(narrow), upsert([(1, 2, "z")], of=narrow))
        assert asked["1d"] == []
        loads.load(
            table(wide),
            upsert([(3, 1, "z")], of=wide),
            changes=[
                WidenColumn("orders", column("v", ColumnType.DOUBLE), BIGINT),
                EmptyRelation("orders"),
                CopyStage("stage_orders", "orders", (("id", "id"), ("a", "a"))),
                ChangeKey("orders", ("id",), ("id",)),
                DropStage("stage_orders"),
            ],
        )
        long = [one.split(" ")[0] for one in asked["1d"] if "statement_timeout" not in one]
        assert long == ["ALTER", "TRUNCATE", "INSERT", "ALTER", "DROP"]
        assert asked["15min"][-1] == "COMMIT"
        monkeypatch.undo()
        # Also where one is refused, and the transaction has failed.
        session.query("CREATE VIEW web.seen AS SELECT v FROM web.orders")
        with pytest.raises(TableStoppedError):
            loads.load(table(narrow), changes=[WidenColumn("orders", column("v", BIGINT), BIGINT)])
        assert session.query("SHOW statement_timeout").rows == [("15min",)]
        assert session.counts("web", wide, 0).rows == 2
        assert session.query("SHOW statement_timeout").rows == [("15min",)]


def test_no_setting_of_the_database_changes_how_values_are_written(
    postgres_database: str,
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_database)["dbname"]
    for setting in (
        "extra_float_digits = 0",
        "datestyle = 'German'",
        "bytea_output = 'escape'",
    ):
        _as_superuser(postgres_database, f'ALTER DATABASE "{name}" SET {setting}')
    narrow = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        values = [(1, 1, 0.12345678901234568)]
        sent = upsert(values, ("id", "_sdc_sequence", "v"), narrow)
        loads.load(table(narrow), sent, changes=[CreateRelation(narrow)])
        loads.load(table(wide), changes=[WidenColumn("orders", column("v"), ColumnType.DOUBLE)])
        assert loads.read("SELECT v FROM web.orders") == [("0.12345678901234568",)]
        assert loads.read("SELECT '2023-11-14 22:13:27Z'::timestamptz") == [
            (datetime(2023, 11, 14, 22, 13, 27, tzinfo=UTC),)
        ]
    forms = r"SELECT '\x00ff'::bytea, '2023-11-14 22:13:27Z'::timestamptz"
    assert list(ask(postgres_database, forms).rows) == [["AP8=", "2023-11-14T22:13:27Z"]]


def test_a_view_on_a_column_that_must_widen_stops_the_table(postgres_database: str) -> None:
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        narrow = relation("orders", {"id": BIGINT, "v": BIGINT})
        wide = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
        loads.create(narrow)
        session.query("CREATE VIEW web.seen AS SELECT v FROM web.orders")
        with pytest.raises(TableStoppedError, match="used by a view"):
            loads.load(
                table(wide),
                changes=[WidenColumn("orders", column("v", ColumnType.DOUBLE), BIGINT)],
            )


def test_dropped_columns_count_towards_the_most_of_postgresql(postgres_database: str) -> None:
    names = [f"c{number:04}" for number in range(1595)]
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        full = relation("orders", {"id": BIGINT, **dict.fromkeys(names, TEXT)})
        loads.create(full)
        session.query("ALTER TABLE web.orders DROP COLUMN c0000")
        with pytest.raises(RowRefusedError) as refused:
            loads.load(table(full), changes=[AddColumn("orders", column("d"))])
        assert refused.value.reason == "ERROR: too many columns"


def test_a_stopped_server_is_unavailable_and_keeps_what_it_had() -> None:
    try:
        server = PostgresServer()
    except NoServerError as error:
        pytest.skip(str(error))
    with server:
        url = server.create_database()
        session = make_destination(url).open()
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        server.kill()
        with pytest.raises(DestinationUnavailableError):
            loads.load(table(ORDERS), upsert([(1, 2, "y")]))
        with pytest.raises(DestinationUnavailableError):
            make_destination(url).open()
        session.close()
        server.start()
        with make_destination(url).open() as again:
            assert TableLoads(again).orders() == [(1, "x", 1)]
            assert again.committed(LOG)[7, "orders"].position == 0


@pytest.mark.parametrize("kind", ["postgres", "duckdb"])
def test_a_column_of_rejections_that_somebody_dropped_is_made_again(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"duckdb://{tmp_path / 'data.duckdb'}"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_database")
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        for name in ("reason", "table_name"):
            session.query(f"ALTER TABLE web._sdc_rejected DROP COLUMN {name}")
        rejection = Rejection('{"id": null}', "because", "orders", 0, 0)
        loads.load(table(ORDERS), upsert([(2, 1, "y")]), rejections=[rejection])
        assert loads.read("SELECT record, reason, table_name FROM web._sdc_rejected") == [
            ('{"id": null}', "because", "orders")
        ]


# --- DuckDB ---------------------------------------------------------------------------------------

HOLD = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_held_by_another_process_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DestinationUnavailableError, match=rf"held by .*PID {holder.pid}"):
            make_destination(f"duckdb://{path}").open()
        holder.communicate()
    with make_destination(f"duckdb://{path}").open() as session:
        session.prepare("web")
        assert session.committed(LOG) == {}


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    path.write_text("something else, and long enough to look like a header" * 100)
    with pytest.raises(OperatorError, match="not a DuckDB database"):
        make_destination(f"duckdb://{path}").open()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="make its directory first"):
        make_destination(f"duckdb://{tmp_path}/none/data.duckdb").open()


def test_reading_before_the_first_load(tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailableError, match="does not exist yet"):
        make_destination(f"duckdb://{tmp_path}/data.duckdb").open(read_only=True)


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[None]:
    """Root, which may write everywhere, is somebody else once the folder was made."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("ordinary_user")
def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
    with pytest.raises(AccessDeniedError, match="Permission denied"):
        make_destination(f"duckdb://{tmp_path}/data.duckdb").open()


def test_a_query_reads_no_other_file(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    with make_destination(f"duckdb://{tmp_path}/data.duckdb").open() as session:
        for statement in (
            f"SELECT * FROM read_csv('{other}')",
            f"ATTACH '{tmp_path}/other.duckdb'",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        ):
            with pytest.raises(OperatorError, match="disabled"):
                session.query(statement)


FULL_DISK = """
    import resource, signal, sys
    sys.path[:0] = sys.argv[2:]
    from treadle.destinations.conformance.builders import *
    from treadle.destinations.protocol import CommitUnknownError, DestinationUnavailableError
    from treadle.destinations.registry import make_destination

    session = make_destination("duckdb://" + sys.argv[1]).open()
    session.prepare("web")
    loads = TableLoads(session)
    loads.create(ORDERS)
    # From here on no file may grow past what it has: the write-ahead log cannot take the load.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        loads.load(table(ORDERS), upsert([(n, 1, "x" * 500) for n in range(200)]))
    except (CommitUnknownError, DestinationUnavailableError) as error:
        print(type(error).__name__, flush=True)
    import os
    os._exit(0)
"""


def test_a_commit_the_disk_has_no_room_for(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path), str(Path.cwd()),
         str(Path.cwd() / "src")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == CommitUnknownError.__name__, done.stderr
    with make_destination(f"duckdb://{path}").open() as session:
        assert session.committed(LOG)[7, "orders"].position == 0
        assert session.query("SELECT count(*) FROM web.orders").rows == [(0,)]


KILLED = """
    import os, sys
    sys.path[:0] = sys.argv[2:]
    from treadle.destinations.conformance.builders import *
    from treadle.destinations.registry import make_destination
    from treadle.tables.model import CreateRelation

    session = make_destination("duckdb://" + sys.argv[1]).open()
    session.prepare("web")
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    os.kill(os.getpid(), 9)
"""


def test_a_committed_load_survives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(Path.cwd()),
         str(Path.cwd() / "src")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    with make_destination(f"duckdb://{path}").open() as session:
        assert TableLoads(session).orders() == [(1, "x", 1)]
        assert session.committed(LOG)[7, "orders"].position == 0


# --- a column that a person made narrower ---------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgres", "duckdb"])
@pytest.mark.parametrize(
    ("held", "altered", "fits", "rounded"),
    [
        (ColumnType.DOUBLE, "bigint", 2.0, 2.5),
        (ColumnType.DOUBLE, "decimal(12,2)", 7.25, 7.126),
        pytest.param(
            ColumnType.DECIMAL,
            "decimal(12,2)",
            Decimal("7.25"),
            Decimal("7.126"),
            marks=pytest.mark.release,
        ),
        pytest.param(
            ColumnType.TIMESTAMP,
            "date",
            1_700_006_400_000_000,
            1_700_006_400_000_001,
            marks=pytest.mark.release,
        ),
    ],
)
def test_a_value_that_a_narrower_column_would_round_is_refused(
    held: ColumnType,
    altered: str,
    fits: object,
    rounded: object,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    url = f"duckdb://{tmp_path / 'data.duckdb'}"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_database")
    orders = relation("orders", {"id": BIGINT, "v": held})
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)

        def load(key: int, value: object) -> None:
            sent = upsert([(key, loads.position + 2, value)], ("id", "_sdc_sequence", "v"), orders)
            loads.load(table(orders), sent)

        loads.create(orders)
        session.query(f"ALTER TABLE web.orders ALTER COLUMN v TYPE {altered}")
        for key in (1, 1, 2):  # a new row, one that is replaced, and a new one again
            load(key, fits)
            with pytest.raises(RowRefusedError, match=r'column "v" has the type .* the value'):
                load(key, rounded)
            with pytest.raises(RowRefusedError, match=r'column "v" has the type .* the value'):
                load(key + 10, rounded)
        assert loads.read("SELECT count(*), count(DISTINCT v) FROM web.orders") == [(2, 1)]
