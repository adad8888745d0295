"""What goes wrong with Snowflake, on its emulator: logins, lost leases, an answer that is lost."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from treadle.destinations.conformance.builders import LOG, ORDERS, TableLoads, table, upsert
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
)
from treadle.destinations.registry import make_destination
from treadle.destinations.sql.text import Quoted
from treadle.errors import OperatorError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, CreateRelation

if TYPE_CHECKING:
    from tests.servers.snowflake import SnowflakeServer

pytestmark = pytest.mark.release


def test_a_wrong_password_is_the_operators(snowflake_server: "SnowflakeServer") -> None:
    with pytest.raises(AccessDeniedError, match="Incorrect username or password") as refused:
        make_destination(snowflake_server.url(password="5ecret")).open()
    assert "5ecret" not in str(refused.value)


def test_a_host_that_is_away_is_told_at_once() -> None:
    url = "snowflake://u:5ecret@127.0.0.1:9/db?protocol=http"
    with pytest.raises(DestinationUnavailableError, match=r"cannot be reached at 127\.0\.0\.1:9"):
        make_destination(url).open()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("snowflake://u:5ecret@account", "expected snowflake://user:password@account/database"),
        ("snowflake://account/db", "expected snowflake://user:password@account/database"),
        ("snowflake://u:5ecret@account/db/schema", "expected snowflake://user:password"),
        ("snowflake://u:5ecret@account/db?schema=x", "parameter 'schema'; known are private_key"),
        ("snowflake://u:5ecret@account/db?protocol=http", "a protocol other than https"),
    ],
)
def test_a_url_that_is_none_says_what_is_wrong(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as refused:
        make_destination(url)
    assert expected in str(refused.value)
    assert "5ecret" not in str(refused.value)


def test_a_client_of_the_api_names_only_hosts_of_the_service() -> None:
    def check(address: str) -> None:
        raise AssertionError(address)

    with pytest.raises(OperatorError, match="is none of Snowflake's"):
        make_destination("snowflake://u:p@snow.example.com:443/db", check)
    made = make_destination("snowflake://u:p@Org-Account/Shop?warehouse=W", check)
    assert made.identity == "snowflake://org-account.snowflakecomputing.com/shop"


def test_a_key_that_cannot_be_read_is_told_without_it(
    snowflake_server: "SnowflakeServer", tmp_path: Path
) -> None:
    key = tmp_path / "key.p8"
    url = f"{snowflake_server.url(password='5ecret')}&private_key={key}"
    with pytest.raises(OperatorError, match="No such file"):
        make_destination(url).open()
    key.write_text("-----BEGIN PRIVATE KEY-----\n5ecret\n")
    with pytest.raises(OperatorError, match="it is no key in PEM") as refused:
        make_destination(url).open()
    assert "5ecret" not in str(refused.value)


@pytest.mark.parametrize(
    ("statement", "reads"),
    [
        ("SELECT 1", True),
        (" -- a\n /* b\n */ ( with x as (select 1) select * from x)", True),
        ("show tables", True),
        ("INSERT INTO t VALUES (1)", False),
        ("-- SELECT\nDELETE FROM t", False),
        ("/* SELECT */ CALL p()", False),
        ("SELECTED", False),
        ("", False),
    ],
)
def test_a_statement_that_writes_is_known_by_its_first_word(statement: str, reads: bool) -> None:
    from treadle.destinations.snowflake.connection import only_reads

    assert only_reads(statement) is reads


def _prepare(session: Any) -> TableLoads:
    session.prepare("web")
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    return loads


def _add(loads: TableLoads) -> Any:
    """A plan that adds a column, so that something is done before its transaction."""
    return loads.plan(
        table(ORDERS),
        upsert([(1, 2, "y")]),
        changes=[AddColumn("orders", Column("b", "b", ColumnType.TEXT))],
    )


def test_a_loader_that_lost_its_lease_commits_nothing(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_destination(snowflake_url).open() as session:
        loads = _prepare(session)
        stage = session._stage_rows  # type: ignore[attr-defined]

        def lose(plan: Any) -> None:
            stage(plan)
            loads.read("UPDATE _treadle.leases SET holder = 'another'")

        monkeypatch.setattr(session, "_stage_rows", lose)
        with pytest.raises(DestinationUnavailableError, match="took this load for lost"):
            session.load(_add(loads))
        assert loads.orders() == [(1, "x", 1)]
        assert session.committed(LOG)[7, "orders"].position == 0


def test_a_transaction_that_is_ended_from_outside_commits_nothing(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_destination(snowflake_url).open() as session:
        loads = _prepare(session)
        connection = session._transactions.connection  # type: ignore[attr-defined]
        write = connection.upsert

        def lose(rows: Any) -> Any:
            connection.run(Quoted("ROLLBACK"))
            return write(rows)

        monkeypatch.setattr(connection, "upsert", lose)
        plan = loads.plan(table(ORDERS), upsert([(1, 2, "y")]))
        with pytest.raises(DestinationUnavailableError, match="ended from outside"):
            session.load(plan)
        monkeypatch.undo()
        assert loads.orders() == [(1, "x", 1)]
        loads.run(plan)
        assert loads.orders() == [(1, "y", 2)]


def test_a_lease_of_another_is_waited_for_until_it_ends(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.destinations.snowflake.session.WAIT_SECONDS_MAX", 0.2)
    with make_destination(snowflake_url).open() as session:
        loads = _prepare(session)
        plan = _add(loads)
        with session._transactions.loading([plan], rehearse=False):  # type: ignore[attr-defined]
            loads.read("UPDATE _treadle.leases SET holder = 'another'")
        with pytest.raises(DestinationUnavailableError, match="is still running"):
            session.load(plan)
        loads.read("UPDATE _treadle.leases SET ends_at = 0")
        loads.run(plan)
        assert loads.orders() == [(1, "y", 2)]
        assert loads.read("SELECT count(*) FROM _treadle.leases") == [(0,)]


def test_an_answer_to_commit_that_is_lost_is_asked_for(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snowflake.connector.errors import OperationalError

    with make_destination(snowflake_url).open() as session:
        loads = _prepare(session)
        plan = loads.plan(table(ORDERS), upsert([(1, 2, "y")]))
        connection = session._transactions.connection  # type: ignore[attr-defined]
        commit = connection.commit

        def lose() -> None:
            commit()
            raise OperationalError(msg="the connection was reset", errno=250003)

        monkeypatch.setattr(connection, "commit", lose)
        with pytest.raises(CommitUnknownError):
            session.load(plan)
        assert session.committed(LOG)[7, "orders"].position == plan.offset.position


def test_a_statement_whose_answer_fails_is_sent_once(
    snowflake_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_destination(snowflake_url).open() as session:
        loads = _prepare(session)
        driver = session._transactions.connection.driver  # type: ignore[attr-defined]
        sent = []
        execute = driver.rest._request_exec

        def fail(**options: Any) -> Any:
            sent.append(options["full_url"])
            execute(**options)
            raise ConnectionResetError("the answer is lost")

        from snowflake.connector.network import RetryRequest

        def lose(**options: Any) -> Any:
            try:
                fail(**options)
            except ConnectionResetError as error:
                raise RetryRequest(error) from error

        monkeypatch.setattr(driver.rest, "_request_exec", lose)
        with pytest.raises((DestinationUnavailableError, OperatorError)):
            loads.read("INSERT INTO web.orders (id) VALUES (9)")
        assert len(sent) == 1
