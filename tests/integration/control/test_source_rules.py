"""What may be done with sources, and by whom (connect-api.md 2.5, 4)."""

import sqlite3
from contextlib import closing

import pytest
from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings
from treadle.control.errors import NAME_RULE

UNKNOWN = 999_999


def _not_found(id_: object) -> dict[str, object]:
    return {"error": "InvalidId", "data": {"message": f"source not found ({id_})"}}


def _taken(display_name: str, name: str) -> tuple[int, object]:
    message = f"non-unique name after deriving it from display_name ({display_name} -> {name})"
    return 400, {"error": "InvalidName", "data": {"message": message}}


def _creation(display_name: str, **more: object) -> dict[str, object]:
    return {"type": "import_api", "display_name": display_name, **more}


def test_sources_are_listed_by_id_with_paused_and_deleted_ones(api: Api) -> None:
    ids = [api.create(f"Source {number}")["id"] for number in range(3)]
    assert ids == sorted(ids)
    api.delete(f"/v4/sources/{ids[0]}")
    api.put(f"/v4/sources/{ids[1]}", {"paused_at": "2019-06-01T00:00:00Z"})
    listed = api.get("/v4/sources").body
    assert [row["id"] for row in listed] == ids
    assert [row["deleted_at"] is None for row in listed] == [False, True, True]
    assert [row["paused_at"] for row in listed] == [None, "2019-06-01T00:00:00Z", None]
    assert [len(row["properties"]["token"]) for row in listed] == [1, 1, 1]


def test_a_name_is_unique_among_the_sources_that_live(api: Api) -> None:
    first = api.create("Import API")
    assert api.post("/v4/sources", _creation("import api")).pair == _taken(
        "import api", "import_api"
    )
    api.put(f"/v4/sources/{first['id']}", {"paused_at": "2019-06-01T00:00:00Z"})
    assert api.post("/v4/sources", _creation("Import-API!")).pair == _taken(
        "Import-API!", "import_api"
    )
    api.delete(f"/v4/sources/{first['id']}")
    second = api.create("Import API")
    assert second["name"] == "import_api"
    assert second["id"] > first["id"]


def test_an_account_has_no_more_sources_than_its_quota_allows(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings(sources_max=1))
    api.create("one")
    refused = api.post("/v4/sources", _creation("two"))
    message = "the account already has the maximum of 1 sources"
    assert refused.pair == (429, {"error": "AccessDenied", "data": {"message": message}})
    assert int(refused.headers["retry-after"]) > 0
    assert len(api.get("/v4/sources").body) == 1


def test_an_explicit_name_is_kept_and_its_errors_name_it(api: Api) -> None:
    body = _creation("####", name="orders_$1")
    made = api.post("/v4/sources", body).body
    assert (made["name"], made["display_name"]) == ("orders_$1", "####")
    message = "non-unique name (orders_$1)"
    expected = (400, {"error": "InvalidName", "data": {"message": message}})
    assert api.post("/v4/sources", body).pair == expected


def test_a_label_may_change_and_repeat_and_the_name_stays(api: Api) -> None:
    first, second = api.create("First"), api.create("Second")
    renamed = api.put(f"/v4/sources/{second['id']}", {"display_name": "First"}).body
    assert (renamed["display_name"], renamed["name"]) == ("First", "second")
    assert renamed["updated_at"] > second["updated_at"]
    odd = api.put(f"/v4/sources/{first['id']}", {"display_name": "日本 #### 🧵"}).body
    assert (odd["display_name"], odd["name"]) == ("日本 #### 🧵", "first")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2019-06-01T00:00:00Z", "2019-06-01T00:00:00Z"),
        ("2999-06-01T02:30:00.999+02:30", "2999-06-01T00:00:00Z"),
        ("2019-06-01", "2019-06-01T00:00:00Z"),
        # `datetime.now().isoformat()`, as python-stitch-data sends it (connect-rest.md A.3 row 3).
        ("2019-06-01T13:14:15.678901", "2019-06-01T13:14:15Z"),
    ],
)
def test_pausing_keeps_the_date_that_was_sent_and_works_at_once(
    api: Api, sent: str, kept: str
) -> None:
    source = api.create()
    (token,) = source["properties"]["token"].values()
    path = f"/v4/sources/{source['id']}"
    paused = api.put(path, {"paused_at": sent}).body
    assert (paused["paused_at"], paused["schedule"]) == (kept, None)
    assert paused["report_card"] == source["report_card"]
    assert api.pushes(token) is False
    unpaused = api.put(path, {"paused_at": None}).body
    assert unpaused["paused_at"] is None
    assert api.pushes(token) is True


