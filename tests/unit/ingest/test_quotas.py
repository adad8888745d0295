"""The gates of sources: what a worker counts itself, and what it learns of other processes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import Request
from starlette.responses import Response

from treadle.ingest import quotas as ingest_quotas
from treadle.ingest.quotas import ALONE_SECONDS, SourceQuotas
from treadle.ingest.store_watch import StoreWatch
from treadle.quotas import (
    LOG_PART,
    USAGE_COLUMNS,
    WAITING_COLUMNS,
    AccountQuota,
    QuotaOverrides,
    QuotaReachedError,
    QuotaTable,
    SourceQuota,
)
from treadle.shared_rows import SharedRows, sum_rows
from treadle.store.model import TokenOwner
from treadle.store.store import Store

LOOK_SECONDS = ingest_quotas.LOOK_SECONDS * 1.01


@dataclass
class MemoryQuotaStore:
    """The part of a store that quotas need."""

    overrides: QuotaOverrides = QuotaOverrides()  # noqa: RUF009 - frozen
    revision: int = 1

    @property
    def quotas(self) -> "MemoryQuotaStore":
        return self

    def list_overrides(self) -> QuotaOverrides:
        return self.overrides

    def get_revision(self) -> int:
        return self.revision


@dataclass
class SteppedTime:
    now: float = 100.0

    def read(self) -> float:
        return self.now


def owner(source_id: int = 1, account_id: int = 1) -> TokenOwner:
    return TokenOwner(source_id, source_id, account_id, active=True, unused=False)


@dataclass
class Worker:
    """A worker's quotas and the time."""

    quotas: SourceQuotas
    time: SteppedTime

    def pass_time(self, seconds: float) -> None:
        self.time.now += seconds
        self.quotas.settle()

    def send(self, count: int, records: int = 1, **whose: int) -> None:
        sender = owner(**whose)
        for _ in range(count):
            self.quotas.admit(sender)
            self.quotas.charge(sender, [(100 * records, records)])


@contextmanager
def worker(
    table: QuotaTable, folder: Path | None = None, name: str = "worker 1"
) -> Iterator[Worker]:
    time = SteppedTime()
    store = cast(Store, MemoryQuotaStore(table.overrides))
    quotas = SourceQuotas(store, table, folder=folder, worker=name, monotonic=time.read)
    yield Worker(quotas, time)
    asyncio.run(quotas.aclose())


def refusal(its: Worker, **whose: int) -> QuotaReachedError:
    with pytest.raises(QuotaReachedError) as caught:
        its.quotas.admit(owner(**whose))
    return caught.value


def test_a_source_beyond_its_rate_is_refused_and_others_are_not() -> None:
    with worker(QuotaTable(SourceQuota(requests=10))) as its:
        its.send(99)
        its.pass_time(0.1)
        its.send(20)  # a bucket that lends lends all that comes until it is settled
        its.pass_time(0.1)
        error = refusal(its)
        assert (error.quota, error.retry_seconds) == ("requests", 2)
        its.send(5, source_id=2)
        its.pass_time(1.9)
        its.send(1)


@pytest.mark.parametrize(("quota", "records"), [("records", 200), ("bytes", 10)])
def test_what_is_accepted_counts_and_not_only_requests(quota: str, records: int) -> None:
    with worker(QuotaTable(SourceQuota(**{quota: 10}))) as its:
        its.send(1, records)
        its.pass_time(0)
        assert refusal(its).quota == quota


def test_a_refused_request_costs_nothing_so_that_trying_again_helps() -> None:
    with worker(QuotaTable(SourceQuota(requests=10))) as its:
        its.send(200)
        its.pass_time(0)
        for _ in range(1000):
            refusal(its)
        its.pass_time(10.1)
        its.send(1)


def test_an_account_pays_for_all_its_sources() -> None:
    with worker(QuotaTable(account=AccountQuota(records=10))) as its:
        its.send(1, 80, source_id=1)
        its.send(1, 80, source_id=2)
        its.send(1, 80, source_id=3, account_id=2)
        its.pass_time(0)
        assert refusal(its, source_id=1).quota == "records"
        assert refusal(its, source_id=2).quota == "records"
        its.send(1, 1, source_id=3, account_id=2)


