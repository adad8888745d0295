"""The repository of tables: their load status, and the totals of their records.

Positions belong to one log, and a new log begins again with 1. So the statements here and in
`loads` and `outcomes` look only at the logs that the installation has now (`logs`). Reports of
earlier logs stay as history.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    Executable,
    Integer,
    Row,
    RowMapping,
    Select,
    Text,
    bindparam,
    case,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from treadle.store.column_history import TableCatalogue, read_catalogue, read_columns
from treadle.store.database import StoreRepository, StoreTransaction, make_insert
from treadle.store.logs import present_logs
from treadle.store.model import (
    KeptColumns,
    PushedTable,
    SourceTotals,
    TableCondition,
    TableEntry,
    TableLoadStatus,
    TableOverview,
    TableTotals,
    TroubledTable,
    TroubledTables,
)
from treadle.store.schema import kept_columns, restore_text, sources, tables
from treadle.store.schema_event import SchemaEventKind
from treadle.store.schema_events import add_event
from treadle.text import digest_text

ROWS_AT_ONCE: Final = 250
"""Rows that are fetched at once where all tables are read: the rows of 10,000 tables take 16 MB."""

NOTED_MAX: Final = 500
"""Most tables that a statement names one by one."""

_tables = select(tables, tables.c.log_id.in_(present_logs).label("present"))

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it.
_ORDERED_TABLES: Final = _tables.order_by(tables.c.id)

_NAMED_TABLE: Final = (
    select(tables)
    .where(
        tables.c.source_id == bindparam("at_source_id"),
        tables.c.name_sha256 == bindparam("at_name"),
    )
    .with_for_update()
)

_SOURCE_TOTALS: Final = select(
    tables.c.source_id,
    func.count().label("tables"),
    func.sum(tables.c.received).label("received"),
    func.sum(tables.c.written).label("loaded"),
    func.sum(tables.c.discarded).label("superseded"),
    func.sum(tables.c.rejected).label("rejected"),
    func.sum(tables.c.damaged).label("damaged"),
    func.sum(tables.c.loads).label("loads"),
    func.sum(tables.c.failures).label("failures"),
    func.count(tables.c.error).label("failing"),
    func.count().filter(tables.c.stopped).label("stopped"),
).group_by(tables.c.source_id)

_pushed_tables = select(tables.c.id, tables.c.name, kept_columns.c.key_fields).outerjoin(
    kept_columns, kept_columns.c.table_id == tables.c.id
)


# Of types that need no conversion: that of 10,000 rows takes 20 ms.
_OVERVIEW_COLUMNS: Final = (
    tables.c.id,
    type_coerce(tables.c.name, Text),
    case((tables.c.log_id.in_(present_logs), tables.c.loaded), else_=0),
    tables.c.loaded_at,
    tables.c.rejected,
    type_coerce(tables.c.error.is_not(None), Integer),
    type_coerce(tables.c.stopped, Integer),
)
_CONDITIONS: Final = select(
    tables.c.source_id,
    type_coerce(tables.c.name, Text),
    case((tables.c.log_id.in_(present_logs), tables.c.loaded), else_=0),
    tables.c.received,
    tables.c.written,
    tables.c.discarded,
    tables.c.rejected,
    tables.c.loaded_at,
    type_coerce(tables.c.stopped, Integer),
    type_coerce(tables.c.error, Text),
    type_coerce(tables.c.trouble, Text),
)
_OVERVIEWS: Final = select(*_OVERVIEW_COLUMNS).where(
    tables.c.source_id == bindparam("at_source_id")
)
_ACCOUNT_OVERVIEWS: Final = (
    select(tables.c.source_id, *_OVERVIEW_COLUMNS)
    .join(sources, sources.c.id == tables.c.source_id)
    .where(sources.c.account_id == bindparam("at_account_id"), sources.c.deleted_at.is_(None))
    .order_by(tables.c.source_id)
)

_SUMS: Final = select(
    *(func.sum(tables.c[name]).label(name) for name in ("received", "rejected", "damaged")),
    func.sum(tables.c.written).label("loaded"),
    func.sum(tables.c.discarded).label("superseded"),
    *(func.sum(tables.c[name]).label(name) for name in ("loads", "failures")),
).where(tables.c.source_id == bindparam("at_source_id"))


class TableRepository(StoreRepository):
    """The load status, the totals and the columns of each table."""

    def list_statuses(
        self, source_id: int | None = None, names: Collection[str] | None = None
    ) -> list[TableLoadStatus]:
        """Return the load status of the tables that were tried, by source and name.

        Args:
            source_id: only of this source.
            names: only of tables with one of these names, as sent; no more than some hundred.
        """
        query = _tables
        if source_id is not None:
            query = query.where(tables.c.source_id == source_id)
        if names is not None:
            query = query.where(tables.c.name_sha256.in_([digest_text(name) for name in names]))
        with self._database.read() as tx:
            found = [_read_status(row) for row in tx.connection.execute(query)]
        # Sorted here: the two databases do not agree on the order of texts.
        return sorted(found, key=lambda status: (status.source_id, status.table_name))

    def list_noted_statuses(self, waiting: Collection[tuple[int, str]]) -> list[TableLoadStatus]:
        """Return the load status of tables that are not well or of which something waits.

        Others may be among them. Made for 10,000 tables, hardly any of which is of interest.

        Args:
            waiting: source id and name of the tables of which something waits.
        """
        if len(waiting) > NOTED_MAX:
            return self.list_statuses()
        digests = [digest_text(name) for _, name in waiting]
        query = _tables.where(
            or_(
                tables.c.stopped,
                tables.c.denied,
                tables.c.error.is_not(None),
                tables.c.trouble.is_not(None),
                tables.c.name_sha256.in_(digests),
            )
        )
        with self._database.read() as tx:
            found = [_read_status(row) for row in tx.connection.execute(query)]
        return sorted(found, key=lambda status: (status.source_id, status.table_name))

    def get_troubled_numbers(self) -> TroubledTables:
        """Return how many tables of sources that are not deleted somebody should look at."""
        query = _select_troubled(
            func.count().filter(tables.c.stopped).label("stopped"),
            func.count().filter(~tables.c.stopped).label("troubled"),
        )
        with self._database.read() as tx:
            row = tx.connection.execute(query).one()
        return TroubledTables(row.stopped, row.troubled)

    def list_troubled(self, account_id: int | None, most: int) -> list[TroubledTable]:
        """Return tables that somebody should look at: stopped ones first, each kind by id.

        Args:
            account_id: only those of its sources; None for all.
            most: so many at most.
        """
        query = (
            _select_troubled(sources.c.name.label("source"), tables, account_id=account_id)
            .order_by(tables.c.stopped.desc(), tables.c.id)
            .limit(most)
        )
        with self._database.read() as tx:
            return [
                TroubledTable(
                    row.source,
                    row.name,
                    row.stopped,
                    row.error if row.stopped else row.trouble,
                    row.error_since if row.stopped else row.trouble_since,
                )
                for row in tx.connection.execute(query)
            ]

    def count_troubled(self, account_id: int | None) -> int:
        """Return how many tables `list_troubled` would return without a bound."""
        query = _select_troubled(func.count(), account_id=account_id)
        with self._database.read() as tx:
            return int(tx.connection.execute(query).scalar_one())

    def list_totals(self) -> list[TableTotals]:
        """Return the totals of each table since the store was made, by the id of the table."""
        with self._database.read() as tx:
            return [_read_totals(row) for row in tx.connection.execute(_ORDERED_TABLES)]

    def read_conditions(self) -> Iterator[TableCondition]:
        """Yield the condition of each table that was tried, in any order.

        Only some of them are in memory at a time: made for 10,000 tables. The transaction lasts
        until the last one was taken.
        """
        with self._database.read() as tx:
            rows = tx.connection.execute(_CONDITIONS).yield_per(ROWS_AT_ONCE)
            for source_id, name, *numbers in rows:
                *totals, stopped, error, trouble = numbers
                yield TableCondition._make(
                    (
                        source_id,
                        restore_text(name),
                        *totals,
                        bool(stopped),
                        None if error is None else restore_text(error),
                        None if trouble is None else restore_text(trouble),
                    )
                )

    def list_source_totals(self) -> list[SourceTotals]:
        """Return the totals of the tables of each source; the database sums them."""
        with self._database.read() as tx:
            return [
                # PostgreSQL sums whole numbers as decimal ones.
                SourceTotals(*map(int, row))
                for row in tx.connection.execute(_SOURCE_TOTALS)
            ]

    def list_pushed_tables(self, source_id: int) -> list[PushedTable]:
        """Return the tables of a source that were loaded, or tried, by id."""
        query = _pushed_tables.where(tables.c.source_id == source_id).order_by(tables.c.id)
        with self._database.read() as tx:
            return [_read_pushed_table(row) for row in tx.connection.execute(query).mappings()]

    def find_pushed_table(self, source_id: int, table_id: int) -> PushedTable | None:
        """Return a table of a source; None where the source has no such table."""
        query = _pushed_tables.where(tables.c.source_id == source_id, tables.c.id == table_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query).mappings().one_or_none()
            return None if row is None else _read_pushed_table(row)

    def get_kept_columns(self, table_id: int) -> KeptColumns:
        """Return the columns of a table as its last load left them; none before the first one."""
        query = select(kept_columns).where(kept_columns.c.table_id == table_id)
        with self._database.read() as tx:
            return read_columns(tx.connection.execute(query).one_or_none())

    def get_catalogue(self, table_id: int) -> TableCatalogue:
        """Return the columns of a table, since when they are there, and what is left out."""
        query = select(kept_columns).where(kept_columns.c.table_id == table_id)
        with self._database.read() as tx:
            return read_catalogue(tx.connection.execute(query).one_or_none())

    def list_overviews(self, source_id: int) -> list[TableOverview]:
        """Return the tables of a source that were tried, in any order; made for 10,000 of them."""
        with self._database.read() as tx:
            found = tx.connection.execute(_OVERVIEWS, {"at_source_id": source_id})
            rows = found.yield_per(ROWS_AT_ONCE)
            return [
                TableOverview(number, restore_text(name), *more) for number, name, *more in rows
            ]

    def read_account_overviews(
        self, account_id: int
    ) -> Iterator[tuple[int, Iterator[TableOverview]]]:
        """Yield the sources of an account that have tables that were tried, each with its tables.

        Deleted sources are left out. The tables of a source are taken before the next source; only
        some are in memory at a time. Made for 10,000 tables.
        """
        with self._database.read() as tx:
            rows = tx.connection.execute(_ACCOUNT_OVERVIEWS, {"at_account_id": account_id})
            for source_id, own in groupby(rows.yield_per(ROWS_AT_ONCE), key=itemgetter(0)):
                yield (
                    source_id,
                    (
                        TableOverview(number, restore_text(name), *more)
                        for _, number, name, *more in own
                    ),
                )

    def list_entries(self, table_ids: Sequence[int]) -> list[TableEntry]:
        """Return what the store has of some tables, in any order."""
        query = _tables.where(tables.c.id.in_(table_ids))
        with self._database.read() as tx:
            return [_read_entry(row) for row in tx.connection.execute(query)]

    def find_entry(self, source_id: int, table_name: str) -> TableEntry | None:
        """Return what the store has of a table; None where it was never tried."""
        query = _tables.where(tables.c.source_id == source_id)
        named = query.where(tables.c.name_sha256 == digest_text(table_name))
        with self._database.read() as tx:
            row = tx.connection.execute(named).one_or_none()
            if row is None and "\ufffd" in table_name:
                # It may stand for an unpaired surrogate, of which the digest was made.
                restored = query.where(tables.c.name == table_name).limit(1)
                row = tx.connection.execute(restored).one_or_none()
        return None if row is None else _read_entry(row)

    def sum_totals(self, source_id: int) -> dict[str, int]:
        """Return the sums of the totals of a source's tables, by the names of `TableTotals`."""
        with self._database.read() as tx:
            row = tx.connection.execute(_SUMS, {"at_source_id": source_id}).one()
        return {name: int(value or 0) for name, value in row._mapping.items()}

    def record_rebuilt(self, source_id: int, table_name: str, at: int) -> None:
        """Record that the rows of a table were made again from the log (rebuild).

        Earlier load reports say nothing about these rows and their `_sdc_batched_at`.
        """
        with self._database.write() as tx:
            row = tx.connection.execute(
                update(tables)
                .where(
                    tables.c.source_id == source_id, tables.c.name_sha256 == digest_text(table_name)
                )
                .values(rebuilt_at=at)
                .returning(tables.c.id, tables.c.source_id)
            ).one_or_none()
            if row is not None:
                add_event(tx, row, SchemaEventKind.TABLE_REBUILT, at)


