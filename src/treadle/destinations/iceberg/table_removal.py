"""Removes a table with all that is kept of it; see `Rebuild`."""

import pyarrow as pa
from pyiceberg.table import Table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.relation_draft import RelationDraft, commit_part
from treadle.destinations.iceberg.table_head import TableHead, read_head, read_heads
from treadle.destinations.iceberg.table_record import MARK, HeadRecord, encode_head, name_owner
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    find_live_tombstones,
    find_stage_tombstones,
)
from treadle.tables.profiles import ICEBERG


def remove_table(
    catalogue: IcebergCatalogue, search: KeySearch, schema: str, table: str, log_id: str
) -> None:
    """Drop a table with all that is kept of it; see `Rebuild.remove`."""
    if not catalogue.holds_schema(PRIVATE_SCHEMA):
        return
    head = read_head(catalogue, schema, table)
    _drop_tables(catalogue, head)
    _forget_log(catalogue, log_id)
    catalogue.drop(PRIVATE_SCHEMA, head.name)
    left = catalogue.list_tables(schema)
    if left == [REJECTED]:
        catalogue.drop(schema, REJECTED)
        catalogue.drop_schema(schema)
        catalogue.drop(PRIVATE_SCHEMA, name_owner(schema))
    elif REJECTED in left:
        rejected = catalogue.load(schema, REJECTED)
        if rejected is not None:
            _remove_rejections(search, rejected, table)


def _drop_tables(catalogue: IcebergCatalogue, head: TableHead) -> None:
    entry = head.record.entry
    relations = () if entry is None else entry.relations
    # The head goes last: what is left of a table whose dropping was interrupted is found by it.
    for relation in reversed(relations):
        catalogue.drop(head.schema, relation.name)
    names = []
    if relations:
        names.append(find_live_tombstones(entry, head.schema, ICEBERG.fold(relations[0].name)))
    for stage in () if entry is None else entry.stages:
        for relation in stage.relations:
            names.append(relation.name)
            if not relation.path:
                names.append(find_stage_tombstones(ICEBERG.fold(relation.name)))
    for name in names:
        catalogue.drop(PRIVATE_SCHEMA, name)


def _forget_log(catalogue: IcebergCatalogue, log_id: str) -> None:
    """Forget all offsets of a log."""
    for head in list(read_heads(catalogue)):
        kept = {digest: mark for digest, mark in head.record.marks.items() if mark.log_id != log_id}
        gone = head.record.marks.keys() - kept.keys()
        if not gone:
            continue
        followed = head.record.follow("forgotten")
        places = (head.root if head.is_at_root else None, head.ledger)  # the copy comes last
        for table in filter(None, places):
            held = {name for name in table.properties if name.startswith(MARK)}
            draft = RelationDraft(table, None)
            draft.properties = encode_head(HeadRecord(followed.note, followed.entry, kept))
            draft.forget_properties(held & {f"{MARK}{digest}" for digest in gone})
            commit_part(draft)


def _remove_rejections(search: KeySearch, rejected: Table, table: str) -> None:
    draft = RelationDraft(rejected, None)
    wanted = pa.table({"table_name": pa.array([table], pa.string())})
    live = draft.find_keys(["table_name"], wanted)
    found = search.find_rows(live, ["table_name"], wanted)
    if found.num_rows:
        draft.remove_rows(live, found.select(["file", "pos"]))
        commit_part(draft)
