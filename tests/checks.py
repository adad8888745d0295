"""Destinations that were not checked yet, as tests of checks need them."""

from sqlalchemy import insert, update

from treadle.destinations.registry import make_destination
from treadle.store.checks import request_check
from treadle.store.destinations import create_connection_id
from treadle.store.model import DestinationCheck
from treadle.store.schema import destinations
from treadle.store.store import Store
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget


def add_destination(store: Store, account_id: int, url: str) -> DestinationCheck:
    """Make a destination that no source has yet, and ask for its first check."""
    destination = make_destination(url)
    with store._database.change() as tx:
        destination_id = create_connection_id(tx, "destination")
        tx.connection.execute(
            insert(destinations).values(
                id=destination_id,
                account_id=account_id,
                type=destination.kind,
                name=destination.kind,
                url=tx.seal(url, f"destination {destination_id}"),
                identity=destination.identity,
                created_at=tx.now,
                updated_at=tx.now,
            )
        )
        tx.record(
            TrailAction.SET_DESTINATION,
            TrailTarget(TargetKind.DESTINATION, destination_id),
            account_id=account_id,
        )
        return request_check(tx, destination_id)


def change_destination(store: Store, destination_id: int, url: str) -> DestinationCheck:
    """Change the URL of a destination, and ask for its check."""
    with store._database.change() as tx:
        tx.connection.execute(
            update(destinations)
            .where(destinations.c.id == destination_id)
            .values(
                url=tx.seal(url, f"destination {destination_id}"),
                identity=make_destination(url).identity,
                updated_at=tx.now,
            )
        )
        tx.record(
            TrailAction.SET_DESTINATION,
            TrailTarget(TargetKind.DESTINATION, destination_id),
            account_id=None,
        )
        return request_check(tx, destination_id)


def is_usable(store: Store, destination_id: int) -> bool:
    """Whether a destination is loaded into."""
    rows = store.destinations.list_destinations()
    return any(row.id == destination_id and row.usable_since is not None for row in rows)
