"""What each stage costs, per record, in microseconds of processor time; in one process, unhurried.

Processor time hardly depends on what else the machine does, so these figures are good on a busy one
too. The database's own share is that of the process that serves our session.
"""

import asyncio
import contextlib
import gc
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.workloads import CLIENT, Workload
from treadle.destinations.planning import execute_load
from treadle.destinations.protocol import Session
from treadle.destinations.registry import make_destination
from treadle.loader.chunk import build_chunk
from treadle.loader.load_report import complete_report, plan_report
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records import batch, push
from treadle.records import json_decoder as json_
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit, TableOptions
from treadle.tables.prepare.prepare import LogBatch, prepare_load

CLIENT_ID = 1


@dataclass
class Costs:
    """Seconds of processor time by stage."""

    records: int
    spent: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

    def per_record(self) -> dict[str, float]:
        """Microseconds of processor time a record."""
        return {name: spent / self.records * 1e6 for name, spent in self.spent.items()}


def accepted(workload: Workload, body: bytes) -> list[MessageBatch]:
    """What the endpoint makes of a body."""
    if workload.form == "batch":
        return batch.read_body(body)
    return push.check_body(push.decode_body(body, transit=False), CLIENT_ID)


def bodies(workload: Workload) -> list[bytes]:
    return [
        body.replace(f'"{CLIENT}"'.encode(), str(CLIENT_ID).encode()) for body in workload.requests
    ]


def measure(
    workload: Workload,
    url: str,
    rows_max: int = 100_000,
    inside: Callable[[], Any] = contextlib.nullcontext,
) -> dict[str, float]:
    """Costs of one workload into one destination."""
    gc.collect()
    gc.disable()  # as the loader does while it loads
    try:
        return _measured(workload, url, rows_max, inside)
    finally:
        gc.enable()


def _measured(
    workload: Workload, url: str, rows_max: int, inside: Callable[[], Any]
) -> dict[str, float]:
    costs = Costs(workload.records)
    sent = bodies(workload)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with costs.stage("bare parse"):
            for body in sent:
                msgspec.json.decode(body)
        with costs.stage("decode and check"):
            batches = [one for body in sent for one in accepted(workload, body)]
        with costs.stage("pack"):
            payloads = [encode_batch(one) for one in batches]
        entries = [
            NewEntry(1, one.table_name, 1_700_000_000_000_000, len(one), payload)
            for one, payload in zip(batches, payloads, strict=True)
        ]
        with costs.stage("log append"):
            asyncio.run(_append(path / "log.sqlite", entries))
        del batches, payloads, entries
        _load(workload, url, path, costs, rows_max, inside)
    return costs.per_record()


async def _append(path: Path, entries: list[NewEntry]) -> None:
    log = SqliteAppender(path)
    for start in range(0, len(entries), 10):
        await log.append(entries[start : start + 10])
    await log.aclose()


def _load(
    workload: Workload, url: str, path: Path, costs: Costs, rows_max: int, inside: Callable[[], Any]
) -> None:
    destination = make_destination(url)
    store = Store.open(f"sqlite:///{path / 'store.sqlite'}", SecretCipher(bytes(32)))
    account = store.accounts.create_account("ours", client_id=CLIENT_ID)
    source = store.sources.create_source(
        account[0].id, type="import_api", display_name="bench", name="bench", bootstrap_token=False
    )
    with costs.stage("log open and count"):
        reader = SqliteReader(path / "log.sqlite")
        backlogs = reader.list_backlogs()
    store.use_log(reader.log_id)
    server = ServerTime()
    with destination.open() as session, inside():
        server.watch(session)
        for backlog in backlogs:
            key = (source.id, backlog.table_name)
            after = -1
            begin = 0
            while begin < backlog.last:
                with costs.stage("log read"):
                    items = reader.read(1, backlog.table_name, begin, rows_max, 50_000_000)
                    chunk = build_chunk(key, after, items)
                assert chunk is not None
                with costs.stage("unpack"):
                    arrivals = [
                        LogBatch(decode_batch(entry.payload), entry.position, entry.received_at)
                        for entry in chunk.entries
                    ]
                with costs.stage("(of prepare: JSON alone)"):
                    for arrival in arrivals:
                        json_.decode_json(arrival.batch.data)
                with costs.stage("prepare"):
                    prepared = prepare_load(
                        arrivals,
                        profile=destination.profile,
                        options=TableOptions(),
                        schema="bench",
                    )
                mark = OffsetCommit(reader.log_id, source.id, backlog.table_name, after, chunk.last)
                before = server.spent()
                with costs.stage("plan and load, client"):
                    plan, result = execute_load(
                        session,
                        prepared,
                        offset=mark,
                        now=time.time_ns() // 1000,
                    )
                costs.spent["load, server"] = (
                    costs.spent.get("load, server", 0.0) + server.spent() - before
                )
                with costs.stage("record_load"):
                    load, outcomes = complete_report(
                        plan_report(chunk, plan, str(uuid.uuid4()), 0), result, 0, list
                    )
                    store.loads.record_load(load, outcomes)
                begin = after = chunk.last
    reader.close()
    store.close()


class ServerTime:
    """Processor time of the database process that serves a session."""

    def __init__(self) -> None:
        self._pid = 0
        self._has_threads = False

    def watch(self, session: Session) -> None:
        """Look at the process of PostgreSQL, all of MariaDB's; DuckDB has none of its own."""
        version = str(session.query("SELECT version()").rows[0][0])
        if version.startswith("PostgreSQL"):
            self._pid = int(session.query("SELECT pg_backend_pid()").rows[0][0])
        elif "MariaDB" in version:
            file = session.query("SELECT @@global.pid_file").rows[0][0]
            self._pid, self._has_threads = int(Path(file).read_text()), True

    def spent(self) -> float:
        if not self._pid:
            return 0.0
        if self._has_threads:  # coarser, and with the threads that ended
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / 100
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0]) / 1e9
