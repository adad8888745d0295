"""Treadle's own records beside the rows: offsets, catalogue, rejections (loading.md 8.1).

All of it is written in the transaction of the load, so it says what the tables hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, LiteralString

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    check_offset,
    decode_result,
    digest_name,
    escape_name,
    moves_offset,
    unescape_name,
)
from treadle.destinations.protocol import CommittedOffset, PlanOutdatedError, SchemaStatus
from treadle.destinations.schema_claim import SchemaClaim, claim_schema
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.load_intent import (
    LoadIntent,
    decode_intent,
    encode_intent,
    resolve_entry,
)
from treadle.destinations.sql.packed_text import pack_text, unpack_text
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables import table_codec
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    LoadPlan,
    OffsetCommit,
    Rejection,
    Relation,
    RelationRows,
    Table,
)
from treadle.tables.schema_owner import SchemaOwner
from treadle.text import cut_text, make_storable

_NUMBERS: Final = ("account_id", "source_id", "position", "fence", "revision")


def _own(name: str, keys: int, columns: str) -> Relation:
    """Return a table of treadle's own, the first columns of which are its key."""
    made = [
        Column(
            column,
            column,
            ColumnType.BIGINT if column in _NUMBERS else ColumnType.TEXT,
            nullable=column == "document",
        )
        for column in columns.split()
    ]
    return Relation((), name, tuple(made), tuple(columns.split()[:keys]), name)


OFFSETS: Final = _own(
    "positions", 3, "log_id source_id table_key table_name position fence report result"
)
"""The position up to which each table's log entries are loaded.

`table_key` is the digest of the name as sent.
"""

ENTRIES: Final = _own("catalogue", 2, "schema_name table_key table_name revision document")
"""The tables that treadle made; `table_key` is the digest of the folded canonical table name."""

OWNERS: Final = _own("schemas", 1, "schema_name installation_id account_id source_id")
"""The sources that schemas were made for."""

INTENTS: Final = _own("intents", 2, "schema_name table_key document")
"""What loads are going to do that no rollback undoes (`LoadIntent`), by table."""

REJECTIONS: Final = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
"""Rejected records, in the schema of each source."""


def prepare_schema(
    connection: SqlConnection, schema: str, *, knows_owners: bool = False
) -> Iterator[Quoted]:
    """Give the statements that make what is missing of a source's schema and of treadle's own.

    Args:
        connection: to the database.
        schema: of the source.
        knows_owners: the table of owners is there, and need not be looked for.
    """
    yield from prepare_own(connection, knows_owners=knows_owners)
    yield from _make_missing(
        connection, schema, (*connection.dialect.schema_tables.values(), REJECTIONS)
    )


def prepare_own(connection: SqlConnection, *, knows_owners: bool = False) -> Iterator[Quoted]:
    """Give the statements that make what is missing of treadle's own schema."""
    own = (OFFSETS, ENTRIES) if knows_owners else (OFFSETS, ENTRIES, OWNERS)
    if not connection.dialect.transactional_ddl:
        own = (*own, INTENTS)
    yield from _make_missing(connection, PRIVATE_SCHEMA, own)


def _make_missing(
    connection: SqlConnection, place: str, relations: Sequence[Relation]
) -> Iterator[Quoted]:
    missing = [each for each in relations if not connection.holds_table(place, each.name)]
    if missing:
        yield from _make_missing_schema(connection, place)
    for relation in missing:
        yield create_relation(connection.dialect, place, relation, if_missing=True)


def _make_missing_schema(connection: SqlConnection, place: str) -> Iterator[Quoted]:
    if not holds_schema(connection, place):
        # A schema of that name that somebody else makes meanwhile is not taken for the source,
        # unless it may be another loader that makes it.
        is_shared = place == PRIVATE_SCHEMA or not connection.dialect.locks_all
        absent = Quoted("IF NOT EXISTS " if is_shared else "")
        yield compose(
            "CREATE {word} {absent}{schema}",
            word=connection.dialect.schema_word,
            absent=absent,
            schema=connection.dialect.schema(place),
        )


