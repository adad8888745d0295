"""What the pages of the console cost a server that holds much (console.md B.8, Speed).

    python -m benchmarks.pages [--tables N] [--entries N] [--tries N] [--folder FOLDER]

It fills the store with tables, their loads, columns and rejected records, and the log with loaded
entries, starts a server on them, and asks each page of the console one at a time. A page is to take
at most 200 ms and 60 KB, the list of tables at most 300 ms however it is searched, sorted and paged
(journey 15), and the worker is to grow by at most 15 MB. The exit code is 1 when one of them is
more.
"""

import argparse
import asyncio
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import httpx
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.config import Config
from treadle.console.pages import ROUTES
from treadle.log.protocol import LogEntry, NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.server.factories import open_store
from treadle.store.model import (
    EntryOutcome,
    KeptColumn,
    KeptColumns,
    KeptRelation,
    LoadReport,
    RecordRejection,
)
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode

PAGE_MS_MAX: Final = 200.0
LISTED_MS_MAX: Final = 300.0
PAGE_BYTES_MAX: Final = 60 * 1024
GROWTH_BYTES_MAX: Final = 15 * 1024 * 1024

APPENDED: Final = 1_000
"""Entries of an append, and loads that the store takes at once."""

REJECTING_TABLES: Final = 20
"""One table in so many has rejected records, ten of them."""

STOPPED_TABLES: Final = 100
"""One table in so many is stopped."""

COLUMNS: Final = KeptColumns(
    ("id",),
    (
        KeptRelation(
            (),
            "any",
            (
                KeptColumn("id", "id", "bigint", nullable=False, system=False),
                *(
                    KeptColumn(f"field_{number}", f"field_{number}", "text", True, False)
                    for number in range(10)
                ),
                KeptColumn("_sdc_sequence", "_sdc_sequence", "bigint", True, True),
            ),
        ),
    ),
)

NOT_SHOWN: Final = {"/accounts"}
"""Pages that an account token does not open: they are for admins of the installation."""

BROWSER: Final = {"Accept": "text/html", "Sec-Fetch-Site": "none"}


@dataclass(frozen=True, slots=True)
class PageCost:
    """What a page cost.

    Attributes:
        milliseconds: from the first byte asked to the last one read, of each try.
        size: bytes of the page.
    """

    path: str
    status: int
    milliseconds: Sequence[float]
    size: int

    @property
    def is_dear(self) -> bool:
        most = LISTED_MS_MAX if "?" in self.path else PAGE_MS_MAX
        return median(self.milliseconds) > most or self.size > PAGE_BYTES_MAX


def push_one(folder: Path) -> tuple[int, bytes]:
    """Have a server load one record; its source, and the payload of its entry."""
    with TreadleServer(folder, settings={"load_age_seconds": "0.2"}) as server:
        client = Client(server, *server.account())
        source, token = client.create_source("shop")
        client.push(token, [{"id": 1, **{f"field_{n}": "text" for n in range(10)}}], table="t00000")
        eventually(lambda: "t00000" in server.treadle("loads", "--json"))
    with closing(SqliteReader(Config(data=folder).log_path)) as reader:
        [entry] = reader.find_entries(1, 1)
    assert isinstance(entry, LogEntry)
    return source, entry.payload


