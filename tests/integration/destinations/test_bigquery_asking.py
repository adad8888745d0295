"""Questions of people to BigQuery: what is run, what is refused, and how values are written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.integration.destinations.questions import ask, asked

from treadle.destinations.asking import StatementFaultError, ValueForm
from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation
from treadle.tables.schema_owner import UNOWNED

if TYPE_CHECKING:
    from tests.servers.bigquery import BigqueryServer

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def loaded(bigquery_server: "BigqueryServer") -> Iterator[str]:
    """An emulator with three orders in the schema `web`, one of them written twice."""
    url = bigquery_server.url()
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
    bigquery_server.empty()


def test_values_are_written_as_they_are(loaded: str) -> None:
    found = ask(
        loaded,
        "SELECT 9223372036854775807 AS big, NUMERIC '1.10' AS price, 1e300 AS large,"
        " CAST(NULL AS STRING) AS nothing, 'ä\\'\\n' AS text,"
        " TIMESTAMP '2024-01-02 03:04:05.25+00' AS at, DATE '2024-01-02' AS day,"
        " [1.5, 2.0] AS list, TRUE AS yes",
    )
    assert list(found.rows) == [
        [
            *("9223372036854775807", "1.100000000", "1e+300", None, "ä'\n"),
            *("2024-01-02T03:04:05.25Z", "2024-01-02", "[1.5, 2.0]", "true"),
        ]
    ]
    forms = {column.name: column.form for column in found.columns}
    assert forms["big"] is forms["price"] is ValueForm.NUMBER
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
        "CALL web.something()",
    ],
)
@pytest.mark.parametrize("wraps", [True, False])
def test_what_is_no_select_is_not_run(loaded: str, statement: str, wraps: bool) -> None:
    with pytest.raises(StatementFaultError):
        ask(loaded, statement, wraps=wraps)
    assert len(list(ask(loaded, "SELECT id FROM web.orders").rows)) == 3


def test_rows_beyond_the_limit_are_not_read(loaded: str) -> None:
    many = "SELECT * FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS n"
    assert len(list(ask(loaded, many, limit=3, wraps=False).rows)) == 3


def test_who_asks_and_what_can_be_read(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        assert session.find_rights().dangerous == ()
        assert session.list_readable_schemas() == {"web"}
        assert session.read_owners() == {"web": UNOWNED}
        assert session.look_up.state("web", "orders").revision == 2
