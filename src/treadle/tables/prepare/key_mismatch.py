"""Records that are rejected for their key, and texts about keys that differ (loading.md 5.4)."""

from typing import Final, NamedTuple

from treadle.tables.column_type import ColumnType
from treadle.tables.model import KeyConflict
from treadle.tables.rejection_reason import RejectionCode, RejectionReason

KEYS_DIFFER: Final = "Keys for table do not match Primary Keys of incoming data"
KEY_TYPE_DIFFERS: Final = (
    "Incoming Primary Key type does not match Primary Key type in existing table"
)

WRONG_KEYS: Final = RejectionReason(KEYS_DIFFER, RejectionCode.KEY_NAMES_DIFFER)
WRONG_KEY_TYPE: Final = RejectionReason(KEY_TYPE_DIFFERS, RejectionCode.KEY_TYPE_DIFFERS)

NAME_MAX: Final = 200
"""Characters of a field's name that a text shows."""


class AppendMismatch(NamedTuple):
    """Records of one version whose senders may only append, to a table that has a key.

    Attributes:
        segment, version: of the records, as in `VersionGroup`.
    """

    segment: int
    version: int


class KeyMismatch(NamedTuple):
    """Records of one version in which a key field has another type than the table's.

    Attributes:
        segment, version: of the records, as in `VersionGroup`.
        folded: the key field.
        table_type: that it has in the table.
        record_type: that it has in the records.
    """

    segment: int
    version: int
    folded: str
    table_type: ColumnType
    record_type: ColumnType


KeyMismatches = frozenset[AppendMismatch | KeyMismatch]
"""The records of a load that are rejected for their key."""


def describe_conflict(conflict: KeyConflict, record: str) -> str:
    """Tell of records whose key has another type than the table's, and what can be done.

    Args:
        conflict: the records.
        record: the first of them, as the operator names it.
    """
    several = conflict.records != 1
    these = f"{conflict.records} records, {record} the first" if several else f"record {record}"
    return (
        f"the key {conflict.field[:NAME_MAX]} is {conflict.record_type.value} in {these}, and "
        f"{conflict.table_type.value} in the table: {'they were' if several else 'it was'} "
        f"rejected. Send it as {conflict.table_type.value} and send the rejected records again "
        "(`treadle rejects`), or drop the table, to have it made anew with the type of the next "
        "record"
    )


def describe_stop(field: str, table_type: ColumnType, record_type: ColumnType, where: str) -> str:
    """Tell why a table stops whose key comes with another type.

    Args:
        field: the key field.
        table_type: that it has in the table.
        record_type: that it came with.
        where: it came so.
    """
    return (
        f"{KEY_TYPE_DIFFERS}: the key {field[:NAME_MAX]} is {record_type.value} in {where}, and "
        f"{table_type.value} in the table"
    )
