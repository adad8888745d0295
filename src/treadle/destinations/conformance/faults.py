"""Whose fault it is when something is refused (loading.md 10.3)."""

import pytest

from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import Destination, DestinationUnavailableError, Session
from treadle.errors import OperatorError, TableStoppedError


def test_a_required_column_of_the_user_stops_the_table(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    if not traits.has_constraints:
        pytest.skip("a column that is not given has a value of its type there")
    loads.create(ORDERS)
    loads.read("DROP TABLE web.orders")
    loads.read(
        "CREATE TABLE web.orders (id BIGINT PRIMARY KEY, a TEXT, mine BIGINT NOT NULL,"
        f" _sdc_batched_at {traits.timestamp_type}, _sdc_received_at {traits.timestamp_type},"
        " _sdc_sequence BIGINT,"
        " _sdc_table_version BIGINT)"
    )
    with pytest.raises(TableStoppedError, match=r"(?i)mine"):
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))


def test_a_read_only_session_writes_nothing(
    destination: Destination, same_destination: Destination
) -> None:
    with destination.open() as session:
        session.prepare("web")
        with same_destination.open(read_only=True) as reader:
            assert reader.query("SELECT 1 AS one").rows == [(1,)]
            with pytest.raises((OperatorError, DestinationUnavailableError)):
                reader.query("CREATE TABLE web.mine (a INT)")
        assert session.state("web", "mine").physical == {}


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1; SELECT 2"])
def test_a_faulty_query_is_the_operators(session: Session, statement: str) -> None:
    with pytest.raises(OperatorError):
        session.query(statement)
    assert session.query("SELECT '%s' AS \"p%\"").columns == ("p%",)
