"""Requests are followed to the byte, in whatever pieces they come."""

import random
from collections.abc import Iterator

import pytest

from treadle.ingest.fastpath.request_framing import RequestFraming, parse_head

LINE = b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
LEFT = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\n"
BODIES = (
    b"[1]",
    b"\r\n\r\n",
    b"x" * 40,
    b"0\r\n\r\nPOST / HTTP/1.1\r\n\r\n",
    b"\r\nupgrade: h2c\r\n",
)


def declared(body: bytes, more: bytes = b"") -> bytes:
    return LINE + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, more: bytes = b"") -> bytes:
    return (
        LINE + more + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    )


def requests() -> list[tuple[bytes, bytes]]:
    """Requests, and what a server is to be given of each."""
    plain = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n" + declared(b"[1]"), declared(b"")]
    plain += [make(body) for make in (declared, chunked) for body in BODIES]
    offers = [
        (make(body, OFFER), make(body, LEFT)) for make in (declared, chunked) for body in BODIES
    ]
    return [*((each, each) for each in plain), *offers]


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 20, 200))
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize(("received", "expected"), requests())
def test_a_request_is_passed_on_without_offers_wherever_it_is_cut(
    received: bytes, expected: bytes
) -> None:
    for cut in range(len(received)):
        framing = RequestFraming()
        passed = framing.feed(received[:cut])
        assert framing.between == (cut == 0)
        passed += framing.feed(received[cut:])
        assert passed == expected
        assert framing.between
        assert framing.heads == 1


@pytest.mark.parametrize("seed", range(40))
def test_requests_behind_each_other_are_told_apart(seed: int) -> None:
    dice = random.Random(seed)
    several = dice.choices(requests(), k=12)
    framing = RequestFraming()
    passed = b"".join(map(framing.feed, pieces(b"".join(each for each, _ in several), dice)))
    assert passed == b"".join(expected for _, expected in several)
    assert framing.between
    assert framing.heads == len(several)


def test_a_body_is_passed_on_as_it_comes() -> None:
    framing = RequestFraming()
    whole = declared(b"[1, 2]")
    assert framing.feed(whole[:20]) == b""
    assert framing.feed(whole[20:-4]) == whole[:-4]
    assert not framing.between
    assert framing.feed(whole[-4:] + whole[:30]) == whole[-4:]
    assert not framing.between
    assert framing.feed(whole[30:]) == whole
    assert framing.heads == 2


def test_a_request_that_is_known_is_counted_without_being_read() -> None:
    framing = RequestFraming()
    framing.feed(declared(b"[1]"))
    framing.skip()
    framing.feed(declared(b"[1]"))
    assert framing.between
    assert framing.heads == 3


@pytest.mark.parametrize(
    "received",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        declared(b"[1]", b"Transfer-Encoding: chunked\r\n"),
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        declared(b"[1]")[:60] + b"\0" + declared(b"[1]")[60:],
    ],
)
def test_after_what_is_no_request_everything_is_passed_on(received: bytes) -> None:
    framing = RequestFraming()
    assert framing.feed(received) == received
    assert not framing.between
    assert framing.feed(declared(b"[1]")) == declared(b"[1]")
    assert not framing.between


def test_what_is_held_of_a_head_is_passed_on_when_it_turns_out_to_be_none() -> None:
    framing = RequestFraming()
    assert framing.feed(LINE) == b""
    assert framing.feed(b"\0") == LINE + b"\0"


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_what_a_head_says(cut: int) -> None:
    received = declared(b"[1]", b"X: y\r\n")
    method, target, headers = parse_head(received[: len(received) - cut])
    assert (method, target) == (b"POST", b"/v2/import/push")
    assert headers == [(b"host", b"a"), (b"x", b"y"), (b"content-length", b"3")]
