"""Custom e-mails to the byte, in both eras (connect-api.md 2.13, 3.16; connect-rest.md A.2.5)."""

import json

import pytest
from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings

EMAILS = "/notifications/public/v1/api/custom-emails"
INVALID = '{"error":{"message":{"email_address":"Required. Must be valid email address format."}}}'
FULL = (
    '{"error":{"message":"Account not authorized to create additional custom notification email '
    'addresses."}}'
)
NOT_FOUND = '{"status":"NOT FOUND"}'


@pytest.fixture(params=["seed", "modern"])
def either(request: pytest.FixtureRequest, make_api: MakeApi) -> Api:
    """A server of each era; custom e-mails are the same in both."""
    return make_api(ConnectApiSettings(era=request.param))


def test_an_address_from_its_beginning_to_its_end(either: Api) -> None:
    made = either.post(EMAILS, {"email_address": "stitch-custom@yourdomain.com"})
    created = made.body["created_at"]
    assert made.text == (
        f'{{"id":1,"client_id":{either.account.id},'
        f'"email_address":"stitch-custom@yourdomain.com","created_at":"{created}",'
        '"disabled_at":null}'
    )
    assert made.status == 200
    assert either.get(EMAILS).text == f"[{made.text}]"
    disabled = either.put(f"{EMAILS}/1", {"disabled_at": "2019-06-01T00:00:00Z"})
    assert (disabled.status, disabled.text) == (200, '{"disabled_at":"2019-06-01T00:00:00Z"}')
    assert either.get(EMAILS).body == [{**made.body, "disabled_at": "2019-06-01T00:00:00Z"}]
    enabled = either.put(f"{EMAILS}/1", {"disabled_at": None})
    assert (enabled.status, enabled.text) == (200, '{"disabled_at":null}')
    gone = either.delete(f"{EMAILS}/1")
    assert (gone.status, gone.text) == (200, "[1]")
    assert either.get(EMAILS).text == "[]"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b"{}",
        b'{"email":"a@b.c"}',
        b'{"email_address":null}',
        b'{"email_address":5}',
        b'{"email_address":""}',
        b'{"email_address":"a"}',
        b'{"email_address":"a@b"}',
        b'{"email_address":"@b.c"}',
        b'{"email_address":"a@.c"}',
        b'{"email_address":"a@b."}',
        b'{"email_address":"a@b@c.d"}',
        b'{"email_address":"a.b@c"}',
        b'{"email_address":"a@b.c\\nBcc: x"}',
        b'{"email_address":"a@b.c, d"}',
        b'{"email_address":"<a@b.c>"}',
        b'{"email_address":" a@b.c"}',
        b'{"email_address":"' + b"a" * 251 + b'@b.c"}',
    ],
)
def test_what_is_no_address_is_refused(api: Api, body: bytes) -> None:
    answer = api.call("POST", EMAILS, raw=body)
    assert (answer.status, answer.text) == (400, INVALID)
    assert api.get(EMAILS).body == []


@pytest.mark.parametrize(
    "address",
    ["a@b.c", "first.last+tag@sub.example.co.uk", "o'neil@example.com", "a" * 250 + "@b.c"],
)
def test_addresses_of_every_usual_form_are_taken(api: Api, address: str) -> None:
    answer = api.post(EMAILS, {"email_address": address})
    assert (answer.status, answer.body["email_address"]) == (200, address)


def test_ten_addresses_and_no_more_disabled_ones_included(either: Api) -> None:
    for number in range(10):
        assert either.post(EMAILS, {"email_address": f"a{number}@b.c"}).status == 200
    either.put(f"{EMAILS}/1", {"disabled_at": "2019-06-01"})
    answer = either.post(EMAILS, {"email_address": "one@more.com"})
    assert (answer.status, answer.text) == (400, FULL)
    assert len(either.get(EMAILS).body) == 10
    either.delete(f"{EMAILS}/1")
    assert either.post(EMAILS, {"email_address": "one@more.com"}).status == 200


