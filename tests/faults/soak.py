"""`python -m tests.faults.soak`: much of everything, with each process's memory and files watched.

A server with its default settings gets bodies of 20 MB over several connections, then a great
many tables, then a backlog that grows while its destination is away, and in the end all sorts of
requests for as many minutes as there are cycles. The sizes before that grow with the cycles: 30
cycles are 10,000 tables and 5 million records. After each part every table is compared with what
was acknowledged. No process may use more than 512 MB at any time, and none may go on growing, in
memory or in open files, while the last part lasts.

DuckDB has 13 KB of each table in every process that has the file open, so that 10,000 tables
are 130 MB for themselves. There the tables have a server of their own, with a shorter last part.
"""

import argparse
import contextlib
import functools
import http.client
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from tests.faults.command import Tally, command, folder
from tests.servers.database_server import DatabaseServer
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.processes import roles
from tests.servers.treadle import Client, TreadleServer

from treadle.cli.query import query_destination
from treadle.errors import OperatorError
from treadle.log.sqlite.log import SqliteReader

FULL = 30
"""Cycles of which the sizes below are."""

BODIES, TABLES, BACKLOG = 24, 10_000, 5_000_000
BODY_BYTES = 20_900_000
"""Of a large body; one above 20,971,520 bytes is refused (import-api.md, limits)."""

CONNECTIONS = 4
IDS = 50_000
RECORDS = 2_000
"""Records of a request of the backlog."""

MEMORY_MAX = 512_000_000
GROWTH_MAX = 24_000_000
"""What the second half of the last part may add to a process: twice what one load moves."""

FILES_MAX = 6
"""How many more open files the end may show: those of a load that is under way."""

LOOK_SECONDS = 0.25
WAIT_SECONDS_MAX = 3600.0


# --- memory and files -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process had at one moment: bytes, its highest bytes so far, and open files."""

    process: str
    part: str
    memory: int
    peak: int
    files: int


def judged(samples: Sequence[Sample], lasting: str) -> list[str]:
    """Which process had too much, and which went on growing in the part that lasts."""
    found = []
    for process in sorted({sample.process for sample in samples}):
        own = [sample for sample in samples if sample.process == process]
        peak = max(own, key=lambda sample: sample.peak)
        if peak.peak > MEMORY_MAX:
            found.append(f"{process} had {peak.peak:,} bytes of memory, in the part '{peak.part}'")
        own = [sample for sample in own if sample.part == lasting]
        if len(own) < 8:
            continue
        quarter = len(own) // 4
        early, late = own[quarter : 2 * quarter], own[-quarter:]
        grown = median(one.memory for one in late) - median(one.memory for one in early)
        if grown > GROWTH_MAX:
            found.append(f"{process} grew by {grown:,.0f} bytes of memory")
        opened = median(one.files for one in late) - median(one.files for one in early)
        if opened > FILES_MAX:
            found.append(f"{process} opened {opened:.0f} files more than it closed")
    return found


class Watch(threading.Thread):
    """Looks at a server's processes until it is told to end."""

    def __init__(self, supervisor: int) -> None:
        super().__init__(daemon=True)
        self._supervisor = supervisor
        self.part = "start"
        self.samples: list[Sample] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(LOOK_SECONDS):
            for name, pid in [("supervisor", self._supervisor), *roles(self._supervisor)]:
                with contextlib.suppress(OSError, StopIteration):  # it ended meanwhile
                    self.samples.append(_sample(name, pid, self.part))

    def peaks(self) -> dict[str, int]:
        """Highest megabytes of each process."""
        found: dict[str, int] = {}
        for sample in self.samples:
            found[sample.process] = max(found.get(sample.process, 0), sample.peak // 1_000_000)
        return found


def _sample(name: str, pid: int, part: str) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()

    def size(field_name: str) -> int:
        line = next(line for line in status if line.startswith(field_name))
        return int(line.split()[1]) * 1024

    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(name, part, size("VmRSS"), size("VmHWM"), files)


# --- what is sent ---------------------------------------------------------------------------------


@dataclass
class Sums:
    """What a table has to hold: rows, and the sum of their `n`."""

    rows: int = 0
    total: int = 0

    def add(self, numbers: Iterable[int]) -> None:
        """Count new rows."""
        for number in numbers:
            self.rows += 1
            self.total += number


@dataclass
class Traffic:
    """Sends to one server and remembers what it acknowledged."""

    port: int
    client_id: int
    token: str
    expected: dict[str, Sums] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    acknowledged: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    local: threading.local = field(default_factory=threading.local)

    def batch(self, table: str, numbers: range, *, size: int = 0) -> None:
        """New rows of a table without a key, in one request."""
        body = {
            "table_name": table,
            "key_names": [],
            "schema": {"properties": {"n": {"type": "integer"}, "text": {"type": "string"}}},
            "messages": [
                {"action": "upsert", "sequence": n, "data": {"n": n, "text": _text(n, size)}}
                for n in numbers
            ],
        }
        if self._send("/v2/import/batch", msgspec.json.encode(body), len(numbers)):
            with self.lock:
                self.expected.setdefault(table, Sums()).add(numbers)

    def push(self, table: str, numbers: range) -> None:
        """Rows of a table with the key `id`, which replace those sent `IDS` numbers before."""
        body = [
            {
                "client_id": self.client_id,
                "table_name": table,
                "sequence": n,
                "action": "upsert",
                "key_names": ["id"],
                "data": {"id": n % IDS, "n": n, "text": _text(n, 40), "parts": [{"p": n % 7}]},
            }
            for n in numbers
        ]
        if self._send("/v2/import/push", msgspec.json.encode(body), len(numbers)):
            with self.lock:
                sums = self.expected.setdefault(table, Sums())
                sums.add(numbers)
                sums.rows = min(sums.rows, IDS)
                sums.total -= sum(n - IDS for n in numbers if n >= IDS)

    def _send(self, path: str, body: bytes, count: int) -> bool:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        while True:
            connection = self._connection()
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._fault(f"no answer: {error!r}")  # nobody is killed here
                connection.close()
                return False
            if answer.status == 503 and answer.headers.get("Retry-After"):
                with self.lock:
                    self.refused += 1
                time.sleep(float(answer.headers["Retry-After"]))
                continue
            if answer.status not in (200, 201):
                self._fault(f"answer {answer.status}: {said[:200]!r}")
                return False
            with self.lock:
                self.acknowledged += count
            return True

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection: http.client.HTTPConnection = self.local.connection
        return connection

    def _fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)


