"""One load as DuckDB statements, inside a transaction that the caller began and will end.

Rows become an Arrow table whose columns are called c0, c1, ..., registered under a name of our
own: no name of a client takes part until it is quoted as a target.
"""

from collections.abc import Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from treadle.destinations.duckdb.quoting import (
    STORED,
    Quoted,
    compose,
    definitions,
    joined,
    name,
    names,
    same,
)
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
    given_and_missing,
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
from treadle.tables.profiles import DUCKDB

POSITIONS: Final = """
    CREATE TABLE IF NOT EXISTS {place} (
      log_id VARCHAR NOT NULL,
      source_id BIGINT NOT NULL,
      table_key VARCHAR NOT NULL,
      table_name VARCHAR NOT NULL,
      position BIGINT NOT NULL,
      fence BIGINT NOT NULL,
      report VARCHAR NOT NULL,
      result VARCHAR NOT NULL,
      PRIMARY KEY (log_id, source_id, table_key)
    )
"""
"""How far each table's log entries are loaded; `table_key` is the digest of the name as sent."""

CATALOGUE: Final = """
    CREATE TABLE IF NOT EXISTS {place} (
      schema_name VARCHAR NOT NULL,
      table_key VARCHAR NOT NULL,
      table_name VARCHAR NOT NULL,
      revision BIGINT NOT NULL,
      document VARCHAR,
      PRIMARY KEY (schema_name, table_key)
    )
"""
"""What treadle made; `table_key` is the digest of the folded canonical table name."""

_ARROW: Final = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.JSON: pa.string(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}

_ENTRY: Final = "entry"
_NOTHING: Final = Quoted("")


class Database:
    """A connection with the names and the shorthand that statements need.

    Args:
        connection: to the file.
        catalog: what DuckDB calls the file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
        self.connection = connection
        self._catalog = catalog
        self._registered: list[str] = []

    def place(self, schema: str, relation: str) -> Quoted:
        """A relation's full name: a schema may be called like the file."""
        return name(self._catalog, schema, relation)

    def private(self, relation: str) -> Quoted:
        """Full name of a relation of treadle's own schema."""
        return self.place(PRIVATE_SCHEMA, relation)

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute; returns the number of rows written."""
        row = self.connection.execute(statement, values or None).fetchone()
        return int(row[0]) if row and isinstance(row[0], int) else 0

    def register(self, title: str, table: pa.Table) -> None:
        """Let statements name an Arrow table, until `forget`."""
        self._registered.append(title)
        self.connection.register(title, table)

    def forget(self) -> None:
        """Let go of what was registered; only outside a transaction, which may have failed."""
        while self._registered:
            self.connection.unregister(self._registered.pop())

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute and fetch everything."""
        return self.connection.execute(statement, values or None).fetchall()


def catalogue_key(table: str) -> str:
    """Under which key the catalogue keeps a table: DuckDB ignores the case of A to Z."""
    return digest(DUCKDB.fold(table))


def carry_out(database: Database, plan: LoadPlan) -> LoadResult:
    """Do everything of a plan but COMMIT.

    Raises:
        PlanOutdated, Fenced: the plan does not follow what is held.
        duckdb.Error, pyarrow.ArrowException: the refusal; the caller rolls back.
    """
    _check(database, plan)
    for change in plan.changes:
        _change(database, plan, change)
    rows: dict[str, int] = {}
    superseded: dict[int, int] = {}
    for number, write in enumerate(plan.writes):
        _Writer(database, plan, write, f"treadle_{number}", rows, superseded).run()
    if plan.rejections:
        reject(database, plan.schema, plan.rejections, plan.rejected_at)
    _finish(database, plan, dump_result(rows, superseded))
    return LoadResult(rows, superseded)


# --- the mark and the catalogue -------------------------------------------------------------------


def _check(database: Database, plan: LoadPlan) -> None:
    mark = plan.mark
    held = database.rows(
        compose(
            "SELECT position, fence FROM {positions}"
            " WHERE log_id = ? AND source_id = ? AND table_key = ?",
            positions=database.private("positions"),
        ),
        mark.log_id,
        mark.source_id,
        digest(mark.table_name),
    )
    check_mark(mark, *(held[0] if held else (-1, 0)))
    known = database.rows(
        compose(
            "SELECT revision FROM {catalogue} WHERE schema_name = ? AND table_key = ?",
            catalogue=database.private("catalogue"),
        ),
        plan.schema,
        catalogue_key(catalogue_name(plan)),
    )
    check_revision(plan, known[0][0] if known else 0)