def test_a_paused_source_can_be_renamed_and_change_its_tokens(api: Api) -> None:
    source = api.create()
    path = f"/v4/sources/{source['id']}"
    api.put(path, {"paused_at": "2019-06-01T00:00:00Z"})
    made = api.post(f"{path}/tokens")
    assert made.status == 200
    assert api.delete(f"{path}/tokens/{made.body['id']}").status == 200
    renamed = api.put(path, {"display_name": "Still paused"}).body
    assert renamed["paused_at"] == "2019-06-01T00:00:00Z"


def test_a_deleted_source_stays_readable_and_nothing_else(api: Api) -> None:
    source = api.create()
    id_, path = source["id"], f"/v4/sources/{source['id']}"
    ((token_id, token),) = source["properties"]["token"].items()
    deleted = api.delete(path).body
    assert deleted["id"] == id_
    assert deleted["deleted_at"] == deleted["updated_at"] > source["updated_at"]
    assert deleted["schedule"] is None
    assert deleted["report_card"] == source["report_card"]
    assert api.pushes(token) is False
    assert api.get(path).body == deleted
    gone = (400, _not_found(id_))
    assert api.put(path, {"display_name": "A"}).pair == gone
    assert api.put(path, {}).pair == gone
    assert api.delete(path).pair == gone
    assert api.post(f"{path}/tokens").pair == gone
    assert api.delete(f"{path}/tokens/{token_id}").pair == gone
    assert api.get(f"{path}/tokens").pair == (404, _not_found(id_))
    assert api.get(path).body == deleted


def test_accounts_do_not_see_each_other(api: Api) -> None:
    mine = api.create("Mine")
    other, token = api.another_account()
    theirs = api.create("Theirs", token=token)
    assert theirs["stitch_client_id"] == other.id != api.account.id
    assert api.get("/v4/sources").body == [mine]
    assert api.get("/v4/sources", token=token).body == [theirs]
    id_, path = theirs["id"], f"/v4/sources/{theirs['id']}"
    (their_token,) = theirs["properties"]["token"]
    missing, unknown = (404, _not_found(id_)), (400, _not_found(id_))
    assert api.get(path).pair == missing
    assert api.get(f"{path}/tokens").pair == missing
    assert api.get(f"{path}/last-connection-check").pair == missing
    assert api.put(path, {"display_name": "Mine now"}).pair == unknown
    assert api.delete(path).pair == unknown
    assert api.post(f"{path}/tokens").pair == unknown
    assert api.delete(f"{path}/tokens/{their_token}").pair == unknown
    mixed = api.delete(f"/v4/sources/{mine['id']}/tokens/{their_token}")
    message = f"token not found ({their_token})"
    assert mixed.pair == (400, {"error": "InvalidId", "data": {"message": message}})
    assert api.get(path, token=token).body == theirs


def test_accounts_are_not_told_of_the_names_of_others(api: Api) -> None:
    other, token = api.another_account()
    for account in (api.account, other):
        api.store.destinations.set_default_destination(
            account.id, "duckdb", "duckdb:///a", "duckdb:/a"
        )
    mine = api.create("Orders")
    # One name is another's, one is free: the answers tell nothing of it.
    told = []
    for name in ("Orders", "Carts"):
        answer = api.post("/v4/sources", _creation(name), token=token)
        assert (answer.status, answer.body["name"]) == (200, name.lower())
        told.append(sorted(answer.body))
        explicit = _creation("x", name=f"{name.lower()}_2")
        assert api.post("/v4/sources", explicit, token=token).body["name"] == f"{name.lower()}_2"
    assert told[0] == told[1]
    # Each has a schema of its own, which stays when the source is deleted.
    held = {source.id: source.schema for source in api.store.sources.list_sources()}
    assert len(set(held.values())) == len(held) == 5
    assert held[mine["id"]] == "orders"
    api.delete(f"/v4/sources/{mine['id']}")
    assert api.post("/v4/sources", _creation("Orders"), token=token).pair == _taken(
        "Orders", "orders"
    )
    again = api.create("Orders")
    assert again["name"] == "orders"
    found = api.store.sources.get_source(None, again["id"])
    assert found is not None
    assert found.schema == "orders"


def test_a_destination_is_kept_and_not_shown(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///a", "duckdb:/a"
    )
    made = api.post("/v4/sources", _creation("A", destination_id=row.id)).body
    assert "destination_id" not in made
    kept = api.store.sources.get_source(api.account.id, made["id"])
    assert kept is not None
    assert kept.destination_id == row.id
    cleared = api.put(f"/v4/sources/{made['id']}", {"destination_id": None})
    assert cleared.status == 200
    kept = api.store.sources.get_source(api.account.id, made["id"])
    assert kept is not None
    assert kept.destination_id is None


