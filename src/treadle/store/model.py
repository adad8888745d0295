"""The values that the store keeps. Times are microseconds since 1970, UTC."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """The owner of sources and destinations.

    Attributes:
        id: `stitch_client_id` and `client_id` on the wire.
        destination_id: the default destination of its sources; None before the first start.
    """

    id: int
    name: str
    created_at: int
    destination_id: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """Something that pushes records, and fills one schema (connect-api.md 3.1).

    Attributes:
        schema_name: of the schema, where that is not the source's name.
    """

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
    schema_name: str | None = None

    @property
    def schema(self) -> str:
        """Return the name of the schema that it fills."""
        return self.schema_name or self.name

    @property
    def active(self) -> bool:
        """True while pushes are accepted (connect-api.md 4.3)."""
        return self.paused_at is None and self.system_paused_at is None and self.deleted_at is None


@dataclass(frozen=True, slots=True)
class SenderSignature:
    """The scheme and the secret by which the sender of a webhook signs its requests.

    Attributes:
        scheme: "github", "stripe", "segment" or "plain".
        secret: the secret with which the sender signs.
        header: the header of a plain signature; the other schemes have one of their own.
        encoding: the encoding of a plain signature, "hex" or "base64".
    """

    scheme: str
    secret: str = field(repr=False)
    header: str = ""
    encoding: str = "hex"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token of any kind, as it is listed.

    Attributes:
        kind: "account" opens the Connect API, "import" lets a source push, "webhook" stands in a
            webhook's URL, "metrics" opens `/metrics`.
        account_id: None for a token of the whole server.
        source_id: None for a token of an account, or of the whole server.
        secret: the token itself; None where it is not kept, or was not asked for.
        tables: the only tables that a webhook token fills; empty for the table of its source.
        signature: the signature that a webhook's sender has to give; None for no signature.
        bootstrap: it was made with the source; nobody asked for it (connect-api.md 2.6).
        created_by: who made it; empty where that is not known.
        first_used_at: the time of the first use; None for a token that was never used.
        last_used_from: the address of a client that used it last.
        expires_at: the time from which it is refused; None for never.
        revoked_at: the time since which it is refused; None while it is not revoked.
    """

    id: int
    kind: str
    account_id: int | None
    source_id: int | None
    secret: str | None = field(repr=False)
    last_four: str
    description: str
    tables: tuple[str, ...]
    signature: SenderSignature | None
    bootstrap: bool
    created_at: int
    created_by: str
    first_used_at: int | None
    last_used_at: int | None
    last_used_from: str | None
    uses: int
    expires_at: int | None
    revoked_at: int | None

    def is_active(self, now: int) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The holder of an account token.

    Attributes:
        token_id: the token.
        account: the account that it opens.
    """

    token_id: int
    account: Account


@dataclass(frozen=True, slots=True)
class WebhookScope:
    """The rights of a webhook token.

    Attributes:
        tables: the only tables that it fills; empty for the table of its source.
        signature: the signature that its sender has to give; None for no signature.
    """

    tables: tuple[str, ...]
    signature: SenderSignature | None


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The source and the account of a token, with all that a request needs to know.

    Attributes:
        active: the source is neither paused nor deleted.
        unused: the token was never used; its first use is recorded before the answer.
        expires_at: the time from which the token is refused; None for never.
        webhook: what a webhook token may do; None for an import token.
    """

    token_id: int
    source_id: int
    account_id: int
    active: bool
    unused: bool
    expires_at: int | None = None
    webhook: WebhookScope | None = None


class DestinationSetter(StrEnum):
    """Who said where a destination is (connect-rest.md A.2.2).

    The file of the data folder is set anew at each start, as is what the setting `destination`
    names. The operator names one with `treadle destination`, an account by the Connect API.
    """

    DATA_FOLDER = "folder"
    SETTING = "setting"
    OPERATOR = "operator"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class ConfiguredDestination:
    """A destination as it is configured.

    Attributes:
        type: name in the registry of destinations.
        url: with credentials; the store keeps it encrypted. Empty when it is deleted.
        trouble: why the loader cannot use it now, for the operator; None when it can.
        trouble_since: the time since which it cannot.
        set_by: who said where it is, a word of `DestinationSetter`.
        placed_at: the time since which it names the present database; None where nobody noted it.
    """

    id: int
    account_id: int
    type: str
    name: str
    url: str = field(repr=False)
    created_at: int
    updated_at: int
    deleted_at: int | None
    trouble: str | None
    trouble_since: int | None
    description: str | None = None
    set_by: str = DestinationSetter.DATA_FOLDER
    placed_at: int | None = None

    @property
    def is_named_by_account(self) -> bool:
        """Return whether an account said where it is, so that its addresses are checked."""
        return self.set_by == DestinationSetter.ACCOUNT

    @property
    def is_held(self) -> bool:
        """Return whether the setting says where it is, so that only the setting changes it."""
        return self.set_by == DestinationSetter.SETTING

    @property
    def present_since(self) -> int:
        """Return since when its rows are in the present database."""
        return self.updated_at if self.placed_at is None else self.placed_at


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The report of one load of one table, or of a try that failed (loading.md 11.2).

    Attributes:
        table_name: as sent.
        first, last: positions of the first and the last log entry that it took.
        tables: relation of the destination -> number of rows written.
        details: JSON value with the remaining fields of the report.
        error: why the try failed; None for a committed load.
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
    """The superseded and rejected records of an entry; an entry with none has no outcome.

    Attributes:
        superseded: number of records that lost against one with a higher sequence, or an equal one
            that came earlier, or that belong to an older table version.
        rejected: (index in the entry, reason) of each rejected record.
    """

    position: int
    source_id: int
    table_name: str
    superseded: int
    rejected: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class TableLoadStatus:
    """How far a table is loaded, and what is wrong with it.

    Attributes:
        loaded: greatest position whose load was recorded.
        error: why the last try failed; None when it did not.
        stopped: the table is not tried again until somebody acts.
        began: position of the table's first entry; None when that was in an earlier log, or is not
            known.
        rebuilt_at: the time of the last rebuild, or of its beginning; None without one.
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
    """Totals of the records of one table since the store was made. They only grow.

    Attributes:
        position: greatest position of the present log whose load was recorded.
        received: records that loads took; each was loaded, superseded or rejected.
        damaged: entries of the log that were left out.
        loads: number of committed loads.
        failures: number of failed tries.
        error: the last try failed.
        stopped: the table is not tried again until somebody acts.
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
