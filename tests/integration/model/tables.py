"""What tables hold by the loading rules, in plain Python; shares nothing with the loader.

One record after the other, dictionaries and lists: slow and easy to compare with the rules
(loading.md 2, 4, 5, 7, 9). Only names made of letters occur, so that nothing is canonicalised.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SUFFIX = {"bigint": "bi", "boolean": "bo", "double": "do", "text": "st", "timestamp": "ti"}
MYSQL_SUFFIX = {**SUFFIX, "double": "fl", "timestamp": "dt"}
SYSTEM = re.compile(
    r"_sdc_(batched_at|received_at|sequence|table_version|source_key(_.*)?|level_\d+_id)"
    r"|_?_sdc_primary_key",
    re.IGNORECASE | re.DOTALL,
)
"""Columns that are not a client's."""

BIGINT_MAX = 2**63 - 1

Path = tuple[str, ...]
Levels = tuple[int, ...]
Typed = tuple[str, Any]
"""(logical type, value as `warehouse.plain` shows it)."""


@dataclass(frozen=True)
class Dialect:
    """How a destination differs."""

    name: str
    display_name: str
    renames: bool
    folds: bool
    name_bytes_max: int | None
    suffix: Mapping[str, str] = field(default_factory=lambda: SUFFIX)
    reserved: str = "bi|bo|de|do|it|st|ti"

    def is_reserved(self, text: str) -> bool:
        return re.search(f"__({self.reserved})\\Z", text, re.IGNORECASE) is not None

    def fold(self, text: str) -> str:
        return text.lower() if self.folds else text


PG = Dialect("pg", "PostgreSQL", renames=True, folds=False, name_bytes_max=59)
DUCKDB = Dialect("duckdb", "DuckDB", renames=False, folds=True, name_bytes_max=None)
CLICKHOUSE = Dialect("clickhouse", "ClickHouse", renames=False, folds=False, name_bytes_max=251)
REDSHIFT = Dialect("redshift", "Amazon Redshift", renames=True, folds=True, name_bytes_max=115)
ICEBERG = Dialect("iceberg", "Iceberg", renames=False, folds=True, name_bytes_max=200)
MYSQL = Dialect(
    "mysql",
    "MySQL",
    renames=True,
    folds=True,
    name_bytes_max=60,
    suffix=MYSQL_SUFFIX,
    reserved="bi|bo|de|dt|fl|it|js|st",
)


@dataclass(frozen=True)
class Record:
    """A record as it was sent.

    Attributes:
        types: field -> logical type that a schema gives it; others are typed by value.
    """

    sequence: int
    data: Mapping[str, Any]
    version: int = 0
    types: Mapping[str, str] = field(default_factory=dict)


class Rejected(Exception):  # noqa: N818 - says what happened
    """The record fits nowhere."""


@dataclass
class Flat:
    """A record taken apart: (path, levels) -> folded field -> typed value."""

    sequence: int
    key: tuple[Any, ...]
    key_types: tuple[str, ...]
    rows: dict[tuple[Path, Levels], dict[str, Typed]]
    left_out: list[tuple[str, str]]


@dataclass
class Relation:
    """A table: columns as (name, folded field, type) in order, without system columns."""

    columns: list[tuple[str, str, str]] = field(default_factory=list)
    rows: dict[tuple[tuple[Any, ...], Levels], dict[str, Any]] = field(default_factory=dict)
    sequences: dict[tuple[tuple[Any, ...], Levels], int] = field(default_factory=dict)

    def column(self, folded: str, kind: str) -> str:
        return next(name for name, f, k in self.columns if (f, k) == (folded, kind))


