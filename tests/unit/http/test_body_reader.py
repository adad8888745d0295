"""What every HTTP room relies on: tokens, bounded bodies, errors as answers."""

import asyncio
import gzip
from collections.abc import Sequence

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from treadle.errors import RequestRefusedError
from treadle.http.authentication import read_bearer_token as bearer
from treadle.http.body_reader import read_body
from treadle.http.limits import extend_arrival
from treadle.http.responses import JsonResponse, render_refusal


def channel(parts: Sequence[bytes], *, pause: float = 0.0, gone: bool = False) -> Receive:
    """An ASGI receive channel that gives the parts of a body one after the other."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": gone or i < len(parts) - 1}
        for i, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        await asyncio.sleep(pause)
        return messages.pop(0)

    return receive


def read(parts: Sequence[bytes], headers: dict[str, str] | None = None, limit: int = 100) -> bytes:
    return asyncio.run(read_body(headers or {}, channel(parts), limit=limit))


def refusal(parts: Sequence[bytes], headers: dict[str, str] | None = None) -> RequestRefusedError:
    with pytest.raises(RequestRefusedError) as caught:
        read(parts, headers)
    return caught.value


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer at_1", "at_1"),
        ("bearer at_1", "at_1"),
        ("BEARER   at_1 ", "at_1"),
        ("Basic at_1", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer: at_1", None),
        ("", None),
    ],
)
def test_bearer_takes_the_token(header: str, token: str | None) -> None:
    assert bearer({"authorization": header}) == token


def test_bearer_without_header_is_none() -> None:
    assert bearer({}) is None


def test_json_is_compact_in_order_and_typed() -> None:
    response = JsonResponse({"status": "OK", "a": [1, None, "é"]}, 201)
    assert response.body == '{"status":"OK","a":[1,null,"é"]}'.encode()
    assert response.headers["content-type"] == "application/json;charset=UTF-8"
    assert response.status_code == 201


def test_json_keeps_unpaired_surrogates_as_escapes() -> None:
    assert JsonResponse({"\ud800": 1}).body == b'{"\\ud800":1}'


def test_answer_sends_values_as_json_and_str_as_text() -> None:
    json = render_refusal(RequestRefusedError(400, {"message": "no"}, (("Retry-After", "1"),)))
    assert (json.status_code, json.body) == (400, b'{"message":"no"}')
    assert json.headers["retry-after"] == "1"
    text = render_refusal(RequestRefusedError(405, "Method not allowed."))
    assert (text.status_code, text.body) == (405, b"Method not allowed.")
    assert text.headers["content-type"].startswith("text/plain")


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
def test_parts_are_joined_up_to_the_limit(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    if len(whole) <= 100:
        assert read(parts) == whole
    else:
        assert refusal(parts).status == 413


def test_the_limit_itself_is_allowed() -> None:
    assert read([b"x" * 100], {"content-length": "100"}) == b"x" * 100
    assert refusal([b"x" * 101]).status == 413


def test_declared_length_is_refused_before_reading() -> None:
    async def never() -> Message:
        pytest.fail("the body was read")

    with pytest.raises(RequestRefusedError) as caught:
        asyncio.run(read_body({"content-length": "21000000"}, never))
    assert caught.value.status == 413
    assert caught.value.body == {
        "status": "ERROR",
        "message": "Request rejected: request size (21000000 bytes) exceeds the maximum",
    }


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "zstd", "identity"])
@given(content=st.binary(max_size=60), cut=st.integers(0, 100))
def test_encodings_are_undone(encoding: str, content: bytes, cut: int) -> None:
    raw = compressed(encoding, content)
    assert read([raw[:cut], raw[cut:]], {"content-encoding": encoding}) == content


def compressed(encoding: str, content: bytes) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor().compress(content)
    return gzip.compress(content) if "gzip" in encoding.lower() else content


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_are_joined(encoding: str) -> None:
    raw = compressed(encoding, b"one") + compressed(encoding, b"two")
    assert read([raw], {"content-encoding": encoding}) == b"onetwo"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [1_000, 100_000_000])
def test_a_bomb_stops_at_the_limit(encoding: str, size: int) -> None:
    raw = compressed(encoding, b"\0" * size)
    headers = {"content-encoding": encoding}
    with pytest.raises(RequestRefusedError) as caught:
        asyncio.run(read_body(headers, channel([raw]), limit=max(100, len(raw))))
    assert caught.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("kept", [5, -3])
def test_damaged_compression_is_the_senders_fault(encoding: str, kept: int) -> None:
    refused = refusal(
        [compressed(encoding, bytes(range(60)))[:kept]], {"content-encoding": encoding}
    )
    assert refused.status == 400


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_bytes_after_the_compressed_data_are_refused(encoding: str) -> None:
    raw = compressed(encoding, b"one") + b"junk"
    assert refusal([raw], {"content-encoding": encoding}).status == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_unknown_encodings_are_415(encoding: str) -> None:
    assert refusal([b"x"], {"content-encoding": encoding}).status == 415


def test_a_slow_sender_is_given_up() -> None:
    receive = channel([b"a"] * 5, pause=0.05)
    with pytest.raises(RequestRefusedError) as caught:
        asyncio.run(
            read_body({}, receive, limit=100, grace_seconds=0.1, bytes_per_second_min=10_000)
        )
    assert caught.value.status == 408
    assert ("Connection", "close") in caught.value.headers


def test_a_sender_that_goes_away_is_no_body() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body({}, channel([b"a"], gone=True)))
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body({}, channel([])))


@given(
    arrivals=st.lists(
        st.tuples(st.floats(0, 20, allow_subnormal=False), st.integers(0, 4_000_000)), max_size=30
    )
)
def test_a_sender_may_fall_behind_by_the_grace_and_no_more(
    arrivals: list[tuple[float, int]],
) -> None:
    """Whatever came before: between two arrivals pass at most 30 s, and a steady sender stays."""
    now, due = 0.0, 30.0
    for pause, count in arrivals:
        now += pause
        later = extend_arrival(due, now, count, 30.0, 65_536)
        assert later <= now + 30.0
        assert later >= min(due, now + 30.0)
        due = later


def test_a_steady_sender_is_waited_for_as_long_as_its_body_takes() -> None:
    due = 30.0
    for second in range(1, 320):
        assert due > second
        due = extend_arrival(due, float(second), 65_536, 30.0, 65_536)


def test_a_fast_sender_that_stands_still_is_given_up_after_the_grace() -> None:
    async def receive() -> Message:
        if waited:
            await asyncio.sleep(60)
        waited.append(1)
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

    waited: list[int] = []
    with pytest.raises(RequestRefusedError) as caught:
        asyncio.run(
            asyncio.wait_for(
                read_body({}, receive, grace_seconds=0.1, bytes_per_second_min=1_000), 30
            )
        )
    assert caught.value.status == 408
