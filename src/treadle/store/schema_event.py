"""The values of the history of a table: what its loads and others changed of it.

The words of the lists here are stored. A word is added for a new kind of change, and none is ever
removed or given another meaning: events are kept for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

EVENTS_MAX: Final = 1_000
"""Events that are kept of a table; older ones go."""

CHANGES_MAX: Final = 1_000
"""Changes that an event lists; a load may add more columns than that."""

LEFT_OUT_MAX: Final = 200
"""Left-out fields that are kept of a table."""


class SchemaEventKind(StrEnum):
    """The kinds of events."""

    TABLE_ADDED = "table_added"
    SCHEMA_CHANGED = "schema_changed"
    TABLE_STOPPED = "table_stopped"
    TABLE_RESUMED = "table_resumed"
    TABLE_REBUILT = "table_rebuilt"


class SchemaChangeKind(StrEnum):
    """The kinds of changes within an event."""

    TABLE_ADDED = "table_added"
    SUBTABLE_ADDED = "subtable_added"
    COLUMN_ADDED = "column_added"
    COLUMN_SPLIT = "column_split"
    COLUMN_RENAMED = "column_renamed"
    COLUMN_WIDENED = "column_widened"
    COLUMN_NULLABLE = "column_nullable"
    KEY_CHANGED = "key_changed"
    VERSION_SWITCHED = "version_switched"
    FIELD_LEFT_OUT = "field_left_out"


SchemaChanges = Sequence[dict[str, Any]]
"""Changes as JSON objects. Each has `kind`; docs/reference/tables.md says what else."""


@dataclass(frozen=True, slots=True)
class SchemaEvent:
    """What one load changed of a table, or what befell it.

    Attributes:
        id: grows with each event.
        at: microseconds since 1970, UTC.
        load_id: of the load that changed it, or of the try that stopped it; None where none did.
        reason: why the table stopped; None for other kinds.
        changes: at most CHANGES_MAX; () where the kind says everything.
    """

    id: int
    source_id: int
    table_name: str
    at: int
    load_id: str | None
    kind: str
    reason: str | None
    changes: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class LeftOutField:
    """A field that loads of a table left out.

    Attributes:
        relation: destination table that it would be in.
        field: canonical, flattened.
        reason: as in `_sdc_rejected`.
        at: when a load first left it out, microseconds since 1970.
        load_id: of that load.
    """

    relation: str
    field: str
    reason: str
    at: int
    load_id: str
