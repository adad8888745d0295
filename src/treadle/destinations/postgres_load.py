"""One load as PostgreSQL statements, inside a transaction that the caller began and will end.

Rows travel by binary COPY: straight into a relation that is still empty, else into a temporary
staging table, from where one statement merges them. A timestamp's binary form is microseconds
since 2000 as an int8, and that of jsonb is its text behind a version byte, so both are written
without making a Python object of their own kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

import psycopg
from psycopg import sql

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    catalogue_name,
    check_mark,
    check_revision,
    created,
    digest,
    dump_result,
    empty_after_changes,
    given_and_missing,
    index_order,
    parent_key,
    report_names,
    spell,
    tombstones_name,
)
from treadle.destinations.protocol import LoadResult
from treadle.tables import codec
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    ColumnType,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Rejection,
    Relation,
    RenameColumn,
    Rows,
    SchemaChange,
    TableWrite,
    WidenColumn,
)

Connection = psycopg.Connection[tuple[Any, ...]]

POSITIONS: Final = sql.SQL(
    """
    CREATE TABLE IF NOT EXISTS _treadle.positions (
      log_id text NOT NULL,
      source_id bigint NOT NULL,
      table_key text NOT NULL,
      table_name text NOT NULL,
      position bigint NOT NULL,
      fence bigint NOT NULL,
      report text NOT NULL,
      result text NOT NULL,
      PRIMARY KEY (log_id, source_id, table_key)
    )
    """
)
"""How far each table's log entries are loaded; `table_key` is the digest of the name as sent."""

CATALOGUE: Final = sql.SQL(
    """
    CREATE TABLE IF NOT EXISTS _treadle.catalogue (
      schema_name text NOT NULL,
      table_key text NOT NULL,
      table_name text NOT NULL,
      revision bigint NOT NULL,
      document text,
      PRIMARY KEY (schema_name, table_key)
    )
    """
)
"""What treadle made; `table_key` is the digest of the canonical table name."""

ANALYZE_ROWS_MIN: Final = 1_000
"""A smaller stage joins well whatever the planner believes of it."""

_STORED: Final = {
    ColumnType.BIGINT: sql.SQL("bigint"),
    ColumnType.BOOLEAN: sql.SQL("boolean"),
    ColumnType.DECIMAL: sql.SQL("numeric"),
    ColumnType.DOUBLE: sql.SQL("double precision"),
    ColumnType.JSON: sql.SQL("jsonb"),
    ColumnType.TEXT: sql.SQL("text"),
    ColumnType.TIMESTAMP: sql.SQL("timestamp with time zone"),
}
"""Logical types as PostgreSQL stores them (loading.md 3.2)."""

_COPIED_AS: Final = {
    ColumnType.BIGINT: "int8",
    ColumnType.BOOLEAN: "bool",
    ColumnType.DECIMAL: "numeric",
    ColumnType.DOUBLE: "float8",
    ColumnType.JSON: "bytea",
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "int8",
}

_MICROSECONDS_TO_2000: Final = 946_684_800_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def carry_out(connection: Connection, plan: LoadPlan) -> LoadResult:
    """Do everything of a plan but COMMIT.

    Raises:
        PlanOutdated, Fenced: the plan does not follow what is held.
        psycopg.Error: the server's refusal; the caller rolls back.
    """
    _lock(connection, plan)
    for change in _grouped(plan.changes):
        _change(connection, plan, change)
    rows: dict[str, int] = {}
    superseded: dict[int, int] = {}
    empty = empty_after_changes(plan)
    for number, write in enumerate(plan.writes):
        _Writer(connection, plan, write, number, empty, rows, superseded).run()
        empty -= {
            (write.private, written.relation.name) for written in (write.root, *write.children)
        }
    if plan.rejections:
        _reject(connection, plan.schema, plan.rejections, plan.rejected_at)
    _finish(connection, plan, dump_result(rows, superseded))
    return LoadResult(rows, superseded)


# --- the mark and the catalogue -------------------------------------------------------------------


