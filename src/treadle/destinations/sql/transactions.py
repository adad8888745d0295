"""The blocks in which a session uses its connection: statements, transactions, loads in turn."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from treadle import failpoint
from treadle.destinations.sql.connection import SqlConnection
from treadle.tables.model import LoadPlan


class SqlTransactions:
    """Begins and ends transactions on a connection, and translates what its driver raises.

    A database that needs more around a load, or lets one session write at a time, has a subclass.

    Attributes:
        connection: to the database.
        on_undo: called when a transaction is undone because something failed.
    """

    def __init__(self, connection: SqlConnection) -> None:
        self.connection = connection
        self.on_undo: Callable[[], None] = _do_nothing

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def in_turn(self) -> AbstractContextManager[object]:
        """Keep other sessions of this process from writing, where the database needs it."""
        return nullcontext()

    def loading(
        self, plans: Sequence[LoadPlan], *, rehearse: bool
    ) -> AbstractContextManager[object]:
        """Do what a transaction with these loads needs before and after it."""
        return self.in_turn()

    @contextmanager
    def translated(self) -> Iterator[SqlConnection]:
        """Give the connection for statements outside of a transaction."""
        try:
            yield self.connection
        except self.connection.errors as error:
            raise self.connection.translate(error) from error

    @contextmanager
    def transaction(self, purpose: str = "load") -> Iterator[SqlConnection]:
        """Begin a transaction, which the block may end; undo it when the block fails."""
        connection = self.connection
        try:
            connection.begin(purpose)
            yield connection
        except connection.errors as error:
            self._roll_back()
            raise connection.translate(error) from error
        except BaseException:
            self._roll_back()
            raise

    def commit(self) -> None:
        """Commit the loads of a transaction.

        Raises:
            CommitUnknownError: the connection broke meanwhile.
        """
        failpoint.reach("destination.before-commit")
        connection = self.connection
        try:
            connection.commit()
        except connection.errors as error:
            fault = connection.translate_commit(error)
            self._roll_back()
            raise fault from error
        failpoint.reach("destination.after-commit")

    def _roll_back(self) -> None:
        self.on_undo()
        # A broken connection, or a statement that failed, may have ended the transaction already.
        with suppress(*self.connection.errors):
            self.connection.rollback()


def _do_nothing() -> None:
    """Nobody keeps anything that a transaction made."""
