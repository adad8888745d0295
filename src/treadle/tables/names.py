"""Names of fields and tables in a destination, and names that cannot be used (loading.md 6)."""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from treadle.tables.model import TableOptions
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionCode, RejectionReason
from treadle.tables.schema_owner import SchemaOwner

SEPARATOR = "__"
GENERATED_KEY = "__sdc_primary_key"
SEQUENCE = "_sdc_sequence"
RECEIVED_AT = "_sdc_received_at"
BATCHED_AT = "_sdc_batched_at"
VERSION = "_sdc_table_version"
EXTRACTED_AT = "_sdc_extracted_at"
DELETED_AT = "_sdc_deleted_at"
SOURCE_KEY = "_sdc_source_key_"
META_COLUMN = "_treadle_meta"
"""Column that lists the values the option `on_bad_value: null_field` left out of a row."""

STAGE = "stage_"
TOMBSTONES = "tombstones_"
"""Beginnings of the names of treadle's private relations; a whole digest follows."""

DIGEST_CHARACTERS = 52
"""Characters of a SHA-256 in base 32."""

VALUE = "value"
"""Column, or path, of array elements that are no objects (loading.md 7.4)."""

_RESERVED_TABLE_PREFIXES = ("_sdc", "_rjm")
_RESERVED_COLUMN_PREFIX = "_rjm"
_SYSTEM_NAMES = frozenset(
    {BATCHED_AT, RECEIVED_AT, SEQUENCE, VERSION, "_sdc_primary_key", GENERATED_KEY}
)
_LEVEL_NAME = re.compile(r"_sdc_level_\d+_id", re.ASCII)


def is_system_name(name: str) -> bool:
    """Return whether treadle writes a column of this name itself, in any case (loading.md 6.6).

    Every other name that begins with `_sdc_` is a column like any other: taps send many of them.
    """
    lowered = name.lower()
    return (
        lowered in _SYSTEM_NAMES
        # A column `_sdc_source_key` that splits would be called as one of them.
        or lowered.startswith(SOURCE_KEY)
        or lowered == SOURCE_KEY.rstrip("_")
        or _LEVEL_NAME.fullmatch(lowered) is not None
    )


def is_reserved_column(name: str, profile: DestinationProfile) -> bool:
    """Return whether a field cannot have a column of this name: its record is rejected.

    Args:
        name: canonical and flattened, as the column would be called.
        profile: of the destination.
    """
    lowered = name.lower()
    return (
        is_system_name(name)
        or lowered.startswith(_RESERVED_COLUMN_PREFIX)
        or lowered == META_COLUMN
        or profile.fold(name) in profile.columns_reserved
        or profile.fold(name).startswith(profile.prefixes_reserved)
    )


def level_column(number: int) -> str:
    """Name the column for the index in the array at a nesting level, counted from 0."""
    return f"_sdc_level_{number}_id"


def is_repeated(name: str) -> bool:
    """Return whether a column of a subtable repeats a key, or has the index at a nesting level."""
    return name.startswith(SOURCE_KEY) or _LEVEL_NAME.fullmatch(name) is not None


