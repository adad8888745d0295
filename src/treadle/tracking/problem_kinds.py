"""The kinds of problems that recipients are told of by mail, as data (connect-rest.md A.2.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

ProblemLevel = Literal["warning", "critical", "delay"]
"""critical: records are not loaded. delay: they are late. warning: they may soon be."""

HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem.

    Attributes:
        name: of the kind, as notices keep it.
        delay_us: how long a problem lasts before the mail, microseconds.
        subject: of the mail, behind the prefix. It never changes: people filter by it.
        found: what is the matter, a sentence that ends before the names of what it is with.
        remedy: what to do, one sentence or more.
        quotes: the mail tells what the database said.
    """

    name: str
    level: ProblemLevel
    delay_us: int
    subject: str
    found: str
    remedy: str
    quotes: bool = False


DESTINATION_DENIED: Final = ProblemKind(
    "destination_denied",
    "critical",
    0,
    "Data Warehouse Error",
    "The destination refuses what loading needs:",
    "Give treadle's user the right that it lacks, or mend the URL of the destination. Records are "
    "accepted and wait; loading is tried again by itself.",
    quotes=True,
)
DESTINATION_UNAVAILABLE: Final = ProblemKind(
    "destination_unavailable",
    "critical",
    2 * HOUR_US,
    "We're having trouble writing to your data warehouse",
    "The destination cannot be written to:",
    "Start it, make room in it, or close what holds it. Records are accepted and wait; loading is "
    "tried again by itself.",
    quotes=True,
)
TABLE_STOPPED: Final = ProblemKind(
    "table_stopped",
    "critical",
    2 * HOUR_US,
    "We're unable to load some of your data",
    "These tables are stopped until somebody acts:",
    "`treadle doctor` says for each what to do. Their records wait; other tables load.",
    quotes=True,
)
RECORDS_REJECTED: Final = ProblemKind(
    "records_rejected",
    "critical",
    2 * HOUR_US,
    "We're unable to load some of your data",
    "Records of these tables are rejected, because the destination cannot hold them:",
    "They are in _sdc_rejected with the reasons; `treadle rejects list` shows them, and `treadle "
    "rejects resend` sends them again when they are repaired.",
)
DATA_DELAYED: Final = ProblemKind(
    "data_delayed",
    "delay",
    3 * HOUR_US,
    "Data delays",
    "Records of these sources wait to be loaded:",
    "They are safe, and are not in their tables. `treadle log stats` shows what waits, and "
    "`treadle doctor` looks for the reason.",
)
HOOK_FAILED: Final = ProblemKind(
    "hook_failed",
    "warning",
    0,
    "Unable to Deliver Post Load Notification",
    "These hooks did not take what was delivered, and it is not tried again by itself:",
    "Look at what answers at the URL of the hook. A delivery can be sent again by hand.",
)
LOG_NEARLY_FULL: Final = ProblemKind(
    "log_nearly_full",
    "warning",
    0,
    "The log is nearly full",
    "The server's log is nearly full:",
    "Soon requests are answered 503, until records are loaded or there is room. Who runs the "
    "server sees the figures with `treadle doctor`.",
)
ENTRIES_DAMAGED: Final = ProblemKind(
    "entries_damaged",
    "warning",
    0,
    "Damaged entries were left out",
    "Entries of the log could not be read any more, and were left out of loads of these tables:",
    "`treadle log verify` names them. Ask who sent them to send them again.",
)

PROBLEM_KINDS: Final[Mapping[str, ProblemKind]] = {
    kind.name: kind
    for kind in (
        DESTINATION_DENIED,
        DESTINATION_UNAVAILABLE,
        TABLE_STOPPED,
        RECORDS_REJECTED,
        DATA_DELAYED,
        HOOK_FAILED,
        LOG_NEARLY_FULL,
        ENTRIES_DAMAGED,
    )
}
"""Every kind, by name."""
