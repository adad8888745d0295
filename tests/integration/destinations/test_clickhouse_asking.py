"""Questions of people to ClickHouse: what is run, what is refused, and how values are written."""

import time
from collections.abc import Iterator
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
    from tests.servers.clickhouse import ClickhouseServer


@pytest.fixture(scope="module")
def loaded(clickhouse_server: "ClickhouseServer") -> Iterator[str]:
    """A server with three orders in the schema `web`, one of them written twice.

    The tests share it, since none of them can change it.
    """
    url = clickhouse_server.url()
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x"), (2, 2, None), (3, 2, "z")]),
            changes=[CreateRelation(ORDERS)],
        )
        loads.load(table(ORDERS), upsert([(2, 3, None)]))
    yield url
    clickhouse_server.empty()


def test_values_are_written_as_they_are(loaded: str) -> None:
    found = ask(
        loaded,
        "SELECT 18446744073709551615 AS big, toDecimal64('1.10', 2) AS price, 1e300 AS large,"
        " NULL AS nothing, 'ä''\\n' AS text, toDateTime64('2024-01-02 03:04:05.25', 6, 'UTC') AS"
        " at, toDate('2024-01-02') AS day, [1.5, 2] AS list, nan AS odd, true AS yes",
    )
    assert [column.name for column in found.columns] == [
        "big", "price", "large", "nothing", "text", "at", "day", "list", "odd", "yes",
    ]  # fmt: skip
    assert list(found.rows) == [
        [
            *("18446744073709551615", "1.1", "1E+300", None, "ä'\n", "2024-01-02T03:04:05.25Z"),
            *("2024-01-02", "[1.5, 2]", "NaN", "true"),
        ]
    ]
    forms = {column.name: column.form for column in found.columns}
    assert forms["big"] is forms["price"] is forms["odd"] is ValueForm.NUMBER
    assert (forms["list"], forms["at"], forms["text"]) == (
        *(ValueForm.JSON, ValueForm.INSTANT, ValueForm.TEXT),
    )


def test_the_newest_rows_of_a_table_come_first_and_once(loaded: str) -> None:
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
        "INSERT INTO web.orders (id) VALUES (5)",
        "DROP TABLE web.orders",
        "SELECT 1) UNION ALL SELECT * FROM (SELECT 2); DROP TABLE web.orders; --",
        "SELECT * FROM file('/etc/hostname', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM file('/etc/hostname', 'LineAsString') SETTINGS readonly = 0",
    ],
)
def test_what_is_no_select_is_not_run(loaded: str, statement: str) -> None:
    with pytest.raises(StatementFaultError):
        ask(loaded, statement)
    assert len(list(ask(loaded, "SELECT id FROM web.orders").rows)) == 3


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO web.orders (id) VALUES (5)", "CREATE TABLE web.mine (a Int8) ENGINE = Memory"],
)
def test_nothing_is_changed_without_a_wrap_either(loaded: str, statement: str) -> None:
    with pytest.raises(StatementFaultError, match="readonly"):
        ask(loaded, statement, wraps=False)
    assert list(ask(loaded, "SHOW TABLES FROM web LIKE 'o%'", wraps=False).rows) == [
        ["orders"],
        ["orders_current"],
    ]


def test_rows_beyond_the_limit_are_not_read(loaded: str) -> None:
    assert len(list(ask(loaded, "SELECT * FROM numbers(5000)", limit=3, wraps=False).rows)) == 3


def test_a_statement_that_takes_too_long_is_ended(loaded: str) -> None:
    began = time.monotonic()
    endless = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(number)"
    with asked(loaded).ask(0.5) as session, pytest.raises(StatementOverdueError):
        list(session.read_statement(endless, 10, wraps=True).rows)
    assert time.monotonic() - began < 20


def test_who_asks_and_what_can_be_read(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        assert session.find_rights().role == "default"  # the engine in a process knows no other
        assert session.find_rights().dangerous == ()
        assert session.list_readable_schemas() == {"web"}
        assert session.read_owners() == {"web": UNOWNED}
        assert session.look_up.state("web", "orders").revision == 2
