"""Which requests that wait are appended by one statement. All of it judges values."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from treadle.log.protocol import AppendResult, IdempotencyKey
from treadle.quotas import QUOTA_RETRY_SECONDS, QuotaReachedError

GROUP_BYTES_MAX: Final = 1024 * 1024
"""Stored bytes of one group. Larger groups make slow appends slower, and no others faster."""

GROUP_ENTRIES_MAX: Final = 2048
"""Entries of one group, so that a request of many entries holds up few others."""

UID_BYTES: Final = 16
_UID_PREFIX_BYTES: Final = 12


class SizedRequest(Protocol):
    """A request whose size is known."""

    @property
    def stored_bytes(self) -> int:
        """Bytes of its payloads as they are stored."""

    @property
    def entry_count(self) -> int:
        """How many entries it has, at least one."""


def count_group(waiting: Sequence[SizedRequest]) -> int:
    """Return how many requests from the first on make a group: as many as fit, at least one."""
    size = entries = 0
    for count, request in enumerate(waiting):
        size += request.stored_bytes
        entries += request.entry_count
        if count and (size > GROUP_BYTES_MAX or entries > GROUP_ENTRIES_MAX):
            return count
    return len(waiting)


def choose_keyed(plain: int, keyed: int, *, keyed_was_last: bool) -> bool:
    """Return whether the next group is one of requests with a key.

    They take turns with the others where both wait.

    Args:
        plain: how many requests without a key wait.
        keyed: how many with one.
        keyed_was_last: whether the group before was of them.
    """
    return keyed > 0 and (not plain or not keyed_was_last)


def make_uids(prefix: bytes, count: int) -> list[bytes]:
    """Return a uid for each entry of a group.

    Args:
        prefix: random, 12 bytes, of this group alone.
        count: how many entries it has.
    """
    if len(prefix) != _UID_PREFIX_BYTES:
        raise ValueError(f"expected {_UID_PREFIX_BYTES} bytes, found {len(prefix)}")
    return [prefix + struct.pack(">I", number) for number in range(count)]


def split_repeats(keys: Sequence[IdempotencyKey]) -> tuple[list[int], dict[int, int]]:
    """Tell the first request of each name from its repeats in the same group.

    Returns:
        The indexes of the first ones, in order of name; and repeat -> first.
    """
    first_of: dict[bytes, int] = {}
    repeats: dict[int, int] = {}
    for index, key in enumerate(keys):
        first = first_of.setdefault(key.name, index)
        if first != index:
            repeats[index] = first
    return [first_of[name] for name in sorted(first_of)], repeats


@dataclass(frozen=True, slots=True)
class FoundKey:
    """What is stored under the name of a request.

    Attributes:
        digest: of the request that was stored.
        first: position of its first entry; 0 where this transaction stores it.
        new: this transaction stores it.
    """

    digest: bytes
    first: int
    new: bool


def assign_results(
    keys: Sequence[IdempotencyKey],
    firsts: Sequence[int],
    repeats: Mapping[int, int],
    found: Mapping[bytes, FoundKey],
    placed: Mapping[int, int],
) -> list[AppendResult]:
    """Return the answer to each request of a group.

    Args:
        keys: of all requests.
        firsts: see `split_repeats`.
        repeats: see `split_repeats`.
        found: name -> what is stored under it.
        placed: index -> first position, of the requests that this group stored, now or in an
            attempt whose answer was lost.
    """
    results: dict[int, AppendResult] = {}
    for index in firsts:
        its = found[keys[index].name]
        position = placed.get(index)
        results[index] = (
            AppendResult(its.first, its.digest, duplicate=True)
            if position is None
            else AppendResult(position, keys[index].digest, duplicate=False)
        )
    for index, first in repeats.items():
        results[index] = results[first]._replace(duplicate=True)
    return [results[index] for index in range(len(keys))]


TableKey = tuple[int, str]
"""A source's id and the name of a table."""


def judge_new_tables(
    wanted: Sequence[Sequence[TableKey]],
    counts: Mapping[int, int],
    most: Mapping[int, int],
) -> tuple[list[TableKey], dict[int, QuotaReachedError]]:
    """Decide which new tables are added, and which requests are refused for theirs.

    Requests are judged in order. One that is refused adds nothing.

    Args:
        wanted: for each request the tables that the log does not know.
        counts: source id -> how many tables it has.
        most: source id -> how many it may have; 0 or missing for any.

    Returns:
        The tables to add, each once; and index of a request -> its refusal.
    """
    added: dict[TableKey, None] = {}
    used = dict(counts)
    refused: dict[int, QuotaReachedError] = {}
    for index, tables in enumerate(wanted):
        new = [table for table in dict.fromkeys(tables) if table not in added]
        more: dict[int, int] = {}
        for source_id, _ in new:
            more[source_id] = more.get(source_id, 0) + 1
        over = next(
            (
                source_id
                for source_id, count in more.items()
                if most.get(source_id, 0) and used.get(source_id, 0) + count > most[source_id]
            ),
            None,
        )
        if over is not None:
            refused[index] = QuotaReachedError(over, "tables", most[over], QUOTA_RETRY_SECONDS)
            continue
        for source_id, count in more.items():
            used[source_id] = used.get(source_id, 0) + count
        added.update(dict.fromkeys(new))
    return list(added), refused