@pytest.mark.parametrize("destination_id", [UNKNOWN, -1, 2**70])
def test_an_unknown_destination_is_refused(api: Api, destination_id: int) -> None:
    message = f"destination not found ({destination_id})"
    expected = (400, {"error": "InvalidId", "data": {"message": message}})
    asked = _creation("A", destination_id=destination_id)
    assert api.post("/v4/sources", asked).pair == expected
    path = f"/v4/sources/{api.create()['id']}"
    assert api.put(path, {"destination_id": destination_id}).pair == expected


def test_a_source_that_moves_is_not_told_of_the_names_of_others(api: Api) -> None:
    other, token = api.another_account()
    api.store.destinations.set_default_destination(other.id, "duckdb", "duckdb:///a", "duckdb:/a")
    api.create("Orders", token=token)
    api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///b", "duckdb:/b"
    )
    mine = api.create("Orders")
    # The account's second destination, in the other one's database.
    with closing(sqlite3.connect(api.path)) as store, store:
        store.execute(
            "INSERT INTO destinations"
            " (id, account_id, type, name, url, identity, created_at, updated_at)"
            " SELECT 1000, account_id, type, name, url, 'duckdb:/a', created_at, updated_at"
            " FROM destinations WHERE account_id = ?",
            (api.account.id,),
        )
    path = f"/v4/sources/{mine['id']}"
    moved = api.put(path, {"destination_id": 1000})
    assert moved.status == 200
    assert {**moved.body, "updated_at": mine["updated_at"]} == mine
    found = api.store.sources.get_source(None, mine["id"])
    assert found is not None
    assert (found.name, found.schema) == ("orders", "orders2")
    assert api.put(path, {"destination_id": None}).status == 200
    found = api.store.sources.get_source(None, mine["id"])
    assert found is not None
    assert found.schema == "orders2"  # what it loaded there stays where it is


def test_properties_are_refused_after_the_name(api: Api) -> None:
    api.create("Import API")
    asked = _creation("Import API", properties={"token": "at_mine", "anchor_time": "x"})
    assert api.post("/v4/sources", asked).pair == _taken("Import API", "import_api")
    answer = api.post("/v4/sources", asked | {"display_name": "Other"})
    assert answer.status == 400
    assert answer.body["error"] == "InvalidProperties"
    assert answer.body["data"]["bad_properties"] == ["token", "anchor_time"]
    assert answer.body["data"]["report_card"]["current_step"] == 1
    assert [row["name"] for row in api.get("/v4/sources").body] == ["import_api"]


def test_an_unknown_source_is_404_to_read_and_400_to_change(api: Api) -> None:
    path = f"/v4/sources/{UNKNOWN}"
    missing, unknown = (404, _not_found(UNKNOWN)), (400, _not_found(UNKNOWN))
    assert api.get(path).pair == missing
    assert api.get(f"{path}/tokens").pair == missing
    assert api.put(path, {}).pair == unknown
    assert api.delete(path).pair == unknown
    assert api.post(f"{path}/tokens").pair == unknown
    assert api.delete(f"{path}/tokens/1").pair == unknown


def test_a_failed_change_changes_nothing(api: Api) -> None:
    source = api.create()
    path = f"/v4/sources/{source['id']}"
    half_bad = {
        "display_name": "New",
        "paused_at": "2019-06-01T00:00:00Z",
        "properties": {"a": "b"},
    }
    assert api.put(path, half_bad).status == 400
    assert api.get(path).body == source


@pytest.mark.parametrize(
    "name",
    [
        "_treadle",
        "information_schema",
        "pg_catalog",
        "pg_temp",
        "pg_toast",
        "pg_",
        "public",
        "main",
        "temp",
        "system",
        "a",  # what DuckDB calls the file of the destination
    ],
)
def test_a_name_that_a_destination_keeps_for_itself_is_refused(api: Api, name: str) -> None:
    api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///x/a.duckdb", "duckdb:///x/a.duckdb"
    )
    explicit = api.post("/v4/sources", _creation("x", name=name))
    assert explicit.pair == (400, {"error": "InvalidName", "data": {"message": NAME_RULE}})
    for shown in (name, f" {name.upper()} ", f"{name}!"):
        message = f"invalid name after deriving it from display_name ({shown} -> {name})"
        derived = api.post("/v4/sources", _creation(shown))
        assert derived.pair == (400, {"error": "InvalidDisplayName", "data": {"message": message}})
    assert api.get("/v4/sources").body == []
    # A label is no name.
    made = api.create("Orders")
    assert api.put(f"/v4/sources/{made['id']}", {"display_name": name}).body["name"] == "orders"
