"""The values that the store keeps. Times are microseconds since 1970, UTC."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from treadle.tables.rejection_reason import RejectionCode


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
class AccountOwner:
    """The person for whom a partner made an account (connect-api.md 2.1).

    Attributes:
        region: where the data is to be; it is kept, and changes nothing here.
    """

    email: str
    first_name: str
    last_name: str
    region: str


@dataclass(frozen=True, slots=True)
class Source:
    """Something that pushes records, and fills one schema (connect-api.md 3.1).

    Attributes:
        schema_name: of the schema, where that is not the source's name.
        log: the number of the log that has all its entries.
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
    log: int = 0

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
        disabled_at: the time since which it is refused until it is enabled; None if it is not.
        refused: requests that had it after it had ended; `refused_at`: the last of them.
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
    disabled_at: int | None = None
    refused: int = 0
    refused_at: int | None = None

    def is_active(self, now: int) -> bool:
        """Return whether it is neither revoked nor expired nor disabled."""
        return self.disabled_at is None and self.is_kept(now)

    def is_kept(self, now: int) -> bool:
        """Return whether it is neither revoked nor expired; it may be disabled."""
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

    @property
    def account_id(self) -> int:
        """Return the account that the token opens."""
        return self.account.id


@dataclass(frozen=True, slots=True)
class KnownToken:
    """The place of a token that the store knows, also of one that has ended.

    Attributes:
        account_id: None for a token of the whole server.
        source_id: None for a token of no source.
    """

    token_id: int
    account_id: int | None
    source_id: int | None


class ConsoleRole(StrEnum):
    """The roles of sessions of the console: what they may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """Somebody who signs in to the console with an e-mail address and a password.

    Attributes:
        account_id: the account that it opens; None for an admin of the installation, who sees all.
        name: for people.
        has_password: the invitation was accepted.
        disabled_at: the time since which it is refused; None while it is not.
        last_seen_at: the time of a request, noted once a minute at most; None before the first one.
        invited_until: until when its invitation can be accepted; None for no open one.
    """

    id: int
    account_id: int | None
    name: str
    email: str
    role: ConsoleRole
    has_password: bool
    created_at: int
    disabled_at: int | None = None
    last_seen_at: int | None = None
    invited_until: int | None = None


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A session of the console in a browser.

    Attributes:
        account: the account that it opens.
        token_id: the account token that it came from, and ends with; None for one of a user.
        opened_from: the address of the client that opened it.
        expires_at: the time from which it is refused.
        user_id: the user that it came from, and ends with; None for one of an account token.
        user_name: for people; empty for a session of an account token.
        sees_all: it may go over to any account of the installation.
        device: browser and system that it was opened in; empty where that is not known.
        last_seen_at: the time of a request, noted once a minute at most.
    """

    id: int
    account: Account
    token_id: int | None
    role: ConsoleRole
    opened_from: str
    created_at: int
    expires_at: int
    user_id: int | None = None
    user_name: str = ""
    sees_all: bool = False
    device: str = ""
    last_seen_at: int = field(default=0, compare=False)


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
        has_schemas: some table of the source has a schema that its records must fit.
        log: the number of the source's log.
    """

    token_id: int
    source_id: int
    account_id: int
    active: bool
    unused: bool
    expires_at: int | None = None
    webhook: WebhookScope | None = None
    has_schemas: bool = False
    log: int = 0


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The JSON schema that a source has for one of its tables.

    Attributes:
        table_name: as sent in pushes.
        document: JSON text of the schema, an object.
        updated_at: microseconds since 1970, UTC.
    """

    source_id: int
    table_name: str
    document: bytes
    updated_at: int


class DestinationSetter(StrEnum):
    """Who said where a destination is (connect-rest.md A.2.2).

    The file of the data folder is set anew at each start, as is what the setting `destination`
    names. The operator names one with `treadle destination`, an account by the Connect API. Where
    the operator named the server and an account changed something else, such as the database, it is
    an adjusted one: it goes to no other account, and credentials in it may be the operator's.
    """

    DATA_FOLDER = "folder"
    SETTING = "setting"
    OPERATOR = "operator"
    ACCOUNT = "account"
    ADJUSTED = "adjusted"


_HOLDER: Final = re.compile(r" is held by (.*?\(PID \d+\)|another process|a process of [a-z ]+)")
"""In the trouble of a destination that is a file; the text is made where the file is opened."""