def make_schema(connection: SqlConnection, schema: str, owner: SchemaOwner) -> None:
    """Make what is missing of a source's schema and of treadle's own, and record the owner.

    Raises:
        TableStoppedError: the schema is there and not the owner's.
    """
    status = read_status(connection, schema)
    claim_schema(schema, status, owner, connection.dialect.profile)
    for statement in list(prepare_schema(connection, schema)):
        connection.define(statement)
    if status.owner is None or owner.succeeds(status.owner):
        record_owner(connection, schema, owner, known=status.owner is not None)


def make_schema_in_steps(
    connection: SqlConnection, schema: str, owner: SchemaOwner, *, rejections: bool = True
) -> None:
    """Do what `make_schema` does, where each statement is committed for itself.

    The owner comes first: a schema that is recorded and missing is made for its owner, and one that
    is there and not recorded is nobody's.

    Args:
        connection: to the database.
        schema: of the source.
        owner: of it.
        rejections: make the tables that each schema has, too.

    Raises:
        TableStoppedError: the schema is there and not the owner's.
    """
    status = read_status(connection, schema)
    claim_schema(schema, status, owner, connection.dialect.profile)
    for statement in list(prepare_own(connection)):
        connection.run(statement)
    if status.owner is None or owner.succeeds(status.owner):
        record_owner(connection, schema, owner, known=status.owner is not None)
    for statement in list(_make_missing_schema(connection, schema)):
        try:
            connection.run(statement)
        except connection.errors as error:
            # After any other error the schema may be there, and without an owner it would be
            # nobody's for ever. Where it is not, it is made for its owner the next time.
            if status.owner is None and connection.is_refused_change(error):
                forget_owner(connection, schema)  # as where somebody else was first
            raise
    if rejections:
        for statement in list(prepare_schema(connection, schema)):
            connection.run(statement)


def is_ready(connection: SqlConnection, schema: str, owner: SchemaOwner) -> bool:
    """Return whether an owner can load into a schema as it is; outside of a transaction.

    Raises:
        TableStoppedError: the schema is there and not the owner's.
    """
    # A row shows that the table of owners is there. It is not looked for then, because a look-up in
    # the database's own catalogue takes longer the more tables there are.
    rows = _rows(connection, SqlDialect.claim_schema, schema)
    if rows:
        status = SchemaStatus(holds_schema(connection, schema), SchemaOwner(*rows[0]))
    else:
        status = read_status(connection, schema)
    claim = claim_schema(schema, status, owner, connection.dialect.profile)
    missing = prepare_schema(connection, schema, knows_owners=bool(rows))
    return claim is SchemaClaim.KEEP and not any(missing)


def read_status(connection: SqlConnection, schema: str) -> SchemaStatus:
    """Return whether a schema is there and whose it is; also inside a transaction.

    A schema of which no owner is recorded is one that treadle loaded into before it recorded them
    where the catalogue names tables in it, or where it holds nothing but rejected records.
    """
    exists = holds_schema(connection, schema)
    owner = None
    if connection.holds_own_table(OWNERS.name):
        owner = read_owner(connection, schema)
    own = (OFFSETS, ENTRIES)
    if not exists or owner is not None or not all(connection.holds_own_table(t.name) for t in own):
        return SchemaStatus(exists, owner)
    known = connection.rows(
        _fill(connection, "SELECT 1 FROM {entries} WHERE schema_name = $1 LIMIT 1"), schema
    )
    ours = {REJECTED, *connection.dialect.schema_tables}
    if not known and not {REJECTED} <= connection.list_relations(schema) <= ours:
        return SchemaStatus(exists)
    loaded = connection.rows(_fill(connection, "SELECT DISTINCT source_id FROM {offsets}"))
    return SchemaStatus(exists, None, frozenset(int(source) for (source,) in loaded))


