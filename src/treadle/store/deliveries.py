"""The repository of deliveries: the outbox of post-load hooks (connect-rest.md A.2.6).

The transaction that records a load adds its deliveries, so there is one for each hook if and only
if the load is recorded. The courier sends them, in the order of loads of each hook and table: only
the first one that waits may go. A try that it could not record is made again.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    update,
)

from treadle.errors import OperatorError
from treadle.store.database import BOOKKEEPING, StoreDatabase, StoreRepository, StoreTransaction
from treadle.store.errors import DeliveryCountError
from treadle.store.hook_body import encode_hook_body, is_worth_a_delivery
from treadle.store.hooks import open_hook
from treadle.store.model import DueDelivery, HookDelivery, LoadReport, RecordedTry
from treadle.store.schema import ClientText, deliveries, hooks, loads, sources, tables
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

logger = logging.getLogger("treadle.store")

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
STATES: Final = (WAITING, DELIVERED, FAILED)

_DELIVERY_SPACE: Final = uuid.UUID("6f0a3d0e-5d0c-4b7e-9a55-3f0f4a1d2b90")
"""The namespace of the ids of deliveries (RFC 9562 5.5)."""

# Written as a literal: with a parameter SQLite could not know that the index of waiting ones fits.
is_waiting: Final = deliveries.c.state == literal_column("'waiting'")

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it. A hook that is
# being deleted is waited for, or the delivery would refer to one that is gone.
_ENABLED: Final = (
    select(hooks.c.id)
    .where(hooks.c.destination_id == bindparam("at_destination_id"), hooks.c.disabled_at.is_(None))
    .order_by(hooks.c.id)
    .with_for_update(read=True, key_share=True)
)

has_enabled_hooks: Final = exists().where(
    hooks.c.destination_id == bindparam("at_destination_id"), hooks.c.disabled_at.is_(None)
)
"""For a statement that is run in any case: `list_enabled_hooks` is only worth it where this is."""

_deliveries = (
    select(
        *(column for column in deliveries.c if column.name != "table_id"),
        tables.c.source_id,
        tables.c.name.label("table_name"),
    )
    .join(tables, tables.c.id == deliveries.c.table_id)
    .order_by(deliveries.c.number.desc())
)


def _select_due() -> Select[Any]:
    """Return the statement for what may be sent, a few of each hook, those due first before."""
    heads = (
        select(func.min(deliveries.c.number).label("number"))
        .where(
            is_waiting,
            deliveries.c.hook_id.in_(
                select(hooks.c.id).where(hooks.c.disabled_at.is_(None), hooks.c.paused_at.is_(None))
            ),
        )
        .group_by(deliveries.c.hook_id, deliveries.c.table_id)
        .subquery()
    )
    ranked = (
        select(
            deliveries,
            hooks.c.account_id,
            hooks.c.url,
            hooks.c.secret,
            func.row_number()
            .over(
                partition_by=deliveries.c.hook_id,
                order_by=(deliveries.c.due_at, deliveries.c.number),
            )
            .label("place"),
        )
        .join(heads, heads.c.number == deliveries.c.number)
        .join(hooks, hooks.c.id == deliveries.c.hook_id)
        .where(deliveries.c.due_at <= bindparam("now"))
        .subquery()
    )
    return select(ranked).where(ranked.c.place <= bindparam("per_hook")).order_by(ranked.c.number)


_DUE: Final = _select_due()


class DeliveryRepository(StoreRepository):
    """Deliveries: the loads make them, the courier sends them, people send them again."""

    def __init__(self, database: StoreDatabase) -> None:
        super().__init__(database)
        self._closed_hooks: set[int] = set()
        """Those of which it was logged that their secrets do not open."""

    def list_due(self, now: int, per_hook: int) -> list[DueDelivery]:
        """Return deliveries that may be sent: each is the first one of its hook and table.

        Those of a hook whose URL or secret does not open are left out; they wait.

        Args:
            now: microseconds since 1970.
            per_hook: how many of a hook at most.
        """
        with self._database.read() as tx:
            rows = tx.connection.execute(_DUE, {"now": now, "per_hook": per_hook}).all()
            found = []
            for row in rows:
                try:
                    url, secret = open_hook(tx, row.hook_id, row.url, row.secret)
                except OperatorError as error:  # it hurts this hook alone
                    self._warn_once(row.hook_id, error)
                    continue
                self._closed_hooks.discard(row.hook_id)
                found.append(
                    DueDelivery(
                        number=row.number,
                        id=row.id,
                        account_id=row.account_id,
                        hook_id=row.hook_id,
                        table_id=row.table_id,
                        url=url,
                        secret=secret,
                        body=row.body,
                        due_at=row.due_at,
                        tries=row.tries,
                    )
                )
            return found

    def _warn_once(self, hook_id: int, error: OperatorError) -> None:
        """Log why a hook gets nothing; the courier asks every second."""
        if hook_id not in self._closed_hooks:
            self._closed_hooks.add(hook_id)
            logger.warning("hook %d gets no deliveries: %s", hook_id, error)

    def find_origins(self, numbers: Sequence[int]) -> dict[int, tuple[str, int, str]]:
        """Return of which loads deliveries tell.

        Args:
            numbers: of deliveries.

        Returns:
            By number: id of the load, position of its first entry, id of the log; without those
            whose load report is gone.
        """
        query = (
            select(deliveries.c.number, loads.c.id, loads.c.first, loads.c.log_id)
            .join(loads, loads.c.id == deliveries.c.load_id)
            .where(deliveries.c.number.in_(numbers))
        )
        with self._database.read() as tx:
            return {
                number: (load_id, first, log_id)
                for number, load_id, first, log_id in tx.connection.execute(query)
            }

    def record_tries(self, made: Sequence[RecordedTry]) -> None:
        """Record tries of the courier, all of them or none.

        A delivery that is not as it was when it was sent stays as it is, and counts nothing: it was
        deleted, somebody has it sent again meanwhile, or this try was recorded already, by a commit
        of which the courier heard nothing.
        """
        every: Counter[int] = Counter()
        ended: Counter[tuple[int, str]] = Counter()
        hook_ids = sorted({one.hook_id for one in made})
        with self._database.write() as tx:
            # The hooks first, as who deletes one does.
            tx.connection.execute(
                select(hooks.c.id)
                .where(hooks.c.id.in_(hook_ids))
                .order_by(hooks.c.id)
                .with_for_update(key_share=True)
            )
            for one in made:
                changed = tx.connection.execute(
                    update(deliveries)
                    .where(
                        deliveries.c.number == one.number,
                        deliveries.c.tries == one.tries_before,
                        deliveries.c.due_at == one.due_before,
                    )
                    .values(
                        state=one.state,
                        due_at=one.due_at,
                        tries=one.tries_before + 1,
                        tried_at=one.at,
                        finished_at=None if one.state == WAITING else one.at,
                        took_us=one.took_us,
                        status=one.status,
                        answer=one.answer,
                        error=one.error,
                    )
                )
                every[one.hook_id] += changed.rowcount
                ended[one.hook_id, one.state] += changed.rowcount
            for hook_id in hook_ids:
                tx.connection.execute(
                    update(hooks)
                    .where(hooks.c.id == hook_id)
                    .values(
                        tries=hooks.c.tries + every[hook_id],
                        delivered=hooks.c.delivered + ended[hook_id, DELIVERED],
                        failed=hooks.c.failed + ended[hook_id, FAILED],
                    )
                    .execution_options(**BOOKKEEPING)
                )

    def list_deliveries(
        self,
        hook_id: int,
        *,
        state: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[HookDelivery]:
        """Return the deliveries of a hook, newest first.

        Args:
            hook_id: the hook; whose it is was checked by the caller.
            state: only in this state.
            before: only those before the one with this id: the last one of the page before.
            limit: how many at most.
        """
        query = _deliveries.where(deliveries.c.hook_id == hook_id).limit(limit)
        if state is not None:
            query = query.where(deliveries.c.state == state)
        if before is not None:
            place = select(deliveries.c.number).where(_has_id(before)).scalar_subquery()
            query = query.where(deliveries.c.number < place)
        with self._database.read() as tx:
            return [HookDelivery(**row._mapping) for row in tx.connection.execute(query)]

    def find_delivery(self, hook_id: int, delivery_id: str) -> HookDelivery | None:
        """Return a delivery of a hook; None where it has no such delivery."""
        query = _deliveries.where(deliveries.c.hook_id == hook_id, _has_id(delivery_id))
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
            return None if row is None else HookDelivery(**row._mapping)

    def get_delivery_count(
        self, hook_id: int, *, state: str | None = None, since: int | None = None
    ) -> int:
        """Return how many deliveries of a hook there are.

        Args:
            hook_id: the hook; whose it is was checked by the caller.
            state: only in this state.
            since: only those that were made at this time or later.
        """
        query = select(func.count()).where(deliveries.c.hook_id == hook_id)
        if state is not None:
            query = query.where(deliveries.c.state == state)
        if since is not None:
            query = query.where(deliveries.c.created_at >= since)
        with self._database.read() as tx:
            return int(tx.connection.execute(query).scalar_one())

    def send_again(
        self,
        account_id: int,
        hook_id: int,
        *,
        delivery_id: str | None = None,
        expected: int | None = None,
    ) -> int:
        """Let deliveries of a hook be sent again, as if they had never been; return how many.

        They have the ids that they had. Their places in the order of loads stay, too, so they go
        before later ones of the same table. One that is being tried now is sent once more,
        however that try ends.

        Args:
            account_id: of the hook, for the trail; the caller checked it.
            hook_id: the hook.
            delivery_id: the one, in whatever state it is; None for all that failed.
            expected: how many there have to be; None for any number.

        Raises:
            DeliveryCountError: there are fewer or more, and nothing is sent again.
        """
        chosen = deliveries.c.state == FAILED if delivery_id is None else _has_id(delivery_id)
        with self._database.change() as tx:
            count = tx.connection.execute(
                update(deliveries)
                .where(deliveries.c.hook_id == hook_id, chosen)
                .values(state=WAITING, due_at=tx.now, tries=0, finished_at=None)
            ).rowcount
            if expected is not None and count != expected:
                raise DeliveryCountError(expected, count)  # which undoes the change
            detail = {"deliveries": count} if delivery_id is None else {"delivery_id": delivery_id}
            tx.record(
                TrailAction.SEND_AGAIN,
                TrailTarget(TargetKind.HOOK, hook_id),
                account_id=account_id,
                detail=detail,
            )
            return count

    def delete_deliveries_before(self, at: int, most: int) -> tuple[int, int]:
        """Delete old deliveries.

        Args:
            at: those that were made before this time go.
            most: how many are left at most. Of those above, finished ones go first.

        Returns:
            How many went, and how many of them were still waiting.
        """
        with self._database.write() as tx:
            lost = _delete(tx, (deliveries.c.created_at < at) & is_waiting)
            gone = lost + _delete(tx, deliveries.c.created_at < at)
            excess = (
                tx.connection.execute(select(func.count()).select_from(deliveries)).scalar_one()
                - most
            )
            if excess > 0:
                oldest = (
                    select(deliveries.c.number)
                    .where(deliveries.c.state != WAITING)
                    .order_by(deliveries.c.number)
                    .limit(excess)
                )
                finished = _delete(tx, deliveries.c.number.in_(oldest))
                gone, excess = gone + finished, excess - finished
            if excess > 0:
                oldest = select(deliveries.c.number).order_by(deliveries.c.number).limit(excess)
                waiting = _delete(tx, deliveries.c.number.in_(oldest))
                gone, lost = gone + waiting, lost + waiting
            return gone, lost


def list_enabled_hooks(tx: StoreTransaction, destination_id: int) -> Sequence[int]:
    """Return the ids of the hooks that get deliveries for loads into a destination."""
    return tx.connection.execute(_ENABLED, {"at_destination_id": destination_id}).scalars().all()


def add_deliveries(
    tx: StoreTransaction, hook_ids: Sequence[int], table_id: int, load: LoadReport
) -> None:
    """Add a delivery for each hook, in the transaction that records a load for the first time.

    Args:
        tx: of the load.
        hook_ids: what `list_enabled_hooks` returned in the same transaction.
        table_id: of the table that was loaded.
        load: its report. One that loaded and rejected nothing has no deliveries.
    """
    if not hook_ids or not is_worth_a_delivery(load):
        return
    name = tx.connection.execute(
        select(sources.c.name).where(sources.c.id == load.source_id)
    ).scalar_one()
    body = encode_hook_body(load, name)
    tx.connection.execute(
        tx.insert(deliveries).on_conflict_do_nothing(),
        [
            {
                "id": make_delivery_id(hook_id, load.id),
                "hook_id": hook_id,
                "table_id": table_id,
                "load_id": load.id,
                "body": body,
                "state": WAITING,
                "created_at": tx.now,
                "due_at": tx.now,
                "tries": 0,
            }
            for hook_id in hook_ids
        ],
    )


def make_delivery_id(hook_id: int, load_id: str) -> str:
    """Return the id of the delivery of a load to a hook: always the same one."""
    return str(uuid.uuid5(_DELIVERY_SPACE, f"{hook_id} {load_id}"))


def _has_id(asked: str) -> ColumnElement[bool]:
    """Return the condition that a delivery has this id, which may be any text."""
    return deliveries.c.id == literal(asked, ClientText)


def _delete(tx: StoreTransaction, chosen: Any) -> int:
    return tx.connection.execute(delete(deliveries).where(chosen)).rowcount
