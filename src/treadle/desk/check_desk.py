"""The desk: opens destinations for those who ask for it, so that no worker and no loader does so.

It takes checks from the store, and has each done by a task process of its own, whose memory and
time are bounded: a destination that hangs, or fills the memory, costs that process and nothing
else. The desk itself opens no destination.
"""

import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.desk.check_order import CheckOrder, CheckResult, decode_result, encode_order
from treadle.errors import RetriableError, TreadleError
from treadle.http.address_policy import AddressPolicy
from treadle.store.model import ConfiguredDestination, DestinationCheck
from treadle.store.store import Store
from treadle.tables.schema_owner import SchemaOwner
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import TaskAbandonedError, TaskOverdueError, TaskProcess

logger = logging.getLogger("treadle.desk")

POLL_SECONDS: Final = 1.0
"""How often the store is asked for checks when nobody says that there is one."""

PROCESSES_MAX: Final = 3
"""Checks at once. An account has all but one of them at most, so that no other has to wait."""

CHECK_SECONDS_MAX: Final = 60
"""Time after which a check is ended, by the clock. Also its processor time."""

CHECK_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Memory of a check. A large catalogue of DuckDB takes half of it."""

CLAIM_US: Final = 90_000_000
"""How long a check is claimed: longer than it can take."""

CLAIMS_MAX: Final = 5
"""How often a check is begun. One with which the desk itself ended each time is given up."""

STOP_PAUSE_SECONDS: Final = 0.02

CHECK_FUNCTION: Final = "treadle.desk.check_task:check_destination"

_SETTING_PREFIX: Final = "TREADLE_"


@dataclass(slots=True)
class CheckDesk:
    """Does the checks that the store has.

    Attributes:
        store: has them, and the destinations.
        data: the data folder.
        turns: the folder of claims, see `LoaderPriority`.
        store_url: of the store, by which rehearsals are locked.
        place: where it runs, see `ClusterMember.place`.
        clock: microseconds since 1970.
        policy: which addresses of destinations that an account named are connected to.
        function: does a check in a task process, see `TaskRequest.function`.
        seconds: that a check may take.
    """

    store: Store
    data: Path
    turns: Path
    store_url: str = field(repr=False)
    place: str
    clock: Callable[[], int]
    policy: AddressPolicy = AddressPolicy(allows_loopback=False)  # noqa: RUF009 - a value
    function: str = CHECK_FUNCTION
    seconds: int = CHECK_SECONDS_MAX
    _holder: str = field(default_factory=lambda: str(uuid.uuid4()))
    _wake: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: dict[int, TaskProcess] = field(default_factory=dict)
    """By the id of the check."""
    _accounts: Counter[int] = field(default_factory=Counter)
    """How many checks of an account are under way."""
    _is_stopped: bool = False
    _is_waiting: bool = False

    def run(self, ready: Callable[[], None]) -> None:
        """Do checks until `stop`; those that are under way then are ended and begun anew later."""
        threads = ThreadPoolExecutor(PROCESSES_MAX, thread_name_prefix="check")
        ready()
        try:
            while not self._is_stopped:
                self._wake.clear()
                while not self._is_stopped and (check := self._claim()) is not None:
                    threads.submit(self._run_check, *check)
                if not self._is_stopped:
                    self._wake.wait(POLL_SECONDS)
        finally:
            self._end_checks()
            threads.shutdown()

    def _end_checks(self) -> None:
        """End the checks that are under way, also those whose processes only begin to work."""
        while True:
            with self._lock:
                self._is_stopped = True  # from here on, no further one begins
                running = list(self._running.values())
            if not running:
                return
            for process in running:
                process.kill_current()
            time.sleep(STOP_PAUSE_SECONDS)

    def wake(self) -> None:
        """Look at once whether there is a check; may be called from any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end; may be called from a signal handler."""
        self._is_stopped = True
        self._wake.set()

    def run_once(self) -> None:
        """Do the checks that wait now, in the calling thread: for commands without a server."""
        while (check := self._claim()) is not None:
            self._run_check(*check)

    def _claim(self) -> tuple[DestinationCheck, ConfiguredDestination] | None:
        """Claim the next check, if there is one and a process is free."""
        with self._lock:
            if sum(self._accounts.values()) >= PROCESSES_MAX:
                return None
            busy = [
                account for account, runs in self._accounts.items() if runs >= PROCESSES_MAX - 1
            ]
        try:
            check = self.store.checks.claim_check(self.place, self._holder, CLAIM_US, busy)
            row = None if check is None else self._find_destination(check.destination_id)
        except RetriableError as error:
            if not self._is_waiting:
                logger.warning("the desk waits: %s", error)
            self._is_waiting = True
            return None
        self._is_waiting = False
        if check is None or row is None:
            return None
        with self._lock:
            self._accounts[row.account_id] += 1
        return check, row

    def _find_destination(self, destination_id: int) -> ConfiguredDestination | None:
        rows = self.store.destinations.list_destinations()
        return next((row for row in rows if row.id == destination_id), None)

    def _run_check(self, check: DestinationCheck, row: ConfiguredDestination) -> None:
        """Do a claimed check, and record how it ended."""
        began = time.monotonic()
        try:
            result = self._check(check, row)
            if result is None or not self.store.checks.finish_check(
                check.id, self._holder, result.error, result.phases
            ):
                logger.info("check %s ended without a result", check.name)
            elif result.error is None:
                logger.info("check %s succeeded in %.1f s", check.name, time.monotonic() - began)
            else:
                logger.warning("check %s failed: %s", check.name, result.error)
        except TreadleError as error:
            # The claim ends by itself, and then the check is begun again.
            logger.warning("check %s could not be recorded: %s", check.name, error)
        except Exception:
            logger.exception("check %s failed by a fault of treadle", check.name)
        finally:
            with self._lock:
                self._running.pop(check.id, None)
                self._accounts[row.account_id] -= 1
            self._wake.set()

    def _check(self, check: DestinationCheck, row: ConfiguredDestination) -> CheckResult | None:
        """Return what the task process found; None if it was ended because the desk stops."""
        if check.claims > CLAIMS_MAX:
            return CheckResult(
                f"The check of {row.name} was begun {CLAIMS_MAX} times, and each time something "
                "ended the server's desk before it was done; the log lines of the server say more."
            )
        order = self._make_order(row)
        process = TaskProcess(CHECK_BYTES_MAX, self.seconds, select_environment(os.environ))
        with self._lock:
            if self._is_stopped:
                return None
            self._running[check.id] = process
        try:
            request = TaskRequest(self.function, self.seconds, encode_order(order))
            return decode_result(process.run(request))
        except TaskAbandonedError:
            return None
        except TaskOverdueError:
            return CheckResult(
                f"The destination {row.name} did not end a rehearsed load within {self.seconds} "
                "seconds, so the check was ended."
            )
        except TreadleError as error:
            return CheckResult(f"The check of {row.name} was ended before it was done: {error}.")
        finally:
            process.close()

    def _make_order(self, row: ConfiguredDestination) -> CheckOrder:
        of_source = self.store.destinations.list_ids_by_source()
        schemas = tuple(
            (
                source.schema,
                SchemaOwner(self.store.installation_id, source.account_id, source.id),
            )
            for source in self.store.sources.list_sources()
            if source.deleted_at is None and of_source.get(source.id) == row.id
        )
        policy = self.policy if row.is_named_by_account else None
        return CheckOrder(
            row.url, schemas, self.clock(), self.data, self.turns, self.store_url, policy
        )


def select_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a check needs of the environment: all that drivers may read, no secret of ours.

    A loader opens destinations with the same variables, such as PGSSLROOTCERT.
    """
    return {
        name: value for name, value in environment.items() if not name.startswith(_SETTING_PREFIX)
    }