def read_owner(connection: SqlConnection, schema: str) -> SchemaOwner | None:
    """Return the recorded owner of a schema."""
    rows = connection.rows(_fill(connection, SqlDialect.claim_schema), schema)
    return SchemaOwner(*rows[0]) if rows else None


def list_owners(connection: SqlConnection) -> dict[str, SchemaOwner]:
    """Return schema -> recorded owner, for all of them."""
    rows = connection.rows(
        _fill(
            connection,
            "SELECT schema_name, installation_id, account_id, source_id FROM {schemas}",
        )
    )
    return {str(schema): SchemaOwner(*owner) for schema, *owner in rows}


def record_owner(
    connection: SqlConnection, schema: str, owner: SchemaOwner, *, known: bool
) -> None:
    """Record the owner of a schema; `known` where one is recorded already."""
    statement: LiteralString = "INSERT INTO {schemas} VALUES ($1, $2, $3, $4)"
    if known and not connection.dialect.replaces_rows:
        statement = (
            "UPDATE {schemas} SET installation_id = $2, account_id = $3, source_id = $4"
            " WHERE schema_name = $1"
        )
    connection.run(
        _fill(connection, statement),
        schema,
        owner.installation_id,
        owner.account_id,
        owner.source_id,
    )


def forget_owner(connection: SqlConnection, schema: str) -> None:
    """Delete the record of a schema that is dropped."""
    connection.run(_fill(connection, "DELETE FROM {schemas} WHERE schema_name = $1"), schema)


def check_owner(connection: SqlConnection, schema: str, owner: SchemaOwner) -> None:
    """Check inside the transaction of a load that the schema is still its owner's.

    Raises:
        TableStoppedError: it is another's.
        PlanOutdatedError: nothing is recorded any more, so it is to be prepared again.
    """
    profile = connection.dialect.profile
    rows = connection.rows(_fill(connection, connection.dialect.claim_schema), schema)
    if not rows:
        raise PlanOutdatedError(f"the destination holds no owner of the schema {schema!r}")
    claim_schema(schema, SchemaStatus(True, SchemaOwner(*rows[0])), owner, profile)


def encode_entry(dialect: SqlDialect, table: Table) -> str:
    """Return the document of a table's catalogue entry."""
    return pack_text(table_codec.encode_table(table), dialect.profile.text_bytes_max)


def decode_entry(document: str) -> Table:
    """Return the table of a document."""
    return table_codec.decode_table(unpack_text(document))


def add_entry(connection: SqlConnection, table: Table) -> None:
    """Write the catalogue entry of a table that treadle did not make.

    Raises:
        PlanOutdatedError: there is one already.
    """
    place = (table.schema, table_key(connection.dialect, table.name))
    held = "SELECT document FROM {entries} WHERE schema_name = $1 AND table_key = $2"
    rows = connection.rows(_fill(connection, held), *place)
    document = encode_entry(connection.dialect, table)
    if not rows:
        connection.run(
            _fill(connection, "INSERT INTO {entries} VALUES ($1, $2, $3, 1, $4)"),
            *place,
            escape_name(table.name),
            document,
        )
        return
    if rows[0][0] is not None and decode_entry(rows[0][0]).relations:
        raise PlanOutdatedError(f"the table {table.name!r} is known by now")
    if connection.dialect.replaces_rows:
        revision, _ = read_entry(connection, table.schema, table.name)
        keep_entry(connection, table.schema, table, revision)
        return
    connection.run(
        _fill(
            connection,
            "UPDATE {entries} SET revision = revision + 1, document = $3"
            " WHERE schema_name = $1 AND table_key = $2",
        ),
        *place,
        document,
    )


def read_relation_names(connection: SqlConnection, schema: str) -> frozenset[str]:
    """Return the folded names of the relations in a schema that catalogue entries name."""
    rows = _rows(connection, "SELECT document FROM {entries} WHERE schema_name = $1", schema)
    fold = connection.dialect.profile.fold
    return frozenset(
        fold(relation.name)
        for (document,) in rows
        if document is not None
        for relation in decode_entry(document).relations
    )