class Table:
    """A top-level table with its subtables and the versions that wait."""

    def __init__(self, dialect: Dialect, name: str, keys: Sequence[str]) -> None:
        self.dialect = dialect
        self.name = name
        self.keys = tuple(sorted(keys))
        self.key_types: tuple[str, ...] | None = None
        self.version: int | None = None
        self.relations: dict[Path, Relation] = {}
        self.stages: dict[int, dict[Path, Relation]] = {}
        self.rejected: list[tuple[str, str]] = []
        self.serial = 0

    # --- a load -----------------------------------------------------------------------------------

    def load(self, records: Iterable[Record], activate: int | None = None) -> None:
        """One load of these records, with an activation behind the last."""
        flats: list[tuple[int, Flat]] = []
        left_out: dict[tuple[str, str], None] = {}
        for record in records:
            try:
                flat = self._flat(record)
            except Rejected as reason:
                self.rejected.append((self.name, str(reason)))
                continue
            if self.key_types is None:
                self.key_types = flat.key_types
            elif flat.key_types != self.key_types:
                self.rejected.append((self.name, "Incoming Primary Key type does not match"))
                continue
            left_out.update(dict.fromkeys(flat.left_out))
            flats.append((record.version, flat))
        self.rejected += [
            (table, f"Column name {name} is too long for {self.dialect.display_name}")
            for table, name in left_out
        ]
        for version, _ in flats:
            if self.version is None:
                self.version = version
        if self.version is None:
            return
        by_version: dict[int, list[Flat]] = {}
        for version, flat in flats:
            by_version.setdefault(version or self.version, []).append(flat)
        swaps = activate is not None and activate > self.version
        for version, several in by_version.items():
            if swaps and version == activate:
                continue
            if version == self.version and not swaps:
                self._write(self.relations, several)
            elif version > self.version and (activate is None or version > activate or not swaps):
                self._write(self.stages.setdefault(version, {}), several)
        if swaps and activate is not None:
            self._swap(activate, by_version.get(activate, []))

    def _swap(self, version: int, flats: list[Flat]) -> None:
        stage = self.stages.pop(version, {})
        self.stages = {v: s for v, s in self.stages.items() if v > version}
        for relation in self.relations.values():
            relation.rows, relation.sequences = {}, {}
        self.version = version
        winners = self._winners(stage, flats)
        # One load: the columns of the stage and of the records come together.
        needed = self._needed(winners)
        for path, relation in stage.items():
            needed.setdefault(path, {}).update(
                {(folded, kind): name for name, folded, kind in relation.columns}
            )
        self._allocate(self.relations, needed)
        for path, relation in stage.items():
            live = self.relations[path]
            for place, row in relation.rows.items():
                live.rows[place] = {
                    live.column(folded, kind): row[name]
                    for name, folded, kind in relation.columns
                    if row.get(name) is not None
                }
                live.sequences[place] = relation.sequences[place]
        self._put(self.relations, winners)

    def _winners(self, relations: dict[Path, Relation], flats: list[Flat]) -> list[Flat]:
        best: dict[tuple[Any, ...], Flat] = {}
        for flat in flats:
            held = best.get(flat.key)
            if held is None or flat.sequence > held.sequence:
                best[flat.key] = flat
        root = relations.get(())
        there = root.sequences if root is not None else {}
        return [
            flat
            for flat in flats
            if best[flat.key] is flat and flat.sequence > there.get((flat.key, ()), -(2**63) - 1)
        ]

    def _write(self, relations: dict[Path, Relation], flats: list[Flat]) -> None:
        winners = self._winners(relations, flats)
        self._allocate(relations, self._needed(winners))
        self._put(relations, winners)

    @staticmethod
    def _needed(winners: Iterable[Flat]) -> dict[Path, dict[tuple[str, str], str]]:
        needed: dict[Path, dict[tuple[str, str], str]] = {}
        for flat in winners:
            for (path, _), values in flat.rows.items():
                place = needed.setdefault(path, {})
                for folded, (kind, _) in values.items():
                    place.setdefault((folded, kind), folded)
        return needed

    def _put(self, relations: dict[Path, Relation], winners: Iterable[Flat]) -> None:
        for flat in winners:
            for relation in relations.values():
                for place in [place for place in relation.rows if place[0] == flat.key]:
                    del relation.rows[place], relation.sequences[place]
            for (path, levels), values in flat.rows.items():
                relation = relations[path]
                relation.rows[flat.key, levels] = {
                    relation.column(folded, kind): value for folded, (kind, value) in values.items()
                }
                relation.sequences[flat.key, levels] = flat.sequence

    # --- columns (loading.md 4.1, 5.3) ------------------------------------------------------------

    def _allocate(
        self,
        relations: dict[Path, Relation],
        needed: Mapping[Path, Mapping[tuple[str, str], str]],
    ) -> None:
        for path, pairs in needed.items():
            relation = relations.setdefault(path, Relation())
            added: list[tuple[str, str, str]] = []
            by_field: dict[str, list[str]] = {}
            for folded, kind in pairs:
                by_field.setdefault(folded, []).append(kind)
            for folded, kinds in by_field.items():
                there = [kind for _, f, kind in relation.columns if f == folded]
                fresh = sorted(
                    (k for k in kinds if k not in there), key=lambda k: self.dialect.suffix[k]
                )
                if not fresh:
                    continue
                if self.dialect.renames:
                    splits = len(there) + len(fresh) > 1
                    if splits:
                        self._rename(relation, folded)
                    added += [
                        (f"{folded}__{self.dialect.suffix[k]}" if splits else folded, folded, k)
                        for k in fresh
                    ]
                else:
                    for index, kind in enumerate(fresh):
                        bare = not there and index == 0
                        added.append(
                            (
                                folded if bare else f"{folded}__{self.dialect.suffix[kind]}",
                                folded,
                                kind,
                            )
                        )
            relation.columns += sorted(added)

    def _rename(self, relation: Relation, folded: str) -> None:
        for index, (name, f, kind) in enumerate(relation.columns):
            if f == folded and name == folded:
                new = f"{name}__{self.dialect.suffix[kind]}"
                relation.columns[index] = (new, f, kind)
                for row in relation.rows.values():
                    if name in row:
                        row[new] = row.pop(name)

    # --- a record (loading.md 3.1, 6, 7) ----------------------------------------------------------

    def _flat(self, record: Record) -> Flat:
        rows: dict[tuple[Path, Levels], dict[str, Typed]] = {}
        left_out: list[tuple[str, str]] = []
        self._walk(record.data, (), (), "", rows, left_out, record.types)
        if self.keys:
            key = tuple(record.data[name] for name in self.keys)
        else:
            self.serial += 1
            key = (self.serial,)
        types = tuple(rows[(), ()][self.dialect.fold(name)][0] for name in self.keys)
        return Flat(record.sequence, key, types, rows, left_out)

    def _walk(
        self,
        data: Mapping[str, Any],
        path: Path,
        levels: Levels,
        prefix: str,
        rows: dict[tuple[Path, Levels], dict[str, Typed]],
        left_out: list[tuple[str, str]],
        types: Mapping[str, str],
    ) -> None:
        row = rows.setdefault((path, levels), {})
        for name, value in data.items():
            if value is None:
                continue
            if self.dialect.is_reserved(name):
                raise Rejected(
                    "column names from client should not include reserved datatype suffix on "
                    + name
                )
            joined = prefix + name
            if isinstance(value, Mapping):
                self._walk(value, path, levels, joined + "__", rows, left_out, {})
            elif isinstance(value, list):
                self._elements(value, (*path, joined), levels, rows, left_out)
            else:
                self._value(joined, value, types.get(name), row, path, left_out)

    def _elements(
        self,
        elements: Sequence[Any],
        path: Path,
        levels: Levels,
        rows: dict[tuple[Path, Levels], dict[str, Typed]],
        left_out: list[tuple[str, str]],
    ) -> None:
        for index, element in enumerate(elements):
            at = (*levels, index)
            if element is None:
                continue
            if isinstance(element, Mapping):
                self._walk(element, path, at, "", rows, left_out, {})
                continue
            row = rows.setdefault((path, at), {})
            if isinstance(element, list):
                self._elements(element, (*path, "value"), at, rows, left_out)
            else:
                self._value("value", element, None, row, path, left_out)

    def _value(
        self,
        name: str,
        value: Any,
        kind: str | None,
        row: dict[str, Typed],
        path: Path,
        left_out: list[tuple[str, str]],
    ) -> None:
        if SYSTEM.fullmatch(name) or name.lower().startswith("_rjm"):
            raise Rejected(f"Column {name} is reserved")
        typed = typed_value(value, kind, self.dialect)
        longest = self.dialect.name_bytes_max
        if longest is not None and len(name.encode()) > longest:
            left_out.append(("__".join((self.name, *path)), name))
            return
        folded = self.dialect.fold(name)
        if folded in row:
            raise Rejected("Field collision")
        row[folded] = typed

    # --- what a reader sees -----------------------------------------------------------------------

    def shown(self) -> dict[str, tuple[list[tuple[str, str]], list[Any]]]:
        """Relation name -> (columns in order, rows as comparable values)."""
        if self.version is None:
            return {}
        found = {}
        for path, relation in self.relations.items():
            columns = [(name, kind) for name, _, kind in relation.columns]
            rows = []
            for (key, levels), row in relation.rows.items():
                place = (relation.sequences[key, levels], self.version, *levels)
                if path and self.keys:
                    place = (*place, *key)
                rows.append((place, tuple(row.get(name) for name, _ in columns)))
            found["__".join((self.name, *path))] = (columns, sorted(rows, key=repr))
        return found


def typed_value(value: Any, kind: str | None, dialect: Dialect) -> Typed:
    """The logical type of a value, and the value as it is read back."""
    if kind is None:
        kind = {bool: "boolean", int: "bigint", float: "double", str: "text"}[type(value)]
    if kind == "bigint" and not -(2**63) <= value <= BIGINT_MAX:
        raise Rejected(f"integer out of range for {dialect.display_name} on {value}")
    if kind == "double":
        return kind, float(value)
    if kind == "timestamp":
        return kind, value.replace("+01:00", "Z") if value.endswith("Z") else value
    return kind, value
