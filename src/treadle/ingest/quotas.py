"""Keeps each source within its quota, for admission and the fast path.

A request only looks whether its source's gate is open, and adds to its counts. A task of the event
loop settles the counts ten times a second: it takes from the buckets what was used meanwhile, by
all workers, and closes and opens gates. So a source may use more than its rate for a tenth of a
second; what it used too much is taken from what comes then (`quotas.settle_level`). While nobody
sends, the task rests, and settles once a second; the next request wakes it, and is settled in time.

Workers know of each other by rows in shared memory (`shared_rows`): each counts what it accepted,
and reads what the others did since the last look. The rate of a source is so kept over all workers,
exactly in the long run. What waits in the log, and who is above its part, comes from the loader in
the same way.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from treadle.ingest.endpoint import RequestHandler
from treadle.quotas import (
    ACCOUNT_USAGE_COLUMNS,
    LOG_PART,
    QUOTA_RETRY_SECONDS,
    RATES,
    REFUSALS,
    USAGE_COLUMNS,
    QuotaReachedError,
    QuotaTable,
    RateBuckets,
    RateUsage,
)
from treadle.shared_rows import SharedRows, read_rows
from treadle.store.model import TokenOwner
from treadle.store.store import Store
from treadle.waiting_rows import WaitingRow, read_waiting

SETTLE_SECONDS: Final = 0.1
"""The time between two settlements."""

LOOK_SECONDS: Final = 0.3
"""The time between two looks at what waits, and at what other workers counted."""

REST_SECONDS: Final = 1.0
"""The time between two settlements while nobody sends, and after the last request until it is so.
What other workers count in that time is less than what a bucket holds (`quotas.BURST_SECONDS`)."""

ALONE_SECONDS: Final = 1.0
"""Time after which a source that sends nothing counts no more as one that sends."""

logger = logging.getLogger(__name__)

_held: ContextVar["list[SourceGate]"] = ContextVar("treadle.bodies")
"""The gates that count the body of the running request."""


@dataclass(slots=True)
class SourceGate:
    """The use of a source in this worker since the last settlement, and its right to go on.

    Attributes:
        is_open: a request may be taken without a further question.
        bodies: requests in hand that an endpoint reads or decodes.
    """

    source_id: int
    account_id: int
    is_open: bool = True
    requests: int = 0
    bytes: int = 0
    records: int = 0
    bodies: int = 0
    refusal: QuotaReachedError | None = None
    refused: dict[str, int] = field(default_factory=dict)

    def take_usage(self) -> RateUsage:
        """Return what was used since the last call."""
        used = RateUsage(self.requests, self.bytes, self.records)
        self.requests = self.bytes = self.records = 0
        return used


class SourceQuotas:
    """The gates of all sources of one worker.

    It is used by one event loop.

    Attributes:
        gates: by source; one that is not there is made by `admit`.
        is_resting: who adds to the counts of a gate calls `wake`.
        table: the quotas; it is replaced when they change, and any thread may read it.
    """

    follows: Final = "quotas"

    def __init__(
        self,
        store: Store,
        table: QuotaTable | None = None,
        *,
        folder: Path | None = None,
        worker: str = "worker 1",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing before `start`.

        Args:
            store: knows what the operator set for single sources and accounts.
            table: what holds where nothing was set.
            folder: of the rows that processes share; None where there is one process.
            worker: name of this process among them.
            monotonic: seconds.
        """
        self.gates: dict[int, SourceGate] = {}
        self.is_resting = False
        self.table = table or QuotaTable()
        self._store = store
        self._folder = folder
        self._worker = worker
        self._monotonic = monotonic
        self._usage = None if folder is None else SharedRows(folder, worker, USAGE_COLUMNS)
        self._account_usage = (
            None if folder is None else SharedRows(folder, worker, ACCOUNT_USAGE_COLUMNS)
        )
        self._seen: dict[tuple[str, int], RateUsage] = {}
        self._sources = RateBuckets()
        self._accounts = RateBuckets()
        self._waiting: Mapping[int, WaitingRow] = {}
        self._settled_at = self._looked_at = self._used_at = monotonic()
        self._sent_at: dict[int, float] = {}
        self._revision = -1
        self._woken = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the quotas, and settle from now on; a `StoreWatch` tells of changes."""
        await self.refresh()
        self._read_others()  # what was used before counts for nothing
        self._settling = asyncio.create_task(self._settle_again_and_again())

    async def aclose(self) -> None:
        """Stop settling."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        for rows in (self._usage, self._account_usage):
            if rows is not None:
                rows.close()

    def admit(self, owner: TokenOwner, *, keeps: bool = True) -> None:
        """Count a request of a source before its body is read.

        Args:
            owner: who sends it.
            keeps: something of it may come into the log, so what waits there counts.

        Raises:
            QuotaReachedError: it has used what it may.
        """
        gate = self.gates.get(owner.source_id)
        if gate is None:
            gate = self.gates[owner.source_id] = SourceGate(owner.source_id, owner.account_id)
            self._judge(gate)
        if gate.refusal is not None and (keeps or gate.refusal.quota in RATES):
            self.count_refusal(gate.refusal)
            raise gate.refusal.with_traceback(None)  # one error for many requests
        most = self.table.get_source_quota(owner.source_id).bodies
        held = _held.get(None)
        if held is not None:
            if most and gate.bodies >= most:
                refusal = QuotaReachedError(owner.source_id, "bodies", most, 1)
                self.count_refusal(refusal)
                raise refusal
            gate.bodies += 1
            held.append(gate)
        gate.requests += 1
        if self.is_resting:
            self.wake()

    def charge(self, owner: TokenOwner, sizes: Iterable[tuple[int, int]]) -> None:
        """Count what is given to the log.

        Args:
            owner: who sent it.
            sizes: bytes and records of each batch.
        """
        gate = self.gates.get(owner.source_id)
        if gate is not None:
            for size, records in sizes:
                gate.bytes += size
                gate.records += records
            if self.is_resting:  # a long body was read meanwhile
                self.wake()

    def count_refusal(self, refusal: QuotaReachedError) -> None:
        """Count a refusal. The operator is told of it by the worker's `RefusalLines`."""
        gate = self.gates.get(refusal.source_id)
        if gate is None:
            return
        gate.refused[refusal.quota] = gate.refused.get(refusal.quota, 0) + 1
        if self.is_resting:
            self.wake()

    def wake(self) -> None:
        """Settle soon: somebody sends again."""
        self.is_resting = False
        self._woken.set()

    def is_alone(self, source_id: int) -> bool:
        """Return whether no other source has sent a request in the last second."""
        now = self._monotonic()
        for other, sent_at in reversed(self._sent_at.items()):
            if other != source_id:
                return now - sent_at > ALONE_SECONDS
        return True

    def get_tables_max(self, source_id: int) -> int:
        """Return how many tables a source may have, 0 for any; any thread may ask."""
        return self.table.get_source_quota(source_id).tables

    def hold_bodies(self, handler: RequestHandler) -> RequestHandler:
        """Return a handler whose requests count as in hand until they are answered."""

        async def handle(request: Request) -> Response:
            held: list[SourceGate] = []
            token = _held.set(held)
            try:
                return await handler(request)
            finally:
                _held.reset(token)
                for gate in held:
                    gate.bodies -= 1

        return handle

    def settle(self) -> None:
        """Take what was used from the buckets, and open and close the gates."""
        now = self._monotonic()
        seconds, self._settled_at = now - self._settled_at, now
        spent: dict[int, RateUsage] = {}
        of_accounts: dict[int, RateUsage] = {}
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._read_waiting()
            spent, of_accounts = self._read_others()
        # Only these gates: one that is open and unused stays open, and there may be many of those.
        changed = [
            gate
            for gate in self.gates.values()
            if gate.requests or gate.bytes or gate.refused or not gate.is_open
        ]
        if changed or spent:
            self._used_at = now
        elsewhere = [self.gates[source] for source in spent if source in self.gates]
        for gate in changed:
            if gate.requests:
                self._sent_at.pop(gate.source_id, None)
                self._sent_at[gate.source_id] = now
            self._take_usage(gate, spent, of_accounts)
        self._sources.settle(spent, self.table.get_source_quota, seconds)
        self._accounts.settle(of_accounts, self.table.get_account_quota, seconds)
        for gate in (*changed, *elsewhere):
            self._judge(gate)

    def _take_usage(
        self, gate: SourceGate, spent: dict[int, RateUsage], of_accounts: dict[int, RateUsage]
    ) -> None:
        used = gate.take_usage()
        refused, gate.refused = gate.refused, {}
        for totals, owner in ((spent, gate.source_id), (of_accounts, gate.account_id)):
            totals[owner] = totals.get(owner, RateUsage()) + used
        if self._usage is not None and self._account_usage is not None:
            numbers = (used.requests, used.bytes, used.records)
            self._usage.add(
                gate.source_id, (*numbers, *(refused.get(quota, 0) for quota in REFUSALS))
            )
            self._account_usage.add(gate.account_id, numbers)

    def _judge(self, gate: SourceGate) -> None:
        """Open or close a gate."""
        gate.refusal = self._find_refusal(gate)
        gate.is_open = gate.refusal is None

    def _find_refusal(self, gate: SourceGate) -> QuotaReachedError | None:
        source = gate.source_id
        quota = self.table.get_source_quota(source)
        empty = self._sources.find_empty(source, quota)
        if empty is not None:
            name, seconds = empty
            return QuotaReachedError(source, name, getattr(quota, name), seconds)
        whole = self.table.get_account_quota(gate.account_id)
        empty = self._accounts.find_empty(gate.account_id, whole)
        if empty is not None:
            name, seconds = empty
            return QuotaReachedError(source, name, getattr(whole, name), seconds)
        waits = self._waiting.get(source, WaitingRow())
        if quota.waiting_bytes and waits.size >= quota.waiting_bytes:
            most = quota.waiting_bytes
            return QuotaReachedError(source, "waiting_bytes", most, QUOTA_RETRY_SECONDS)
        if waits.is_above:
            return QuotaReachedError(source, LOG_PART, 0, QUOTA_RETRY_SECONDS)
        return None

    def _read_others(self) -> tuple[dict[int, RateUsage], dict[int, RateUsage]]:
        """Return what other workers counted since the last call, of sources and of accounts."""
        spent: dict[int, RateUsage] = {}
        of_accounts: dict[int, RateUsage] = {}
        if self._folder is None:
            return spent, of_accounts
        for columns, totals in ((USAGE_COLUMNS, spent), (ACCOUNT_USAGE_COLUMNS, of_accounts)):
            for process, rows in read_rows(self._folder, columns, without=self._worker):
                for owner, numbers in rows.items():
                    present = RateUsage(*numbers[:3])
                    key = f"{process} {columns[0]}", owner
                    before = self._seen.get(key)
                    if before == present:
                        continue
                    self._seen[key] = present
                    if before is not None or self._settling is not None:
                        used = present - (before or RateUsage())
                        totals[owner] = totals.get(owner, RateUsage()) + used
        return spent, of_accounts

    def _read_waiting(self) -> None:
        if self._folder is not None:
            self._waiting = read_waiting(self._folder)

    def is_outdated(self, revision: int | None, asked_at: float) -> bool:
        """Return whether the quotas are to be read again; see `StoreFollower`."""
        return revision is not None and revision != self._revision

    async def refresh(self) -> None:
        """Read the quotas again if anything changed.

        Raises:
            RetriableError: the store cannot be asked; the last ones hold.
        """
        revision = await asyncio.to_thread(self._store.get_revision)
        if revision != self._revision:
            overrides = await asyncio.to_thread(self._store.quotas.list_overrides)
            self.table = QuotaTable(self.table.source, self.table.account, overrides)
            self._revision = revision

    async def _settle_again_and_again(self) -> None:
        while True:
            await self._pause()
            try:
                self.settle()
            except OSError as error:
                logger.warning("The counts of other workers cannot be read: %s", error)
            except Exception:  # the next time may succeed; without it no quota would ever end
                logger.exception("The counts of workers cannot be settled")

    async def _pause(self) -> None:
        """Wait until it is time to settle again."""
        if self._may_rest():
            self._woken.clear()
            self.is_resting = True
            try:
                await asyncio.wait_for(self._woken.wait(), REST_SECONDS)
            except TimeoutError:
                self.is_resting = False
                return
        await asyncio.sleep(SETTLE_SECONDS)

    def _may_rest(self) -> bool:
        """Return whether nothing that counts has happened for a while, and no gate is to open."""
        is_quiet = self._monotonic() - self._used_at >= REST_SECONDS
        return is_quiet and all(gate.is_open for gate in self.gates.values())
