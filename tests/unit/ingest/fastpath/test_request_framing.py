"""Requests are followed to the byte, in whatever pieces they come, and bounded meanwhile."""

import itertools
import random
import tracemalloc
from collections.abc import Iterator

import pytest

from treadle.errors import RequestRefusedError
from treadle.http.request_head import HEADERS_MAX, REQUEST_HEAD_BYTES_MAX, TARGET_BYTES_MAX
from treadle.ingest.fastpath.request_framing import RequestFraming

LINE = b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
LEFT = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = (
    b"[1]",
    b"\r\n\r\n",
    b"x" * 40,
    b"0\r\n\r\nPOST / HTTP/1.1\r\n\r\n",
    b"\r\nupgrade: h2c\r\n",
)


def declared(body: bytes, more: bytes = b"") -> bytes:
    return LINE + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, more: bytes = b"", trailers: bytes = b"") -> bytes:
    head = LINE + more + CHUNKED
    return head + b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers)


def requests() -> list[tuple[bytes, bytes]]:
    """Requests, and what a server is to be given of each."""
    plain = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", declared(b"")]
    plain += [make(body) for make in (declared, chunked) for body in BODIES]
    plain += [
        LINE + CHUNKED + b"1;a=b\r\nx\r\n001\r\ny\r\n0;c\r\n\r\n",
    ]
    other = [
        (make(body, OFFER), make(body, LEFT)) for make in (declared, chunked) for body in BODIES
    ]
    other += [(b"\r\n\n\r" + declared(b"[1]"), declared(b"[1]"))]
    other += [(chunked(body, b"", b"X: y\r\nZ: \r\n"), chunked(body)) for body in BODIES]
    return [*((each, each) for each in plain), *other]


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 20, 200))
        yield data[at : at + size]
        at += size


def feed(framing: RequestFraming, *received: bytes) -> bytes:
    """What is passed on of all requests in these pieces."""
    passed = b""
    for piece in received:
        rest = piece
        while rest:
            more, rest = framing.feed(rest)
            passed += more
    return passed


@pytest.mark.parametrize(("received", "expected"), requests())
def test_a_request_is_passed_on_wherever_it_is_cut(received: bytes, expected: bytes) -> None:
    empty = len(received) - len(received.lstrip(b"\r\n"))
    for cut in range(len(received)):
        framing = RequestFraming()
        passed = feed(framing, received[:cut])
        assert framing.between == (cut <= empty)
        passed += feed(framing, received[cut:])
        assert passed == expected
        assert framing.between
        assert framing.heads == 1


@pytest.mark.parametrize("seed", range(40))
def test_requests_behind_each_other_are_told_apart(seed: int) -> None:
    dice = random.Random(seed)
    several = dice.choices(requests(), k=12)
    framing = RequestFraming()
    received = b"".join(each for each, _ in several)
    passed = feed(framing, *pieces(received, dice))
    assert passed == b"".join(expected for _, expected in several)
    assert framing.between
    assert framing.heads == len(several)


@pytest.mark.parametrize(("first", "expected"), requests())
def test_nothing_behind_a_request_is_read(first: bytes, expected: bytes) -> None:
    framing = RequestFraming()
    behind = declared(b"[2]") + b"\0 not read"
    assert framing.feed(first + behind) == (expected, behind)
    assert framing.heads == 1


def test_a_body_is_passed_on_as_it_comes() -> None:
    framing = RequestFraming()
    whole = declared(b"[1, 2]")
    assert framing.feed(whole[:20]) == (b"", b"")
    assert framing.feed(whole[20:-4]) == (whole[:-4], b"")
    assert framing.inside
    assert framing.feed(whole[-4:] + whole[:30]) == (whole[-4:], whole[:30])
    assert framing.between


def test_a_request_that_is_known_is_counted_without_being_read() -> None:
    framing = RequestFraming()
    framing.feed(declared(b"[1]"))
    framing.skip()
    framing.feed(declared(b"[1]"))
    assert framing.between
    assert framing.heads == 3


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_what_a_head_says(cut: int) -> None:
    framing = RequestFraming()
    received = declared(b"[1]", b"X: y\r\n")
    framing.feed(received[: len(received) - cut])
    assert (framing.method, framing.target) == (b"POST", b"/v2/import/push")
    assert framing.fields == [(b"host", b"a"), (b"x", b"y"), (b"content-length", b"3")]
    assert framing.declared_bytes == (3 if cut else None)
    assert framing.keeps_alive