def test_a_source_without_a_quota_is_never_refused() -> None:
    with worker(QuotaTable()) as its:
        for _ in range(20):
            its.send(1000, 20_000)
            its.pass_time(0)


def test_rates_are_kept_over_all_workers(tmp_path: Path) -> None:
    table = QuotaTable(SourceQuota(requests=10))
    with worker(table, tmp_path) as one, worker(table, tmp_path, "worker 2") as two:
        for its in (one, two):
            its.send(1)
            its.pass_time(LOOK_SECONDS)
        one.send(60)
        two.send(60)
        for _ in range(2):
            for its in (one, two):
                its.pass_time(LOOK_SECONDS)
        assert refusal(one).quota == refusal(two).quota == "requests"
        counted = sum_rows(tmp_path, USAGE_COLUMNS)[1]
        assert counted[0] == 122


def test_what_was_counted_before_the_start_is_not_charged_again(tmp_path: Path) -> None:
    table = QuotaTable(SourceQuota(requests=10))
    with worker(table, tmp_path, "worker 2") as before:
        before.send(1000)
        before.pass_time(0)
    with worker(table, tmp_path) as its:
        its.quotas._read_others()
        its.pass_time(LOOK_SECONDS)
        its.send(1)


@pytest.mark.parametrize(
    ("numbers", "quota"), [((1000, 1, 0), "waiting_bytes"), ((10, 1, 1), LOG_PART)]
)
def test_a_source_is_refused_for_what_waits_but_may_validate(
    tmp_path: Path, numbers: tuple[int, int, int], quota: str
) -> None:
    board = SharedRows(tmp_path, "loader", WAITING_COLUMNS)
    with worker(QuotaTable(SourceQuota(waiting_bytes=1000)), tmp_path) as its:
        its.send(1)
        board.replace({1: numbers})
        its.pass_time(LOOK_SECONDS)
        assert refusal(its).quota == quota
        assert not its.quotas.gates[1].is_open
        its.quotas.admit(owner(), keeps=False)
        its.send(1, source_id=2)
        board.replace({})
        its.pass_time(LOOK_SECONDS)
        its.send(1)
        assert its.quotas.gates[1].is_open
    board.close()


def test_refusals_are_counted(tmp_path: Path) -> None:
    with worker(QuotaTable(SourceQuota(requests=10)), tmp_path) as its:
        its.send(200)
        its.pass_time(0)
        for _ in range(50):
            refusal(its)
        its.pass_time(1)
        refusal(its)
        its.pass_time(0)
        counted = dict(zip(USAGE_COLUMNS, sum_rows(tmp_path, USAGE_COLUMNS)[1], strict=True))
        assert counted["refused requests"] == 51


def test_one_error_that_is_raised_often_holds_no_more_and_more_frames() -> None:
    with worker(QuotaTable(SourceQuota(requests=1))) as its:
        its.send(100)
        its.pass_time(0)
        depths = []
        for _ in range(3):
            trace, depth = refusal(its).__traceback__, 0
            while trace is not None:
                trace, depth = trace.tb_next, depth + 1
            depths.append(depth)
        assert len(set(depths)) == 1


def test_bodies_in_hand_are_bounded_and_given_back() -> None:
    async def run(its: SourceQuotas) -> list[str]:
        release = asyncio.Event()
        answers: list[str] = []

        async def handle(request: Request) -> Response:
            its.admit(owner(1))
            await release.wait()
            return Response()

        handler = its.hold_bodies(handle)

        async def request() -> None:
            try:
                await handler(Request({"type": "http"}))
            except QuotaReachedError as error:
                answers.append(error.quota)
            else:
                answers.append("taken")

        tasks = [asyncio.create_task(request()) for _ in range(5)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*tasks)
        await request()
        return answers

    with worker(QuotaTable(SourceQuota(bodies=3))) as its:
        answers = asyncio.run(run(its.quotas))
    assert sorted(answers) == ["bodies"] * 2 + ["taken"] * 4
    assert its.quotas.gates[1].bodies == 0


