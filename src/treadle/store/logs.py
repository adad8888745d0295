"""The repository of the logs of an installation, and which source is on which.

Positions belong to one log, and a new log begins again with 1. A source is on one log, so a row
with the id of a log that is listed here has a position that counts. Rows of earlier logs, which
another file has taken the place of, stay as history.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ScalarSelect, and_, func, select, update

from treadle.counting import count_noun
from treadle.errors import OperatorError
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.model import StoredLog
from treadle.store.schema import (
    loads,
    logs,
    outcomes,
    reject_causes,
    reject_entries,
    sources,
    tables,
)
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

FIRST_LOG: Final = 0
"""The number of the log in the data folder, which every installation has."""

OPEN: Final = "open"
DRAINING: Final = "draining"
CLOSED: Final = "closed"

present_logs: Final = select(logs.c.log_id)
"""The ids of the logs whose positions count, for `IN`."""


def select_log_id(number: int) -> ScalarSelect[Any]:
    """Return the subquery of the id of a log by its number."""
    return select(logs.c.log_id).where(logs.c.number == number).scalar_subquery()


def select_log_of_source(source_id: Any) -> ScalarSelect[Any]:
    """Return the subquery of the id of a source's log.

    Args:
        source_id: a number or a parameter.
    """
    return (
        select(logs.c.log_id)
        .join(sources, sources.c.log == logs.c.number)
        .where(sources.c.id == source_id)
        .scalar_subquery()
    )


class LogRepository(StoreRepository):
    """The logs of the installation."""

    def list_logs(self) -> list[StoredLog]:
        """Return all logs by number, but for one that no server has opened yet: it has no id."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(logs).where(logs.c.log_id != "").order_by(logs.c.number)
            )
            return [
                StoredLog(
                    row.number,
                    row.log_id,
                    row.kind,
                    "" if row.url is None else tx.cipher.open(row.url, _name_url(row.number)),
                    row.state,
                )
                for row in rows
            ]

    def get_number(self, source_id: int) -> int:
        """Return the number of a source's log; that of the first log for an unknown source."""
        with self._database.read() as tx:
            found: int | None = tx.connection.execute(
                select(sources.c.log).where(sources.c.id == source_id)
            ).scalar_one_or_none()
        return FIRST_LOG if found is None else found

    @property
    def is_shared(self) -> bool:
        """Whether servers run that do not know of a log that is added: the store is on a server."""
        return self._database.engine.dialect.name != "sqlite"

    def find_next_number(self) -> int:
        """Return the number that the next log gets."""
        with self._database.read() as tx:
            return _find_next_number(tx)

    def add_log(
        self, log_id: str, kind: str, url: str = "", number: int | None = None
    ) -> StoredLog:
        """Add a log, on which new sources may be put from now on; return it with its number.

        Where no server has opened the log of the data folder yet, there is none any more with a log
        elsewhere: it is closed, and sources that were made for it are on the new log.

        Args:
            log_id: a UUID, made with the log.
            kind: of the back-end.
            url: where it is; empty for one in the data folder.
            number: that `find_next_number` returned; None for any.

        Raises:
            OperatorError: another log was given that number meanwhile.
        """
        with self._database.change() as tx:
            found = _find_next_number(tx)
            if number not in (None, found):
                raise OperatorError(f"another log {number} was added meanwhile: try again")
            tx.connection.execute(
                tx.insert(logs).values(
                    number=found,
                    log_id=log_id,
                    kind=kind,
                    url=tx.seal(url, _name_url(found)) if url else None,
                    state=OPEN,
                    made_at=tx.now,
                )
            )
            if url:
                _give_up_first_log(tx, found)
            target = TrailTarget(TargetKind.LOG, found, log_id)
            tx.record(TrailAction.ADD_LOG, target, account_id=None, detail={"kind": kind})
            return StoredLog(found, log_id, kind, url, OPEN)

    def open_log(self, number: int) -> None:
        """Let a log that is drained take new sources again.

        Raises:
            OperatorError: there is no such log, or it is closed.
        """
        self._set_state(number, OPEN, TrailAction.OPEN_LOG, (OPEN, DRAINING))

    def drain_log(self, number: int) -> None:
        """Put no new source on a log from now on; raises like `open_log`."""
        self._set_state(number, DRAINING, TrailAction.DRAIN_LOG, (OPEN, DRAINING))

    def close_log(self, number: int) -> None:
        """Let a log be opened by nobody any more.

        Raises:
            OperatorError: there is no such log, or a source is on it.
        """
        self._set_state(number, CLOSED, TrailAction.CLOSE_LOG, (OPEN, DRAINING, CLOSED))

    def list_sources_on(self, number: int) -> list[int]:
        """Return the ids of the sources on a log, but for deleted ones."""
        with self._database.read() as tx:
            return _list_sources_on(tx, number)

    def count_sources(self) -> dict[int, int]:
        """Return log number -> how many sources are on it, but for deleted ones."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(sources.c.log, func.count().label("sources"))
                .where(sources.c.deleted_at.is_(None))
                .group_by(sources.c.log)
            )
            return {row.log: row.sources for row in rows}

    def _set_state(
        self, number: int, state: str, action: TrailAction, former: Sequence[str]
    ) -> None:
        with self._database.change() as tx:
            row = tx.connection.execute(select(logs).where(logs.c.number == number)).one_or_none()
            if row is None or row.log_id == "":
                raise OperatorError(f"there is no log {number}")
            if row.state not in former:
                raise OperatorError(f"log {number} is {row.state}, which is for good")
            if state == CLOSED and (there := _list_sources_on(tx, number)):
                raise OperatorError(f"log {number} has {count_noun(len(there), 'source')}")
            tx.connection.execute(update(logs).where(logs.c.number == number).values(state=state))
            tx.record(action, TrailTarget(TargetKind.LOG, number, row.log_id), account_id=None)


def _find_next_number(tx: StoreTransaction) -> int:
    found: int = tx.connection.execute(select(func.max(logs.c.number) + 1)).scalar_one()
    return found


def _list_sources_on(tx: StoreTransaction, number: int) -> list[int]:
    query = select(sources.c.id).where(sources.c.log == number, sources.c.deleted_at.is_(None))
    return list(tx.connection.execute(query.order_by(sources.c.id)).scalars())


def _give_up_first_log(tx: StoreTransaction, number: int) -> None:
    """Close the log of the data folder if no server ever opened it; its sources get another one."""
    unopened = update(logs).where(logs.c.number == FIRST_LOG, logs.c.log_id == "")
    if tx.connection.execute(unopened.values(state=CLOSED)).rowcount:
        tx.connection.execute(update(sources).where(sources.c.log == FIRST_LOG).values(log=number))


def choose_log(tx: StoreTransaction) -> int:
    """Return the number of the log that a new source is put on.

    It is the open one with the fewest active sources, the first of several.

    Raises:
        OperatorError: no log is open.
    """
    of_log = and_(
        sources.c.log == logs.c.number,
        sources.c.paused_at.is_(None),
        sources.c.system_paused_at.is_(None),
        sources.c.deleted_at.is_(None),
    )
    found: int | None = tx.connection.execute(
        select(logs.c.number)
        .outerjoin(sources, of_log)
        .where(logs.c.state == OPEN)
        .group_by(logs.c.number)
        .order_by(func.count(sources.c.id), logs.c.number)
        .limit(1)
    ).scalar_one_or_none()
    if found is None:
        raise OperatorError("no log takes new sources: add one, or open one again")
    return found


def name_log(tx: StoreTransaction, number: int, log_id: str) -> None:
    """Name the log that has a number from now on; see `Store.use_log`.

    Raises:
        OperatorError: there is no log with the number.
    """
    present: str | None = tx.connection.execute(
        select(logs.c.log_id).where(logs.c.number == number).with_for_update()
    ).scalar_one_or_none()
    if present is None:
        raise OperatorError(f"the store knows no log {number}: it was restored from an older copy")
    if present == log_id:
        return
    tx.connection.execute(update(logs).where(logs.c.number == number).values(log_id=log_id))
    if present == "":  # before the first log had its name here
        for table in (tables, loads, outcomes, reject_causes, reject_entries):
            tx.connection.execute(update(table).where(table.c.log_id == "").values(log_id=log_id))


def make_first_log(tx: StoreTransaction) -> None:
    """Make the row of the first log; it gets the id of the log at the first start."""
    tx.connection.execute(
        tx.insert(logs)
        .values(number=FIRST_LOG, log_id="", kind="sqlite", state=OPEN, made_at=tx.now)
        .on_conflict_do_nothing()
    )


def put_log(tx: StoreTransaction, log: StoredLog) -> None:
    """Add a log with a number that it has already, in a transaction with the key in force."""
    tx.connection.execute(
        tx.insert(logs).values(
            number=log.number,
            log_id=log.log_id,
            kind=log.kind,
            url=tx.seal(log.url, _name_url(log.number)) if log.url else None,
            state=log.state,
            made_at=tx.now,
        )
    )


def seal_logs_anew(tx: StoreTransaction) -> int:
    """Encrypt the URLs of all logs again; return their number."""
    rows = tx.connection.execute(select(logs).where(logs.c.url.is_not(None))).all()
    for row in rows:
        context = _name_url(row.number)
        sealed = tx.seal(tx.cipher.open(row.url, context), context)
        tx.connection.execute(update(logs).where(logs.c.number == row.number).values(url=sealed))
    return len(rows)


def list_log_ids(tx: StoreTransaction) -> list[tuple[int, str]]:
    """Return (number, log id) of all logs, by number."""
    rows = tx.connection.execute(select(logs.c.number, logs.c.log_id).order_by(logs.c.number))
    return [(row.number, row.log_id) for row in rows]


def _name_url(number: int) -> str:
    return f"log {number}"
