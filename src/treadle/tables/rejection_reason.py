"""Why a record cannot be loaded: a text for people, a code of its cause, and the field.

The text may hold the value ("integer out of range for DuckDB on 9223372036854775808"). So records
are grouped by the code and the field.
"""

from enum import StrEnum
from typing import Final, NamedTuple

_TOO_MANY_COLUMNS: Final = "ERROR: too many columns"
_ROW_TOO_BIG: Final = "row is too big for "


class RejectionCode(StrEnum):
    """The cause of a rejection; docs/reference/rejection-causes.md has one line for each."""

    INTEGER_OUT_OF_RANGE = "integer_out_of_range"
    DECIMAL_OUT_OF_RANGE = "decimal_out_of_range"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    NUL_CHARACTER = "nul_character"
    FIELD_COLLISION = "field_collision"
    RESERVED_SUFFIX = "reserved_suffix"
    NAME_RESERVED = "name_reserved"
    NAME_TOO_LONG = "name_too_long"
    NAME_EMPTY = "name_empty"
    TOO_MANY_COLUMNS = "too_many_columns"
    KEY_MISSING = "key_missing"
    KEY_TYPE_DIFFERS = "key_type_differs"
    KEY_NAMES_DIFFER = "key_names_differ"
    NOT_IN_CONTRACT = "not_in_contract"
    ROW_TOO_BIG = "row_too_big"
    REFUSED_BY_DESTINATION = "refused_by_destination"
    DAMAGED_ENTRY = "damaged_entry"
    UNKNOWN = "unknown"


class RejectionReason(NamedTuple):
    """Why one record is rejected, or one field left out.

    Attributes:
        text: as in `_sdc_rejected`.
        code: of the cause.
        field: the field to blame, canonical and flattened; one in an array has the path of the
            array before it, such as `items__price`. None where no single field is to blame.
    """

    text: str
    code: RejectionCode
    field: str | None = None

    def with_field(self, field: str) -> "RejectionReason":
        """Return the same reason for a field."""
        return self._replace(field=field)


def describe_refusal(text: str) -> RejectionReason:
    """Return the reason of a record that the database refused, by the text of its error."""
    code = RejectionCode.REFUSED_BY_DESTINATION
    if text == _TOO_MANY_COLUMNS:
        code = RejectionCode.TOO_MANY_COLUMNS
    elif text.startswith(_ROW_TOO_BIG):
        code = RejectionCode.ROW_TOO_BIG
    return RejectionReason(text, code)


def read_code(text: str) -> RejectionCode:
    """Return the code that was kept as a text; UNKNOWN for one that this release does not have."""
    try:
        return RejectionCode(text)
    except ValueError:
        return RejectionCode.UNKNOWN
