"""The sampler: what a step has, and that nothing stops it."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.loads import load as make_load

from treadle.errors import RetriableError
from treadle.loader.series_sampler import SeriesSampler, choose_look_pause
from treadle.loader.waiting_board import SourceBacklog, sum_backlogs
from treadle.log.protocol import TableBacklog
from treadle.log.quota import LogSpace
from treadle.store.model import SourceTotals
from treadle.traces.freshness import WaitedLoad
from treadle.traces.series_file import SeriesWriter, read_series
from treadle.traces.series_layout import LENGTHS, SERVER_FIGURES, SOURCE_FIGURES, STATUS_CLASSES

START = 1_767_268_800


class Sampled:
    """A sampler over values that the test changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "series"
        self.now = START
        self.totals: dict[int, SourceTotals] = {}
        self.requests: dict[str, int] = {}
        self.is_store_down = False
        self.sampler = SeriesSampler(
            read_totals=self._read_totals,
            read_requests=lambda: self.requests,
            open_writer=lambda: SeriesWriter(self.path),
            clock=lambda: self.now * 1_000_000,
        )

    def _read_totals(self) -> Mapping[int, SourceTotals]:
        if self.is_store_down:
            raise RetriableError("the store is locked")
        return dict(self.totals)

    def step(
        self,
        source_id: int = 7,
        *,
        received: int = 0,
        loaded: int = 0,
        rejected: int = 0,
        waiting: int = 0,
        oldest: int = 0,
    ) -> None:
        """Let ten seconds pass with these totals at their end."""
        self.totals[source_id] = SourceTotals(
            source_id, 1, received, loaded, 0, rejected, 0, 1, 0, 0, 0
        )
        self.sampler.note_waiting(
            {source_id: SourceBacklog(1, waiting, 1, oldest)} if waiting else {}, LogSpace(500, 900)
        )
        self.now += 10
        self.sampler.look()

    def read(self) -> list[dict[str, float | None]]:
        steps = read_series(self.path, LENGTHS[0], 0, self.now)
        return [
            {"at": step.at, **dict(zip(SERVER_FIGURES, step.server, strict=True))} for step in steps
        ]


