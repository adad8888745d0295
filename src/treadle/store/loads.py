"""The repository of load reports: committed loads and failed tries."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Row, bindparam, case, delete, func, select, update

from treadle import failpoint
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.deliveries import add_deliveries, has_enabled_hooks, list_enabled_hooks
from treadle.store.model import EntryOutcome, LoadReport, RejectionTimes
from treadle.store.schema import loads, meta, outcomes, sources, tables
from treadle.store.tables import keep_columns, lock_table, present_log
from treadle.text import digest_text

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it.
_LOG_ID: Final = select(meta.c.log_id)
_LOG_AND_HOOKS: Final = select(meta.c.log_id, has_enabled_hooks.label("has_hooks"))
_LOADED: Final = (
    update(tables)
    .where(tables.c.id == bindparam("at_id"))
    .values(
        log_id=bindparam("at_log_id"),
        loaded=bindparam("at_loaded"),
        loaded_at=bindparam("at_loaded_at"),
        error=bindparam("at_error"),
        error_since=bindparam("at_error_since"),
        stopped=bindparam("at_stopped"),
        denied=bindparam("at_denied"),
        trouble=bindparam("at_trouble"),
        trouble_since=bindparam("at_trouble_since"),
        began=bindparam("at_began"),
        received=tables.c.received + bindparam("more_received"),
        written=tables.c.written + bindparam("more_written"),
        discarded=tables.c.discarded + bindparam("more_discarded"),
        rejected=tables.c.rejected + bindparam("more_rejected"),
        damaged=tables.c.damaged + bindparam("more_damaged"),
        loads=tables.c.loads + bindparam("more_loads"),
    )
)

_loads = select(
    *(column for column in loads.c if column.name not in ("number", "log_id", "table_id")),
    tables.c.source_id,
    tables.c.name.label("table_name"),
).join(tables, tables.c.id == loads.c.table_id)


class LoadRepository(StoreRepository):
    """Load reports: committed loads and failed tries."""

    def record_load(
        self,
        load: LoadReport,
        outcomes: Sequence[EntryOutcome],
        *,
        destination_id: int | None = None,
    ) -> None:
        """Record one committed load; see `record_loads`."""
        self.record_loads([(load, outcomes)], destination_id=destination_id)

    def record_loads(
        self,
        committed: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]],
        *,
        destination_id: int | None = None,
    ) -> None:
        """Record committed loads and their outcomes; their tables have no error any more.

        Idempotent by (source, table, last position): the first report of a load stays. A load that
        is recorded for the first time gets its deliveries, one for each enabled hook.

        Args:
            committed: reports whose `error` is None, each with the outcomes of its entries that
                have superseded or rejected records. All are recorded, or none.
            destination_id: where they were loaded, whose hooks are told; None to tell none.
        """
        with self._database.write() as tx:
            asked = {"at_destination_id": destination_id}
            log_id, has_hooks = tx.connection.execute(_LOG_AND_HOOKS, asked).one()
            hooks: Sequence[int] = ()
            if has_hooks and destination_id is not None:
                hooks = list_enabled_hooks(tx, destination_id)
            for load, outcomes in committed:
                _record_load(tx, log_id, load, outcomes, hooks)

    def record_failure(self, load: LoadReport, *, stopped: bool, denied: bool = False) -> None:
        """Record a failed try. Of several tries from the same position the last one is kept.

        Args:
            load: its `error` says why.
            stopped: the table is not tried again until somebody acts.
            denied: a right is missing in the destination.
        """
        with self._database.write() as tx:
            log_id = tx.connection.execute(_LOG_ID).scalar_one()
            table = lock_table(tx, load.source_id, load.table_name, log_id)
            tx.connection.execute(
                update(tables)
                .where(tables.c.id == table.id)
                .values(
                    error=load.error,
                    error_since=func.coalesce(tables.c.error_since, load.finished_at),
                    stopped=stopped,
                    denied=denied,
                    failures=tables.c.failures + 1,
                )
            )
            # A try may be repeated for days, so only the last one from each position is kept.
            tx.connection.execute(
                delete(loads).where(
                    loads.c.table_id == table.id,
                    loads.c.log_id == log_id,
                    loads.c.first == load.first,
                    loads.c.error.is_not(None),
                )
            )
            tx.connection.execute(
                tx.insert(loads)
                .values(log_id=log_id, table_id=table.id, **_report_columns(load))
                .on_conflict_do_nothing()
            )

    def list_loads(
        self,
        *,
        account_id: int | None = None,
        source_id: int | None = None,
        table_name: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[LoadReport]:
        """Return load reports, newest first.

        Args:
            account_id: only this account's.
            source_id: only this source's.
            table_name: only of tables of this name, as sent.
            limit: how many at most.
            before: only loads older than the one with this id: the last one of the page before.
        """
        query = _loads.order_by(loads.c.number.desc()).limit(limit)
        if account_id is not None:
            query = query.join(sources, sources.c.id == tables.c.source_id).where(
                sources.c.account_id == account_id
            )
        if source_id is not None:
            query = query.where(tables.c.source_id == source_id)
        if table_name is not None:
            query = query.where(tables.c.name_sha256 == digest_text(table_name))
        if before is not None:
            place = select(loads.c.number).where(loads.c.id == before).scalar_subquery()
            query = query.where(loads.c.number < place)
        with self._database.read() as tx:
            return [LoadReport(**row._mapping) for row in tx.connection.execute(query)]

    def find_load(self, account_id: int, load_id: str) -> LoadReport | None:
        """Return a load report; None where the account has none with this id."""
        query = _loads.join(sources, sources.c.id == tables.c.source_id).where(
            sources.c.account_id == account_id, loads.c.id == load_id
        )
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        return None if row is None else LoadReport(**row._mapping)

    def list_rejection_times(self, since: int) -> list[RejectionTimes]:
        """Return the tables of which loads rejected records, or left damaged entries out.

        The records of a damaged entry count as rejected, too; a load with such entries tells of
        them alone.

        Args:
            since: only loads that finished at or after this time.
        """
        damaged = func.coalesce(loads.c.details["damaged_entries"].as_integer(), 0)
        rejected_at = case((damaged == 0, loads.c.finished_at))
        damaged_at = case((damaged > 0, loads.c.finished_at))
        query = (
            select(
                tables.c.source_id,
                tables.c.name.label("table_name"),
                func.min(rejected_at).label("rejected_first"),
                func.max(rejected_at).label("rejected_last"),
                func.min(damaged_at).label("damaged_first"),
                func.max(damaged_at).label("damaged_last"),
            )
            .join(tables, tables.c.id == loads.c.table_id)
            .where(
                loads.c.finished_at >= since,
                loads.c.rows_rejected > 0,
                loads.c.error.is_(None),
            )
            .group_by(tables.c.id, tables.c.source_id, tables.c.name)
            .order_by(tables.c.id)
        )
        with self._database.read() as tx:
            return [RejectionTimes(**row._mapping) for row in tx.connection.execute(query)]

    def find_covering_load(
        self, source_id: int, table_name: str, position: int
    ) -> LoadReport | None:
        """Return the committed load that took the entry at a position; None while it waits."""
        query = (
            _loads.where(
                tables.c.source_id == source_id,
                tables.c.name_sha256 == digest_text(table_name),
                loads.c.log_id == present_log,
                loads.c.error.is_(None),
                loads.c.first <= position,
                loads.c.last >= position,
            )
            .order_by(loads.c.last)
            .limit(1)
        )
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        return None if row is None else LoadReport(**row._mapping)

    def list_loaded_before(self, at: int) -> list[tuple[int, str, int]]:
        """Return the positions that may be trimmed: (source id, table name, last loaded position).

        Args:
            at: only loads that finished at or before this time count.
        """
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(tables.c.source_id, tables.c.name, func.max(loads.c.last).label("last"))
                .join(loads, loads.c.table_id == tables.c.id)
                .where(
                    loads.c.log_id == present_log,
                    loads.c.error.is_(None),
                    loads.c.finished_at <= at,
                )
                .group_by(tables.c.id, tables.c.source_id, tables.c.name)
                .order_by(tables.c.id)
            )
            return [(row.source_id, row.name, row.last) for row in rows]

    def delete_loads_before(self, at: int) -> int:
        """Delete loads that finished before a time, but the newest of each table; return how many.

        A receipt of their entries finds no load any more, so `at` must lie before the retention of
        receipts.
        """
        newest = (
            select(func.max(loads.c.number))
            .where(loads.c.error.is_(None))
            .group_by(loads.c.table_id)
            .scalar_subquery()
        )
        with self._database.write() as tx:
            gone = tx.connection.execute(
                delete(loads).where(loads.c.finished_at < at, loads.c.number.not_in(newest))
            )
            # An outcome belongs to the load that covers its position, and goes with it.
            kept = (
                select(loads.c.number)
                .where(
                    loads.c.table_id == outcomes.c.table_id,
                    loads.c.log_id == outcomes.c.log_id,
                    loads.c.error.is_(None),
                    loads.c.last >= outcomes.c.position,
                    loads.c.first <= outcomes.c.position,
                )
                .exists()
            )
            tx.connection.execute(delete(outcomes).where(~kept))
            return gone.rowcount


def _record_load(
    tx: StoreTransaction,
    log_id: str,
    load: LoadReport,
    outcomes: Sequence[EntryOutcome],
    hooks: Sequence[int],
) -> None:
    table = lock_table(tx, load.source_id, load.table_name, log_id)
    inserted = tx.connection.execute(
        tx.insert(loads).on_conflict_do_nothing().returning(loads.c.number),
        {"log_id": log_id, "table_id": table.id, **_report_columns(load)},
    ).one_or_none()
    failpoint.reach("store.record-load")
    is_new = inserted is not None
    if load.columns is not None and not _is_late(table, load, log_id, is_new=is_new):
        keep_columns(tx, table.id, load.columns)
    tx.connection.execute(
        _LOADED,
        {
            "at_id": table.id,
            "at_log_id": log_id,
            "at_loaded": max(load.last, table.loaded) if table.log_id == log_id else load.last,
            "at_began": _first_position(table, load, log_id),
            **_error_columns(table, load, log_id, is_new=is_new),
            **_added_totals(load, is_new=is_new),
        },
    )
    if is_new and outcomes:
        _insert_outcomes(tx, table.id, log_id, outcomes)
    if is_new:
        add_deliveries(tx, hooks, table.id, load)


def _insert_outcomes(
    tx: StoreTransaction, table_id: int, log_id: str, found: Sequence[EntryOutcome]
) -> None:
    statement = tx.insert(outcomes)
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["log_id", "position"],
            set_={
                "superseded": statement.excluded.superseded,
                "rejected": statement.excluded.rejected,
            },
        ),
        [
            {
                "log_id": log_id,
                "position": outcome.position,
                "table_id": table_id,
                "superseded": outcome.superseded,
                "rejected": [list(rejected) for rejected in outcome.rejected],
            }
            for outcome in found
        ],
    )


def _error_columns(
    table: Row[Any], load: LoadReport, log_id: str, *, is_new: bool
) -> dict[str, int | str | bool | None]:
    """Return the error columns of a table after a load: none, unless the report comes late.

    A loader that lost its lease may report a load that its successor reported before. It knows
    nothing of an error that came later, so it must not clear it.
    """
    late = _is_late(table, load, log_id, is_new=is_new)
    return {
        "at_loaded_at": table.loaded_at if late else load.finished_at,
        "at_error": table.error if late else None,
        "at_error_since": table.error_since if late else None,
        "at_stopped": table.stopped if late else False,
        "at_denied": table.denied if late else None,
        **_trouble_columns(table, load, late=late),
    }


def _is_late(table: Row[Any], load: LoadReport, log_id: str, *, is_new: bool) -> bool:
    """Return whether a later load was reported before, or this one."""
    return not is_new or (table.log_id == log_id and load.last < table.loaded)


def _trouble_columns(
    table: Row[Any], load: LoadReport, *, late: bool
) -> dict[str, int | str | bool | None]:
    """Return what somebody should know of the last load of a table, and since when that is so."""
    if late or not load.rows_received:  # an activation alone tells nothing new of the records
        return {"at_trouble": table.trouble, "at_trouble_since": table.trouble_since}
    trouble = load.details.get("trouble")
    since = load.finished_at if table.trouble_since is None else table.trouble_since
    return {"at_trouble": trouble, "at_trouble_since": None if trouble is None else since}


def _added_totals(load: LoadReport, *, is_new: bool) -> dict[str, int]:
    """Return what a load adds to the totals of its table; nothing when it was reported before."""
    return {
        "more_received": load.rows_received if is_new else 0,
        "more_written": load.rows_loaded if is_new else 0,
        "more_discarded": load.rows_discarded if is_new else 0,
        "more_rejected": load.rows_rejected if is_new else 0,
        "more_damaged": load.details.get("damaged_entries", 0) if is_new else 0,
        "more_loads": 1 if is_new else 0,
    }


def _first_position(table: Row[Any], load: LoadReport, log_id: str) -> int | None:
    """Return the position of the first entry of a table after a load; None when it is not known."""
    if table.loaded == 0:
        return load.first
    if table.began is None or table.log_id != log_id:
        return None
    began: int = min(table.began, load.first)
    return began


def _report_columns(load: LoadReport) -> dict[str, Any]:
    elsewhere = ("source_id", "table_name", "columns")
    names = [field.name for field in fields(load)]
    return {name: getattr(load, name) for name in names if name not in elsewhere}
