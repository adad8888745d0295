"""The list of loads, from what the loader recorded (connect-api.md 1.5, 2.12)."""

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api
from tests.loads import load

from treadle.store.tables import lock_table

DAY = 24 * 60 * 60 * 1_000_000
TROUBLE = 'password authentication failed for user "loader"'


def test_each_table_appears_once_by_name_then_source(api: Api) -> None:
    at = api.now = 1_559_347_200_000_000  # 2019-06-01
    beta, alpha = api.create("Beta")["id"], api.create("Alpha")["id"]
    for number, (source_id, table) in enumerate(
        [(beta, "orders"), (alpha, "orders"), (beta, "customers"), (beta, "Zebras")]
    ):
        api.store.loads.record_load(load(source_id, table, number + 1, at), [])
    api.store.loads.record_load(load(beta, "orders", 9, at + 60_000_000), [])
    answer = api.get(f"/v4/{api.account.id}/loads")
    assert answer.status == 200
    rows = [(row["stream_name"], row["source_name"]) for row in answer.body["data"]]
    assert rows == [
        ("Zebras", "beta"),
        ("customers", "beta"),
        ("orders", "alpha"),
        ("orders", "beta"),
    ]
    assert answer.body["data"][3] == {
        "stitch_client_id": api.account.id,
        "source_name": "beta",
        "stream_name": "orders",
        "last_batch_loaded_at": "2019-06-01T00:01:00Z",
        "error_state": None,
    }
    assert list(answer.body) == ["data", "page", "total", "links"]
    assert (answer.body["page"], answer.body["total"], answer.body["links"]) == (1, 4, {})


def test_a_table_in_trouble_says_why_until_it_is_loaded(api: Api) -> None:
    source_id, at = api.create()["id"], api.now
    path = f"/v4/{api.account.id}/loads"
    api.store.loads.record_load(load(source_id, "orders", 1, at), [])
    api.store.loads.record_failure(
        load(source_id, "orders", 2, at + 1, error=TROUBLE), stopped=False
    )
    (row,) = api.get(path).body["data"]
    assert row["last_batch_loaded_at"] is None
    assert row["error_state"]["notification_data"]["warehouse_message"] == TROUBLE
    api.store.loads.record_load(load(source_id, "orders", 2, at + DAY), [])
    (row,) = api.get(path).body["data"]
    assert row["last_batch_loaded_at"] is not None
    assert row["error_state"] is None


def test_what_was_not_tried_for_sixty_days_is_left_out(api: Api) -> None:
    source_id, at = api.create()["id"], api.now
    api.store.loads.record_load(load(source_id, "done", 1, at), [])
    api.store.loads.record_failure(load(source_id, "stopped", 1, at, error=TROUBLE), stopped=True)
    api.store.loads.record_failure(load(source_id, "tried", 1, at, error=TROUBLE), stopped=False)

    def shown() -> list[str]:
        data = api.get(f"/v4/{api.account.id}/loads").body["data"]
        return [row["stream_name"] for row in data]

    api.now = at + 59 * DAY
    assert shown() == ["done", "stopped", "tried"]
    api.now = at + 61 * DAY
    assert shown() == ["tried"]  # it is tried again and again


def test_tables_of_deleted_sources_and_no_others_accounts_appear(api: Api) -> None:
    other, token = api.another_account()
    mine, theirs = api.create("Mine")["id"], api.create("Theirs", token=token)["id"]
    api.store.loads.record_load(load(mine, "a", 1, api.now), [])
    api.store.loads.record_load(load(theirs, "b", 1, api.now), [])
    api.delete(f"/v4/sources/{mine}")
    own = api.get(f"/v4/{api.account.id}/loads").body
    assert [row["stream_name"] for row in own["data"]] == ["a"]
    foreign = api.get(f"/v4/{other.id}/loads", token=token).body
    assert [row["stream_name"] for row in foreign["data"]] == ["b"]


@pytest.mark.parametrize("kind", ["loads", "extractions", "extractions/1.2.sync.3"])
def test_another_accounts_number_is_not_authorized(api: Api, kind: str) -> None:
    other, _ = api.another_account()
    for client_id in (other.id, 0, "x", "9" * 40, f"0{api.account.id}"):
        assert api.get(f"/v4/{client_id}/{kind}").pair == (401, NOT_AUTHORIZED)


def test_loads_come_in_pages_of_a_hundred(api: Api) -> None:
    source_id = api.create()["id"]
    for number in range(101):
        api.store.loads.record_load(load(source_id, f"t{number:03}", number + 1, api.now), [])
    path = f"/v4/{api.account.id}/loads"
    first, second = api.get(path).body, api.get(f"{path}?page=2").body
    assert (len(first["data"]), len(second["data"])) == (100, 1)
    assert first["links"] == {"next": f"{path}?page=2"}
    assert second["links"] == {"previous": f"{path}?page=1"}
    assert first["total"] == second["total"] == 101
    assert second["data"][0]["stream_name"] == "t100"
    assert api.get(f"{path}?page=0").body == api.get(f"{path}?page=x").body == first
    beyond = api.get(f"{path}?page=5").body
    assert beyond == {
        "data": [],
        "page": 5,
        "total": 101,
        "links": {"previous": f"{path}?page=4"},
    }


def test_no_row_is_without_a_time_and_without_an_error(api: Api) -> None:
    """A client compares the times of rows without an error as texts (connect-rest.md A.3 row 4)."""
    source_id = api.create()["id"]
    api.store.loads.record_load(load(source_id, "loaded", 1, api.now), [])
    api.store.loads.record_failure(
        load(source_id, "failing", 1, api.now, error=TROUBLE), stopped=False
    )
    with api.store._database.write() as tx:
        lock_table(tx, source_id, "waiting", "")  # known, and neither loaded nor tried
    api.now = DAY  # so early that the sixty days leave nothing out
    rows = api.get(f"/v4/{api.account.id}/loads").body["data"]
    assert [row["stream_name"] for row in rows] == ["failing", "loaded"]
    assert all(
        (row["last_batch_loaded_at"] is None) != (row["error_state"] is None) for row in rows
    )
