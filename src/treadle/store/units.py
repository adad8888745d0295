"""The repository of units: what one loader at a time has, and the fences of the holders.

A unit is a part of the tables of a log, or a destination that one process at a time can open. Its
fence is a number that goes into every offset. A destination refuses an offset with a lower fence
than the one it holds, so a loader that slept while another took its unit commits nothing.

Every change of units locks the row of `fences` first. So there is one at a time, and two members
never judge at once whether the holder of a unit is lost.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, insert, literal, or_, select, update

from treadle.clock import read_monotonic
from treadle.store.database import StoreDatabase, StoreRepository, StoreTransaction
from treadle.store.members import count_change, tell_now
from treadle.store.membership import HeldUnit, TakenUnits
from treadle.store.schema import destinations, fences, leases, members, units


class UnitRepository(StoreRepository):
    """The units of the installation."""

    def __init__(
        self, database: StoreDatabase, monotonic: Callable[[], int] = read_monotonic
    ) -> None:
        """Use a database; see `MemberRepository`."""
        super().__init__(database)
        self._monotonic = monotonic

    def list_units(self) -> list[HeldUnit]:
        """Return all units that somebody ever had, by name."""
        with self._database.read() as tx:
            rows = tx.connection.execute(select(units).order_by(units.c.unit)).all()
            return [HeldUnit(row.unit, row.holder, row.fence, row.taken_at) for row in rows]

    def find_holder(self, unit: str) -> str | None:
        """Return the member that has a unit and is there; None where nobody does."""
        with self._database.read() as tx:
            is_live = members.c.until > tell_now(tx, self._monotonic)
            found: str | None = tx.connection.execute(
                select(units.c.holder)
                .join(members, members.c.id == units.c.holder)
                .where(units.c.unit == unit, is_live)
            ).scalar_one_or_none()
            return found

    def list_holders(self) -> dict[str, Mapping[str, Any] | None]:
        """Return unit -> the notes of the member that has it; None where nobody that is listed."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(units.c.unit, members.c.notes).outerjoin(
                    members, members.c.id == units.c.holder
                )
            ).all()
            return {row.unit: row.notes for row in rows}

    def take_units(
        self,
        member_id: str,
        wanted: Collection[str],
        notes: Mapping[str, Any],
        above: int = 0,
    ) -> TakenUnits:
        """Take units that nobody has, whose holder is lost, or that the member has itself.

        Those that a live member has are left out. Nothing is taken by a member that is lost.

        Args:
            member_id: who takes.
            wanted: names of units.
            notes: what others are to know of the member from then on.
            above: the fence is to be greater than this number, which a destination was seen to
                hold: the store was brought back to an earlier state.
        """
        with self._database.write() as tx:
            count_change(tx)
            now = tell_now(tx, self._monotonic)
            _add_units(tx, wanted)
            rows = tx.connection.execute(_find_free(member_id, wanted, now)).all()
            if not rows:
                return TakenUnits()
            fence = _next_fence(tx, above)
            taken = frozenset(row.unit for row in rows)
            tx.connection.execute(
                update(units)
                .where(units.c.unit.in_(taken))
                .values(holder=member_id, fence=fence, taken_at=tx.now)
            )
            tx.connection.execute(
                update(members).where(members.c.id == member_id).values(notes=dict(notes))
            )
            _raise_leases(tx, fence)
            lost = frozenset(row.holder for row in rows) - {None, member_id}
            return TakenUnits(taken, fence, lost)

    def give_up_units(self, member_id: str, given: Collection[str]) -> None:
        """Let others take units that a member has; it has nothing of them under way."""
        with self._database.write() as tx:
            count_change(tx)
            tx.connection.execute(
                update(units)
                .where(units.c.holder == member_id, units.c.unit.in_(given))
                .values(holder=None)
            )

    def leave_fences_out(self, count: int) -> None:
        """Free all units, and let the next fence be greater by a number than it would be.

        For a store that was restored: destinations have seen the fences of loaders that came since.
        """
        with self._database.write() as tx:
            count_change(tx)
            fence = _next_fence(tx, 0)
            tx.connection.execute(update(fences).values(last=fence + count))
            tx.connection.execute(update(units).values(holder=None))
            _raise_leases(tx, fence + count)


def make_fences(tx: StoreTransaction) -> None:
    """Make the row from which fences are given, in a new store."""
    tx.connection.execute(
        tx.insert(fences).values(id=1, last=0, changes=0).on_conflict_do_nothing()
    )


def _add_units(tx: StoreTransaction, wanted: Collection[str]) -> None:
    """Add a row for each unit that nobody had before."""
    known = set(
        tx.connection.execute(select(units.c.unit).where(units.c.unit.in_(wanted))).scalars()
    )
    if new := [{"unit": unit, "fence": 0, "taken_at": 0} for unit in wanted if unit not in known]:
        tx.connection.execute(insert(units), new)


def _find_free(
    member_id: str, wanted: Collection[str], now: ColumnElement[int]
) -> Select[tuple[str, str | None]]:
    """Return the question which of these units a member may take now, and who had them."""
    is_live = exists().where(members.c.id == units.c.holder, members.c.until > now)
    may_take = exists().where(members.c.id == literal(member_id), members.c.until > now)
    return (
        select(units.c.unit, units.c.holder)
        .where(units.c.unit.in_(wanted))
        .where(may_take)
        .where(or_(units.c.holder.is_(None), units.c.holder == member_id, ~is_live))
    )


def _next_fence(tx: StoreTransaction, above: int) -> int:
    """Return the next fence: greater than any of a unit or lease, and than a number."""
    last: int = tx.connection.execute(select(fences.c.last)).scalar_one()
    of_leases: int | None = tx.connection.execute(select(func.max(leases.c.fence))).scalar_one()
    fence = max(last, of_leases or 0, above) + 1
    tx.connection.execute(update(fences).values(last=fence))
    return fence


def _raise_leases(tx: StoreTransaction, fence: int) -> None:
    """Let a treadle before units, which counts by destination, give greater fences than this."""
    ids = tx.connection.execute(select(destinations.c.id)).scalars().all()
    for destination_id in ids:
        tx.connection.execute(
            tx.insert(leases)
            .values(destination_id=destination_id, place="", holder="", fence=fence, until=0)
            .on_conflict_do_update(
                index_elements=[leases.c.destination_id],
                set_={"place": "", "holder": "", "fence": fence, "until": 0},
            )
        )
