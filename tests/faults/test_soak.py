"""The short form of `python -m tests.faults.soak`, and how it judges."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.soak import FILES_MAX, GROWTH_MAX, MEMORY_MAX, Sample, Sizes, judged, parts
from tests.servers.postgres import PostgresServer

SMALL = Sizes(bodies=4, tables=40, backlog=40_000, seconds=4.0)


def samples(memory: list[int], files: list[int]) -> list[Sample]:
    return [
        Sample("loader", "last", one, max(memory[: n + 1]), opened)
        for n, (one, opened) in enumerate(zip(memory, files, strict=True))
    ]


def test_what_stays_as_it_is_is_flat() -> None:
    waves = [100_000_000 + 30_000_000 * (n % 2) for n in range(40)]
    assert judged(samples(waves, [9, 12] * 20), "last") == []


def test_growth_is_seen_once_it_goes_on() -> None:
    step = GROWTH_MAX // 15
    growing = [100_000_000 + n * step for n in range(40)]
    assert len(judged(samples(growing, [9] * 40), "last")) == 1
    assert judged(samples(growing, [9] * 40), "another part") == []
    once = [100_000_000] * 8 + [200_000_000] * 32
    assert judged(samples(once, [9] * 40), "last") == []


def test_open_files_that_grow_are_seen() -> None:
    opened = [10 + n * FILES_MAX // 10 for n in range(40)]
    assert len(judged(samples([100_000_000] * 40, opened), "last")) == 1


def test_one_peak_is_too_much() -> None:
    memory = [100_000_000] * 20 + [MEMORY_MAX + 1] + [100_000_000] * 19
    assert len(judged(samples(memory, [9] * 40), "last")) == 1


def test_sizes_grow_with_the_minutes() -> None:
    assert Sizes.of(30) == Sizes(24, 10_000, 5_000_000, 1800.0)
    assert Sizes.of(3).tables == 1000


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_much_of_everything_stays_in_bounds(tmp_path: Path, kind: str) -> None:
    tally = Tally("soak")
    if kind == "duckdb":
        parts(tmp_path, None, None, SMALL, tally, kind)
    else:
        with PostgresServer() as database:  # its own: it is stopped
            parts(tmp_path, database.create_database(), database, SMALL, tally, kind)
    assert tally.violations == []
    assert tally.passed == 5
