"""Senders that push without pause, and the server they push to."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.conformance.loading.files_warehouse import Files
from tests.faults.serve import CLOCK, MODULE, VARIABLE, set_clock
from tests.faults.witness import RECORDS, Request, Row, Witness
from tests.servers.processes import roles
from tests.servers.treadle import Client, TreadleServer

from treadle.cli.query import query_destination
from treadle.errors import OperatorError, TreadleError
from treadle.failpoint import FailpointPlan
from treadle.log.sqlite.log import SqliteReader

IDS = 400
"""Different keys of the keyed table: few, so that records supersede each other."""

SETTLE_SECONDS_MAX = 300.0
ANSWER_SECONDS_MAX = 120.0
SETTINGS = {"load_age_seconds": "0.1", "load_rows": "2000"}
"""Loads close often, so that a kill meets one."""


class Sender(threading.Thread):
    """Pushes to one table while the gate is open."""

    def __init__(self, rig: "Rig", table: str, *, keyed: bool, seed: int) -> None:
        super().__init__(daemon=True)
        self._rig = rig
        self._table = table
        self._keyed = keyed
        self._dice = random.Random(seed)
        self._connection: http.client.HTTPConnection | None = None
        self.idle = threading.Event()
        self.end = False

    def run(self) -> None:
        while not self.end:
            self.idle.clear()  # before the gate is looked at: `pause` closes it and waits for this
            if not self._rig.gate.is_set():
                self.idle.set()
                self._rig.gate.wait(0.05)
                continue
            ids = self._dice.sample(range(IDS), RECORDS) if self._keyed else None
            self.push(self._rig.witness.request(self._table, ids))
            if self._rig.pause_seconds:
                time.sleep(self._rig.pause_seconds)
        self.idle.set()

    def push(self, request: Request) -> None:
        """Send until there is an answer, or once where a repetition would add rows."""
        body = json.dumps(
            request.body(self._rig.client_id, self._rig.fields, items=self._rig.items)
        ).encode()
        while not self.end:
            request.outcome = self._once(body, request)
            if request.outcome == "acknowledged" or not self._keyed:
                return
            time.sleep(0.05)

    def _once(self, body: bytes, request: Request) -> Any:
        headers = {"Authorization": f"Bearer {self._rig.token}", "Content-Type": "application/json"}
        if self._connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self._rig.server.port, timeout=ANSWER_SECONDS_MAX
            )
            try:
                connection.connect()
            except OSError:
                time.sleep(0.02)
                # Nothing was sent. What an earlier try left open stays so.
                return "unknown" if self._keyed else "refused"
            self._connection = connection
        try:
            self._connection.request("POST", "/v2/import/push", body, headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except TimeoutError:
            self._rig.notes.append(f"no answer within {ANSWER_SECONDS_MAX:.0f} s")
            self._connection = None
            return "unknown"
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            return "unknown"
        if answer.status == 201:
            request.receipt = answer.headers.get("Treadle-Receipt")
            return "acknowledged"
        if answer.status != 503 or answer.headers.get("Retry-After") is None:
            self._rig.notes.append(f"answer {answer.status}: {said[:200]!r}")
        # A keyed request may have been taken at an earlier try.
        return "unknown" if self._keyed else "refused"


class Rig:
    """A server, what it loads into, and who pushes to it.

    Args:
        folder: for the server's data.
        destination: URL; None for the embedded default.
        tables: name -> whether it has a key.
        settings: further ones of the server.
        clocked: whether its clock can be moved.
        pause: seconds between two requests of a sender.
    """

    def __init__(
        self,
        folder: Path,
        destination: str | None,
        tables: Mapping[str, bool],
        *,
        seed: int,
        senders: int = 2,
        settings: Mapping[str, str] | None = None,
        clocked: bool = False,
        pause: float = 0.0,
    ) -> None:
        self.pause_seconds = pause
        self.plan = folder / "plan"
        self._clock = folder / "clock"
        self._ahead = 0.0
        here = Path(__file__).parents[2]
        environment = {
            "PYTHONPATH": f"{here}{os.pathsep}{here / 'src'}",
            VARIABLE: os.fspath(self.plan),
        }
        if clocked:
            environment[CLOCK] = os.fspath(self._clock)
        self.server = TreadleServer(
            folder / "data",
            destination,
            {**SETTINGS, **(settings or {})},
            environment,
            program=MODULE,
        )
        self.destination_url = destination or f"duckdb://{folder / 'data' / 'warehouse.duckdb'}"
        self.tables = dict(tables)
        self.witness = Witness()
        self.gate = threading.Event()
        self.notes: list[str] = []
        """What nobody expected, for the report."""
        self.client_id = 0
        self.token = ""
        self.fields = 0
        """Further fields that records have; each new one makes a column."""
        self.items = destination is not None and destination.startswith(("files", "iceberg"))
        """Whether records have a subtable: where each table commits for itself, they may differ."""
        self._senders = [
            Sender(self, table, keyed=keyed, seed=seed * 1000 + number)
            for table, keyed in tables.items()
            for number in range(senders)
        ]
        self._reader: SqliteReader | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator["Rig"]:
        """The server with a source; the senders wait at the gate."""
        with self.server:
            client = Client(self.server, *self.server.account())
            self.client_id = client.client_id
            _, self.token = client.create_source("web")
            client.http.close()
            for sender in self._senders:
                sender.start()
            try:
                yield self
            finally:
                self.gate.clear()
                for sender in self._senders:
                    sender.end = True
                for sender in self._senders:
                    sender.join()
                if self._reader is not None:
                    self._reader.close()

    def pause(self) -> None:
        """Close the gate and wait until every sender has its answer."""
        self.gate.clear()
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        for sender in self._senders:
            if not sender.idle.wait(max(0.0, deadline - time.monotonic())):
                self.notes.append("a sender got no answer after the server was there again")

    def restart(self) -> None:
        """Start the server again after it was killed."""
        if self.server.process.stdout is not None:
            self.server.process.stdout.close()
        self.server.start()

    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self.server.process.poll() is None

    def kill(self, victim: str) -> bool:
        """kill -9 of one process or all; returns whether the server has to be started again."""
        if victim == "all":
            self.server.kill()
        elif victim == "supervisor":
            self.server.process.kill()
            self.server.process.wait()
        else:
            child = dict(roles(self.server.process.pid)).get(victim)
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return False
        return True

    def kill_at(
        self, plan: FailpointPlan, seconds: float = SETTLE_SECONDS_MAX, *, ahead: float = 0.0
    ) -> bool:
        """Push until a process died at a point; returns whether one did.

        Args:
            plan: of the death.
            seconds: to wait for it.
            ahead: seconds that pass at once when it is awaited.
        """
        deadline = time.monotonic() + seconds
        ready = self.plan.with_suffix(".new")
        ready.write_bytes(msgspec.json.encode(plan))
        ready.replace(self.plan)
        if ahead:
            self.pass_by(ahead)
        self.gate.set()
        while self.plan.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        died = not self.plan.exists()
        self.plan.unlink(missing_ok=True)
        return died

    def pass_by(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += seconds
        set_clock(self._clock, int(self._ahead * 1_000_000))

    def forget(self) -> None:
        """Expect nothing of what was sent so far; the senders are idle."""
        self.witness = self.witness.fresh()

    def settle(self) -> list[str]:
        """Wait until nothing waits in the log; says what does when it takes too long."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        waiting = ["the log cannot be read"]
        while time.monotonic() < deadline:
            with contextlib.suppress(TreadleError):
                if self._reader is None:
                    self._reader = SqliteReader(self.server.data / "log.sqlite")
                waiting = [
                    f"stuck: {one.entries} entries of {one.table_name} wait"
                    for one in self._reader.list_backlogs()
                ]
                if not waiting:
                    return []
            time.sleep(0.05)
        return waiting

    def rows(self, table: str) -> list[Row]:
        """What the destination holds; nothing where the table was never made."""
        if self.destination_url.startswith("files://"):
            return self._read_files(table)
        try:
            found = query_destination(
                self.destination_url,
                f'select id, _sdc_sequence, request, note from "web"."{table}"',
            )
        except OperatorError as error:
            if re.search("does(n't| not) exist", str(error)):
                return []
            raise
        return [Row(*row) for row in found.rows]

    def _read_files(self, table: str) -> list[Row]:
        """What somebody finds who lists files: of a key the newest row, as the pages say."""
        files = Files(self.destination_url, "web")
        if table not in files.tables():
            return []
        newest = " qualify row_number() over (partition by id order by _sdc_sequence desc) = 1"
        chosen = newest if self.tables[table] else ""
        found = files.query(f'select id, _sdc_sequence, request, note from "{table}"{chosen}')
        return [Row(*row) for row in found]

    def _compare_items(self, table: str, *, keyed: bool) -> list[str]:
        """How the rows of a subtable differ from two for each row of their table."""
        if not self.rows(table):
            return []
        key = "id" if keyed else "__sdc_primary_key"
        [(parents, children, torn)] = query_destination(
            self.destination_url,
            f'with p as (select distinct "{key}" as k, _sdc_sequence as s, request as r'
            f' from "web"."{table}"),'
            f' c as (select distinct "_sdc_source_key_{key}" as k, _sdc_level_0_id as l,'
            " _sdc_sequence as s, request as r"
            f' from "web"."{table}__items"),'
            " n as (select p.k, count(c.k) as n from p left join c"
            " on c.k = p.k and c.s = p.s and c.r = p.r group by p.k, p.s, p.r)"
            " select (select count(*) from p), (select count(*) from c),"
            " (select count(*) from n where n <> 2)",
        ).rows
        if children == 2 * parents and not torn:
            return []
        return [f"{table}: {children} rows of {parents} records in the subtable, {torn} torn"]

    def violations(self) -> list[str]:
        """What is wrong now, with all senders idle."""
        found = self.settle()
        for table in self.tables:
            found += self.witness.violations(table, self.rows(table))
            if self.items:
                found += self._compare_items(table, keyed=self.tables[table])
        with contextlib.suppress(OperatorError):
            rejected = query_destination(
                self.destination_url, 'select count(*) from "web"."_sdc_rejected"'
            ).rows[0][0]
            if rejected:
                found.append(f"rejected: {rejected} records")
        found += self.notes
        self.notes = []
        return found
