"""The tables that a loader may commit now."""

from collections.abc import Callable, Container, Iterable

from treadle.loader.schedule import TableKey


class TableClaims:
    """The tables that the loader of one destination may commit or record now.

    No other loader may load them meanwhile: the entries would be in two destinations. The loader's
    thread claims and releases; the supervisor's thread reads `tables`.

    Attributes:
        tables: those that are claimed; a table named `` stands for all.
    """

    def __init__(
        self,
        receive_sources: Callable[[], Container[int]],
        may_begin: Callable[[TableKey], bool] = lambda key: True,
    ) -> None:
        """Claim nothing yet.

        Args:
            receive_sources: receives the commands that wait, and returns the sources that load
                into the destination then.
            may_begin: returns whether this process has the unit of a table. It is asked after the
                table is claimed, as the sources are.
        """
        self.tables: frozenset[TableKey] = frozenset()
        self._receive_sources = receive_sources
        self._may_begin = may_begin

    def claim(self, keys: Iterable[TableKey]) -> bool:
        """Claim tables if all may be loaded here still; return whether they are claimed."""
        # They are claimed before the commands are received. Whoever takes a source away sends the
        # command first and then looks at the claims: either it finds this claim, or the command
        # is received here.
        sources = self.hold(keys)
        if all(key[0] in sources and self._may_begin(key) for key in self.tables):
            return True
        self.release()
        return False

    def hold(self, keys: Iterable[TableKey]) -> Container[int]:
        """Claim tables, whosever they are; return the sources that load here then."""
        self.tables = frozenset(keys)
        return self._receive_sources()

    def release(self) -> None:
        """Claim nothing any more."""
        self.tables = frozenset()
