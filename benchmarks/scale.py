"""Whether the cost of a record stays the same as there is more of everything; processor time.

`python -m benchmarks --only scale`. Each line is one quantity grown tenfold from step to step.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.stages import ServerTime
from benchmarks.workloads import SCHEMA, flat
from treadle.destinations.planning import carry_out
from treadle.destinations.protocol import Session
from treadle.destinations.registry import open_url
from treadle.log.local import LocalAppender, LocalReader
from treadle.log.protocol import NewEntry
from treadle.records.message import Batch
from treadle.tables.model import Mark, Options
from treadle.tables.prepare import Arrival, prepare

STEPS = (10_000, 100_000, 1_000_000)
LOADED = 10_000
"""Records of a load whose cost is measured."""


def batch(table: str, numbers: range, version: int = 0) -> Batch:
    records = [flat(number, version) for number in numbers]
    return Batch(
        table_name=table,
        key_names=("id",),
        form="schema",
        schema=msgspec.json.encode(SCHEMA),
        bookmark_names=(),
        sequences=[number + version * 10_000_000 for number in numbers],
        versions=0,
        extracted=None,
        activations=[],
        data=msgspec.json.encode(records),
    )


class Loading:
    """Loads into one database, and what they cost."""

    def __init__(self, url: str) -> None:
        self._destination = open_url(url)
        self._positions: dict[str, int] = {}
        self._server = ServerTime()

    def load(self, session: Session, one: Batch) -> float:
        """Microseconds of processor time a record, here and in the database."""
        self._server.watch(session)
        after = self._positions.get(one.table_name, -1)
        place = self._positions[one.table_name] = after + 2
        began = time.process_time() + self._server.spent()
        prepared = prepare(
            [Arrival(one, place, 1_700_000_000_000_000)],
            profile=self._destination.profile,
            options=Options(),
            schema="bench",
        )
        carry_out(
            session,
            prepared,
            mark=Mark("scale", 1, one.table_name, after, place),
            now=time.time_ns() // 1000,
        )
        return (time.process_time() + self._server.spent() - began) / len(one) * 1e6

    def open(self) -> Session:
        return self._destination.open()


def rows(url: str, steps: tuple[int, ...] = STEPS) -> dict[str, dict[str, float]]:
    """Cost of loads of 10,000 records, new ones and updates, by rows in the table."""
    found: dict[str, dict[str, float]] = {}
    loading = Loading(url)
    with loading.open() as session:
        have = 0
        for step in steps:
            while have < step:
                upto = min(have + 100_000, step)
                loading.load(session, batch("orders", range(have, upto)))
                have = upto
            stride = step // LOADED
            updates = batch("orders", range(0, step, stride), 1 + steps.index(step))
            found[f"{step:,} rows"] = {
                "updates": loading.load(session, updates),
                "new": loading.load(session, batch("orders", range(have, have + LOADED))),
            }
            have += LOADED
    return found


def tables(url: str, steps: tuple[int, ...] = (10, 100, 1000)) -> dict[str, dict[str, float]]:
    """Cost of a load of 100 records into a new table and into one that is there, by tables."""
    found: dict[str, dict[str, float]] = {}
    loading = Loading(url)
    with loading.open() as session:
        have = 0
        for step in steps:
            while have < step:
                loading.load(session, batch(f"t{have}", range(100)))
                have += 1
            fresh = [loading.load(session, batch(f"n{step}_{n}", range(100))) for n in range(10)]
            again = [loading.load(session, batch(f"t{n}", range(100), step)) for n in range(10)]
            found[f"{step:,} tables"] = {
                "new table": sum(fresh) / len(fresh),
                "known table": sum(again) / len(again),
            }
    return found


def backlog(steps: tuple[int, ...] = (1_000, 10_000, 100_000)) -> dict[str, dict[str, float]]:
    """Cost of reading and of looking what waits, by entries that wait."""
    found: dict[str, dict[str, float]] = {}
    for step in steps:
        with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
            path = Path(folder) / "log.sqlite"
            asyncio.run(_fill(path, step))
            with closing(LocalReader(path)) as reader:
                first = _microseconds(reader.backlog)
                later = _microseconds(reader.backlog)
                reading = _microseconds(lambda: reader.read(1, "t0", 0, 1000, 50_000_000))
            found[f"{step:,} entries"] = {
                "first look, an entry": first / step,
                "later look": later,
                "reading 1,000 of them, an entry": reading / 1000,
            }
    return found


async def _fill(path: Path, count: int) -> None:
    log = LocalAppender(path)
    entry = NewEntry(1, "t0", 1_700_000_000_000_000, 1, b"x" * 200)
    for _ in range(count // 500):
        await log.append([entry] * 500)
    await log.aclose()


def _microseconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6


def measure(database: Callable[[], str]) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """(what was grown, step -> figure -> microseconds of processor time a record)."""
    gc.collect()
    gc.disable()
    try:
        yield "rows, PostgreSQL", rows(database())
        yield "tables, PostgreSQL", tables(database())
        for what, work in (("rows", rows), ("tables", tables)):
            with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
                yield f"{what}, DuckDB", work(f"duckdb://{folder}/data.duckdb")
        yield "backlog", backlog()
    finally:
        gc.enable()
