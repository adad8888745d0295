"""Questions of people to Iceberg: what is run, what is refused, and how values are written."""

from pathlib import Path

import pytest
from tests.integration.destinations.questions import ask, asked

from treadle.destinations.asking import (
    RoleRights,
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation
from treadle.tables.schema_owner import UNOWNED


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A catalogue with three orders in the schema `web`, one of them replaced."""
    url = f"iceberg+sql://{tmp_path_factory.mktemp('asking') / 'lake.db'}"
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x"), (2, 3, None), (3, 2, "z")]),
            changes=[CreateRelation(ORDERS)],
        )
        loads.load(table(ORDERS), upsert([(1, 4, "y")]))
    return url


def test_values_are_written_as_they_are(loaded: str) -> None:
    found = ask(
        loaded,
        "SELECT 18446744073709551615 AS big, 1.10 AS price, 'nan'::DOUBLE AS none, NULL AS nothing,"
        " 'ä''' AS text, '\\x00\\xFF'::BLOB AS raw, TIMESTAMPTZ '2024-01-02 03:04:05.25+00' AS at,"
        " a AS text FROM web.orders WHERE id = 1;",
    )
    assert [column.name for column in found.columns] == [
        "big", "price", "none", "nothing", "text", "raw", "at", "text_1",
    ]  # fmt: skip
    assert list(found.rows) == [
        ["18446744073709551615", "1.10", "NaN", None, "ä'", "AP8=", "2024-01-02T03:04:05.25Z", "y"]
    ]
    forms = [column.form for column in found.columns]
    assert forms[0] is forms[1] is forms[2] is ValueForm.NUMBER
    assert forms[4:7] == [ValueForm.TEXT, ValueForm.BLOB, ValueForm.INSTANT]


def test_the_newest_rows_of_a_table_come_first(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        found = session.read_relation("web", "orders", 2)
        at = [column.name for column in found.columns].index("id")
        assert [row[at] for row in found.rows] == ["1", "2"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("", "Expected one statement, found none"),
        (" ; ", "Expected one statement, found none"),
        ("SELECT 1; SELECT 2", "Expected one statement, found several"),
        ("SELEC 1", "Parser Error"),
        ("SELECT * FROM web.nowhere", "nowhere does not exist"),
        ("DELETE FROM web.orders", "Only a statement that reads"),
        ("CREATE TABLE mine (a INT)", "Only a statement that reads"),
        ("ATTACH '/tmp/treadle-test.duckdb'", "Only a statement that reads"),
        ("SET memory_limit = '4GB'", "Only a statement that reads"),
        ("SELECT * FROM read_text('/etc/hostname')", "Permission Error"),
        ("SELECT * FROM '/etc/hostname'", "does not exist"),
        ("SELECT 1) AS q UNION SELECT * FROM (SELECT 2", "Parser Error"),
        ("SELECT '\ud800'", "not Unicode"),
    ],
)
def test_what_only_reads_the_tables_is_run(loaded: str, statement: str, said: str) -> None:
    with pytest.raises(StatementFaultError, match=said):
        ask(loaded, statement)
    assert len(list(ask(loaded, "SELECT id FROM web.orders").rows)) == 3


def test_an_error_says_where_it_is(loaded: str) -> None:
    with pytest.raises(StatementFaultError) as refused:
        ask(loaded, "SELECT 'ü', nix FROM web.orders")
    assert refused.value.position == len("SELECT 'ü', ")


def test_rows_beyond_the_limit_are_not_read(loaded: str) -> None:
    assert len(list(ask(loaded, "SELECT * FROM range(1000000000000)", limit=3).rows)) == 3


def test_a_statement_that_takes_too_long_is_ended(loaded: str) -> None:
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range = -b.range"
    with asked(loaded).ask(0.5) as session, pytest.raises(StatementOverdueError, match=r"0\.5 s"):
        list(session.read_statement(endless, 10, wraps=True).rows)


def test_who_asks_and_what_can_be_read(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        assert session.find_rights() == RoleRights()
        assert session.list_readable_schemas() == {"web"}
        assert session.read_owners() == {"web": UNOWNED}
        assert session.look_up.state("web", "orders").table is not None
    listed = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'web' ORDER BY 1"
    )
    assert list(ask(loaded, listed).rows) == [["_sdc_rejected"], ["orders"]]


def test_a_catalogue_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    away = asked(f"iceberg+sql://{tmp_path / 'none.db'}")
    with pytest.raises(DestinationUnavailableError, match="does not exist yet"):
        away.ask(20.0)
    assert list(tmp_path.iterdir()) == []
