"""The repository of checks of destinations.

A check waits until a desk claims it, for a time. A desk that dies leaves its claims behind: a desk
of the same place takes them over at once, because only one runs there, and any other one when the
time is over. So no check is under way for ever.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, and_, delete, insert, or_, select, update

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import NotFoundError
from treadle.store.model import DestinationCheck
from treadle.store.schema import destination_checks, destinations
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

CHECKS_KEPT: Final = 10
"""Checks of one destination that are kept: the newest ones."""

_told: Final[tuple[Any, ...]] = (
    destination_checks.c.id,
    destination_checks.c.destination_id,
    destination_checks.c.name,
    destination_checks.c.requested_at,
    destination_checks.c.claims,
    destination_checks.c.finished_at,
    destination_checks.c.error,
    destination_checks.c.phases,
)


class CheckRepository(StoreRepository):
    """Checks of destinations: asked for by people, done by desks."""

    def start_check(self, account_id: int | None, destination_id: int) -> DestinationCheck:
        """Ask for a check; return the one that waits or is under way if there is one.

        Args:
            account_id: whose destination it is; None for any account's.
            destination_id: of the destination.

        Raises:
            NotFoundError: unknown, deleted, or of another account.
        """
        with self._database.write() as tx:
            row = _lock_destination(tx, destination_id)
            if row is None or account_id not in (None, row.account_id):
                raise NotFoundError(f"there is no destination {destination_id}")
            present = _find_newest(tx, destination_id)
            if present is not None and present.finished_at is None:
                return present
            tx.record(
                TrailAction.CHECK_DESTINATION,
                TrailTarget(TargetKind.DESTINATION, destination_id, row.name),
                account_id=row.account_id,
            )
            return request_check(tx, destination_id)

    def find_last_check(self, destination_id: int) -> DestinationCheck | None:
        """Return the newest check of a destination; None if there was none."""
        with self._database.read() as tx:
            return _find_newest(tx, destination_id)

    def find_check(self, check_id: int) -> DestinationCheck | None:
        """Return a check; None if it is not kept any more, or a newer one took its place."""
        query = select(*_told).where(destination_checks.c.id == check_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        return None if row is None else _read_check(row)

    def claim_check(
        self, place: str, holder: str, lasts: int, busy: Collection[int] = ()
    ) -> DestinationCheck | None:
        """Claim the check that waits longest; None if there is none to be claimed.

        Args:
            place: where the desk runs, see `ClusterMember.place`.
            holder: a text that no other desk has.
            lasts: microseconds, after which others may claim it.
            busy: accounts of which no check is claimed now.
        """
        with self._database.read() as tx:
            chosen = tx.connection.execute(_select_claimable(tx.now, place, holder, busy)).first()
        if chosen is None:
            return None
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(destination_checks)
                .where(destination_checks.c.id == chosen.id, _is_free(tx.now, place, holder))
                .values(
                    place=place,
                    holder=holder,
                    claimed_until=tx.now + lasts,
                    claims=destination_checks.c.claims + 1,
                )
                .returning(*_told)
            ).one_or_none()
            return None if row is None else _read_check(row)

    def finish_check(
        self, check_id: int, holder: str, error: str | None, phases: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Record how a check ended; after the first success its destination is loaded into.

        Args:
            check_id: of the check.
            holder: who claimed it.
            error: why no load is possible, without secrets; None if one is.
            phases: see `DestinationCheck.phases`.

        Returns:
            False if nothing was recorded: another check took its place, or another desk has it.
        """
        # The store revision grows only if the loader has something to notice.
        opened = self._database.write
        if error is None and not self._is_usable(check_id):
            opened = self._database.change
        with opened() as tx:
            destination_id = tx.connection.execute(
                update(destination_checks)
                .where(
                    destination_checks.c.id == check_id,
                    destination_checks.c.holder == holder,
                    destination_checks.c.finished_at.is_(None),
                )
                .values(finished_at=tx.now, error=error, phases=[dict(each) for each in phases])
                .returning(destination_checks.c.destination_id)
            ).scalar_one_or_none()
            if destination_id is not None and error is None:
                tx.connection.execute(
                    update(destinations)
                    .where(destinations.c.id == destination_id)
                    .where(destinations.c.usable_since.is_(None))
                    .values(usable_since=tx.now)
                    .execution_options(**BOOKKEEPING)
                )
            return destination_id is not None

    def _is_usable(self, check_id: int) -> bool:
        query = (
            select(destinations.c.usable_since)
            .join(destination_checks, destination_checks.c.destination_id == destinations.c.id)
            .where(destination_checks.c.id == check_id)
        )
        with self._database.read() as tx:
            return tx.connection.execute(query).scalar_one_or_none() is not None


