"""The suite of `treadle.log.protocol`: what every kind of log promises."""

import asyncio
import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from tests.integration.log.kinds import LogKind, PostgresKind, SqliteKind

from treadle.clock import read_monotonic
from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.log.protocol import (
    AppendResult,
    BacklogSight,
    DamagedEntry,
    IdempotencyKey,
    LogEntry,
    LogReader,
    NewEntry,
    TrimPoint,
)
from treadle.quotas import QuotaReachedError

AT = 1_700_000_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> LogKind:
    if request.param == "sqlite":
        return SqliteKind(tmp_path / "log.db")
    return PostgresKind(request.getfixturevalue("postgres_database"))


@pytest.fixture
def reader(kind: LogKind) -> Iterator[LogReader]:
    with closing(kind.open_reader()) as reader:
        yield reader


def entry(
    payload: bytes = b"[1]", table: str = "orders", source: int = 1, records: int = 1, at: int = AT
) -> NewEntry:
    return NewEntry(source, table, at, records, payload)


def once(name: str, digest: str = "d") -> IdempotencyKey:
    return IdempotencyKey(name.encode().ljust(32), digest.encode().ljust(32))


def append(kind: LogKind, *calls: Sequence[NewEntry]) -> list[int]:
    """Append by one appender, one call after the other."""

    async def run() -> list[int]:
        appender = kind.open_appender()
        try:
            return [await appender.append(call) for call in calls]
        finally:
            await appender.aclose()

    return asyncio.run(run())


def everything(reader: LogReader) -> list[LogEntry]:
    found = reader.find_entries(1, 1_000_000)
    sound = [one for one in found if isinstance(one, LogEntry)]
    assert len(sound) == len(found)
    return sound


def positions(reader: LogReader, table: str, after: int, records: int, size: int) -> list[int]:
    return [one.position for one in reader.read(1, table, after, records, size)]


# Appending


def test_entries_come_back_as_they_were_appended(kind: LogKind, reader: LogReader) -> None:
    given = [
        entry(b""),
        entry(b"x"),
        entry(os.urandom(300_000), records=1000),
        entry(b"[]", table="a\0b"),
        entry(b"[]", table="ü🧵" * 5000),
        entry(b"[]", source=2**40, records=0),
    ]
    assert append(kind, given) == [1]
    found = everything(reader)
    times = [one.received_at for one in found]
    if kind.keeps_times:
        assert times == [AT] * len(given)
    else:
        assert max(times) == AT
        assert times == sorted(set(times))
    for position, (one, back) in enumerate(zip(given, found, strict=True), start=1):
        assert back == LogEntry(
            position, one.source_id, one.table_name, back.received_at, one.records, one.payload
        )
        assert reader.read(one.source_id, one.table_name, position - 1, 10**6, 10**9)[0] == back