def _select_troubled(*columns: Any, account_id: int | None = None) -> Select[Any]:
    """Select from the tables of undeleted sources that somebody should look at."""
    query = (
        select(*columns)
        .select_from(tables)
        .join(sources, sources.c.id == tables.c.source_id)
        .where(
            sources.c.deleted_at.is_(None),
            or_(tables.c.stopped, tables.c.trouble.is_not(None)),
        )
    )
    return query if account_id is None else query.where(sources.c.account_id == account_id)


def _read_totals(row: Row[Any]) -> TableTotals:
    return TableTotals(
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


def _read_status(row: Row[Any]) -> TableLoadStatus:
    return TableLoadStatus(
        source_id=row.source_id,
        table_name=row.name,
        loaded=row.loaded if row.present else 0,
        loaded_at=row.loaded_at,
        error=row.error,
        error_since=row.error_since,
        stopped=row.stopped,
        began=row.began if row.present else None,
        rebuilt_at=row.rebuilt_at,
        denied=bool(row.denied),
        trouble=row.trouble,
        trouble_since=row.trouble_since,
        place_sha256=row.place_sha256,
    )


def _read_pushed_table(row: RowMapping) -> PushedTable:
    return PushedTable(row["id"], row["name"], tuple(row["key_fields"] or ()))


def _read_entry(row: Row[Any]) -> TableEntry:
    return TableEntry(
        id=row.id,
        source_id=row.source_id,
        name=row.name,
        position=row.loaded if row.present else 0,
        loaded_at=row.loaded_at,
        error=row.error,
        error_since=row.error_since,
        stopped=row.stopped,
        trouble=row.trouble,
        trouble_since=row.trouble_since,
        rebuilt_at=row.rebuilt_at,
        received=row.received,
        loaded=row.written,
        superseded=row.discarded,
        rejected=row.rejected,
        damaged=row.damaged,
        loads=row.loads,
        failures=row.failures,
        version=row.version,
        mode=row.mode,
    )


@cache
def _insert_table(dialect: str) -> Executable:
    """Return the statement of a dialect that makes a table's row if no other process was first."""
    return make_insert(dialect, tables).on_conflict_do_nothing()


def lock_table(tx: StoreTransaction, source_id: int, name: str, log_id: str) -> Row[Any]:
    """Lock the row of a table until the transaction ends; it is made where it is missing."""
    key = digest_text(name)
    asked = {"at_source_id": source_id, "at_name": key}
    found = tx.connection.execute(_NAMED_TABLE, asked).one_or_none()
    if found is None:
        tx.connection.execute(
            _insert_table(tx.connection.dialect.name),
            {
                "source_id": source_id,
                "name": name,
                "name_sha256": key,
                "log_id": log_id,
                "loaded": 0,
                "stopped": False,
            },
        )
        found = tx.connection.execute(_NAMED_TABLE, asked).one()
    return found
