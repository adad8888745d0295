"""A process that says that it is there, and whose turn it is to send mails and hooks."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from treadle.config import Config
from treadle.errors import OperatorError, RetriableError
from treadle.server.courier_turn import COURIER_UNIT, CourierTurn, TurnCarrier
from treadle.server.member_beat import MemberBeat, start_beat
from treadle.server.member_identity import make_member, take_place
from treadle.store.membership import ANSWERS_NOTE, LOADER_ROLE, MEMBER_LASTS_US, MemberPhase
from treadle.store.releases import THIS_RELEASE
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tracking.member_list import list_members, look_at_members, read_other_answers


class Clock:
    """Microseconds for the store, and seconds for a process: both at once."""

    now = 100_000_000

    def __call__(self) -> int:
        return self.now

    def read_seconds(self) -> float:
        return self.now / 1e6

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", SecretCipher(bytes(32)))
    for repository in (opened.members, opened.units):
        repository._monotonic = clock
    yield opened
    opened.close()


def make_beat(store: Store, clock: Clock, name: str, **further: Any) -> MemberBeat:
    config = Config(data=Path("/nowhere"), member=name)
    member = make_member(config, "worker 1", "control", 5)
    return MemberBeat(store.members, member, monotonic=clock.read_seconds, **further)


def test_a_process_is_listed_while_it_beats_and_joins_again_after_it_was_lost(
    store: Store, clock: Clock
) -> None:
    beat = make_beat(store, clock, "gate-1")
    assert not beat.is_live
    beat.beat()
    assert beat.is_live
    [found] = list_members(store)
    assert (found.member, found.process, found.role) == ("gate-1", "worker 1", "control")
    assert (found.version, found.schema, found.form) == (
        THIS_RELEASE.version,
        THIS_RELEASE.schema,
        THIS_RELEASE.form,
    )
    assert (found.units, found.since, found.is_live) == (None, 5, True)

    clock.pass_time(2)
    assert list_members(store)[0].beat_seconds == pytest.approx(2)
    clock.pass_time(MEMBER_LASTS_US / 1e6)
    assert not list_members(store)[0].is_live
    assert not beat.is_live
    beat.beat()
    assert list_members(store)[0].is_live

    store.members.leave(beat.member.id)  # as another with its seat does
    beat.beat()
    assert list_members(store)[0].is_live
    beat.start()
    beat.close()
    assert list_members(store) == []


def make_named_config(name: str) -> Config:
    return Config(data=Path("/nowhere"), store="postgresql://nowhere/store", member=name)


def test_a_server_takes_the_place_of_one_that_ended_without_a_word(
    store: Store, clock: Clock
) -> None:
    def list_places() -> list[str]:
        return [seen.member.place for seen in store.members.list_members()]

    for name in ("gate-1", "gate-2", "gate-3"):
        make_beat(store, clock, name).beat()
    began = clock()
    gate = make_named_config("gate-1")
    take_place(gate, store.members, clock.pass_time)  # of the same folder
    assert (clock(), list_places()) == (began, ["gate-2", "gate-3"])
    gate = replace(make_named_config("gate-2"), data=Path("/elsewhere"))
    take_place(gate, store.members, clock.pass_time)
    assert MEMBER_LASTS_US <= clock() - began < MEMBER_LASTS_US + 1_000_000
    assert list_places() == ["gate-3"]
    take_place(replace(gate, member=None), store.members, clock.pass_time)
    assert list_places() == ["gate-3"]
    take_place(replace(gate, store=None), store.members, clock.pass_time)
    assert list_places() == []


@pytest.mark.parametrize("late", [1, 2], ids=["word that was under way", "lives"])
def test_a_server_does_not_start_under_the_name_of_one_that_lives(
    store: Store, clock: Clock, late: int
) -> None:
    other, words = make_beat(store, clock, "gate-1"), [None] * late
    other.beat()

    def pass_time(seconds: float) -> None:
        clock.pass_time(seconds)
        if clock() % 1_000_000 == 0 and words:
            words.pop()
            other.beat()

    gate = replace(make_named_config("gate-1"), data=Path("/elsewhere"))
    if late == 1:
        take_place(gate, store.members, pass_time)
        assert store.members.list_members() == []
        return
    with pytest.raises(OperatorError, match="member is gate-1, and another server of that name"):
        take_place(gate, store.members, pass_time)
    [left] = store.members.list_members()
    assert left.is_live


def test_a_process_says_where_it_answers_and_that_it_is_about_to_stop(
    store: Store, clock: Clock
) -> None:
    beat = make_beat(store, clock, "gate-1", address="http://gate-1:8484")
    beat.beat()
    [found] = list_members(store)
    assert (found.address, found.phase) == ("http://gate-1:8484", MemberPhase.READY)
    beat.begin_drain()
    beat.beat()
    [found] = list_members(store)
    assert (found.address, found.phase) == ("http://gate-1:8484", MemberPhase.DRAINING)
    assert found.is_live
    clock.pass_time(MEMBER_LASTS_US / 1e6)
    assert list_members(store)[0].phase is MemberPhase.LOST
    store.members.leave(beat.member.id)
    beat.beat()  # it joins again, and is still about to stop
    assert list_members(store)[0].phase is MemberPhase.DRAINING


def test_an_order_to_drain_is_told_without_waiting_for_the_next_beat(
    store: Store, clock: Clock
) -> None:
    told = threading.Event()
    beats = 0

    def count() -> None:
        nonlocal beats
        beats += 1
        told.set()

    beat = make_beat(store, clock, "gate-1", after_beat=count)
    beat.start()
    assert told.wait(30)
    told.clear()
    beat.begin_drain()
    assert told.wait(30)
    beat.close()
    assert beats >= 2


def test_a_gate_says_how_many_requests_it_answered(store: Store, clock: Clock) -> None:
    answers = [3, 0, 1, 0]
    beat = make_beat(store, clock, "gate-1", tell=lambda: {ANSWERS_NOTE: answers})
    beat.beat()
    assert list_members(store)[0].answers == (3, 0, 1, 0)
    answers[0] = 5
    beat.beat()
    assert read_other_answers(store, "control-1") == {"gate-1/worker 1": (5, 0, 1, 0)}
    assert read_other_answers(store, "gate-1") == {}
    answers.clear()  # as another release may say it
    beat.beat()
    assert list_members(store)[0].answers is None
    assert read_other_answers(store, "control-1") == {}
    answers += [5, 0, 1, 0]
    beat.beat()
    clock.pass_time(MEMBER_LASTS_US / 1e6)
    assert read_other_answers(store, "control-1") == {}


def test_the_units_of_loaders_are_told_with_those_that_nobody_has(
    store: Store, clock: Clock
) -> None:
    beat = make_beat(store, clock, "loader-1")
    member = replace(beat.member, id="one", name="loader", role=LOADER_ROLE)
    store.members.join(member)
    taken = store.units.take_units("one", ["log:1:0", "log:1:1", "exclusive:3"], {})
    assert len(taken.units) == 3
    look = look_at_members(store)
    [found] = look.members
    assert found.units == 3
    assert [(one.kind, one.number, one.count, one.total) for one in found.groups] == [
        ("log", 1, 2, 2),
        ("exclusive", 3, 1, 1),
    ]
    assert look.free == ()
    store.units.give_up_units("one", ["log:1:1"])
    look = look_at_members(store)
    assert [(one.kind, one.number, one.count, one.total) for one in look.free] == [("log", 1, 1, 2)]
    clock.pass_time(MEMBER_LASTS_US / 1e6)
    assert [(one.kind, one.count) for one in look_at_members(store).free] == [
        ("log", 2),
        ("exclusive", 1),
    ]


def test_a_store_that_is_away_is_asked_again(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = True

    def fail() -> None:
        if failing:
            raise RetriableError("the store is not available now")

    beat = make_beat(store, clock, "gate-1", after_beat=fail)
    beat.beat()
    beat.beat()
    assert caplog.text.count("other members cannot be told that this one is there") == 1
    failing = False
    beat.beat()
    assert beat.is_live


def test_a_process_of_the_release_before_stops_with_its_next_beat(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    older = replace(THIS_RELEASE, version="0.0.9", schema="0029")
    beat = make_beat(
        store, clock, "gate-1", release=older, on_refused=lambda: ended.append("ended")
    )
    beat.beat()
    beat.beat()
    assert ended == []
    store.members.leave(beat.member.id)
    store.releases.finish_upgrade(THIS_RELEASE)
    beat.beat()  # it joins again
    beat.beat()
    assert ended == ["ended"]
    assert "this server stops: the upgrade to a newer treadle was finished" in caplog.text


def test_nobody_beats_where_the_store_is_a_file_or_loaders_do(store: Store) -> None:
    url = "postgresql://treadle@db/treadle"
    assert start_beat(Config(data=Path("/nowhere")), store, "worker 1", 5) is None
    config = Config(data=Path("/nowhere"), store=url, role=("loader",))
    assert start_beat(config, store, "worker 1", 5) is None


class NotedCarrier:
    """Notes when it was called."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.finished = 0.0

    def run_once(self, now_us: int) -> float:
        self.runs.append(now_us)
        return 7.0

    def finish(self, seconds: float) -> None:
        self.finished = seconds


