"""What treadle notes of its tables, in properties of Iceberg tables. Functions of values.

A table with its subtables is several Iceberg tables, and each commits for itself. One of them, the
*head*, says which loads are done: the root, or the table's *ledger* in treadle's own schema as long
as there is no root. Its record is written in the same commit as the rows of the root. Every other
one of them notes the load that wrote to it last: where the head does not know that load, it ended
before its head, and what it wrote is taken back (destinations.md 5.2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from treadle.destinations.layout import digest_name
from treadle.destinations.load_mark import LoadMark, digest_mark
from treadle.tables import table_codec
from treadle.tables.model import OffsetCommit, Relation, Table
from treadle.tables.schema_owner import SchemaOwner

HEAD: Final = "treadle.head"
ENTRY: Final = "treadle.catalogue"
MARK: Final = "treadle.mark."
PART: Final = "treadle.load"
RELATION: Final = "treadle.relation"
SCHEMA: Final = "treadle.schema"
NAME: Final = "treadle.name"
TABLE: Final = "treadle.table"
OWNER: Final = "treadle.owner"

LEDGER_PREFIX: Final = "table_"
OWNER_PREFIX: Final = "schema_"

LOADS_MAX: Final = 200
"""Loads that a head remembers. A loader that was stopped for longer than so many loads of a table
by another one, and goes on then between two commits, leaves rows that nobody takes back."""


class HeadNote(msgspec.Struct, frozen=True):
    """The part of a head's record that every commit of it changes.

    Attributes:
        number: grows with each commit of the head.
        revision: of the catalogue entry.
        loads: the last commits of the head, by the names of their loads.
        leftovers: name in treadle's own schema -> UUID of a table that the load no longer needs.
    """

    number: int = 0
    revision: int = 0
    loads: tuple[str, ...] = ()
    leftovers: dict[str, str] = {}


class PartNote(msgspec.Struct, frozen=True):
    """The load that wrote to a table last.

    Attributes:
        load: its name.
        number: of the commit of the head that it was to make.
        files: data file that it added -> rows in it.
        snapshot: that it made; 0 where that is not noted.
        before: the snapshot that it followed; 0 where the table had none.
        schemas: the ids of the table's schema before it and after it.
        properties: those that it changed, as they were; None for one that was missing.
        replaces: it wrote all rows anew, or took all away.
    """

    load: str
    number: int
    files: dict[str, int] = {}
    snapshot: int = 0
    before: int = 0
    schemas: tuple[int, int] = (0, 0)
    properties: dict[str, str | None] = {}
    replaces: bool = False


@dataclass(frozen=True)
class HeadRecord:
    """The record of a table.

    Attributes:
        note: see `HeadNote`.
        entry: the catalogue entry; None where treadle has made no table.
        marks: digest of log, source and table name -> the last load.
    """

    note: HeadNote = field(default_factory=HeadNote)
    entry: Table | None = None
    marks: Mapping[str, LoadMark] = field(default_factory=dict)

    def get_mark(self, mark: OffsetCommit) -> LoadMark | None:
        """Return what is held for the offset of a plan."""
        return self.marks.get(digest_mark(mark.log_id, mark.source_id, mark.table_name))

    def follow(self, load: str) -> "HeadRecord":
        """Return the record after one more commit of the head."""
        note = self.note
        loads = (*note.loads, load)[-LOADS_MAX:]
        return replace(
            self, note=HeadNote(note.number + 1, note.revision, loads, dict(note.leftovers))
        )


def name_ledger(schema: str, folded: str) -> str:
    """Return the name of a table's ledger.

    Args:
        schema: of the table.
        folded: its canonical name, folded.
    """
    return LEDGER_PREFIX + digest_name(f"{schema}\0{folded}")[:32]


def name_owner(schema: str) -> str:
    """Return the name of the table that notes the owner of a schema."""
    return OWNER_PREFIX + digest_name(schema)[:32]


def encode_head(record: HeadRecord) -> dict[str, str]:
    """Return the properties of a head."""
    made = {HEAD: _encode(record.note)}
    if record.entry is not None:
        made[ENTRY] = escape_text(table_codec.encode_table(record.entry))
    made |= {f"{MARK}{digest}": _encode(mark) for digest, mark in record.marks.items()}
    return made


def decode_head(properties: Mapping[str, str]) -> HeadRecord | None:
    """Return the record of a head; None for a table that is none."""
    if HEAD not in properties:
        return None
    entry = properties.get(ENTRY)
    return HeadRecord(
        msgspec.json.decode(properties[HEAD], type=HeadNote),
        None if entry is None else table_codec.decode_table(entry),
        {
            name.removeprefix(MARK): msgspec.json.decode(value, type=LoadMark)
            for name, value in properties.items()
            if name.startswith(MARK)
        },
    )


def encode_part(part: PartNote, relation: Relation | None) -> dict[str, str]:
    """Return the properties of a table that is no head."""
    made = {PART: _encode(part)}
    if relation is not None:
        made[RELATION] = _encode(relation)
    return made


def decode_part(properties: Mapping[str, str], name: str = PART) -> PartNote | None:
    """Return the load that wrote to a table last; None where none did."""
    text = properties.get(name)
    return None if text is None else msgspec.json.decode(text, type=PartNote)


def decode_relation(properties: Mapping[str, str]) -> Relation | None:
    """Return the relation that a table was made for; None where it does not say."""
    text = properties.get(RELATION)
    return None if text is None else msgspec.json.decode(text, type=Relation)


def is_unfinished(part: PartNote | None, head: HeadNote) -> bool:
    """Return whether a load wrote to a table and did not come to its head."""
    if part is None or not part.load or part.load in head.loads:
        return False
    return part.number > head.number - len(head.loads)


def encode_owner(owner: SchemaOwner) -> str:
    """Return the owner of a schema as a text."""
    return _encode(owner)


def decode_owner(text: str) -> SchemaOwner:
    """Return the owner that `encode_owner` was given."""
    return msgspec.json.decode(text, type=SchemaOwner)


def _encode(value: object) -> str:
    return escape_text(msgspec.json.encode(value).decode())


_BEYOND: Final = re.compile(r"[^\x20-\x7e]")


def escape_text(text: str) -> str:
    """Return a JSON text in ASCII, which every catalogue keeps as it is."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _BEYOND.sub(escape, text)
