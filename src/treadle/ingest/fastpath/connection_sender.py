"""The sender at the other end of a connection: its address, its place, whether it is known."""

from treadle.errors import RequestRefusedError
from treadle.ingest.fastpath.connection_table import ConnectionTable, TableConnection
from treadle.ingest.fastpath.handler import FastPathHandler
from treadle.ingest.fastpath.request_framing import RequestFraming


class ConnectionSender:
    """Who sends over a connection, as far as that is known.

    Attributes:
        is_known: a token that treadle knows came over the connection.
    """

    __slots__ = ("_address", "_connection", "_handler", "_table", "is_known")

    def __init__(
        self,
        connection: TableConnection,
        table: ConnectionTable | None,
        handler: FastPathHandler | None,
    ) -> None:
        """Know nothing of the sender yet.

        Args:
            connection: that has a place in the table.
            table: the connections of the worker; None where they are not bounded.
            handler: knows tokens; None where nobody is to be known before its request is read.
        """
        self._connection = connection
        self._table = table
        self._handler = handler
        self._address = ""
        self.is_known = False

    def take_place(self, address: str) -> bool:
        """Take a place in the table; return whether there was one.

        Args:
            address: of the sender; empty for a socket of this machine.
        """
        self._address = address
        return self._table is None or self._table.add(self._connection, address)

    def leave_place(self) -> None:
        """Give the place back."""
        if self._table is not None:
            self._table.remove(self._connection)

    def check_token(self, framing: RequestFraming) -> None:
        """Find out whether a request has a known token, before anything is kept for it.

        Args:
            framing: has just read its head.
        """
        account_id = None if self._handler is None else self._handler.find_account(framing.fields)
        if account_id is not None:
            self.mark_known(account_id)

    def mark_known(self, account_id: int | None) -> None:
        """Note that a request came with a token that treadle knows.

        Args:
            account_id: whose token it is; None for one of the whole installation.
        """
        if not self.is_known:
            self.is_known = True
            if self._table is not None:
                self._table.mark_known(self._connection, account_id)

    def record_refusal(self, refused: RequestRefusedError) -> None:
        """Count and log a request that is refused."""
        if self._table is not None:
            self._table.record_refusal(refused.status, self._address, str(refused.body))
