"""The flow that brings a client to its first push, over the real store (connect-api.md 0)."""

import json

from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings


def test_the_flow_of_the_first_guide(api: Api) -> None:
    card = api.get("/v4/source-types/import_api").body
    assert card["current_step"] == 1
    assert card["steps"][0]["properties"][0]["name"] == "token"
    assert card["steps"][0]["properties"][0]["provided"] is False

    created = api.post("/v4/sources", {"type": "import_api", "display_name": "Import API"})
    assert created.status == 200
    source = created.body
    id_ = source["id"]
    assert source["name"] == "import_api"
    assert source["stitch_client_id"] == api.account.id
    assert source["report_card"]["current_step"] == 2
    ((first_id, first),) = source["properties"]["token"].items()
    assert first.startswith("at_")
    assert api.pushes(first) is True
    api.use(first)

    made = api.post(f"/v4/sources/{id_}/tokens").body
    second_id, second = made["id"], made["access_token"]
    assert list(made) == ["id", "access_token", "connection"]
    assert made["connection"]["properties"]["token"] == {first_id: first, str(second_id): second}
    assert list(made["connection"]["properties"]["token"]) == [first_id, str(second_id)]
    assert made["connection"]["updated_at"] > source["updated_at"]
    assert api.pushes(second) is True

    listed = api.get(f"/v4/sources/{id_}/tokens").body
    assert [row["token_id"] for row in listed] == [second_id, int(first_id)]
    assert listed[1]["created_at"] == source["created_at"]

    revoked = api.delete(f"/v4/sources/{id_}/tokens/{first_id}").body
    assert revoked["properties"] == {"token": {str(second_id): second}}
    assert revoked["updated_at"] > made["connection"]["updated_at"]
    assert revoked["created_at"] == source["created_at"]
    assert revoked["report_card"] == source["report_card"]
    assert api.pushes(first) is None
    assert api.pushes(second) is True


def test_the_flow_where_tokens_are_shown_once(modern: Api) -> None:
    card = modern.get("/v4/source-types/import_api").body
    assert (card["current_step"], card["current_step_type"]) == (2, "fully_configured")
    assert card["steps"][0]["properties"] == []

    source = modern.create()
    id_ = source["id"]
    assert source["properties"] == {}
    assert source["report_card"]["steps"][0]["properties"] == []
    assert modern.get(f"/v4/sources/{id_}/tokens").pair == (200, [])

    first = modern.post(f"/v4/sources/{id_}/tokens").body
    assert list(first) == ["id", "access_token"]
    modern.use(first["access_token"])
    second = modern.post(f"/v4/sources/{id_}/tokens", {}).body
    revoked = modern.delete(f"/v4/sources/{id_}/tokens/{first['id']}").body
    assert revoked["properties"] == {}
    assert revoked["updated_at"] > source["updated_at"]

    seen = [
        modern.get(path).text
        for path in ("/v4/sources", f"/v4/sources/{id_}", f"/v4/sources/{id_}/tokens")
    ]
    assert not [text for text in seen if second["access_token"] in text]
    assert modern.pushes(first["access_token"]) is None
    assert modern.pushes(second["access_token"]) is True


def test_tokens_can_be_listed_as_integers(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings(token_list="integers"))
    id_ = api.create()["id"]
    second = api.post(f"/v4/sources/{id_}/tokens").body["id"]
    first = int(next(iter(api.get(f"/v4/sources/{id_}").body["properties"]["token"])))
    assert api.get(f"/v4/sources/{id_}/tokens").pair == (200, [second, first])


def test_every_endpoint_shows_the_same_source(api: Api) -> None:
    created = api.create()
    path = f"/v4/sources/{created['id']}"
    assert api.get(path).body == created
    assert api.get("/v4/sources").body == [created]
    assert api.put(path, {}).body == created
    renamed = api.put(path, {"display_name": "Orders"}).body
    assert list(renamed) == list(created)
    assert renamed == {**created, "display_name": "Orders", "updated_at": renamed["updated_at"]}
    deleted = api.delete(path).body
    assert list(deleted) == list(created)
    assert api.get(path).body == deleted


def test_list_and_get_give_the_same_type_card(api: Api, modern: Api) -> None:
    for each in (api, modern):
        card = each.get("/v4/source-types/import_api")
        assert each.get("/v4/source-types").text == f"[{card.text}]"


def test_a_change_is_told_before_its_answer_and_reading_is_not(api: Api) -> None:
    id_ = api.create()["id"]
    assert api.changes == 1
    token = api.post(f"/v4/sources/{id_}/tokens").body["id"]
    assert api.changes == 2
    api.put(f"/v4/sources/{id_}", {"paused_at": "2019-06-01T00:00:00Z"})
    assert api.changes == 3
    api.delete(f"/v4/sources/{id_}/tokens/{token}")
    assert api.changes == 4
    api.delete(f"/v4/sources/{id_}")
    assert api.changes == 5
    for path in ("/v4/sources", f"/v4/sources/{id_}", "/v4/source-types"):
        api.get(path)
    assert api.changes == 5


def test_bodies_are_json_whatever_their_type_and_encoding_say(api: Api) -> None:
    body = {"type": "import_api", "display_name": "A"}
    for number, content_type in enumerate(("text/plain", "application/x-www-form-urlencoded", "x")):
        sent = json.dumps(body | {"display_name": f"A{number}"}).encode()
        answer = api.post("/v4/sources", raw=sent, headers={"Content-Type": content_type})
        assert answer.status == 200


def test_calls_without_a_described_body_take_any(api: Api) -> None:
    id_ = api.create()["id"]
    for raw in (None, b"", b"{}", b"{", b"x" * 2_000_000):
        made = api.post(f"/v4/sources/{id_}/tokens", raw=raw)
        assert made.status == 200
        revoked = api.delete(f"/v4/sources/{id_}/tokens/{made.body['id']}", raw=raw)
        assert revoked.status == 200
    assert api.delete(f"/v4/sources/{id_}", raw=b"{}").status == 200