def test_one_courier_at_a_time_has_the_turn_and_the_next_one_takes_it(
    store: Store, clock: Clock
) -> None:
    def make_turn(name: str) -> CourierTurn:
        turn = CourierTurn(store.units, make_beat(store, clock, name))
        turn.beat.after_beat = turn.look
        return turn

    first, second = make_turn("a"), make_turn("b")
    carrier = NotedCarrier()
    waiting = TurnCarrier(carrier, second.is_mine)
    for turn in (first, second, first, second):
        turn.beat.beat()
        clock.pass_time(1)
    assert (first.is_mine(), second.is_mine()) == (True, False)
    assert waiting.run_once(1) == 1.0
    assert carrier.runs == []

    # The first one is stopped: it knows that by itself before the second one takes over.
    clock.pass_time(MEMBER_LASTS_US / 1e6 - 2.4)
    second.beat.beat()
    assert (first.is_mine(), second.is_mine()) == (False, False)
    clock.pass_time(1)
    second.beat.beat()
    assert (first.is_mine(), second.is_mine()) == (False, True)
    assert store.units.find_holder(COURIER_UNIT) == second.beat.member.id
    assert waiting.run_once(2) == 7.0
    assert carrier.runs == [2]
    waiting.finish(3.0)
    assert carrier.finished == 3.0
    first.beat.beat()
    assert (first.is_mine(), second.is_mine()) == (False, True)
    store.members.leave(second.beat.member.id)
    first.beat.beat()
    assert first.is_mine()