def test_the_same_address_again_is_the_same_one(api: Api) -> None:
    made = api.post(EMAILS, {"email_address": "a@Example.com"})
    assert api.post(EMAILS, {"email_address": "a@example.COM"}).text == made.text
    assert api.post(EMAILS, {"email_address": "A@example.com"}).body["id"] == 2
    api.put(f"{EMAILS}/1", {"disabled_at": "2019-06-01T00:00:00Z"})
    again = api.post(EMAILS, {"email_address": "a@Example.com"})
    assert again.body == {**made.body, "disabled_at": "2019-06-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", ""),
        (b"[1]", ""),
        (b"{}", ""),
        (b'{"disabled":true}', ""),
        (b'{"disabled_at":"tomorrow"}', "tomorrow"),
        (b'{"disabled_at":""}', ""),
        (b'{"disabled_at":5}', "5"),
        (b'{"disabled_at":true}', "true"),
        (b'{"disabled_at":{"a":[1]}}', '{"a":[1]}'),
        (b'{"disabled_at":"2019-13-01T00:00:00Z"}', "2019-13-01T00:00:00Z"),
    ],
)
def test_what_is_no_time_is_told_back(either: Api, body: bytes, told: str) -> None:
    either.post(EMAILS, {"email_address": "a@b.c"})
    answer = either.call("PUT", f"{EMAILS}/1", raw=body)
    expected = json.dumps({"disabled_at": told}, separators=(",", ":"))
    assert (answer.status, answer.text) == (400, expected)
    assert either.get(EMAILS).body[0]["disabled_at"] is None


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("2019-06-01", "2019-06-01T00:00:00Z"),
        ("2019-06-01T02:00:00+02:00", "2019-06-01T00:00:00Z"),
        ("2019-06-01T00:00:00.123456", "2019-06-01T00:00:00Z"),
    ],
)
def test_a_time_is_answered_in_utc_and_whole_seconds(api: Api, sent: str, told: str) -> None:
    api.post(EMAILS, {"email_address": "a@b.c"})
    assert api.put(f"{EMAILS}/1", {"disabled_at": sent}).body == {"disabled_at": told}


@pytest.mark.parametrize("email_id", ["2", "0", "-1", "x", "9" * 19, "9" * 30])
def test_an_unknown_id_is_not_found(either: Api, email_id: str) -> None:
    either.post(EMAILS, {"email_address": "a@b.c"})
    for answer in (
        either.put(f"{EMAILS}/{email_id}", {"disabled_at": None}),
        either.put(f"{EMAILS}/{email_id}", {}),
        either.delete(f"{EMAILS}/{email_id}"),
    ):
        assert (answer.status, answer.text) == (404, NOT_FOUND)


def test_another_account_has_its_own_and_knows_no_others(either: Api) -> None:
    _, others_token = either.another_account()
    either.post(EMAILS, {"email_address": "a@b.c"})
    assert either.get(EMAILS, token=others_token).body == []
    theirs = either.post(EMAILS, {"email_address": "a@b.c"}, token=others_token)
    assert theirs.body["id"] == 2
    for answer in (
        either.put(f"{EMAILS}/1", {"disabled_at": "2019-06-01"}, token=others_token),
        either.delete(f"{EMAILS}/1", token=others_token),
    ):
        assert (answer.status, answer.text) == (404, NOT_FOUND)
    assert either.get(EMAILS).body[0]["disabled_at"] is None


def test_without_a_token_nothing_is_told(either: Api) -> None:
    for method, path in (
        ("GET", EMAILS),
        ("POST", EMAILS),
        ("PUT", f"{EMAILS}/1"),
        ("DELETE", f"{EMAILS}/1"),
    ):
        answer = either.call(method, path, token=None)
        assert (answer.status, answer.text) == (401, '{"message":"Not Authorized"}')


def test_other_methods_and_paths_are_not_there(api: Api) -> None:
    assert api.call("PATCH", EMAILS).status == 404
    assert api.get(f"{EMAILS}/1").status == 404
    assert api.get("/notifications/public/v1/api").status == 404
