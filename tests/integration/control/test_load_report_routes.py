"""`GET /v1/loads`: what each load did, to those it concerns (loading.md 11.2)."""

from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api
from tests.loads import load as plain

from treadle.store.model import LoadReport

AGE = {"column": "age__bi"}


def load(source_id: int, table: str, at: int, last: int, error: str | None = None) -> LoadReport:
    details: dict[str, Any] = {
        "relations": [[table, table], ["x", f"{table}__x"]],
        "fields_left_out": ["long"],
        "left_out": [
            {"table": table, "field": "long", "reason": "too long", "total": 3, "runs": [[1, 3, 1]]}
        ],
        "rounded": [{"table": table, "field": "p", "reason": "", "total": 2, "runs": None}],
        "trouble": "a key of another type",
        "columns_added": [[table, "age__do"], [f"{table}__x", "value__st"]],
        "columns_renamed": [[table, "age", "age__bi"]],
        "nul_characters_removed": 2,
        "table_version": 7,
        "schema_changes": [{"kind": "column_renamed", "relation": table, "from": "age", **AGE}],
    }
    counts = {} if error else {"rows_loaded": 100, "rows_discarded": 9, "rows_rejected": 11}
    return plain(
        source_id,
        table,
        last,
        at,
        finished_at=at + 1_500_000,
        rows_received=120,
        **counts,
        tables={} if error else {table: 100},
        details={} if error else details,
        error=error,
        waited_max_us=None if error else 2_500_000,
        waited_p50_us=None if error else 1_600_000,
    )


def filled(api: Api) -> tuple[int, int, list[LoadReport]]:
    """Two sources, three loads and a failed try, oldest first."""
    one, two = api.create("One")["id"], api.create("Two")["id"]
    at = 1_559_347_200_000_000
    made = [load(one, "orders", at, 1), load(two, "orders", at, 2), load(one, "customers", at, 3)]
    for each in made:
        api.store.loads.record_load(each, [])
    failed = load(one, "orders", at, 4, "permission denied")
    api.store.loads.record_failure(failed, stopped=True)
    return one, two, [*made, failed]


def ids(answer: Any) -> list[str]:
    return [each["load_id"] for each in answer.body["loads"]]


def test_a_report_has_the_documented_keys(api: Api) -> None:
    one, _, made = filled(api)
    answer = api.get("/v1/loads?table=orders&limit=2")
    assert answer.status == 200
    assert answer.body["loads"][1] == {
        "load_id": made[1].id,
        "source_id": made[1].source_id,
        "table": "orders",
        "started_at": "2019-06-01T00:00:00.000000Z",
        "finished_at": "2019-06-01T00:00:01.500000Z",
        "loads": 1,
        "rows_received": 120,
        "rows_loaded": 100,
        "rows_discarded": 9,
        "rows_rejected": 11,
        "waited_max_us": 2_500_000,
        "waited_p50_us": 1_600_000,
        "tables": {"orders": 100},
        "fields_left_out": ["long"],
        "left_out": [{"table": "orders", "field": "long", "reason": "too long", "records": 3}],
        "rounded": [{"table": "orders", "field": "p", "values": 2}],
        "trouble": "a key of another type",
        "columns_added": ["age__do", "orders__x.value__st"],
        "columns_renamed": [["age", "age__bi"]],
        "nul_characters_removed": 2,
        "table_version": 7,
        "error": None,
    }
    failed = answer.body["loads"][0]
    assert (failed["source_id"], failed["error"]) == (one, "permission denied")
    assert (failed["rows_loaded"], failed["columns_added"]) == (0, [])


def test_loads_are_newest_first_in_pages_and_filtered(api: Api) -> None:
    one, two, made = filled(api)
    newest = [each.id for each in reversed(made)]
    assert ids(api.get("/v1/loads")) == newest
    first = api.get("/v1/loads?limit=3")
    assert ids(first) == newest[:3]
    assert first.body["next"] == newest[2]
    rest = api.get(f"/v1/loads?limit=3&before={first.body['next']}")
    assert (ids(rest), rest.body["next"]) == (newest[3:], None)
    assert ids(api.get(f"/v1/loads?source={two}")) == [made[1].id]
    assert ids(api.get(f"/v1/loads?source={one}&table=customers")) == [made[2].id]