@dataclass(frozen=True, slots=True)
class ConfiguredDestination:
    """A destination as it is configured.

    Attributes:
        type: name in the registry of destinations.
        url: with credentials; the store keeps it encrypted. Empty when it is deleted.
        trouble: why the loader cannot use it now, for the operator; None when it can.
        trouble_since: the time since which it cannot.
        usable_since: the time since which it is loaded into; None before its first check that
            succeeded.
        trouble_kind: "denied" where somebody has to act, as for a missing right; "unavailable"
            where it may pass by itself; None without trouble, or where it is not known.
        set_by: who said where it is, a word of `DestinationSetter`.
        placed_at: the time since which it names the present database; None where nobody noted it.
        query_url: with credentials of the role that runs the statements of its account; None for
            none. The store keeps it encrypted.
        identity: the database as the destination itself names it (`Destination.identity`), without
            credentials.
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
    usable_since: int | None
    trouble_kind: str | None = None
    description: str | None = None
    set_by: str = DestinationSetter.DATA_FOLDER
    placed_at: int | None = None
    query_url: str | None = field(default=None, repr=False)
    identity: str = ""

    @property
    def holder(self) -> str | None:
        """Return who holds its file, as in "python3.11 (PID 4711)"; None where nobody does."""
        found = _HOLDER.search(self.trouble or "")
        return None if found is None else found[1].rpartition("/")[2]

    @property
    def is_named_by_account(self) -> bool:
        """Return whether an account named the server or file, so that addresses are checked."""
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
class SourceMove:
    """The last change of a source's destination.

    Attributes:
        former_id: the destination that it loaded into before; None where it had none.
        destination_id: the destination that it loads into since.
        moved_at: when that was asked for; a later move of the same source has a later time.
        settled_at: since when it loads there; None while the former one, or the new one, is still
            to say what it has committed.
    """

    source_id: int
    former_id: int | None
    destination_id: int
    moved_at: int
    settled_at: int | None


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of a table, as a load left it.

    Attributes:
        name: in the destination.
        field: flattened name of the field that it holds; several columns of one are a split.
        type: logical type, such as "bigint".
        nullable: False for key columns.
        system: treadle made it for itself; it holds no field of the records.
    """

    name: str
    field: str
    type: str
    nullable: bool
    system: bool


@dataclass(frozen=True, slots=True)
class KeptRelation:
    """A table of the destination, or one of its subtables, as a load left it.

    Attributes:
        path: names of the fields that lead to its array; () for the table itself.
        name: in the destination.
        columns: in the order in which they were made.
    """

    path: tuple[str, ...]
    name: str
    columns: tuple[KeptColumn, ...]


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """The columns of a table and its subtables, as a load left them.

    Attributes:
        key_fields: the fields that identify a record; () for a table without a key.
        relations: the table itself first; () while it has rows in stages only.
    """

    key_fields: tuple[str, ...]
    relations: tuple[KeptRelation, ...]


@dataclass(frozen=True, slots=True)
class PushedTable:
    """A table that a source pushed records for, after the first try to load it.

    Attributes:
        name: as sent.
        key_fields: the fields that identify a record; () while that is not known.
    """

    id: int
    name: str
    key_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The report of one load of one table, or of a try that failed (loading.md 11.2).

    Attributes:
        table_name: as sent.
        first, last: positions of the first and the last log entry that it took.
        tables: relation of the destination -> number of rows written.
        details: JSON value with the remaining fields of the report.
        error: why the try failed; None for a committed load.
        columns: of the table after the load, where the store may not know them yet. They are kept
            by themselves, so a report that is read has none.
        waited_max_us, waited_p50_us: how long the record that waited longest, and the median one,
            waited from acceptance to the end of the load; None where that is not known.
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
    columns: KeptColumns | None = None
    waited_max_us: int | None = None
    waited_p50_us: int | None = None


class RecordRejection(NamedTuple):
    """One rejected record of an entry.

    Attributes:
        record: index in the entry, from 0.
        reason: as in `_sdc_rejected`.
        code: of the cause; UNKNOWN where an earlier release rejected the record.
        field: the field to blame (`RejectionReason.field`); None where there is none.
    """

    record: int
    reason: str
    code: RejectionCode = RejectionCode.UNKNOWN
    field: str | None = None


