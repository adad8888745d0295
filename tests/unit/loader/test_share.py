"""Who should have a unit, and what a member may do: decisions on values."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.loader.share import (
    GAP_US_MAX,
    MARGIN_US,
    BeatRecord,
    LoaderNotes,
    ShareCandidate,
    SharePlan,
    choose_owners,
    decode_notes,
    is_settled,
    list_log_units,
    list_slots,
    name_exclusive_unit,
    name_unit,
    plan_share,
)
from treadle.log.slots import SLOTS
from treadle.store.membership import MEMBER_LASTS_US, ClusterMember, HeldUnit

UNITS = list_log_units(0)
NOTES = LoaderNotes(frozenset([0]), frozenset([5]))

seats = st.lists(st.text("abc123", min_size=1, max_size=6), min_size=1, max_size=6, unique=True)


def candidate(seat: str, notes: LoaderNotes = NOTES) -> ShareCandidate:
    return ShareCandidate(f"id of {seat}", seat, notes)


def member(seat: str, notes: LoaderNotes = NOTES) -> ClusterMember:
    return ClusterMember(f"id of {seat}", seat, "loader", "loader", "h", "1", 0, notes.encode())


def owners(loaders: list[ShareCandidate]) -> dict[str, str | None]:
    return choose_owners(UNITS, loaders)


def held(unit: str, holder: str | None, fence: int = 1) -> HeldUnit:
    return HeldUnit(unit, holder, fence, 0)


@given(seats, st.randoms())
def test_every_unit_has_one_owner_and_all_members_say_the_same(seats, random) -> None:  # type: ignore[no-untyped-def]
    loaders = [candidate(seat) for seat in seats]
    found = owners(loaders)
    assert set(found.values()) <= {one.id for one in loaders}
    random.shuffle(loaders)
    assert owners(loaders) == found


OLDER = LoaderNotes(frozenset([0]), frozenset([5]), deals_evenly=False)


@given(seats)
def test_before_all_deal_evenly_who_is_lost_moves_its_own_part_only(seats: list[str]) -> None:
    loaders = [*map(candidate, seats[:-1]), candidate(seats[-1], OLDER)]
    before, after = owners(loaders), owners(loaders[1:])
    moved = {unit for unit in UNITS if before[unit] != after[unit]}
    assert moved == {unit for unit in UNITS if before[unit] == loaders[0].id}


@given(seats)
def test_no_loader_has_more_than_its_even_part(seats: list[str]) -> None:
    parts = Counter(owners([candidate(seat) for seat in seats]).values())
    assert parts.total() == SLOTS
    assert max(parts.values()) <= -(-SLOTS // len(seats))


def test_an_even_part_is_that_of_each_log() -> None:
    notes = LoaderNotes(frozenset(range(8)))
    loaders = [candidate(f"machine {number}/loader", notes) for number in range(4)]
    for log in range(8):
        parts = Counter(choose_owners(list_log_units(log), loaders).values())
        assert set(parts.values()) == {SLOTS // 4}


@pytest.mark.parametrize("count", [2, 3, 4, 6, 12])
def test_who_is_lost_or_joins_moves_little_more_than_its_own_part(count: int) -> None:
    """Of those that stay, one in eight moves at most, so that one part is full and another not."""
    for log in range(20):
        notes = LoaderNotes(frozenset([log]))
        loaders = [candidate(f"machine {number}/loader", notes) for number in range(count)]
        units = list_log_units(log)
        before, after = choose_owners(units, loaders), choose_owners(units, loaders[1:])
        moved = [
            unit for unit in units if loaders[0].id != before[unit] and before[unit] != after[unit]
        ]
        assert len(moved) <= SLOTS // 8, (log, len(moved))


def test_a_unit_goes_to_who_can_load_it() -> None:
    one = candidate("one", LoaderNotes(frozenset([0])))
    two = candidate("two", LoaderNotes(frozenset([0, 1]), frozenset([5])))
    wanted = [name_unit(1, 3), name_exclusive_unit(5), name_exclusive_unit(6), "couriers:0"]
    assert choose_owners(wanted, [one, two]) == {
        wanted[0]: two.id,
        wanted[1]: two.id,
        wanted[2]: None,
        wanted[3]: None,
    }
    assert choose_owners([name_unit(0, 3), wanted[1]], []) == {
        name_unit(0, 3): None,
        wanted[1]: None,
    }


def test_notes_come_back_as_they_were() -> None:
    notes = LoaderNotes(frozenset([0, 3]), frozenset([9]), frozenset([(4, 17)]))
    assert decode_notes(notes.encode()) == notes
    assert decode_notes({}) == LoaderNotes(deals_evenly=False)
    assert notes.list_units() == {
        *list_log_units(0),
        *list_log_units(3),
        name_exclusive_unit(9),
    }
    assert list_slots(notes.list_units(), 3) == frozenset(range(SLOTS))
    assert list_slots([name_unit(1, 4), name_exclusive_unit(1)], 1) == {4}


def plan(me: str, loaders: list[ClusterMember], units: list[HeldUnit], **its: object) -> SharePlan:
    silent = its.get("silent", frozenset())
    assert isinstance(silent, frozenset)
    may_take_lost = bool(its.get("may_take_lost", True))
    return plan_share(f"id of {me}", loaders, silent, units, may_take_lost=may_take_lost)


def test_one_that_is_alone_takes_everything_that_it_can_load() -> None:
    found = plan("a", [member("a")], [])
    assert found == SharePlan(frozenset([*UNITS, name_exclusive_unit(5)]), frozenset())


def test_a_unit_of_a_silent_loader_is_taken_when_it_may_be_and_of_an_ended_one_at_once() -> None:
    units = [held(UNITS[0], "silent"), held(UNITS[1], "ended")]
    silent = frozenset(["silent"])
    careful = plan("a", [member("a")], units, silent=silent, may_take_lost=False)
    assert UNITS[0] not in careful.take
    assert UNITS[1] in careful.take
    assert UNITS[0] in plan("a", [member("a")], units, silent=silent).take


def test_a_joiner_gets_its_part_when_the_others_have_given_it_up() -> None:
    both = [member("a"), member("b")]
    units = [held(unit, "id of a") for unit in UNITS]
    assert not plan("b", both, units).take.intersection(UNITS)
    leaving = plan("a", both, units).leave
    assert leaving
    given = [held(one.unit, None if one.unit in leaving else one.holder) for one in units]
    assert plan("b", both, given).take.intersection(UNITS) == leaving
    assert not plan("a", both, given).take.intersection(UNITS)


def test_what_nobody_else_can_load_stays() -> None:
    other = member("b", LoaderNotes(frozenset([1])))
    units = [held(unit, "id of a") for unit in UNITS]
    assert plan("a", [member("a"), other], units).leave == frozenset()


def test_who_is_lost_itself_does_nothing() -> None:
    assert plan("a", [member("b")], [held(UNITS[0], "id of a")]) == SharePlan()


@dataclass
class World:
    """Members and units as a store has them; each step is one that the store may carry out."""

    live: dict[str, bool] = field(default_factory=dict)
    holders: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(UNITS))
    fences: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    last: int = 0

    def step(self, seat: str) -> None:
        """A member plans, and does what it planned."""
        loaders = [member(one) for one, is_live in self.live.items() if is_live]
        silent = frozenset(f"id of {one}" for one, is_live in self.live.items() if not is_live)
        units = [held(unit, self.holders[unit], self.fences[unit]) for unit in UNITS]
        found = plan(seat, loaders, units, silent=silent)
        me = f"id of {seat}"
        for unit in found.leave:
            assert self.holders[unit] == me
            self.holders[unit] = None
        live = {f"id of {one}" for one, is_live in self.live.items() if is_live}
        self.last += 1
        for unit in found.take.intersection(UNITS):
            # What the store checks: a live holder is never robbed.
            assert self.holders[unit] not in live - {me}
            self.holders[unit] = me
            assert self.fences[unit] < self.last
            self.fences[unit] = self.last


@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "lose", "step"]), st.sampled_from("abcd")), max_size=30
    )
)
def test_whatever_happens_each_unit_ends_with_one_live_loader(events) -> None:  # type: ignore[no-untyped-def]
    world = World()
    for event, seat in events:
        if event == "join":
            world.live[seat] = True
        elif event == "lose" and seat in world.live:
            world.live[seat] = False
        elif event == "step" and world.live.get(seat):
            world.step(seat)
    live = [seat for seat, is_live in world.live.items() if is_live]
    for _ in range(2):
        for seat in live:
            world.step(seat)
    if live:
        loaders = [ShareCandidate.of(member(seat)) for seat in live]
        assert world.holders == owners(loaders)


SECOND = 1_000_000


@given(st.lists(st.tuples(st.integers(0, 4 * SECOND), st.integers(0, 3 * SECOND)), max_size=20))
def test_who_may_begin_has_not_expired_anywhere(beats: list[tuple[int, int]]) -> None:
    """The store lets a member last from when it carried the beat out, after it was begun."""
    now, until, record = 0, -1, BeatRecord()
    assert not record.may_begin(now)
    for pause, took in beats:
        now += pause
        begun = now
        now += took
        until = begun + MEMBER_LASTS_US  # at the earliest
        record = record.add_beat(begun, now)
        for later in range(0, 7 * SECOND, SECOND // 2):
            if record.may_begin(now + later):
                assert now + later <= until - MARGIN_US


def test_nobody_takes_from_others_for_a_while_after_the_store_was_away() -> None:
    record = BeatRecord()
    for second in range(7):
        record = record.add_beat(second * SECOND, second * SECOND + 1)
        assert not record.may_take_lost(second * SECOND)
    assert record.may_take_lost(7 * SECOND)
    # A beat that took long, or one that came late, says that the store was away.
    back = 7 * SECOND + GAP_US_MAX
    for late in (record.add_beat(7 * SECOND, back), record.add_beat(back, back + 1)):
        assert not late.may_take_lost(back + 1)
        assert not late.may_take_lost(back + MEMBER_LASTS_US - 1)
        assert late.may_take_lost(back + 1 + MEMBER_LASTS_US)


@pytest.mark.parametrize(
    ("holders", "expected"),
    [
        ({"log:0:1": {"settled": [[4, 17]]}, "log:0:2": {"settled": [[4, 17], [5, 1]]}}, True),
        ({"log:0:1": {"settled": [[4, 17]]}, "log:0:2": {"settled": [[4, 16]]}}, False),
        ({"log:0:1": {"settled": [[4, 17]]}, "log:0:2": None}, False),
        ({"log:0:1": {"settled": [[4, 17]]}}, False),
    ],
)
def test_a_move_is_settled_when_every_holder_says_so(
    holders: dict[str, dict[str, object] | None], *, expected: bool
) -> None:
    assert is_settled((4, 17), ["log:0:1", "log:0:2"], holders) is expected
