"""The tables of the store.

One definition serves SQLite and PostgreSQL. A change here needs a migration in
`migrations/versions`; a test compares the two. Times are microseconds since 1970, UTC.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

from treadle.text import NulEscape

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite gives numbers to rows only in a column of type INTEGER, which has 64 bits there.
Id: Final = BigInteger().with_variant(Integer(), "sqlite")

_nul_escape: Final = NulEscape("\x1a", "1")


class ClientText(TypeDecorator[str]):
    """Any text that a client may choose, also one with NUL, which PostgreSQL refuses.

    NUL is stored as a pair of other characters and comes back as NUL. An unpaired surrogate is no
    character; it becomes U+FFFD, as in the destination.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        if value is None:
            return None
        if not value.isascii():
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return _nul_escape.escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From the database."""
        return None if value is None else _nul_escape.unescape(value)


def restore_text(stored: str) -> str:
    """Return the text of a column of `ClientText` that was read as it is stored."""
    return _nul_escape.unescape(stored)


def _time_column(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable)


def _total_column(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default="0")


# One row with the id 1, for what an installation has once. A change of accounts, sources, tokens or
# destinations raises `revision` first, so there is one such change at a time.
meta: Final = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("installation_id", String(36), nullable=False),
    Column("key_check", String(64), nullable=False),
    Column("revision", BigInteger, nullable=False),
    # Nothing reads or writes it since `logs` has the ids of all logs (revision 0027). The release
    # after the one with that revision removes it (docs/contributing/add-a-migration.md).
    Column("log_id", String(64), nullable=False, server_default=""),
    # The reports of loads that finished before are folded (load_folding.py).
    _total_column("folded_until"),
    # The newest schema revision that a treadle has to know to open the store (migration.py).
    Column("least_version", String(32), nullable=False, server_default=""),
    # The form of entries that members write (releases.py).
    Column("form", Integer, nullable=False, server_default="1"),
)

# The logs of the installation (logs.py). Log 0 is the file in the data folder; its id is empty
# until a server has opened it. `url` is encrypted, and NULL for a log in the data folder.
logs: Final = Table(
    "logs",
    metadata,
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("log_id", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("url", LargeBinary),
    Column("state", String(8), nullable=False),
    _time_column("made_at"),
)

# Sources and destinations share one sequence of ids, the "connections" of connect-api.md 4.7.
connections: Final = Table(
    "connections",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(11), nullable=False),
    sqlite_autoincrement=True,
)

accounts: Final = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", ClientText, nullable=False),
    _time_column("created_at"),
    Column("destination_id", BigInteger),
    _time_column("deleted_at", nullable=True),
)

# The people for whom a partner made accounts. An address is looked up by its SHA-256, in one case
# of letters.
account_owners: Final = Table(
    "account_owners",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    ),
    Column("email", ClientText, nullable=False),
    Column("email_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("first_name", ClientText, nullable=False),
    Column("last_name", ClientText, nullable=False),
    Column("region", String(32), nullable=False),
)

destinations: Final = Table(
    "destinations",
    metadata,
    Column("id", BigInteger, ForeignKey("connections.id"), primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("name", ClientText, nullable=False),
    Column("url", LargeBinary, nullable=False),
    Column("identity", ClientText, nullable=False),
    _time_column("created_at"),
    _time_column("updated_at"),
    _time_column("deleted_at", nullable=True),
    Column("trouble", ClientText),
    _time_column("trouble_since", nullable=True),
    Column("trouble_kind", String(11)),
    Column("description", ClientText),
    # A word of DestinationSetter. Those of earlier releases are set anew at the next start.
    Column("set_by", String(8), nullable=False, server_default="folder"),
    _time_column("placed_at", nullable=True),
    # NULL until its first check succeeded: then nothing is loaded into it.
    _time_column("usable_since", nullable=True),
    # Of the role that runs the statements of its account; encrypted.
    Column("query_url", LargeBinary),
)

# Checks of destinations (checks.py). One that is not finished waits, or is claimed by a desk.
destination_checks: Final = Table(
    "destination_checks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("destination_id", BigInteger, ForeignKey("destinations.id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    _time_column("requested_at"),
    Column("place", Text),
    Column("holder", String(64)),
    _time_column("claimed_until", nullable=True),
    Column("claims", Integer, nullable=False),
    _time_column("finished_at", nullable=True),
    Column("error", ClientText),
    Column("phases", JSON, nullable=False),
    Index(
        "ix_destination_checks_open",
        "requested_at",
        sqlite_where=text("finished_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

sources: Final = Table(
    "sources",
    metadata,
    Column("id", BigInteger, ForeignKey("connections.id"), primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("type", String(64), nullable=False),
    Column("display_name", ClientText, nullable=False),
    Column("name", String(63), nullable=False, index=True),
    Column("destination_id", BigInteger, ForeignKey("destinations.id")),
    _time_column("created_at"),
    _time_column("updated_at"),
    _time_column("paused_at", nullable=True),
    _time_column("system_paused_at", nullable=True),
    _time_column("deleted_at", nullable=True),
    Column("settings", JSON, nullable=False),
    # NULL where it is the name of the source (schema_ownership.py).
    Column("schema_name", String(63)),
    # The number of the log that has all its entries; it stays.
    Column("log", SmallInteger, nullable=False, server_default="0"),
    Index(
        "uq_sources_account_id_name",
        "account_id",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
    ),
)

# The last move of each source to another destination (moves.py). Until it is settled, nothing of
# the source is loaded.
source_moves: Final = Table(
    "source_moves",
    metadata,
    Column(
        "source_id", BigInteger, ForeignKey("sources.id"), primary_key=True, autoincrement=False
    ),
    Column("former_id", BigInteger, ForeignKey("destinations.id")),
    Column("destination_id", BigInteger, ForeignKey("destinations.id"), nullable=False),
    _time_column("moved_at"),
    _time_column("settled_at", nullable=True),
)

# The tokens of all kinds: they have one life and one range of ids. `account_id` is null for those
# of the whole server, `source_id` for those of an account. `sealed` is kept of tokens that the API
# shows again, `signature` is a sealed SenderSignature. `tables` names those of a webhook token.
access_tokens: Final = Table(
    "access_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), index=True),
    Column("source_id", BigInteger, ForeignKey("sources.id"), index=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("sealed", LargeBinary),
    Column("last_four", String(4)),
    Column("description", ClientText, nullable=False),
    Column("tables", JSON, nullable=False),
    Column("signature", LargeBinary),
    Column("bootstrap", Boolean, nullable=False),
    _time_column("created_at"),
    Column("created_by", ClientText, nullable=False),
    _time_column("first_used_at", nullable=True),
    _time_column("last_used_at", nullable=True),
    Column("last_used_from", ClientText),
    Column("uses", BigInteger, nullable=False),
    _time_column("expires_at", nullable=True),
    _time_column("revoked_at", nullable=True),
    _time_column("disabled_at", nullable=True),
    _total_column("refused"),
    _time_column("refused_at", nullable=True),
    sqlite_autoincrement=True,
)

# Uses of a token in each hour of the last week; `hour` counts from 1970.
token_hours: Final = Table(
    "token_hours",
    metadata,
    Column(
        "token_id",
        BigInteger,
        ForeignKey("access_tokens.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("hour", BigInteger, primary_key=True, autoincrement=False, index=True),
    Column("uses", BigInteger, nullable=False),
)

# People who sign in to the console with an e-mail address and a password. `account_id` is null for
# those who see all accounts. An address is looked up by its SHA-256, in one case of letters.
# `password` is a record of `people.passwords`, NULL until the invitation was accepted. The secret
# of an invitation is kept as its SHA-256.
users: Final = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), index=True),
    Column("name", ClientText, nullable=False),
    Column("email", ClientText, nullable=False),
    Column("email_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", Text),
    _time_column("created_at"),
    _time_column("disabled_at", nullable=True),
    _time_column("last_seen_at", nullable=True),
    Column("invite_sha256", LargeBinary(32), unique=True),
    _time_column("invited_until", nullable=True),
    sqlite_autoincrement=True,
)

# Tokens that open a session of the console once, and the sessions. Neither is kept itself, only its
# SHA-256. Both end with the account token that they came from, a session of a user with the user.
ephemeral_tokens: Final = Table(
    "ephemeral_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("token_id", BigInteger, ForeignKey("access_tokens.id"), nullable=False),
    _time_column("created_at"),
    _time_column("expires_at"),
    _time_column("used_at", nullable=True),
    # Of the session that it opens, a word of ConsoleRole.
    Column("role", String(16), nullable=False, server_default="operator"),
    sqlite_autoincrement=True,
)

browser_sessions: Final = Table(
    "browser_sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False, index=True),
    # One of the two: what it came from, and ends with.
    Column("token_id", BigInteger, ForeignKey("access_tokens.id")),
    Column("user_id", BigInteger, ForeignKey("users.id"), index=True),
    Column("role", String(16), nullable=False),
    Column("opened_from", ClientText, nullable=False),
    # The browser and the system that it was opened in; empty where that is not known.
    Column("device", ClientText, nullable=False),
    _time_column("created_at"),
    _time_column("expires_at"),
    # The time of a request of it, noted once a minute at most.
    _time_column("last_seen_at"),
    sqlite_autoincrement=True,
)

# The accounts whose people have put the guide of the console away.
left_guides: Final = Table(
    "left_guides",
    metadata,
    Column(
        "account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False
    ),
    _time_column("left_at"),
)

# A table as clients name it. A name may be longer than the 2,704 bytes that an index of PostgreSQL
# takes, so it is looked up by its SHA-256. `log_id` says which log positions belong to, here and
# below. The totals only grow; they stay when reports and logs are gone.
tables: Final = Table(
    "tables",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source_id", BigInteger, ForeignKey("sources.id"), nullable=False),
    Column("name", ClientText, nullable=False),
    Column("name_sha256", LargeBinary(32), nullable=False),
    Column("log_id", String(64), nullable=False),
    Column("loaded", BigInteger, nullable=False),
    _time_column("loaded_at", nullable=True),
    Column("error", ClientText),
    _time_column("error_since", nullable=True),
    Column("stopped", Boolean, nullable=False),
    Column("denied", Boolean),
    Column("trouble", ClientText),
    _time_column("trouble_since", nullable=True),
    *(_total_column(name) for name in ("received", "written", "discarded", "rejected", "damaged")),
    *(_total_column(name) for name in ("loads", "failures")),
    Column("began", BigInteger),
    _time_column("rebuilt_at", nullable=True),
    # As its last load left them; NULL before the first load of a release that notes them.
    Column("version", BigInteger),
    Column("mode", String(6)),
    # SHA-256 of the identity of the database that its last load went into; NULL where nobody noted
    # that. The identity itself may be the operator's, and is long.
    Column("place_sha256", LargeBinary(32)),
    Index("uq_tables_source_id_name", "source_id", "name_sha256", unique=True),
    sqlite_autoincrement=True,
)

# The columns of a table as its last load left them (`KeptColumns`). They are not in `tables`, which
# every load reads: they may take more than a megabyte. `seen` has the times when loads made the
# columns, in the order of those of `relations`; `left_out` the fields that loads left out.
kept_columns: Final = Table(
    "kept_columns",
    metadata,
    Column("table_id", BigInteger, ForeignKey("tables.id"), primary_key=True, autoincrement=False),
    Column("key_fields", JSON, nullable=False),
    Column("relations", JSON, nullable=False),
    Column("seen", JSON),
    Column("left_out", JSON),
)

# The history of tables (`SchemaEvent`): one row for all that one load changed of a table. It stays
# when the report of that load is gone.
schema_events: Final = Table(
    "schema_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("table_id", BigInteger, ForeignKey("tables.id"), nullable=False),
    Column("account_id", BigInteger, nullable=False),
    _time_column("at"),
    Column("load_id", String(64)),
    Column("kind", String(32), nullable=False),
    Column("reason", ClientText),
    Column("changes", JSON, nullable=False),
    Index("ix_schema_events_by_table", "table_id", "id"),
    Index("ix_schema_events_by_account", "account_id", "id"),
    sqlite_autoincrement=True,
)

# Tables that somebody wants loaded at once (load_requests.py). The loader follows them by their id.
load_requests: Final = Table(
    "load_requests",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source_id", BigInteger, ForeignKey("sources.id"), nullable=False),
    Column("table_name", ClientText, nullable=False),
    _time_column("at"),
    sqlite_autoincrement=True,
)

FAILED: Final = "error IS NOT NULL"
CHANGED: Final = "schema_changes > 0"
REJECTING: Final = "rows_rejected > 0"
"""The conditions of the indexes of loads: a query uses one if it has the same text."""


def _load_indexes(name: str, owner: str) -> list[Index]:
    """Return the indexes of the loads of one owner, newest last: all, and those looked for."""
    places = (owner, "finished_at", "number")
    return [
        Index(f"ix_loads_by_{name}", *places),
        Index(
            f"ix_loads_failed_by_{name}",
            *places,
            sqlite_where=text(FAILED),
        ),
        Index(
            f"ix_loads_changed_by_{name}",
            *places,
            sqlite_where=text(CHANGED),
        ),
    ]


# `account_id` and `source_id` are those of the table: lists of loads go by an index of them.
# `schema_changes` is how many changes of the schema the load made.
loads: Final = Table(
    "loads",
    metadata,
    Column("number", Id, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("log_id", String(64), nullable=False),
    Column("table_id", BigInteger, ForeignKey("tables.id"), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    _time_column("started_at"),
    _time_column("finished_at"),
    Column("rows_received", BigInteger, nullable=False),
    Column("rows_loaded", BigInteger, nullable=False),
    Column("rows_discarded", BigInteger, nullable=False),
    Column("rows_rejected", BigInteger, nullable=False),
    Column("tables", JSON, nullable=False),
    Column("details", JSON, nullable=False),
    Column("error", ClientText),
    _total_column("account_id"),
    _total_column("source_id"),
    Column("schema_changes", Integer, nullable=False, server_default="0"),
    Column("waited_max_us", BigInteger),
    Column("waited_p50_us", BigInteger),
    Index(
        "uq_loads_committed",
        "table_id",
        "log_id",
        "last",
        unique=True,
        sqlite_where=text("error IS NULL"),
    ),
    *_load_indexes("account", "account_id"),
    *_load_indexes("source", "source_id"),
    *_load_indexes("table", "table_id"),
    Index("ix_loads_by_time", "finished_at"),
    *(
        Index(
            f"ix_loads_{name}_by_time",
            "finished_at",
            "number",
            sqlite_where=text(condition),
        )
        for name, condition in (("failed", FAILED), ("rejecting", REJECTING))
    ),
    sqlite_autoincrement=True,
)

outcomes: Final = Table(
    "outcomes",
    metadata,
    Column("log_id", String(64), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("table_id", BigInteger, ForeignKey("tables.id"), nullable=False),
    Column("superseded", BigInteger, nullable=False),
    Column("rejected", JSON, nullable=False),
)

# The causes of the rejected records of a table (rejects.py). `field_key` is the SHA-256 of the
# field, or of nothing; `example` is the reason of the newest record.
reject_causes: Final = Table(
    "reject_causes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("log_id", String(64), nullable=False),
    Column("table_id", BigInteger, ForeignKey("tables.id"), nullable=False),
    Column("source_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("code", String(32), nullable=False),
    Column("field", ClientText),
    Column("field_key", LargeBinary(32), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("resent", BigInteger, nullable=False),
    _time_column("first_at"),
    _time_column("last_at"),
    Column("example", ClientText, nullable=False),
    Column("example_position", BigInteger, nullable=False),
    Column("example_index", BigInteger, nullable=False),
    Index("uq_reject_causes", "table_id", "log_id", "code", "field_key", unique=True),
    Index("ix_reject_causes_by_time", "account_id", "last_at", "id"),
    sqlite_autoincrement=True,
)

# The rejected records of an entry that have one cause. Lists go by one of the indexes, so that no
# list takes longer the more records others have. `indexes` are those in the entry.
reject_entries: Final = Table(
    "reject_entries",
    metadata,
    Column("log_id", String(64), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("cause_id", BigInteger, primary_key=True, autoincrement=False),
    Column("table_id", BigInteger, nullable=False),
    Column("source_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("code", String(32), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("resent", BigInteger, nullable=False),
    _time_column("rejected_at"),
    Column("indexes", JSON, nullable=False),
    Index("ix_reject_entries_by_cause", "cause_id", "position"),
    Index("ix_reject_entries_by_table", "table_id", "log_id", "position"),
    Index("ix_reject_entries_by_source", "source_id", "log_id", "position"),
    Index("ix_reject_entries_by_account", "account_id", "log_id", "position"),
)

# The rejected records that were sent again; `first` is the position of the entry made then.
resent_records: Final = Table(
    "resent_records",
    metadata,
    Column("log_id", String(64), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("record", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    _time_column("resent_at"),
)

# What the server does for somebody over a longer time, such as a resend of many records
# (operations.py). `claimed_until` and `holder` as in destination_checks.
server_operations: Final = Table(
    "server_operations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("errors", JSON, nullable=False),
    Column("note", ClientText),
    _time_column("created_at"),
    Column("created_by", String(64), nullable=False),
    _time_column("started_at", nullable=True),
    _time_column("finished_at", nullable=True),
    Column("place", ClientText),
    Column("holder", String(36)),
    _time_column("claimed_until", nullable=True),
    Index("ix_server_operations_by_account", "account_id", "id"),
    sqlite_autoincrement=True,
)

# Every process that runs (members.py). `until` is by the clock that all of them ask; see there.
members: Final = Table(
    "members",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("place", Text, nullable=False),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("host", Text, nullable=False),
    Column("version", String(32), nullable=False),
    _time_column("since"),
    _time_column("until"),
    Column("notes", JSON, nullable=False),
    Index("ix_members_by_place", "place", "name"),
)

# What one loader at a time has (units.py). The row stays when nobody has the unit. The holder is
# the id of a member, whose row may be gone.
units: Final = Table(
    "units",
    metadata,
    Column("unit", String(32), primary_key=True),
    Column("holder", String(36)),
    Column("fence", BigInteger, nullable=False),
    _time_column("taken_at"),
)

# One row with the id 1. `last` is the greatest fence that was given; `changes` grows with each
# change of units, so that a loader sees whether it has to read them.
fences: Final = Table(
    "fences",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),
)

# The loader that may load into a destination, for treadle before units. It goes with a later
# release; until then units.py keeps its fences above those of units.
leases: Final = Table(
    "leases",
    metadata,
    Column("destination_id", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Text, nullable=False),
    Column("holder", String(64), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
)

# Who changed what (trail.py). An account is named by its number alone: what concerned it stays.
trail: Final = Table(
    "trail",
    metadata,
    Column("id", Id, primary_key=True),
    _time_column("at"),
    Column("actor_kind", String(32), nullable=False),
    Column("actor_id", ClientText),
    Column("address", ClientText, nullable=False),
    Column("account_id", BigInteger),
    Column("action", String(64), nullable=False),
    Column("target_kind", String(32), nullable=False),
    Column("target_id", ClientText),
    Column("target_name", ClientText),
    Column("outcome", String(16), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_trail_by_account", "account_id", "id"),
    Index("ix_trail_by_time", "at"),
    sqlite_autoincrement=True,
)

# The JSON schemas that sources have for their tables, beside those that batches bring.
table_schemas: Final = Table(
    "table_schemas",
    metadata,
    Column(
        "source_id", BigInteger, ForeignKey("sources.id"), primary_key=True, autoincrement=False
    ),
    Column("name_sha256", LargeBinary(32), primary_key=True),
    Column("name", ClientText, nullable=False),
    Column("document", LargeBinary, nullable=False),
    _time_column("updated_at"),
)

# What the operator set for one source or one account; without a row the setting holds.
quotas: Final = Table(
    "quotas",
    metadata,
    Column("owner_kind", String(7), primary_key=True),
    Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# The addresses that are told of problems, "custom e-mails" on the wire.
recipients: Final = Table(
    "recipients",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("address", ClientText, nullable=False),
    _time_column("created_at"),
    _time_column("disabled_at", nullable=True),
    sqlite_autoincrement=True,
)

# The problems that recipients were told of. `gone_at` is the time since which a problem is not
# seen, `ended_at` the time at which recipients were told that it is over.
notices: Final = Table(
    "notices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("key", String(100), nullable=False),
    Column("named", ClientText, nullable=False),
    _time_column("began_at"),
    _time_column("told_at"),
    _time_column("gone_at", nullable=True),
    _time_column("ended_at", nullable=True),
    Index(
        "uq_notices_open",
        "account_id",
        "kind",
        "key",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# A problem of which nobody is to be told before `until`.
snoozes: Final = Table(
    "snoozes",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("key", String(100), primary_key=True),
    _time_column("until"),
)

# One mail to one recipient: it waits while `sent_at` and `failed_at` are null.
mails: Final = Table(
    "mails",
    metadata,
    Column("id", Id, primary_key=True),
    Column("recipient_id", BigInteger, nullable=False, index=True),
    Column("address", ClientText, nullable=False),
    Column("subject", ClientText, nullable=False),
    Column("body", ClientText, nullable=False),
    _time_column("created_at"),
    _time_column("next_at"),
    Column("tries", Integer, nullable=False),
    Column("error", ClientText),
    _time_column("sent_at", nullable=True),
    _time_column("failed_at", nullable=True),
    sqlite_autoincrement=True,
)
# Post-load hooks (hooks.py). URL and secret are sealed: the path of a URL often is a secret, too. A
# disabled hook gets no deliveries; of a paused one they wait. The totals only grow.
hooks: Final = Table(
    "hooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("destination_id", BigInteger, ForeignKey("destinations.id"), nullable=False, index=True),
    Column("type", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("url", LargeBinary, nullable=False),
    Column("secret", LargeBinary),
    _time_column("created_at"),
    _time_column("modified_at"),
    _time_column("disabled_at", nullable=True),
    _time_column("paused_at", nullable=True),
    *(_total_column(name) for name in ("delivered", "failed", "tries")),
    sqlite_autoincrement=True,
)

# The outbox: one row for each load and hook, added with the load. `number` is the order of loads.
deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("number", Id, primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("hook_id", BigInteger, ForeignKey("hooks.id"), nullable=False),
    Column("table_id", BigInteger, ForeignKey("tables.id"), nullable=False),
    Column("load_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(9), nullable=False),
    _time_column("created_at"),
    _time_column("due_at"),
    Column("tries", Integer, nullable=False),
    _time_column("tried_at", nullable=True),
    _time_column("finished_at", nullable=True),
    Column("took_us", BigInteger),
    Column("status", Integer),
    Column("answer", ClientText),
    Column("error", ClientText),
    Index(
        "ix_deliveries_waiting",
        "hook_id",
        "table_id",
        "number",
        sqlite_where=text("state = 'waiting'"),
    ),
    Index("ix_deliveries_by_hook", "hook_id", "number"),
    Index("ix_deliveries_by_time", "created_at"),
    sqlite_autoincrement=True,
)


def complete_indexes(dialect: str) -> None:
    """Give the indexes of some rows their condition in another dialect than SQLite's.

    If it stood beside SQLite's, SQLAlchemy would import that dialect with this module: PostgreSQL's
    takes 30 ms of each start and 2 MB of each process, and the store of most servers is a file.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            condition = index.dialect_options["sqlite"]["where"]
            index.dialect_options[dialect]["where"] = condition
