"""At most two tokens, and the one a source is born with (connect-api.md 2.6)."""

import pytest
from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings


def _too_many(id_: int) -> tuple[int, object]:
    message = f"source ({id_}) already has the maximum of 2 active access tokens"
    return 400, {"error": "AccessDenied", "data": {"message": message}}


def _no_token(token_id: object) -> tuple[int, object]:
    return 400, {"error": "InvalidId", "data": {"message": f"token not found ({token_id})"}}


def test_a_client_that_uses_its_first_token_rotates_without_a_gap(api: Api) -> None:
    source = api.create()
    path = f"/v4/sources/{source['id']}/tokens"
    ((first_id, first),) = source["properties"]["token"].items()
    api.use(first)
    second = api.post(path).body
    assert api.post(path).pair == _too_many(source["id"])
    assert api.pushes(first) is True
    assert api.delete(f"{path}/{first_id}").status == 200
    third = api.post(path).body
    assert [row["token_id"] for row in api.get(path).body] == [third["id"], second["id"]]
    assert api.post(path).pair == _too_many(source["id"])


def test_a_client_that_ignores_the_first_token_rotates_without_a_gap(api: Api) -> None:
    source = api.create()
    path = f"/v4/sources/{source['id']}/tokens"
    ((_, unasked),) = source["properties"]["token"].items()
    second = api.post(path).body
    api.use(second["access_token"])
    third = api.post(path).body
    assert third["connection"]["properties"]["token"] == {
        str(second["id"]): second["access_token"],
        str(third["id"]): third["access_token"],
    }
    assert api.pushes(unasked) is None
    assert api.pushes(second["access_token"]) is True
    assert api.post(path).pair == _too_many(source["id"])


def test_where_tokens_are_shown_once_two_are_the_most(modern: Api) -> None:
    id_ = modern.create()["id"]
    path = f"/v4/sources/{id_}/tokens"
    assert modern.post(path).status == modern.post(path).status == 200
    assert modern.post(path).pair == _too_many(id_)
    assert len(modern.get(path).body) == 2


def test_token_ids_grow_over_all_sources(api: Api) -> None:
    first, second = api.create("A")["id"], api.create("B")["id"]
    made = [api.post(f"/v4/sources/{id_}/tokens").body["id"] for id_ in (second, first)]
    assert made == sorted(made)


def test_the_last_token_can_be_revoked(api: Api) -> None:
    source = api.create()
    (token_id,) = source["properties"]["token"]
    path = f"/v4/sources/{source['id']}/tokens"
    left = api.delete(f"{path}/{token_id}").body
    assert left["properties"] == {"token": {}}
    assert left["report_card"] == source["report_card"]
    assert api.get(path).pair == (200, [])
    assert api.post(path).status == 200


@pytest.mark.parametrize("token_id", ["999999", "0", "-1", "1e3", "at_secret", "9" * 30, "%F0%9F"])
def test_a_token_that_is_none_is_not_found(api: Api, token_id: str) -> None:
    path = f"/v4/sources/{api.create()['id']}/tokens/{token_id}"
    shown = "\N{REPLACEMENT CHARACTER}" if token_id.startswith("%") else token_id
    assert api.delete(path).pair == _no_token(shown)


def test_a_token_is_revoked_once_and_only_at_its_source(api: Api) -> None:
    first, second = api.create("A"), api.create("B")
    (token_id,) = first["properties"]["token"]
    elsewhere = f"/v4/sources/{second['id']}/tokens/{token_id}"
    assert api.delete(elsewhere).pair == _no_token(token_id)
    here = f"/v4/sources/{first['id']}/tokens/{token_id}"
    assert api.delete(here).status == 200
    assert api.delete(here).pair == _no_token(token_id)


def test_only_import_api_sources_have_tokens(api: Api) -> None:
    row = api.store.sources.create_source(
        api.account.id,
        type="webhook.shop",
        display_name="Shop",
        name="shop",
        bootstrap_token=False,
    )
    message = f"source ({row.id}) is not an import_api source"
    expected = (400, {"error": "InvalidType", "data": {"message": message}})
    path = f"/v4/sources/{row.id}/tokens"
    assert api.post(path).pair == expected
    assert api.get(path).pair == expected
    assert api.delete(f"{path}/1").pair == expected


def test_a_change_of_surface_keeps_the_tokens(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings())
    source = api.create()
    (secret,) = source["properties"]["token"].values()
    seed, api.app = api.app, api.server(ConnectApiSettings(era="modern"))
    path = f"/v4/sources/{source['id']}"
    assert api.get(path).body["properties"] == {}
    assert len(api.get(f"{path}/tokens").body) == 1
    made = api.post(f"{path}/tokens").body
    api.app = seed
    assert list(api.get(path).body["properties"]["token"].values()) == [
        secret,
        made["access_token"],
    ]
