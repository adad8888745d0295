"""`python -m benchmarks.logs [--seconds N] [--rounds N]`: appends to each kind of log, in one run.

The log alone: no HTTP, no decoding. The kinds take turns, so that whatever else the machine does
hits all of them; the median and the best of the rounds are shown. Payloads are random, as hard to
compress as what zstd leaves. "us" is processor time of this process for an append.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.servers.postgres import PostgresServer
from tests.servers.postgres_cluster import REPLICATION_SETTINGS, PostgresCluster

from benchmarks.limits import fdatasync_rate
from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.installation import make_log
from treadle.log.protocol import LogAppender, NewEntry
from treadle.log.sqlite.log import SqliteAppender

ROOM = {"max_wal_size": "8GB", "checkpoint_timeout": "30min", "shared_buffers": "256MB"}
"""More room for the write-ahead log, as a server of its own would have."""

PAYLOADS = 64
"""Different payloads of a size, taken in turn."""


@dataclass(frozen=True)
class Load:
    """Appends of one entry each.

    Attributes:
        size: of an entry, in bytes.
        flying: how many are under way at once.
    """

    size: int
    flying: int

    @property
    def title(self) -> str:
        return f"{self.size // 1024} KB, {self.flying} in flight"


LOADS = (Load(1024, 64), Load(1024, 256), Load(65_536, 16), Load(65_536, 64))


@dataclass
class Figures:
    """What the rounds of one kind with one load showed."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return (
            f"{median(self.rates):,.0f}/s ({max(self.rates):,.0f}), "
            f"{median(self.p50):.1f} / {median(self.p99):.1f} ms, {median(self.processor):.0f} us"
        )


async def measure(opening: Callable[[], LogAppender], load: Load, seconds: float) -> Figures:
    """Append for some seconds."""
    appender = opening()
    payloads = [os.urandom(load.size) for _ in range(PAYLOADS)]
    times: list[float] = []
    try:
        await appender.append([NewEntry(1, "orders", 1, 1, payloads[0])])
        began, processor = time.perf_counter(), time.process_time()
        end = began + seconds

        async def one(number: int) -> None:
            while (start := time.perf_counter()) < end:
                number += 1
                given = NewEntry(1, "orders", number, 1, payloads[number % PAYLOADS])
                await appender.append([given])
                times.append(time.perf_counter() - start)

        await asyncio.gather(*[one(number) for number in range(load.flying)])
        elapsed, processor = time.perf_counter() - began, time.process_time() - processor
    finally:
        await appender.aclose()
    times.sort()
    return Figures(
        [len(times) / elapsed],
        [1e3 * times[len(times) // 2]],
        [1e3 * times[len(times) * 99 // 100]],
        [1e6 * processor / len(times)],
    )


@contextlib.contextmanager
def kinds(folder: Path) -> Iterator[dict[str, Callable[[], LogAppender]]]:
    """Each kind of log, ready to be opened."""
    with (
        PostgresServer(settings=ROOM) as single,
        PostgresCluster(settings={**REPLICATION_SETTINGS, **ROOM}) as cluster,
    ):
        alone, replicated = single.create_database(), cluster.create_database("log")
        for url in (alone, replicated):
            make_log(url, 1)
        yield {
            "SQLite": lambda: SqliteAppender(folder / "log.sqlite"),
            "PostgreSQL, one server": lambda: PostgresAppender(alone, 1),
            "PostgreSQL, ANY 1 of 2 standbys": lambda: PostgresAppender(replicated, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found: dict[tuple[str, Load], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="treadle-logs-") as path, kinds(Path(path)) as opened:
        print(f"{fdatasync_rate(Path(path)):,.0f} fdatasyncs/s of 4 KiB")
        for _ in range(asked.rounds):
            for load in LOADS:
                for name, opening in opened.items():
                    its = asyncio.run(measure(opening, load, asked.seconds))
                    total = found.setdefault((name, load), Figures())
                    for figures, more in zip(vars(total).values(), vars(its).values(), strict=True):
                        figures += more
        print(f"{fdatasync_rate(Path(path)):,.0f} fdatasyncs/s of 4 KiB")
    print("| | " + " | ".join(load.title for load in LOADS) + " |")
    print("|---" * (1 + len(LOADS)) + "|")
    for name in dict.fromkeys(name for name, _ in found):
        print(f"| {name} | " + " | ".join(found[name, load].text for load in LOADS) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
