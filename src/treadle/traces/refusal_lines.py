"""Log lines about refused pushes: one a minute for each source, status and reason, with the count.

A sender that is refused often sees nothing of it, so the operator reads it here. The first refusal
is told at once. Those that follow are counted, and told when the minute is over. What a stranger
sent is told by status alone, since its reasons are whatever the stranger likes. Everything here is
a decision on values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from treadle.traces.refusals import STRANGERS, RefusalGroup

LINE_US: Final = 60_000_000
"""The least time between two lines about one source, status and reason, microseconds."""

KEYS_MAX: Final = 1_000
"""Most sources, statuses and reasons that are told apart."""

OTHER_REASONS: Final = "other reasons"

PUSH_ENDPOINTS: Final = frozenset({"push", "batch", "validate", "webhook", "records"})
"""Those whose refusals are told: here data may be missing because of them."""


class SourceNote(NamedTuple):
    """What a line tells of a source.

    Attributes:
        name: of the source.
        is_paused: it refuses pushes because somebody paused it.
    """

    name: str
    is_paused: bool = False


class RefusalKey(NamedTuple):
    """What refusals have in common that are told in one line; source 0 stands for strangers."""

    source_id: int
    status: int
    reason: str


@dataclass(slots=True)
class RefusalTally:
    """The refusals that no line has told yet.

    Attributes:
        told_at: the time of the last line, microseconds since 1970; None before the first one.
        count: of the refusals since then.
        endpoint, reason, address, request: of the latest one.
    """

    told_at: int | None = None
    count: int = 0
    endpoint: str = ""
    reason: str = ""
    address: str = ""
    request: str = ""


class RefusalLine(NamedTuple):
    """One log line: its text, and the same as fields."""

    text: str
    fields: dict[str, Any]


class RefusalLines:
    """The lines of one worker."""

    def __init__(self) -> None:
        self._tallies: dict[RefusalKey, RefusalTally] = {}

    def add(self, group: RefusalGroup, address: str, request: str) -> None:
        """Count a refusal.

        Args:
            group: whose it is, and why.
            address: of the client; empty where it is not known.
            request: its id.
        """
        if group.endpoint not in PUSH_ENDPOINTS:
            return
        if group.source_id == STRANGERS:
            if group.status == 401:
                return  # told of all paths together, by the address
            key = RefusalKey(STRANGERS, group.status, "")
        else:
            key = RefusalKey(group.source_id, group.status, group.reason)
        tally = self._tallies.get(key)
        if tally is None and len(self._tallies) >= KEYS_MAX:
            key = RefusalKey(group.source_id and -1, group.status, OTHER_REASONS)
            tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = RefusalTally()
        tally.count += 1
        tally.endpoint, tally.reason = group.endpoint, group.reason
        tally.address, tally.request = address, request

    def take_lines(self, now: int | None, sources: Mapping[int, SourceNote]) -> list[RefusalLine]:
        """Return the lines whose time has come, and forget what is over.

        Args:
            now: microseconds since 1970; None for the end, when all are written.
            sources: by id.
        """
        found = []
        for key, tally in [*self._tallies.items()]:
            if now is not None and not _is_due(tally, now):
                continue
            if tally.count:
                found.append(_describe(key, tally, sources.get(key.source_id)))
                tally.told_at, tally.count = now, 0
            else:
                del self._tallies[key]
        return found

    def find_next(self, now: int) -> int | None:
        """Return when the next line is due, microseconds from now; None while nothing waits."""
        waits = [
            0 if tally.told_at is None else max(0, tally.told_at + LINE_US - now)
            for tally in self._tallies.values()
            if tally.count
        ]
        return min(waits, default=None)


def _is_due(tally: RefusalTally, now: int) -> bool:
    # Not below 0: a clock that was set back must not delay a line for longer.
    return tally.told_at is None or not 0 <= now - tally.told_at < LINE_US


def _describe(key: RefusalKey, tally: RefusalTally, source: SourceNote | None) -> RefusalLine:
    if key.source_id == STRANGERS:
        whose, name = "with no known token", None
    elif key.source_id < 0:
        whose, name = "of further sources", None
    else:
        name = f"source {key.source_id}" if source is None else source.name
        whose = f"of {name}"
    which = "request" if tally.count == 1 else "requests"
    came = f", the latest from {tally.address}" if tally.address else ""
    paused = source is not None and source.is_paused
    told = "; the source is paused, `treadle source unpause` ends that" if paused else ""
    fields: dict[str, Any] = {
        "source": name,
        "source_id": key.source_id if key.source_id > 0 else None,
        "endpoint": tally.endpoint,
        "status": key.status,
        "reason": tally.reason,
        "count": tally.count,
        "paused": paused,
        "address": tally.address or None,
        "request": tally.request,
    }
    return RefusalLine(
        f"refused {tally.count:,} {which} {whose}: {key.status} {tally.reason} "
        f"({tally.endpoint}{came}, request {tally.request}){told}",
        {one: value for one, value in fields.items() if value is not None},
    )