@pytest.mark.parametrize("parts", [1, 3])
def test_payloads_of_every_size_come_back(kind: LogKind, reader: LogReader, parts: int) -> None:
    payloads: list[bytes] = []
    for size in (0, 1, 512, 513, 100_000, 262_143, 262_144, 262_145, 1_000_000):
        given = os.urandom(size // 2) + b"x" * (size - size // 2)
        cuts = [size * part // parts for part in range(parts + 1)]
        payloads += [given[start:end] for start, end in pairwise(cuts)]
    append(kind, *([entry(payload)] for payload in payloads))
    append(kind, [entry(payload) for payload in payloads])
    assert [one.payload for one in everything(reader)] == payloads * 2


def test_event_loops_of_several_threads_use_one_log(kind: LogKind, reader: LogReader) -> None:
    appender = kind.open_appender()
    barrier = threading.Barrier(4)
    firsts: dict[int, bytes] = {}

    def work(thread: int) -> None:
        async def run() -> None:
            for turn in range(20):
                payload = bytes([thread, turn]) * 20_000 + os.urandom(5_000)
                firsts[await appender.append([entry(payload)])] = payload

        barrier.wait()
        asyncio.run(run())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(appender.aclose())
    assert {one.position: one.payload for one in everything(reader)} == firsts
    assert len(firsts) == 80


def test_positions_grow_over_restarts(kind: LogKind) -> None:
    assert append(kind, [entry()]) == [1]
    assert append(kind, [entry()] * 3) == [2]
    assert append(kind, [entry()] * 200) == [5]
    assert append(kind, [entry()], [entry()]) == [205, 206]


def test_a_log_keeps_its_name_and_another_has_another(kind: LogKind) -> None:
    names = []
    for reader in (kind.open_reader(), kind.open_reader(), kind.open_another()):
        names.append(reader.log_id)
        reader.close()
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 36
    appender = kind.open_appender()
    assert appender.log_id == names[0]
    asyncio.run(appender.aclose())


def test_requests_of_two_appenders_at_once_get_their_own_positions(
    kind: LogKind, reader: LogReader
) -> None:
    async def run() -> list[tuple[int, int]]:
        appenders = [kind.open_appender() for _ in range(2)]

        async def one(number: int) -> tuple[int, int]:
            given = [entry(b"%d" % number, table=f"t{n % 7}") for n in range(number % 5 + 1)]
            return await appenders[number % 2].append(given), number

        found = await asyncio.gather(*[one(number) for number in range(400)])
        for appender in appenders:
            await appender.aclose()
        return found

    found = asyncio.run(run())
    entries = {one.position: one for one in everything(reader)}
    assert sorted(entries) == list(range(1, 1 + sum(number % 5 + 1 for _, number in found)))
    for first, number in found:
        for n in range(number % 5 + 1):
            assert entries[first + n].payload == b"%d" % number
            assert entries[first + n].table_name == f"t{n % 7}"


def test_a_later_request_gets_a_greater_position(kind: LogKind) -> None:
    async def run() -> list[int]:
        appenders = [kind.open_appender() for _ in range(2)]
        noise = asyncio.gather(*[appenders[0].append([entry()]) for _ in range(50)])
        found = [await appenders[number % 2].append([entry()]) for number in range(30)]
        await noise
        for appender in appenders:
            await appender.aclose()
        return found

    found = asyncio.run(run())
    assert found == sorted(set(found))


def test_an_append_tells_who_waits_without_a_task(kind: LogKind) -> None:
    async def run() -> AppendResult:
        appender = kind.open_appender()
        waiter: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        appender.begin_append([entry(), entry()], waiter)
        found = await waiter
        await appender.aclose()
        return found

    assert asyncio.run(run()) == AppendResult(1, b"", duplicate=False)


def test_closing_finishes_what_was_begun(kind: LogKind, reader: LogReader) -> None:
    large = [entry(os.urandom(100)) for _ in range(5_000)]

    async def run() -> list[int]:
        appender = kind.open_appender()
        calls = [[entry()]] * 100 + [large] * 2
        begun = [asyncio.ensure_future(appender.append(call)) for call in calls]
        await asyncio.sleep(0)
        await appender.aclose()
        await appender.aclose()
        with pytest.raises(RetriableError, match="closed"):
            await appender.append([entry()])
        return await asyncio.gather(*begun)

    assert len(set(asyncio.run(run()))) == 102
    assert len(everything(reader)) == 10_100


@pytest.mark.parametrize("given", [[], [entry(table="\ud800")]])
def test_what_no_caller_may_append(kind: LogKind, given: list[NewEntry]) -> None:
    with pytest.raises(InternalError):
        append(kind, given)


def test_a_source_has_no_more_tables_than_it_may(kind: LogKind, reader: LogReader) -> None:
    async def run() -> list[int | BaseException]:
        appenders = [kind.open_appender(lambda source_id: 3) for _ in range(2)]
        calls = [
            [entry(table="a"), entry(table="b")],
            [entry(table="c"), entry(table="d")],  # one too many: nothing of it
            [entry(table="c"), entry(table="a")],
            [entry(table="d")],
            [entry(table="d", source=2)],
        ]
        found: list[int | BaseException] = []
        for number, call in enumerate(calls):
            found += await asyncio.gather(
                appenders[number % 2].append(call), return_exceptions=True
            )
        for appender in appenders:
            await appender.aclose()
        return found

    first, second, third, fourth, fifth = asyncio.run(run())
    assert isinstance(second, QuotaReachedError)
    assert isinstance(fourth, QuotaReachedError)
    assert [first, third, fifth] == [1, 3, 5]
    assert [one.table_name for one in everything(reader)] == ["a", "b", "c", "a", "d"]


# Requests that are stored once


def append_once(
    kind: LogKind, requests: Sequence[tuple[Sequence[NewEntry], IdempotencyKey]]
) -> list[AppendResult]:
    async def run() -> list[AppendResult]:
        appender = kind.open_appender()
        try:
            return await asyncio.gather(*[appender.append_once(*request) for request in requests])
        finally:
            await appender.aclose()

    return asyncio.run(run())


def test_what_came_before_is_told_and_not_stored(kind: LogKind, reader: LogReader) -> None:
    given = [entry(b"a"), entry(b"b")]
    found = append_once(
        kind, [(given, once("one")), (given, once("one")), ([entry(b"c")], once("one", "other"))]
    )
    digest = once("one").digest
    assert found == [
        AppendResult(1, digest, False),
        AppendResult(1, digest, True),
        AppendResult(1, digest, True),
    ]
    assert append_once(kind, [([entry(b"c")], once("two"))]) == [AppendResult(3, digest, False)]
    assert append_once(kind, [([entry(b"d")], once("one", "other"))]) == [
        AppendResult(1, digest, True)
    ]
    assert [one.payload for one in everything(reader)] == [b"a", b"b", b"c"]
    names = [once(name).name for name in ("one", "two", "three")]
    assert reader.statistics.find_keys(names) == {names[0]: 1, names[1]: 3}
    assert reader.statistics.find_keys([]) == {}


def test_names_among_others_and_by_two_appenders(kind: LogKind, reader: LogReader) -> None:
    async def run() -> tuple[list[AppendResult], list[int]]:
        appenders = [kind.open_appender() for _ in range(2)]
        keyed = [
            appenders[n // 10 % 2].append_once(
                [entry(b"%d %d" % (n % 10, part)) for part in (0, 1)], once(f"key {n % 10}")
            )
            for n in range(50)
        ]
        plain = [appenders[n % 2].append([entry(b"plain")]) for n in range(50)]
        results, places = await asyncio.gather(asyncio.gather(*keyed), asyncio.gather(*plain))
        for appender in appenders:
            await appender.aclose()
        return results, places

    keyed, plain = asyncio.run(run())
    there = {one.position: one.payload for one in everything(reader)}
    assert sorted(there) == list(range(1, 10 * 2 + 50 + 1))
    for number in range(10):
        same = keyed[number::10]
        assert {one.first for one in same} == {same[0].first}
        assert sorted(one.duplicate for one in same) == [False] + [True] * 4
        assert [there[same[0].first + part] for part in (0, 1)] == [
            b"%d 0" % number,
            b"%d 1" % number,
        ]
    assert {there[position] for position in plain} == {b"plain"}


def test_names_are_forgotten_by_their_age(kind: LogKind, reader: LogReader) -> None:
    append_once(kind, [([entry(at=AT + n)], once(f"key {n}")) for n in range(1_200)])
    names = [once(f"key {n}").name for n in range(1_200)]
    assert sorted(reader.statistics.find_keys(names).values()) == list(range(1, 1_201))
    assert reader.statistics.forget_keys(AT) == 0
    assert reader.statistics.forget_keys(AT + 1_199) == 1_199
    assert list(reader.statistics.find_keys(names)) == [names[-1]]
    assert append_once(kind, [([entry(b"anew")], once("key 0"))]) == [
        AppendResult(1_201, once("").digest, duplicate=False)
    ]


# Reading


def test_reading_stops_before_a_bound_is_passed(kind: LogKind, reader: LogReader) -> None:
    append(kind, *([entry(b"x" * 100, records=10)] for _ in range(6)))
    assert positions(reader, "orders", 0, 10**6, 10**6) == [1, 2, 3, 4, 5, 6]
    kind.roll()
    append(kind, [entry(b"x" * 100, records=10)])
    assert positions(reader, "orders", 4, 10**6, 10**6) == [5, 6, 7]
    assert positions(reader, "orders", 7, 10**6, 10**6) == []
    assert positions(reader, "orders", 0, 30, 10**6) == [1, 2, 3]
    assert positions(reader, "orders", 0, 39, 10**6) == [1, 2, 3]
    assert positions(reader, "orders", 0, 10**6, 200) == [1, 2]
    assert positions(reader, "orders", 1, 0, 0) == [2]
    assert positions(reader, "items", 0, 10**6, 10**6) == []


def test_tables_do_not_mix(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry(table=table) for table in ("a", "b", "a", "A", "a ", "b")])
    assert positions(reader, "a", 0, 100, 100) == [1, 3]
    assert positions(reader, "b", 0, 100, 100) == [2, 6]
    assert positions(reader, "A", 0, 100, 100) == [4]
    assert reader.read(2, "a", 0, 100, 100) == []
    assert [e.position for e in reader.find_entries(3, 3)] == [3, 4, 5]
    assert reader.find_entries(7, 5) == []


def test_marks_are_kept_and_seen_by_other_readers(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry(), entry(table="items")])
    other = kind.open_reader()
    assert len(other.list_backlogs()) == 2
    reader.mark_loaded(1, "orders", 1)
    reader.list_backlogs()
    assert [b.table_name for b in other.list_backlogs()] == ["items"]
    other.mark_loaded(1, "items", 2)
    other.close()
    assert reader.list_backlogs() == []
    with closing(kind.open_reader()) as again:
        assert again.list_backlogs() == []
        again.mark_loaded(1, "items", 0)
    assert [(b.table_name, b.loaded) for b in reader.list_backlogs()] == [("items", 0)]


