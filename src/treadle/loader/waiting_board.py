"""Tells the workers what waits of each source, and which are above their part of the log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from treadle.log.protocol import TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.quotas import find_sources_above_part
from treadle.shared_rows import SharedRows

PUBLISH_INTERVAL_US: Final = 250_000
"""The time between two publications."""


class SourceBacklog(NamedTuple):
    """What waits of all tables of a source.

    Attributes:
        size: bytes of the payloads, not compressed.
        records: how many.
        entries: requests that they came with.
        oldest: when the oldest was accepted, microseconds since 1970; 0 for none.
    """

    size: int = 0
    records: int = 0
    entries: int = 0
    oldest: int = 0


NOTHING_WAITS: Final = SourceBacklog()


def sum_backlogs(backlogs: Iterable[TableBacklog]) -> dict[int, SourceBacklog]:
    """Return what waits of each source."""
    sums: dict[int, SourceBacklog] = {}
    for one in backlogs:
        have = sums.get(one.source_id, NOTHING_WAITS)
        sums[one.source_id] = SourceBacklog(
            have.size + one.size,
            have.records + one.records,
            have.entries + one.entries,
            min(have.oldest or one.oldest, one.oldest),
        )
    return sums


@dataclass(frozen=True, slots=True)
class WaitingBoard:
    """Publishes what waits, in shared memory.

    Attributes:
        rows: of `quotas.WAITING_COLUMNS`, by source.
        log_quota: bounds of the log, whose room is shared.
    """

    rows: SharedRows
    log_quota: LogQuota

    def publish(self, waiting: Mapping[int, SourceBacklog], space: LogSpace, sources: int) -> None:
        """Publish what waits now.

        Args:
            waiting: by source, all of the log.
            space: of the log.
            sources: how many there are that are not deleted.
        """
        sizes = {source: one.size for source, one in waiting.items()}
        above = find_sources_above_part(
            sizes, space.used_bytes, self.log_quota.compute_room(space), sources
        )
        self.rows.replace(
            {
                source: (one.size, one.records, source in above, one.entries, one.oldest)
                for source, one in waiting.items()
            }
        )