def _lock(connection: Connection, plan: LoadPlan) -> None:
    mark = plan.mark
    held = connection.execute(
        """
        INSERT INTO _treadle.positions AS p
          (log_id, source_id, table_key, table_name, position, fence, report, result)
        VALUES (%s, %s, %s, %s, -1, 0, '', '')
        ON CONFLICT (log_id, source_id, table_key) DO UPDATE SET fence = p.fence
        RETURNING position, fence
        """,
        [mark.log_id, mark.source_id, digest(mark.table_name), spell(mark.table_name)],
    ).fetchone()
    check_mark(mark, *_some(held))
    name = catalogue_name(plan)
    if plan.after is None:
        known: tuple[Any, ...] | None = connection.execute(
            "SELECT revision FROM _treadle.catalogue"
            " WHERE schema_name = %s AND table_key = %s FOR UPDATE",
            [plan.schema, digest(name)],
        ).fetchone() or (0,)
    else:
        known = connection.execute(
            """
            INSERT INTO _treadle.catalogue AS c (schema_name, table_key, table_name, revision)
            VALUES (%s, %s, %s, 0)
            ON CONFLICT (schema_name, table_key) DO UPDATE SET revision = c.revision
            RETURNING revision
            """,
            [plan.schema, digest(name), spell(name)],
        ).fetchone()
    check_revision(plan, _some(known)[0])


def _finish(connection: Connection, plan: LoadPlan, result: str) -> None:
    if plan.after is not None:
        connection.execute(
            "UPDATE _treadle.catalogue SET revision = revision + 1, document = %s"
            " WHERE schema_name = %s AND table_key = %s",
            [codec.dump(plan.after), plan.schema, digest(plan.after.name)],
        )
    mark = plan.mark
    connection.execute(
        "UPDATE _treadle.positions SET position = %s, fence = %s, report = %s, result = %s"
        " WHERE log_id = %s AND source_id = %s AND table_key = %s",
        [
            *(mark.position, mark.fence, spell(mark.report), result),
            *(mark.log_id, mark.source_id, digest(mark.table_name)),
        ],
    )


def create_rejected(connection: Connection, schema: str) -> None:
    """Make `_sdc_rejected` (loading.md 8.1) where it is missing."""
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
            sql.Identifier(schema, REJECTED), _definitions(REJECTED_COLUMNS)
        )
    )


def _reject(
    connection: Connection, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    create_rejected(connection, schema)
    relation = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
    values: tuple[Sequence[Any], ...] = (
        [_storable(rejection.record) for rejection in rejections],
        [_storable(rejection.reason) for rejection in rejections],
        [_storable(rejection.table_name) for rejection in rejections],
        [rejected_at] * len(rejections),
    )
    names = [column.name for column in REJECTED_COLUMNS]
    _copy_into(
        connection,
        sql.Identifier(schema, REJECTED),
        Rows(relation, dict(zip(names, values, strict=True))),
    )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


# --- schema changes -------------------------------------------------------------------------------


def _grouped(changes: Iterable[SchemaChange]) -> Iterable[SchemaChange | list[AddColumn]]:
    """The changes, neighbouring AddColumns of one relation as one list."""

    def key(change: SchemaChange) -> object:
        if isinstance(change, AddColumn):
            return (change.relation, change.private)
        return id(change)

    for _, group in groupby(changes, key):
        several = list(group)
        additions = [change for change in several if isinstance(change, AddColumn)]
        if additions:
            yield additions
        else:
            yield from several


def _change(connection: Connection, plan: LoadPlan, change: SchemaChange | list[AddColumn]) -> None:
    def place(name: str, private: bool = False) -> sql.Identifier:
        return sql.Identifier(PRIVATE_SCHEMA if private else plan.schema, name)

    match change:
        case list():
            first = change[0]
            connection.execute(
                sql.SQL("ALTER TABLE {} {}").format(
                    place(first.relation, first.private),
                    sql.SQL(", ").join(
                        sql.SQL("ADD COLUMN {} {}").format(
                            sql.Identifier(addition.column.name), _STORED[addition.column.type]
                        )
                        for addition in change
                    ),
                )
            )
        case CreateRelation(relation, private):
            _create(connection, PRIVATE_SCHEMA if private else plan.schema, relation)
            if not private and not relation.path:
                _forget_tombstones(connection, plan)
        case RenameColumn(relation_name, old, new, private):
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                    place(relation_name, private), sql.Identifier(old), sql.Identifier(new)
                )
            )
        case WidenColumn(relation_name, column, _, private):
            connection.execute(
                sql.SQL(
                    "ALTER TABLE {} ALTER COLUMN {name} TYPE {type} USING {name}::{type}"
                ).format(
                    place(relation_name, private),
                    name=sql.Identifier(column.name),
                    type=_STORED[column.type],
                )
            )
        case ChangeKey(relation_name, old, key):
            _change_key(connection, plan.schema, relation_name, old, key)
        case EmptyRelation(relation_name):
            connection.execute(sql.SQL("TRUNCATE {}").format(place(relation_name)))
            if plan.after is not None and relation_name == plan.after.name:
                _forget_tombstones(connection, plan)
        case CopyStage(stage, relation_name, columns):
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                    place(relation_name),
                    _names(live for _, live in columns),
                    _names(staged for staged, _ in columns),
                    place(stage, private=True),
                )
            )
        case DropStage(relation_name):
            connection.execute(sql.SQL("DROP TABLE {}").format(place(relation_name, private=True)))