def holds_schema(connection: SqlConnection, schema: str) -> bool:
    """Return whether there is such a schema."""
    return connection.holds_schema(schema)


def table_key(dialect: SqlDialect, table: str) -> str:
    """Return the key of a table's catalogue entry: names that are equal there have one."""
    return digest_name(dialect.profile.fold(table))


def read_offsets(
    connection: SqlConnection, log_id: str
) -> Mapping[tuple[int, str], CommittedOffset]:
    """Return (source id, table name as sent) -> the last load of it, for one log."""
    rows = _rows(
        connection,
        "SELECT source_id, table_name, position, report, result FROM {offsets} WHERE log_id = $1",
        log_id,
    )
    return {
        (source, unescape_name(table)): CommittedOffset(
            position, unescape_name(report), decode_result(unpack_text(result))
        )
        for source, table, position, report, result in rows
    }


def read_log_ids(connection: SqlConnection, prefix: str) -> list[str]:
    """Return the logs that there are offsets of and whose names begin with a prefix."""
    rows = _rows(connection, "SELECT DISTINCT log_id FROM {offsets}")
    return sorted(log_id for (log_id,) in rows if log_id.startswith(prefix))


def read_entry(connection: SqlConnection, schema: str, table: str) -> tuple[int, Table | None]:
    """Return a table's catalogue entry with its revision; 0 and None where there is none.

    Where a load ended amid its schema changes, it is the entry of what is there.
    """
    revision, entry = read_held_entry(connection, schema, table)
    if not connection.dialect.transactional_ddl:
        intent = read_intent(connection, schema, table)
        if intent is not None and intent.table:
            entry = _resolve(connection, schema, entry, decode_entry(intent.table))
    return revision, entry


def read_held_entry(connection: SqlConnection, schema: str, table: str) -> tuple[int, Table | None]:
    """Return the entry that the last committed load of a table left, with its revision."""
    rows = _rows(
        connection,
        "SELECT revision, document FROM {entries} WHERE schema_name = $1 AND table_key = $2",
        schema,
        table_key(connection.dialect, table),
    )
    revision, document = rows[0] if rows else (0, None)
    return revision, decode_entry(document) if document else None


def _resolve(
    connection: SqlConnection, schema: str, held: Table | None, coming: Table
) -> Table | None:
    """Return the entry of what is there, where a load ended amid its schema changes."""
    entries = [each for each in (held, coming) if each is not None]
    live = {relation.name for each in entries for relation in each.relations}
    private = {
        relation.name for each in entries for stage in each.stages for relation in stage.relations
    } | {each.tombstones_relation for each in entries if each.tombstones_relation}
    return resolve_entry(
        held,
        coming,
        connection.describe(schema, sorted(live)) if live else {},
        connection.describe(PRIVATE_SCHEMA, sorted(private)) if private else {},
        connection.dialect.profile.fold,
    )


def read_intent(connection: SqlConnection, schema: str, table: str) -> LoadIntent | None:
    """Return what a load of a table was going to do, and has not said that it is done."""
    rows = _rows(
        connection,
        "SELECT document FROM {intents} WHERE schema_name = $1 AND table_key = $2",
        schema,
        table_key(connection.dialect, table),
    )
    return decode_intent(rows[0][0]) if rows and rows[0][0] else None


def list_intents(connection: SqlConnection) -> list[tuple[str, str]]:
    """Return schema and canonical table name of the loads that did not say that all is done."""
    found: list[tuple[str, str]] = []
    noted = _rows(connection, "SELECT schema_name, table_key, document FROM {intents}")
    for schema, key, document in noted:
        if not document:
            continue
        coming = decode_intent(document).table
        if coming:
            found.append((schema, decode_entry(coming).name))
            continue
        # Without an entry to come its rows are committed, and the entry with them.
        kept = "SELECT document FROM {entries} WHERE schema_name = $1 AND table_key = $2"
        rows = _rows(connection, kept, schema, key)
        found += [(schema, decode_entry(entry).name) for (entry,) in rows if entry]
    return found


