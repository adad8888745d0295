"""What the store knows, as values. Times are microseconds since 1970, UTC."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """A client: who owns sources and destinations.

    Attributes:
        id: `stitch_client_id`, `client_id` on the wire.
        destination_id: the default destination of its sources; None until the first start.
    """

    id: int
    name: str
    created_at: int
    destination_id: int | None


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A Connect API token as it is listed: the token itself is not kept (connect-api.md 1.3).

    Attributes:
        last_four: its last four characters.
        disabled_at: since when it opens nothing; None while it does.
    """

    id: int
    account_id: int
    last_four: str
    description: str
    created_at: int
    disabled_at: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """Something that may push; one destination schema (connect-api.md 3.1)."""

    id: int
    account_id: int
    type: str
    display_name: str
    name: str
    destination_id: int | None
    created_at: int
    updated_at: int
    paused_at: int | None
    system_paused_at: int | None
    deleted_at: int | None
    settings: dict[str, Any]

    @property
    def active(self) -> bool:
        """Whether pushes are accepted (connect-api.md 4.3)."""
        return self.paused_at is None and self.system_paused_at is None and self.deleted_at is None


@dataclass(frozen=True, slots=True)
class ImportToken:
    """An Import API access token of a source.

    Attributes:
        secret: the token itself; None where it is not kept or was not asked for.
        bootstrap: it was made with the source and not asked for (connect-api.md 2.6).
        first_used_at: when it first authenticated a push; None for never.
        uses: requests it authenticated.
    """

    id: int
    source_id: int
    secret: str | None
    bootstrap: bool
    created_at: int
    first_used_at: int | None
    last_used_at: int | None
    uses: int
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whom an Import API token belongs to: all that a push needs to know.

    Attributes:
        active: the source is neither paused nor deleted.
        unused: the token never authenticated a push; its first use is recorded before the answer.
    """

    token_id: int
    source_id: int
    account_id: int
    active: bool
    unused: bool


@dataclass(frozen=True, slots=True)
class ConfiguredDestination:
    """A configured destination; `url` holds credentials and is kept encrypted.

    Attributes:
        trouble: why the loader cannot use it now, for the operator; None when all is well.
        trouble_since: since when.
    """

    id: int
    account_id: int
    type: str
    name: str
    url: str
    created_at: int
    updated_at: int
    deleted_at: int | None
    trouble: str | None
    trouble_since: int | None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The report of one load of one table (loading.md 11.2).

    Attributes:
        id: a UUID.
        table_name: as sent. `tables`: destination tables written -> rows.
        first, last: positions of the log entries it took.
        details: JSON value with the remaining fields of the report.
        error: None for a load that was committed.
    """

    id: str
    source_id: int
    table_name: str
    first: int
    last: int
    started_at: int
    finished_at: int
    rows_received: int
    rows_loaded: int
    rows_discarded: int
    rows_rejected: int
    tables: dict[str, int]
    details: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class EntryOutcome:
    """What became of an entry's records other than plainly loaded; none is kept when all loaded.

    Attributes:
        position: log position of the entry.
        superseded: lost against a record with a higher (or equal, earlier) sequence, or were of an
            older table version.
        rejected: (index in the entry, reason).
    """

    position: int
    source_id: int
    table_name: str
    superseded: int
    rejected: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class TableLoadStatus:
    """How loading of one table stands.

    Attributes:
        loaded: greatest position whose load was recorded.
        error: why the last try failed; None when it did not. `stopped`: somebody has to act.
        began: position of the table's first entry; None when it was in an earlier log, or is not
            known.
        rebuilt_at: when its rows were last replaced by what the log holds, or about to be.
    """

    source_id: int
    table_name: str
    loaded: int
    loaded_at: int | None
    error: str | None
    error_since: int | None
    stopped: bool
    began: int | None = None
    rebuilt_at: int | None = None


@dataclass(frozen=True, slots=True)
class TableTotals:
    """What became of the records of one table since the store was made. Every count only grows.

    Attributes:
        position: greatest position of the present log whose load was recorded.
        received: records that loads took; each was `loaded`, `superseded` or `rejected`.
        damaged: entries of the log that were left out.
        loads: that were committed. `failures`: tries that were not.
        error: the last try failed. `stopped`: somebody has to act.
    """

    source_id: int
    table_name: str
    position: int
    received: int
    loaded: int
    superseded: int
    rejected: int
    damaged: int
    loads: int
    failures: int
    error: bool
    stopped: bool