def _text(number: int, size: int) -> str:
    """A text of about this length that does not compress to nothing."""
    return (f"{number * 2654435761 % 2**32:08x} " * (size // 9 + 1))[: max(size, 9)]


def at_once(jobs: Iterable[Callable[[], None]]) -> None:
    """Do jobs over several connections; no more than a few are made before their turn."""
    waiting = iter(jobs)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        while some := list(itertools.islice(waiting, 8 * CONNECTIONS)):
            for done in [pool.submit(job) for job in some]:
                done.result()


# --- the parts ------------------------------------------------------------------------------------


def bodies(traffic: Traffic, first: int, count: int) -> Iterator[Callable[[], None]]:
    """Bodies of 20 MB: of many records, and of a single one.

    Not many of the latter for one table: DuckDB has the values of 2,048 rows in memory at once.
    """
    for number in range(first, first + count):
        start = number * 20_000
        if number % 4 == 3:
            yield functools.partial(
                traffic.batch,
                f"large_{number // 16}",
                range(start, start + 1),
                size=BODY_BYTES - 1000,
            )
        else:
            yield functools.partial(
                traffic.batch,
                "bodies",
                range(start, start + 20_000),
                size=BODY_BYTES // 20_000 - 75,
            )


def backlog(traffic: Traffic, records: int) -> Iterator[Callable[[], None]]:
    """Requests of many records for a few tables."""
    for number in range(max(1, records // RECORDS)):
        numbers = range(number * RECORDS, (number + 1) * RECORDS)
        yield functools.partial(traffic.batch, f"backlog_{number % 4}", numbers, size=50)


def mixture(traffic: Traffic, sizes: "Sizes") -> None:
    """All sorts of requests, some hundred records a second, for so long."""
    until = time.monotonic() + sizes.seconds
    following = itertools.count()
    large = itertools.count(BODIES)

    def keyed() -> None:
        for turn in itertools.count():  # one sender, so that a key's numbers arrive in order
            if time.monotonic() >= until:
                return
            traffic.push("orders", range(turn * 100, (turn + 1) * 100))
            time.sleep(0.2)

    def single() -> None:
        while time.monotonic() < until:
            number = next(following)
            traffic.batch("events", range(number, number + 1))
            traffic.batch(f"t{number % max(1, sizes.tables)}", range(1000 + number, 1001 + number))
            time.sleep(0.2)

    def bulky() -> None:
        while time.monotonic() < until:
            for job in bodies(traffic, next(large), 1):
                job()
            time.sleep(min(20.0, max(0.0, until - time.monotonic())))

    senders = (keyed, single, bulky) if sizes.bodies else (keyed, single)
    with ThreadPoolExecutor(len(senders)) as pool:
        for done in [pool.submit(work) for work in senders]:
            done.result()


@contextlib.contextmanager
def away(url: str, server: DatabaseServer | None) -> Iterator[None]:
    """The destination cannot be reached: stopped, or its file in somebody else's hands."""
    if server is not None:
        server.stop()
        try:
            yield
        finally:
            server.start()
        return
    hold = (
        "import duckdb, sys, time\n"
        "while True:\n"
        "    try:\n"
        "        held = duckdb.connect(sys.argv[1])\n"
        "        break\n"
        "    except duckdb.IOException:\n"
        "        time.sleep(0.01)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, url.removeprefix("duckdb://")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    try:
        yield
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()


def settle(server: TreadleServer) -> list[str]:
    """Wait until nothing waits to be loaded; says what does when it takes too long."""
    with contextlib.closing(SqliteReader(server.data / "log.sqlite")) as log:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while waiting := log.list_backlogs():
            if time.monotonic() > deadline:
                return [f"{one.entries} entries of {one.table_name} wait" for one in waiting[:5]]
            time.sleep(0.1)
    return []


def compare(url: str, expected: dict[str, Sums]) -> list[str]:
    """Which tables do not hold what was acknowledged."""
    found = []
    for some in _some(expected, 200):
        parts = " union all ".join(
            f'select \'{name}\', count(*), sum(n) from "web"."{name}"' for name in some
        )
        try:
            rows: list[tuple[Any, ...]] = query_destination(url, parts).rows
        except OperatorError as error:
            found.append(str(error))
            continue
        for name, rows_there, total in rows:
            sums = expected[name]
            if (rows_there, int(total or 0)) != (sums.rows, sums.total):
                found.append(
                    f"{name} holds {rows_there} rows of sum {total}, "
                    f"not {sums.rows} of {sums.total}"
                )
    return found


def _some(names: Iterable[str], count: int) -> Iterator[tuple[str, ...]]:
    waiting = iter(names)
    while some := tuple(itertools.islice(waiting, count)):
        yield some


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    bodies: int
    tables: int
    backlog: int
    seconds: float

    @classmethod
    def of(cls, cycles: int) -> "Sizes":
        """For so many minutes of the last part."""
        share = cycles / FULL
        return cls(
            max(4, round(BODIES * share)),
            round(TABLES * share),
            round(BACKLOG * share),
            60.0 * cycles,
        )


def parts(
    path: Path,
    url: str | None,
    database: DatabaseServer | None,
    sizes: Sizes,
    tally: Tally,
    kind: str,
) -> None:
    """All parts that have a size, with one server."""
    server = TreadleServer(path / "data", url, {"log_level": "warning"}, forked=False)
    url = url or f"duckdb://{path / 'data' / 'warehouse.duckdb'}"
    with server:
        client = Client(server, *server.account())
        _, token = client.create_source("web")
        client.http.close()
        traffic = Traffic(server.port, client.client_id, token)
        watch = Watch(server.process.pid)
        watch.start()

        def part(name: str, work: Callable[[], None]) -> None:
            watch.part = name
            began, before = time.monotonic(), traffic.acknowledged
            work()
            accepted = time.monotonic() - began
            found = settle(server) + compare(url, traffic.expected) + traffic.faults
            traffic.faults = []
            tally.note(f"{kind}, {name}", found)
            tally.add(**{f"records, {kind}, {name}": traffic.acknowledged - before})
            print(  # noqa: T201 - the command's report
                f"{kind}, {name}: {traffic.acknowledged - before:,} records, accepted in "
                f"{accepted:.0f} s, in their tables after {time.monotonic() - began:.0f} s; "
                f"peaks in MB {watch.peaks()}",
                flush=True,
            )

        def unreachable() -> None:
            with away(url, database):
                at_once(backlog(traffic, sizes.backlog))

        def many() -> None:
            at_once(
                functools.partial(traffic.batch, f"t{n}", range(10)) for n in range(sizes.tables)
            )

        if sizes.bodies:
            part("bodies of 20 MB", lambda: at_once(bodies(traffic, 0, sizes.bodies)))
        if sizes.tables:
            part("many tables", many)
        if sizes.backlog:
            part("a backlog", unreachable)
        part("a mixture", lambda: mixture(traffic, sizes))
        watch.done.set()
        watch.join()
        tally.note(f"{kind}, memory and files", judged(watch.samples, "a mixture"))
        for process, peak in watch.peaks().items():
            tally.add(**{f"MB at most, {kind}, {process}": peak})
        last = {sample.process: sample.files for sample in watch.samples}
        for process, files in last.items():
            tally.add(**{f"open files at the end, {kind}, {process}": files})
        tally.add(**{f"refused, {kind}": traffic.refused})


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All parts into each destination."""
    sizes = Sizes.of(arguments.cycles)
    tally.add(tables=sizes.tables, backlog=sizes.backlog, seconds=round(sizes.seconds))
    for kind in arguments.destination:
        with folder() as path:
            if kind == "duckdb":
                few = replace(sizes, tables=0)
                parts(path, None, None, few, tally, "duckdb")
            elif kind == "mysql":
                with MariaServer() as mariadb:
                    parts(path, mariadb.url(), mariadb, sizes, tally, kind)
            else:
                with PostgresServer() as database:
                    url = database.create_database()
                    parts(path, url, database, sizes, tally, kind)
        if kind == "duckdb":
            with folder() as path:
                many = replace(sizes, bodies=0, backlog=0, seconds=sizes.seconds / 6)
                parts(path, None, None, many, tally, "duckdb with many tables")


if __name__ == "__main__":
    sys.exit(command("soak", str(__doc__), run, cycles=FULL))