def _finish(database: Database, plan: LoadPlan, result: str) -> None:
    if plan.after is not None:
        database.run(
            compose(
                "INSERT INTO {catalogue} VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (schema_name, table_key)"
                " DO UPDATE SET revision = excluded.revision, document = excluded.document",
                catalogue=database.private("catalogue"),
            ),
            plan.schema,
            catalogue_key(plan.after.name),
            spell(plan.after.name),
            plan.revision + 1,
            codec.dump(plan.after),
        )
    mark = plan.mark
    database.run(
        compose(
            "INSERT INTO {positions} VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (log_id, source_id, table_key)"
            " DO UPDATE SET position = excluded.position, fence = excluded.fence,"
            " report = excluded.report, result = excluded.result",
            positions=database.private("positions"),
        ),
        mark.log_id,
        mark.source_id,
        digest(mark.table_name),
        spell(mark.table_name),
        mark.position,
        mark.fence,
        spell(mark.report),
        result,
    )


def create_rejected(database: Database, schema: str) -> None:
    """Make `_sdc_rejected` (loading.md 8.1) where it is missing."""
    database.run(
        compose(
            "CREATE TABLE IF NOT EXISTS {rejected} ({columns})",
            rejected=database.place(schema, REJECTED),
            columns=definitions(REJECTED_COLUMNS),
        )
    )


def reject(
    database: Database, schema: str, rejections: Sequence[Rejection], rejected_at: int
) -> None:
    """Write rows of `_sdc_rejected`."""
    create_rejected(database, schema)
    relation = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
    values: tuple[Sequence[Any], ...] = (
        [_storable(rejection.record) for rejection in rejections],
        [_storable(rejection.reason) for rejection in rejections],
        [_storable(rejection.table_name) for rejection in rejections],
        [rejected_at] * len(rejections),
    )
    rows = Rows(
        relation,
        dict(zip((column.name for column in REJECTED_COLUMNS), values, strict=True)),
    )
    stage = Stage(database, rows, "treadle_rejected")
    database.run(
        compose(
            "INSERT INTO {rejected} ({columns}) SELECT {values} FROM {stage} s",
            rejected=database.place(schema, REJECTED),
            columns=names(rows.columns),
            values=stage.values(rows.columns),
            stage=stage.name,
        )
    )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


# --- schema changes -------------------------------------------------------------------------------


def _change(database: Database, plan: LoadPlan, change: SchemaChange) -> None:
    def place(relation: str, private: bool = False) -> Quoted:
        return database.private(relation) if private else database.place(plan.schema, relation)

    match change:
        case CreateRelation(relation, private):
            key = compose(", PRIMARY KEY ({key})", key=names(relation.key))
            database.run(
                compose(
                    "CREATE TABLE {target} ({columns}{key})",
                    target=place(relation.name, private),
                    columns=definitions(relation.columns),
                    key=key if relation.key else _NOTHING,
                )
            )
            if not private and not relation.path:
                _forget_tombstones(database, plan)
        case AddColumn(relation_name, column, private):
            database.run(
                compose(
                    "ALTER TABLE {target} ADD COLUMN {name} {type}",
                    target=place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                )
            )
        case RenameColumn(relation_name, old, new, private):
            database.run(
                compose(
                    "ALTER TABLE {target} RENAME COLUMN {old} TO {new}",
                    target=place(relation_name, private),
                    old=name(old),
                    new=name(new),
                )
            )
        case WidenColumn(relation_name, column, _, private):
            database.run(
                compose(
                    "ALTER TABLE {target} ALTER COLUMN {name} TYPE {type}",
                    target=place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                )
            )
        case ChangeKey(relation_name, _, key_names):
            _change_key(database, plan.schema, relation_name, key_names)
        case EmptyRelation(relation_name):
            database.run(compose("DELETE FROM {target}", target=place(relation_name)))
            if plan.after is not None and relation_name == plan.after.name:
                _forget_tombstones(database, plan)
        case CopyStage(stage, relation_name, columns):
            database.run(
                compose(
                    "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage}",
                    target=place(relation_name),
                    live=names(live for _, live in columns),
                    staged=names(staged for staged, _ in columns),
                    stage=place(stage, private=True),
                )
            )
        case DropStage(relation_name):
            database.run(compose("DROP TABLE {stage}", stage=place(relation_name, private=True)))


