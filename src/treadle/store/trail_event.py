"""The values of the trail: who did what, from where, on what, and with which outcome.

The words of the lists here are stored, and shown by the API and by `treadle trail`. A word is added
for a new kind of change, and none is ever removed or given another meaning: events of earlier
releases have it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

LOCAL_ADDRESS: Final = "local"
"""The address of what happens on the machine of the server, without a network connection."""

TEXT_CHARACTERS_MAX: Final = 200
"""Most characters of a name or an id in an event. A refused request may name anything."""


class ActorKind(StrEnum):
    """The kinds of actors."""

    ACCOUNT_TOKEN = "account_token"  # noqa: S105 - a kind
    PARTNER = "partner"
    PERSON = "person"
    COMMAND_LINE = "command_line"
    SERVER = "server"


class TrailAction(StrEnum):
    """Actions on accounts, sources, tokens, destinations, tables, the log, recipients and users."""

    CREATE_ACCOUNT = "create_account"
    RENAME_ACCOUNT = "rename_account"
    DELETE_ACCOUNT = "delete_account"
    CREATE_ACCOUNT_TOKEN = "create_account_token"  # noqa: S105 - an action, as below
    REVOKE_ACCOUNT_TOKEN = "revoke_account_token"  # noqa: S105
    CREATE_SOURCE = "create_source"
    CHANGE_SOURCE = "change_source"
    PAUSE_SOURCE = "pause_source"
    UNPAUSE_SOURCE = "unpause_source"
    MOVE_SOURCE = "move_source"
    SET_OPTIONS = "set_options"
    SET_QUOTAS = "set_quotas"
    DELETE_SOURCE = "delete_source"
    CREATE_IMPORT_TOKEN = "create_import_token"  # noqa: S105
    TAKE_OVER_IMPORT_TOKEN = "take_over_import_token"  # noqa: S105
    REVOKE_IMPORT_TOKEN = "revoke_import_token"  # noqa: S105
    CREATE_WEBHOOK_TOKEN = "create_webhook_token"  # noqa: S105
    TAKE_OVER_WEBHOOK_TOKEN = "take_over_webhook_token"  # noqa: S105
    REVOKE_WEBHOOK_TOKEN = "revoke_webhook_token"  # noqa: S105
    CREATE_METRICS_TOKEN = "create_metrics_token"  # noqa: S105
    REVOKE_METRICS_TOKEN = "revoke_metrics_token"  # noqa: S105
    CREATE_TOKEN = "create_token"  # noqa: S105 - of a kind that a refused request names
    REVOKE_TOKEN = "revoke_token"  # noqa: S105 - of a kind that is not known
    EXPIRE_TOKEN = "expire_token"  # noqa: S105
    DESCRIBE_TOKEN = "describe_token"  # noqa: S105
    DISABLE_TOKEN = "disable_token"  # noqa: S105
    ENABLE_TOKEN = "enable_token"  # noqa: S105
    REPLACE_TOKEN = "replace_token"  # noqa: S105
    CREATE_EPHEMERAL_TOKEN = "create_ephemeral_token"  # noqa: S105
    OPEN_SESSION = "open_session"
    END_SESSION = "end_session"
    LEAVE_GUIDE = "leave_guide"
    ROTATE_KEY = "rotate_key"
    SET_DESTINATION = "set_destination"
    CHECK_DESTINATION = "check_destination"
    CREATE_DESTINATION = "create_destination"
    CHANGE_DESTINATION = "change_destination"
    DELETE_DESTINATION = "delete_destination"
    ADOPT_TABLES = "adopt_tables"
    SET_TABLE_SCHEMA = "set_table_schema"
    REMOVE_TABLE_SCHEMA = "remove_table_schema"
    REPLAY_TABLE = "replay_table"
    LOAD_TABLE = "load_table"
    RETRY_TABLE = "retry_table"
    COPY_HISTORY = "copy_history"
    RESEND_RECORDS = "resend_records"
    CANCEL_OPERATION = "cancel_operation"
    ADD_LOG = "add_log"
    DRAIN_LOG = "drain_log"
    OPEN_LOG = "open_log"
    CLOSE_LOG = "close_log"
    SALVAGE_LOG = "salvage_log"
    REPLACE_LOG = "replace_log"
    MAKE_BACKUP = "make_backup"
    RESTORE_BACKUP = "restore_backup"
    IMPORT_STORE = "import_store"
    ADD_RECIPIENT = "add_recipient"
    CHANGE_RECIPIENT = "change_recipient"
    DISABLE_RECIPIENT = "disable_recipient"
    ENABLE_RECIPIENT = "enable_recipient"
    REMOVE_RECIPIENT = "remove_recipient"
    CREATE_HOOK = "create_hook"
    CHANGE_HOOK = "change_hook"
    DELETE_HOOK = "delete_hook"
    SEND_AGAIN = "send_again"
    SNOOZE_PROBLEM = "snooze_problem"
    ADD_USER = "add_user"
    INVITE_USER = "invite_user"
    ACCEPT_INVITE = "accept_invite"
    SET_PASSWORD = "set_password"  # noqa: S105
    CHANGE_ROLE = "change_role"
    DISABLE_USER = "disable_user"
    ENABLE_USER = "enable_user"
    DELETE_USER = "delete_user"
    SWITCH_ACCOUNT = "switch_account"
    TEST_HOOK = "test_hook"
    TEST_RECIPIENT = "test_recipient"
    FINISH_UPGRADE = "finish_upgrade"


class TrailOutcome(StrEnum):
    """States of an action.

    An action outside the store, such as a replay, has two events: `begun` is written before it,
    and one of the others after it.
    """

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class TargetKind(StrEnum):
    """The kinds of things that an action is about."""

    ACCOUNT = "account"
    ACCOUNT_TOKEN = "account_token"  # noqa: S105 - a kind, as below
    SOURCE = "source"
    IMPORT_TOKEN = "import_token"  # noqa: S105
    WEBHOOK_TOKEN = "webhook_token"  # noqa: S105
    METRICS_TOKEN = "metrics_token"  # noqa: S105
    TOKEN = "token"  # noqa: S105 - of a kind that is not known, in a refused request
    EPHEMERAL_TOKEN = "ephemeral_token"  # noqa: S105
    SESSION = "session"
    KEY = "key"
    DESTINATION = "destination"
    TABLE = "table"
    LOG = "log"
    STORE = "store"
    RECIPIENT = "recipient"
    HOOK = "hook"
    PROBLEM = "problem"
    OPERATION = "operation"
    USER = "user"


@dataclass(frozen=True, slots=True)
class StoreActor:
    """Who changes the store, and from where.

    Attributes:
        id: of the token, the partner or the person; the name of the local user for the command
            line; None for the server.
        address: the network address of the client; LOCAL_ADDRESS on this machine.
    """

    kind: ActorKind
    id: str | None = None
    address: str = LOCAL_ADDRESS


SERVER_ACTOR: Final = StoreActor(ActorKind.SERVER)
"""The server itself: what it does at its start, and what it does by its settings."""


@dataclass(frozen=True, slots=True)
class TrailTarget:
    """The thing that an action changes.

    Attributes:
        id: its id as text; None where it is not known, as for a source that was not created.
        name: the name of a source, a table or an account; None where there is none.
    """

    kind: TargetKind
    id: str | int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """One element of the trail.

    Attributes:
        id: grows with each event.
        at: microseconds since 1970, UTC.
        account_id: the account that it concerns; None for the whole server.
        detail: JSON values that say more; no secrets.
    """

    id: int
    at: int
    actor: StoreActor
    account_id: int | None
    action: str
    target: TrailTarget
    outcome: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def shorten_text(text: str | int | None) -> str | None:
    """Return a text as it is kept in an event: at most TEXT_CHARACTERS_MAX characters."""
    if text is None:
        return None
    text = str(text)
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    return text[: TEXT_CHARACTERS_MAX - 3] + "..."


CHANGES_MAX: Final = 30
"""Most names of an event for which it says what was before and after."""


def describe_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event says of values before and after a change; only those that differ.

    Values inside of others are named by their path, such as `settings.options.max_nesting`.

    Args:
        before: JSON values, without secrets.
        after: the same after the change.

    Returns:
        `{"before": {...}, "after": {...}}` with the same names; {} where nothing differs.
    """
    old, new = dict(_list_leaves("", before)), dict(_list_leaves("", after))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    if not names:
        return {}
    shown = names[:CHANGES_MAX]
    return {
        "before": {name: _shorten_value(old.get(name)) for name in shown},
        "after": {name: _shorten_value(new.get(name)) for name in shown},
    }


def _list_leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _list_leaves(f"{path}.{name}" if path else str(name), inner)
    elif path and value != {}:
        yield path[:TEXT_CHARACTERS_MAX], value


def _shorten_value(value: object) -> object:
    """Return a value as it is kept: numbers, booleans and None as they are, others as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return shorten_text(value if isinstance(value, str) else json.dumps(value, default=str))