LONG = b"x" * REQUEST_HEAD_BYTES_MAX
REFUSED = [
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    (400, LINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    (400, LINE + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
    (400, declared(b"[1]", b"Transfer-Encoding: chunked\r\n")),
    (400, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n"),
    (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (400, declared(b"[1]")[:60] + b"\0" + declared(b"[1]")[60:]),
    (400, b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    (400, LINE + b"Host: a\r\n\r\n"),
    (400, LINE + b"Host: b\r\nContent-Length: 3\r\n\r\n[1]"),
    (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, declared(b"", b"Authorization: Bearer a\r\naUTHORIZATION: Bearer a\r\n")),
    (400, LINE + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n"),
    (400, LINE + b"Content-Length: " + b"0" * 20 + b"\r\n\r\n"),
    (400, b"POST / HTTP/1.0\r\n" + CHUNKED + b"0\r\n\r\n"),
    (400, chunked(b"[1]", b"", b"Authorization: Bearer a\r\n")),
    (400, chunked(b"[1]", b"", b"content-length: 3\r\n")),
    (400, LINE + CHUNKED + b"\r\n"),
    (400, LINE + CHUNKED + b"g\r\n"),
    (400, LINE + CHUNKED + b"-1\r\n"),
    (400, LINE + CHUNKED + b"1\r\nab\r\n"),
    (400, LINE + CHUNKED + b"1\nx\r\n0\r\n\r\n"),
    (400, LINE + CHUNKED + b"f" * 17 + b"\r\n"),
    (501, LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (505, declared(b"[1]").replace(b"1.1", b"2.0")),
    (505, b"GET / HTTP/0.9\r\n\r\n"),
    (505, b"GET /\r\n\r\n"),
    (400, b"GET /\n\r\n"),
    (400, b"POST /v2/import/push\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (414, b"GET /" + b"a" * TARGET_BYTES_MAX),
    (414, b"GET /?" + b"a" * TARGET_BYTES_MAX + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (414, b"GET /" + LONG * 20),
    (431, LINE + b"X: " + LONG),
    (431, LINE + b"X: " + LONG + b"\r\n\r\n"),
    (431, LINE + LONG),
    (431, LINE + b"X: y\r\n" * (HEADERS_MAX + 1)),
    (431, LINE + b"X: y\r\n" * HEADERS_MAX + b"\r\n"),
    (431, LINE + b"X:\r\n" * 200_000),
    (431, b"\r\n" * REQUEST_HEAD_BYTES_MAX),
    (431, LINE + CHUNKED + b"1;" + LONG),
    (431, LINE + CHUNKED + b"1;" + LONG + b"\r\nx\r\n0\r\n\r\n"),
    (431, LINE + CHUNKED + (b"1;" + b"x" * 2000 + b"\r\nx\r\n") * 9),
    (431, chunked(b"[1]", b"", b"X: y\r\n" * (HEADERS_MAX + 1))),
    (431, chunked(b"[1]", b"", b"X: " + LONG + b"\r\n")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "received"), REFUSED)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_what_is_not_served_is_refused_in_whatever_pieces(
    status: int, received: bytes, size: int
) -> None:
    cut = [received[at : at + size] for at in range(0, len(received), size)]
    with pytest.raises(RequestRefusedError) as refused:
        feed(RequestFraming(), *cut)
    assert refused.value.status == status


@pytest.mark.parametrize(
    "received",
    [
        b"GET /" + b"a" * (TARGET_BYTES_MAX - 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        LINE + b"X: y\r\n" * (HEADERS_MAX - 1) + b"\r\n",
        LINE + b"X: " + b"x" * (REQUEST_HEAD_BYTES_MAX - len(LINE) - 7) + b"\r\n\r\n",
        LINE + CHUNKED + b"1;" + b"x" * 16_000 + b"\r\nx\r\n0\r\n\r\n",
        LINE + b"Content-Length: " + b"0" * 18 + b"1\r\n\r\nx",
        LINE.replace(b": a", b": [::1]:8484") + b"\r\n",
        LINE.replace(b": a", b":") + b"\r\n",
    ],
)
def test_what_is_just_within_the_limits_is_served(received: bytes) -> None:
    for cut in (1, len(received) // 2, len(received) - 1, len(received)):
        framing = RequestFraming()
        assert feed(framing, received[:cut]) + feed(framing, received[cut:]) == received
        assert framing.between


@pytest.mark.parametrize(
    "endless",
    [
        b"X: " + b"a" * 1000 + b"\r\n",
        b"a",
        b"\r\n",
        b": \r\n",
    ],
)
@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\n", b"GET /", LINE + CHUNKED + b"0\r\n"])
def test_what_has_no_end_is_refused_before_it_takes_memory(begin: bytes, endless: bytes) -> None:
    pieces = itertools.repeat(endless * (60_000 // len(endless)), 1000)
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefusedError):
            feed(RequestFraming(), begin, *pieces)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
