"""What is forecast is what a load does: statements, outcome, and nothing before."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.conformance.conftest import postgres_user_database
from tests.conformance.loading.runner import Rig
from tests.conformance.loading.warehouse import FoundTable, Warehouse
from tests.kinds import some_at_release

from treadle.tracking.load_reports import render_load_report

__all__ = ["postgres_user_database"]

Rows = list[tuple[int, dict[str, Any]]]


def push(*rows: tuple[int, dict[str, Any]], keys: tuple[str, ...] = ("id",)) -> tuple[str, Any]:
    return "push", [
        {
            "client_id": 1,
            "table_name": "t",
            "sequence": sequence,
            "action": "upsert",
            "key_names": keys,
            "data": data,
        }
        for sequence, data in rows
    ]


def batch(
    *rows: tuple[int, dict[str, Any]],
    version: int,
    activate: bool = False,
    keys: tuple[str, ...] = ("id",),
) -> tuple[str, Any]:
    messages: list[dict[str, Any]] = [
        {"action": "upsert", "sequence": sequence, "data": data} for sequence, data in rows
    ]
    if activate:
        messages.append({"action": "activate_version", "sequence": 99})
    return "batch", {
        "table_name": "t",
        "schema": {"type": "object", "properties": {}},
        "key_names": keys,
        "messages": messages,
        "table_version": version,
    }


ONE = push((5, {"id": 1, "a": 1}))

CASES: dict[str, tuple[list[tuple[str, Any]], tuple[str, Any], dict[str, Any]]] = {
    "first load": ([], push((1, {"id": 1, "a": 1, "x": [1, {"k": "v"}], "o": {"p": True}})), {}),
    "nothing new": ([ONE], push((6, {"id": 1, "a": 2}), (1, {"id": 2})), {}),
    "new column": ([ONE], push((6, {"id": 1, "b": "x", "a": 1})), {}),
    "split": ([ONE], push((6, {"id": 1, "a": "x"}), (6, {"id": 2, "a": 1.5})), {}),
    "loses in the table": ([ONE], push((4, {"id": 1, "a": "x"}), (5, {"id": 1, "b": 1})), {}),
    "loses without novelty": ([ONE], push((4, {"id": 1, "a": 7}), (6, {"id": 2, "a": 8})), {}),
    "loses in the request": ([], push((2, {"id": 1, "a": 1}), (1, {"id": 1, "b": 1})), {}),
    "rejections": (
        [ONE],
        push((6, {"id": 2, "v__st": 1}), (6, {"id": 3, "n": 2**63}), (6, {"id": 4, "a": 1})),
        {},
    ),
    "all rejected": ([], push((1, {"id": 1, "v__st": 1})), {}),
    "field left out": ([ONE], push((6, {"id": 1, "n" * 70: 1, "nul": "a\0b"})), {}),
    "subtable grows": (
        [push((1, {"id": 1, "x": [1]}))],
        push((2, {"id": 1, "x": ["s", [True]], "x_pkey": [1]})),
        {},
    ),
    "subtable column": (
        [push((1, {"id": 1, "x": [{"k": 1, "l": [1]}]}))],
        push((2, {"id": 1, "b": 1, "x": [{"k": "s", "m": True, "l": [1.5]}]})),
        {},
    ),
    "new subtables discarded": (
        [ONE],
        push((6, {"id": 1, "a": 2, "x": [{"k": 1, "m": [1]}], "o": {"y": [2]}})),
        {"contract.tables": "discard_value"},
    ),
    "without key": ([], push((1, {"a": 1}), (1, {"a": 1}), keys=()), {}),
    "other keys stop": ([ONE], push((6, {"id": 1, "k": 2}), keys=("k",)), {}),
    "staged": (
        [batch((1, {"id": 1, "a": 1}), version=100)],
        batch((1, {"id": 1}), version=200),
        {},
    ),
    "activated": (
        [
            batch((1, {"id": 1, "a": 1}), version=100),
            batch((7, {"id": 1, "b": [1]}), version=200),
        ],
        batch((8, {"id": 2, "c": 1}), (6, {"id": 1, "a": 1}), version=200, activate=True),
        {},
    ),
    "activated with another key": (
        [batch((1, {"id": 1, "k": 1, "x": [1]}), version=100)],
        batch((8, {"id": 2, "k": 1, "n": 5}), version=200, activate=True, keys=("k",)),
        {},
    ),
    "hard delete": ([ONE], push((6, {"id": 2, "a": 3})), {"hard_delete": True}),
    "widened": ([ONE], push((6, {"id": 1, "a": 1.5})), {"split_mode": "widen"}),
    "as json": ([], push((1, {"id": 1, "x": [1], "o": {"p": 1}})), {"nested": "json"}),
    "frozen": ([ONE], push((6, {"id": 2, "b": 3})), {"contract.columns": "freeze"}),
    "discarded": (
        [ONE],
        push((6, {"id": 2, "b": 3, "a": 1}), (6, {"id": 3, "a": 4})),
        {"contract.columns": "discard_row"},
    ),
    "no such option": ([], ONE, {"nested": "jsn"}),
}


SAME = (
    "table",
    "rows_received",
    "rows_loaded",
    "rows_discarded",
    "rows_rejected",
    "fields_left_out",
    "left_out",
    "rounded",
    "columns_added",
    "columns_renamed",
    "nul_characters_removed",
    "table_version",
)
"""What a forecast and the report of the load both tell."""


@pytest.fixture(
    scope="module", params=["postgres", *some_at_release("duckdb", "mariadb", "clickhouse")]
)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    url = None
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_user_database"))
    elif request.param in ("clickhouse", "mariadb"):
        url = request.getfixturevalue(f"{request.param}_server").url()
    with Rig(tmp_path_factory.mktemp("plan") / "data", url).running() as running:
        yield running
    if request.param in ("clickhouse", "mariadb"):
        request.getfixturevalue(f"{request.param}_server").empty()


def send(rig: Rig, token: str, request: tuple[str, Any], query: str = "") -> Any:
    path, body = request
    return rig.http.post(
        f"/v2/import/{path}{query}",
        content=json.dumps(body),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )


def structure(tables: dict[str, FoundTable]) -> dict[str, Any]:
    return {name: (dict(found.columns), found.key) for name, found in tables.items()}


def with_history(rig: Rig, name: str, history: Any, options: Any) -> tuple[int, str, Warehouse]:
    source_id, schema, token = rig.source(name)
    if options:
        rig.store.sources.update_source(None, source_id, settings={"options": options})
    for request in history:
        assert send(rig, token, request).is_success
        rig.loader.load_once()
    return source_id, token, rig.warehouse(schema)


@pytest.mark.parametrize("case", CASES)
def test_a_load_does_what_was_forecast(rig: Rig, case: str) -> None:
    history, request, options = CASES[case]
    source, token, warehouse = with_history(rig, f"{case} planned", history, options)
    before = warehouse.tables()
    answer = send(rig, token, request, "?dry_run=1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["dry_run"] is True
    [found] = answer.json()["tables"]
    loads = len(rig.store.loads.list_loads(source_id=source))
    rig.loader.load_once()
    assert len(rig.store.loads.list_loads(source_id=source)) == loads, "something was kept"
    assert warehouse.tables() == before

    twin, twin_token, loaded = with_history(rig, f"{case} loaded", history, options)
    assert send(rig, twin_token, request).is_success
    rig.loader.load_once()
    [load] = rig.store.loads.list_loads(source_id=twin, limit=1)
    if found["error"] is not None:
        # A record that is not in the log yet is named by its place in the request.
        assert load.error is not None
        assert name_no_record(load.error) == name_no_record(found["error"])
        assert loaded.tables().keys() - {"_sdc_rejected"} == before.keys() - {"_sdc_rejected"}
        return
    assert load.error is None
    told = render_load_report(load)
    for key in SAME:
        assert found[key] == told[key], key
    assert found["new_version"] == load.details["new_version"]
    outcomes = rig.store.outcomes.list_outcomes(0, range(load.first, load.last + 1))
    assert found["rejected"] == [
        {"record": one.record, "reason": one.reason}
        for outcome in outcomes
        for one in outcome.rejected
    ]
    for statement in found["statements"]:
        warehouse.run(statement)
    assert structure(warehouse.tables()) == structure(loaded.tables())


@pytest.mark.parametrize("query", ["?dry_run=2", "?dry_run=", "?dry_run=yes"])
def test_a_dry_run_is_asked_for_with_1(rig: Rig, query: str) -> None:
    source, _, token = rig.source(f"asked {query}")
    assert send(rig, token, ONE, query).status_code == 400
    rig.loader.load_once()
    assert rig.store.loads.list_loads(source_id=source) == []


@pytest.mark.parametrize("query", ["?dry_run=0", "?dry_run=false", "?other=1"])
def test_other_queries_are_ordinary_pushes(rig: Rig, query: str) -> None:
    _, _, token = rig.source(f"ordinary {query}")
    assert send(rig, token, ONE, query).status_code == 201


def test_a_dry_run_is_refused_as_a_push_is(rig: Rig) -> None:
    _, _, token = rig.source("refused")
    wrong = push((1, {"a": 1}))
    told = send(rig, token, wrong, "?dry_run=1").json()
    assert told.pop("records") == [0]  # all of the bad ones, and not only the first
    assert told == send(rig, token, wrong).json()
    assert send(rig, "at_" + "0" * 64, ONE, "?dry_run=1").status_code == 401


def test_several_tables_are_told_apart(rig: Rig) -> None:
    _, _, token = rig.source("several")
    first, second = push((1, {"id": 1}))[1][0], push((1, {"id": 1, "b": 1}))[1][0]
    answer = send(rig, token, ("push", [first, {**second, "table_name": "u"}]), "?dry_run=1")
    assert [(each["table"], each["tables_created"]) for each in answer.json()["tables"]] == [
        ("t", ["t"]),
        ("u", ["u"]),
    ]


def name_no_record(error: str) -> str:
    return re.sub(r"record \d+\.\d+", "record", error)