async def fill_log(
    path: Path, source: int, tables: Sequence[str], entries: int, payload: bytes
) -> dict[str, range]:
    """Append loaded entries, those of a table one after the other; their positions by table."""
    each = entries // len(tables)
    log = SqliteAppender(path)
    # Each entry is a request of its own, 100 microseconds after the one before it.
    clock = itertools.count(time.time_ns() // 1000 - 100 * each * len(tables), 100)
    places: dict[str, range] = {}
    for table in tables:
        first = last = 0
        for count in split_count(each):
            place = await log.append(
                [NewEntry(source, table, at, 1, payload) for at in islice(clock, count)]
            )
            first, last = first or place, place + count
        places[table] = range(first, last)
    await log.aclose()
    with closing(SqliteReader(path)) as reader:
        for table, found in places.items():
            reader.mark_loaded(source, table, found[-1])
    return places


def split_count(count: int) -> Iterator[int]:
    """Cut a number into pieces of at most APPENDED."""
    while count > 0:
        yield min(count, APPENDED)
        count -= APPENDED


def fill_store(store: Store, source: int, places: Mapping[str, range]) -> None:
    """Record one load of each table, some with rejected records."""
    now = time.time_ns() // 1000
    loads = (
        make_load(source, number, table, places[table], now) for number, table in enumerate(places)
    )
    while some := list(islice(loads, APPENDED)):
        store.loads.record_loads(some)
        for report, _ in some[7::STOPPED_TABLES]:
            store.loads.record_failure(make_failure(report), stopped=True)


def make_load(
    source: int, number: int, table: str, place: range, now: int
) -> tuple[LoadReport, Sequence[EntryOutcome]]:
    """A load that took all entries of a table."""
    rejected = 10 if number % REJECTING_TABLES == 0 else 0
    code = RejectionCode.INTEGER_OUT_OF_RANGE
    refused = RecordRejection(0, "the integer is too large", code, "field_1")
    report = LoadReport(
        id=f"{number:032x}",
        source_id=source,
        table_name=table,
        first=place[0],
        last=place[-1],
        started_at=now - 1_000_000,
        finished_at=now,
        rows_received=len(place),
        rows_loaded=len(place) - rejected,
        rows_discarded=0,
        rows_rejected=rejected,
        tables={table: len(place) - rejected},
        details={},
        error=None,
        columns=COLUMNS,
        waited_max_us=2_000_000,
        waited_p50_us=1_000_000,
    )
    return report, [EntryOutcome(at, source, table, 0, (refused,)) for at in place[:rejected]]


def make_failure(report: LoadReport) -> LoadReport:
    """A load that failed for what came after another one."""
    return replace(
        report,
        id=f"f{report.id[1:]}",
        first=report.last + 1,
        last=report.last + 1,
        rows_received=1,
        rows_loaded=0,
        rows_rejected=0,
        tables={},
        error="no room",
    )


def list_paths(source: int) -> list[str]:
    """The pages of all routes that can be asked with what there is, and lists of tables."""
    parts = {"source": str(source), "table": "t00040", "name": "t00040", "load": f"{40:032x}"}
    found = []
    for route in ROUTES:
        wanted = re.findall(r"{(\w+)}", route.pattern)
        is_shown = route.show is not None and route.pattern not in NOT_SHOWN
        if is_shown and all(name in parts for name in wanted):
            found.append(route.pattern.format(**parts))
    return [
        *found,
        "/tables?page=50",
        f"/tables?source={source}&sort=rejected",
        "/tables?sort=last_load&page=100",
        "/tables?q=t099",
        "/tables?state=stopped&page=1",
    ]


def ask_pages(
    server: TreadleServer, browser: httpx.Client, paths: Sequence[str], tries: int
) -> Iterator[PageCost]:
    """Ask each page some times, one after the other."""
    for path in paths:
        spent = []
        for _ in range(tries):
            began = time.perf_counter()
            answer = browser.get(f"{server.url}/console{path}")
            spent.append((time.perf_counter() - began) * 1000)
        yield PageCost(path, answer.status_code, spent, len(answer.content))


def measure_worker(server: TreadleServer) -> int:
    """Resident bytes of all workers."""
    return sum(
        int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024
        for name, pid in server.processes().items()
        if name.startswith("worker")
    )


def run(folder: Path, tables: int, entries: int, tries: int) -> bool:
    """Fill a data folder, ask all pages and print what they cost; whether all is within bounds."""
    data = folder / "data"
    source, payload = push_one(data)
    config = Config(data=data)
    names = [f"t{number:05}" for number in range(1, tables + 1)]
    began = time.monotonic()
    places = asyncio.run(fill_log(config.log_path, source, names, entries, payload))
    with closing(open_store(config)) as store:
        fill_store(store, source, places)
    print(f"{tables:,} tables and {entries:,} entries, made in {time.monotonic() - began:.0f} s\n")
    good = True
    with (
        TreadleServer(data, settings={"workers": "1"}) as server,
        httpx.Client(timeout=60, headers=BROWSER) as browser,
    ):
        browser.get(f"{server.url}/v4/sources")  # a worker imports the API at its first request
        time.sleep(5)  # until the server has nothing to do
        before = measure_worker(server)
        browser.get(server.treadle("console").split()[0])
        print("| page | status | median ms | most ms | KB |\n|---|---:|---:|---:|---:|")
        for cost in ask_pages(server, browser, list_paths(source), tries):
            good = good and not cost.is_dear and cost.status in (200, 303)
            told = f"| `{cost.path}` | {cost.status} | {median(cost.milliseconds):.1f} | "
            told += f"{max(cost.milliseconds):.1f} | {cost.size / 1024:.1f} |"
            print(told + (" too much" if cost.is_dear else ""), flush=True)
        grown = measure_worker(server) - before
        good = good and grown <= GROWTH_BYTES_MAX
        print(f"\nThe worker has grown by {grown / 1024**2:.1f} MB.")
    return good


def main() -> int:
    """Run it as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="an empty folder that stays")
    chosen = parser.parse_args()
    if chosen.folder is not None:
        return 0 if run(chosen.folder, chosen.tables, chosen.entries, chosen.tries) else 1
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        return 0 if run(Path(folder), chosen.tables, chosen.entries, chosen.tries) else 1


if __name__ == "__main__":
    sys.exit(main())
