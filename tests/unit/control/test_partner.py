"""The partner's credentials, and the body by which it makes an account (connect-api.md 2.1)."""

import json
from typing import Any

import pytest

from treadle.control.partner import CreationRate, PartnerCredentials
from treadle.control.partner_requests import (
    AccountCreation,
    is_address,
    parse_account_creation,
    parse_partner_body,
)
from treadle.errors import RequestRefusedError
from treadle.store.model import AccountOwner

PARTNER = PartnerCredentials("oc_partner", "oc_" + "s3cret" * 5)
BODY = {
    "partner_id": PARTNER.partner_id,
    "partner_secret": PARTNER.secret,
    "first_name": "Stitch",
    "last_name": "Product Team",
    "company": "Stitch Product Team",
    "region": "eu-central-1",
    "email": "stitch-api-test@example.com",
}


def refusal(body: object) -> Any:
    """The body of the 400."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestRefusedError) as refused:
        parse_account_creation(parse_partner_body(raw, PARTNER))
    assert refused.value.status == 400
    return refused.value.body


def bad(**errors: str) -> dict[str, Any]:
    return {"code": "BadRequest", "message": "Invalid form data.", "errors": errors}


def test_a_whole_body_is_an_account_and_its_owner() -> None:
    read = parse_partner_body(json.dumps(BODY | {"more": [1]}).encode(), PARTNER)
    owner = AccountOwner("stitch-api-test@example.com", "Stitch", "Product Team", "eu-central-1")
    assert parse_account_creation(read) == AccountCreation("Stitch Product Team", owner)


@pytest.mark.parametrize("region", ["missing", None])
def test_the_region_may_be_left_out(region: str | None) -> None:
    body: dict[str, object] = {**BODY, "region": region}
    if region == "missing":
        del body["region"]
    assert parse_account_creation(body).owner.region == "us-east-1"


@pytest.mark.parametrize("field", ["partner_id", "partner_secret"])
@pytest.mark.parametrize("value", ["missing", "", None, 7, [], "other", "ü", "oc_partner "])
def test_wrong_credentials_are_missing_ones(field: str, value: object) -> None:
    body: dict[str, object] = {**BODY, field: value}
    if value == "missing":
        del body[field]
    assert refusal(body) == bad(**{field: "required"})


def test_credentials_are_judged_before_all_other_fields() -> None:
    assert refusal({}) == bad(partner_id="required")
    assert refusal({"partner_id": PARTNER.partner_id}) == bad(partner_secret="required")
    wrong = {**BODY, "partner_secret": "x", "email": None, "region": "moon"}
    assert refusal(wrong) == bad(partner_secret="required")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"partner_id":"\\ud800"}']
)
def test_what_is_no_object_is_malformed(raw: bytes) -> None:
    assert refusal(raw) == bad()


def test_missing_fields_are_named() -> None:
    for field in ("company", "email", "first_name", "last_name"):
        for value in (None, ""):
            assert refusal({**BODY, field: value}) == bad(**{field: "required"})
        assert refusal({key: value for key, value in BODY.items() if key != field}) == bad(
            **{field: "required"}
        )
    names = ("company", "email", "first_name", "last_name")
    credentials = {key: BODY[key] for key in ("partner_id", "partner_secret")}
    assert refusal(credentials) == bad(**dict.fromkeys(names, "required"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("company", 7),
        ("company", "x" * 256),
        ("company", "a\0b"),
        ("first_name", ["x"]),
        ("last_name", {}),
        ("email", "nobody"),
        ("region", "moon-1"),
        ("region", ""),
        ("region", 1),
        ("region", ["us-east-1"]),
    ],
)
def test_values_that_cannot_be_are_malformed_data(field: str, value: object) -> None:
    assert refusal({**BODY, field: value}) == bad()


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a@b.c", True),
        ("first.last+tag@mail.example.com", True),
        ("ü@exämple.com", True),
        ("a" * 242 + "@example.com", True),
        ("a" * 243 + "@example.com", False),
        ("a@b", False),
        ("@b.c", False),
        ("a@.c", False),
        ("a@b.", False),
        ("a@b@c.d", False),
        ("a b@c.d", False),
        ("a@b.c\n", False),
        ("", False),
    ],
)
def test_an_address_has_one_at_and_a_dot_behind_it(text: str, fits: bool) -> None:
    assert is_address(text) is fits


def test_the_secret_is_in_no_text() -> None:
    assert "s3cret" not in repr(PARTNER)
    assert "s3cret" not in json.dumps(refusal({**BODY, "partner_id": "x"}))


def test_so_many_accounts_are_made_in_a_minute_and_no_more() -> None:
    now = 5.0
    rate = CreationRate(limit=2, monotonic=lambda: now)
    assert [rate.take() for _ in range(3)] == [True, True, False]
    now = 64.9
    assert not rate.take()
    now = 65.0
    assert [rate.take() for _ in range(3)] == [True, True, False]
