"""A cluster under faults: databases, members, senders, and what is compared at the end."""

import contextlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.cluster import bounds, checks
from tests.faults.cluster.bounds import ImpairedTimes
from tests.faults.cluster.installation import PLACES, ClusterInstallation, RigPlan
from tests.faults.cluster.nemesis import ClusterNemesis
from tests.faults.cluster.nodes import count_lines
from tests.faults.cluster.schedule import FaultSchedule
from tests.faults.cluster.senders import (
    GateSender,
    Manner,
    RevocationWatch,
    SentRecords,
    read_receipt,
)
from tests.faults.cluster.watch import ClusterWatch, connect
from tests.faults.cluster.windows import TimeWindow
from tests.faults.witness import Row
from tests.servers.treadle import eventually

from treadle.config import Config
from treadle.log.registry import open_reader
from treadle.server.factories import open_store
from treadle.store.store import Store
from treadle.tracking.ledger import compute_ledger

SETTLE_SECONDS_MAX: Final = 60.0
"""With everything healed, nothing waits after so long (cluster.md 15.4, 2)."""

IDLE_SECONDS_MAX: Final = 90.0
"""A sender has its answer after so long: a gate holds a request for a minute at most."""

TABLES: Final = 3
"""Of each kind, so that loaders share them."""

SENDERS: Final[Mapping[Manner, int]] = {"keyed": 4, "named": 2, "once": 2}
RECEIPTS_MAX: Final = 150
"""Receipts that are asked for over HTTP; the positions of all are compared."""

LOAD_MAX: Final = 4.0
"""Processes that may want a core for bounds of time to be judged; a rig alone has two."""

SCHEMA: Final = "web"
MET: Final = {
    "fenced loads": "was overtaken by lease",
    "evictions": " of a lost loader at ",
    "groups found stored": "that was not answered is stored",
    "groups found not stored": "that was not answered is not stored",
}
"""What a line of the members' logs has in it when something was met (15.4, 9)."""


@dataclass(slots=True)
class ScheduleResult:
    """What one schedule found.

    Attributes:
        violations: in words.
        late: bounds of time that were exceeded while the machine had much else to do.
        counts: figures for the report.
        silence: longest time without an acceptance that should have been, in seconds.
        stall: of a table.
        resumed: seconds from each promotion of the log's database to the next acceptance.
    """

    violations: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    silence: float = 0.0
    stall: float = 0.0
    resumed: list[float] = field(default_factory=list)


def is_overloaded(minute: float, *_: float) -> bool:
    """Return whether so much else wants the processor that bounds of time say nothing.

    Args:
        minute: processes that wanted it on average over the last minute.
    """
    return minute > LOAD_MAX * (os.cpu_count() or 1)


