"""The repository of rejected records by their cause, and of those that were sent again.

What is rejected is in `outcomes`. Here it is counted and indexed, in the same transaction, so that
causes and pages of a million records are found without reading all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.logs import list_log_ids, present_logs, select_log_id
from treadle.store.model import EntryOutcome, EntryPlace, RecordRejection
from treadle.store.schema import (
    logs,
    outcomes,
    reject_causes,
    reject_entries,
    resent_records,
    sources,
    tables,
)
from treadle.tables.rejection_reason import RejectionCode, read_code
from treadle.text import digest_text

CAUSES_MAX: Final = 1_000
"""Causes of one table. Further fields are counted by their code alone: clients choose the names."""

EXAMPLE_CHARACTERS: Final = 500
POSITIONS_PER_STATEMENT: Final = 10_000


@dataclass(frozen=True, slots=True)
class RejectCause:
    """The rejected records of a table that have one cause.

    Attributes:
        table_name: as sent.
        code, field: as in `RecordRejection`.
        records: that are known; they are forgotten with the load that rejected them.
        resent: those of them that were sent again.
        first_at, last_at: of the first and the newest load that rejected one; 0 where that is not
            known.
        example: the reason of the newest one, cut; `log`, `example_position`, `example_index`: its
            place.
    """

    id: int
    source_id: int
    table_name: str
    code: RejectionCode
    field: str | None
    records: int
    resent: int
    first_at: int
    last_at: int
    example: str
    example_position: int
    example_index: int
    log: int = 0


@dataclass(frozen=True, slots=True)
class RejectQuery:
    """A choice of rejected records. None stands for any.

    Attributes:
        table_name: as sent.
        since: rejected at this time or later.
        until: rejected earlier.
        open_only: without those that were sent again.
        newest: the number of a log -> the greatest position there; a log that is missing has none.
    """

    account_id: int | None = None
    source_id: int | None = None
    table_name: str | None = None
    cause_id: int | None = None
    code: str | None = None
    field: str | None = None
    since: int | None = None
    until: int | None = None
    open_only: bool = False
    newest: Mapping[int, int] | None = None


class RejectGroup(NamedTuple):
    """The rejected records of one entry that have one cause."""

    position: int
    cause_id: int
    rejected_at: int
    indexes: tuple[int, ...]


class RejectPosition(NamedTuple):
    """An entry with records that were asked for, and how many they are."""

    place: EntryPlace
    records: int


class RejectMeasure(NamedTuple):
    """How many records a choice has, by source, and by log the position of the newest one."""

    records: Mapping[int, int]
    newest: Mapping[int, int]

    @property
    def total(self) -> int:
        """Return the records of all sources."""
        return sum(self.records.values())


class ResentRecord(NamedTuple):
    """A rejected record that was sent again, and the position of the entry that was made then.

    Both entries are in one log.
    """

    position: int
    record: int
    first: int
    log: int = 0


_log_number = select(logs.c.number).where(logs.c.log_id == reject_causes.c.log_id).scalar_subquery()

_causes = (
    select(reject_causes, tables.c.name.label("table_name"), _log_number.label("log"))
    .join(tables, tables.c.id == reject_causes.c.table_id)
    .where(reject_causes.c.log_id.in_(present_logs))
)


class RejectRepository(StoreRepository):
    """Rejected records by their cause, and those that were sent again."""

    def list_causes(
        self,
        wanted: RejectQuery,
        *,
        before: tuple[int, int] | None = None,
        limit: int = 100,
    ) -> list[RejectCause]:
        """Return causes, that with the newest record first.

        Args:
            wanted: `since` and `until` are about the newest record of a cause.
            before: only causes after this (`last_at`, id), the last one of the page before.
            limit: how many at most.
        """
        shown = reject_causes.c
        query = _causes.order_by(shown.last_at.desc(), shown.id.desc()).limit(limit)
        conditions = _list_cause_conditions(wanted)
        if wanted.cause_id is not None:
            conditions.append(shown.id == wanted.cause_id)
        if wanted.since is not None:
            conditions.append(shown.last_at >= wanted.since)
        if wanted.until is not None:
            conditions.append(shown.last_at < wanted.until)
        if wanted.open_only:
            conditions.append(shown.records > shown.resent)
        if before is not None:
            at, number = before
            conditions.append(or_(shown.last_at < at, and_(shown.last_at == at, shown.id < number)))
        with self._database.read() as tx:
            rows = tx.connection.execute(query.where(*conditions))
            return [_read_cause(row) for row in rows]

    def count_open_records(self, account_id: int) -> int:
        """Return how many rejected records of an account were not sent again."""
        known = reject_causes.c
        query = select(func.coalesce(func.sum(known.records - known.resent), 0)).where(
            known.log_id.in_(present_logs), known.account_id == account_id
        )
        with self._database.read() as tx:
            return int(tx.connection.execute(query).scalar_one())

    def get_causes(self, cause_ids: Sequence[int]) -> dict[int, RejectCause]:
        """Return causes by their ids."""
        found: dict[int, RejectCause] = {}
        with self._database.read() as tx:
            for some in _cut(sorted(set(cause_ids))):
                rows = tx.connection.execute(_causes.where(reject_causes.c.id.in_(some)))
                found |= {row.id: _read_cause(row) for row in rows}
        return found

    def list_positions(
        self, wanted: RejectQuery, *, before: EntryPlace | None = None, limit: int = 100
    ) -> list[RejectPosition]:
        """Return the entries with records that are asked for, newest first, log after log.

        Args:
            wanted: the choice.
            before: only entries before this place.
            limit: how many entries at most.
        """
        entries = reject_entries.c
        count = entries.records - entries.resent if wanted.open_only else entries.records
        query = (
            _choose(select(entries.position, func.sum(count).label("records")), wanted)
            .group_by(entries.position)
            .order_by(entries.position.desc())
        )
        found: list[RejectPosition] = []
        with self._database.read() as tx:
            # One question a log: its index has them in order.
            for log, log_id in reversed(list_log_ids(tx)):
                if before is not None and log > before.log:
                    continue
                of_log = _choose_log(query, wanted, log, log_id).limit(limit - len(found))
                if before is not None and log == before.log:
                    of_log = of_log.where(entries.position < before.position)
                found += [
                    RejectPosition(EntryPlace(log, row.position), int(row.records))
                    for row in tx.connection.execute(of_log)
                ]
                if len(found) >= limit:
                    break
        return found

    def get_measure(self, wanted: RejectQuery) -> RejectMeasure:
        """Return how many records are asked for, of which sources, and where the newest are."""
        entries = reject_entries.c
        count = entries.records - entries.resent if wanted.open_only else entries.records
        query = _choose(
            select(
                entries.source_id,
                func.sum(count).label("records"),
                func.max(entries.position).label("newest"),
            ),
            wanted,
        ).group_by(entries.source_id)
        records: dict[int, int] = {}
        newest: dict[int, int] = {}
        with self._database.read() as tx:
            for log, log_id in list_log_ids(tx):
                rows = tx.connection.execute(_choose_log(query, wanted, log, log_id)).all()
                records |= {row.source_id: int(row.records) for row in rows}
                if rows:
                    newest[log] = max(row.newest for row in rows)
        return RejectMeasure(records, newest)

    def list_groups(
        self, wanted: RejectQuery, log: int, positions: Sequence[int]
    ) -> list[RejectGroup]:
        """Return the records of some entries that are asked for, newest entry first.

        Those that were sent again are among them even if only open ones are asked for.

        Args:
            wanted: the choice.
            log: the number of the log.
            positions: of the entries in it.
        """
        entries = reject_entries.c
        found: list[RejectGroup] = []
        with self._database.read() as tx:
            for some in _cut(sorted(set(positions), reverse=True)):
                query = _choose(select(reject_entries), wanted).where(
                    entries.log_id == select_log_id(log), entries.position.in_(some)
                )
                found += [
                    RejectGroup(row.position, row.cause_id, row.rejected_at, tuple(row.indexes))
                    for row in tx.connection.execute(query.order_by(entries.position.desc()))
                ]
        return found

    def find_resent(self, log: int, positions: Sequence[int]) -> dict[tuple[int, int], int]:
        """Return (position, index) -> position of the new entry, for records sent again.

        Args:
            log: the number of the log, which has both entries.
            positions: of the rejected records.
        """
        found: dict[tuple[int, int], int] = {}
        with self._database.read() as tx:
            for some in _cut(sorted(set(positions))):
                rows = tx.connection.execute(
                    select(resent_records).where(
                        resent_records.c.log_id == select_log_id(log),
                        resent_records.c.position.in_(some),
                    )
                )
                found |= {(row.position, row.record): row.first for row in rows}
        return found

    def record_resent(self, resent: Sequence[ResentRecord]) -> None:
        """Record that rejected records were sent again; one that is recorded already stays so."""
        with self._database.write() as tx:
            note_resent(tx, resent)


def note_resent(tx: StoreTransaction, resent: Sequence[ResentRecord]) -> None:
    """Note that rejected records were sent again; one that is noted already stays so."""
    log_ids = dict(list_log_ids(tx))
    added: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for one in resent:
        made = tx.connection.execute(
            tx.insert(resent_records)
            .values(
                log_id=log_ids[one.log],
                position=one.position,
                record=one.record,
                first=one.first,
                resent_at=tx.now,
            )
            .on_conflict_do_nothing()
        )
        if made.rowcount:
            added[one.log][one.position].add(one.record)
    for log, records in added.items():
        _count_resent(tx, log_ids[log], records)


def add_rejects(
    tx: StoreTransaction,
    table: Row[Any],
    log_id: str,
    rejected_at: int,
    found: Sequence[EntryOutcome],
) -> None:
    """Count the rejected records of a load that is recorded for the first time.

    Args:
        tx: the transaction that records the load.
        table: its row.
        log_id: of the entries.
        rejected_at: as in `_sdc_rejected_at`.
        found: the outcomes of the load.
    """
    rejecting = [outcome for outcome in found if outcome.rejected]
    if not rejecting:
        return
    account_id = tx.connection.execute(
        select(sources.c.account_id).where(sources.c.id == table.source_id)
    ).scalar_one()
    place = {"table_id": table.id, "source_id": table.source_id, "account_id": account_id}
    held = _forget_entries(tx, table.id, log_id, [outcome.position for outcome in rejecting])
    causes = _CauseList(tx, place, log_id, rejected_at)
    rows = []
    for outcome in rejecting:
        groups: dict[int, list[int]] = defaultdict(list)
        for one in outcome.rejected:
            cause_id = causes.count_record(outcome.position, one)
            groups[cause_id].append(one.record)
        for cause_id, indexes in groups.items():
            resent = len(held.get(outcome.position, set()).intersection(indexes))
            causes.resent[cause_id] += resent
            rows.append(
                {
                    "log_id": log_id,
                    "position": outcome.position,
                    "cause_id": cause_id,
                    **place,
                    "code": causes.codes[cause_id],
                    "records": len(indexes),
                    "resent": resent,
                    "rejected_at": rejected_at,
                    "indexes": indexes,
                }
            )
    tx.connection.execute(tx.insert(reject_entries), rows)
    causes.write_counts()


class _CauseList:
    """The causes of one table, counted further in a transaction.

    Attributes:
        codes: cause id -> its code.
        resent: cause id -> records that were sent again before.
    """

    def __init__(
        self, tx: StoreTransaction, place: Mapping[str, int], log_id: str, rejected_at: int
    ) -> None:
        self._tx = tx
        self._place = place
        self._log_id = log_id
        self._rejected_at = rejected_at
        self.codes: dict[int, str] = {}
        self.resent: dict[int, int] = defaultdict(int)
        self._ids: dict[tuple[str, bytes], int] = {}
        self._records: dict[int, int] = defaultdict(int)
        self._newest: dict[int, tuple[int, int, str]] = {}
        known = reject_causes.c
        for row in tx.connection.execute(
            select(known.id, known.code, known.field_key).where(
                known.table_id == place["table_id"], known.log_id == log_id
            )
        ):
            self._ids[row.code, bytes(row.field_key)] = row.id
            self.codes[row.id] = row.code

    def count_record(self, position: int, one: RecordRejection) -> int:
        """Count a rejected record; return the id of its cause."""
        cause_id = self._find_cause(one.code, one.field)
        self._records[cause_id] += 1
        self._newest[cause_id] = (position, one.record, one.reason[:EXAMPLE_CHARACTERS])
        return cause_id

    def _find_cause(self, code: str, field: str | None) -> int:
        key = (str(code), _make_field_key(field))
        if key not in self._ids and len(self._ids) >= CAUSES_MAX:
            field, key = None, (str(code), _make_field_key(None))
        if key not in self._ids:
            made: int = self._tx.connection.execute(
                self._tx.insert(reject_causes)
                .values(
                    log_id=self._log_id,
                    **self._place,
                    code=key[0],
                    field=field,
                    field_key=key[1],
                    records=0,
                    resent=0,
                    first_at=self._rejected_at,
                    last_at=self._rejected_at,
                    example="",
                    example_position=0,
                    example_index=0,
                )
                .returning(reject_causes.c.id)
            ).scalar_one()
            self._ids[key] = made
            self.codes[made] = key[0]
        return self._ids[key]

    def write_counts(self) -> None:
        """Add what was counted to the rows."""
        known = reject_causes.c
        self._tx.connection.execute(
            update(reject_causes)
            .where(known.id == bindparam("at_id"))
            .values(
                records=known.records + bindparam("more"),
                resent=known.resent + bindparam("more_resent"),
                last_at=bindparam("at_time"),
                example=bindparam("at_example"),
                example_position=bindparam("at_position"),
                example_index=bindparam("at_index"),
            ),
            [
                {
                    "at_id": cause_id,
                    "more": count,
                    "more_resent": self.resent[cause_id],
                    "at_time": self._rejected_at,
                    "at_example": self._newest[cause_id][2],
                    "at_position": self._newest[cause_id][0],
                    "at_index": self._newest[cause_id][1],
                }
                for cause_id, count in self._records.items()
            ],
        )


def forget_rejects(tx: StoreTransaction) -> None:
    """Forget the rejected records whose outcomes were deleted, and causes without records."""
    for table in (reject_entries, resent_records):
        kept = (
            select(outcomes.c.position)
            .where(outcomes.c.log_id == table.c.log_id, outcomes.c.position == table.c.position)
            .exists()
        )
        gone = tx.connection.execute(delete(table).where(~kept)).rowcount
        if table is reject_entries and not gone:
            return
    _count_causes(tx, None)


def _forget_entries(
    tx: StoreTransaction, table_id: int, log_id: str, positions: Sequence[int]
) -> dict[int, set[int]]:
    """Forget what was counted of entries that are loaded anew, as into a restored destination.

    The causes of their table are locked from then on.

    Returns:
        position -> the indexes of its records that were sent again.
    """
    changed: set[int] = set()
    held: dict[int, set[int]] = defaultdict(set)
    for some in _cut(positions):
        gone = tx.connection.execute(
            delete(reject_entries)
            .where(reject_entries.c.log_id == log_id, reject_entries.c.position.in_(some))
            .returning(reject_entries.c.cause_id)
        )
        changed.update(gone.scalars())
        if changed:
            rows = tx.connection.execute(
                select(resent_records.c.position, resent_records.c.record).where(
                    resent_records.c.log_id == log_id, resent_records.c.position.in_(some)
                )
            )
            for row in rows:
                held[row.position].add(row.record)
    known = reject_causes.c
    _lock_causes(tx, known.table_id == table_id, known.log_id == log_id)
    if changed:
        _count_causes(tx, changed)
    return held


def _lock_causes(tx: StoreTransaction, *chosen: ColumnElement[bool]) -> list[int]:
    """Lock causes until the transaction ends; return their ids. On SQLite everything is locked.

    A load counts records to a cause that housekeeping deletes if no entry refers to it, and each
    sees what the other one did only when that is committed. So each locks the causes first, in a
    statement of its own: the next one sees what was committed while this one waited.

    No two wait for each other for ever that did not before. Everybody takes reports, outcomes,
    entries and causes in this order: a load, housekeeping, and a resend, which begins with entries.
    A load adds entries after it has locked the causes, but none that housekeeping deletes at the
    time: it has written the outcomes of all of its positions before, and so has waited for who
    deletes those. Causes are locked in the order of their ids; no two loads want the same ones,
    because each has the row of its table. What remains is a transaction with loads of several
    tables. It holds the causes of one while it goes on to the next one, as it always did from the
    time that it counted them. The database ends one of two that wait so, and it is done again.

    Args:
        tx: the transaction.
        chosen: conditions of the causes; none for all.
    """
    known = reject_causes.c
    query = select(known.id).where(*chosen).order_by(known.id).with_for_update()
    return list(tx.connection.execute(query).scalars())


def _count_causes(tx: StoreTransaction, cause_ids: set[int] | None) -> None:
    """Count causes anew by their entries, all or some; one without records goes."""
    known, entries = reject_causes.c, reject_entries.c
    sums = select(func.coalesce(func.sum(entries.records), 0)).where(entries.cause_id == known.id)
    again = select(func.coalesce(func.sum(entries.resent), 0)).where(entries.cause_id == known.id)
    chosen = [] if cause_ids is None else [known.id.in_(cause_ids)]
    # Only those that are locked: one that was made meanwhile may be under way.
    for some in _cut(_lock_causes(tx, *chosen)):
        tx.connection.execute(
            update(reject_causes)
            .where(known.id.in_(some))
            .values(records=sums.scalar_subquery(), resent=again.scalar_subquery())
        )
        tx.connection.execute(delete(reject_causes).where(known.records == 0, known.id.in_(some)))


def _count_resent(tx: StoreTransaction, log_id: str, added: Mapping[int, set[int]]) -> None:
    """Count records that were sent again to their entries and causes."""
    known, entries = reject_causes.c, reject_entries.c
    by_cause: dict[int, int] = defaultdict(int)
    for some in _cut(added):
        rows = tx.connection.execute(
            select(entries.position, entries.cause_id, entries.indexes).where(
                entries.log_id == log_id, entries.position.in_(some)
            )
        ).all()
        for row in rows:
            count = len(added[row.position].intersection(row.indexes))
            if count:
                changed = tx.connection.execute(
                    update(reject_entries)
                    .where(
                        entries.log_id == log_id,
                        entries.position == row.position,
                        entries.cause_id == row.cause_id,
                    )
                    .values(resent=entries.resent + count)
                )
                by_cause[row.cause_id] += count * changed.rowcount  # 0 where it was just forgotten
    for cause_id, count in sorted(by_cause.items()):  # as `_lock_causes` has them
        tx.connection.execute(
            update(reject_causes).where(known.id == cause_id).values(resent=known.resent + count)
        )


def _choose(query: Select[Any], wanted: RejectQuery) -> Select[Any]:
    """Add the conditions of a choice of entries.

    The narrowest index serves: that of the cause, of the table, of the source or of the account.
    What remains is compared row by row; `+ 0` keeps the database from another index, by which the
    rows would not come in order. The caller chooses the log (`_choose_log`).
    """
    entries = reject_entries.c
    by_table: Select[Any] | None = None
    if wanted.table_name is not None:
        by_table = select(tables.c.id).where(tables.c.name_sha256 == digest_text(wanted.table_name))
    served = False
    if wanted.cause_id is not None:
        query, served = query.where(entries.cause_id == wanted.cause_id), True
    if by_table is not None and wanted.source_id is not None and not served:
        one = by_table.where(tables.c.source_id == wanted.source_id).scalar_subquery()
        query, served = query.where(entries.table_id == one), True
    elif by_table is not None:
        query = query.where((entries.table_id + 0).in_(by_table))
    for column, value in (
        (entries.source_id, wanted.source_id),
        (entries.account_id, wanted.account_id),
    ):
        if value is not None:
            query = query.where((column + 0 if served else column) == value)
            served = True
    if wanted.code is not None:
        query = query.where(entries.code == wanted.code)
    if wanted.field is not None:
        named = select(reject_causes.c.id).where(*_list_cause_conditions(wanted))
        query = query.where((entries.cause_id + 0).in_(named))
    if wanted.since is not None:
        query = query.where(entries.rejected_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(entries.rejected_at < wanted.until)
    if wanted.open_only:
        query = query.where(entries.records > entries.resent)
    return query


def _choose_log(query: Select[Any], wanted: RejectQuery, log: int, log_id: str) -> Select[Any]:
    """Add the conditions of one log to a choice of entries."""
    entries = reject_entries.c
    query = query.where(entries.log_id == log_id)
    if wanted.newest is None:
        return query
    return query.where(entries.position <= wanted.newest.get(log, 0))


def _list_cause_conditions(wanted: RejectQuery) -> list[ColumnElement[bool]]:
    known = reject_causes.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.account_id is not None:
        conditions.append(known.account_id == wanted.account_id)
    if wanted.source_id is not None:
        conditions.append(known.source_id == wanted.source_id)
    if wanted.table_name is not None:
        named = select(tables.c.id).where(tables.c.name_sha256 == digest_text(wanted.table_name))
        conditions.append(known.table_id.in_(named))
    if wanted.code is not None:
        conditions.append(known.code == wanted.code)
    if wanted.field is not None:
        conditions.append(known.field_key == _make_field_key(wanted.field))
    return conditions


def _make_field_key(field: str | None) -> bytes:
    return digest_text("" if field is None else f".{field}")


def _read_cause(row: Row[Any]) -> RejectCause:
    left_out = ("log_id", "table_id", "account_id", "field_key", "code")
    values = {name: value for name, value in row._mapping.items() if name not in left_out}
    return RejectCause(**values, code=read_code(row.code))


def _cut(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Cut numbers into as many as one statement takes."""
    left = list(numbers)
    for start in range(0, len(left), POSITIONS_PER_STATEMENT):
        yield left[start : start + POSITIONS_PER_STATEMENT]
