"""What a case expects against what is there; every difference is one sentence."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from treadle.destinations.conformance.loading.left_out import LEFT_OUT
from treadle.destinations.conformance.loading.warehouse import FoundTable, Warehouse

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

LIKE: Mapping[str, str] = {
    "bigquery": "duckdb",
    "files": "duckdb",
    "iceberg": "duckdb",
    "redshift": "pg",
    "snowflake": "duckdb",
}
"""A destination -> the one whose statements and expectations it takes where it has none of its own:
it has the same names and types, or nearly so."""

DEFAULTS: Mapping[str, Mapping[str, str]] = {"snowflake": {"nested": "flatten"}}
"""A destination -> options of cases that set none: most of them are about columns and subtables."""


def choose_own(named: Mapping[str, Any], destination: str) -> Any:
    """Return what is named for a destination, or else for the one that it is like; or None."""
    return named.get(destination, named.get(LIKE.get(destination, destination)))


def expected_for(case: Mapping[str, Any], destination: str) -> dict[str, Any]:
    """The expectation for one destination: `all` with the destination's own merged over it.

    A table that is null there is not expected, whatever `all` says.
    """
    general = case["expect"].get("all", {})
    special = choose_own(case["expect"], destination) or {}
    merged = {**general, **special}
    if "tables" in general or "tables" in special:
        tables = {**general.get("tables", {}), **special.get("tables", {})}
        merged["tables"] = {name: one for name, one in tables.items() if one is not None}
    return merged


def applies_to(case: Mapping[str, Any], destination: str) -> bool:
    """Whether a case is for a destination; `only` names one, or several.

    What is left out on a destination beside that is in `left_out`.
    """
    if case["id"] in LEFT_OUT.get(destination, {}):
        return False
    only = case.get("only", destination)
    return destination in (only if isinstance(only, list) else [only])


def differences(expected: Mapping[str, Any], warehouse: Warehouse) -> list[str]:
    """Differences of tables, rows, rejections and queries."""
    found = warehouse.tables()
    rejected = found.pop("_sdc_rejected", None)
    said: list[str] = []
    if "tables" in expected:
        if set(expected["tables"]) != set(found):
            said.append(f"tables: expected {sorted(expected['tables'])}, found {sorted(found)}")
        for name in expected["tables"].keys() & found.keys():
            said += [f"{name}: {text}" for text in _table(expected["tables"][name], found[name])]
        said += _uuids(expected["tables"], found)
    said += _rejected(expected, rejected, warehouse.display_name)
    for statement, rows in expected.get("query", []):
        got = [list(row) for row in warehouse.query(statement)]
        if not _same_rows(rows, got):
            said.append(f"{statement}: expected {rows}, found {got}")
    return said


def _rejected(expected: Mapping[str, Any], found: FoundTable | None, dest: str) -> list[str]:
    asked = any("_sdc_rejected" in statement for statement, _ in expected.get("query", []))
    if "rejected" not in expected and asked:
        return []
    wanted = [
        [table, reason.replace("<DEST>", dest), *cause]
        for table, reason, *cause in expected.get("rejected", [])
    ]
    columns = ["table_name", "reason", "code", "field"][: 4 if _has_causes(wanted) else 2]
    got: list[list[Any]] = []
    if found is not None:
        names = [name for name, _ in found.columns]
        at = [names.index(column) for column in columns]
        got = [[row[index] for index in at] for row in found.rows]
    if sorted(wanted, key=repr) != sorted(got, key=repr):
        return [f"rejected: expected {wanted}, found {got}"]
    return []


def _has_causes(wanted: Sequence[Sequence[Any]]) -> bool:
    """Return whether the code and the field are expected, too: in all rows, or in none."""
    return any(len(row) > 2 for row in wanted)


def _table(expected: Mapping[str, Any], found: FoundTable) -> list[str]:
    said = []
    if found.key is not None and set(expected["pk"]) != found.key:
        said.append(f"key: expected {sorted(expected['pk'])}, found {sorted(found.key)}")
    named = expected["cols"]
    shown = [
        (name, kind)
        for name, kind in found.columns
        if name in named or not name.startswith(("_sdc_", "__sdc_"))
    ]
    if dict(shown) != named:
        said.append(f"columns: expected {named}, found {dict(shown)}")
        return said
    order = [name for name, _ in shown if not name.startswith(("_sdc_", "__sdc_"))]
    wanted = [name for name in named if not name.startswith(("_sdc_", "__sdc_"))]
    if order != wanted:
        said.append(f"order of columns: expected {wanted}, found {order}")
    at = [[name for name, _ in found.columns].index(name) for name in named]
    got = [[row[index] for index in at] for row in found.rows]
    if not _same_rows(expected["rows"], got, list(named.values())):
        said.append(f"rows: expected {expected['rows']}, found {got}")
    return said


def _same_rows(wanted: list[Any], got: list[Any], kinds: list[str] | None = None) -> bool:
    """Equal as bags; rows are matched one by one."""
    left = list(got)
    for row in wanted:
        match = next((other for other in left if _same_row(row, other, kinds)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_row(wanted: list[Any], got: list[Any], kinds: list[str] | None) -> bool:
    return len(wanted) == len(got) and all(
        _same(one, other, kinds[index] if kinds else "")
        for index, (one, other) in enumerate(zip(wanted, got, strict=True))
    )


def _same(wanted: Any, got: Any, kind: str) -> bool:
    if wanted == "<uuid>":
        return isinstance(got, str) and UUID.fullmatch(got) is not None
    if wanted is None or got is None:
        return wanted is None and got is None
    if kind == "decimal":
        return Decimal(wanted) == Decimal(str(got))
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, str):
        return bool(wanted == got)
    return type(got) in (int, float) and wanted == got


def _uuids(expected: Mapping[str, Any], found: Mapping[str, FoundTable]) -> list[str]:
    """Generated keys differ from row to row, and a child's is its parent's."""
    said = []
    for name, table in found.items():
        names = [column for column, _ in table.columns]
        if "__sdc_primary_key" in names and name in expected:
            keys = [row[names.index("__sdc_primary_key")] for row in table.rows]
            if len(set(keys)) != len(keys):
                said.append(f"{name}: generated keys repeat: {keys}")
            for child, other in found.items():
                column = "_sdc_source_key___sdc_primary_key"
                others = [c for c, _ in other.columns]
                if child.startswith(f"{name}__") and column in others:
                    strays = {row[others.index(column)] for row in other.rows} - set(keys)
                    if strays:
                        said.append(f"{child}: no parent for {sorted(strays)}")
    return said
