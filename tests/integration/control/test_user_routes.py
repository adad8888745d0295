"""`/v1/users`: who signs in to the console, over HTTP (console.md B.6)."""

from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api

ANN = {"name": " Ann ", "email": "ann@example.com", "role": "admin"}
BO = {"name": "Bo", "email": "bo@example.com", "role": "viewer"}
LAST = (
    "people are not left without an admin: make somebody else an admin first, who has accepted "
    "the invitation"
)


def add(api: Api, user: dict[str, str]) -> Any:
    answer = api.post("/v1/users", user)
    assert answer.status == 200, answer.text
    return answer.body


def test_a_user_is_invited_changed_and_deleted(api: Api) -> None:
    made = add(api, ANN)
    assert list(made) == [
        "id", "name", "email", "role", "state", "created_at", "last_seen_at", "disabled_at",
        "invited_until", "invite_token",
    ]  # fmt: skip
    assert (made["name"], made["role"], made["state"]) == ("Ann", "admin", "invited")
    invited = api.store.users.find_invite(made["invite_token"])
    assert invited is not None
    bo = add(api, BO)
    listed = api.get("/v1/users").body["users"]
    assert [one["id"] for one in listed] == [made["id"], bo["id"]]
    assert made["invite_token"] not in api.get("/v1/users").text
    again = api.post(f"/v1/users/{made['id']}/invite").body
    assert again["invite_token"] != made["invite_token"]
    assert api.store.users.find_invite(made["invite_token"]) is None
    path = f"/v1/users/{bo['id']}"
    assert api.put(path, {"role": "operator"}).body["role"] == "operator"
    disabled = api.put(path, {"disabled": True}).body
    assert (disabled["state"], disabled["disabled_at"] is None) == ("disabled", False)
    assert api.post(f"{path}/invite").status == 404
    assert api.put(path, {"disabled": False, "role": "viewer"}).body["state"] == "invited"
    assert api.delete(path).body["email"] == "bo@example.com"
    assert api.delete(path).status == 404


def test_what_breaks_a_rule_is_refused(api: Api) -> None:
    answer = api.post("/v1/users", BO)
    assert answer.pair == (400, {"error": "AccessDenied", "data": {"message": LAST}})
    ann = add(api, ANN)
    add(api, BO)
    path = f"/v1/users/{ann['id']}"
    for answer in (api.put(path, {"role": "viewer"}), api.put(path, {"disabled": True}),
                   api.delete(path)):  # fmt: skip
        assert answer.pair == (400, {"error": "AccessDenied", "data": {"message": LAST}})
    taken = api.post("/v1/users", {**BO, "email": "ANN@example.com"})
    assert (taken.status, taken.body["error"]) == (400, "AccessDenied")
    assert "has this e-mail address already" in taken.body["data"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"name": "Ann"}, {**ANN, "role": "owner"}, {**ANN, "x": 1}, {**ANN, "name": 1},
        {**ANN, "name": " "}, {**ANN, "email": "ann"}, {**ANN, "name": "n" * 101},
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit_is_refused(api: Api, body: object) -> None:
    answer = api.post("/v1/users", body)
    assert answer.status == 400
    assert answer.body["error"] in ("InvalidBody", "AccessDenied")
    assert api.get("/v1/users").body == {"users": []}


def test_nothing_of_a_change_is_refused(api: Api) -> None:
    ann = add(api, ANN)
    for body in ({}, {"role": None}, {"disabled": "yes"}, {"name": "x"}, 5):
        assert api.put(f"/v1/users/{ann['id']}", body).body["error"] == "InvalidBody"
    for wrong in ("0", "x", "99999999999999999999"):
        answer = api.put(f"/v1/users/{wrong}", {"role": "viewer"})
        assert (answer.status, answer.body["error"]) == (404, "InvalidId")


def test_an_account_has_its_own_users(api: Api) -> None:
    ann = add(api, ANN)
    _, other = api.store.accounts.create_account("second")
    assert api.get("/v1/users", token=other).body == {"users": []}
    path = f"/v1/users/{ann['id']}"
    assert api.put(path, {"role": "viewer"}, token=other).status == 404
    assert api.delete(path, token=other).status == 404
    assert api.post(f"{path}/invite", token=other).status == 404
    (push,) = api.create()["properties"]["token"].values()
    for token in (None, push):
        assert api.get("/v1/users", token=token).pair == (401, NOT_AUTHORIZED)
