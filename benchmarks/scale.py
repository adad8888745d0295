"""Whether the cost of a record stays the same as there is more of everything; processor time.

`python -m benchmarks --only scale`. Each line is one quantity grown tenfold from step to step.
"""

import asyncio
import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

from benchmarks.stages import ServerTime
from benchmarks.workloads import SCHEMA, flat
from treadle.destinations.planning import execute_load
from treadle.destinations.protocol import Session
from treadle.destinations.registry import make_destination
from treadle.ingest.token_cache import TokenCache
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import MessageBatch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit, TableOptions
from treadle.tables.prepare.prepare import LogBatch, prepare_load

STEPS = (10_000, 100_000, 1_000_000, 10_000_000)
LOADED = 10_000
"""Records of a load whose cost is measured."""

RECORDS = 100
"""Records of an entry of a backlog."""

LOADS = 5
"""Loads of which the mean is taken: what a database puts off (a checkpoint) falls into some."""


def batch(table: str, numbers: range, version: int = 0) -> MessageBatch:
    records = [flat(number, version) for number in numbers]
    return MessageBatch(
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
        self._destination = make_destination(url)
        self._positions: dict[str, int] = {}
        self._server = ServerTime()

    def load(self, session: Session, one: MessageBatch) -> float:
        """Microseconds of processor time a record, here and in the database."""
        self._server.watch(session)
        after = self._positions.get(one.table_name, -1)
        place = self._positions[one.table_name] = after + 2
        began = time.process_time() + self._server.spent()
        prepared = prepare_load(
            [LogBatch(one, place, 1_700_000_000_000_000)],
            profile=self._destination.profile,
            options=TableOptions(),
            schema="bench",
        )
        execute_load(
            session,
            prepared,
            offset=OffsetCommit("scale", 1, one.table_name, after, place),
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
            updates, new = [], []
            for turn in range(LOADS):
                version = 1 + steps.index(step) * LOADS + turn
                updates.append(
                    loading.load(
                        session, batch("orders", range(turn % stride, step, stride), version)
                    )
                )
                new.append(loading.load(session, batch("orders", range(have, have + LOADED))))
                have += LOADED
            found[f"{step:,} rows"] = {"updates": mean(updates), "new": mean(new)}
    return found


def tables(
    url: str, steps: tuple[int, ...] = (10, 100, 1000, 10_000)
) -> dict[str, dict[str, float]]:
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
            found[f"{step:,} tables"] = {"new table": mean(fresh), "known table": mean(again)}
    return found


def backlog(steps: tuple[int, ...] = (100, 1_000, 10_000, 100_000)) -> dict[str, dict[str, float]]:
    """Cost of reading and of looking what waits, by entries of 100 records that wait."""
    found: dict[str, dict[str, float]] = {}
    for step in steps:
        with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
            path = Path(folder) / "log.sqlite"
            asyncio.run(_fill(path, step))
            with closing(SqliteReader(path)) as reader:
                first = _microseconds(reader.list_backlogs)
                later = _microseconds(reader.list_backlogs)
                reading = _microseconds(lambda: reader.read(1, "t0", 0, 1000, 50_000_000))
            found[f"{step * RECORDS:,} records"] = {
                "first look": first / step,
                "later look": later,
                "reading": reading / min(step, 1000),
            }
    return found


async def _fill(path: Path, count: int) -> None:
    log = SqliteAppender(path)
    payload = msgspec.json.encode([flat(number, 0) for number in range(RECORDS)])
    entry = NewEntry(1, "t0", 1_700_000_000_000_000, RECORDS, payload)
    for _ in range(count // 100):
        await log.append([entry] * 100)
    await log.aclose()


def tokens(steps: tuple[int, ...] = (1, 100, 10_000)) -> dict[str, dict[str, float]]:
    """Cost of knowing who pushes, by sources with a token.

    A worker looks a token up with each request, and reads all of them again a quarter of a second
    after one was made or revoked.
    """
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        store = Store.open(f"sqlite:///{folder}/store.sqlite", SecretCipher(bytes(32)))
        account, _ = store.accounts.create_account("bench")
        secrets: list[str] = []
        for step in steps:
            while len(secrets) < step:
                number = len(secrets)
                source = store.sources.create_source(
                    account.id,
                    type="import_api",
                    display_name=f"Source {number}",
                    name=f"source_{number}",
                    bootstrap_token=False,
                )
                secrets.append(str(store.tokens.create_token(account.id, source.id).secret))
            found[f"{step:,} tokens"] = asyncio.run(_known(store, secrets))
        store.close()
    return found


async def _known(store: Store, secrets: list[str]) -> dict[str, float]:
    directory = TokenCache(store, lambda: 1_700_000_000_000_000)
    await directory.start()
    asked = list(itertools.islice(itertools.cycle(secrets), 10_000))
    began = time.process_time()
    for secret in asked:
        if await directory.find_owner(secret) is None:
            raise AssertionError("a token is not known")
    looking = (time.process_time() - began) / len(asked) * 1e6
    await directory.aclose()
    return {
        "look-up": looking,
        "reading all, a token": _microseconds(store.tokens.list_senders) / len(secrets),
    }


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
        yield "tokens", tokens()
    finally:
        gc.enable()
