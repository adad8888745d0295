"""Who may load into a destination now: a lease for a time, and a number that grows with each taker.

The number, the fence, goes into every mark. A destination refuses a lower one than it holds, so
that a loader which slept through the end of its lease cannot commit over its successor. Clocks of
different machines decide only how long a successor waits.
"""

from sqlalchemy import select, update

from treadle.store.database import StoreRepository
from treadle.store.schema import leases


class LeaseRepository(StoreRepository):
    """Leases of destinations."""

    def take_lease(self, destination_id: int, place: str, holder: str, lasts: int) -> int | None:
        """Take the right to load into a destination, or renew it.

        Args:
            destination_id: which.
            place: where the loader runs; of one place the newest loader has the right at once.
            holder: the loader; nobody else's text.
            lasts: how long from now, microseconds.

        Returns:
            The fence: the same number while a holder renews, a greater one for each new holder.
            None while a loader of another place has the right.
        """
        with self._database.write() as tx:
            until = tx.now + lasts
            tx.connection.execute(
                tx.insert(leases)
                .values(destination_id=destination_id, place=place, holder="", fence=0, until=0)
                .on_conflict_do_nothing()
            )
            row = tx.connection.execute(
                select(leases).where(leases.c.destination_id == destination_id).with_for_update()
            ).one()
            mine = row.holder == holder
            if not mine and row.place != place and row.until > tx.now:
                return None
            fence: int = row.fence if mine else row.fence + 1
            tx.connection.execute(
                update(leases)
                .where(leases.c.destination_id == destination_id)
                .values(place=place, holder=holder, fence=fence, until=until)
            )
            return fence
