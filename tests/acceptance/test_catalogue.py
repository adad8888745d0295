"""What is known of a table without its destination, from a push to the answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.tenants import Tenants, serve_tenants


@pytest.fixture
def tenants(tmp_path: Path, destination_url: str | None) -> Iterator[Tenants]:
    with serve_tenants(tmp_path / "data", destination_url) as made:
        made.a.use_over_api("shop")
        yield made


def ask(tenants: Tenants, path: str) -> dict[str, Any]:
    answer = tenants.rig.http.get(path, headers={"Authorization": f"Bearer {tenants.a.token}"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_split_is_in_the_columns_and_in_the_history_with_load_and_record(
    tenants: Tenants,
) -> None:
    path = f"/v1/sources/{tenants.a.source_id}/tables"
    tenants.a.push("people", (1, {"id": 1, "age": 7, "tags": ["x"]}))
    tenants.load()
    tenants.a.push("people", (2, {"id": 2, "age": 8}), (3, {"id": 3, "age": "nine"}))
    tenants.load()
    tenants.a.push("people", (4, {"id": 4, "age": 9}))
    [listed] = ask(tenants, path)["tables"]
    assert (listed["table"], listed["state"], listed["waiting_records"]) == ("people", "loading", 1)
    tenants.load()

    table = ask(tenants, f"{path}/people")
    assert (table["key"], table["mode"], table["loaded"], table["state"]) == (
        ["id"],
        "upsert",
        4,
        "idle",
    )
    root, tags = table["relations"]
    split = [one for one in root["columns"] if one["field"] == "age"]
    assert [one["type"] for one in split] == ["bigint", "text"]
    assert split[0]["first_seen_at"] < split[1]["first_seen_at"]
    assert (tags["relation"], tags["parent"], tags["recent_rows"]) == ("people__tags", "people", 1)
    assert root["recent_rows"] == 4

    second, first = ask(tenants, f"{path}/people/history")["events"]
    assert first["kind"] == "table_added"
    assert [change["kind"] for change in first["changes"]] == ["table_added", "subtable_added"]
    change = second["changes"][-1]
    assert (change["kind"], change["field"], change["type"]) == ("column_split", "age", "text")
    position, index = change["record"].split(".")
    assert index == "1"

    changed = ask(tenants, "/v1/loads?changed=true")["loads"]
    assert [load["load_id"] for load in changed] == [second["load_id"], first["load_id"]]
    load = ask(tenants, f"/v1/loads/{second['load_id']}")
    assert load["entries"] == {"first": int(position), "last": int(position)}
    assert load["schema_changes"] == second["changes"]
    assert 0 < load["waited_p50_us"] <= load["waited_max_us"]
    assert ask(tenants, "/v1/loads?failed=true")["loads"] == []
    summary = ask(tenants, f"/v1/sources/{tenants.a.source_id}/summary")
    assert (summary["tables"], summary["recent"]["loaded"]) == (1, 4)


def test_a_table_that_stopped_says_so_and_is_tried_again(tenants: Tenants) -> None:
    tenants.a.push("t", (1, {"id": 1}))
    tenants.load()
    tenants.a.push("t", (2, {"email": "x"}), keys=["email"])
    tenants.load()
    path = f"/v1/sources/{tenants.a.source_id}"
    [event, _] = ask(tenants, f"{path}/tables/t/history")["events"]
    table = ask(tenants, f"{path}/tables/t")
    assert (event["kind"], event["reason"]) == ("table_stopped", table["error"])
    assert (table["state"], table["waiting_records"]) == ("stopped", 1)
    headers = {"Authorization": f"Bearer {tenants.a.token}"}
    http = tenants.rig.http
    body = {"options": {"key_change": "append"}}
    answer = http.put(f"{path}/options?table=t", json=body, headers=headers)
    assert answer.json()["touched_tables"] == {"count": 1, "tables": ["t"]}
    assert http.post(f"{path}/tables/t/retry", headers=headers).status_code == 200
    tenants.load()
    events = ask(tenants, f"{path}/tables/t/history")["events"]
    assert {each["kind"] for each in events[:2]} == {"table_resumed", "schema_changed"}
    table = ask(tenants, f"{path}/tables/t")
    assert (table["state"], table["error"], table["mode"]) == ("idle", None, "append")
