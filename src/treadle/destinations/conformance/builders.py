"""Small builders for load plans, so that a test says only what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from treadle.destinations.protocol import LoadResult, Session
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    CreateRelation,
    LoadPlan,
    OffsetCommit,
    Rejection,
    Relation,
    RelationRows,
    SchemaChange,
    Table,
    TableWrite,
)

BIGINT, TEXT = ColumnType.BIGINT, ColumnType.TEXT
LOG = "0d2c0e0e-0000-4000-8000-000000000001"

SYSTEM = (
    Column("_sdc_batched_at", "_sdc_batched_at", ColumnType.TIMESTAMP),
    Column("_sdc_received_at", "_sdc_received_at", ColumnType.TIMESTAMP),
    Column("_sdc_sequence", "_sdc_sequence", ColumnType.BIGINT),
    Column("_sdc_table_version", "_sdc_table_version", ColumnType.BIGINT),
)


def column(name: str, type_: ColumnType = TEXT) -> Column:
    return Column(name, name, type_)


def relation(
    name: str,
    columns: Mapping[str, ColumnType],
    key: Sequence[str] = ("id",),
    path: tuple[str, ...] = (),
) -> Relation:
    """A relation with system columns; columns that are named as a key are not nullable."""
    made = tuple(Column(n, n, t, nullable=n not in key) for n, t in columns.items())
    return Relation(path, name, SYSTEM + made, tuple(key), path[-1] if path else name)


ORDERS = relation("orders", {"id": BIGINT, "a": TEXT})
ITEMS = relation(
    "orders__items",
    {"_sdc_level_0_id": BIGINT, "_sdc_source_key_id": BIGINT, "value": TEXT},
    key=("_sdc_level_0_id", "_sdc_source_key_id"),
    path=("items",),
)


def table(*relations: Relation, **changes: Any) -> Table:
    root = relations[0]
    keys = tuple(column for column in root.columns if column.name in root.key)
    made = Table("web", root.name, keys, False, False, 0, relations)
    return replace(made, **changes)


def rows(of: Relation, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> RelationRows:
    """Rows given row by row; a column `entry` becomes the rows' entries."""
    by_name = dict(zip(columns, zip(*values, strict=True), strict=True)) if values else {}
    entries: Sequence[int] = (0,) * len(values)
    if "entry" in by_name and "entry" not in {made.name for made in of.columns}:
        entries = by_name.pop("entry")
    return RelationRows(of, {name: list(column) for name, column in by_name.items()}, entries)


def upsert(
    values: Sequence[Sequence[Any]],
    columns: Sequence[str] = ("id", "_sdc_sequence", "a"),
    of: Relation = ORDERS,
    children: Sequence[RelationRows] = (),
    stale: Sequence[Relation] = (),
    *,
    tie: Literal["first", "last"] = "first",
    private: bool = False,
    deletes: RelationRows | None = None,
) -> TableWrite:
    return TableWrite(
        private, "upsert", rows(of, columns, values), tuple(children), tuple(stale), tie, deletes
    )


def items(values: Sequence[Sequence[Any]], of: Relation = ITEMS) -> RelationRows:
    """Child rows as (parent id, index, sequence, value)."""
    return replace_entries(
        rows(of, ("_sdc_source_key_id", "_sdc_level_0_id", "_sdc_sequence", "value"), values)
    )


def replace_entries(of: RelationRows) -> RelationRows:
    of.entries = ()
    return of


@dataclass
class TableLoads:
    """Consecutive loads of one table: keeps position, revision and `_sdc_batched_at`."""

    session: Session
    table_name: str = "orders"
    position: int = -1
    revision: int = 0
    batched_at: int = 1_700_000_000_000_000
    fence: int = 1
    log_id: str = LOG
    source_id: int = 7
    made: set[str] = field(default_factory=set)

    def plan(
        self,
        after: Table | None,
        *writes: TableWrite,
        changes: Sequence[SchemaChange] = (),
        rejections: Sequence[Rejection] = (),
        report: str = "",
    ) -> LoadPlan:
        """The next load, not yet done."""
        batched_at = self.batched_at + 1_000_000
        for write in writes:
            for part in (write.root, *write.children):
                if len(part):
                    part.columns["_sdc_batched_at"] = [batched_at] * len(part)
        return LoadPlan(
            schema="web",
            table_name=after.name if after else self.table_name,
            offset=OffsetCommit(
                self.log_id,
                self.source_id,
                self.table_name,
                self.position,
                self.position + 1,
                self.fence,
                report,
            ),
            revision=self.revision,
            changes=tuple(changes),
            writes=writes,
            rejections=tuple(rejections),
            rejected_at=batched_at,
            batched_at=batched_at,
            table_after=replace(after, batched_at=batched_at) if after else None,
        )

    def run(self, plan: LoadPlan) -> LoadResult:
        result = self.session.load(plan)
        self.position = plan.offset.position
        self.revision += plan.table_after is not None
        self.batched_at = plan.batched_at
        return result

    def load(
        self,
        after: Table | None,
        *writes: TableWrite,
        changes: Sequence[SchemaChange] = (),
        rejections: Sequence[Rejection] = (),
    ) -> LoadResult:
        return self.run(self.plan(after, *writes, changes=changes, rejections=rejections))

    def create(self, *relations: Relation, **changes: Any) -> LoadResult:
        """A load that makes relations and writes nothing."""
        return self.load(
            table(*relations, **changes), changes=[CreateRelation(made) for made in relations]
        )

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        return self.session.query(sql).rows

    def orders(self) -> list[tuple[Any, ...]]:
        """(id, a, sequence) of every row."""
        return self.read("SELECT id, a, _sdc_sequence FROM web.orders ORDER BY id")

    def items(self) -> list[tuple[Any, ...]]:
        """(parent, index, sequence, value) of every child row."""
        return self.read(
            "SELECT _sdc_source_key_id, _sdc_level_0_id, _sdc_sequence, value"
            " FROM web.orders__items ORDER BY 1, 2, 3"
        )
