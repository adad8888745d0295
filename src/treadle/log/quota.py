"""The bounds of a log: requests are refused early, so that accepted records can always be loaded.

Loading writes too: notes in the log and the store, and rows where the destination is a file beside
them. So a part of the disk is not given to new requests.
"""

from dataclasses import dataclass
from typing import Final

from treadle.text import format_bytes

NEARLY_FULL: Final = 0.9
"""The part of `bytes_max` beyond which a log is nearly full."""


@dataclass(frozen=True, slots=True)
class LogSpace:
    """The used and the free bytes of a log.

    Attributes:
        used_bytes: that hold something.
        free_bytes: by which the log can grow; None where nobody here knows, as with a log on the
            disk of another machine.
    """

    used_bytes: int
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class LogLook:
    """What a look at a log from outside tells.

    Attributes:
        space: how full it is.
        oldest: when the oldest entry that is kept was accepted, microseconds since 1970; None where
            there is none.
    """

    space: LogSpace
    oldest: int | None


@dataclass(frozen=True, slots=True)
class LogQuota:
    """The bounds of a log.

    Attributes:
        bytes_max: it takes no more while it holds this much; 0 for no bound.
        disk_reserve_bytes: bytes of the disk that are left for loading.
    """

    bytes_max: int = 0
    disk_reserve_bytes: int = 0

    def compute_room(self, found: LogSpace) -> int | None:
        """Return the bytes that the log may hold in all, those included that it holds now.

        None where no bound is known.
        """
        if found.free_bytes is None:
            return self.bytes_max or None
        by_disk = max(0, found.used_bytes + found.free_bytes - self.disk_reserve_bytes)
        return min(self.bytes_max, by_disk) if self.bytes_max else by_disk

    def find_shortage(self, found: LogSpace) -> str | None:
        """Return why the log takes no more; None when it does."""
        if self.bytes_max and found.used_bytes >= self.bytes_max:
            return (
                f"the log holds {format_bytes(found.used_bytes)}, and log_bytes allows "
                f"{format_bytes(self.bytes_max)}; it takes more once some is loaded and removed"
            )
        if found.free_bytes is not None and found.free_bytes < self.disk_reserve_bytes:
            return (
                f"the disk of the log has {format_bytes(found.free_bytes)} left, and "
                f"disk_reserve_bytes keeps {format_bytes(self.disk_reserve_bytes)} for loading; it "
                "takes more once there is room"
            )
        return None

    def is_nearly_full(self, found: LogSpace) -> bool:
        """Return whether it takes no more soon: the disk has less than twice its reserve."""
        if self.bytes_max > 0 and found.used_bytes >= NEARLY_FULL * self.bytes_max:
            return True
        return found.free_bytes is not None and found.free_bytes < 2 * self.disk_reserve_bytes
