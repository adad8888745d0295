"""Nobody pushes out what others have."""

from collections import Counter

from treadle.traces.fair_places import FairPlaces
from treadle.traces.refusals import STRANGERS


class Board:
    """Places and who has each of them."""

    def __init__(self, places: int) -> None:
        self.places = FairPlaces(places)
        self.owners: dict[int, int] = {}

    def take(self, owner: int, times: int = 1) -> None:
        for _ in range(times):
            self.owners[self.places.take(owner)] = owner

    def count(self) -> Counter[int]:
        return Counter(self.owners.values())


def test_strangers_have_a_quarter_at_most_and_push_nobody_out() -> None:
    board = Board(100)
    board.take(STRANGERS, 500)
    assert board.count() == {STRANGERS: 25}
    board.take(1, 75)
    board.take(STRANGERS, 500)
    assert board.count() == {STRANGERS: 25, 1: 75}


def test_a_busy_account_gives_way_to_a_quiet_one() -> None:
    board = Board(100)
    board.take(1, 1000)
    assert board.count() == {1: 100}
    board.take(2, 3)
    board.take(1, 1000)
    assert board.count() == {1: 97, 2: 3}
    board.take(2, 1000)
    assert board.count() == {1: 50, 2: 50}


def test_the_place_that_was_used_longest_ago_goes_first() -> None:
    places = FairPlaces(8)
    taken = [places.take(1) for _ in range(8)]
    places.use(1, taken[0])
    assert places.take(1) == taken[1]
    assert places.take(1) == taken[2]


def test_strangers_take_their_own_places_in_turn() -> None:
    places = FairPlaces(8)
    first, second = places.take(STRANGERS), places.take(STRANGERS)
    assert [places.take(STRANGERS) for _ in range(4)] == [first, second, first, second]


def test_a_place_is_handed_over() -> None:
    places = FairPlaces(4)
    place = places.take(STRANGERS)
    places.hand_over(place, STRANGERS, 1)
    places.hand_over(place, STRANGERS, 2)  # it is no stranger's any more
    for _ in range(3):
        places.take(1)
    assert places.take(1) == place
