"""Deals out a fixed number of places, so that nobody pushes out what others have."""

from typing import Final

from treadle.traces.refusals import STRANGERS

STRANGERS_PART: Final = 4
"""Strangers together may have one in so many places."""


class FairPlaces:
    """Numbered places, each of which belongs to an owner.

    While places are free everybody gets them. Then an owner with its share or more gives up the
    place that it used longest ago, and one with less gets a place of the owner that has most.
    """

    def __init__(self, places: int) -> None:
        """Have all places free, numbered from 0."""
        self._free = list(range(places - 1, -1, -1))
        self._places = places
        self._owned: dict[int, dict[int, None]] = {}

    def take(self, owner: int) -> int:
        """Return a place, which belongs to this owner from now on."""
        own = self._owned.setdefault(owner, {})
        if owner == STRANGERS and len(own) >= self._places // STRANGERS_PART:
            place = next(iter(own))
            del own[place]
        elif self._free:
            place = self._free.pop()
        else:
            place = self._find_used(own)
        own[place] = None
        return place

    def take_at(self, owner: int, place: int) -> None:
        """Give an owner a certain place that is free."""
        self._free.remove(place)
        self._owned.setdefault(owner, {})[place] = None

    def use(self, owner: int, place: int) -> None:
        """Note that a place is used now."""
        own = self._owned[owner]
        del own[place]
        own[place] = None

    def hand_over(self, place: int, owner: int, new_owner: int) -> None:
        """Give the place of one owner to another one."""
        own = self._owned.get(owner, {})
        if place in own:
            del own[place]
            self._owned.setdefault(new_owner, {})[place] = None

    def _find_used(self, own: dict[int, None]) -> int:
        """Take a place from the owner that has to give one up."""
        giver = own
        owners = sum(1 for its in self._owned.values() if its)
        if len(own) < max(1, self._places // max(1, owners)):
            giver = max(self._owned.values(), key=len)
        place = next(iter(giver))
        del giver[place]
        return place