def test_a_reader_says_since_when_it_has_seen_what_waits(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry()])
    [found] = reader.list_backlogs()
    assert [one.last for one in found.sights] == [1]
    assert found.sights[0].seen == 0, "what is there at first counts as old"
    append(kind, [entry()] * 2)
    [found] = reader.list_backlogs()
    assert [one.last for one in found.sights] == [1, 3]
    assert found.sights[1].seen > 0
    reader.mark_loaded(1, "orders", 2)
    [found] = reader.list_backlogs()
    assert [one.last for one in found.sights] == [3]
    assert found.sights[0].seen > 0
    reader.mark_loaded(1, "orders", 0)
    [found] = reader.list_backlogs()
    assert found.sights[0] == (3, 0)


def test_a_mark_beyond_the_end_is_refused(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry()] * 3)
    reader.mark_loaded(1, "orders", 3)
    with pytest.raises(OperatorError, match="this log ends at 3"):
        reader.mark_loaded(1, "orders", 4)
    assert reader.list_backlogs() == []


def test_an_anchor_tells_an_entry_from_others(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry(b"a"), entry(b"b")])
    anchors = [reader.get_anchor(position) for position in (1, 2)]
    assert None not in anchors
    assert anchors[0] != anchors[1]
    with closing(kind.open_reader()) as other:
        assert [other.get_anchor(position) for position in (1, 2)] == anchors
    assert reader.get_anchor(3) is None


