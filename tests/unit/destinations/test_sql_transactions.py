"""Transactions of a session on a connection that fails where a test wants it to."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from treadle.destinations.protocol import CommitUnknownError, DestinationUnavailableError
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.transactions import SqlTransactions


class DriverFault(Exception):  # noqa: N818 - it is no error of treadle's
    """Raised by the driver."""


@dataclass
class NotedConnection:
    """Notes what is done with it.

    Attributes:
        fails: what raises a fault of the driver.
        done: what was done, in order.
    """

    fails: frozenset[str] = frozenset()
    done: list[str] = field(default_factory=list)
    errors = (DriverFault,)

    def begin(self, purpose: str) -> None:
        self._do(f"begin {purpose}")

    def commit(self) -> None:
        self._do("commit")

    def rollback(self) -> None:
        self._do("rollback")

    def close(self) -> None:
        self._do("close")

    def translate(self, error: Exception) -> Exception:
        return DestinationUnavailableError("away")

    def translate_commit(self, error: Exception) -> Exception:
        return CommitUnknownError("cut")

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise DriverFault


def make(*fails: str) -> tuple[SqlTransactions, NotedConnection]:
    """Return transactions that note on the connection, too, when they undo something."""
    connection = NotedConnection(frozenset(fails))
    transactions = SqlTransactions(cast(SqlConnection, connection))
    transactions.on_undo = lambda: connection.done.append("undo")
    return transactions, connection


def test_the_block_ends_its_transaction_itself() -> None:
    transactions, connection = make()
    with transactions.transaction("lookup") as given:
        assert given is transactions.connection
        given.rollback()
    with transactions.transaction():
        pass
    transactions.commit()
    transactions.close()
    assert connection.done == ["begin lookup", "rollback", "begin load", "commit", "close"]


def test_a_block_that_fails_is_undone() -> None:
    transactions, connection = make()
    with pytest.raises(KeyError), transactions.transaction():
        raise KeyError
    assert connection.done == ["begin load", "undo", "rollback"]


@pytest.mark.parametrize("fails", [("begin load",), ("begin load", "rollback")])
def test_a_fault_of_the_driver_is_translated(fails: tuple[str, ...]) -> None:
    transactions, connection = make(*fails)
    with pytest.raises(DestinationUnavailableError), transactions.transaction():
        raise AssertionError
    assert connection.done == ["begin load", "undo", "rollback"]


def test_a_fault_outside_of_a_transaction_undoes_nothing() -> None:
    transactions, connection = make()
    with pytest.raises(DestinationUnavailableError), transactions.translated():
        raise DriverFault
    assert connection.done == []


def test_a_commit_that_is_cut_is_unknown() -> None:
    transactions, connection = make("commit")
    with transactions.transaction():
        pass
    with pytest.raises(CommitUnknownError):
        transactions.commit()
    assert connection.done == ["begin load", "commit", "undo", "rollback"]


def test_nobody_waits_for_a_turn_where_many_may_write() -> None:
    transactions, connection = make()
    with transactions.in_turn(), transactions.loading([], rehearse=False):
        assert connection.done == []
