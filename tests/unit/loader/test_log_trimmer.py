"""What is removed from the logs, and when; with logs and a store that note what they are asked."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from treadle.errors import RetriableError
from treadle.loader import log_trimmer
from treadle.loader.log_trimmer import (
    FULL_PAUSE_US,
    FULL_PAUSE_US_MAX,
    KEY_PORTIONS,
    KEY_RETENTION_US,
    POINTS_MAX,
    SIGHT_SECONDS_MAX,
    TRIM_INTERVAL_US,
    LogTrimmer,
    TrimRules,
    choose_points,
    plan_attempt,
)
from treadle.log.joined import JoinedReader, SourceNumbers
from treadle.log.protocol import LogReader, TableBacklog, TrimPoint
from treadle.log.quota import LogQuota, LogSpace

RETENTION_US = 2 * KEY_RETENTION_US


def backlog(source_id: int, table_name: str, loaded: int) -> TableBacklog:
    return cast(
        TableBacklog,
        SimpleNamespace(source_id=source_id, table_name=table_name, loaded=loaded),
    )


@dataclass
class NotedLog:
    """A log that notes what it is asked.

    Attributes:
        used: the bytes that it has.
        goes: how many entries go at each trim.
        names: how many portions of names it may forget.
    """

    log_id: str
    used: int = 0
    goes: int = 0
    names: int = 0
    away: bool = False
    trims: list[list[TrimPoint]] = field(default_factory=list)
    forgot: list[int] = field(default_factory=list)
    closed: bool = False

    @property
    def statistics(self) -> "NotedLog":
        return self

    def answer(self) -> None:
        if self.away:
            raise RetriableError(f"{self.log_id} is away")

    def measure_space(self) -> LogSpace:
        self.answer()
        return LogSpace(self.used, None)

    def forget_keys(self, before: int) -> int:
        self.answer()
        self.forgot.append(before)
        self.names = max(0, self.names - 1)
        return 10 if self.names else 0

    def trim(self, points: Sequence[TrimPoint]) -> int:
        self.answer()
        self.trims.append(list(points))
        return self.goes

    def close(self) -> None:
        self.closed = True


@dataclass
class Yard:
    """Two logs, of sources with even and odd ids, and the trimmer of a process that keeps some."""

    now: int = 10**15
    seconds: float = 100.0
    kept: set[int] = field(default_factory=lambda: {0, 1})
    found: list[tuple[int, str, int]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    deleted: list[tuple[str, int]] = field(default_factory=list)
    logs: list[NotedLog] = field(default_factory=lambda: [NotedLog("even"), NotedLog("odd")])

    def __post_init__(self) -> None:
        parts = cast(dict[int, LogReader], dict(enumerate(self.logs)))
        numbers = SourceNumbers(lambda source_id: source_id % 2)
        self.reader = JoinedReader(parts, numbers)
        store: Any = SimpleNamespace(
            loads=SimpleNamespace(
                list_loaded_before=self.list_loaded_before,
                delete_loads_before=lambda at: self.deleted.append(("loads", at)),
            ),
            trail=SimpleNamespace(
                delete_events_before=lambda at: self.deleted.append(("events", at))
            ),
        )
        shares: Any = SimpleNamespace(
            logs=(0, 1),
            keeps_log=lambda number: number in self.kept,
            is_chief=0 in self.kept,
            numbers=numbers,
        )
        rules = TrimRules(RETENTION_US, 3 * RETENTION_US, 5, LogQuota(bytes_max=100))
        self.trimmer = LogTrimmer(store, shares, rules, lambda: self.now, lambda: self.seconds)
        self.trimmer.note_sight([], frozenset())

    def list_loaded_before(self, at: int) -> list[tuple[int, str, int]]:
        self.asked.append(at)
        return self.found

    def trim(self, *, later_us: int = 0) -> list[int]:
        """Let it do what is due; how often each log was trimmed meanwhile."""
        self.now += later_us
        before = [len(one.trims) for one in self.logs]
        self.trimmer.trim_due(self.reader)
        return [len(one.trims) - count for one, count in zip(self.logs, before, strict=True)]


@pytest.fixture
def yard() -> Yard:
    return Yard()


def test_what_is_old_is_removed_every_ten_minutes(yard: Yard) -> None:
    yard.found = [(2, "a", 7), (3, "b", 9)]
    assert yard.trim() == [1, 1]
    assert [one.trims for one in yard.logs] == [
        [[TrimPoint(2, "a", 7)]],
        [[TrimPoint(3, "b", 9)]],
    ]
    assert yard.asked == [yard.now - RETENTION_US]
    assert yard.deleted == [("events", yard.now - 5), ("loads", yard.now - 3 * RETENTION_US)]
    assert [one.forgot for one in yard.logs] == [[yard.now - RETENTION_US]] * 2
    assert yard.trim(later_us=TRIM_INTERVAL_US - 1) == [0, 0]
    assert yard.trim(later_us=1) == [1, 1]


def test_a_process_trims_the_logs_that_it_keeps() -> None:
    yard = Yard(kept={1}, found=[(2, "a", 7), (3, "b", 9)])
    yard.logs[0].used = 100
    assert yard.trim() == [0, 1]
    assert (yard.logs[0].forgot, yard.deleted) == ([], [])
    yard.kept.clear()
    assert yard.trim(later_us=TRIM_INTERVAL_US) == [0, 0]
    assert len(yard.asked) == 1


def test_room_is_made_in_the_log_that_is_full_alone(yard: Yard) -> None:
    yard.trim()
    yard.logs[0].used, yard.logs[1].used = 60, 60  # more than one may have, together
    assert yard.trim(later_us=FULL_PAUSE_US) == [0, 0]
    yard.logs[1].used = 100
    assert yard.trim(later_us=FULL_PAUSE_US) == [0, 1]
    assert yard.asked[1:] == [yard.now]


def test_a_full_log_in_which_nothing_can_go_is_tried_less_and_less(yard: Yard) -> None:
    yard.logs[1].used = 100
    tries = [yard.now for _ in range(400) if yard.trim(later_us=FULL_PAUSE_US // 4)[1]]
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[:5] == [FULL_PAUSE_US * factor for factor in (1, 2, 4, 8, 16)]
    assert set(pauses[5:]) == {FULL_PAUSE_US_MAX}
    yard.logs[1].goes = 3
    assert yard.trim(later_us=FULL_PAUSE_US_MAX) == [0, 1]
    assert yard.trim(later_us=FULL_PAUSE_US) == [0, 1]
    yard.logs[1].used = 99
    assert yard.trim(later_us=FULL_PAUSE_US) == [0, 0]
    yard.logs[1].used = 100
    assert yard.trim(later_us=1) == [0, 1]
    yard.now -= TRIM_INTERVAL_US  # the clock was set back
    assert yard.trim() == [0, 1]


def test_pauses_grow_only_while_nothing_goes() -> None:
    first = plan_attempt(None, 0, 10)
    assert (first.pause_us, first.next_at) == (FULL_PAUSE_US, 10 + FULL_PAUSE_US)
    assert plan_attempt(first, 0, 10).pause_us == 2 * FULL_PAUSE_US
    assert plan_attempt(first, 1, 10).pause_us == FULL_PAUSE_US


def test_a_destination_keeps_what_it_is_still_to_get() -> None:
    found = [(1, "a", 9), (1, "b", 9), (2, "a", 9), (3, "a", 9)]
    loaded = {(1, "a"): 4, (3, "a"): 20}
    assert choose_points(found, loaded, frozenset({2})) == [
        TrimPoint(1, "a", 4),
        TrimPoint(1, "b", 9),
        TrimPoint(3, "a", 9),
    ]


def test_many_tables_are_trimmed_by_what_was_seen_last(yard: Yard) -> None:
    yard.found = [(2, f"t{n}", 9) for n in range(POINTS_MAX + 1)]
    last = f"t{POINTS_MAX}"
    trim = yard.logs[0].trim

    def note(points: Sequence[TrimPoint]) -> int:
        yard.trimmer.note_sight([backlog(2, last, 5)], frozenset())
        return trim(points)

    yard.logs[0].trim = note  # type: ignore[method-assign]  # a look while it trims
    assert yard.trim() == [2, 1]
    assert [len(points) for points in yard.logs[0].trims] == [POINTS_MAX, 1]
    assert yard.logs[0].trims[1] == [TrimPoint(2, last, 5)]


def test_nothing_is_trimmed_by_what_was_seen_long_ago(yard: Yard) -> None:
    yard.seconds += SIGHT_SECONDS_MAX + 0.1
    assert yard.trim() == [0, 0]
    yard.trimmer.note_sight([], frozenset())
    assert yard.trim() == [1, 1]


def test_many_names_are_forgotten_in_several_turns(yard: Yard) -> None:
    yard.logs[1].names = KEY_PORTIONS + 3
    for expected in (KEY_PORTIONS, KEY_PORTIONS + 3, KEY_PORTIONS + 3):
        yard.trim(later_us=1)
        assert len(yard.logs[1].forgot) == expected
    assert len(yard.logs[0].forgot) == 1


def test_a_log_that_is_away_keeps_no_other_from_being_trimmed(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    yard.logs[0].away = True
    yard.logs[1].used = 100
    for _ in range(2):
        assert yard.trim(later_us=FULL_PAUSE_US_MAX)[1] == 1
    assert [one.message for one in caplog.records] == ["log 0 is not trimmed now: even is away"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_trimmer, "QUOTA_CHECK_SECONDS", 0.001)


def wait_until(yard: Yard, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(yard.asked) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.usefixtures("quick")
def test_it_goes_on_after_whatever_failed(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([RetriableError("away"), RetriableError("away"), ValueError("a defect")])

    def fail(at: int) -> list[tuple[int, str, int]]:
        yard.asked.append(at)
        for error in answers:
            raise error
        return []

    yard.trimmer.store.loads.list_loaded_before = fail  # type: ignore[method-assign]  # a double
    threads: list[str] = []
    close = yard.logs[0].close

    def note() -> None:
        threads.append(threading.current_thread().name)
        close()

    yard.logs[0].close = note  # type: ignore[method-assign]
    yard.trimmer.start(lambda: yard.reader)
    wait_until(yard, 4)
    yard.trimmer.close(60)
    assert threads == ["trimmer"]
    assert [one.message for one in caplog.records] == [
        "logs are not trimmed now: away",
        "logs are not trimmed now: a defect",
    ]
    assert [one.exc_info is None for one in caplog.records] == [True, False]


@pytest.mark.usefixtures("quick")
def test_a_process_that_keeps_no_log_opens_none() -> None:
    yard = Yard(kept=set())
    opened: list[int] = []

    def open_reader() -> LogReader:
        opened.append(1)
        return yard.reader

    yard.trimmer.start(open_reader)
    time.sleep(0.02)
    assert opened == []
    yard.kept.add(1)
    wait_until(yard, 1)
    yard.trimmer.close(60)
    assert opened == [1]