def test_what_the_operator_sets_holds_without_a_restart() -> None:
    async def run() -> None:
        store = MemoryQuotaStore()
        quotas = SourceQuotas(cast(Store, store), QuotaTable(SourceQuota(tables=5)))
        watch = StoreWatch(store.get_revision, 0.01)
        watch.add(quotas)
        await quotas.start()
        watch.start()
        assert quotas.get_tables_max(1) == 5
        store.overrides, store.revision = QuotaOverrides({1: {"tables": 9}}), 2
        while quotas.get_tables_max(1) == 5:  # noqa: ASYNC110 - a task of its own asks
            await asyncio.sleep(0.05)
        assert (quotas.get_tables_max(1), quotas.get_tables_max(2)) == (9, 5)
        await watch.aclose()
        await quotas.aclose()

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("use", ["request", "long body", "refusal"])
def test_it_rests_while_nobody_sends_and_settles_in_time_when_somebody_does(
    monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    monkeypatch.setattr(ingest_quotas, "REST_SECONDS", 3600.0)
    time = SteppedTime()

    async def run() -> None:
        store = cast(Store, MemoryQuotaStore())
        quotas = SourceQuotas(store, QuotaTable(SourceQuota(requests=10)), monotonic=time.read)
        await quotas.start()
        quotas.admit(owner())
        quotas.settle()
        assert not quotas.is_resting
        time.now += 3600.0
        while not quotas.is_resting:  # noqa: ASYNC110 - a task of its own rests
            await asyncio.sleep(0.01)
        match use:
            case "request":
                for _ in range(200):
                    quotas.admit(owner())
            case "long body":
                quotas.charge(owner(), [(10, 1)])
            case "refusal":
                quotas.count_refusal(QuotaReachedError(1, "tables", 5, 30))
        assert not quotas.is_resting
        gate = quotas.gates[1]
        while gate.requests or gate.bytes or gate.refused:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
        assert gate.is_open == (use != "request")
        await quotas.aclose()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_it_does_not_rest_before_a_closed_gate_is_open_again() -> None:
    with worker(QuotaTable(SourceQuota(requests=10))) as its:
        its.send(200)
        its.pass_time(0)
        its.pass_time(5)
        assert not its.quotas._may_rest()
        its.pass_time(6)
        assert its.quotas.gates[1].is_open
        its.time.now += 1
        assert its.quotas._may_rest()


def test_what_other_workers_accept_while_one_rests_is_charged_as_it_was_used(
    tmp_path: Path,
) -> None:
    table = QuotaTable(SourceQuota(requests=10))
    with worker(table, tmp_path) as one, worker(table, tmp_path, "worker 2") as two:
        for its in (one, two):
            its.send(1)
            its.pass_time(LOOK_SECONDS)
        for _ in range(60):  # as much as it may, over a minute
            two.send(10)
            two.pass_time(1)
            one.pass_time(ingest_quotas.REST_SECONDS)
        one.send(1)
        assert one.quotas.gates[1].is_open


def test_a_source_is_alone_while_no_other_sends() -> None:
    with worker(QuotaTable()) as its:
        assert its.quotas.is_alone(1)
        its.send(1)
        its.pass_time(0.1)
        assert its.quotas.is_alone(1)
        assert not its.quotas.is_alone(2)
        its.send(1, source_id=2)
        its.pass_time(0.1)
        its.send(1)
        its.pass_time(0.1)
        assert not its.quotas.is_alone(1)
        assert not its.quotas.is_alone(2)
        its.time.now += ALONE_SECONDS
        assert its.quotas.is_alone(1)
        its.pass_time(0.1)
        its.send(1, source_id=3)
        its.pass_time(0.1)
        assert its.quotas.is_alone(3)