def pair_source_keys(keys: Sequence[str], columns: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of a root's key column and the subtable's column that repeats it.

    Args:
        keys: the key columns of the root.
        columns: of the subtable.
    """
    if all(SOURCE_KEY + name in columns for name in keys):
        return tuple((name, SOURCE_KEY + name) for name in keys)
    # Some column name was too long and has a hash at its end: the order by name still agrees.
    repeated = sorted(name for name in columns if name.startswith(SOURCE_KEY))
    return tuple(zip(sorted(keys), repeated, strict=True))


def byte_order(name: str) -> bytes:
    """Return the sort key for the order by byte value (loading.md 1.4)."""
    return name.encode("utf-8", "surrogatepass")


def _hash_digits(text: str) -> str:
    return hashlib.sha256(byte_order(text)).hexdigest()


def _append_hash(name: str, original: str, limit: int | None) -> str:
    """Make `<first bytes>_<6 hex>` of a name and the name before it was cut (loading.md 12.2)."""
    if limit is not None:
        name = name.encode()[: max(limit - 7, 0)].decode("utf-8", "ignore")
    return f"{name}_{_hash_digits(original)[:6]}"


@dataclass(frozen=True, slots=True)
class FieldName:
    """The name of a record's field in its relation, and why it cannot be used.

    Attributes:
        literal: the key as sent.
        full: canonical, flattened.
        folded: `full` as names are compared.
        rejection: why a record with this field is rejected, whatever it holds.
        column_rejection: why a record with this field as a column is rejected.
        omission: why the field is left out, whatever it holds.
        column_omission: why the field is left out when it is a column.
    """

    literal: str
    full: str
    folded: str
    rejection: RejectionReason | None = None
    column_rejection: RejectionReason | None = None
    omission: RejectionReason | None = None
    column_omission: RejectionReason | None = None


class Namer:
    """Makes names for one kind of destination and one table's options; remembers them."""

    def __init__(self, profile: DestinationProfile, options: TableOptions) -> None:
        self.profile = profile
        self.options = options
        self._names: dict[tuple[str | None, str], FieldName] = {}

    def make_canonical(self, part: str) -> str:
        """Return one part of a name as the destination spells it."""
        name = self.profile.canonical(part)
        if self.options.leading_nonletter == "strip":
            stripped = name
            while stripped and not stripped[0].isalpha():
                stripped = stripped[1:]
            return stripped
        return name

    def name_table(self, sent: str) -> tuple[str, RejectionReason | None]:
        """Return a table's canonical name, and why all its records are rejected, or None."""
        name = self.make_canonical(sent)
        if not name:
            reason = f'Table name "{sent}" is empty for {self.profile.display_name}'
            return name, RejectionReason(reason, RejectionCode.NAME_EMPTY)
        is_kept = self.profile.fold(name) in self.profile.tables_reserved
        if is_kept or name.lower().startswith(_RESERVED_TABLE_PREFIXES):
            reason = f"Table name {name} is reserved"
            return name, RejectionReason(reason, RejectionCode.NAME_RESERVED)
        return self._limit_name("Table", name, self.profile.table_bytes_max)

    def name_subtable(self, root: str, path: tuple[str, ...]) -> tuple[str, RejectionReason | None]:
        """Return a subtable's name, and why its array is left out, or None."""
        name = SEPARATOR.join((root, *path))
        return self._limit_name("Table", name, self.profile.table_bytes_max)

    def name_source_key(self, key: str) -> tuple[str, RejectionReason | None]:
        """Return a subtable's column for a key column, and why it cannot be made, or None.

        Such a column is never split, so it may use the room for a suffix too.
        """
        limit = self.profile.column_bytes_max
        return self._limit_name("Column", SOURCE_KEY + key, None if limit is None else limit + 4)

    def _limit_name(
        self, kind: str, name: str, limit: int | None
    ) -> tuple[str, RejectionReason | None]:
        if limit is None or len(name.encode()) <= limit:
            return name, None
        if self.options.long_names == "hash":
            return _append_hash(name, name, limit), None
        reason = f"{kind} name {name} is too long for {self.profile.display_name}"
        return name, RejectionReason(reason, RejectionCode.NAME_TOO_LONG)

    def name_field(self, prefix: str | None, literal: str) -> FieldName:
        """Return the name of a field of an object.

        Args:
            prefix: flattened canonical name of the object it is in, None at the top.
            literal: the key as sent.
        """
        key = (prefix, literal)
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = self._name_field(*key)
        return known

    def _name_field(self, prefix: str | None, literal: str) -> FieldName:
        profile = self.profile
        if literal.lower().endswith(profile.reserved_suffixes):
            reason = (
                "column names from client should not include reserved datatype suffix on "
                + literal.replace("\0", "")
            )
            return FieldName(
                literal,
                literal,
                literal,
                rejection=RejectionReason(
                    reason,
                    RejectionCode.RESERVED_SUFFIX,
                    literal if prefix is None else prefix + SEPARATOR + literal,
                ),
            )
        part = self.make_canonical(literal).replace("\0", "")
        if not part:
            reason = f'Column name "{literal}" is empty for {profile.display_name}'
            return FieldName(
                literal,
                literal,
                literal,
                omission=RejectionReason(reason.replace("\0", ""), RejectionCode.NAME_EMPTY),
            )
        full = part if prefix is None else prefix + SEPARATOR + part
        refused = None
        if is_reserved_column(full, profile):
            refused = RejectionReason(
                f"Column name {full} is reserved", RejectionCode.NAME_RESERVED
            )
        full, omitted = self._limit_name("Column", full, profile.column_bytes_max)
        return FieldName(
            literal, full, profile.fold(full), column_rejection=refused, column_omission=omitted
        )

    def name_collision(self, name: FieldName) -> FieldName:
        """Return another name for a field whose name is taken (option collisions: hash)."""
        full = _append_hash(
            name.full, name.literal + "\0" + name.full, self.profile.column_bytes_max
        )
        return FieldName(name.literal, full, self.profile.fold(full))


def name_stage_relation(
    owner: SchemaOwner, schema: str, table: str, version: int, path: tuple[str, ...]
) -> str:
    """Name a stage's relation: unique among all of them, and 58 bytes.

    Args:
        owner: of the schema.
        schema: of the table.
        table: its canonical name.
        version: of the stage.
        path: of the subtable; () for the root.
    """
    return STAGE + _digest_parts(owner, (schema, table, version, list(path)))


def name_tombstones(owner: SchemaOwner, schema: str, table: str) -> str:
    """Name the private table of the deleted keys of a live table; 63 bytes.

    Args:
        owner: of the schema.
        schema: of the table.
        table: its canonical name.
    """
    return TOMBSTONES + _digest_parts(owner, (schema, table))


def name_auxiliary(owner: SchemaOwner, prefix: str, *parts: str) -> str:
    """Name a relation or an index that is among the tables of a source for a moment, or for good.

    The installation's id takes part, which no client knows. So no table that a client names is in
    the way.

    Args:
        owner: of the schema.
        prefix: of at most 11 bytes.
        parts: what it is for.
    """
    return prefix + _digest_parts(owner, parts)


def _digest_parts(owner: SchemaOwner, parts: Sequence[object]) -> str:
    """Return all 256 bits of the SHA-256 of an owner and some parts, as 52 letters and digits.

    As JSON the parts are told apart whatever characters are in them, unpaired surrogates too.
    """
    whole = json.dumps([owner.installation_id, owner.account_id, owner.source_id, *parts])
    return base64.b32encode(hashlib.sha256(whole.encode()).digest()).decode().rstrip("=").lower()