class EntryPlace(NamedTuple):
    """The place of an entry: the number of its log, and its position there."""

    log: int
    position: int


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One of the logs of the installation, as the store knows it.

    Attributes:
        number: the log number, from 0; never used for another log.
        log_id: the log's name, a UUID made with it.
        kind: of the back-end, as in `sqlite`.
        url: where it is, which may hold a password; empty for a log in the data folder.
        state: `open`, `draining` or `closed`.
    """

    number: int
    log_id: str
    kind: str
    url: str = field(repr=False)
    state: str


@dataclass(frozen=True, slots=True)
class EntryOutcome:
    """The superseded and rejected records of an entry; an entry with none has no outcome.

    Attributes:
        superseded: number of records that lost against one with a higher sequence, or an equal one
            that came earlier, or that belong to an older table version.
        rejected: the rejected records.
    """

    position: int
    source_id: int
    table_name: str
    superseded: int
    rejected: tuple[RecordRejection, ...]


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
        denied: the last try failed because a right is missing in the destination.
        trouble: what somebody should know of its last load, as that all records were rejected, or
            some for the type of their key; None for nothing. `trouble_since`: when that began.
        place_sha256: SHA-256 of the identity of the database that the load up to `loaded` went
            into; None where nobody noted it.
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
    denied: bool = False
    trouble: str | None = None
    trouble_since: int | None = None
    place_sha256: bytes | None = None


class TableCondition(NamedTuple):
    """The totals of a table and what is wrong with it, for whoever reads all tables.

    Attributes:
        position: greatest position of the present log whose load was recorded.
        received: records that loads took; `TableTotals` has more of them.
        loaded_at: the end of the last load; None before the first one.
        stopped: the table is not tried again until somebody acts.
        error: why the last try failed; None when it did not.
        trouble: what somebody should know of its last load; None for nothing.
    """

    source_id: int
    table_name: str
    position: int
    received: int
    loaded: int
    superseded: int
    rejected: int
    loaded_at: int | None
    stopped: bool
    error: str | None
    trouble: str | None


class TableOverview(NamedTuple):
    """What lists of many tables need of each.

    Attributes:
        position: greatest position of the present log whose load was recorded.
        loaded_at: the end of the last load; None before the first one.
        rejected: records, since the store was made.
        failing: the last try failed.
        stopped: the table is not tried again until somebody acts.
    """

    id: int
    name: str
    position: int
    loaded_at: int | None
    rejected: int
    failing: bool
    stopped: bool


@dataclass(frozen=True, slots=True)
class TableEntry:
    """All that the store has of a table but its columns; for the parts see `TableLoadStatus` too.

    Attributes:
        position: greatest position of the present log whose load was recorded.
        received, loaded, superseded, rejected, damaged, loads, failures: see `TableTotals`.
        version: the table version; None where no load noted it.
        mode: "upsert" or "append"; None where no load noted it.
    """

    id: int
    source_id: int
    name: str
    position: int
    loaded_at: int | None
    error: str | None
    error_since: int | None
    stopped: bool
    trouble: str | None
    trouble_since: int | None
    rebuilt_at: int | None
    received: int
    loaded: int
    superseded: int
    rejected: int
    damaged: int
    loads: int
    failures: int
    version: int | None
    mode: str | None


@dataclass(frozen=True, slots=True)
class TroubledTables:
    """Numbers of tables that somebody should look at.

    Attributes:
        stopped: those that are not tried again until somebody acts.
        troubled: other ones whose last load rejected everything, or records for their key.
    """

    stopped: int
    troubled: int


@dataclass(frozen=True, slots=True)
class TroubledTable:
    """A table that somebody should look at; see `TroubledTables`.

    Attributes:
        source: name of its source.
        stopped: it is not tried again until somebody acts.
        reason: why, as the last load said.
        since: the time since which that is so; None where nobody noted it.
    """

    source: str
    table: str
    stopped: bool
    reason: str | None
    since: int | None


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


@dataclass(frozen=True, slots=True)
class SourceTotals:
    """Totals of the records of all tables of one source, since the store was made.

    Attributes:
        tables: that were loaded, or tried.
        received, loaded, superseded, rejected, damaged, loads, failures: as in `TableTotals`.
        failing: tables whose last try failed, stopped ones included.
        stopped: tables that are not tried again until somebody acts.
    """

    source_id: int
    tables: int
    received: int
    loaded: int
    superseded: int
    rejected: int
    damaged: int
    loads: int
    failures: int
    failing: int
    stopped: int


@dataclass(frozen=True, slots=True)
class MailRecipient:
    """An address that is told of the problems of an account (connect-api.md 3.16).

    Attributes:
        disabled_at: set while it gets nothing.
    """

    id: int
    account_id: int
    address: str
    created_at: int
    disabled_at: int | None


@dataclass(frozen=True, slots=True)
class OpenNotice:
    """A problem that recipients were told of, and that is not over as far as they know.

    Attributes:
        kind: a kind of problem.
        key: tells problems of a kind apart within an account, "destination 7".
        named: what the problem is with, for people.
        began_at: the time since which there is the problem.
        gone_at: the time since which it is not seen; None while it is.
    """

    id: int
    account_id: int
    kind: str
    key: str
    named: str
    began_at: int
    gone_at: int | None


@dataclass(frozen=True, slots=True)
class EndedNotice:
    """A problem that recipients were told of, and that is over.

    Attributes:
        kind: a kind of problem.
        named: what the problem was with, for people.
        began_at: the time since which there was the problem.
        ended_at: the time at which recipients were told that it is over.
    """

    account_id: int
    kind: str
    named: str
    began_at: int
    ended_at: int


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A problem that recipients are to be told of; its fields are those of `OpenNotice`."""

    account_id: int
    kind: str
    key: str
    named: str
    began_at: int


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail that is to be sent to one recipient."""

    recipient_id: int
    address: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """A mail that waits to be sent.

    Attributes:
        created_at: the time at which it was decided on.
        tries: number of tries that failed.
    """

    id: int
    address: str
    subject: str
    body: str
    created_at: int
    tries: int


@dataclass(frozen=True, slots=True)
class RejectionTimes:
    """When loads of one table rejected records, or left damaged entries out.

    Attributes:
        rejected_first, rejected_last: of the loads that rejected records; None without any.
        damaged_first, damaged_last: of the loads that left entries out; None without any.
    """

    source_id: int
    table_name: str
    rejected_first: int | None
    rejected_last: int | None
    damaged_first: int | None
    damaged_last: int | None


@dataclass(frozen=True, slots=True)
class PostLoadHook:
    """A URL that is called after each load into a destination (connect-api.md 2.13).

    Attributes:
        type: "post_load".
        version: of the kind of hook, 1.
        url: kept encrypted: its path often is a secret. Empty where the hook does not open with the
            key of the store, so that nothing is sent.
        secret: the key of the signature of each delivery; None for none.
        disabled_at: while it is set, loads make no deliveries, and none is sent.
        paused_at: while it is set, loads make deliveries, which wait.
        delivered: number of deliveries that were answered 2xx since the hook was made.
        failed: number of those that were given up.
        tries: number of all tries.
    """

    id: int
    account_id: int
    destination_id: int
    type: str
    version: int
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    created_at: int
    modified_at: int
    disabled_at: int | None
    paused_at: int | None
    delivered: int
    failed: int
    tries: int


@dataclass(frozen=True, slots=True)
class HookBacklog:
    """The deliveries of a hook that wait.

    Attributes:
        waiting: how many.
        oldest: when the oldest was made; None when none waits.
    """

    waiting: int = 0
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """What a hook is told of one load, and what became of it.

    Attributes:
        number: orders the deliveries as their loads were recorded.
        id: a UUID that is made of the load and the hook, the same however often it is sent.
        table_name: as sent.
        body: JSON.
        state: "waiting", "delivered" or "failed": given up.
        due_at: the time from which a waiting one may be sent.
        tries: how often it was sent since it was made, or was last sent again by hand.
        tried_at: the end of the last try.
        finished_at: the time of its delivery, or of its last try.
        took_us: how long the last try took.
        status: HTTP status of the last answer; None without an answer.
        answer: the beginning of the body of that answer.
        error: why the last try was none; None when it was.
    """

    number: int
    id: str
    hook_id: int
    source_id: int
    table_name: str
    load_id: str
    body: str
    state: str
    created_at: int
    due_at: int
    tries: int
    tried_at: int | None
    finished_at: int | None
    took_us: int | None
    status: int | None
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that may be sent: the first one of its hook and table that waits.

    Attributes:
        url, secret: of the hook.
        tries: how often it was sent.
    """

    number: int
    id: str
    account_id: int
    hook_id: int
    table_id: int
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    body: str
    due_at: int
    tries: int