def test_a_step_has_what_counts_grew_by(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    sampled.step(received=100, loaded=90, rejected=10)  # what was before is in no step
    sampled.requests = {"push 201": 3, "push 401": 2, "append_failures": 9, "other other": 4}
    oldest = (START + 15) * 1_000_000
    sampled.step(received=130, loaded=119, rejected=11, waiting=5, oldest=oldest)
    sampled.step(received=135, loaded=124, rejected=11)
    first, second = sampled.read()
    assert (first["at"], first["accepted"], first["loaded"]) == (START + 10, 35, 29)
    assert (first["rejected"], first["waiting"], first["oldest_seconds"]) == (1, 5, 5)
    assert (first["log_bytes"], first["disk_free_bytes"]) == (500, 900)
    assert (second["accepted"], second["loaded"], second["waiting"]) == (0, 5, 0)
    # The counters began with the second look.
    assert (first["requests_2xx"], first["requests_4xx"]) == (3, 2)
    assert (second["requests_2xx"], first["requests_5xx"]) == (0, 0)


def test_what_waits_for_other_loaders_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    waits = SourceBacklog(1, 0, 1, (START + 10) * 1_000_000)
    of_all = {7: waits._replace(records=8), 8: waits._replace(records=4)}
    sampled.sampler.read_waiting = lambda: of_all
    sampled.step(waiting=3, oldest=1)  # of this process alone
    of_all[7] = of_all[7]._replace(records=10)
    sampled.step(waiting=3, oldest=1)
    [step] = sampled.read()
    assert (step["waiting"], step["accepted"], step["oldest_seconds"]) == (14, 2, 10)


def test_answers_of_other_machines_count_from_when_they_were_first_seen(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    sampled.requests = {"push 201": 1}
    others = {"gate-1/worker 1": (1_000, 0, 10, 0)}
    sampled.sampler.read_others = lambda: others
    sampled.step()
    sampled.requests = {"push 201": 3}
    others["gate-1/worker 1"] = (1_005, 0, 11, 0)
    others["gate-2/worker 1"] = (70, 0, 0, 0)  # it was there before, and is seen now
    sampled.step()
    del others["gate-1/worker 1"]
    others["gate-2/worker 1"] = (71, 0, 0, 2)
    sampled.step()
    others["gate-1/worker 1"] = (1_009, 0, 11, 0)  # it is back, and counted on meanwhile
    others["gate-2/worker 1"] = (4, 0, 0, 0)  # its data folder was lost
    sampled.step()
    found = [tuple(step[f"requests_{one}"] for one in STATUS_CLASSES) for step in sampled.read()]
    assert found == [(7, 0, 1, 0), (1, 0, 0, 2), (4, 0, 0, 0)]


def test_a_count_that_is_seen_twice_for_a_moment_is_not_counted_twice(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    sampled.step(received=0, waiting=50, oldest=1)
    sampled.step(received=50, waiting=50, oldest=1)  # loaded, and the log does not know yet
    sampled.step(received=50)
    sampled.step(received=120)
    assert [step["accepted"] for step in sampled.read()] == [50, 0, 20]


def test_freshness_comes_from_loads(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    sampled.step()
    waited = {"waited_p50_us": 900_000, "waited_max_us": 2_000_000}
    sampled.sampler.note_load(make_load(7, "orders", 1, 2, **waited))
    sampled.sampler.note_load(make_load(7, "orders", 3, 4))  # of an earlier release
    sampled.step(received=10, loaded=10)
    sampled.step(received=20, loaded=20)
    first, second = sampled.read()
    assert first["freshness_p50_seconds"] is not None
    assert abs(first["freshness_p50_seconds"] - 0.9) < 0.001
    assert first["freshness_p99_seconds"] == 2
    assert second["freshness_p50_seconds"] is None


def test_the_busiest_of_many_sources_are_kept(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)

    def count(received: int) -> None:
        for source_id in range(1, 151):
            total = received * source_id
            sampled.totals[source_id] = SourceTotals(
                source_id, 1, total, total, 0, 0, 0, 1, 0, 0, 0
            )

    count(0)
    sampled.step(150)
    count(1)
    sampled.step(150, received=150, loaded=150)
    [step] = read_series(sampled.path, LENGTHS[0], 0, sampled.now)
    assert sorted(step.sources) == list(range(51, 151))
    assert step.is_full
    assert step.sources[51][SOURCE_FIGURES.index("accepted")] == 51
    assert step.server[0] == sum(range(1, 151))


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    sampled.now += 10
    sampled.sampler.look()  # nobody said what waits yet
    sampled.step()
    sampled.step(received=1)
    sampled.is_store_down = True
    sampled.step(received=2)
    sampled.step(received=3)
    sampled.is_store_down = False
    sampled.step(received=4)
    found = sampled.read()
    assert [step["accepted"] for step in found] == [1, 3]
    assert found[1]["at"] == sampled.now - 10


@pytest.mark.parametrize(
    ("passed", "pause"), [(0.0, 10.25), (0.25, 10.0), (4.0, 6.25), (9.9, 0.35)]
)
def test_it_looks_once_a_step_shortly_after_its_end(passed: float, pause: float) -> None:
    now = 1_700_000_000_000_000 + round(passed * 1e6)
    assert choose_look_pause(now) == pytest.approx(pause)


def test_it_ends_when_it_is_told(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=sampled.sampler.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_backlogs_are_summed_by_source() -> None:
    backlogs = [
        TableBacklog(7, "a", 3, 1, 10, 100, 50),
        TableBacklog(7, "b", 4, 2, 20, 200, 40),
        TableBacklog(8, "a", 5, 1, 1, 1, 60),
    ]
    assert sum_backlogs(backlogs) == {
        7: SourceBacklog(300, 30, 3, 40),
        8: SourceBacklog(1, 1, 1, 60),
    }


def test_loads_of_several_processes_are_read_and_not_noted(tmp_path: Path) -> None:
    sampled = Sampled(tmp_path)
    read = [(7, WaitedLoad(10, 2_000_000, 3_000_000))]
    sampled.sampler.read_loads = lambda: read
    sampled.step(received=1)
    waited = {"waited_p50_us": 9_000_000, "waited_max_us": 9_000_000}
    sampled.sampler.note_load(make_load(7, "orders", 1, 2, **waited))
    sampled.step(received=2)
    assert sampled.read()[-1]["freshness_p50_seconds"] == 2
