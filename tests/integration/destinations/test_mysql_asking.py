"""Questions of people to MariaDB: what is run, what is refused, and how values are written."""

import time
from typing import TYPE_CHECKING

import pytest
from tests.integration.destinations.questions import ask, asked

from treadle.destinations.asking import (
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation
from treadle.tables.schema_owner import UNOWNED

if TYPE_CHECKING:
    from tests.servers.mariadb import MariaServer


@pytest.fixture
def loaded(mariadb_url: str) -> str:
    """A server with three orders in the schema `web`."""
    with make_destination(mariadb_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x"), (2, 3, None), (3, 2, "z")]),
            changes=[CreateRelation(ORDERS)],
        )
    return mariadb_url


def test_values_are_written_as_they_are(loaded: str) -> None:
    found = ask(
        loaded,
        "SELECT 18446744073709551615 AS big, 1.10 AS price, 1e300 AS large, NULL AS nothing,"
        " 'ä''\\n' AS text, x'00ff' AS raw, TIMESTAMP'2024-01-02 03:04:05.250000' AS at,"
        " DATE'2024-01-02' AS day",
    )
    assert [column.name for column in found.columns] == [
        "big", "price", "large", "nothing", "text", "raw", "at", "day",
    ]  # fmt: skip
    assert list(found.rows) == [
        [
            *("18446744073709551615", "1.10", "1e+300", None, "ä'\\n", "AP8="),
            *("2024-01-02T03:04:05.25Z", "2024-01-02"),
        ]
    ]
    forms = {column.name: column.form for column in found.columns}
    assert forms["big"] is forms["price"] is ValueForm.NUMBER
    assert (forms["raw"], forms["at"], forms["text"]) == (
        *(ValueForm.BLOB, ValueForm.INSTANT, ValueForm.TEXT),
    )


def test_the_newest_rows_of_a_table_come_first(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        found = session.read_relation("web", "orders", 2)
        at = [column.name for column in found.columns].index("id")
        assert [row[at] for row in found.rows] == ["2", "3"]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM web.nowhere",
        "DELETE FROM web.orders",
        "SHOW TABLES FROM web",
        "SELECT 1) AS q UNION SELECT * FROM (SELECT 2",
        "SELECT * FROM web.orders) AS q FOR UPDATE -- ",
        "SELECT 1 INTO OUTFILE '/tmp/treadle-test'",
    ],
)
def test_what_is_no_select_is_not_run(loaded: str, statement: str) -> None:
    with pytest.raises(StatementFaultError):
        ask(loaded, statement)
    assert len(list(ask(loaded, "SELECT id FROM web.orders").rows)) == 3


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM web.orders RETURNING id", "READ ONLY"),
        ("ANALYZE DELETE FROM web.orders", "READ ONLY"),
        ("DELETE FROM web.orders", "READ ONLY"),
        ("CREATE TABLE web.mine (a INT)", "READ ONLY"),
        # What gives no rows is not begun: some of it would end the transaction.
        ("SET PASSWORD = PASSWORD('mine')", "gives no rows"),
        ("COMMIT", "gives no rows"),
        ("DO SLEEP(30)", "gives no rows"),
        ("SELECT 1 INTO OUTFILE '/tmp/treadle-test'", "gives no rows"),
        ("SELECT id FROM web.orders WHERE id = ?", "without parameters"),
        ("SELECT '\ud800'", "not Unicode"),
    ],
)
def test_nothing_is_changed_without_a_wrap_either(loaded: str, statement: str, said: str) -> None:
    with pytest.raises(StatementFaultError, match=said):
        ask(loaded, statement, wraps=False)
    assert list(ask(loaded, "SHOW TABLES FROM web LIKE 'o%'", wraps=False).rows) == [["orders"]]


def test_rows_beyond_the_limit_are_not_read(loaded: str) -> None:
    endless = "SELECT a.seq FROM mysql.seq_1_to_1000000 a, mysql.seq_1_to_1000000 b"
    assert len(list(ask(loaded, endless, limit=3, wraps=False).rows)) == 3


def test_a_statement_that_takes_too_long_is_ended(loaded: str) -> None:
    began = time.monotonic()
    with asked(loaded).ask(0.5) as session, pytest.raises(StatementOverdueError):
        list(session.read_statement("SELECT SLEEP(30)", 10, wraps=True).rows)
    assert time.monotonic() - began < 20


def test_who_asks_and_what_can_be_read(loaded: str, mariadb_server: "MariaServer") -> None:
    with asked(loaded).ask(20.0) as session:
        rights = session.find_rights()
        assert "treadle_test" in rights.role
        assert "allowed FILE" in rights.dangerous
        assert session.list_readable_schemas() == {"web"}
        assert session.read_owners() == {"web": UNOWNED}
        assert session.look_up.state("web", "orders").revision == 1
    mariadb_server.execute("CREATE DATABASE other", "CREATE TABLE other.t (a INT)")
    with mariadb_server.lend_user("SELECT ON web.*") as url, asked(url).ask(20.0) as session:
        assert session.find_rights().dangerous == ()
        assert session.list_readable_schemas() == {"web"}
        assert session.read_owners() is None