def test_a_damaged_entry_is_found_in_its_place(kind: LogKind, reader: LogReader) -> None:
    append(kind, [entry(os.urandom(2_000), records=n) for n in range(1, 6)])
    kind.damage(3)
    for found in (reader.read(1, "orders", 0, 10**6, 10**9), reader.find_entries(1, 10)):
        assert [type(one) for one in found] == [
            *(LogEntry, LogEntry),
            DamagedEntry,
            *(LogEntry, LogEntry),
        ]
        assert [one.position for one in found] == [1, 2, 3, 4, 5]
        assert isinstance(found[2], DamagedEntry)
        assert "checksum" in found[2].why
    assert [backlog.entries for backlog in reader.list_backlogs()] == [5]


def test_statistics_of_a_log(kind: LogKind, reader: LogReader) -> None:
    hour = 3_600_000_000
    append(kind, *([entry(at=AT + n * hour, records=n, table=f"t{n % 2}")] for n in range(1, 5)))
    kind.roll()
    append(kind, [entry(b"12345", at=AT + 5 * hour, records=5, table="t1")])
    its = reader.statistics
    assert sorted(its.list_tables()) == [(1, "t0"), (1, "t1")]
    assert its.count_records_above(1, "t1", 1) == 8
    assert its.count_records_above(1, "none", 0) == 0
    hours = its.count_by_hour(1, "t1", 1)
    assert [(one.records, one.waiting) for one in hours] == [(1, 0), (3, 3), (5, 5)]
    assert [one.hour - AT // hour for one in hours] == [1, 3, 5]
    assert its.count_by_hour(1, "none", 0) == []
    assert its.get_received_times([5, 9, 1]) == {1: AT + hour, 5: AT + 5 * hour}
    assert its.get_received_times([]) == {}
    assert [(n.position, n.table_name, n.size) for n in its.list_entries_below(None, 2)] == [
        (5, "t1", 5),
        (4, "t0", 3),
    ]
    assert [one.position for one in its.list_entries_below(5, 9, (1, "t1"))] == [3, 1]
    assert its.list_entries_below(None, 9, (1, "none")) == []
    assert its.measure_space().used_bytes > 0


def test_looks_miss_nothing_that_is_appended_meanwhile(kind: LogKind, reader: LogReader) -> None:
    """What a look has not counted no later look would count."""
    stopping = threading.Event()
    counts: list[int] = []

    async def push(number: int) -> None:
        appender = kind.open_appender()

        async def one() -> None:
            while not stopping.is_set():
                await appender.append([entry(table=f"t{n}") for n in range(number + 1)])
                counts.append(number + 1)

        await asyncio.gather(*[one() for _ in range(4)])
        await appender.aclose()

    threads = [threading.Thread(target=lambda n=n: asyncio.run(push(n))) for n in range(3)]
    for thread in threads:
        thread.start()
    seen = [0]
    while len(set(seen)) < 15:
        seen.append(sum(one.entries for one in reader.list_backlogs()))
        if len(seen) == 6:
            kind.roll()
    stopping.set()
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert sum(one.entries for one in reader.list_backlogs()) == sum(counts)


# The backlog, against a list


class Model:
    """The log as a list, driven with a reader of the real one and compared with it."""

    tables = ("a", "b", "c")

    def __init__(self, kind: LogKind, dice: random.Random) -> None:
        self.kind = kind
        self.dice = dice
        self.kept: dict[int, LogEntry] = {}
        self.loaded = dict.fromkeys(self.tables, 0)
        self.end = 0
        self.reader = kind.open_reader()
        self.appender = kind.open_appender()

    async def append(self, count: int) -> None:
        given = [
            entry(
                b"x" * self.dice.randrange(50),
                self.dice.choice(self.tables),
                records=self.dice.randrange(9),
                at=self.dice.randrange(99),
            )
            for _ in range(count)
        ]
        assert await self.appender.append(given) == self.end + 1
        for one in self.reader.find_entries(self.end + 1, count):
            assert isinstance(one, LogEntry)
            self.kept[one.position] = one
        self.end += count
        assert len(self.kept) <= self.end

    def mark(self, reader: LogReader) -> None:
        table, position = self.dice.choice(self.tables), round(self.end * self.dice.random())
        reader.mark_loaded(1, table, position)
        self.loaded[table] = position

    def mark_elsewhere(self) -> None:
        self.reader.list_backlogs()  # its own marks are written first
        with closing(self.kind.open_reader()) as other:
            self.mark(other)

    def trim(self) -> None:
        points = [
            TrimPoint(1, table, round(loaded * self.dice.random()))
            for table, loaded in self.loaded.items()
        ]
        limits = {point.table_name: point.position for point in points}
        gone = self.reader.trim(points)
        left = {one.position for one in self.reader.find_entries(1, self.end)}
        removed = self.kept.keys() - left
        assert left <= self.kept.keys()
        assert len(removed) == gone
        may = {p for p, e in self.kept.items() if p <= limits[e.table_name]}
        assert removed == may if self.kind.trims_at_once else removed <= self.ever_allowed(may)
        for one in removed:
            del self.kept[one]

    def ever_allowed(self, may: set[int]) -> set[int]:
        """Positions that were allowed to go by this call or one before."""
        self.allowed = getattr(self, "allowed", set()) | may
        return self.allowed

    def restart(self) -> None:
        self.reader.close()
        self.reader = self.kind.open_reader()

    def check(self) -> None:
        expected = {}
        for table in self.tables:
            rows = [
                one
                for position, one in sorted(self.kept.items())
                if one.table_name == table and position > self.loaded[table]
            ]
            if rows:
                expected[table] = (
                    rows[-1].position,
                    len(rows),
                    sum(one.records for one in rows),
                    sum(len(one.payload) for one in rows),
                    min(one.received_at for one in rows),
                )
            assert self.reader.read(1, table, self.loaded[table], 10**9, 10**9) == rows
        assert expected == {
            b.table_name: (b.last, b.entries, b.records, b.size, b.oldest)
            for b in self.reader.list_backlogs()
        }


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.release) for seed in range(2, 12))]
)
def test_the_backlog_is_what_a_plain_list_says(kind: LogKind, seed: int) -> None:
    async def run() -> None:
        dice = random.Random(seed)
        model = Model(kind, dice)
        for _ in range(40):
            step = dice.randrange(10)
            if step < 4:
                await model.append(dice.choice((1, 3, 12, 12, 1500 if seed == 0 else 30)))
            elif step == 4:
                model.mark(model.reader)
            elif step == 5:
                model.mark_elsewhere()
            elif step == 6:
                model.trim()
            elif step == 7:
                kind.roll()
            elif step == 8:
                model.restart()
            model.check()
        await model.appender.aclose()
        model.reader.close()

    asyncio.run(run())


def test_a_reader_says_when_it_first_saw_what_waits(kind: LogKind, reader: LogReader) -> None:
    def look(by: LogReader) -> tuple[BacklogSight, ...]:
        [backlog] = by.list_backlogs()
        return backlog.sights

    assert reader.list_backlogs() == []
    began = read_monotonic()
    append(kind, [entry(), entry()])
    [first] = look(reader)
    assert first.last == 2
    assert began <= first.seen <= read_monotonic()
    append(kind, [entry()])
    assert look(reader)[0] == first
    second = look(reader)[1]
    assert second.last == 3
    assert second.seen >= first.seen
    reader.mark_loaded(1, "orders", 1)
    assert look(reader) == (first, second)
    reader.mark_loaded(1, "orders", 2)
    assert look(reader) == (second,)
    reader.mark_loaded(1, "orders", 0)
    assert look(reader) == (BacklogSight(3, 0),)  # nobody knows any more
    with closing(kind.open_reader()) as later:
        assert look(later) == (BacklogSight(3, 0),)  # nor who begins
