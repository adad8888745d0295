"""The repository of server operations: work for somebody that takes longer than a request.

An operation waits until a desk claims it, for a time, as checks do (`checks`). What was done is
recorded in the transaction that notes how far it is, so a desk that takes over after a crash counts
nothing twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Row, and_, delete, func, or_, select, update

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.rejects import ResentRecord, note_resent
from treadle.store.schema import server_operations
from treadle.store.trail_event import TargetKind, TrailAction, TrailOutcome, TrailTarget

RESEND: Final = "resend"
REBUILD: Final = "rebuild"

WAITING: Final = "waiting"
RUNNING: Final = "running"
DONE: Final = "done"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"
OPEN_STATES: Final = (WAITING, RUNNING)

ERRORS_KEPT: Final = 20
"""Errors of single records that are kept: the first ones."""

OPERATIONS_KEPT: Final = 200
"""Operations of one account that are kept: the newest ones, and those that are not finished."""


@dataclass(frozen=True, slots=True)
class ServerOperation:
    """Work that the server does for an account.

    Attributes:
        kind: RESEND or REBUILD.
        state: one of WAITING, RUNNING, DONE, CANCELLED and FAILED.
        total: records that are meant.
        done: those of them that were dealt with well; `failed`: those that were not.
        detail: what is to be done.
        progress: how far it is.
        errors: (record, why) of the first ones that failed.
        note: why it waits, or why it failed; None while all is well.
        created_by: the actor.
    """

    id: int
    account_id: int
    kind: str
    state: str
    total: int
    done: int
    failed: int
    detail: Mapping[str, Any]
    progress: Mapping[str, Any]
    errors: tuple[tuple[str, str], ...]
    note: str | None
    created_at: int
    created_by: str
    started_at: int | None
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class ResendProgress:
    """What a desk did of a resend since it noted something last.

    Attributes:
        resent: records that were sent again.
        failed: (record, why) of those that cannot be sent.
        progress: how far it is now, a JSON value that no step before had.
    """

    resent: Sequence[ResentRecord]
    failed: Sequence[tuple[str, str]]
    progress: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RebuildOrder:
    """A rebuild of a table from the log that somebody asked for.

    Attributes:
        account_id: whose it is.
        table: as sent.
        dry_run: build and compare; swap nothing.
        force: swap even if rows may be lost.
        into: the schema to build in, where what was built stays; nothing is swapped. None to build
            beside the table and leave nothing.
        since: only what was accepted at or after this time, microseconds since 1970; None for all.
        until: only what was accepted before it; None for all.
    """

    account_id: int
    source_id: int
    table: str
    dry_run: bool
    force: bool = False
    into: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def swaps(self) -> bool:
        """Return whether the rows are to be swapped if they differ."""
        return not self.dry_run and self.into is None


class OperationRepository(StoreRepository):
    """Server operations: asked for by people, done by desks."""

    def start_resend(
        self, account_id: int, total: int, detail: Mapping[str, Any], sources: Sequence[int]
    ) -> ServerOperation:
        """Ask for a resend of rejected records.

        Args:
            account_id: whose records they are.
            total: how many they are.
            detail: which ones, and how they are edited.
            sources: their sources, for the trail.
        """
        with self._database.write() as tx:
            made = _add_operation(tx, account_id, RESEND, total, detail)
            tx.record(
                TrailAction.RESEND_RECORDS,
                TrailTarget(TargetKind.OPERATION, made.id),
                account_id=account_id,
                outcome=TrailOutcome.BEGUN,
                detail={"records": total, "sources": list(sources)},
            )
            return made

    def start_rebuild(self, order: RebuildOrder, total: int) -> ServerOperation:
        """Ask for a table to be built again from the log.

        Args:
            order: which one, and how.
            total: records of it that the log has.
        """
        with self._database.write() as tx:
            made = _add_operation(tx, order.account_id, REBUILD, total, asdict(order))
            tx.record(
                TrailAction.REPLAY_TABLE,
                TrailTarget(TargetKind.TABLE, order.source_id, order.table),
                account_id=order.account_id,
                outcome=TrailOutcome.BEGUN,
                detail={
                    "dry_run": order.dry_run,
                    "force": order.force,
                    "into": order.into,
                    "operation": made.id,
                },
            )
            return made

    def find_operation(self, account_id: int | None, operation_id: int) -> ServerOperation | None:
        """Return an operation of an account, or of any; None if there is none."""
        with self._database.read() as tx:
            row = tx.connection.execute(_select(account_id, operation_id)).one_or_none()
        return None if row is None else _read_operation(row)

    def list_operations(self, account_id: int, limit: int = 20) -> list[ServerOperation]:
        """Return the operations of an account, newest first."""
        query = (
            select(server_operations)
            .where(server_operations.c.account_id == account_id)
            .order_by(server_operations.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as tx:
            return [_read_operation(row) for row in tx.connection.execute(query)]

    def cancel_operation(self, account_id: int, operation_id: int) -> ServerOperation | None:
        """Stop an operation that is not finished; return it, or None if there is none.

        What was done stays done. A desk that is at it notices with its next step.
        """
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(server_operations)
                .where(
                    server_operations.c.id == operation_id,
                    server_operations.c.account_id == account_id,
                    server_operations.c.state.in_(OPEN_STATES),
                )
                .values(state=CANCELLED, finished_at=tx.now, note=None)
                .returning(server_operations)
            ).one_or_none()
            if row is not None:
                tx.record(
                    TrailAction.CANCEL_OPERATION,
                    TrailTarget(TargetKind.OPERATION, row.id),
                    account_id=account_id,
                    detail={"done": row.done, "failed": row.failed},
                )
            else:
                row = tx.connection.execute(_select(account_id, operation_id)).one_or_none()
            return None if row is None else _read_operation(row)

    # For the desk ---------------------------------------------------------------------------------

    def claim_operation(
        self, place: str, holder: str, lasts: int, kind: str = RESEND
    ) -> ServerOperation | None:
        """Claim the operation of a kind that waits longest; None if there is none to be claimed.

        Args:
            place: where the desk runs, see `ClusterMember.place`.
            holder: a text that no other desk has.
            lasts: microseconds, after which others may claim it.
            kind: of the operation.
        """
        its = server_operations.c
        with self._database.read() as tx:
            chosen = tx.connection.execute(
                select(its.id)
                .where(its.kind == kind, _is_free(tx.now, place, holder))
                .order_by(its.id)
                .limit(1)
            ).scalar_one_or_none()
        if chosen is None:
            return None
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(server_operations)
                .where(its.id == chosen, _is_free(tx.now, place, holder))
                .values(
                    state=RUNNING,
                    place=place,
                    holder=holder,
                    claimed_until=tx.now + lasts,
                    started_at=func.coalesce(its.started_at, tx.now),
                )
                .returning(server_operations)
            ).one_or_none()
            return None if row is None else _read_operation(row)

    def record_progress(
        self, operation_id: int, holder: str, lasts: int, made: ResendProgress
    ) -> bool:
        """Record what was sent again and how far a resend is, all of it or nothing.

        A step that is recorded already counts nothing more: each step goes further than the one
        before, so it is known by its place. The desk records one again after an error, and that may
        have been of a commit of which it heard nothing.

        Returns:
            Whether the operation goes on: it was not stopped, and no other desk has it. The records
            are noted as sent again all the same.
        """
        its = server_operations.c
        with self._database.write() as tx:
            note_resent(tx, made.resent)
            row = tx.connection.execute(
                select(its.errors, its.progress)
                .where(*_is_held(operation_id, holder))
                .with_for_update()
            ).one_or_none()
            if row is None:
                return False
            progress = json.loads(json.dumps(dict(made.progress)))  # as the row has it
            counts: dict[str, Any] = {}
            if row.progress != progress:
                counts = {
                    "done": its.done + len(made.resent),
                    "failed": its.failed + len(made.failed),
                    "errors": [*row.errors, *map(list, made.failed)][:ERRORS_KEPT],
                    "progress": progress,
                }
            tx.connection.execute(
                update(server_operations)
                .where(its.id == operation_id)
                .values(note=None, claimed_until=tx.now + lasts, **counts)
            )
            return True

    def record_built(self, operation_id: int, holder: str, lasts: int, records: int | None) -> bool:
        """Record how many records a rebuild has read, and keep the claim; False if it is to end.

        Args:
            operation_id: the operation.
            holder: who claimed it.
            lasts: microseconds of the claim from now on.
            records: None to keep the claim alone.
        """
        more = {} if records is None else {"done": records}
        with self._database.write() as tx:
            return bool(
                tx.connection.execute(
                    update(server_operations)
                    .where(*_is_held(operation_id, holder))
                    .values(claimed_until=tx.now + lasts, **more)
                ).rowcount
            )

    def finish_rebuild(
        self, operation_id: int, holder: str, result: Mapping[str, Any] | None, error: str | None
    ) -> bool:
        """Record the end of a rebuild, with its event; False if it is not to go on anyway.

        Args:
            operation_id: the operation.
            holder: who claimed it.
            result: what was found; None where it failed.
            error: why it failed; None if it is done.
        """
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(server_operations)
                .where(*_is_held(operation_id, holder))
                .values(
                    state=DONE if error is None else FAILED,
                    note=error,
                    progress={} if result is None else dict(result),
                    done=server_operations.c.total if error is None else server_operations.c.done,
                    finished_at=tx.now,
                    claimed_until=None,
                )
                .returning(server_operations)
            ).one_or_none()
            if row is None:
                return False
            order = RebuildOrder(**row.detail)
            tx.record(
                TrailAction.REPLAY_TABLE,
                TrailTarget(TargetKind.TABLE, order.source_id, order.table),
                account_id=row.account_id,
                outcome=TrailOutcome.DONE if error is None else TrailOutcome.FAILED,
                detail={"swapped": bool(result and result.get("swapped")), "operation": row.id},
            )
            return True

    def record_waiting(self, operation_id: int, holder: str, lasts: int, note: str) -> bool:
        """Record why an operation waits, and keep the claim; False if it is not to go on."""
        with self._database.write() as tx:
            return bool(
                tx.connection.execute(
                    update(server_operations)
                    .where(*_is_held(operation_id, holder))
                    .values(note=note, claimed_until=tx.now + lasts)
                ).rowcount
            )

    def finish_operation(self, operation_id: int, holder: str, error: str | None = None) -> bool:
        """Record the end of an operation, with its event; False if it is not to go on anyway.

        Args:
            operation_id: the operation.
            holder: who claimed it.
            error: why it failed as a whole; None if it is done.
        """
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(server_operations)
                .where(*_is_held(operation_id, holder))
                .values(
                    state=DONE if error is None else FAILED,
                    note=error,
                    finished_at=tx.now,
                    claimed_until=None,
                )
                .returning(server_operations)
            ).one_or_none()
            if row is None:
                return False
            tx.record(
                TrailAction.RESEND_RECORDS,
                TrailTarget(TargetKind.OPERATION, operation_id),
                account_id=row.account_id,
                outcome=TrailOutcome.DONE if error is None else TrailOutcome.FAILED,
                detail={"resent": row.done, "failed": row.failed},
            )
            return True


def _add_operation(
    tx: StoreTransaction, account_id: int, kind: str, total: int, detail: Mapping[str, Any]
) -> ServerOperation:
    made = tx.connection.execute(
        tx.insert(server_operations)
        .values(
            account_id=account_id,
            kind=kind,
            state=WAITING,
            total=total,
            done=0,
            failed=0,
            detail=dict(detail),
            progress={},
            errors=[],
            created_at=tx.now,
            created_by="" if tx.actor is None else tx.actor.kind.value,
        )
        .returning(server_operations)
    ).one()
    _forget_old(tx, account_id)
    return _read_operation(made)


def _select(account_id: int | None, operation_id: int) -> Any:
    query = select(server_operations).where(server_operations.c.id == operation_id)
    if account_id is not None:
        query = query.where(server_operations.c.account_id == account_id)
    return query


def _is_free(now: int, place: str, holder: str) -> Any:
    """Return the condition that an operation is not finished, and that a desk may claim it."""
    its = server_operations.c
    return and_(
        its.state.in_(OPEN_STATES),
        or_(
            its.holder.is_(None),
            its.claimed_until <= now,
            and_(its.place == place, its.holder != holder),
        ),
    )


def _is_held(operation_id: int, holder: str) -> tuple[Any, ...]:
    its = server_operations.c
    return its.id == operation_id, its.holder == holder, its.state == RUNNING


def _forget_old(tx: StoreTransaction, account_id: int) -> None:
    its = server_operations.c
    kept = (
        select(its.id)
        .where(its.account_id == account_id)
        .order_by(its.id.desc())
        .limit(OPERATIONS_KEPT)
    )
    tx.connection.execute(
        delete(server_operations).where(
            its.account_id == account_id, its.state.not_in(OPEN_STATES), its.id.not_in(kept)
        )
    )


def _read_operation(row: Row[Any]) -> ServerOperation:
    left_out = ("place", "holder", "claimed_until", "errors")
    values = {name: value for name, value in row._mapping.items() if name not in left_out}
    return ServerOperation(**values, errors=tuple((one[0], one[1]) for one in row.errors))
