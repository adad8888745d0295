"""The session on Snowflake over a service that is none: what is sent, and when no more is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.sql.text import Quoted

pytest.importorskip("snowflake.connector", reason="the driver of Snowflake is not installed")

from tests.unit.destinations.snowflake_service import LOCKED, UNANSWERED, SnowflakeService

from treadle.destinations.snowflake.connection import name_transaction

if TYPE_CHECKING:
    from treadle.destinations.snowflake.session import SnowflakeTransactions

pytestmark = pytest.mark.release

INSERT = Quoted("INSERT INTO orders VALUES (1)")


@pytest.fixture
def service() -> Iterator[SnowflakeService]:
    made = SnowflakeService()
    with made.tables:
        made.prepare()
        made.tables.execute("CREATE TABLE orders (id BIGINT)")
        yield made


def fail_load(transactions: "SnowflakeTransactions") -> None:
    """Load with a lease, and drop what was staged."""
    connection = transactions.connection
    connection._staged.append(Quoted('"_TREADLE"."STAGED"'))
    try:
        with transactions.hold(["a"]), transactions.transaction():
            connection.run(INSERT)
    finally:
        connection.release()


# --- what is not undone ---------------------------------------------------------------------------


def test_nothing_is_sent_after_a_rollback_that_failed(service: SnowflakeService) -> None:
    service.faults = {"INSERT": UNANSWERED, "ROLLBACK": UNANSWERED}
    transactions = service.open("one")
    with pytest.raises(DestinationUnavailableError, match="connection was reset"):
        fail_load(transactions)
    assert service.sent[-2:] == [INSERT, "ROLLBACK"]
    with pytest.raises(DestinationUnavailableError, match="could not be undone"):  # noqa: SIM117
        with transactions.translated() as connection:
            connection.rows(Quoted("SELECT 1"))
    transactions.close()
    assert service.sent[-2:] == ["ROLLBACK", "closed"]
    assert service.leases() == [("a", "one")]


def test_what_was_staged_is_dropped_after_a_rollback(service: SnowflakeService) -> None:
    service.faults = {"INSERT": UNANSWERED}
    with pytest.raises(DestinationUnavailableError):
        fail_load(service.open("one"))
    assert service.sent[-1] == 'DROP TABLE IF EXISTS "_TREADLE"."STAGED"'
    assert service.leases() == []


def test_a_transaction_that_nobody_ended_is_not_committed_by_a_drop(
    service: SnowflakeService,
) -> None:
    connection = service.connect("one")
    connection._staged.append(Quoted('"_TREADLE"."STAGED"'))
    connection.begin()
    connection.run(INSERT)
    connection.release()
    assert service.count_sent("DROP") == 0
    assert connection.is_given_up


# --- transactions of others -----------------------------------------------------------------------


def test_only_lost_transactions_of_the_same_database_are_ended(service: SnowflakeService) -> None:
    with service.open("other").hold(["b"]):
        names = [
            name_transaction("SHOP", "lost"),
            name_transaction("shop", "other"),
            name_transaction("elsewhere", "lost"),
            "TREADLE_LOST",
            "theirs",
        ]
        service.answers["SHOW TRANSACTIONS"] = [
            (1_700_000_000_000_000_000 + number, "LOADER", 5, name, None, "running")
            for number, name in enumerate(names)
        ]
        service.answers["SELECT SYSTEM$ABORT_TRANSACTION"] = [("aborted",)]
        service.faults['UPDATE "_TREADLE"."TURNS"'] = LOCKED
        transactions = service.open("one")
        with pytest.raises(DestinationUnavailableError), transactions.transaction():
            pass
    aborted = [text for text in service.sent if text.startswith("SELECT SYSTEM$")]
    assert aborted == ["SELECT SYSTEM$ABORT_TRANSACTION(1700000000000000000)"]


def test_a_transaction_that_reads_has_no_name(service: SnowflakeService) -> None:
    with service.open("one").transaction("lookup") as connection:
        connection.rollback()
    assert service.sent == ["BEGIN TRANSACTION", "ROLLBACK"]