def test_loads_are_chosen_by_what_became_of_them(api: Api) -> None:
    one, _, made = filled(api)
    newest = [each.id for each in reversed(made)]
    assert ids(api.get("/v1/loads?failed=true")) == newest[:1]
    assert ids(api.get("/v1/loads?failed=false&limit=2")) == newest[1:3]
    assert ids(api.get(f"/v1/loads?changed=true&source={one}")) == [made[2].id, made[0].id]
    assert ids(api.get("/v1/loads?changed=false")) == newest[:1]
    assert ids(api.get("/v1/loads?from=2019-06-01T00:00:02Z")) == []
    assert ids(api.get("/v1/loads?from=2019-06-01&to=2019-06-01T00:00:02Z")) == newest
    assert ids(api.get("/v1/loads?to=2019-06-01T00:00:01Z")) == []


def test_one_load_has_all_that_is_known_of_it(api: Api) -> None:
    _, two, made = filled(api)
    answer = api.get(f"/v1/loads/{made[0].id}")
    assert answer.status == 200
    assert answer.body["load_id"] == made[0].id
    assert answer.body["entries"] == {"first": 1, "last": 1}
    assert answer.body["duration_us"] == 1_500_000
    [change] = answer.body["schema_changes"]
    assert change["text"] == "column age of orders renamed to age__bi"
    assert (change["column"], change["detail"]) == ("age__bi", {"from": "age"})
    assert answer.body["deliveries"] == []
    assert api.get(f"/v1/loads/{made[3].id}").body["error"] == "permission denied"
    unknown = api.get("/v1/loads/none")
    assert unknown.status == 404
    assert unknown.body["data"]["message"] == "load not found (none)"
    token = api.store.tokens.create_token(None, two).secret
    headers = {"Authorization": f"Bearer {token}"}
    assert api.get(f"/v1/loads/{made[1].id}", headers=headers).status == 200
    assert api.get(f"/v1/loads/{made[0].id}", headers=headers).status == 404
    _, other = api.store.accounts.create_account("second")
    assert api.get(f"/v1/loads/{made[0].id}", token=other).status == 404
    assert api.get(f"/v1/loads/{made[0].id}", token=None).status == 401


def test_a_load_names_what_hooks_were_told_of_it(api: Api) -> None:
    source_id = api.create("One")["id"]
    row = api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///x", "x"
    )
    hook = api.store.hooks.create_hook(
        api.account.id, "https://hooks.example.com/x", destination_id=row.id
    )
    made = load(source_id, "orders", 1_559_347_200_000_000, 1)
    api.store.loads.record_load(made, [], destination_id=row.id)
    [sent] = api.get(f"/v1/loads/{made.id}").body["deliveries"]
    assert (sent["hook_id"], sent["state"]) == (hook.id, "waiting")
    assert (
        api.get(f"/v1/hooks/{hook.id}/deliveries").body["deliveries"][0]["delivery_id"]
        == (sent["delivery_id"])
    )


def test_an_import_token_sees_the_loads_of_its_source(api: Api) -> None:
    one, two, made = filled(api)
    token = api.store.tokens.create_token(None, two).secret
    headers = {"Authorization": f"Bearer {token}"}
    assert ids(api.get("/v1/loads", headers=headers)) == [made[1].id]
    assert ids(api.get(f"/v1/loads?source={one}", headers=headers)) == []


def test_another_account_s_loads_are_unknown(api: Api) -> None:
    one, _, _ = filled(api)
    _, token = api.store.accounts.create_account("second")
    headers = {"Authorization": f"Bearer {token}"}
    assert ids(api.get(f"/v1/loads?source={one}", headers=headers)) == []
    assert api.get("/v1/loads", headers={"Authorization": "Bearer x"}).pair == (
        401,
        NOT_AUTHORIZED,
    )


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "source=web",
        "source=0",
        "failed=1",
        "changed=no",
        "from=then",
        "to=12",
    ],
)
def test_a_wrong_parameter_is_named(api: Api, query: str) -> None:
    answer = api.get(f"/v1/loads?{query}")
    assert answer.status == 400
    assert answer.body["message"].startswith(query.partition("=")[0] + " is ")
