"""Every case of loading.md 13 that needs no SQL engine and no server, against all profiles."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.executor import Executor, batch

from treadle.destinations.conformance.loading import literals
from treadle.destinations.conformance.loading.compare import (
    DEFAULTS,
    applies_to,
    choose_own,
    expected_for,
)
from treadle.errors import TableStoppedError
from treadle.records.message_batch import MessageBatch
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.prepare import timestamp_text
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import (
    BIGQUERY,
    CLICKHOUSE,
    DUCKDB,
    FILES,
    ICEBERG,
    MYSQL,
    POSTGRES,
    REDSHIFT,
    SNOWFLAKE,
)

PROFILES: Mapping[str, DestinationProfile] = {
    "pg": POSTGRES,
    "duckdb": DUCKDB,
    "mysql": MYSQL,
    "clickhouse": CLICKHOUSE,
    "iceberg": ICEBERG,
    "redshift": REDSHIFT,
    "files": FILES,
    "bigquery": BIGQUERY,
    "snowflake": SNOWFLAKE,
}
CASES: list[dict[str, Any]] = [
    case
    for name in ("cases.json", "append_only.json")
    for case in literals.loads(Path(literals.__file__).with_name(name).read_text(encoding="utf-8"))
]
SERVER = {
    "L27": "the request is refused before loading",
    "L50": "views are the engine's",
    "L51": "rights are the engine's",
    "A14": "that a column cannot be changed is the destination's",
}
V = {
    "id": {"type": "integer"},
    "a": {"type": "string"},
    "x": {"type": "array", "items": {"type": "string"}},
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def _parameters() -> Iterator[Any]:
    for case in CASES:
        for name in PROFILES:
            if case["id"] not in SERVER and applies_to(case, name):
                yield pytest.param(case, name, id=f"{case['id']}-{name}")


def _batches(request: Mapping[str, Any]) -> Iterator[MessageBatch]:
    if "push" in request:
        push = request["push"]
        yield batch(push["rows"], table=push["table"], keys=push["keys"])
    elif "push_mixed" in request:
        tables: dict[str, list[Any]] = {}
        keys: dict[str, Any] = {}
        for item in request["push_mixed"]:
            tables.setdefault(item["table"], []).append(item["row"])
            keys[item["table"]] = item["keys"]
        for table, rows in tables.items():
            yield batch(rows, table=table, keys=keys[table])
    elif "raw" in request:
        body = request["raw"]["body"]
        for message in json.loads(body):
            data = re.search(r'"data":(\{.*\})\}\]$', body)
            assert data is not None
            yield MessageBatch(
                table_name=message["table_name"],
                key_names=tuple(message["key_names"]),
                form="json",
                schema=b"",
                bookmark_names=(),
                sequences=[message["sequence"]],
                versions=0,
                extracted=None,
                activations=[],
                data=f"[{data[1]}]".encode(),
            )
    else:
        sent = request["batch"]
        schema = V if sent["schema"] == "$V" else sent["schema"]
        activations = [(len(sent["rows"]), sent["activate"])] if "activate" in sent else []
        yield batch(
            sent["rows"],
            table=sent["table"],
            keys=sent["keys"],
            schema={"type": "object", "properties": schema},
            version=sent.get("version", 0),
            activations=activations,
        )


def _sql(executor: Executor, sql: str) -> None:
    """The few statements of the cases."""
    for statement in sql.split(";"):
        words = statement.split()
        if words[:2] == ["DROP", "TABLE"]:
            del executor.live[words[2]]
        elif words[3:5] == ["ADD", "COLUMN"]:
            executor.live[words[2]].columns[words[5]] = ColumnType.TEXT
        elif words[3:5] == ["DROP", "COLUMN"]:
            del executor.live[words[2]].columns[words[5]]
            for row in executor.live[words[2]].rows:
                row.pop(words[5], None)
        elif words[3:5] in (["DROP", "CONSTRAINT"], ["DROP", "PRIMARY"]):
            executor.live[words[2]].key = ()
        elif words[:3] == ["COMMENT", "ON", "TABLE"]:
            executor.live[words[3]].key = ()
        elif "UPDATE" in (words[0], *words[3:4]):
            for row in executor.live[words[1 if words[0] == "UPDATE" else 2]].rows:
                row["note"] = "mine"
        else:
            raise AssertionError(statement)


def _expected(case: Mapping[str, Any], name: str) -> dict[str, Any]:
    merged = expected_for(case, name)
    if "all" in case:
        merged |= case["all"]
    return merged


def _comparable(value: object, type_: str) -> object:
    if value is None:
        return None
    if type_ == "decimal":
        return Decimal(str(value)).normalize(Context(prec=100))
    if type_ == "timestamp" and isinstance(value, str):
        return timestamp_text.parse_timestamp(value)
    return value


@pytest.mark.parametrize(("case", "name"), list(_parameters()))
def test_case(case: dict[str, Any], name: str) -> None:
    executor = Executor(PROFILES[name])
    options = TableOptions(**{**DEFAULTS.get(name, {}), **case.get("options", {})})
    stopped: dict[str, str] = {}
    reports: list[Any] = []
    for number, step in enumerate(case["loads"]):
        if isinstance(step, dict):
            _sql(executor, choose_own(step["sql"], name))
            continue
        tables: dict[str, list[MessageBatch]] = {}
        for request in step:
            for each in _batches(request):
                tables.setdefault(each.table_name, []).append(each)
        for table, batches in tables.items():
            stopped.pop(table, None)
            try:
                reports.append(executor.run(batches, options=options, now=1000 * (number + 1)))
            except TableStoppedError as error:
                stopped[table] = str(error)
    expected = _expected(case, name)
    if "tables" in expected:
        _compare_tables(executor, expected["tables"])
    rejected = [
        (table, reason.replace("<DEST>", executor.profile.display_name), code, field)
        for table, reason, code, field in expected.get("rejected", [])
    ]
    if "query" not in expected:
        assert sorted(executor.causes, key=repr) == sorted(rejected, key=repr)
    assert sorted(stopped) == expected.get("stopped", [])
    if "error" in expected:
        assert [text.startswith(expected["error"]) for text in stopped.values()] == [True]
    for sql, rows in expected.get("query", []):
        assert "FROM _sdc_rejected" in sql
        if "count(*)" in sql:
            assert [[len(executor.rejected)]] == rows
        else:
            assert [[t, r, text] for t, r, text in executor.rejected] == rows
    for report, hook in zip(reports, expected.get("webhook", reports), strict=True):
        if hook is not report:
            assert report.new_version == hook["new_version"]
            counts = {
                rows.relation.name: len(rows)
                for write in report.writes
                for rows in (write.root, *write.children)
            }
            for line in hook["tables"]:
                assert counts.get(line["destination_table_name"], 0) == line["num_rows"]


def _compare_tables(executor: Executor, expected: Mapping[str, Any]) -> None:
    assert sorted(executor.live) == sorted(expected)
    generated: set[str] = set()
    for table, wanted in expected.items():
        held = executor.live[table]
        assert executor.profile.append_only or set(held.key) == set(wanted["pk"])
        columns = wanted["cols"]
        assert {n: t for n, t in held.columns.items() if n in columns} == columns
        own = [n for n in held.columns if n not in columns]
        assert all(n.startswith(("_sdc_", "__sdc_primary_key")) for n in own), own
        found = []
        for row in held.rows:
            values = []
            for column, type_ in columns.items():
                value = row.get(column)
                if isinstance(value, str) and UUID.fullmatch(value):
                    generated.add(value)
                    value = "<uuid>"
                values.append(_comparable(value, type_))
            found.append(values)
        rows = [
            [_comparable(v, t) for v, t in zip(row, columns.values(), strict=True)]
            for row in wanted["rows"]
        ]
        assert sorted(map(repr, found)) == sorted(map(repr, rows))
