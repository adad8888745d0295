"""The repository of load requests: tables that somebody wants loaded at once.

A request raises the store revision, so the loader looks for it as it does for changes of sources.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select

from treadle.store.database import StoreRepository
from treadle.store.model import Source
from treadle.store.schema import load_requests
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

REQUEST_US_MAX: Final = 60_000_000
"""A request that the loader did not see within this time is void: it did not run."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A table that is to be loaded at once, whatever its age, and whatever failed before.

    Attributes:
        id: grows with each request.
        at: microseconds since 1970, UTC.
    """

    id: int
    source_id: int
    table_name: str
    at: int


class LoadRequestRepository(StoreRepository):
    """Requests to load tables."""

    def add_request(self, source: Source, table_name: str, action: TrailAction) -> LoadRequest:
        """Ask for a table to be loaded at once.

        Args:
            source: of the table.
            table_name: as sent.
            action: LOAD_TABLE or RETRY_TABLE, for the trail.
        """
        with self._database.change() as tx:
            tx.connection.execute(
                delete(load_requests).where(load_requests.c.at < tx.now - 10 * REQUEST_US_MAX)
            )
            made = tx.connection.execute(
                tx.insert(load_requests)
                .values(source_id=source.id, table_name=table_name, at=tx.now)
                .returning(load_requests.c.id)
            ).scalar_one()
            target = TrailTarget(TargetKind.TABLE, source.id, table_name)
            tx.record(action, target, account_id=source.account_id)
        return LoadRequest(made, source.id, table_name, tx.now)

    def list_requests(self, after: int) -> list[LoadRequest]:
        """Return the requests after the one with this id, in order; 0 for all that are kept."""
        query = select(load_requests).where(load_requests.c.id > after).order_by(load_requests.c.id)
        with self._database.read() as tx:
            return [LoadRequest(**row._mapping) for row in tx.connection.execute(query)]