def request_check(tx: StoreTransaction, destination_id: int) -> DestinationCheck:
    """Ask for a check of a destination, in the transaction that makes or changes it.

    A check that waits or is under way is forgotten: it is about the destination as it was.

    Raises:
        NotFoundError: unknown or deleted.
    """
    destination = _lock_destination(tx, destination_id)
    if destination is None:
        raise NotFoundError(f"there is no destination {destination_id}")
    its = destination_checks.c.destination_id == destination_id
    tx.connection.execute(
        delete(destination_checks).where(its, destination_checks.c.finished_at.is_(None))
    )
    row = tx.connection.execute(
        insert(destination_checks)
        .values(
            destination_id=destination_id,
            name=f"{destination.account_id}.{destination_id}.check.{uuid.uuid4()}",
            requested_at=tx.now,
            claims=0,
            phases=[],
        )
        .returning(*_told)
    ).one()
    kept = (
        select(destination_checks.c.id)
        .where(its)
        .order_by(destination_checks.c.id.desc())
        .limit(CHECKS_KEPT)
    )
    tx.connection.execute(
        delete(destination_checks).where(its, destination_checks.c.id.not_in(kept))
    )
    return _read_check(row)


_named: Final[tuple[Any, ...]] = (destinations.c.account_id, destinations.c.name)


def _lock_destination(tx: StoreTransaction, destination_id: int) -> Row[Any] | None:
    """Lock the row of a destination until the transaction ends, so that it has one open check.

    What follows in the same transaction sees a check that was asked for meanwhile. Who changes a
    destination has its row before its checks, too. `finish_check` takes them the other way round.
    But it takes the row only for a first success, and then in a change like those that delete an
    open check, one after another; who asks for a check alone deletes none that is open.
    """
    return tx.connection.execute(
        select(*_named)
        .where(destinations.c.id == destination_id, destinations.c.deleted_at.is_(None))
        .with_for_update(key_share=True)
    ).one_or_none()


def _find_newest(tx: StoreTransaction, destination_id: int) -> DestinationCheck | None:
    row = tx.connection.execute(
        select(*_told)
        .where(destination_checks.c.destination_id == destination_id)
        .order_by(destination_checks.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _read_check(row)


def _is_free(now: int, place: str, holder: str) -> Any:
    """Return the condition that a check is not finished, and that a desk may claim it."""
    its = destination_checks.c
    return and_(
        its.finished_at.is_(None),
        or_(
            its.holder.is_(None),
            its.claimed_until <= now,
            and_(its.place == place, its.holder != holder),
        ),
    )


def _select_claimable(now: int, place: str, holder: str, busy: Collection[int]) -> Any:
    return (
        select(destination_checks.c.id)
        .join(destinations, destinations.c.id == destination_checks.c.destination_id)
        .where(
            _is_free(now, place, holder),
            destinations.c.deleted_at.is_(None),
            destinations.c.account_id.not_in(busy),
        )
        .order_by(destination_checks.c.requested_at, destination_checks.c.id)
        .limit(1)
    )


def _read_check(row: Row[Any]) -> DestinationCheck:
    values = dict(row._mapping)
    return DestinationCheck(**values | {"phases": tuple(values["phases"])})
