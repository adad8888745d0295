"""Signatures of webhook senders, with the examples of their documents."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.ingest.sender_signature import TOLERANCE_SECONDS, verify_signature
from treadle.store.model import SenderSignature

NOW = 1_700_000_000
BODY = b'{"id":1}'
SECRET = "It's a Secret to Everybody"
GITHUB = SenderSignature("github", SECRET)
STRIPE = SenderSignature("stripe", "whsec_12345678")
SEGMENT = SenderSignature("segment", SECRET)
PLAIN = SenderSignature("plain", SECRET, "X-My-Signature")
PLAIN_64 = SenderSignature("plain", SECRET, "X-My-Signature", "base64")


def sign(body: bytes, secret: str = SECRET, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), body, algorithm).digest()


def sign_stripe(body: bytes, at: int = NOW) -> str:
    return sign(f"{at}.".encode() + body, STRIPE.secret).hex()


def verify(signature: SenderSignature, name: str, value: str, body: bytes = BODY) -> bool:
    headers = [(b"content-type", b"application/json"), (name.encode(), value.encode("latin-1"))]
    return verify_signature(signature, headers, body, NOW)


def test_the_example_of_github() -> None:
    value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert verify(GITHUB, "x-hub-signature-256", value, b"Hello, World!")
    assert not verify(GITHUB, "x-hub-signature-256", value, b"Hello, World?")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_body_passes_with_its_own_signature_alone(body: bytes, other: bytes) -> None:
    cases = [
        (GITHUB, "x-hub-signature-256", "sha256=" + sign(body).hex()),
        (STRIPE, "stripe-signature", f"t={NOW},v1={sign_stripe(body)}"),
        (SEGMENT, "x-signature", sign(body, algorithm="sha1").hex()),
        (PLAIN, "x-my-signature", sign(body).hex()),
        (PLAIN_64, "x-my-signature", base64.b64encode(sign(body)).decode()),
    ]
    for signature, name, value in cases:
        assert verify(signature, name, value, body)
        assert verify(signature, name, value, other) == (other == body)


@pytest.mark.parametrize("seconds", [0, 1, -1, TOLERANCE_SECONDS, -TOLERANCE_SECONDS])
def test_a_stripe_signature_of_now_passes(seconds: int) -> None:
    at = NOW + seconds
    value = f"t={at},v1={sign_stripe(BODY, at)},v0=00"
    assert verify(STRIPE, "stripe-signature", value)


@pytest.mark.parametrize("seconds", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1, 10**9])
def test_a_stripe_signature_of_another_time_does_not(seconds: int) -> None:
    at = NOW + seconds
    assert not verify(STRIPE, "stripe-signature", f"t={at},v1={sign_stripe(BODY, at)}")


def test_while_a_stripe_secret_changes_one_of_two_signatures_fits() -> None:
    value = f"t={NOW}, v1={'0' * 64}, v1={sign_stripe(BODY)}"
    assert verify(STRIPE, "stripe-signature", value)


GOOD_STRIPE = sign_stripe(BODY)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=,v1=",
        f"v1={GOOD_STRIPE}",
        f"t={NOW}",
        f"t={NOW},v0={GOOD_STRIPE}",
        f"t={NOW},t={NOW},v1={GOOD_STRIPE}",
        f"t=0,t={NOW},v1={GOOD_STRIPE}",
        f"t={NOW}.0,v1={GOOD_STRIPE}",
        f"t=+{NOW},v1={GOOD_STRIPE}",
        f"t=-{NOW},v1={GOOD_STRIPE}",
        f"t={'9' * 5000},v1={GOOD_STRIPE}",
        f"t={NOW},v1={GOOD_STRIPE[:-1]}",
        f"t={NOW},v1={GOOD_STRIPE}0",
        f"t={NOW},v1={'0' * 64}" + f",v1={'1' * 64}" * 15 + f",v1={GOOD_STRIPE}",
        f"T={NOW},V1={GOOD_STRIPE}",
        f"t=\xb2{NOW},v1={GOOD_STRIPE}",
    ],
)
def test_what_is_no_stripe_signature(value: str) -> None:
    assert not verify(STRIPE, "stripe-signature", value)


@pytest.mark.parametrize(
    ("signature", "name", "value"),
    [
        (GITHUB, "x-hub-signature-256", sign(BODY).hex()),  # without sha256=
        (GITHUB, "x-hub-signature-256", "sha1=" + sign(BODY, algorithm="sha1").hex()),
        (GITHUB, "x-hub-signature", "sha256=" + sign(BODY).hex()),  # another header
        (GITHUB, "x-hub-signature-256", "sha256="),
        (GITHUB, "x-hub-signature-256", "sha256=" + sign(BODY, "another secret").hex()),
        (GITHUB, "x-hub-signature-256", "sha256=" + sign(b"").hex()),
        (GITHUB, "x-hub-signature-256", "sha256=" + hashlib.sha256(BODY).hexdigest()),  # no key
        (SEGMENT, "x-signature", sign(BODY).hex()),  # SHA-256
        (SEGMENT, "x-signature", "é" * 40),
        (PLAIN, "x-my-signature", base64.b64encode(sign(BODY)).decode()),
        (PLAIN_64, "x-my-signature", sign(BODY).hex()),
        (PLAIN_64, "x-my-signature", "=" * 44),
        (PLAIN_64, "x-my-signature", base64.b64encode(sign(BODY)).decode() + "\xff"),
        (SenderSignature("none", SECRET, "x"), "x", sign(BODY).hex()),
    ],
)
def test_what_is_no_signature(signature: SenderSignature, name: str, value: str) -> None:
    assert not verify(signature, name, value)


def test_a_header_that_is_missing_or_comes_twice_is_no_signature() -> None:
    good = ("sha256=" + sign(BODY).hex()).encode()
    one = (b"x-hub-signature-256", good)
    assert verify_signature(GITHUB, [one], BODY, NOW)
    assert not verify_signature(GITHUB, [], BODY, NOW)
    assert not verify_signature(GITHUB, [one, one], BODY, NOW)
    assert not verify_signature(GITHUB, [one, (b"X-Hub-Signature-256", b"x")], BODY, NOW)


def test_signatures_are_hexadecimal_in_either_case() -> None:
    assert verify(GITHUB, "x-hub-signature-256", "sha256=" + sign(BODY).hex().upper())
    assert verify(PLAIN, "x-my-signature", "  " + sign(BODY).hex() + "\t")