def _change_key(database: Database, schema: str, relation: str, key: tuple[str, ...]) -> None:
    """Make an empty table anew: DuckDB can add a primary key but not drop one."""
    target = database.place(schema, relation)
    columns = database.rows(
        Quoted(
            "SELECT column_name, data_type, column_default FROM duckdb_columns()"
            " WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
            " ORDER BY column_index"
        ),
        schema,
        relation,
    )
    indexes = database.rows(
        Quoted(
            "SELECT sql FROM duckdb_indexes() WHERE database_name = current_database()"
            " AND schema_name = ? AND table_name = ? AND sql IS NOT NULL"
        ),
        schema,
        relation,
    )
    described = [
        # Type and default are DuckDB's own spelling of what is there.
        compose(
            "{name} {type}{default}",
            name=name(column),
            type=Quoted(type_),
            default=Quoted(f" DEFAULT {default}" if default else ""),
        )
        for column, type_, default in columns
    ]
    if key:
        described.append(compose("PRIMARY KEY ({key})", key=names(key)))
    database.run(compose("DROP TABLE {target}", target=target))
    database.run(
        compose("CREATE TABLE {target} ({columns})", target=target, columns=joined(", ", described))
    )
    for (index,) in indexes:
        database.run(Quoted(index))


# --- rows -----------------------------------------------------------------------------------------


class Stage:
    """Rows for a relation as an Arrow table that statements can name.

    Attributes:
        name: the table's quoted name.
        columns: relation's column -> the stage's.
    """

    def __init__(self, database: Database, rows: Rows, title: str) -> None:
        self.columns: dict[str, str] = {}
        arrays: list[pa.Array[Any]] = []
        for column in rows.relation.columns:
            if column.name in rows.columns:
                self.columns[column.name] = f"c{len(arrays)}"
                arrays.append(pa.array(rows.columns[column.name], _ARROW[column.type]))
        titles = list(self.columns.values())
        if len(rows.entries) == len(rows):
            titles.append(_ENTRY)
            arrays.append(pa.array(rows.entries, pa.int64()))
        database.register(title, pa.table(arrays, names=titles))
        self.name = name(title)

    def values(self, columns: Sequence[str] | dict[str, Any]) -> Quoted:
        """The stage's columns for these of the relation, behind the alias `s`."""
        return names((self.columns[column] for column in columns), "s")

    def matches(self, alias: str, pairs: Sequence[tuple[str, str]]) -> Quoted:
        """Condition: for every (column, other), stage `s`'s column equals `alias`'s other."""
        return same("s", alias, [(self.columns[column], other) for column, other in pairs])