def _create(connection: Connection, schema: str, relation: Relation) -> None:
    _free_name(connection, schema, relation.name)
    key = (
        sql.SQL(", PRIMARY KEY ({})").format(_names(index_order(relation.key)))
        if relation.key
        else sql.SQL("")
    )
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}{})").format(
            sql.Identifier(schema, relation.name), _definitions(relation.columns), key
        )
    )


def _free_name(connection: Connection, schema: str, name: str) -> None:
    """Move a primary key's index out of the way: tables and indexes share their names.

    The index of table `a` is called `a_pkey`, which a client may call a table as well.
    """
    taken = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " JOIN pg_catalog.pg_constraint k ON k.conindid = r.oid AND k.contype = 'p'"
        " WHERE n.nspname = %s AND r.relname = %s",
        [schema, name],
    ).fetchone()
    if taken:
        connection.execute(
            sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(schema, name), sql.Identifier(f"pkey_{digest(name)[:16]}")
            )
        )


def _change_key(
    connection: Connection, schema: str, relation: str, old: tuple[str, ...], key: tuple[str, ...]
) -> None:
    target = sql.Identifier(schema, relation)
    # The user may have renamed the constraint.
    constraint = connection.execute(
        "SELECT k.conname FROM pg_catalog.pg_constraint k"
        " JOIN pg_catalog.pg_class r ON r.oid = k.conrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE k.contype = 'p' AND n.nspname = %s AND r.relname = %s",
        [schema, relation],
    ).fetchone()
    steps: list[sql.Composable] = []
    if constraint:
        steps.append(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(constraint[0])))
    steps += [
        sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name))
        for name in old
        if name not in key
    ]
    if key:
        steps.append(sql.SQL("ADD PRIMARY KEY ({})").format(_names(index_order(key))))
    if steps:
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(target, sql.SQL(", ").join(steps)))


def _definitions(columns: Iterable[Column]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            _STORED[column.type],
            sql.SQL("" if column.nullable else " NOT NULL"),
        )
        for column in columns
    )


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


# --- rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """A temporary table of this transaction with rows for a relation.

    Attributes:
        name: the table.
        columns: relation's column -> the stage's.
        entries: it has the column `entry`.
    """

    name: sql.Identifier
    columns: dict[str, sql.Identifier]
    entries: bool

    def matches(self, alias: str, pairs: Iterable[tuple[str, str]]) -> sql.Composed:
        """Condition: for every (column, other), stage `s`'s column equals `alias`'s other."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = s.{}").format(sql.Identifier(alias, other), self.columns[name])
            for name, other in pairs
        )


def stage_rows(connection: Connection, rows: Rows, name: str) -> Stage:
    """Copy rows into a new temporary table that goes with the transaction."""
    given, _ = given_and_missing(rows)
    entries = len(rows.entries) == len(rows)
    stage = Stage(
        sql.Identifier("pg_temp", name),
        {column.name: sql.Identifier(f"c{number}") for number, column in enumerate(given)},
        entries,
    )
    definitions: list[sql.Composable] = [
        sql.SQL("{} {}").format(stage.columns[column.name], _STORED[column.type])
        for column in given
    ]
    if entries:
        definitions.append(sql.SQL("entry bigint"))
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            stage.name, sql.SQL(", ").join(definitions)
        )
    )
    _copy(
        connection,
        sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(stage.name),
        given,
        rows,
        rows.entries if entries else (),
    )
    return stage


