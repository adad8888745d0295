"""The repository of errands: what waits for a process that rests while there are none."""

from enum import StrEnum
from typing import Final

from sqlalchemy import exists, select

from treadle.store.database import StoreRepository
from treadle.store.operations import OPEN_STATES
from treadle.store.schema import deliveries, destination_checks, destinations, server_operations


class ErrandKind(StrEnum):
    """What a process does that is not there all the time."""

    CHECK = "check"
    OPERATION = "operation"
    DELIVERY = "delivery"


_OPEN: Final = select(
    exists()
    .where(
        destination_checks.c.finished_at.is_(None),
        destinations.c.id == destination_checks.c.destination_id,
        destinations.c.deleted_at.is_(None),
    )
    .label(ErrandKind.CHECK),
    exists().where(server_operations.c.state.in_(OPEN_STATES)).label(ErrandKind.OPERATION),
    exists().where(deliveries.c.state == "waiting").label(ErrandKind.DELIVERY),
)


class ErrandRepository(StoreRepository):
    """Tells which errands there are; what they are is in their own repositories."""

    def list_open_kinds(self) -> set[ErrandKind]:
        """Return the kinds of errands of which one waits or is under way."""
        found = self._database.ask_often(_OPEN)
        return {kind for kind, is_open in zip(ErrandKind, found, strict=True) if is_open}
