"""Questions of people to files: what is run, what is refused, and whose it is."""

import pytest
from tests.integration.destinations.questions import ask, asked

from treadle.destinations.asking import RoleRights, StatementFaultError
from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation, Rejection
from treadle.tables.schema_owner import UNOWNED


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with four rows of orders in the schema `web`, and a rejected record."""
    url = f"files://{tmp_path_factory.mktemp('asking') / 'lake'}"
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x"), (2, 3, None), (3, 2, "z")]),
            changes=[CreateRelation(ORDERS)],
            rejections=[Rejection("{}", "why", "orders", 0, 0)],
        )
        loads.load(table(ORDERS), upsert([(1, 4, "y")]))
    return url


def test_the_newest_row_of_each_key_is_found(loaded: str) -> None:
    statement = (
        "SELECT id, a FROM web.orders"
        " QUALIFY row_number() OVER (PARTITION BY id ORDER BY _sdc_sequence DESC) = 1 ORDER BY id"
    )
    assert list(ask(loaded, statement).rows) == [["1", "y"], ["2", None], ["3", "z"]]


def test_the_newest_rows_of_a_table_come_first(loaded: str) -> None:
    with asked(loaded).ask(20.0) as session:
        found = session.read_relation("web", "orders", 2)
        at = [column.name for column in found.columns].index("id")
        assert [row[at] for row in found.rows] == ["1", "2"]


def test_rejected_records_are_a_table(loaded: str) -> None:
    statement = "SELECT record, reason, _sdc_rejected_at FROM web._sdc_rejected"
    assert list(ask(loaded, statement).rows) == [["{}", "why", "2023-11-14T22:13:21Z"]]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM web.nowhere", "nowhere does not exist"),
        ("DELETE FROM web.orders", "Only a statement that reads"),
        ("SELECT * FROM read_parquet('/tmp/*.parquet')", "Permission Error"),
        ("SELECT * FROM read_text('/etc/hostname')", "Permission Error"),
    ],
)
def test_what_only_reads_the_tables_is_run(loaded: str, statement: str, said: str) -> None:
    with pytest.raises(StatementFaultError, match=said):
        ask(loaded, statement)
    assert len(list(ask(loaded, "SELECT id FROM web.orders").rows)) == 4


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
