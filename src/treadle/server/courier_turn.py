"""Whose turn it is to deliver hooks and send mails, where several members answer the Connect API.

Deliveries are in the store, and each of these members sees them all. One of them at a time sends
them: the one that has the unit `couriers:0`. Another takes it when that one ends or is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.courier.carrier import Carrier, FinishingCarrier
from treadle.server.member_beat import MemberBeat
from treadle.server.member_identity import make_member
from treadle.store.store import Store
from treadle.store.unit_name import COURIER_UNITS
from treadle.store.units import UnitRepository

COURIER_UNIT: Final = f"{COURIER_UNITS}:0"
"""A name in the form of the units of loaders, none of which may have it."""

WAIT_SECONDS: Final = 1.0
"""How often a carrier without a turn looks whether it has one."""


@dataclass(slots=True)
class CourierTurn:
    """The turn of this process.

    Attributes:
        units: who has what.
        beat: of this process.
    """

    units: UnitRepository
    beat: MemberBeat
    _has_unit: bool = field(default=False)

    def is_mine(self) -> bool:
        """Return whether nobody else sends now."""
        return self._has_unit and self.beat.is_live

    def look(self) -> None:
        """Take the turn if nobody has it; called after each beat."""
        mine = self.beat.member.id
        holder = self.units.find_holder(COURIER_UNIT)
        if holder is None:
            taken = self.units.take_units(mine, {COURIER_UNIT}, self.beat.notes)
            self._has_unit = COURIER_UNIT in taken.units
        else:
            self._has_unit = holder == mine

    def close(self) -> None:
        """Let another take the turn."""
        self.beat.close()


def start_turn(config: Config, store: Store, since: int) -> CourierTurn:
    """Begin to ask for a turn.

    Args:
        config: the settings.
        store: open.
        since: when this process began, microseconds since 1970.
    """
    member = make_member(config, "courier", MemberRole.CONTROL.value, since)
    turn = CourierTurn(store.units, MemberBeat(store.members, member))
    turn.beat.after_beat = turn.look
    turn.beat.start()
    return turn


class TurnCarrier:
    """A carrier that rests while another process has the turn (`FinishingCarrier`)."""

    def __init__(self, carrier: Carrier, has_turn: Callable[[], bool]) -> None:
        """Do nothing yet.

        Args:
            carrier: does the work.
            has_turn: returns whether nobody else does.
        """
        self._carrier = carrier
        self._has_turn = has_turn

    def run_once(self, now_us: int) -> float:
        """Do what is due if it is this one's turn; see `Carrier`."""
        return self._carrier.run_once(now_us) if self._has_turn() else WAIT_SECONDS

    def finish(self, seconds: float) -> None:
        """Wait for what is under way."""
        if isinstance(self._carrier, FinishingCarrier):
            self._carrier.finish(seconds)