class ClusterRig(ClusterInstallation):
    """A cluster that runs schedules of faults, one after the other."""

    def __init__(
        self, folder: Path, plan: RigPlan, said: Callable[[str], None] = lambda text: None
    ) -> None:
        super().__init__(folder, plan, said)
        self._senders: list[GateSender] = []
        self._number = 0
        self._place = PLACES[0]
        self._moves = 0

    def _begin(self) -> None:
        source, token = self.create_source(SCHEMA)
        side, _ = self.create_source("side")
        self.source_id = source
        self.records = SentRecords(self.client_id, token, self.gates)
        self.revocations = RevocationWatch(self.records, self.call_control, side)
        self.watch = ClusterWatch(
            list(self.places.values()), self.store_url, lambda: dict(self.records.positions)
        )
        for manner, count in SENDERS.items():
            for number in range(count):
                name, home = f"{manner} {number}", len(self._senders)
                self._senders.append(GateSender(self.records, manner, name, home))
        threads: list[Any] = [*self._senders, self.revocations, self.watch]
        for thread in threads:
            thread.start()
        self._stack.callback(self._end_threads, threads)
        self._warm_up()

    def _warm_up(self) -> None:
        """Wait until each destination was checked, and each kind of table was loaded once."""
        eventually(
            lambda: (
                not self._fetch_store(
                    "SELECT count(*) FROM destinations WHERE usable_since IS NULL"
                )
            )
        )
        self.records.begin({"warm_orders": True, "warm_events": False}, time.monotonic())
        self.records.open.set()
        eventually(
            lambda: (
                len(self.watch.tables) == 2
                and all(samples[-1].loaded for samples in list(self.watch.tables.values()))
            )
        )
        if found := self._pause():
            raise RuntimeError("; ".join(found))

    def _fetch_store(self, statement: str) -> int:
        with closing(connect(self.store_url)) as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def _end_threads(self, threads: Sequence[Any]) -> None:
        self.records.open.clear()
        for thread in threads:
            thread.end = True
        for thread in threads:
            thread.join(IDLE_SECONDS_MAX)

    # --- a schedule -------------------------------------------------------------------------------

    def run_schedule(self, schedule: FaultSchedule) -> ScheduleResult:
        """Push while the faults of a schedule come and go, then compare everything."""
        self._number += 1
        keyed = {f"orders_{self._number}_{number}": True for number in range(TABLES)}
        plain = {f"events_{self._number}_{number}": False for number in range(TABLES)}
        impaired = ImpairedTimes(self.topology)
        nemesis = ClusterNemesis(
            self.topology,
            self.members,
            self.groups,
            self.network,
            impaired,
            self._make_member,
            self._name_gates,
            self._move_source,
            self.said,
        )
        began = time.monotonic()
        self.records.begin({**keyed, **plain}, began)
        self.revocations.pushes.clear()
        self.watch.begin()
        self.records.open.set()
        threads = [
            threading.Thread(target=nemesis.carry_out, args=(step, began), daemon=True)
            for step in schedule.steps
        ]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, began + schedule.seconds - time.monotonic()))
        for thread in threads:
            thread.join()
        result = ScheduleResult(list(nemesis.problems))
        time.sleep(1.0)  # what was healed last is used once more
        span = TimeWindow(began, time.monotonic())
        self._revive_members(result)
        result.violations += self._pause()
        result.violations += self._compare(impaired, span, moved="move" in nemesis.counts)
        late = self._judge_times(impaired, span)
        if is_overloaded(*os.getloadavg()):
            result.late += late
        else:
            result.violations += late
        self._measure(result, impaired, nemesis, span)
        return result

    def _move_source(self) -> None:
        """Have the source load into the next destination."""
        places = list(self.places)
        self._place = places[(places.index(self._place) + 1) % len(places)]
        self._moves += 1
        self.run_treadle("source", "move", SCHEMA, self._place)

    def _revive_members(self, result: ScheduleResult) -> None:
        """Every member runs at the end; one that gave up by itself is said, and started."""
        for member in self.members.values():
            if not member.alive:
                result.violations.append(f"{member.name} ended by itself")
                member.begin_start()
                member.wait_until_started()

    def _pause(self) -> list[str]:
        self.records.open.clear()
        deadline = time.monotonic() + IDLE_SECONDS_MAX
        waiting = [
            sender
            for sender in self._senders
            if not sender.idle.wait(max(0.0, deadline - time.monotonic()))
        ]
        return [f"no answer: {sender.name} has none after all is healed" for sender in waiting]

    def _measure(
        self,
        result: ScheduleResult,
        impaired: ImpairedTimes,
        nemesis: ClusterNemesis,
        span: TimeWindow,
    ) -> None:
        silences = bounds.measure_silences(
            self.records.answered, span, impaired.when_nothing_is_accepted()
        )
        result.silence = max((one.end - one.begin for one in silences), default=0.0)
        excused, moments = impaired.when_nothing_is_loaded(), impaired.list_disturbances()
        stalls = [
            one
            for samples in self.watch.tables.values()
            for one in bounds.measure_stalls(samples, excused, moments)[:1]
        ]
        result.stall = max((one.end - one.begin for one in stalls), default=0.0)
        for group, window in nemesis.promotions:
            if group == "log":
                later = [moment for moment in self.records.answered if moment > window.end]
                result.resumed += [min(later) - window.end] if later else []
        result.counts = {
            **nemesis.counts,
            "requests acknowledged": self.records.witness.acknowledged,
            "requests without an answer": self.records.witness.unanswered,
            "tokens revoked": self.revocations.revoked,
            "revoked tokens taken by a gate that could not know": self._count_excused(impaired),
            **{f"{kind} could not be had here": 1 for kind in nemesis.skipped},
        }
        self.revocations.revoked = 0
        for name, count in self.records.counts.items():
            result.counts[name] = count
        self.records.counts.clear()

    def _count_excused(self, impaired: ImpairedTimes) -> int:
        """Count late pushes with revoked tokens that a gate took which was cut off or stopped."""
        every = bounds.find_late_revocations(
            self.revocations.pushes, ImpairedTimes(impaired.topology)
        )
        return len(every) - len(bounds.find_late_revocations(self.revocations.pushes, impaired))

    # --- comparing --------------------------------------------------------------------------------

    def _compare(self, impaired: ImpairedTimes, span: TimeWindow, *, moved: bool) -> list[str]:
        found = list(self.records.notes)
        with self._opened_store() as store:
            found += self._settle(store)
            for table, keyed in self.records.tables.items():
                its = [self._read_rows(url, table) for url in self.places.values()]
                rows, doubled = checks.merge_places(its, keyed=keyed)
                found += doubled + self.records.witness.violations(table, rows)
                if not keyed and self._moves == 1 and not self._says_rows_are_in_both():
                    found += checks.find_crossed_rows(table, its)
            found += checks.find_unbalanced(self._read_accounts(store, moved=moved))
        found += checks.find_unloaded(self._read_receipts())
        found += checks.find_double_keys(self.records.by_key)
        found += self._find_missing_entries()
        found += self.watch.take_found()
        if not moved:
            found += checks.find_crossed_loads(self._read_loads())
        return found

    def _says_rows_are_in_both(self) -> bool:
        """Return whether a loader has told its operator that a destination could not be asked."""
        return any(
            "may be in both" in line
            for member in self.members.values()
            for line in member.read_lines()
        )

    def _judge_times(self, impaired: ImpairedTimes, span: TimeWindow) -> list[str]:
        """What took too long."""
        found = bounds.find_silences(
            self.records.answered, span, impaired.when_nothing_is_accepted()
        )
        found += bounds.find_stalls(
            self.watch.tables, impaired.when_nothing_is_loaded(), impaired.list_disturbances()
        )
        return found + bounds.find_late_revocations(self.revocations.pushes, impaired)

    @contextlib.contextmanager
    def _opened_store(self) -> Iterator[Store]:
        with closing(open_store(self._config())) as store:
            yield store

    def _config(self) -> Config:
        return Config(
            data=self.folder / "command", store=self.store_url, secret_key=self.secret_key
        )

    def _settle(self, store: Store) -> list[str]:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        with closing(open_reader(self._config(), store.logs)) as reader:
            while True:
                backlogs = reader.list_backlogs()
                if not backlogs or time.monotonic() > deadline:
                    break
                time.sleep(0.2)
        known = {
            (status.source_id, status.table_name): status.loaded
            for status in store.tables.list_statuses()
        }
        return [
            f"stuck: {one.entries} entries of {one.table_name} wait, the last {one.last}: loaded "
            f"up to {one.loaded} as the log says, to {known.get((one.source_id, one.table_name))} "
            "as the store says"
            for one in backlogs
        ]

    def _read_rows(self, url: str, table: str) -> list[Row]:
        statement = f'SELECT id, _sdc_sequence, request, note FROM "{SCHEMA}"."{table}"'
        with closing(connect(url)) as connection:
            try:
                rows = connection.execute(statement.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
        return [Row(*row) for row in rows]

    def _read_accounts(self, store: Store, *, moved: bool) -> list[checks.TableAccount]:
        """What the ledger and the reports say of the tables, once both are written.

        Args:
            store: has both.
            moved: the source was moved, and a place that it came back to loads records again: then
                the sum of the reports says nothing.
        """
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            with closing(open_reader(self._config(), store.logs)) as reader:
                lines = compute_ledger(store, reader, [self.source_id])
            reported = self._read_reported()
            accounts: list[checks.TableAccount] = []
            for table in self.records.tables:
                its = [line for line in lines if line.table_name == table]
                accepted = sum(line.accepted for line in its)
                accounts.append(
                    checks.TableAccount(
                        table,
                        accepted,
                        sum(line.loaded for line in its),
                        sum(line.superseded for line in its),
                        sum(line.rejected for line in its),
                        sum(line.waiting for line in its),
                        accepted if moved else reported.get(table, 0),
                    )
                )
            late = any(one.waiting for one in accounts) or checks.find_unbalanced(accounts)
            if not late or time.monotonic() > deadline:
                return accounts
            time.sleep(0.2)  # a row is seen before its load is noted

    def _read_reported(self) -> dict[str, int]:
        statement = """
            SELECT t.name, sum(l.rows_received)::bigint
            FROM loads l JOIN tables t ON t.id = l.table_id
            WHERE l.error IS NULL AND t.source_id = %s GROUP BY t.name
            """
        with closing(connect(self.store_url)) as connection:
            return dict(connection.execute(statement, [self.source_id]).fetchall())

    def _read_loads(self) -> list[checks.CommittedLoad]:
        statement = """
            SELECT t.name, l.first, l.last, l.id FROM loads l JOIN tables t ON t.id = l.table_id
            WHERE l.error IS NULL AND t.source_id = %s
            """
        with closing(connect(self.store_url)) as connection:
            rows = connection.execute(statement, [self.source_id]).fetchall()
        return [checks.CommittedLoad(*row) for row in rows if row[0] in self.records.tables]

    def _read_receipts(self) -> dict[str, list[str]]:
        """The states of some receipts, as gates tell them."""
        receipts = list(self.records.receipts)
        chosen = random.Random(self._number).sample(receipts, min(len(receipts), RECEIPTS_MAX))
        gate = self.gates.list_gates()[self._number % len(self.gates.list_gates())]
        headers = {"Authorization": f"Bearer {self.records.token}"}
        connection = http.client.HTTPConnection(gate.host, gate.port, timeout=70)
        deadline = time.monotonic() + SETTLE_SECONDS_MAX

        def ask(receipt: str) -> str:
            # A gate that was healed a moment ago may not have its log back, and says when to come
            # again.
            while True:
                try:
                    connection.request("GET", f"/v1/receipts/{receipt}", headers=headers)
                    answer = connection.getresponse()
                    said = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    return f"not answered by {gate.name}: {error!r}"
                if answer.status == 200:
                    return str(json.loads(said)["status"])
                if answer.status != 503 or time.monotonic() > deadline:
                    return f"answered {answer.status} by {gate.name}: {said[:100]!r}"
                time.sleep(0.5)

        states = {receipt: [ask(receipt)] for receipt in chosen}
        connection.close()
        return states

    def _find_missing_entries(self) -> list[str]:
        """Compare the acknowledged places with the entries of the log."""
        places = [read_receipt(receipt) for receipt in self.records.receipts]
        if not places:
            return ["nothing was acknowledged"]
        with closing(connect(self.log_url)) as connection:
            number = self._read_log_number()
            lowest = min(place.first for place in places)
            names = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'treadle_log'::regnamespace"
                " AND relkind = 'r' AND relname LIKE %s",
                [f"e\\_{number}\\_%"],
            ).fetchall()
            entries = [
                (position, str(uid))
                for (name,) in names
                for position, uid in connection.execute(
                    f"SELECT position, uid FROM treadle_log.{name} WHERE position >= %s".encode(),
                    [lowest],
                )
            ]
        return checks.find_missing_positions(
            [checks.AcknowledgedPlace(number, one.first, one.entries) for one in places],
            {number: entries},
        )

    def _read_log_number(self) -> int:
        return self._fetch_store(f"SELECT log FROM sources WHERE id = {self.source_id:d}")

    def count_met(self) -> dict[str, int]:
        """Count what the members' log lines tell of, since the rig began."""
        return count_lines(list(self.members.values()), MET)