@dataclass(frozen=True, slots=True)
class RecordedTry:
    """A try to send a delivery, and what follows from it.

    Attributes:
        state: of the delivery after the try.
        due_at: of the delivery after the try; only of use while it is waiting.
        tries_before, due_before: `tries` and `due_at` of the delivery when it was sent.
        at: the end of the try.
        status: HTTP status; None without an answer.
        answer: the beginning of the body of the answer.
        error: why it is no success; None for one.
    """

    number: int
    hook_id: int
    state: str
    due_at: int
    tries_before: int
    due_before: int
    at: int
    took_us: int
    status: int | None
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class DestinationCheck:
    """A check of a destination: a rehearsed load, that is to be done or was done.

    Attributes:
        name: `<client>.<destination>.check.<uuid>` (connect-api.md 4.7).
        claims: how often a desk began it.
        finished_at: None while it waits or is under way.
        error: why no load is possible, a sentence; None when one is, or nothing is known yet.
        phases: JSON values of the phases that were done, in order: of each `PhaseResult`.
    """

    id: int
    destination_id: int
    name: str
    requested_at: int
    claims: int
    finished_at: int | None
    error: str | None
    phases: tuple[dict[str, Any], ...]

    @property
    def status(self) -> Literal["running", "succeeded", "failed"]:
        """Return the status of the wire (connect-api.md 3.10)."""
        if self.finished_at is None:
            return "running"
        return "succeeded" if self.error is None else "failed"
