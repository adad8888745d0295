"""The heads of tables: each says which loads of a table are done, and what the table is."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField, StringType

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.relation_draft import commit_properties
from treadle.destinations.iceberg.table_record import (
    HEAD,
    LEDGER_PREFIX,
    NAME,
    PART,
    SCHEMA,
    HeadRecord,
    decode_head,
    encode_head,
    name_ledger,
)
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.load_mark import digest_mark
from treadle.tables.model import OffsetCommit
from treadle.tables.profiles import ICEBERG

LEDGER: Final = Schema(NestedField(1, "note", StringType(), required=False))
"""The columns of a table that is only there for its properties."""

Place = tuple[str, str]
"""Schema and name of a table."""


@dataclass
class TableHead:
    """The head of a table, and the tables that were loaded with it.

    Attributes:
        schema: of the table.
        name: of the ledger.
        record: what the head says.
        ledger: None where it is missing.
        root: the table of the root's name, whoever made it; None where it is missing.
        root_name: of it.
        is_at_root: the root is the head.
        tables: place -> table, of the relations that were loaded.
    """

    schema: str
    name: str
    record: HeadRecord = field(default_factory=HeadRecord)
    ledger: Table | None = None
    root: Table | None = None
    root_name: str = ""
    is_at_root: bool = False
    tables: dict[Place, Table] = field(default_factory=dict)

    @property
    def is_root_pending(self) -> bool:
        """Whether a load made the root and did not come to its end."""
        return self.root is not None and is_pending(self.root)

    @property
    def table(self) -> Table | None:
        """The head."""
        return self.root if self.is_at_root else self.ledger

    def keep_root(self, name: str, root: Table) -> None:
        """Take a table for the root, as it is now."""
        self.root, self.root_name = root, name
        self.tables[self.schema, name] = root


def is_pending(table: Table) -> bool:
    """Return whether a table that treadle made is not the head that it was made to be."""
    return PART in table.properties and HEAD not in table.properties


def read_heads(catalogue: IcebergCatalogue) -> Iterator[TableHead]:
    """Give the head of each table that there is a ledger of."""
    for name in catalogue.list_tables(PRIVATE_SCHEMA):
        if not name.startswith(LEDGER_PREFIX):
            continue
        ledger = catalogue.load(PRIVATE_SCHEMA, name)
        if ledger is not None and SCHEMA in ledger.properties:
            schema, table = ledger.properties[SCHEMA], ledger.properties.get(NAME, "")
            yield _find_head(catalogue, schema, table, name, ledger)


def read_head(catalogue: IcebergCatalogue, schema: str, table: str) -> TableHead:
    """Return the head of a table, with its root, as they are now."""
    name = name_ledger(schema, ICEBERG.fold(table))
    return _find_head(catalogue, schema, table, name, catalogue.load(PRIVATE_SCHEMA, name))


def make_ledger(
    catalogue: IcebergCatalogue, head: TableHead, table_name: str, record: HeadRecord
) -> Table:
    """Make the ledger of a table."""
    properties = {SCHEMA: head.schema, NAME: table_name, **encode_head(record)}
    return catalogue.make(PRIVATE_SCHEMA, head.name, LEDGER, properties)


def note_fence(head: TableHead, offset: OffsetCommit) -> None:
    """Note a greater fence at a head that has a mark, so that an earlier holder cannot load there.

    Args:
        head: of a table.
        offset: of a load, with the fence.
    """
    mark = head.record.get_mark(offset)
    if mark is None or mark.fence >= offset.fence or head.table is None:
        return
    digest = digest_mark(mark.log_id, mark.source_id, mark.table_name)
    marks = {**head.record.marks, digest: msgspec.structs.replace(mark, fence=offset.fence)}
    record = replace(head.record, marks=marks).follow(f"fence-{uuid.uuid4().hex[:16]}")
    commit_properties(head.table, encode_head(record))


def _find_head(
    catalogue: IcebergCatalogue, schema: str, table: str, name: str, ledger: Table | None
) -> TableHead:
    record = None if ledger is None else decode_head(ledger.properties)
    head = TableHead(schema, name, record or HeadRecord(), ledger)
    entry = head.record.entry
    called = entry.relations[0].name if entry is not None and entry.relations else table
    root = _load_folded(catalogue, schema, called) if called else None
    if root is None:
        return head
    head.keep_root(root.name()[-1], root)
    at_root = decode_head(root.properties)
    if at_root is not None and at_root.note.number >= head.record.note.number:
        head.record, head.is_at_root = at_root, True
    return head


def _load_folded(catalogue: IcebergCatalogue, schema: str, name: str) -> Table | None:
    """Return a table, also one whose name differs in what is folded."""
    found = catalogue.load(schema, name)
    if found is not None:
        return found
    folded = ICEBERG.fold(name)
    for other in catalogue.list_tables(schema):
        if ICEBERG.fold(other) == folded:
            return catalogue.load(schema, other)
    return None
