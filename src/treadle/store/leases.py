"""The repository of leases: the right of one loader to load into a destination, for a time.

A lease has a number, the fence, which grows with each new holder and goes into every offset. A
destination refuses an offset with a lower fence than the one it holds. So a loader that slept
through the end of its lease cannot overwrite its successor, and the clocks of different machines
decide only how long a successor waits.
"""

from sqlalchemy import select, update

from treadle.store.database import StoreRepository
from treadle.store.schema import leases


class LeaseRepository(StoreRepository):
    """Leases of destinations."""

    def take_lease(self, destination_id: int, place: str, holder: str, lasts: int) -> int | None:
        """Take the right to load into a destination, or renew it.

        Args:
            destination_id: the destination.
            place: where the loader runs. Only one loader of a place can run, so the newest takes
                over at once.
            holder: a text that no other loader has.
            lasts: microseconds from now.

        Returns:
            The fence: the same number when its holder renews, a greater one for a new holder.
            None while a loader of another place holds the lease.
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
