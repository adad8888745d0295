"""The request of a delivery, with and without a signature."""

import hashlib
import hmac
from dataclasses import replace

from tests.unit.courier.test_decisions import due

from treadle.courier.hook_request import list_request_headers, sign_body
from treadle.http.outbound_url import OutboundRules

URL = OutboundRules.from_setting("https").parse("https://example.com:8443/x")


def test_without_a_secret_there_are_the_documented_headers_alone() -> None:
    assert list_request_headers(due(1), URL, 5) == [
        ("Host", "example.com:8443"),
        ("Content-Type", "application/json"),
        ("User-Agent", "StitchLoadingWebhook"),
        ("Connection", "close"),
    ]


def test_with_a_secret_a_delivery_is_signed_and_named() -> None:
    signed = replace(due(1), secret="a secret of a hook", body='{"a":1}')
    headers = dict(list_request_headers(signed, URL, 1_700_000_000))
    assert headers["Idempotency-Key"] == signed.id
    expected = hmac.new(b"a secret of a hook", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert headers["Treadle-Signature"] == f"t=1700000000,v1={expected}"
    assert headers["Treadle-Signature"] == sign_body(
        "a secret of a hook", 1_700_000_000, b'{"a":1}'
    )
