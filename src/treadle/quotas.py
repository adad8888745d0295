"""Quotas: how much one source, and one account, may use of what all of them share.

Everything here is a function of values. Counts and clocks are elsewhere: `ingest.quotas`
for requests, `log.sqlite` for tables, the loader for columns and for what waits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, NamedTuple, Self

from treadle.errors import TreadleError

BURST_SECONDS: Final = 10
"""Seconds of a rate that a source can save up while it does not use them."""

PART_FACTOR: Final = 4
"""The part of the log that a source may have: this many times the space that is left free."""

QUOTA_RETRY_SECONDS: Final = 30
"""`Retry-After` of a quota that does not recover with time alone, such as that of tables."""


@dataclass(frozen=True, slots=True)
class SourceQuota:
    """The most that one source may use; 0 stands for no bound.

    Attributes:
        requests: accepted or refused, a second.
        bytes: of records, as the log keeps them before compression, a second.
        records: a second.
        bodies: requests that a worker has in hand at once.
        waiting_bytes: of records that are not loaded yet.
        tables: that ever had a record.
        columns: of one table, system columns included.
        weight: loads of one turn of the loader; never 0.
    """

    requests: int = 0
    bytes: int = 0
    records: int = 0
    bodies: int = 0
    waiting_bytes: int = 0
    tables: int = 0
    columns: int = 0
    weight: int = 1

    def override(self, values: Mapping[str, int]) -> Self:
        """Return this quota with other values; names that are none are left out."""
        return replace(self, **{name: values[name] for name in SOURCE_QUOTAS if name in values})


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """The most that all sources of an account together may use; 0 stands for no bound.

    Attributes:
        requests, bytes, records: a second, as in `SourceQuota`.
        sources: that are not deleted.
    """

    requests: int = 0
    bytes: int = 0
    records: int = 0
    sources: int = 0

    def override(self, values: Mapping[str, int]) -> Self:
        """Return this quota with other values; names that are none are left out."""
        return replace(self, **{name: values[name] for name in ACCOUNT_QUOTAS if name in values})


SOURCE_QUOTAS: Final = tuple(one.name for one in fields(SourceQuota))
ACCOUNT_QUOTAS: Final = tuple(one.name for one in fields(AccountQuota))

RATES: Final = ("requests", "bytes", "records")
"""The quotas that are kept by a bucket."""

LOG_PART: Final = "log_part"
"""Name of the part of the log in refusals. It is computed, and not set by the operator."""

REFUSALS: Final = (*RATES, "bodies", "waiting_bytes", "tables", LOG_PART)
"""Names of all quotas for which a request may be refused."""

USAGE_COLUMNS: Final = (*RATES, *(f"refused {quota}" for quota in REFUSALS))
"""Names of the numbers that a worker counts for each source, in `shared_rows`."""

ACCOUNT_USAGE_COLUMNS: Final = tuple(f"account {rate}" for rate in RATES)
"""Names of the numbers that a worker counts for each account."""

WAITING_COLUMNS: Final = (
    *("waiting bytes", "waiting records", "above its part"),
    *("waiting entries", "oldest waiting"),
)
"""Names of the numbers that the loader counts for each source. The last one is a time, microseconds
since 1970, and 0 for none."""


class QuotaReachedError(TreadleError):
    """A source has used what it may; nothing of the request is kept.

    Attributes:
        source_id: the source.
        quota: one of `REFUSALS`.
        retry_seconds: when it may be tried again.
    """

    def __init__(self, source_id: int, quota: str, most: int, retry_seconds: int) -> None:
        super().__init__(describe_refusal(quota, most))
        self.source_id = source_id
        self.quota = quota
        self.retry_seconds = retry_seconds


_REFUSAL_TEXTS: Final = {
    "requests": "{most} requests a second",
    "bytes": "{most} bytes a second",
    "records": "{most} records a second",
    "bodies": "{most} requests at once",
    "waiting_bytes": "{most} bytes that wait to be loaded",
    "tables": "{most} tables",
}


def describe_refusal(quota: str, most: int) -> str:
    """Return why a request is refused, for its sender."""
    if quota == LOG_PART:
        return "The records of this source that wait take up its part of the log."
    what = _REFUSAL_TEXTS[quota].format(most=most)
    return f"This source may have {what}, and has them."


@dataclass(frozen=True, slots=True)
class RateUsage:
    """The use of the rates: numbers of requests, bytes and records."""

    requests: int = 0
    bytes: int = 0
    records: int = 0

    def __add__(self, other: "RateUsage") -> "RateUsage":
        return RateUsage(
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.records + other.records,
        )

    def __sub__(self, other: "RateUsage") -> "RateUsage":
        return RateUsage(
            max(0, self.requests - other.requests),
            max(0, self.bytes - other.bytes),
            max(0, self.records - other.records),
        )


def settle_level(level: float, spent: float, rate: int, elapsed_seconds: float) -> float:
    """Return the level of a token bucket after some time in which something was spent.

    More may be spent than the bucket has: the level then falls below zero and rises again with
    time. So a body may be larger than the bucket, and over a long time exactly the rate is spent,
    however seldom the bucket is settled.

    Args:
        level: tokens before; at most `BURST_SECONDS` of the rate.
        spent: tokens.
        rate: tokens that are added a second; more than 0.
        elapsed_seconds: at least 0.
    """
    return min(float(rate * BURST_SECONDS), level + rate * max(0.0, elapsed_seconds)) - spent


def compute_wait(level: float, rate: int) -> int:
    """Return the whole seconds until the level of a bucket is above 0; 0 if it is now."""
    return 0 if level > 0 else max(1, math.ceil(-level / rate))


class RateLevels(NamedTuple):
    """The buckets of a source or an account: a level for each of `RATES`, None before first use."""

    requests: float | None = None
    bytes: float | None = None
    records: float | None = None

    def settle(self, spent: RateUsage, quota: SourceQuota | AccountQuota, seconds: float) -> Self:
        """Return the levels after so many seconds in which something was spent."""
        return type(self)(
            *(
                None
                if not rate
                else settle_level(
                    rate * BURST_SECONDS if level is None else level, used, rate, seconds
                )
                for level, rate, used in (
                    (self.requests, quota.requests, spent.requests),
                    (self.bytes, quota.bytes, spent.bytes),
                    (self.records, quota.records, spent.records),
                )
            )
        )

    def find_empty(self, quota: SourceQuota | AccountQuota) -> tuple[str, int] | None:
        """Return the name of the bucket that stays empty for longest, and for how many seconds.

        None when none of them is empty.
        """
        waits = [
            (compute_wait(level, getattr(quota, name)), name)
            for name, level in zip(RATES, self, strict=True)
            if level is not None and getattr(quota, name)
        ]
        seconds, name = max(waits, default=(0, ""))
        return (name, seconds) if seconds else None

    def is_full(self, quota: SourceQuota | AccountQuota) -> bool:
        """Return whether nothing is lost when these levels are forgotten."""
        return all(
            level is None or level >= getattr(quota, name) * BURST_SECONDS
            for name, level in zip(RATES, self, strict=True)
        )


def estimate_stored(waiting: Mapping[int, int], used_bytes: int) -> dict[int, int]:
    """Estimate the bytes that the waiting records of each source take up in the log.

    The log compresses, and keeps loaded entries for a while. The sources' bytes are made smaller in
    one proportion, so that together they are no more than what the log holds.

    Args:
        waiting: source id -> bytes of its waiting records, not compressed.
        used_bytes: of the log.
    """
    total = sum(waiting.values())
    if total <= used_bytes:
        return dict(waiting)
    return {source: size * used_bytes // total for source, size in waiting.items()}


def find_sources_above_part(
    waiting: Mapping[int, int], used_bytes: int, room_bytes: int | None, sources: int
) -> frozenset[int]:
    """Return the sources that may append no more, because others need the rest of the log.

    A source may hold `PART_FACTOR` times as much as is left free. So one alone may take up four
    fifths, two together four ninths each, and something is always left for another. A single source
    has nobody to leave something to.

    Args:
        waiting: source id -> bytes of its waiting records, not compressed.
        used_bytes: of the log.
        room_bytes: that the log may have in all, the used ones included; None for no known bound,
            and then there are no parts.
        sources: how many there are.
    """
    if sources < 2 or room_bytes is None:
        return frozenset()
    stored = estimate_stored(waiting, used_bytes)
    # What is loaded is removed as soon as room is needed, so it counts as free.
    free = max(0, room_bytes - sum(stored.values()))
    return frozenset(source for source, size in stored.items() if size > PART_FACTOR * free)


@dataclass(slots=True)
class RateBuckets:
    """The buckets of many sources, or of many accounts. One that is full is forgotten."""

    _levels: dict[int, RateLevels] = field(default_factory=dict)

    def settle(
        self,
        spent: Mapping[int, RateUsage],
        get_quota: Callable[[int], SourceQuota | AccountQuota],
        seconds: float,
    ) -> None:
        """Settle all buckets.

        Args:
            spent: id -> what was used since the last time.
            get_quota: id -> its quota.
            seconds: since the last time.
        """
        for owner in {*spent, *self._levels}:
            quota = get_quota(owner)
            before = self._levels.get(owner, RateLevels())
            after = before.settle(spent.get(owner, RateUsage()), quota, seconds)
            if after.is_full(quota):
                self._levels.pop(owner, None)
            else:
                self._levels[owner] = after

    def find_empty(self, owner: int, quota: SourceQuota | AccountQuota) -> tuple[str, int] | None:
        """Return the rate that is used up and the seconds until it is not; None for none."""
        levels = self._levels.get(owner)
        return None if levels is None else levels.find_empty(quota)


@dataclass(frozen=True, slots=True)
class QuotaOverrides:
    """Values of the operator for single sources and accounts: id -> name of a quota -> value."""

    sources: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    accounts: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuotaTable:
    """The quotas of all sources and accounts.

    Attributes:
        source: of a source for which nothing was set.
        account: of an account for which nothing was set.
        overrides: what was set.
    """

    source: SourceQuota = SourceQuota()
    account: AccountQuota = AccountQuota()
    overrides: QuotaOverrides = QuotaOverrides()

    def get_source_quota(self, source_id: int) -> SourceQuota:
        """Return the quota of a source."""
        set_ = self.overrides.sources.get(source_id)
        return self.source if set_ is None else self.source.override(set_)

    def get_account_quota(self, account_id: int) -> AccountQuota:
        """Return the quota of an account."""
        set_ = self.overrides.accounts.get(account_id)
        return self.account if set_ is None else self.account.override(set_)
