"""`POST /v3/accounts`: a partner makes accounts (connect-api.md 2.1, connect-rest.md A.2.7)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, NOT_FOUND, Answer, Api, MakeApi

from treadle.control.app import ConnectApiSettings
from treadle.control.partner import ACCOUNTS_PER_MINUTE, PartnerCredentials
from treadle.control.partner_requests import ACCOUNT_BODY_BYTES_MAX
from treadle.control.refusal_allowance import REFUSALS_PER_MINUTE
from treadle.store.model import AccountOwner
from treadle.store.trail_event import ActorKind, StoreActor

PATH = "/v3/accounts"
PARTNER = PartnerCredentials("oc_partner", "oc_" + "s3cret" * 5)


def body(number: int = 1, **changes: object) -> dict[str, object]:
    return {
        "partner_id": PARTNER.partner_id,
        "partner_secret": PARTNER.secret,
        "first_name": "Ann",
        "last_name": "Owner",
        "company": f"Company {number}",
        "region": "eu-central-1",
        "email": f"Ann{number}@example.com",
    } | changes


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    """A server with a partner, who may have four accounts with the first one."""
    return make_api(ConnectApiSettings(partner=PARTNER, accounts_max=4))


def create(api: Api, number: int = 1, **changes: object) -> Answer:
    return api.post(PATH, body(number, **changes), token=None)


def bad(**errors: str) -> dict[str, Any]:
    return {"code": "BadRequest", "message": "Invalid form data.", "errors": errors}


def test_an_account_is_made_with_a_token_that_opens_it(api: Api) -> None:
    answer = create(api)
    token = answer.body["access_token"]
    number = api.account.id + 1
    assert answer.text == f'{{"access_token":"{token}","stitch_account_id":{number}}}'
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert token.startswith("ac_")
    assert api.changes == 1
    made = api.create("Shop", token=token)
    assert made["stitch_client_id"] == number
    assert api.get("/v4/sources").body == []
    owner = AccountOwner("Ann1@example.com", "Ann", "Owner", "eu-central-1")
    assert api.store.accounts.find_owner(number) == owner
    assert api.store.accounts.find_owner(api.account.id) is None
    assert [account.name for account in api.store.accounts.list_accounts()] == [
        "first",
        "Company 1",
    ]


def test_a_path_with_repeated_slashes_makes_one_too(api: Api) -> None:
    assert api.post("//v3//accounts", body(), token=None).status == 200


def test_without_a_partner_there_is_no_such_path(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings())
    for token in (None, ""):
        assert api.post(PATH, body(), token=token).pair == (404, NOT_FOUND)
    assert PATH not in api.document.value["paths"]
    assert len(api.store.accounts.list_accounts()) == 1


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"partner_id": "oc_other"}, {"partner_id": "required"}),
        ({"partner_id": None}, {"partner_id": "required"}),
        ({"partner_secret": "oc_other"}, {"partner_secret": "required"}),
        ({"partner_secret": 5}, {"partner_secret": "required"}),
        ({"company": ""}, {"company": "required"}),
        ({"email": None, "last_name": None}, {"email": "required", "last_name": "required"}),
        ({"email": "nobody"}, {}),
        ({"region": "moon-1"}, {}),
    ],
)
def test_a_bad_form_is_refused_with_its_fields(
    api: Api, changes: dict[str, object], errors: dict[str, str]
) -> None:
    answer = api.post(PATH, body() | changes, token=None)
    assert answer.pair == (400, bad(**errors))
    assert list(answer.body) == ["code", "message", "errors"]
    assert len(api.store.accounts.list_accounts()) == 1


def test_malformed_bodies_are_refused(api: Api) -> None:
    for raw in (b"", b"{", b"[]"):
        assert api.post(PATH, raw=raw, token=None).pair == (400, bad())
    too_large = json.dumps(body(company="x" * ACCOUNT_BODY_BYTES_MAX)).encode()
    assert api.post(PATH, raw=too_large, token=None).status == 413
    encoded = {"Content-Encoding": "br"}
    assert api.post(PATH, body(), token=None, headers=encoded).status == 415
    assert api.get(PATH, token=None).pair == (404, NOT_FOUND)


def test_a_token_is_no_credential_of_a_partner(api: Api) -> None:
    assert api.post(PATH, {**body(), "partner_secret": api.token}).status == 400
    assert api.get("/v4/sources", token=PARTNER.secret).pair == (401, NOT_AUTHORIZED)


def test_a_person_has_one_account(api: Api) -> None:
    assert create(api).status == 200
    message = "This email address is already associated with an active user."
    expected = (400, {"code": "ExistingUser", "message": message})
    assert create(api, 2, email="Ann1@example.com").pair == expected
    assert create(api, 2, email="ann1@EXAMPLE.com").pair == expected
    assert create(api, 2).status == 200


def test_the_partner_makes_so_many_accounts_and_no_more(api: Api) -> None:
    assert [create(api, number).status for number in range(5)] == [200, 200, 200, 429, 429]
    answer = create(api, 9)
    assert answer.body == {
        "code": "TooManyRequests",
        "message": "This server already has the maximum of 4 accounts.",
        "errors": {},
    }
    assert answer.headers["retry-after"] == "60"
    api.store.accounts.create_account("the operator is not bound")


def test_the_partner_makes_so_many_in_a_minute_and_no_more(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings(partner=PARTNER))
    for _ in range(ACCOUNTS_PER_MINUTE):
        assert api.app.state.partner.rate.take()
    answer = create(api)
    assert (answer.status, answer.body["code"]) == (429, "TooManyRequests")
    assert len(api.store.accounts.list_accounts()) == 1


def test_the_trail_names_the_partner_to_the_operator_and_not_to_the_account(api: Api) -> None:
    token = create(api).body["access_token"]
    [event] = api.store.trail.list_events(action="create_account", limit=1)
    assert event.actor == StoreActor(ActorKind.PARTNER, "oc_partner", "127.0.0.1")
    assert (event.account_id, event.target.name) == (api.account.id + 1, "Company 1")
    [shown] = api.get("/v1/trail", token=token).body["events"]
    assert shown["actor"] == {"kind": "partner", "id": None, "address": None}
    [made] = api.get("/v1/tokens", token=token).body["tokens"]
    assert made["created_by"] == "partner"


def test_what_the_partner_is_refused_is_in_the_trail_and_what_strangers_are_is_not(
    api: Api,
) -> None:
    strangers: list[str] = []
    api.app.state.partner = replace(api.app.state.partner, note_stranger=strangers.append)
    before = len(api.store.trail.list_events())
    for _ in range(3):
        assert create(api, partner_secret="guess").status == 400
        assert api.post(PATH, raw=b"x", token=None).status == 400
    assert len(api.store.trail.list_events()) == before
    assert strangers == ["127.0.0.1"] * 6
    assert create(api, email="nobody").status == 400
    [event] = api.store.trail.list_events(outcome="refused")
    assert (event.action, event.account_id) == ("create_account", None)
    assert (event.actor.kind, event.detail) == (ActorKind.PARTNER, {"status": 400})
    for _ in range(REFUSALS_PER_MINUTE + 5):
        create(api, email="nobody")
    refused = api.store.trail.list_events(outcome="refused", limit=1000)
    assert len(refused) == REFUSALS_PER_MINUTE


def test_no_secret_is_told_or_kept(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    answers = [create(api), create(api, 2, partner_id="x"), create(api, 3, email="x")]
    told = "".join(answer.text for answer in answers) + caplog.text
    told += repr(api.store.trail.list_events()) + json.dumps(api.app.openapi())
    assert PARTNER.secret not in told
    assert PARTNER.secret.encode() not in api.path.read_bytes()


def test_the_document_describes_it_without_a_token(api: Api) -> None:
    operation = api.document.value["paths"][PATH]["post"]
    assert operation["security"] == []
    assert operation["responses"].keys() == {
        *("200", "400", "404", "408", "413", "415", "429", "500", "503"),
    }
    for what in (operation["requestBody"], *operation["responses"].values()):
        content = what["content"]["application/json"]
        for example in content["examples"].values():
            assert not api.document.errors(content["schema"], example["value"])