def keep_intent(connection: SqlConnection, schema: str, table: str, intent: LoadIntent) -> None:
    """Note what a load of a table is going to do; what was noted before is forgotten."""
    place = (schema, table_key(connection.dialect, table))
    if connection.dialect.replaces_rows:
        document = encode_intent(intent) if intent else None
        connection.run(
            _fill(connection, "INSERT INTO {intents} VALUES ($1, $2, $3)"), *place, document
        )
        return
    connection.run(
        _fill(connection, "DELETE FROM {intents} WHERE schema_name = $1 AND table_key = $2"),
        *place,
    )
    if intent:
        connection.run(
            _fill(connection, "INSERT INTO {intents} VALUES ($1, $2, $3)"),
            *place,
            encode_intent(intent),
        )


def _rows(
    connection: SqlConnection, template: LiteralString, *values: object
) -> list[tuple[Any, ...]]:
    """Return the rows of a table of treadle's own; none where no session has made it."""
    try:
        return connection.rows(_fill(connection, template), *values)
    except connection.errors as error:
        if connection.is_missing(error):
            return []
        raise


def _fill(connection: SqlConnection, template: LiteralString) -> Quoted:
    return compose(template, **connection.dialect.own_tables)


def claim(connection: SqlConnection, plan: LoadPlan) -> None:
    """Take hold of the table's offset and catalogue entry, and check that the plan follows them.

    Raises:
        PlanOutdatedError, FencedError: it does not.
    """
    dialect, mark = connection.dialect, plan.offset
    values: list[object] = [mark.log_id, mark.source_id, digest_name(mark.table_name)]
    if dialect.claims_rows:
        values.append(escape_name(mark.table_name))
    held = connection.rows(_fill(connection, dialect.claim_offset), *values)
    check_offset(mark, *(held[0] if held else (-1, 0)))
    name = plan.table_after.name if plan.table_after is not None else plan.table_name
    values = [plan.schema, table_key(dialect, name)]
    claims = dialect.claim_entry
    if plan.table_after is None:  # an entry that is not there is not to be made
        claims = SqlDialect.claim_entry
    elif _is_made_at_once(dialect, plan):
        document = encode_entry(dialect, plan.table_after)
        entry = (escape_name(name), document)
        if connection.rows(_fill(connection, dialect.make_entry), *values, *entry):
            return
        claims = SqlDialect.claim_entry  # another load was first
    elif dialect.claims_rows:
        values.append(escape_name(name))
    known = connection.rows(_fill(connection, claims), *values)
    revision = known[0][0] if known else 0
    if plan.revision != revision:  # another load changed the table since
        raise PlanOutdatedError(
            f"table {plan.table_name!r}: planned from revision {plan.revision}, "
            f"the destination holds {revision}"
        )


def _is_made_at_once(dialect: SqlDialect, plan: LoadPlan) -> bool:
    """Return whether `claim` writes the whole entry: that of a new table is one statement less."""
    return dialect.claims_rows and plan.table_after is not None and not plan.revision


def finish(connection: SqlConnection, plan: LoadPlan, result: str) -> None:
    """Write the catalogue entry and the offset. Whether they are there is known since `claim`."""
    if plan.table_after is not None and not _is_made_at_once(connection.dialect, plan):
        keep_entry(connection, plan.schema, plan.table_after, plan.revision)
    if moves_offset(plan.offset):
        keep_offset(connection, plan.offset, result)


