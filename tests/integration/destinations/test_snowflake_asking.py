"""Questions of people to the emulator of Snowflake: what is run, what is refused, and values."""

import pytest
from tests.integration.destinations.questions import ask, asked

from treadle.destinations.asking import StatementFaultError, ValueForm
from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation
from treadle.tables.schema_owner import UNOWNED

pytestmark = pytest.mark.release


@pytest.fixture
def loaded(snowflake_url: str) -> str:
    """A database with three orders in the schema `web`."""
    with make_destination(snowflake_url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x"), (2, 3, None), (3, 2, "z")]),
            changes=[CreateRelation(ORDERS)],
        )
    return snowflake_url


def test_values_are_written_as_they_are(loaded: str) -> None:
    found = ask(
        loaded,
        "SELECT 12345678901234567 AS big, 1.10 AS price, 1e300::FLOAT AS large, NULL AS nothing,"
        " TRUE AS flag, 'ä''' AS text,"
        " CAST('2024-01-02 03:04:05.250000 +00:00' AS TIMESTAMP_TZ) AS at,"
        " PARSE_JSON('{\"a\": [1]}') AS nested",
    )
    assert list(found.rows) == [
        [
            *("12345678901234567", "1.10", "1e+300", None, "true", "ä'"),
            *("2024-01-02T03:04:05.25Z", '{"a": [1]}'),
        ]
    ]
    forms = {column.name.lower(): column.form for column in found.columns}
    assert forms["big"] is forms["price"] is forms["large"] is ValueForm.NUMBER
    assert (forms["flag"], forms["at"], forms["nested"]) == (
        *(ValueForm.BOOLEAN, ValueForm.INSTANT, ValueForm.JSON),
    )


def test_the_newest_rows_of_a_table_come_first(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        found = session.read_relation("web", "orders", 2)
        at = [column.name.lower() for column in found.columns].index("id")
        assert [row[at] for row in found.rows] == ["2", "3"]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM web.nowhere",
        "DELETE FROM web.orders",
        "DROP TABLE web.orders",
        "SELECT 1) AS q UNION SELECT * FROM (SELECT 2",
    ],
)
def test_what_is_no_select_is_refused(loaded: str, statement: str) -> None:
    with pytest.raises(StatementFaultError):
        list(ask(loaded, statement).rows)
    assert list(ask(loaded, "SELECT count(*) FROM web.orders").rows) == [["3"]]


def test_who_asks_finds_schemas_and_owners(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        assert session.find_rights().dangerous == ()
        assert "web" in session.list_readable_schemas()
        assert session.read_owners() == {"web": UNOWNED}
