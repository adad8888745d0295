"""Tells the workers what waits of each source, and which are above their part of the log."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from treadle.log.protocol import TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.quotas import find_sources_above_part
from treadle.shared_rows import SharedRows

PUBLISH_INTERVAL_US: Final = 250_000
"""The time between two publications."""


@dataclass(frozen=True, slots=True)
class WaitingBoard:
    """Publishes what waits, in shared memory.

    Attributes:
        rows: of `quotas.WAITING_COLUMNS`, by source.
        log_quota: bounds of the log, whose room is shared.
    """

    rows: SharedRows
    log_quota: LogQuota

    def publish(self, backlogs: Iterable[TableBacklog], space: LogSpace, sources: int) -> None:
        """Publish what waits now.

        Args:
            backlogs: all of the log.
            space: of the log.
            sources: how many there are that are not deleted.
        """
        sizes: dict[int, int] = {}
        records: dict[int, int] = {}
        for one in backlogs:
            sizes[one.source_id] = sizes.get(one.source_id, 0) + one.size
            records[one.source_id] = records.get(one.source_id, 0) + one.records
        above = find_sources_above_part(
            sizes, space.used_bytes, self.log_quota.compute_room(space), sources
        )
        self.rows.replace(
            {source: (size, records[source], source in above) for source, size in sizes.items()}
        )
