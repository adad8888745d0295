"""What a loader does about units from beat to beat, with a store and a clock that a test moves."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import RetriableError
from treadle.loader.share import decode_notes, name_unit
from treadle.loader.unit_holder import UnitHolder
from treadle.store.membership import HOME_NOTE, MEMBER_LASTS_US, ClusterMember, HeldUnit
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

SECOND = 1_000_000


@dataclass
class Cluster:
    """A store, and loaders whose beats a test makes."""

    store: Store
    now: int = 100 * SECOND
    loaders: dict[str, UnitHolder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for repository in (self.store.members, self.store.units):
            repository._monotonic = lambda: self.now

    def join(self, place: str, *, beats: bool = True) -> UnitHolder:
        notes = {HOME_NOTE: f"home of {place}"}
        member = ClusterMember(f"id of {place}", place, "loader", "loader", "host", "1", 0, notes)
        made = UnitHolder(self.store, member, beats=beats, monotonic=lambda: self.now)
        made.want([0], [])
        made.beat()
        self.loaders[place] = made
        return made

    def beat(self, *places: str, seconds: int = 1) -> None:
        """Beat once a second; units that are leaving are given up at once."""
        for _ in range(seconds):
            self.now += SECOND
            for place in places:
                holder = self.loaders[place]
                holder.beat()
                holder.release(holder.leaving, frozenset())

    def settle(self, *places: str) -> dict[str, set[str]]:
        """Who has what after some beats."""
        self.beat(*places, seconds=3)
        found = {place: set(self.loaders[place].fences) for place in places}
        assert sum(map(len, found.values())) == 64
        return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    url = f"sqlite:///{tmp_path}/store.db"
    with closing(Store.open(url, SecretCipher(bytes(32)))) as store:
        yield Cluster(store)


def test_loaders_share_and_one_that_leaves_gives_its_part_to_the_others(cluster: Cluster) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    assert len(one.fences) == 64
    before = cluster.settle("one", "two")
    assert all(len(units) > 16 for units in before.values())
    homes = [seen.member.notes[HOME_NOTE] for seen in cluster.store.members.list_members()]
    assert homes == ["home of one", "home of two"]
    two.leave()
    assert two.fences == {}
    cluster.beat("one")
    assert len(one.fences) == 64
    assert one.lost == ()


def test_a_loader_that_is_lost_is_followed_and_finds_out_when_it_wakes(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    before = cluster.settle("one", "two")
    fence = max(two.fences.values())
    cluster.beat("one", seconds=5)
    assert set(one.fences) == before["one"]
    assert not two.fences.keys() & one.fences.keys()
    cluster.beat("one", seconds=2)
    assert len(one.fences) == 64
    assert [member.id for member in one.lost] == ["id of two"]
    assert all(one.fences[unit] > fence for unit in before["two"])
    assert not two.is_current
    assert two.get_fence(next(iter(before["two"]))) is None
    cluster.beat("two")
    assert two.fences == {}
    assert "other loaders have taken" in caplog.text
    assert cluster.settle("one", "two") == before


def test_a_loader_that_is_lost_again_is_lost_with_another_fence(cluster: Cluster) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    for _ in range(2):
        cluster.settle("one", "two")
        cluster.beat("one", seconds=7)
        cluster.beat("two")
    assert [member.id for member in one.lost] == ["id of two"] * 2
    assert len(set(one.lost)) == 2
    assert two.lost == ()


def test_a_take_that_was_not_answered_has_its_consequences(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cluster.join("one")
    cluster.join("two")
    before = cluster.settle("one", "two")
    one.note_settled(one.fences, [(1, 2)])
    take = cluster.store.units.take_units

    def take_unanswered(*args: Any) -> None:
        take(*args)
        raise RetriableError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.store.units, "take_units", take_unanswered)
        with pytest.raises(RetriableError):
            cluster.beat("one", seconds=7)
    assert set(one.fences) == before["one"]
    cluster.beat("one")
    assert len(one.fences) == 64
    assert {member.id for member in one.lost} == {"id of two"}
    [notes] = [each.member.notes for each in cluster.store.members.list_members() if each.is_live]
    assert decode_notes(notes).settled == frozenset()


def test_a_loader_that_wakes_asks_what_it_lost_before_it_begins_anything(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.join("one")
    two = cluster.join("two")
    cluster.settle("one", "two")
    cluster.beat("one", seconds=7)
    units = cluster.store.units.list_units
    seen: list[bool] = []

    def list_units() -> list[HeldUnit]:
        seen.append(two.is_current)
        return units()

    monkeypatch.setattr(cluster.store.units, "list_units", list_units)
    two.beat()
    assert seen[0] is False
    assert two.is_current
    assert two.fences == {}


def test_a_loader_that_finishes_keeps_what_it_has_and_takes_nothing(cluster: Cluster) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    before = cluster.settle("one", "two")
    one.finish()
    cluster.beat("one", seconds=7)
    assert set(one.fences) == before["one"]
    cluster.beat("one", "two", seconds=7)
    assert two.lost == ()


def test_after_the_store_was_away_nobody_takes_from_the_others(cluster: Cluster) -> None:
    cluster.join("one")
    cluster.join("two")
    before = cluster.settle("one", "two")
    cluster.now += 60 * SECOND
    cluster.beat("one", seconds=4)
    assert set(cluster.loaders["one"].fences) == before["one"]
    assert cluster.settle("one", "two") == before
    assert cluster.loaders["one"].lost == ()


def test_a_newcomer_takes_what_is_free_and_waits_for_what_a_silent_one_had(
    cluster: Cluster,
) -> None:
    cluster.join("one")
    cluster.now += MEMBER_LASTS_US + SECOND
    two = cluster.join("two")
    assert two.fences == {}
    cluster.beat("two", seconds=5)
    assert two.fences == {}
    cluster.beat("two", seconds=2)
    assert len(two.fences) == 64


def test_a_restarted_loader_takes_what_it_had_at_once(cluster: Cluster) -> None:
    cluster.join("one")
    cluster.join("two")
    before = cluster.settle("one", "two")
    again = UnitHolder(
        cluster.store,
        ClusterMember("new", "two", "loader", "loader", "host", "1", 0),
        beats=True,
        monotonic=lambda: cluster.now,
    )
    again.want([0], [])
    again.beat()
    assert set(again.fences) == before["two"]
    assert [member.id for member in again.lost] == ["id of two"]
    with pytest.raises(RetriableError, match="another process is loader of two"):
        cluster.beat("two")
    assert cluster.loaders["two"].fences == {}


def test_a_loader_that_is_not_listed_any_more_joins_again(cluster: Cluster) -> None:
    one = cluster.join("one")
    cluster.store.members.forget_place("one")
    one.beat()
    assert one.fences == {}
    one.beat()
    assert len(one.fences) == 64


def test_what_was_taken_without_an_answer_is_found_at_the_next_beat(cluster: Cluster) -> None:
    one = cluster.join("one")
    unit = name_unit(0, 5)
    cluster.store.units.give_up_units("id of one", [unit])
    taken = cluster.store.units.take_units("id of one", [unit], {})
    cluster.beat("one")
    assert one.fences[unit] == taken.fence


def test_a_unit_that_is_to_be_left_is_kept_while_something_of_it_is_under_way(
    cluster: Cluster,
) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    one.beat()
    leaving = one.leaving
    busy = frozenset([next(iter(leaving))])
    one.release(leaving, busy)
    assert one.leaving == busy
    one.release(leaving, frozenset())  # what was asked about is not what is left any more
    assert one.leaving == busy
    two.beat()
    assert set(two.fences) == leaving - busy


def test_one_without_others_says_nothing_more_after_it_took_its_units(cluster: Cluster) -> None:
    one = cluster.join("one", beats=False)
    cluster.now += 10**12
    one.beat_if_asked()
    assert one.is_current
    assert len(one.fences) == 64
    one.want([0, 1], [7])
    one.beat_if_asked()
    assert len(one.fences) == 129


def test_settled_moves_are_told_and_taken_back_with_further_units(cluster: Cluster) -> None:
    one, two = cluster.join("one"), cluster.join("two")
    cluster.settle("one", "two")

    def told() -> set[str]:
        holders = cluster.store.units.list_holders()
        return {unit for unit, notes in holders.items() if notes and notes.get("settled")}

    old = one.fences
    one.note_settled(one.fences, [(4, 17)])
    cluster.beat("one", "two")
    assert told() == set(one.fences)
    two.leave()
    cluster.beat("one")
    assert told() == set()
    one.note_settled(old, [(4, 17)])  # found out before it had those
    cluster.beat("one")
    assert told() == set()
