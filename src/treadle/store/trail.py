"""The repository of the trail: the append-only list of who changed what.

An event of a change in the store is in the transaction of the change (`StoreTransaction.record`).
So nothing changes without its event. What happens outside the store, and what was refused, has
events of its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Row, delete, select

from treadle.errors import TreadleError
from treadle.store.database import StoreRepository
from treadle.store.schema import trail
from treadle.store.trail_event import (
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailEvent,
    TrailOutcome,
    TrailTarget,
)


class TrailRepository(StoreRepository):
    """Events: they are added, read and, after `audit_days`, deleted; none is ever changed."""

    def record_event(
        self,
        action: TrailAction,
        target: TrailTarget,
        outcome: TrailOutcome,
        *,
        account_id: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> int:
        """Add an event that belongs to no change in the store; return its id.

        Args:
            action: what was to be done.
            target: on what.
            outcome: how it ended.
            account_id: the account that it concerns; None for the whole server.
            detail: JSON values that say more; no secrets.
        """
        with self._database.write() as tx:
            return tx.record(
                action, target, account_id=account_id, outcome=outcome, detail=detail or {}
            )

    @contextmanager
    def follow_action(
        self,
        action: TrailAction,
        target: TrailTarget,
        *,
        account_id: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Record an action outside the store: its beginning before the block, its end after it.

        When the beginning cannot be recorded, the block does not run.

        Yields:
            Where the block puts further detail for the end, such as counts.
        """
        began = self.record_event(
            action, target, TrailOutcome.BEGUN, account_id=account_id, detail=detail
        )
        found: dict[str, Any] = {"began": began}
        outcome = TrailOutcome.FAILED
        try:
            yield found
            outcome = TrailOutcome.DONE
        except TreadleError as error:
            # Only the class of the error: its text may quote a URL or a record.
            found["error"] = type(error).__name__
            raise
        finally:
            self.record_event(action, target, outcome, account_id=account_id, detail=found)

    def list_events(
        self,
        *,
        account_id: int | None = None,
        action: str | None = None,
        outcome: str | None = None,
        actor_kind: str | None = None,
        actor_id: str | None = None,
        target_kind: str | None = None,
        since: int | None = None,
        until: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[TrailEvent]:
        """Return events, newest first.

        Args:
            account_id: only those that concern this account.
            action: only of this action.
            outcome: only with this outcome.
            actor_kind: only of actors of this kind.
            actor_id: only of the actor with this id; of no use without its kind.
            target_kind: only about things of this kind.
            since: only at or after this time.
            until: only before this time.
            before: only those below this id: the last one of the page before.
            limit: how many at most.
        """
        wanted = {
            trail.c.account_id: account_id,
            trail.c.action: action,
            trail.c.outcome: outcome,
            trail.c.actor_kind: actor_kind,
            trail.c.actor_id: actor_id,
            trail.c.target_kind: target_kind,
        }
        query = select(trail).order_by(trail.c.id.desc()).limit(limit)
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(trail.c.at >= since)
        if until is not None:
            query = query.where(trail.c.at < until)
        if before is not None:
            query = query.where(trail.c.id < before)
        with self._database.read() as tx:
            return [_read_event(row) for row in tx.connection.execute(query)]

    def delete_events_before(self, at: int) -> int:
        """Delete the events before a time, as `audit_days` says; return how many."""
        with self._database.write() as tx:
            return tx.connection.execute(delete(trail).where(trail.c.at < at)).rowcount


def _read_event(row: Row[Any]) -> TrailEvent:
    return TrailEvent(
        id=row.id,
        at=row.at,
        actor=StoreActor(ActorKind(row.actor_kind), row.actor_id, row.address),
        account_id=row.account_id,
        action=row.action,
        target=TrailTarget(TargetKind(row.target_kind), row.target_id, row.target_name),
        outcome=row.outcome,
        detail=row.detail,
    )
