"""Bodies that cannot be received, a store that fails, and what is logged."""

import gzip
import logging
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.integration.control.api import Api

from treadle.control import requests

CREATION = b'{"type":"import_api","display_name":"Import API"}'


def _padded(size: int) -> bytes:
    return CREATION + b" " * (size - len(CREATION))


def test_a_body_has_a_greatest_size(api: Api) -> None:
    assert requests.CONTROL_BODY_BYTES_MAX == 1_048_576
    assert api.post("/v4/sources", raw=_padded(requests.CONTROL_BODY_BYTES_MAX)).status == 200
    for method, path in (
        ("POST", "/v4/sources"),
        ("PUT", "/v4/sources/1"),
        ("PUT", "/v4/sources/1/streams/metadata"),
    ):
        answer = api.call(method, path, raw=_padded(requests.CONTROL_BODY_BYTES_MAX + 1))
        assert answer.status == 413
        assert answer.body["error"] == "InvalidBody"
        assert "1048577 bytes" in answer.body["data"]["message"]


def test_a_compressed_body_is_understood_and_held_to_the_same_size(api: Api) -> None:
    headers = {"Content-Encoding": "gzip"}
    packed = gzip.compress(CREATION)
    assert api.post("/v4/sources", raw=packed, headers=headers).status == 200
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < requests.CONTROL_BODY_BYTES_MAX
    assert api.post("/v4/sources", raw=bomb, headers=headers).status == 413
    assert api.post("/v4/sources", raw=packed[:-9], headers=headers).status == 400
    unknown = {"Content-Encoding": "br"}
    assert api.post("/v4/sources", raw=packed, headers=unknown).status == 415


def test_nothing_is_read_for_a_caller_without_a_token(api: Api) -> None:
    assert (
        api.post("/v4/sources", raw=_padded(requests.CONTROL_BODY_BYTES_MAX + 1), token=None).status
        == 401
    )


@pytest.mark.parametrize(
    "id_",
    [
        "0",
        "-1",
        "01",
        "1.0",
        "1e3",
        "abc",
        "9" * 19,
        "9" * 5_000,
        "%00",
        "%F0%9F%A7%B5",
        "%FF",
        "'",
    ],
)
def test_a_path_that_names_no_id_is_answered_like_an_unknown_id(api: Api, id_: str) -> None:
    path = f"/v4/sources/{id_}"
    for answer in (api.get(path), api.get(f"{path}/tokens"), api.get(f"{path}/streams")):
        assert answer.status in (400, 404)
    for answer in (
        api.put(path, {}),
        api.delete(path),
        api.post(f"{path}/tokens"),
        api.delete(f"{path}/tokens/{id_}"),
        api.post(f"{path}/sync"),
    ):
        assert answer.status == 400
    assert api.get(f"/v4/source-types/{id_}").status == 404
    assert api.get(f"/v4/{id_}/loads").status == 401


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 1_000_000,
        b'{"display_name":' * 50_000,
        b'{"display_name":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"display_name":' + b"9" * 10_000 + b"}",
        b'{"destination_id":' + b"9" * 100 + b"}",
        b'{"display_name":"\\ud800"}',
        b'{"display_name":"\xff"}',
        b'{"display_name":"\\u0000"}',
        b'{"paused_at":"' + b"9" * 1_000_000 + b'"}',
        b'{"\\ud800":1}',
        b"nul",
        b"",
        b"\x00" * 100,
        b'{"display_name":1e400}',
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_a_hostile_body_is_a_documented_400(api: Api, raw: bytes) -> None:
    path = f"/v4/sources/{api.create()['id']}"
    before = api.get(path).text
    assert api.post("/v4/sources", raw=raw).status == 400
    assert api.put(path, raw=raw).status == 400
    assert api.put(f"{path}/streams/metadata", raw=raw).status == 400
    assert api.get(path).text == before


def test_odd_characters_are_kept_and_answered(api: Api) -> None:
    label = 'a \N{SPOOL OF THREAD} \u202e \u2028 \x7f \\ " é e\u0301'
    created = api.post("/v4/sources", {"type": "import_api", "display_name": label})
    assert created.body["display_name"] == label
    assert created.body["name"] == "a________e"
    assert api.get(f"/v4/sources/{created.body['id']}").body == created.body


@contextmanager
def _full_disk() -> Iterator[None]:
    """No file of this process can grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_store_that_cannot_write_is_503_and_nothing_is_half_done(api: Api) -> None:
    api.create("Before")
    with _full_disk():
        answer = api.post("/v4/sources", raw=CREATION)
    assert answer.status == 503
    assert answer.body["error"] == "TryLater"
    assert [row["name"] for row in api.get("/v4/sources").body] == ["before"]
    assert api.post("/v4/sources", raw=CREATION).status == 200


def test_a_damaged_store_is_500_and_tells_the_caller_nothing(api: Api) -> None:
    path = f"/v4/sources/{api.create()['id']}"
    with closing(sqlite3.connect(api.path)) as store, store:
        store.execute("UPDATE access_tokens SET sealed = x'00112233445566778899aabbccddeeff'")
    answer = api.get(path)
    assert answer.status == 500
    assert answer.body["error"] == "InternalError"
    assert "key" not in answer.body["data"]["message"]
    assert api.get("/v4/source-types").status == 200


def test_no_token_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    source = api.create()
    path = f"/v4/sources/{source['id']}"
    made = api.post(f"{path}/tokens").body
    api.put(path, {"display_name": "Renamed"})
    api.get("/v4/sources")
    api.delete(f"{path}/tokens/{made['id']}")
    api.delete(f"{path}/tokens/{made['access_token']}")
    api.delete(path)
    api.get("/v4/sources", token="ac_wrong")
    secrets = [api.token, made["access_token"], *source["properties"]["token"].values(), "ac_wrong"]
    ours = [record for record in caplog.records if record.name.startswith("treadle")]
    assert [record.getMessage() for record in ours] == [
        f"account {api.account.id} created source {source['id']}",
        f"account {api.account.id} made token {made['id']} of source {source['id']}",
        f"account {api.account.id} changed display_name of source {source['id']}",
        f"account {api.account.id} revoked token {made['id']} of source {source['id']}",
        f"account {api.account.id} deleted source {source['id']}",
    ]
    assert not [secret for secret in secrets if any(secret in r.getMessage() for r in ours)]
