"""The tables of a source, over HTTP."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from tests.integration.control.api import Api
from tests.loads import load

from treadle.control.waiting_view import WaitingView
from treadle.log.protocol import TableBacklog
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation

AT = 1_549_385_000_000_000
ODD = "a b ü'"


class Waiting(WaitingView):
    """What waits, without a log."""

    def __init__(self) -> None:
        super().__init__(None)
        self.backlogs: list[TableBacklog] = []

    def list_backlogs(self, source_id: int) -> dict[str, TableBacklog]:
        return {one.table_name: one for one in self.backlogs if one.source_id == source_id}

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        return 3


@pytest.fixture
def waiting(api: Api) -> Waiting:
    found = Waiting()
    app: FastAPI = api.app
    app.state.waiting = found
    return found


def columns() -> KeptColumns:
    root = KeptRelation(
        (),
        "orders",
        (
            KeptColumn("_sdc_sequence", "_sdc_sequence", "bigint", True, True),
            KeptColumn("age__bi", "age", "bigint", True, False),
            KeptColumn("id", "id", "bigint", False, False),
            KeptColumn("age__st", "age", "text", True, False),
        ),
    )
    inner = KeptRelation(
        ("lines",), "orders__lines", (KeptColumn("value", "value", "text", True, False),)
    )
    return KeptColumns(("id",), (root, inner))


def filled(api: Api) -> int:
    source_id: int = api.create("One")["id"]
    note = {"table": "orders", "field": "long", "reason": "too long", "total": 3, "runs": None}
    report = replace(
        load(source_id, "orders", 5, AT),
        details={
            "mode": "upsert",
            "table_version": 4,
            "left_out": [note],
            "schema_changes": [{"kind": "table_added", "relation": "orders", "columns": 4}],
        },
        columns=columns(),
        tables={"orders": 1, "orders__lines": 6},
        waited_max_us=7,
        waited_p50_us=5,
    )
    api.store.loads.record_load(report, [])
    api.store.loads.record_load(load(source_id, ODD, 6, AT), [])
    failed = load(source_id, "stopped", 7, AT, error="The key changed.")
    api.store.loads.record_failure(failed, stopped=True)
    return source_id


def tables(answer: Any) -> list[tuple[str, str]]:
    assert answer.status == 200
    return [(each["table"], each["state"]) for each in answer.body["tables"]]


def test_tables_are_listed_with_their_states(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    waiting.backlogs = [
        TableBacklog(source_id, "orders", 9, 2, 4, 400, AT, loaded=5),
        TableBacklog(source_id, "new", 8, 1, 2, 200, AT),
    ]
    path = f"/v1/sources/{source_id}/tables"
    answer = api.get(path)
    assert tables(answer) == [
        (ODD, "idle"),
        ("new", "waiting"),
        ("orders", "waiting"),
        ("stopped", "stopped"),
    ]
    assert (answer.body["total"], answer.body["next"]) == (4, None)
    assert answer.body["states"]["waiting"] == 2
    shown = answer.body["tables"][2]
    assert (shown["waiting_records"], shown["version"], shown["mode"]) == (4, 4, "upsert")
    assert answer.body["tables"][3]["error"] == "The key changed."
    row = api.store.destinations.set_default_destination(api.account.id, "duckdb", "x", "x")
    assert row.usable_since is not None
    assert tables(api.get(f"{path}?state=loading,stopped")) == [
        ("new", "loading"),
        ("orders", "loading"),
        ("stopped", "stopped"),
    ]
    api.store.destinations.set_trouble(row.id, "it is gone")
    assert tables(api.get(f"{path}?state=loading")) == []
    assert tables(api.get(f"{path}?q=ORD")) == [("orders", "waiting")]
    first = api.get(f"{path}?sort=waiting&limit=1")
    assert tables(first) == [("orders", "waiting")]
    rest = api.get(f"{path}?sort=waiting&limit=1&after={quote(first.body['next'])}")
    assert tables(rest) == [("new", "waiting")]
    last = api.get(f"{path}?limit=1&after={quote('0/' + ODD)}")
    assert tables(last) == [("new", "waiting")]


def test_a_table_has_its_columns_and_what_was_left_out(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    waiting.backlogs = [TableBacklog(source_id, "orders", 9, 2, 4, 400, AT, loaded=2)]
    body = api.get(f"/v1/sources/{source_id}/tables/orders").body
    assert (body["table"], body["schema"], body["key"]) == ("orders", "one", ["id"])
    assert body["waiting_records"] == 3  # the log was not told of all that is loaded
    root, inner = body["relations"]
    assert [column["column"] for column in root["columns"]] == [
        "_sdc_sequence",
        "age__bi",
        "age__st",
        "id",
    ]
    assert root["columns"][0]["field"] is None
    assert root["columns"][1]["first_seen_at"] == "2019-02-05T16:43:20.000000Z"
    assert (inner["relation"], inner["parent"], inner["path"]) == (
        "orders__lines",
        "orders",
        ["lines"],
    )
    [left_out] = body["left_out"]
    assert (left_out["field"], left_out["reason"]) == ("long", "too long")
    assert body["recent"]["loads"] == 1
    assert (root["recent_rows"], inner["recent_rows"]) == (1, 6)
    assert (body["recent"]["waited_max_us"], body["recent"]["waited_p50_us"]) == (7, 5)
    odd = api.get(f"/v1/sources/{source_id}/tables/{quote(ODD, safe='')}").body
    assert (odd["table"], odd["relations"]) == (ODD, [])


def test_the_history_of_a_table_is_newest_first(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    api.store.tables.record_rebuilt(source_id, "orders", AT + 9)
    path = f"/v1/sources/{source_id}/tables/orders/history"
    rebuilt, added = api.get(path).body["events"]
    assert (rebuilt["kind"], rebuilt["text"]) == (
        "table_rebuilt",
        "the rows were made again from the log",
    )
    assert added["kind"] == "table_added"
    assert [change["kind"] for change in added["changes"]] == ["table_added", "field_left_out"]
    assert added["text"] == "table orders made with 4 columns, and 1 more"
    page = api.get(f"{path}?limit=1").body
    assert page["next"] == str(rebuilt["event_id"])
    assert api.get(f"{path}?limit=1&before={page['next']}").body == {
        "events": [added],
        "next": None,
    }
    stopped = api.get(f"/v1/sources/{source_id}/tables/stopped/history").body["events"]
    assert [(each["kind"], each["reason"]) for each in stopped] == [
        ("table_stopped", "The key changed.")
    ]


def test_a_source_is_summed_up(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    waiting.backlogs = [TableBacklog(source_id, "orders", 9, 2, 4, 400, AT, loaded=5)]
    body = api.get(f"/v1/sources/{source_id}/summary").body
    assert (body["name"], body["state"], body["tables"]) == ("one", "active", 3)
    assert (body["waiting_records"], body["waiting_bytes"]) == (4, 400)
    assert body["states"] == {"idle": 1, "loading": 0, "waiting": 1, "failing": 0, "stopped": 1}
    assert (body["totals"]["received"], body["totals"]["failures"]) == (2, 1)
    assert (body["recent"]["loads"], body["recent"]["failures"]) == (2, 1)
    assert body["destination"] is None
    api.put(f"/v4/sources/{source_id}", {"paused_at": "2019-06-01T00:00:00Z"})
    assert api.get(f"/v1/sources/{source_id}/summary").body["state"] == "paused"


def test_a_load_is_asked_for_and_a_stopped_table_is_tried_again(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    waiting.backlogs = [TableBacklog(source_id, "orders", 9, 2, 4, 400, AT, loaded=5)]
    path = f"/v1/sources/{source_id}/tables"
    changes, revision = api.changes, api.store.get_revision()
    answer = api.post(f"{path}/orders/load")
    assert (answer.status, answer.body["waiting_records"]) == (200, 4)
    assert api.post(f"{path}/stopped/retry").status == 200
    assert api.changes == changes + 2
    assert api.store.get_revision() == revision + 2
    asked = api.store.load_requests.list_requests(0)
    assert [(one.source_id, one.table_name) for one in asked] == [
        (source_id, "orders"),
        (source_id, "stopped"),
    ]
    assert api.store.load_requests.list_requests(asked[0].id) == asked[1:]
    refused = api.post(f"{path}/orders/retry")
    assert (refused.status, refused.body["error"]) == (409, "NotFailing")


def test_what_is_unknown_or_another_account_s_is_not_found(api: Api, waiting: Waiting) -> None:
    source_id = filled(api)
    _, other = api.another_account()
    for path in ("summary", "tables", "tables/orders", "tables/orders/history", "options"):
        assert api.get(f"/v1/sources/{source_id}/{path}", token=other).status == 404
        assert api.get(f"/v1/sources/{source_id}/{path}", token=None).status == 401
        assert api.get(f"/v1/sources/99999/{path}").status == 404
    for path in ("tables/none", "tables/none/history"):
        assert api.get(f"/v1/sources/{source_id}/{path}").status == 404
    for path in ("tables/none/load", "tables/none/retry"):
        assert api.post(f"/v1/sources/{source_id}/{path}").status == 404
        assert api.post(f"/v1/sources/{source_id}/{path}", token=other).status == 404


@pytest.mark.parametrize(
    "query", ["state=busy", "sort=size", "after=x", "after=1", "limit=0", "limit=101"]
)
def test_a_wrong_parameter_is_named(api: Api, waiting: Waiting, query: str) -> None:
    source_id = filled(api)
    answer = api.get(f"/v1/sources/{source_id}/tables?{query}")
    assert answer.status == 400
    assert answer.body["message"].startswith(query.partition("=")[0] + " is ")


def test_options_are_shown_and_set_and_say_which_tables_they_touch(
    api: Api, waiting: Waiting
) -> None:
    source_id = filled(api)
    path = f"/v1/sources/{source_id}/options"

    def read(answer: Any) -> dict[str, tuple[Any, str]]:
        assert answer.status == 200
        return {each["name"]: (each["value"], each["origin"]) for each in answer.body["options"]}

    first = api.get(path)
    assert first.body["table"] is None
    assert read(first)["max_nesting"] == (None, "default")
    assert first.body["options"][0]["meaning"]
    tried = api.put(f"{path}?dry_run=true", {"options": {"nested": "json"}})
    assert read(tried)["nested"] == ("json", "source")
    assert tried.body["touched_tables"] == {"count": 3, "tables": [ODD, "orders", "stopped"]}
    assert read(api.get(path))["nested"] == ("profile", "default")
    own = api.put(f"{path}?table=orders", {"options": {"nested": "flatten", "max_nesting": 3}})
    assert (own.body["table"], own.body["touched_tables"]["tables"]) == ("orders", ["orders"])
    done = api.put(path, {"options": {"nested": "json"}})
    assert (done.body["dry_run"], done.body["touched_tables"]["tables"]) == (
        False,
        [ODD, "stopped"],
    )
    of_table = read(api.get(f"{path}?table=orders"))
    assert of_table["nested"] == ("flatten", "table")
    assert of_table["max_nesting"] == (3, "table")
    back = api.put(f"{path}?table=orders", {"options": {"nested": None, "max_nesting": None}})
    assert read(back)["nested"] == ("json", "source")


@pytest.mark.parametrize(
    "body", [{"options": {"nest": 1}}, {"options": {"nested": "jsno"}}, {"option": {}}, [], None]
)
def test_what_is_no_option_is_refused(api: Api, waiting: Waiting, body: object) -> None:
    source_id = filled(api)
    answer = api.put(f"/v1/sources/{source_id}/options", body)
    assert (answer.status, answer.body["error"]) == (400, "InvalidOption")
    assert api.store.sources.get_settings(source_id) == {}
