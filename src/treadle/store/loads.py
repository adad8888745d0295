"""The repository of load reports: committed loads and failed tries."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from heapq import nlargest
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from treadle import failpoint
from treadle.store.column_history import keep_columns
from treadle.store.database import StoreRepository, StoreTransaction, make_insert
from treadle.store.deliveries import add_deliveries, has_enabled_hooks, list_enabled_hooks
from treadle.store.load_folding import HOUR_US, choose_folds
from treadle.store.logs import present_logs, select_log_of_source
from treadle.store.model import EntryOutcome, LoadReport, RejectionTimes
from treadle.store.recent_loads import LoadFilter, RecentLoads, sum_loads
from treadle.store.rejects import add_rejects, forget_rejects
from treadle.store.report_order import begin_recording, find_complete_number
from treadle.store.schema import (
    ClientText,
    accounts,
    loads,
    logs,
    meta,
    outcomes,
    sources,
    tables,
)
from treadle.store.schema_event import SchemaChangeKind, SchemaEventKind
from treadle.store.schema_events import add_event, choose_event_kind
from treadle.store.tables import lock_table
from treadle.text import digest_text, escape_nul

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it.
_LOG_ID: Final = select_log_of_source(bindparam("at_source_id", type_=BigInteger))
_LOGS_AND_HOOKS: Final = select(logs.c.number, logs.c.log_id, has_enabled_hooks.label("has_hooks"))
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
        version=bindparam("at_version"),
        mode=bindparam("at_mode"),
        place_sha256=bindparam("at_place"),
        received=tables.c.received + bindparam("more_received"),
        written=tables.c.written + bindparam("more_written"),
        discarded=tables.c.discarded + bindparam("more_discarded"),
        rejected=tables.c.rejected + bindparam("more_rejected"),
        damaged=tables.c.damaged + bindparam("more_damaged"),
        loads=tables.c.loads + bindparam("more_loads"),
    )
)

_OF_ACCOUNT: Final = (
    select(sources.c.account_id)
    .where(sources.c.id == bindparam("at_source_id", type_=BigInteger))
    .scalar_subquery()
)
# Who asks for a load may name it by any text.
_HAS_ID: Final = loads.c.id == bindparam("at_load_id", type_=ClientText)
_PLACE: Final = select(loads.c.finished_at, loads.c.number).where(_HAS_ID)
_VERSION_SWITCHED: Final = SchemaChangeKind.VERSION_SWITCHED.value

_NOT_IN_REPORT: Final = ("number", "log_id", "table_id", "account_id", "schema_changes")

_loads = select(
    *(column for column in loads.c if column.name not in _NOT_IN_REPORT),
    tables.c.name.label("table_name"),
).join(tables, tables.c.id == loads.c.table_id)


@cache
def _insert_load(dialect: str) -> Executable:
    """Return the statement of a dialect that inserts a load, if it is not there."""
    return (
        make_insert(dialect, loads)
        .values(account_id=_OF_ACCOUNT)
        .on_conflict_do_nothing()
        .returning(loads.c.number)
    )


LOADS_FOLDED_MAX: Final = 1_000
"""Loads that are folded in one transaction: it takes some hundredths of a second."""

_FOLDED_COLUMNS: Final = (
    *("first", "started_at", "rows_received", "rows_loaded", "rows_discarded"),
    *("tables", "details", "waited_max_us", "waited_p50_us"),
)

WAITS_MAX: Final = 10_000
"""Loads whose waits are read at once."""

RECENT_LOADS_MAX: Final = 10_000
"""Loads that are summed at most: to read so many takes some hundredths of a second."""

# Written as in the conditions of the indexes: with a parameter no index would fit.
_CHANGED: Final = loads.c.schema_changes > literal_column("0")
_REJECTING: Final = loads.c.rows_rejected > literal_column("0")


def _tells_of_damage() -> ColumnElement[bool]:
    """Return the condition that the details of a load count damaged entries.

    The document is compared as a text. PostgreSQL can store one with a NUL or half of a surrogate
    pair in a name of a client's, but refuses to take anything out of it. The key is there only
    where an entry was damaged, and its value is a number. Inside of a text, quotes are escaped; a
    relation that is called like the key has a list.
    """
    key = '"damaged_entries": '
    plain = func.replace(cast(loads.c.details, Text), literal(f"{key}["), literal(""))
    # Not LIKE, for which SQLite takes a small letter for a capital one.
    return func.replace(plain, literal(key), literal("")) != plain


_IS_DAMAGED: Final = _tells_of_damage()


class LoadWait(NamedTuple):
    """How long the records of a load waited, from their acceptance to the load.

    Attributes:
        number: of the load report.
        records: that it took.
        median_us: half of them waited this long or less.
        longest_us: the one that waited longest.
    """

    number: int
    source_id: int
    records: int
    median_us: int
    longest_us: int


class LoadRepository(StoreRepository):
    """Load reports: committed loads and failed tries."""

    def record_load(
        self,
        load: LoadReport,
        outcomes: Sequence[EntryOutcome],
        *,
        destination_id: int | None = None,
        place: str = "",
    ) -> None:
        """Record one committed load; see `record_loads`."""
        self.record_loads([(load, outcomes)], destination_id=destination_id, place=place)

    def record_loads(
        self,
        committed: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]],
        *,
        destination_id: int | None = None,
        place: str = "",
    ) -> None:
        """Record committed loads and their outcomes; their tables have no error any more.

        Idempotent by (source, table, last position): the first report of a load stays. A load that
        is recorded for the first time gets its deliveries, one for each enabled hook.

        Args:
            committed: reports whose `error` is None, each with the outcomes of its entries that
                have superseded or rejected records. All are recorded, or none.
            destination_id: where they were loaded, whose hooks are told; None to tell none.
            place: the identity of the database; empty where it is not known.
        """
        digest = digest_text(place) if place else None
        with self._database.write() as tx:
            asked = {"at_destination_id": destination_id}
            found = tx.connection.execute(_LOGS_AND_HOOKS, asked).all()
            hooks: Sequence[int] = ()
            if found[0].has_hooks and destination_id is not None:
                hooks = list_enabled_hooks(tx, destination_id)
            log_ids = _find_log_ids(tx, found, {load.source_id for load, _ in committed})
            begin_recording(tx)
            for load, outcomes in committed:
                _record_load(tx, log_ids[load.source_id], load, outcomes, hooks, digest)

    def record_failure(self, load: LoadReport, *, stopped: bool, denied: bool = False) -> None:
        """Record a failed try. Of several tries from the same position the last one is kept.

        Args:
            load: its `error` says why.
            stopped: the table is not tried again until somebody acts.
            denied: a right is missing in the destination.
        """
        if load.error is not None:  # it may quote a client, and PostgreSQL stores no NUL
            load = replace(load, error=escape_nul(load.error))
        with self._database.write() as tx:
            asked = {"at_source_id": load.source_id}
            log_id: str = tx.connection.execute(select(_LOG_ID), asked).scalar_one()
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
            begin_recording(tx)
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
                _insert_load(tx.connection.dialect.name),
                {"log_id": log_id, "table_id": table.id, **_report_columns(load)},
            ).one_or_none()
            if stopped and not (table.stopped and table.error == load.error):
                add_event(
                    tx,
                    table,
                    SchemaEventKind.TABLE_STOPPED,
                    load.finished_at,
                    reason=load.error,
                )

    def list_loads(
        self,
        *,
        account_id: int | None = None,
        source_id: int | None = None,
        table_name: str | None = None,
        chosen: LoadFilter | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[LoadReport]:
        """Return load reports, the one that finished last first.

        However many reports there are, only those of the answer are read: each of these arguments,
        and each together with `failed` or `changed`, has an index.

        Args:
            account_id: only this account's.
            source_id: only this source's.
            table_name: only of tables of this name, as sent.
            chosen: which of those.
            limit: how many at most.
            before: only loads older than the one with this id: the last one of the page before.
        """
        conditions = _list_conditions(chosen or LoadFilter())
        with self._database.read() as tx:
            if before is not None:
                place = tx.connection.execute(_PLACE, {"at_load_id": before}).one_or_none()
                if place is None:
                    return []
                conditions.append(_make_older_condition(place))
            found: Sequence[Any]
            if table_name is None:
                conditions += _list_owner_conditions(account_id, source_id)
                found = tx.connection.execute(_choose_newest(_loads, conditions, limit)).all()
            else:
                ids = _find_table_ids(tx, account_id, source_id, table_name)
                found = _list_of_tables(tx, _loads, conditions, ids, limit)
        return [_read_report(row) for row in found]

    def find_load(self, account_id: int | None, load_id: str) -> LoadReport | None:
        """Return a load report by its id; None where the account (None for any) has no such."""
        query = _loads.where(_HAS_ID)
        if account_id is not None:
            query = query.where(loads.c.account_id == account_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query, {"at_load_id": load_id}).one_or_none()
        return None if row is None else _read_report(row)

    def sum_recent(
        self,
        *,
        source_id: int,
        table_name: str | None = None,
        since: int,
        loads_max: int = RECENT_LOADS_MAX,
    ) -> RecentLoads:
        """Return the sums of the newest loads of a source, or of one of its tables.

        Args:
            source_id: of the source.
            table_name: as sent; None for all tables.
            since: only loads that finished at or after this time.
            loads_max: how many at most: with more of them the sums reach back less far, as
                `RecentLoads.since` says.
        """
        names = ["finished_at", "error", "waited_max_us", "waited_p50_us"]
        names += ["rows_received", "rows_loaded", "rows_discarded", "rows_rejected"]
        if table_name is not None:
            names.append("tables")
        query = select(*(loads.c[name] for name in names))
        conditions = [loads.c.finished_at >= since]
        with self._database.read() as tx:
            if table_name is None:
                conditions.append(loads.c.source_id == source_id)
                newest = _choose_newest(query, conditions, loads_max)
                found = list(tx.connection.execute(newest))
            else:
                ids = _find_table_ids(tx, None, source_id, table_name)
                found = _list_of_tables(tx, query, conditions, ids, loads_max)
        return sum_loads([row._mapping for row in found], since, loads_max)

    def get_load_count(self, source_ids: Collection[int], since: int) -> int:
        """Return how many loads of some sources were committed; RECENT_LOADS_MAX at most.

        Args:
            source_ids: of the sources.
            since: only loads that finished at or after this time.
        """
        newest = (
            select(loads.c.number)
            .where(
                loads.c.source_id.in_(source_ids),
                loads.c.finished_at >= since,
                loads.c.error.is_(None),
            )
            .limit(RECENT_LOADS_MAX)
            .subquery()
        )
        with self._database.read() as tx:
            query = select(func.count()).select_from(newest)
            return int(tx.connection.execute(query).scalar_one())

    def get_last_number(self) -> int:
        """Return the number up to which the load reports are complete; 0 for none.

        Who reads on from there misses none, see `report_order`.
        """
        with self._database.read() as tx:
            return find_complete_number(tx)

    def list_waits_after(self, number: int) -> list[LoadWait]:
        """Return how long records waited for the loads that were recorded after another one.

        None comes later with a number below one of these, see `report_order`.

        Args:
            number: of that load.
        """
        names = ["number", "source_id", "rows_received", "waited_p50_us", "waited_max_us"]
        query = (
            select(*(loads.c[name] for name in names))
            .where(loads.c.number > number, loads.c.waited_p50_us.is_not(None))
            .order_by(loads.c.number)
            .limit(WAITS_MAX)
        )
        with self._database.read() as tx:
            return [LoadWait(*row) for row in tx.connection.execute(_choose_complete(tx, query))]

    def find_newest_time(self) -> int | None:
        """Return the latest time that the store has noted, microseconds; None for an empty one."""
        newest = (
            select(func.max(loads.c.finished_at).label("at"))
            .union_all(
                select(func.max(sources.c.updated_at)), select(func.max(accounts.c.created_at))
            )
            .subquery()
        )
        with self._database.read() as tx:
            found: int | None = tx.connection.execute(select(func.max(newest.c.at))).scalar_one()
        return found

    def list_loads_after(self, number: int, limit: int) -> list[tuple[int, LoadReport]]:
        """Return the load reports that were recorded after another one, by number.

        None comes later with a number below one of these, see `report_order`.

        Args:
            number: of that one.
            limit: only so many.
        """
        query = (
            _loads.add_columns(loads.c.number)
            .where(loads.c.number > number)
            .order_by(loads.c.number)
            .limit(limit)
        )
        with self._database.read() as tx:
            rows = tx.connection.execute(_choose_complete(tx, query))
            found = [dict(row._mapping) for row in rows]
        return [(values.pop("number"), LoadReport(**values)) for values in found]

    def list_rejection_times(self, since: int) -> list[RejectionTimes]:
        """Return the tables of which loads rejected records, or left damaged entries out.

        The records of a damaged entry count as rejected, too; a load with such entries tells of
        them alone.

        Args:
            since: only loads that finished at or after this time.
        """
        rejected_at = case((~_IS_DAMAGED, loads.c.finished_at))
        damaged_at = case((_IS_DAMAGED, loads.c.finished_at))
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
                _REJECTING,
                loads.c.error.is_(None),
            )
            .group_by(tables.c.id, tables.c.source_id, tables.c.name)
            .order_by(tables.c.id)
        )
        with self._database.read() as tx:
            return [RejectionTimes(**row._mapping) for row in tx.connection.execute(query)]

    def count_rejections(self, since: int) -> list[tuple[int, str, int]]:
        """Return how many records of each table were rejected: (source id, table name, records).

        Args:
            since: only by loads that finished at or after this time.
        """
        records = func.sum(loads.c.rows_rejected)
        query = (
            select(tables.c.source_id, tables.c.name, records.label("records"))
            .join(tables, tables.c.id == loads.c.table_id)
            .where(loads.c.finished_at >= since, _REJECTING, loads.c.error.is_(None))
            .group_by(tables.c.id, tables.c.source_id, tables.c.name)
            .order_by(tables.c.id)
        )
        with self._database.read() as tx:
            return [
                (row.source_id, row.name, int(row.records)) for row in tx.connection.execute(query)
            ]

    def find_covering_load(
        self, source_id: int, table_name: str, position: int
    ) -> LoadReport | None:
        """Return the committed load that took the entry at a position; None while it waits."""
        query = (
            _loads.where(
                tables.c.source_id == source_id,
                tables.c.name_sha256 == digest_text(table_name),
                loads.c.log_id == select_log_of_source(source_id),
                loads.c.error.is_(None),
                loads.c.first <= position,
                loads.c.last >= position,
            )
            .order_by(loads.c.last)
            .limit(1)
        )
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        return None if row is None else _read_report(row)

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
                    loads.c.log_id.in_(present_logs),
                    loads.c.error.is_(None),
                    loads.c.finished_at <= at,
                )
                .group_by(tables.c.id, tables.c.source_id, tables.c.name)
                .order_by(tables.c.id)
            )
            return [(row.source_id, row.name, row.last) for row in rows]

    def fold_loads(self, before: int, *, loads_max: int = LOADS_FOLDED_MAX) -> bool:
        """Fold the reports of one more hour, as `load_folding` says; return whether there is more.

        Each transaction takes some tables, so that others get their turn at the store. A hour that
        is cut short is begun again, which finds what is folded already.

        Args:
            before: only loads that finished in hours that ended at or before this time.
            loads_max: how many in one transaction, but for a table that has more.
        """
        with self._database.read() as tx:
            until = tx.connection.execute(select(meta.c.folded_until)).scalar_one()
            first = tx.connection.execute(
                select(func.min(loads.c.finished_at)).where(loads.c.finished_at >= until)
            ).scalar_one()
            if first is None or (first // HOUR_US + 1) * HOUR_US > before:
                return False
            begin = first // HOUR_US * HOUR_US
            in_hour = (loads.c.finished_at >= begin, loads.c.finished_at < begin + HOUR_US)
            found = tx.connection.execute(
                select(loads.c.table_id, func.count().label("loads"))
                .where(*in_hour, loads.c.error.is_(None))
                .group_by(loads.c.table_id)
                .having(func.count() > 1)
                .order_by(loads.c.table_id)
            ).all()
        for table_ids in _share_out([(row.table_id, row.loads) for row in found], loads_max):
            with self._database.write() as tx:
                rows = tx.connection.execute(
                    _loads.add_columns(loads.c.number, loads.c.log_id, loads.c.table_id)
                    .where(*in_hour, loads.c.table_id.in_(table_ids))
                    .order_by(loads.c.table_id, loads.c.log_id, loads.c.number)
                ).all()
                _write_folds(tx, rows)
        with self._database.write() as tx:
            tx.connection.execute(update(meta).values(folded_until=begin + HOUR_US))
        return True

    def delete_loads_before(self, at: int) -> int:
        """Delete loads that finished before a time, but the newest of each table; return how many.

        A receipt of their entries finds no load any more, so `at` must lie before the retention of
        receipts.
        """
        newer = loads.alias("newer")
        is_followed = (
            select(newer.c.number)
            .where(
                newer.c.table_id == loads.c.table_id,
                newer.c.finished_at >= loads.c.finished_at,
                newer.c.number > loads.c.number,
                newer.c.error.is_(None),
            )
            .exists()
        )
        with self._database.write() as tx:
            gone = tx.connection.execute(
                delete(loads).where(
                    loads.c.finished_at < at, or_(loads.c.error.is_not(None), is_followed)
                )
            )
            if not gone.rowcount:
                return 0
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
            if tx.connection.execute(delete(outcomes).where(~kept)).rowcount:
                forget_rejects(tx)
            return gone.rowcount


def _choose_complete(tx: StoreTransaction, query: Select[Any]) -> Select[Any]:
    """Leave out loads below which one may still come; on SQLite there are none of this kind."""
    if tx.connection.dialect.name == "sqlite":
        return query
    return query.where(loads.c.number <= find_complete_number(tx))


def _share_out(tables_: Sequence[tuple[int, int]], loads_max: int) -> Iterator[list[int]]:
    """Yield groups of tables, each with so many loads at most, or with one table.

    Args:
        tables_: (id, loads).
        loads_max: of a group.
    """
    group: list[int] = []
    size = 0
    for table_id, count in tables_:
        if group and size + count > loads_max:
            yield group
            group, size = [], 0
        group.append(table_id)
        size += count
    if group:
        yield group


def _write_folds(tx: StoreTransaction, rows: Sequence[Row[Any]]) -> None:
    """Fold reports, ordered by table, log and number."""
    removed: list[dict[str, int]] = []
    changed: list[dict[str, Any]] = []
    for _, group in groupby(rows, key=lambda row: (row.table_id, row.log_id)):
        reports = [
            (
                row.number,
                LoadReport(
                    **{
                        name: value
                        for name, value in row._mapping.items()
                        if name not in ("number", "log_id", "table_id")
                    }
                ),
            )
            for row in group
        ]
        for fold in choose_folds(reports):
            removed += [{"at_number": number} for number in fold.removed]
            values = {name: getattr(fold.report, name) for name in _FOLDED_COLUMNS}
            changed.append({"at_number": fold.number, **values})
    if changed:
        # First the others: no two rows of a table have the same last position.
        tx.connection.execute(
            delete(loads).where(loads.c.number == bindparam("at_number")), removed
        )
        tx.connection.execute(
            update(loads)
            .where(loads.c.number == bindparam("at_number"))
            .values({name: bindparam(name) for name in _FOLDED_COLUMNS}),
            changed,
        )


def _find_log_ids(
    tx: StoreTransaction, known: Sequence[Row[Any]], source_ids: Collection[int]
) -> Mapping[int, str]:
    """Return source id -> the id of its log; nothing is asked where there is one log."""
    if len(known) == 1:
        return dict.fromkeys(source_ids, known[0].log_id)
    log_ids = {row.number: row.log_id for row in known}
    rows = tx.connection.execute(
        select(sources.c.id, sources.c.log).where(sources.c.id.in_(source_ids))
    )
    return {row.id: log_ids[row.log] for row in rows}


def _record_load(
    tx: StoreTransaction,
    log_id: str,
    load: LoadReport,
    outcomes: Sequence[EntryOutcome],
    hooks: Sequence[int],
    place: bytes | None,
) -> None:
    table = lock_table(tx, load.source_id, load.table_name, log_id)
    inserted = tx.connection.execute(
        _insert_load(tx.connection.dialect.name),
        {"log_id": log_id, "table_id": table.id, **_report_columns(load)},
    ).one_or_none()
    failpoint.reach("store.record-load")
    is_new = inserted is not None
    is_late = _is_late(table, load, log_id, is_new=is_new)
    changes = [
        {**change, "from": table.version} if change["kind"] == _VERSION_SWITCHED else change
        for change in load.details.get("schema_changes", ())
    ]
    if load.columns is not None and not is_late:
        changes += keep_columns(tx, table, load)
    if table.stopped and not is_late:
        add_event(tx, table, SchemaEventKind.TABLE_RESUMED, load.finished_at, load_id=load.id)
    if is_new and changes:
        kind = choose_event_kind(changes)
        add_event(tx, table, kind, load.finished_at, load_id=load.id, changes=changes)
    mode = load.details.get("mode")
    tells_mode = mode is not None and not is_late
    tx.connection.execute(
        _LOADED,
        {
            "at_id": table.id,
            "at_log_id": log_id,
            "at_loaded": max(load.last, table.loaded) if table.log_id == log_id else load.last,
            "at_began": _first_position(table, load, log_id),
            "at_version": load.details["table_version"] if tells_mode else table.version,
            "at_mode": mode if tells_mode else table.mode,
            "at_place": table.place_sha256 if is_late else place,
            **_error_columns(table, load, late=is_late),
            **_added_totals(load, is_new=is_new),
        },
    )
    if is_new and outcomes:
        _insert_outcomes(tx, table.id, log_id, outcomes)
        add_rejects(tx, table, log_id, load.started_at, outcomes)
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
    table: Row[Any], load: LoadReport, *, late: bool
) -> dict[str, int | str | bool | None]:
    """Return the error columns of a table after a load: none, unless the report comes late.

    A loader that lost its lease may report a load that its successor reported before. It knows
    nothing of an error that came later, so it must not clear it.
    """
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
    elsewhere = ("table_name", "columns")
    names = [field.name for field in fields(load)]
    values = {name: getattr(load, name) for name in names if name not in elsewhere}
    changes = len(load.details.get("schema_changes", ()))
    return {**values, "at_source_id": load.source_id, "schema_changes": changes}


def _read_report(row: Any) -> LoadReport:
    return LoadReport(**{name: value for name, value in row._mapping.items() if name != "place"})


def _list_owner_conditions(
    account_id: int | None, source_id: int | None
) -> list[ColumnElement[bool]]:
    """Return one condition at most: with two of them, the wrong index may be taken."""
    if source_id is not None and account_id is not None:
        of_account = select(sources.c.id).where(
            sources.c.id == source_id, sources.c.account_id == account_id
        )
        return [loads.c.source_id == of_account.scalar_subquery()]
    if source_id is not None:
        return [loads.c.source_id == source_id]
    return [] if account_id is None else [loads.c.account_id == account_id]


def _list_conditions(chosen: LoadFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if chosen.failed is not None:
        found.append(loads.c.error.is_not(None) if chosen.failed else loads.c.error.is_(None))
    if chosen.changed is not None:
        found.append(_CHANGED if chosen.changed else ~_CHANGED)
    if chosen.since is not None:
        found.append(loads.c.finished_at >= chosen.since)
    if chosen.until is not None:
        found.append(loads.c.finished_at < chosen.until)
    return found


def _make_older_condition(place: Any) -> ColumnElement[bool]:
    """Return the condition of loads that come after the one at a place, newest first."""
    return and_(
        loads.c.finished_at <= place.finished_at,
        or_(loads.c.finished_at < place.finished_at, loads.c.number < place.number),
    )


def _find_table_ids(
    tx: StoreTransaction, account_id: int | None, source_id: int | None, table_name: str
) -> Sequence[int]:
    query = select(tables.c.id).where(tables.c.name_sha256 == digest_text(table_name))
    if source_id is not None:
        query = query.where(tables.c.source_id == source_id)
    if account_id is not None:
        of_account = select(sources.c.id).where(sources.c.account_id == account_id)
        query = query.where(tables.c.source_id.in_(of_account))
    return tx.connection.execute(query).scalars().all()


def _choose_newest(
    query: Select[Any], conditions: Sequence[ColumnElement[bool]], limit: int
) -> Select[Any]:
    """Add conditions of loads to a question, and have the newest so many answered, in order."""
    order = (loads.c.finished_at.desc(), loads.c.number.desc())
    return query.where(*conditions).order_by(*order).limit(limit)


def _list_of_tables(
    tx: StoreTransaction,
    query: Select[Any],
    conditions: Sequence[ColumnElement[bool]],
    table_ids: Sequence[int],
    limit: int,
) -> list[Row[Any]]:
    """Return the newest loads of some tables, the newest one first.

    The newest loads of each table may be those that are asked for, and every source may have a
    table of that name. So each table is asked for the places of its loads, which an index has. Only
    the reports that are answered are read: one takes some kilobytes.

    Args:
        tx: the transaction.
        query: the columns that are wanted.
        conditions: of the loads.
        table_ids: of the tables.
        limit: how many at most.
    """
    if len(table_ids) == 1:
        one = [*conditions, loads.c.table_id == table_ids[0]]
        return list(tx.connection.execute(_choose_newest(query, one, limit)))
    places = _choose_newest(select(loads.c.finished_at, loads.c.number), conditions, limit)
    newest: list[tuple[int, int]] = []
    for table_id in table_ids:
        of_table = places.where(loads.c.table_id == table_id)
        if 0 < limit == len(newest):  # older ones are not asked for
            of_table = of_table.where(loads.c.finished_at >= newest[-1][0])
        rows = tx.connection.execute(of_table)
        newest = nlargest(limit, [*newest, *((row.finished_at, row.number) for row in rows)])
    # Without the order and the bound, for which another index might be taken.
    found = tx.connection.execute(
        query.add_columns(loads.c.number.label("place")).where(
            loads.c.number.in_([number for _, number in newest])
        )
    )
    return sorted(found, key=lambda row: (row.finished_at, row.place), reverse=True)
