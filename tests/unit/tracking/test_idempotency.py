"""What the log calls a request with a key."""

import hashlib

import pytest

from treadle.errors import RequestRefusedError
from treadle.ingest.idempotency import create_idempotency_key
from treadle.tracking.idempotency import derive_key_name, digest_request


def test_a_name_is_the_one_of_what_was_done_that_an_earlier_treadle_kept() -> None:
    scope = b"source 17 done"
    expected = hashlib.sha256(len(scope).to_bytes(8, "big") + scope + b"order 1").digest()
    assert derive_key_name("source", 17, "order 1") == expected
    assert create_idempotency_key(17, "order 1", bytes(32)).name == expected
    assert expected.hex() == "957cf0866e62338e93192bb8a76c4e715841f531ae66e7779b23e98599092311"


def test_other_requests_have_other_names() -> None:
    given = [
        ("source", 1, "a"),
        ("source", 1, "b"),
        ("source", 2, "a"),
        ("source", 11, "a"),
        ("source", 1, "1 a"),
        ("resend", 1, "a"),
        ("source", 1, "\ud800"),
        ("source", 1, ""),
    ]
    names = {derive_key_name(*one) for one in given}
    assert len(names) == len(given)
    assert {len(name) for name in names} == {32}


def test_what_was_asked_is_where_and_what() -> None:
    given = [
        ("/push", b"[]"),
        ("/push", b"[ ]"),
        ("/batch", b"[]"),
        ("/push\n", b""),
        ("/\ud800", b""),
    ]
    assert len({digest_request(*one) for one in given}) == len(given)
    assert {len(digest_request(*one)) for one in given} == {32}


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        create_idempotency_key(1, key, bytes(32))
    assert caught.value.status == 400
