"""What became of accepted entries: loads, outcomes and how each table stands.

Positions are those of one log. When the log is replaced by a new one its positions begin anew, so
every statement here speaks of the log the store knows as the present one (`use_log`); what earlier
logs left stays as history.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, Text, bindparam, cast, delete, func, select, update

from treadle import failpoint
from treadle.store.database import StoreTransaction
from treadle.store.model import EntryOutcome, LoadReport, TableLoadStatus, TableTotals
from treadle.store.schema import loads, meta, outcomes, sources, tables

# Well below the 32,766 parameters SQLite takes and the 65,535 PostgreSQL takes in one statement.
POSITIONS_PER_STATEMENT: Final = 10_000

Report = tuple[LoadReport, Sequence[EntryOutcome]]
"""A load, and the outcomes of the entries some of whose records were superseded or rejected."""

_present_log = select(meta.c.log_id).scalar_subquery()

# Made once: to put together a statement takes as long as SQLite does to carry it out.
_LOG_ID: Final = select(meta.c.log_id)
_NAMED: Final = (
    select(tables)
    .where(
        tables.c.source_id == bindparam("at_source_id"),
        tables.c.name_sha256.in_(bindparam("at_names", expanding=True)),
    )
    # Everyone locks in one order. SQLite has no such clause and no need of it: one writer at a time
    .order_by(tables.c.id)
    .with_for_update()
)
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
        began=bindparam("at_began"),
        received=tables.c.received + bindparam("more_received"),
        written=tables.c.written + bindparam("more_written"),
        discarded=tables.c.discarded + bindparam("more_discarded"),
        rejected=tables.c.rejected + bindparam("more_rejected"),
        damaged=tables.c.damaged + bindparam("more_damaged"),
        loads=tables.c.loads + bindparam("more_loads"),
    )
)


def use_log(tx: StoreTransaction, log_id: str) -> None:
    """Name the log whose positions are meant from now on."""
    present = tx.connection.execute(select(meta.c.log_id).with_for_update()).scalar_one()
    if present == log_id:
        return
    tx.connection.execute(update(meta).values(log_id=log_id))
    if present == "":  # the first log to be named: what was recorded before was its own
        for table in (tables, loads, outcomes):
            tx.connection.execute(update(table).where(table.c.log_id == "").values(log_id=log_id))


def record(tx: StoreTransaction, found: Sequence[Report]) -> None:
    """Keep committed loads of different tables; see `Store.record_loads`."""
    if not found:
        return
    log_id = tx.connection.execute(_LOG_ID).scalar_one()
    rows = _tables(tx, [(load.source_id, load.table_name) for load, _ in found], log_id)
    named = [
        (rows[load.source_id, _name_key(load.table_name)], load, theirs) for load, theirs in found
    ]
    if len(named) > len(rows):
        raise ValueError("of each table one load at a time: the order of two would be lost")
    kept = set(
        tx.connection.execute(
            tx.insert(loads).on_conflict_do_nothing().returning(loads.c.table_id),
            [{"log_id": log_id, "table_id": row.id, **_values(load)} for row, load, _ in named],
        ).scalars()
    )
    failpoint.reach("store.record-load")
    tx.connection.execute(
        _LOADED,
        [
            {
                "at_id": row.id,
                "at_log_id": log_id,
                "at_loaded": max(load.last, row.loaded) if row.log_id == log_id else load.last,
                "at_began": _began(row, load, log_id),
                **_standing(row, load, log_id, first_report=row.id in kept),
                **_counts(load, first_report=row.id in kept),
            }
            for row, load, _ in named
        ],
    )
    written = [
        {
            "log_id": log_id,
            "position": outcome.position,
            "table_id": row.id,
            "superseded": outcome.superseded,
            "rejected": [list(rejected) for rejected in outcome.rejected],
        }
        for row, _, theirs in named
        if row.id in kept
        for outcome in theirs
    ]
    if written:
        statement = tx.insert(outcomes)
        tx.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["log_id", "position"],
                set_={
                    "superseded": statement.excluded.superseded,
                    "rejected": statement.excluded.rejected,
                },
            ),
            written,
        )


def _standing(
    table: Row[Any], load: LoadReport, log_id: str, *, first_report: bool
) -> dict[str, int | str | bool | None]:
    """How a table is once a load is recorded: well, unless that is told late.

    A loader that lost its lease may note a load that the next one has noted long since, and say
    nothing of what came up after it.
    """
    late = not first_report or (table.log_id == log_id and load.last < table.loaded)
    return {
        "at_loaded_at": table.loaded_at if late else load.finished_at,
        "at_error": table.error if late else None,
        "at_error_since": table.error_since if late else None,
        "at_stopped": table.stopped if late else False,
    }


def _counts(load: LoadReport, *, first_report: bool) -> dict[str, int]:
    """What a load adds to the counts of its table: nothing when it was reported before."""
    return {
        "more_received": load.rows_received if first_report else 0,
        "more_written": load.rows_loaded if first_report else 0,
        "more_discarded": load.rows_discarded if first_report else 0,
        "more_rejected": load.rows_rejected if first_report else 0,
        "more_damaged": load.details.get("damaged_entries", 0) if first_report else 0,
        "more_loads": 1 if first_report else 0,
    }


def _began(table: Row[Any], load: LoadReport, log_id: str) -> int | None:
    """Where the entries of a table begin, once a load is recorded."""
    if table.loaded == 0:
        return load.first
    if table.began is None or table.log_id != log_id:
        return None
    began: int = min(table.began, load.first)
    return began


def record_rebuilt(tx: StoreTransaction, source_id: int, table_name: str, at: int) -> None:
    """Note that a table was rebuilt; see `Store.record_rebuilt`."""
    tx.connection.execute(
        update(tables)
        .where(tables.c.source_id == source_id, tables.c.name_sha256 == _name_key(table_name))
        .values(rebuilt_at=at)
    )


def record_failure(tx: StoreTransaction, load: LoadReport, *, stopped: bool) -> None:
    """Keep a failed try; see `Store.record_failure`."""
    log_id = tx.connection.execute(select(meta.c.log_id)).scalar_one()
    table = _table(tx, load.source_id, load.table_name, log_id)
    tx.connection.execute(
        update(tables)
        .where(tables.c.id == table.id)
        .values(
            error=load.error,
            error_since=func.coalesce(tables.c.error_since, load.finished_at),
            stopped=stopped,
            failures=tables.c.failures + 1,
        )
    )
    # Tries are repeated for as long as it takes: the last one of each place is kept.
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
        .values(log_id=log_id, table_id=table.id, **_values(load))
        .on_conflict_do_nothing()
    )


def statuses(tx: StoreTransaction, source_id: int | None) -> list[TableLoadStatus]:
    """How loading of each table stands, by source and name."""
    query = select(tables, (tables.c.log_id == _present_log).label("present"))
    if source_id is not None:
        query = query.where(tables.c.source_id == source_id)
    found = [
        TableLoadStatus(
            source_id=row.source_id,
            table_name=row.name,
            loaded=row.loaded if row.present else 0,
            loaded_at=row.loaded_at,
            error=row.error,
            error_since=row.error_since,
            stopped=row.stopped,
            began=row.began if row.present else None,
            rebuilt_at=row.rebuilt_at,
        )
        for row in tx.connection.execute(query)
    ]
    # Sorted here: the two databases do not agree on the order of texts.
    return sorted(found, key=lambda status: (status.source_id, status.table_name))


def tallies(tx: StoreTransaction) -> list[TableTotals]:
    """What became of the records of each table; see `Store.tallies`."""
    query = select(tables, (tables.c.log_id == _present_log).label("present"))
    return [
        TableTotals(
            source_id=row.source_id,
            table_name=row.name,
            position=row.loaded if row.present else 0,
            received=row.received,
            loaded=row.written,
            superseded=row.discarded,
            rejected=row.rejected,
            damaged=row.damaged,
            loads=row.loads,
            failures=row.failures,
            error=row.error is not None,
            stopped=row.stopped,
        )
        for row in tx.connection.execute(query)
    ]


_loads = select(loads, tables.c.source_id, tables.c.name.label("table_name")).join(
    tables, tables.c.id == loads.c.table_id
)


def history(
    tx: StoreTransaction,
    *,
    account_id: int | None,
    source_id: int | None,
    table_name: str | None,
    limit: int,
    before: str | None,
) -> list[LoadReport]:
    """Loads, newest first; see `Store.loads`."""
    query = _loads.order_by(loads.c.number.desc()).limit(limit)
    if account_id is not None:
        query = query.join(sources, sources.c.id == tables.c.source_id).where(
            sources.c.account_id == account_id
        )
    if source_id is not None:
        query = query.where(tables.c.source_id == source_id)
    if table_name is not None:
        query = query.where(tables.c.name_sha256 == _name_key(table_name))
    if before is not None:
        place = select(loads.c.number).where(loads.c.id == before).scalar_subquery()
        query = query.where(loads.c.number < place)
    return _read(tx, query)


def covering(
    tx: StoreTransaction, source_id: int, table_name: str, position: int
) -> LoadReport | None:
    """The committed load that took a position; see `Store.load_of`."""
    found = _read(
        tx,
        _loads.where(
            tables.c.source_id == source_id,
            tables.c.name_sha256 == _name_key(table_name),
            loads.c.log_id == _present_log,
            loads.c.error.is_(None),
            loads.c.first <= position,
            loads.c.last >= position,
        )
        .order_by(loads.c.last)
        .limit(1),
    )
    return found[0] if found else None


def outcomes_at(tx: StoreTransaction, positions: Sequence[int]) -> list[EntryOutcome]:
    """Outcomes of entries, ascending position; positions without one are left out."""
    found: list[EntryOutcome] = []
    wanted = sorted(set(positions))
    for start in range(0, len(wanted), POSITIONS_PER_STATEMENT):
        rows = tx.connection.execute(
            select(outcomes, tables.c.source_id, tables.c.name.label("table_name"))
            .join(tables, tables.c.id == outcomes.c.table_id)
            .where(
                outcomes.c.log_id == _present_log,
                outcomes.c.position.in_(wanted[start : start + POSITIONS_PER_STATEMENT]),
            )
            .order_by(outcomes.c.position)
        )
        found += [
            EntryOutcome(
                position=row.position,
                source_id=row.source_id,
                table_name=row.table_name,
                superseded=row.superseded,
                rejected=tuple((index, reason) for index, reason in row.rejected),
            )
            for row in rows
        ]
    return found


def outcomes_of(tx: StoreTransaction, source_id: int, table_name: str) -> list[EntryOutcome]:
    """Outcomes of all entries of one table, ascending position."""
    rows = tx.connection.execute(
        select(outcomes)
        .join(tables, tables.c.id == outcomes.c.table_id)
        .where(
            outcomes.c.log_id == _present_log,
            tables.c.source_id == source_id,
            tables.c.name_sha256 == _name_key(table_name),
        )
        .order_by(outcomes.c.position)
    )
    return [
        EntryOutcome(
            position=row.position,
            source_id=source_id,
            table_name=table_name,
            superseded=row.superseded,
            rejected=tuple((index, reason) for index, reason in row.rejected),
        )
        for row in rows
    ]


def rejecting(
    tx: StoreTransaction,
    source_id: int | None,
    table_name: str | None,
    before: int | None,
    limit: int,
) -> list[tuple[EntryOutcome, int]]:
    """Outcomes with rejected records, newest first; see `Store.rejecting`."""
    # The load that took an entry is the first of its table that ends at or after it.
    began = (
        select(loads.c.started_at)
        .where(
            loads.c.table_id == outcomes.c.table_id,
            loads.c.log_id == outcomes.c.log_id,
            loads.c.error.is_(None),
            loads.c.last >= outcomes.c.position,
        )
        .order_by(loads.c.last)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(
            outcomes,
            tables.c.source_id,
            tables.c.name.label("table_name"),
            func.coalesce(began, 0).label("began"),
        )
        .join(tables, tables.c.id == outcomes.c.table_id)
        .where(outcomes.c.log_id == _present_log, cast(outcomes.c.rejected, Text) != "[]")
        .order_by(outcomes.c.position.desc())
        .limit(limit)
    )
    if source_id is not None:
        query = query.where(tables.c.source_id == source_id)
    if table_name is not None:
        query = query.where(tables.c.name_sha256 == _name_key(table_name))
    if before is not None:
        query = query.where(outcomes.c.position < before)
    return [
        (
            EntryOutcome(
                position=row.position,
                source_id=row.source_id,
                table_name=row.table_name,
                superseded=row.superseded,
                rejected=tuple((index, reason) for index, reason in row.rejected),
            ),
            row.began,
        )
        for row in tx.connection.execute(query)
    ]


def loaded_before(tx: StoreTransaction, at: int) -> list[tuple[int, str, int]]:
    """What was loaded by a time; see `Store.loaded_before`."""
    rows = tx.connection.execute(
        select(tables.c.source_id, tables.c.name, func.max(loads.c.last).label("last"))
        .join(loads, loads.c.table_id == tables.c.id)
        .where(loads.c.log_id == _present_log, loads.c.error.is_(None), loads.c.finished_at <= at)
        .group_by(tables.c.id, tables.c.source_id, tables.c.name)
        .order_by(tables.c.id)
    )
    return [(row.source_id, row.name, row.last) for row in rows]


def delete_before(tx: StoreTransaction, at: int) -> int:
    """Forget old loads and their outcomes; see `Store.delete_loads_before`."""
    newest = (
        select(func.max(loads.c.number))
        .where(loads.c.error.is_(None))
        .group_by(loads.c.table_id)
        .scalar_subquery()
    )
    gone = tx.connection.execute(
        delete(loads).where(loads.c.finished_at < at, loads.c.number.not_in(newest))
    )
    # An outcome may go when no load that is kept reaches down to it.
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


def _table(tx: StoreTransaction, source_id: int, name: str, log_id: str) -> Row[Any]:
    """The row of a table; see `_tables`."""
    (row,) = _tables(tx, [(source_id, name)], log_id).values()
    return row


def _tables(
    tx: StoreTransaction, names: Sequence[tuple[int, str]], log_id: str
) -> dict[tuple[int, bytes], Row[Any]]:
    """(source, SHA-256 of the name) -> row, made when missing; held until the transaction ends."""
    wanted = {(source_id, _name_key(name)): name for source_id, name in names}
    found = _held(tx, wanted)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        tx.connection.execute(
            tx.insert(tables).on_conflict_do_nothing(),
            [
                {
                    "source_id": source_id,
                    "name": wanted[source_id, key],
                    "name_sha256": key,
                    "log_id": log_id,
                    "loaded": 0,
                    "stopped": False,
                }
                for source_id, key in missing
            ],
        )
        found |= _held(tx, missing)
    return found


def _held(
    tx: StoreTransaction, wanted: Iterable[tuple[int, bytes]]
) -> dict[tuple[int, bytes], Row[Any]]:
    keys: dict[int, list[bytes]] = defaultdict(list)
    for source_id, key in sorted(wanted):
        keys[source_id].append(key)
    return {
        (row.source_id, row.name_sha256): row
        for source_id, names in keys.items()
        for row in tx.connection.execute(_NAMED, {"at_source_id": source_id, "at_names": names})
    }


def _name_key(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _values(load: LoadReport) -> dict[str, Any]:
    return {
        "id": load.id,
        "first": load.first,
        "last": load.last,
        "started_at": load.started_at,
        "finished_at": load.finished_at,
        "rows_received": load.rows_received,
        "rows_loaded": load.rows_loaded,
        "rows_discarded": load.rows_discarded,
        "rows_rejected": load.rows_rejected,
        "tables": load.tables,
        "details": load.details,
        "error": load.error,
    }


def _read(tx: StoreTransaction, query: Select[Any]) -> list[LoadReport]:
    return [
        LoadReport(
            id=row.id,
            source_id=row.source_id,
            table_name=row.table_name,
            first=row.first,
            last=row.last,
            started_at=row.started_at,
            finished_at=row.finished_at,
            rows_received=row.rows_received,
            rows_loaded=row.rows_loaded,
            rows_discarded=row.rows_discarded,
            rows_rejected=row.rows_rejected,
            tables=row.tables,
            details=row.details,
            error=row.error,
        )
        for row in tx.connection.execute(query)
    ]
