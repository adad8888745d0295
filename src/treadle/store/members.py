"""The repository of members: which processes run, and until when that is believed.

A member says about once a second that it is there, which lasts for six. Whether it is lost is
decided by one clock, whatever those of machines say: that of the store's server. For a store in a
file it is the monotonic clock of the machine, which all its processes share and nobody can set.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    delete,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from treadle.clock import read_monotonic
from treadle.store.database import StoreDatabase, StoreRepository, StoreTransaction
from treadle.store.membership import (
    FOREVER_US,
    LOADER_ROLE,
    MEMBER_LASTS_US,
    BeatAnswer,
    ClusterMember,
    SeenMember,
)
from treadle.store.schema import fences, members, meta, units

SERVER_NOW: Final[ColumnElement[int]] = literal_column(
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", BigInteger
)
"""The time of a server of PostgreSQL when it carries the statement out, not when the transaction
began, which may have waited for others since."""

_FORMS: Final = (
    select(meta.c.least_version).scalar_subquery().label("least_version"),
    select(meta.c.form).scalar_subquery().label("form"),
)
"""What the store asks of members, for each beat."""

LOST_KEPT_US: Final = 3_600_000_000
"""A lost member stays so long in the list, for people."""


class MemberRepository(StoreRepository):
    """The processes that run."""

    def __init__(
        self, database: StoreDatabase, monotonic: Callable[[], int] = read_monotonic
    ) -> None:
        """Use a database.

        Args:
            database: of the store.
            monotonic: microseconds, of a clock that all processes share where the store is a file.
        """
        super().__init__(database)
        self._monotonic = monotonic

    def join(self, member: ClusterMember, lasts_us: int = MEMBER_LASTS_US) -> None:
        """Add a process that begins, in place of the one that had its seat before.

        Args:
            member: the process.
            lasts_us: until it is lost, unless it beats before; microseconds.
        """
        with self._database.write() as tx:
            now = self._tell_now(tx)
            same_seat = (members.c.place == member.place) & (members.c.name == member.name)
            long_lost = members.c.until < now - LOST_KEPT_US
            tx.connection.execute(delete(members).where(same_seat | long_lost))
            tx.connection.execute(
                insert(members).values(
                    id=member.id,
                    place=member.place,
                    name=member.name,
                    role=member.role,
                    host=member.host,
                    version=member.version,
                    since=member.since,
                    until=now + lasts_us if lasts_us < FOREVER_US else lasts_us,
                    notes=dict(member.notes),
                )
            )

    def beat(
        self, member_id: str, notes: Mapping[str, Any], lasts_us: int = MEMBER_LASTS_US
    ) -> BeatAnswer | None:
        """Say that a member is there, and look at the others.

        Args:
            member_id: who beats.
            notes: what others are to know of it from now on.
            lasts_us: from now, microseconds.

        Returns:
            None where the member is not listed any more: another has its seat, or it was lost for
            long. It may join again.
        """
        with self._database.write() as tx:
            now = self._tell_now(tx)
            mine = (
                update(members)
                .where(members.c.id == member_id)
                .values(until=now + lasts_us, notes=dict(notes))
                .returning(*_FORMS)
            )
            forms = tx.connection.execute(mine).one_or_none()
            if forms is None:
                return None
            rows = tx.connection.execute(
                select(members, (members.c.until - now).label("left_us"), fences.c.changes)
                .join(fences, fences.c.id == 1)
                .where(members.c.role == LOADER_ROLE)
                .order_by(members.c.id)
            ).all()
            return BeatAnswer(
                [_restore_member(row) for row in rows if row.left_us > 0],
                frozenset(row.id for row in rows if row.left_us <= 0),
                rows[0].changes if rows else 0,
                min((row.left_us for row in rows if row.left_us > 0), default=MEMBER_LASTS_US),
                forms.least_version,
                forms.form,
            )

    def note_beat(
        self, member_id: str, notes: Mapping[str, Any], lasts_us: int = MEMBER_LASTS_US
    ) -> BeatAnswer | None:
        """Say that a member is there that shares no units, in one statement; see `beat`.

        Returns:
            Without loaders. None where the member is not listed any more.
        """
        with self._database.write() as tx:
            forms = tx.connection.execute(
                update(members)
                .where(members.c.id == member_id)
                .values(until=self._tell_now(tx) + lasts_us, notes=dict(notes))
                .returning(*_FORMS)
            ).one_or_none()
        if forms is None:
            return None
        return BeatAnswer((), frozenset(), 0, lasts_us, forms.least_version, forms.form)

    def leave(self, member_id: str) -> None:
        """Take a process off the list that ends, and give up what it has."""
        with self._database.write() as tx:
            count_change(tx)
            tx.connection.execute(
                update(units).where(units.c.holder == member_id).values(holder=None)
            )
            tx.connection.execute(delete(members).where(members.c.id == member_id))

    def forget_place(self, place: str | None) -> None:
        """Take the processes of a place off the list, which have ended for sure.

        Who calls has the place for itself, as by the lock of the data folder. What they had is
        free for others at once. It is not given up: nobody knows what they had under way.

        Args:
            place: see `ClusterMember`; None for all, where the store itself is in the folder.
        """
        with self._database.write() as tx:
            gone = delete(members)
            tx.connection.execute(gone if place is None else gone.where(members.c.place == place))

    def list_members(self) -> list[SeenMember]:
        """Return all processes, also those that were lost lately, by place and name."""
        with self._database.read() as tx:
            return list_seen_members(tx.connection, self._monotonic)

    def _tell_now(self, tx: StoreTransaction) -> ColumnElement[int]:
        return tell_now(tx, self._monotonic)


def tell_now(tx: StoreTransaction, monotonic: Callable[[], int]) -> ColumnElement[int]:
    """Return the time by which members are lost, as an expression.

    Args:
        tx: of the statement.
        monotonic: asked where the store is a file.
    """
    return _tell_time(tx.connection, monotonic)


def _tell_time(connection: Connection, monotonic: Callable[[], int]) -> ColumnElement[int]:
    if connection.dialect.name == "sqlite":
        return literal(monotonic(), BigInteger)
    return SERVER_NOW


def list_seen_members(
    connection: Connection, monotonic: Callable[[], int] = read_monotonic
) -> list[SeenMember]:
    """Return what `MemberRepository.list_members` does; for a store that may be migrated later.

    Args:
        connection: to the store.
        monotonic: asked where the store is a file.
    """
    left_us = (members.c.until - _tell_time(connection, monotonic)).label("left_us")
    rows = connection.execute(
        select(members, left_us).order_by(members.c.place, members.c.name, members.c.since)
    ).all()
    return [SeenMember(_restore_member(row), row.left_us) for row in rows]


def count_change(tx: StoreTransaction) -> None:
    """Count a change of units; from here to the end of the transaction nobody else makes one."""
    tx.connection.execute(update(fences).values(changes=fences.c.changes + 1))


def _restore_member(row: Row[Any]) -> ClusterMember:
    return ClusterMember(
        row.id, row.place, row.name, row.role, row.host, row.version, row.since, row.notes
    )
