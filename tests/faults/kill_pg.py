"""`python -m tests.faults.kill_pg`: the log on PostgreSQL with two standbys, under faults.

Six senders append all the time, by two appenders: half of them with keys, and these send again what
was not answered with a place. A cycle is one fault:

- failover: the primary is killed, the standby that received most is promoted, the dead one rebuilt;
- cut: the connection of an append is cut before it is passed on, as soon as it is, or when the
  answer comes back;
- cancel, terminate: standbys stop, the statements that wait for one are ended by
  `pg_cancel_backend` or `pg_terminate_backend`, and the standbys go on.

A tenth of the cycles are failovers, a tenth cancel and a tenth terminate. At the end, and after
each failover, the log is read back: every answered request is there at its position, once, and no
request is there twice; requests with a key are there at most once, whoever repeated them.
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, get_args

import psycopg
from tests.faults.command import Tally, command
from tests.faults.proxy import Cut, Proxy, before
from tests.servers.database_server import NoServerError
from tests.servers.postgres_cluster import ClusterNode, PostgresCluster
from tests.servers.processes import children

from treadle.errors import RetriableError, TreadleError
from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.installation import make_log
from treadle.log.postgres.keeper import KeeperConnection, LogKeeper
from treadle.log.postgres.reader import PostgresReader
from treadle.log.protocol import AppendUnknownError, DamagedEntry, IdempotencyKey, NewEntry

LOG: Final = 1
SENDERS: Final = 6
WAIT_SECONDS_MAX: Final = 60.0
QUIET_SECONDS: Final = 0.02
"""Pause between two requests of one sender."""

READ_ENTRIES: Final = 100_000


@dataclass(slots=True)
class Sent:
    """What was sent, and what became of it; the thread of senders writes it.

    Attributes:
        acked: label -> position, of every request that was answered with one.
        refused: labels of requests that were answered as not stored, and not sent again.
        unknown: labels of requests of which nobody knows.
        errors: what no answer should be.
    """

    acked: dict[bytes, int] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    keyed: int = 0
    resolved: dict[str, int] = field(default_factory=dict)


class Senders:
    """A thread with senders, until `stop`."""

    def __init__(self, url: str) -> None:
        self.sent = Sent()
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    @property
    def done(self) -> int:
        """How many requests were answered with a position."""
        return len(self.sent.acked)

    def stop(self) -> None:
        """Send nothing more, and wait for the answers."""
        self._stopping.set()
        self._thread.join(2 * WAIT_SECONDS_MAX)
        if self._thread.is_alive():
            self.sent.errors.append("senders wait for ever")

    async def _run(self) -> None:
        appenders = [PostgresAppender(self._url, LOG, member=f"gate {n}") for n in range(2)]
        await asyncio.gather(
            *[self._send(appenders[n % 2], n, keyed=n % 4 > 1) for n in range(SENDERS)]
        )
        for appender in appenders:
            await appender.aclose()
            for name, count in appender.resolved.items():
                self.sent.resolved[name] = self.sent.resolved.get(name, 0) + count

    async def _send(self, appender: PostgresAppender, sender: int, *, keyed: bool) -> None:
        for number in itertools.count():
            if self._stopping.is_set():
                return
            label = b"push|%d %d|" % (sender, number)
            entries = [
                NewEntry(1, f"t{sender}", time.time_ns() // 1000, 1, label + b"%d" % part)
                for part in range(1 + number % 3)
            ]
            try:
                await self._ask(appender, label, entries, keyed=keyed)
            except Exception as error:  # noqa: BLE001 - said at the end
                self.sent.errors.append(f"{label!r}: {error!r}")
            await asyncio.sleep(QUIET_SECONDS)

    async def _ask(
        self, appender: PostgresAppender, label: bytes, entries: list[NewEntry], *, keyed: bool
    ) -> None:
        """Send a request; one with a key again until it is answered with a place."""
        if not keyed:
            try:
                self.sent.acked[label] = await appender.append(entries)
            except RetriableError:
                self.sent.refused.add(label)
            except AppendUnknownError:
                self.sent.unknown.add(label)
            return
        self.sent.keyed += 1
        once = IdempotencyKey(label.replace(b"push", b"key").ljust(32), b"d" * 32)
        while True:
            try:
                found = await appender.append_once(entries, once)
            except TreadleError:
                if self._stopping.is_set():
                    self.sent.unknown.add(label)
                    return
                await asyncio.sleep(0.2)
            else:
                self.sent.acked[label] = found.first
                return


def find_violations(url: str, sent: Sent) -> list[str]:
    """Compare the log with what was answered so far."""
    acked, refused = dict(sent.acked), set(sent.refused)
    there: dict[bytes, list[tuple[int, int]]] = {}
    found: list[str] = []
    with closing(PostgresReader(url, LOG)) as reader:
        last = 0
        for source_id, name in reader.statistics.list_tables():
            after = 0
            while items := reader.read(source_id, name, after, READ_ENTRIES, 10**9):
                after = items[-1].position
                last = max(last, after)
                for one in items:
                    if isinstance(one, DamagedEntry):
                        found.append(f"position {one.position} is damaged: {one.why}")
                        continue
                    label, _, part = one.payload.rpartition(b"|")
                    its = there.setdefault(label + b"|", [])
                    its.append((one.position, int(part)))
        waiting = sum(one.entries for one in reader.list_backlogs())
    for label, its in there.items():
        its.sort()
        count = 1 + int(label.rstrip(b"|").split()[1]) % 3
        expected = [(its[0][0] + part, part) for part in range(count)]
        if its != expected:
            found.append(f"{label!r} is there as {its}, expected {expected}")
        if label in refused:
            found.append(f"{label!r} was refused and is there, at {its}")
    for label, position in acked.items():
        at = there.get(label)
        if at is None:
            found.append(f"{label!r} was answered with {position} and is lost")
        elif at[0][0] != position:
            found.append(f"{label!r} was answered with {position} and is at {at[0][0]}")
    stored = sum(len(its) for its in there.values())
    if waiting < stored:
        found.append(f"{waiting} entries wait, {stored} were read before")
    return found


class Nemesis:
    """Makes the faults."""

    def __init__(self, cluster: PostgresCluster, proxies: list[Proxy], dice: random.Random) -> None:
        self._cluster = cluster
        self._proxies = proxies
        self._dice = dice

    def fail_over(self) -> None:
        """Kill the primary, promote another node, and rebuild the dead one."""
        self._cluster.fail_over()
        time.sleep(self._dice.uniform(0, 1))
        self._cluster.rebuild()
        self._cluster.wait_until_replicated()

    def cut(self, where: Cut) -> bool:
        """Cut the connection of an append; returns whether it was."""
        proxy = self._proxies[self._cluster.nodes.index(self._cluster.primary)]
        before_it = proxy.cuts
        # Requests with keys are cut at the write of their names, or where they commit.
        proxy.mark, proxy.cut = self._dice.choice((b"push|", b"push|", b"key|")), where
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while proxy.cuts == before_it and time.monotonic() < deadline:
            time.sleep(0.01)
        proxy.cut = None
        return proxy.cuts > before_it

    def end_waits(self, how: str) -> int:
        """Stop the standbys, end what waits for them, and let them go on; returns how many."""
        ended = 0
        with stopped(self._cluster.standbys):
            deadline = time.monotonic() + 10
            while not ended and time.monotonic() < deadline:
                time.sleep(0.05)
                with psycopg.connect(self._cluster.primary.conninfo(), autocommit=True) as one:
                    ended = len(
                        one.execute(
                            f"SELECT {how}(pid) FROM pg_stat_activity"
                            " WHERE wait_event = 'SyncRep'".encode()
                        ).fetchall()
                    )
            time.sleep(self._dice.uniform(0, 0.5))
        return ended


@contextlib.contextmanager
def stopped(nodes: list[ClusterNode]) -> Iterator[None]:
    """Stop the processes of servers for the time of the block."""
    pids = [pid for node in nodes for pid in (node.pid, *children(node.pid))]
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def choose_fault(number: int) -> str:
    """The fault of a cycle: of ten a failover, a cancelled and a terminated wait, and cuts."""
    cut: str = get_args(Cut)[number % 3]
    return {0: "failover", 3: "pg_cancel_backend", 6: "pg_terminate_backend"}.get(number % 10, cut)


def wait_for_answers(senders: Senders, more: int) -> list[str]:
    """Wait until so many more requests are answered; what is wrong where they are not."""
    until = senders.done + more
    deadline = time.monotonic() + 2 * WAIT_SECONDS_MAX
    while senders.done < until:
        if time.monotonic() > deadline:
            return [f"no more than {senders.done} answers, expected {until}"]
        time.sleep(0.01)
    return []


def faults(cluster: PostgresCluster, cycles: int, seed: int, tally: Tally) -> None:
    """All cycles with one cluster, which is up."""
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(before("127.0.0.1", node.port)) for node in cluster.nodes]
        direct = cluster.create_database("log")
        url = cluster.url("log", [proxy.port for proxy in proxies])
        make_log(direct, LOG)
        nemesis = Nemesis(cluster, proxies, dice)
        senders = Senders(url)
        try:
            for number in range(cycles):
                tally.note(f"cycle {number}", one_cycle(number, nemesis, senders, direct, tally))
        finally:
            senders.stop()
        tally.note("at the end", [*find_violations(direct, senders.sent), *senders.sent.errors])
        its = senders.sent
        tally.add(
            **{
                "requests answered": len(its.acked),
                "requests refused": len(its.refused),
                "requests unknown": len(its.unknown),
                "requests with a key": its.keyed,
            },
            **{f"groups found {name}": count for name, count in its.resolved.items()},
        )


def one_cycle(number: int, nemesis: Nemesis, senders: Senders, url: str, tally: Tally) -> list[str]:
    """One fault, and what is wrong after it."""
    fault = choose_fault(number)
    tally.add(**{f"cut {fault}" if fault in get_args(Cut) else fault: 1})
    found: list[str] = []
    try:
        if fault == "failover":
            nemesis.fail_over()
        elif fault.startswith("pg_"):
            tally.add(**{f"waits ended by {fault}": nemesis.end_waits(fault)})
        elif not nemesis.cut(fault):  # type: ignore[arg-type]  # one of Cut
            found.append("no connection was cut")
        found += wait_for_answers(senders, 20)
        if fault == "failover":
            found += find_violations(url, senders.sent)
            with closing(KeeperConnection(url)) as connection:
                LogKeeper(
                    connection,
                    LOG,
                    10**15,
                    should_switch_segment=lambda *values, has_entries: has_entries,
                ).keep()
    except (NoServerError, psycopg.Error, TreadleError) as error:
        found.append(f"the cycle could not be made: {error!r}")
    return found


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one cluster."""
    for name in ("treadle", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with PostgresCluster() as cluster:
        faults(cluster, arguments.cycles, arguments.seed, tally)


if __name__ == "__main__":
    sys.exit(command("kill_pg", str(__doc__), run, cycles=1_000))