class _Writer:
    """Writes one `TableWrite`: the root's rows, then children, then what they leave stale."""

    def __init__(
        self,
        database: Database,
        plan: LoadPlan,
        write: TableWrite,
        title: str,
        rows: dict[str, int],
        superseded: dict[int, int],
    ) -> None:
        self._database = database
        self._plan = plan
        self._write = write
        self._title = title
        self._rows = rows
        self._superseded = superseded
        self._names = report_names(plan.after, write)
        self._batched_at = Quoted(f"make_timestamptz({plan.batched_at:d})")
        self._stages = 0
        self._tombstones = plan.after is not None and plan.after.tombstones and not write.private

    def run(self) -> None:
        """Write everything."""
        write = self._write
        if write.mode == "append":
            for rows in (write.root, *write.children):
                if len(rows):
                    self._count(rows.relation, self._insert(rows, self._stage(rows)))
            return
        if self._tombstones:
            self._create_tombstones()
        if len(write.root):
            parents = self._stage(write.root)
            lost = self._merge_root(parents)
            for rows in write.children:
                if len(rows):
                    self._write_children(rows, lost)
            made = created(self._plan)
            for child in write.stale:
                if (write.private, child.name) not in made:
                    self._remove_stale(child, parents)
        if write.deletes is not None and len(write.deletes):
            self._delete(write.deletes)

    # --- parts ------------------------------------------------------------------------------------

    def _merge_root(self, stage: Stage) -> bool:
        """Upsert the root's rows; returns whether some of them were superseded."""
        write = self._write
        root = write.root.relation
        greater = Quoted(">=" if write.tie == "last" else ">")
        written = self._insert(
            write.root,
            stage,
            where=self._not_buried(stage),
            update_where=compose(
                "WHERE t._sdc_sequence IS NULL OR excluded._sdc_sequence {greater} t._sdc_sequence",
                greater=greater,
            ),
        )
        self._count(root, written)
        if written == len(write.root):
            return False
        if len(write.root.entries) == len(write.root):
            self._add_superseded(
                stage,
                compose(
                    "NOT EXISTS (SELECT 1 FROM {root} t WHERE {written})",
                    root=self._place(root),
                    written=self._is_written(stage),
                ),
            )
        return True

    def _write_children(self, rows: Rows, lost: bool) -> None:
        child = rows.relation
        root = self._write.root.relation
        stage = self._stage(rows)
        where = _NOTHING
        if lost:
            where = compose(
                "WHERE EXISTS (SELECT 1 FROM {root} t WHERE {same}"
                " AND t._sdc_batched_at = {batched_at})",
                root=self._place(root),
                same=stage.matches(
                    "t", [(repeated, key) for key, repeated in parent_key(root, child)]
                ),
                batched_at=self._batched_at,
            )
        # Their parents won, so the children replace whatever has their place.
        self._count(child, self._insert(rows, stage, where=where))

    def _remove_stale(self, child: Relation, parents: Stage) -> None:
        """Delete children of the parents written that this load did not write (loading.md 7.5)."""
        root = self._write.root.relation
        self._database.run(
            compose(
                "DELETE FROM {child} c USING {stage} s, {root} t"
                " WHERE {written} AND {theirs} AND c._sdc_sequence <= t._sdc_sequence"
                " AND c._sdc_batched_at IS DISTINCT FROM {batched_at}",
                batched_at=self._batched_at,
                child=self._place(child),
                stage=parents.name,
                root=self._place(root),
                written=self._is_written(parents),
                theirs=parents.matches("c", parent_key(root, child)),
            )
        )

    # --- hard deletes (loading.md 9.4) ------------------------------------------------------------

    def _create_tombstones(self) -> None:
        root = self._write.root.relation
        self._database.run(
            compose(
                "CREATE TABLE IF NOT EXISTS {tombstones}"
                " ({columns}, _sdc_sequence BIGINT NOT NULL, PRIMARY KEY ({key}))",
                tombstones=_tombstones(self._database, self._plan),
                columns=definitions([c for c in root.columns if c.name in root.key]),
                key=names(root.key),
            )
        )

    def _not_buried(self, stage: Stage) -> Quoted:
        if not self._tombstones:
            return _NOTHING
        return compose(
            "WHERE NOT EXISTS (SELECT 1 FROM {tombstones} d WHERE {same_key}"
            " AND d._sdc_sequence {at_least} {sequence})",
            tombstones=_tombstones(self._database, self._plan),
            same_key=stage.matches("d", [(key, key) for key in self._write.root.relation.key]),
            at_least=Quoted(">" if self._write.tie == "last" else ">="),
            sequence=stage.values(["_sdc_sequence"]),
        )

    def _delete(self, deletes: Rows) -> None:
        root = self._write.root.relation
        stage = self._stage(Rows(root, deletes.columns, deletes.entries))
        pairs = [(key, key) for key in root.key]
        # A delete that is older than the row in the table loses to it.
        outlived = compose(
            "EXISTS (SELECT 1 FROM {root} t WHERE {same_key} AND t._sdc_sequence IS NOT NULL"
            " AND NOT {sequence} {greater} t._sdc_sequence)",
            root=self._place(root),
            same_key=stage.matches("t", pairs),
            sequence=stage.values(["_sdc_sequence"]),
            greater=Quoted(">=" if self._write.tie == "last" else ">"),
        )
        if len(deletes.entries) == len(deletes):
            self._add_superseded(stage, outlived)
        tombstones = _tombstones(self._database, self._plan)
        self._database.run(
            compose(
                "INSERT INTO {tombstones} AS d ({key}, _sdc_sequence)"
                " SELECT {values} FROM {stage} s WHERE NOT {outlived}"
                " ON CONFLICT ({key}) DO UPDATE SET _sdc_sequence ="
                " greatest(d._sdc_sequence, excluded._sdc_sequence)",
                tombstones=tombstones,
                key=names(root.key),
                values=stage.values([*root.key, "_sdc_sequence"]),
                stage=stage.name,
                outlived=outlived,
            )
        )
        after = self._plan.after
        for relation in after.relations if after else ():
            theirs = parent_key(root, relation) if relation.path else pairs
            self._database.run(
                compose(
                    "DELETE FROM {relation} t USING {stage} s, {tombstones} d"
                    " WHERE {same_row} AND {same_key} AND d._sdc_sequence = {sequence}"
                    " AND (t._sdc_sequence IS NULL OR t._sdc_sequence <= d._sdc_sequence)",
                    relation=self._place(relation),
                    stage=stage.name,
                    tombstones=tombstones,
                    same_row=stage.matches("t", list(theirs)),
                    same_key=stage.matches("d", pairs),
                    sequence=stage.values(["_sdc_sequence"]),
                )
            )

    # --- helpers ----------------------------------------------------------------------------------

    def _place(self, relation: Relation) -> Quoted:
        if self._write.private:
            return self._database.private(relation.name)
        return self._database.place(self._plan.schema, relation.name)

    def _count(self, relation: Relation, rows: int) -> None:
        title = self._names.get(relation.name, relation.name)
        self._rows[title] = self._rows.get(title, 0) + rows

    def _stage(self, rows: Rows) -> Stage:
        self._stages += 1
        return Stage(self._database, rows, f"{self._title}_{self._stages}")

    def _is_written(self, stage: Stage) -> Quoted:
        """Condition: row `t` of the root has the key of `s` and was written by this load."""
        return compose(
            # No other load of the table has this `_sdc_batched_at`.
            "{same_key} AND t._sdc_batched_at = {batched_at}",
            batched_at=self._batched_at,
            same_key=stage.matches("t", [(key, key) for key in self._write.root.relation.key]),
        )

    def _insert(
        self, rows: Rows, stage: Stage, *, where: Quoted = _NOTHING, update_where: Quoted = _NOTHING
    ) -> int:
        """Insert a stage, or upsert it by the relation's key; returns how many rows were written.

        Managed columns without values become NULL (loading.md 2.2).
        """
        relation = rows.relation
        given, missing = given_and_missing(rows)
        on_conflict = _NOTHING
        if self._write.mode == "upsert" and relation.key:
            on_conflict = compose(
                "ON CONFLICT ({key}) DO UPDATE SET {assignments} {update_where}",
                key=names(relation.key),
                assignments=joined(
                    ", ",
                    [
                        compose("{name} = excluded.{name}", name=name(column.name))
                        for column in given
                        if column.name not in relation.key
                    ]
                    + [compose("{name} = NULL", name=name(column.name)) for column in missing],
                ),
                update_where=update_where,
            )
        return self._database.run(
            compose(
                "INSERT INTO {target} AS t ({columns}) SELECT {values} FROM {stage} s"
                " {where} {on_conflict}",
                target=self._place(relation),
                columns=names(column.name for column in (*given, *missing)),
                values=joined(
                    ", ",
                    [
                        *(stage.values([column.name]) for column in given),
                        *(Quoted("NULL") for _ in missing),
                    ],
                ),
                stage=stage.name,
                where=where,
                on_conflict=on_conflict,
            )
        )

    def _add_superseded(self, stage: Stage, condition: Quoted) -> None:
        for entry, count in self._database.rows(
            compose(
                "SELECT s.entry, count(*) FROM {stage} s WHERE {condition} GROUP BY s.entry",
                stage=stage.name,
                condition=condition,
            )
        ):
            self._superseded[entry] = self._superseded.get(entry, 0) + count


def _tombstones(database: Database, plan: LoadPlan) -> Quoted:
    table = DUCKDB.fold(catalogue_name(plan))
    return database.private(tombstones_name(plan.schema, table))


def _forget_tombstones(database: Database, plan: LoadPlan) -> None:
    database.run(
        compose("DROP TABLE IF EXISTS {tombstones}", tombstones=_tombstones(database, plan))
    )
