"""The kinds of problems, as data, and a problem that was found.

Recipients are told of some kinds by mail (connect-rest.md A.2.5); all are shown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

ProblemLevel = Literal["warning", "critical", "delay"]
"""critical: records are not loaded. delay: they are late. warning: they may soon be."""

HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem.

    Attributes:
        name: of the kind, as notices keep it.
        delay_us: how long a problem lasts before the mail, microseconds.
        subject: of the mail, behind the prefix. It never changes: people filter by it. Empty for a
            kind of which no mail is sent.
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


class ProblemIdentity(NamedTuple):
    """What makes a problem the same one at two times."""

    account_id: int
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class FoundProblem:
    """A problem that there is now.

    Attributes:
        kind: a name of `SHOWN_KINDS`.
        key: tells problems of a kind apart within the account, "destination 7".
        named: what it is with, for people.
        since: when it began, microseconds since 1970.
        said: what the database said; empty for nothing.
        source_id: the source that it is with; None where it is with none, or with several.
        table_name: the table that it is with, as sent.
        remedy: what to do; empty for what the kind says.
    """

    account_id: int
    kind: str
    key: str
    named: str
    since: int
    said: str = ""
    source_id: int | None = None
    table_name: str | None = None
    remedy: str = ""

    @property
    def identity(self) -> ProblemIdentity:
        """Return what makes it the same problem at another time."""
        return ProblemIdentity(self.account_id, self.kind, self.key)


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

NO_DESTINATION: Final = ProblemKind(
    "no_destination",
    "critical",
    0,
    "",
    "These sources have no destination, so their records wait:",
    "Make a destination with `treadle destination create`, or choose one for the source.",
)
DESTINATION_UNCHECKED: Final = ProblemKind(
    "destination_unchecked",
    "critical",
    0,
    "",
    "No check of these destinations has succeeded, so the records of their sources wait:",
    "Check the destination again: `treadle destination check ID`, or its page. It says what is "
    "wrong if it fails.",
)
TABLE_FAILING: Final = ProblemKind(
    "table_failing",
    "warning",
    0,
    "",
    "The last load of these tables failed:",
    "It is tried again by itself. `treadle doctor` looks for the reason; other tables load.",
    quotes=True,
)
TOKEN_STILL_USED: Final = ProblemKind(
    "token_still_used",
    "warning",
    0,
    "",
    "These tokens have ended and are still sent:",
    "Give their senders a token that is active. `treadle requests --refused` shows where the "
    "requests come from.",
)
TOKEN_UNUSED: Final = ProblemKind(
    "token_unused",
    "warning",
    0,
    "",
    "These tokens were not used for 30 days:",
    "Revoke them unless they are to be used. What nobody uses can only be stolen.",
)

APPENDS_FAILING: Final = ProblemKind(
    "appends_failing",
    "critical",
    0,
    "",
    "The disk of the log did not take what was sent, so requests were answered 503:",
    "Look at the disk: the log lines of the server have its words. Senders that send again lose "
    "nothing. The problem ends a quarter of an hour after the last failed write.",
    quotes=True,
)
LOG_SERVER: Final = ProblemKind(
    "log_server",
    "critical",
    0,
    "",
    "The PostgreSQL server of a log does not do what accepted records need:",
    "Mend it there. treadle never weakens a setting by itself: while it waits for a standby, "
    "requests are answered 503.",
    quotes=True,
)
SERVER_FINDING: Final = ProblemKind(
    "server_finding",
    "warning",
    0,
    "",
    "The doctor found something that is not as it should be:",
    "Examine the server again when it is mended: `treadle doctor`, or the page Health.",
    quotes=True,
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
"""The kinds of which recipients are told by mail, by name."""

SHOWN_KINDS: Final[Mapping[str, ProblemKind]] = {
    **PROBLEM_KINDS,
    **{
        kind.name: kind
        for kind in (
            NO_DESTINATION,
            DESTINATION_UNCHECKED,
            TABLE_FAILING,
            TOKEN_STILL_USED,
            TOKEN_UNUSED,
            APPENDS_FAILING,
            LOG_SERVER,
            SERVER_FINDING,
        )
    },
}
"""Every kind, by name."""

_LEVELS: Final = ("critical", "warning", "delay")


def order_problems(found: Iterable[FoundProblem]) -> list[FoundProblem]:
    """Return problems, the worst first, and of one level the oldest."""
    return sorted(
        found, key=lambda one: (_LEVELS.index(SHOWN_KINDS[one.kind].level), one.since, one.key)
    )