def keep_entry(connection: SqlConnection, schema: str, table: Table, revision: int) -> None:
    """Write a table's catalogue entry; `revision` is the one it had, 0 where there is none."""
    dialect = connection.dialect
    entry: tuple[object, ...] = (revision + 1, encode_entry(dialect, table))
    statement: LiteralString = (
        "UPDATE {entries} SET revision = $3, document = $4"
        " WHERE schema_name = $1 AND table_key = $2"
    )
    if not revision or dialect.replaces_rows:
        statement = "INSERT INTO {entries} VALUES ($1, $2, $3, $4, $5)"
        entry = (escape_name(table.name), *entry)
    place = (schema, table_key(dialect, table.name))
    connection.run(_fill(connection, statement), *place, *entry)


def keep_offset(connection: SqlConnection, mark: OffsetCommit, result: str) -> None:
    """Write the offset of a load."""
    dialect = connection.dialect
    packed = pack_text(result, dialect.profile.text_bytes_max)
    held: tuple[object, ...] = (mark.position, mark.fence, escape_name(mark.report), packed)
    statement: LiteralString = (
        "UPDATE {offsets} SET position = $4, fence = $5, report = $6, result = $7"
        " WHERE log_id = $1 AND source_id = $2 AND table_key = $3"
    )
    if dialect.replaces_rows or (mark.previous_position < 0 and not dialect.claims_rows):
        statement = "INSERT INTO {offsets} VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        held = (escape_name(mark.table_name), *held)
    row = (mark.log_id, mark.source_id, digest_name(mark.table_name))
    connection.run(_fill(connection, statement), *row, *held)


def forget(connection: SqlConnection, schema: str, table: str, log_id: str) -> None:
    """Delete a table's catalogue entry, and all offsets of a log."""
    connection.run(
        _fill(connection, "DELETE FROM {entries} WHERE schema_name = $1 AND table_key = $2"),
        schema,
        table_key(connection.dialect, table),
    )
    if not connection.dialect.transactional_ddl:
        keep_intent(connection, schema, table, LoadIntent())
    connection.run(_fill(connection, "DELETE FROM {offsets} WHERE log_id = $1"), log_id)


def complete_rejections(connection: SqlConnection, schema: str) -> Iterator[Quoted]:
    """Give the statements that make `_sdc_rejected`, or its columns that are missing.

    They are of a later release, or somebody has dropped them.
    """
    if not connection.holds_table(schema, REJECTED):  # the user may have dropped it
        yield create_relation(connection.dialect, schema, REJECTIONS, if_missing=True)
        return
    there = connection.describe(schema, [REJECTED])[REJECTED].columns
    held = set(map(connection.dialect.profile.fold, there))
    for column in REJECTED_COLUMNS:
        if column.name not in held:
            yield compose(
                "ALTER TABLE {place} ADD COLUMN {absent}{column}",
                place=connection.dialect.place(schema, REJECTED),
                absent=connection.dialect.column_absent,
                column=connection.dialect.define([column]),
            )


def reject(
    connection: SqlConnection, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    """Write rows of `_sdc_rejected`.

    A column `code` or `field` that the user made with another type stays as it is.
    """
    bytes_max = connection.dialect.profile.text_bytes_max

    def store(text: str) -> str:
        storable = make_storable(text)
        return storable if bytes_max is None else cut_text(storable, bytes_max)

    columns: dict[str, TypedColumn] = {
        "record": [store(each.record) for each in rejections],
        "reason": [store(each.reason) for each in rejections],
        "table_name": [store(each.table_name) for each in rejections],
        "_sdc_rejected_at": [rejected_at] * len(rejections),
    }
    found = connection.describe(schema, [REJECTED]).get(REJECTED)
    # A temporary one, which a rehearsal makes, is not shown, and has all columns.
    there: Mapping[str, ColumnType | None] = dict.fromkeys(("code", "field"), ColumnType.TEXT)
    if found is not None:
        there = found.columns
    if there.get("code") is ColumnType.TEXT:
        columns["code"] = [each.code.value for each in rejections]
    if there.get("field") is ColumnType.TEXT:
        columns["field"] = [each.field for each in rejections]
    connection.insert(connection.dialect.place(schema, REJECTED), RelationRows(REJECTIONS, columns))