def _copy_into(connection: Connection, target: sql.Identifier, rows: Rows) -> int:
    given, _ = given_and_missing(rows)
    return _copy(
        connection,
        sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            target, _names(column.name for column in given)
        ),
        given,
        rows,
        (),
    )


def _copy(
    connection: Connection,
    statement: sql.Composed,
    columns: Sequence[Column],
    rows: Rows,
    entries: Sequence[int],
) -> int:
    values = [_wire_values(column.type, rows.columns[column.name]) for column in columns]
    types = [_COPIED_AS[column.type] for column in columns]
    if entries:
        values.append(entries)
        types.append("int8")
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.set_types(types)
        write = copy.write_row
        for row in zip(*values, strict=True):
            write(row)
    return cursor.rowcount


def _wire_values(type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    if type_ is ColumnType.TIMESTAMP:
        return [None if at is None else at - _MICROSECONDS_TO_2000 for at in values]
    if type_ is ColumnType.JSON:
        return [None if text is None else b"\x01" + text.encode() for text in values]
    return values


class _Writer:
    """Writes one `TableWrite`: the root's rows, then children, then what they leave stale."""

    def __init__(
        self,
        connection: Connection,
        plan: LoadPlan,
        write: TableWrite,
        number: int,
        empty: set[tuple[bool, str]],
        rows: dict[str, int],
        superseded: dict[int, int],
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._write = write
        self._number = number
        self._empty = empty
        self._rows = rows
        self._superseded = superseded
        self._names = report_names(plan.after, write)
        self._batched_at = _EPOCH + timedelta(microseconds=plan.batched_at)
        self._stages = 0
        self._tombstones = plan.after is not None and plan.after.tombstones and not write.private

    def run(self) -> None:
        """Write everything."""
        write = self._write
        if write.mode == "append":
            for rows in (write.root, *write.children):
                self._append(rows)
            return
        if self._tombstones:
            self._create_tombstones()
        root = write.root.relation
        parents: Stage | None = None
        if self._is_empty(root) or not len(write.root):
            self._append(write.root)
        else:
            parents = self._merge_root()
        for rows in write.children:
            self._write_children(rows, parents)
        if len(write.root):
            made = created(self._plan)
            for child in write.stale:
                if (write.private, child.name) not in made:
                    self._remove_stale(child, parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    # --- parts ------------------------------------------------------------------------------------

    def _append(self, rows: Rows) -> None:
        if len(rows):
            count = _copy_into(self._connection, self._place(rows.relation), rows)
            self._count(rows.relation, count)

    def _merge_root(self) -> Stage:
        """Upsert the root's rows; the stage returned holds those that were written."""
        write = self._write
        root = write.root.relation
        total = len(write.root)
        stage = self._stage(write.root)
        if self._tombstones:
            total -= self._lose_to_tombstones(stage)
        greater = sql.SQL(">=" if write.tie == "last" else ">")
        written = self._upsert(
            write.root,
            stage,
            sql.SQL(
                "WHERE t._sdc_sequence IS NULL OR excluded._sdc_sequence {} t._sdc_sequence"
            ).format(greater),
        )
        self._count(root, written)
        if written < total:
            # A row of this load is known by its `_sdc_batched_at`, which no other load has.
            self._lose(
                stage,
                sql.SQL(
                    "NOT EXISTS (SELECT FROM {target} t WHERE {same_key}"
                    " AND t._sdc_batched_at = {batched_at})"
                ).format(
                    target=self._place(root),
                    same_key=stage.matches("t", [(name, name) for name in root.key]),
                    batched_at=sql.Literal(self._batched_at),
                ),
            )
        return stage

    def _write_children(self, rows: Rows, parents: Stage | None) -> None:
        if not len(rows):
            return
        child = rows.relation
        lost = parents is not None and self._lost
        if self._is_empty(child) and not lost:
            self._append(rows)
            return
        stage = self._stage(rows)
        if lost and parents is not None:
            pairs = parent_key(self._write.root.relation, child)
            self._connection.execute(
                sql.SQL(
                    "DELETE FROM {stage} c WHERE NOT EXISTS (SELECT FROM {parents} s WHERE {same})"
                ).format(
                    stage=stage.name,
                    parents=parents.name,
                    same=sql.SQL(" AND ").join(
                        sql.SQL("c.{} = s.{}").format(stage.columns[repeated], parents.columns[key])
                        for key, repeated in pairs
                    ),
                )
            )
        # Their parents won, so the children replace whatever has their place.
        self._count(child, self._upsert(rows, stage, sql.SQL("")))

    def _remove_stale(self, child: Relation, parents: Stage | None) -> None:
        """Delete children of the parents written that this load did not write (loading.md 7.5)."""
        root = self._write.root.relation
        pairs = parent_key(root, child)
        if parents is None:
            source: sql.Composable = sql.SQL("{} s").format(self._place(root))
            same = sql.SQL(" AND ").join(
                sql.SQL("c.{} = s.{}").format(sql.Identifier(repeated), sql.Identifier(key))
                for key, repeated in pairs
            )
            sequence: sql.Composable = sql.Identifier("_sdc_sequence")
        else:
            source = sql.SQL("{} s").format(parents.name)
            same = parents.matches("c", pairs)
            sequence = parents.columns["_sdc_sequence"]
        self._connection.execute(
            sql.SQL(
                "DELETE FROM {child} c USING {source} WHERE {same}"
                " AND c._sdc_sequence <= s.{sequence}"
                " AND c._sdc_batched_at IS DISTINCT FROM {batched_at}"
            ).format(
                child=self._place(child),
                source=source,
                same=same,
                sequence=sequence,
                batched_at=sql.Literal(self._batched_at),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _create_tombstones(self) -> None:
        root = self._write.root.relation
        types = {column.name: column.type for column in root.columns}
        self._connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {}"
                " ({}, _sdc_sequence bigint NOT NULL, PRIMARY KEY ({}))"
            ).format(
                _tombstones(self._plan),
                sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(name), _STORED[types[name]])
                    for name in root.key
                ),
                _names(root.key),
            )
        )

    def _lose_to_tombstones(self, stage: Stage) -> int:
        root = self._write.root.relation
        return self._lose(
            stage,
            sql.SQL(
                "EXISTS (SELECT FROM {tombstones} d WHERE {same_key}"
                " AND d._sdc_sequence {at_least} s.{sequence})"
            ).format(
                tombstones=_tombstones(self._plan),
                same_key=stage.matches("d", [(name, name) for name in root.key]),
                at_least=sql.SQL(">" if self._write.tie == "last" else ">="),
                sequence=stage.columns["_sdc_sequence"],
            ),
        )

    def _delete(self, deletes: Rows) -> None:
        root = self._write.root.relation
        stage = self._stage(Rows(root, deletes.columns, deletes.entries))
        greater = sql.SQL(">=" if self._write.tie == "last" else ">")
        # A delete that is older than the row in the table loses to it.
        self._lose(
            stage,
            sql.SQL(
                "EXISTS (SELECT FROM {target} t WHERE {same_key} AND t._sdc_sequence IS NOT NULL"
                " AND NOT s.{sequence} {greater} t._sdc_sequence)"
            ).format(
                target=self._place(root),
                same_key=stage.matches("t", [(name, name) for name in root.key]),
                sequence=stage.columns["_sdc_sequence"],
                greater=greater,
            ),
        )
        for relation, pairs in (
            (root, tuple((name, name) for name in root.key)),
            *((child, parent_key(root, child)) for child in self._children()),
        ):
            self._connection.execute(
                sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(
                    self._place(relation), stage.name, stage.matches("t", pairs)
                )
            )
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {tombstones} AS d ({key}, _sdc_sequence)"
                " SELECT {staged} FROM {stage} s"
                " ON CONFLICT ({key}) DO UPDATE SET _sdc_sequence ="
                " greatest(d._sdc_sequence, excluded._sdc_sequence)"
            ).format(
                tombstones=_tombstones(self._plan),
                key=_names(root.key),
                staged=sql.SQL(", ").join(
                    sql.SQL("s.{}").format(stage.columns[name])
                    for name in (*root.key, "_sdc_sequence")
                ),
                stage=stage.name,
            )
        )

    def _children(self) -> tuple[Relation, ...]:
        after = self._plan.after
        return tuple(relation for relation in after.relations if relation.path) if after else ()

    # --- helpers ----------------------------------------------------------------------------------

    _lost = False
    """Some of the root's rows were superseded."""

    def _place(self, relation: Relation) -> sql.Identifier:
        schema = PRIVATE_SCHEMA if self._write.private else self._plan.schema
        return sql.Identifier(schema, relation.name)

    def _is_empty(self, relation: Relation) -> bool:
        return (self._write.private, relation.name) in self._empty

    def _count(self, relation: Relation, rows: int) -> None:
        name = self._names.get(relation.name, relation.name)
        self._rows[name] = self._rows.get(name, 0) + rows

    def _stage(self, rows: Rows) -> Stage:
        self._stages += 1
        stage = stage_rows(self._connection, rows, f"treadle_{self._number}_{self._stages}")
        if len(rows) >= ANALYZE_ROWS_MIN and (self._write.stale or self._write.children):
            self._connection.execute(sql.SQL("ANALYZE {}").format(stage.name))
        return stage

    def _upsert(self, rows: Rows, stage: Stage, condition: sql.Composable) -> int:
        """Insert a stage, replacing rows of the same key where the condition holds.

        Managed columns without values become NULL (loading.md 2.2).
        """
        relation = rows.relation
        given, missing = given_and_missing(rows)
        assignments = [
            sql.SQL("{name} = excluded.{name}").format(name=sql.Identifier(column.name))
            for column in given
            if column.name not in relation.key
        ] + [sql.SQL("{} = NULL").format(sql.Identifier(column.name)) for column in missing]
        on_conflict: sql.Composable = sql.SQL("")
        if relation.key:  # the user may have dropped a subtable's key
            on_conflict = sql.SQL(
                "ON CONFLICT ({key}) DO UPDATE SET {assignments} {condition}"
            ).format(
                key=_names(relation.key),
                assignments=sql.SQL(", ").join(assignments),
                condition=condition,
            )
        cursor = self._connection.execute(
            sql.SQL(
                "INSERT INTO {target} AS t ({columns}) SELECT {values} FROM {stage} s {on_conflict}"
            ).format(
                target=self._place(relation),
                columns=_names(column.name for column in (*given, *missing)),
                values=sql.SQL(", ").join(
                    [
                        *(sql.SQL("s.{}").format(stage.columns[column.name]) for column in given),
                        *(sql.SQL("NULL") for _ in missing),
                    ]
                ),
                stage=stage.name,
                on_conflict=on_conflict,
            )
        )
        return cursor.rowcount

    def _lose(self, stage: Stage, condition: sql.Composable) -> int:
        """Take the rows that meet a condition out of a stage `s` and count them by entry."""
        if not stage.entries:
            cursor = self._connection.execute(
                sql.SQL("DELETE FROM {} s WHERE {}").format(stage.name, condition)
            )
            self._lost = self._lost or cursor.rowcount > 0
            return cursor.rowcount
        found = self._connection.execute(
            sql.SQL(
                "WITH lost AS (DELETE FROM {} s WHERE {} RETURNING entry)"
                " SELECT entry, count(*) FROM lost GROUP BY entry"
            ).format(stage.name, condition)
        ).fetchall()
        for entry, count in found:
            self._superseded[entry] = self._superseded.get(entry, 0) + count
        self._lost = self._lost or bool(found)
        return sum(count for _, count in found)


def _tombstones(plan: LoadPlan) -> sql.Identifier:
    return sql.Identifier(PRIVATE_SCHEMA, tombstones_name(plan.schema, catalogue_name(plan)))


def _forget_tombstones(connection: Connection, plan: LoadPlan) -> None:
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_tombstones(plan)))


def _some(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise psycopg.DataError("the statement returned no row")
    return row
