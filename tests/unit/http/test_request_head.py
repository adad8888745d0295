"""Which heads are served: a rule for each size, for each header that may come once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRefusedError
from treadle.http.limits import read_declared_length
from treadle.http.request_head import (
    HEADERS_MAX,
    REQUEST_HEAD_BYTES_MAX,
    SINGLE_HEADERS,
    TARGET_BYTES_MAX,
    Fields,
    check_head_size,
    check_request_head,
)

HOST = (b"host", b"a")
NAMES = st.from_regex(rb"[a-z][a-z-]{0,9}", fullmatch=True).filter(
    lambda n: n not in SINGLE_HEADERS
)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=9)), max_size=HEADERS_MAX - 3)


def refusal(version: str, fields: Fields) -> int | None:
    """The status of the refusal; None where the head is served."""
    try:
        check_request_head(version, fields)
    except RequestRefusedError as refused:
        return refused.status
    return None


@given(FIELDS, st.sampled_from(sorted(SINGLE_HEADERS)), st.data())
def test_a_single_header_that_comes_twice_is_refused_wherever_it_stands(
    others: Fields, name: bytes, data: st.DataObject
) -> None:
    value = b"3" if name == b"content-length" else b"a"
    once = (name, b"chunked" if name == b"transfer-encoding" else value)
    base = [*others, *([] if name == b"host" else [HOST])]
    first = data.draw(st.integers(0, len(base)))
    one = [*base[:first], once, *base[first:]]
    assert refusal("1.1", one) is None
    second = data.draw(st.integers(0, len(one)))
    assert refusal("1.1", [*one[:second], once, *one[second:]]) == 400


@given(FIELDS)
def test_other_headers_may_come_again(others: Fields) -> None:
    assert refusal("1.1", [HOST, *others, *others[: HEADERS_MAX - 1 - len(others)]]) is None


@pytest.mark.parametrize("version", ["0.9", "1.2", "1.9", "2.0", "3.0", "9.9"])
def test_other_versions_are_not_served(version: str) -> None:
    assert refusal(version, [HOST]) == 505


def test_only_http_1_0_may_leave_the_host_out() -> None:
    assert refusal("1.1", []) == 400
    assert refusal("1.0", []) is None
    assert refusal("1.0", [HOST, HOST]) == 400


@pytest.mark.parametrize(
    "host",
    [b"a", b"", b"a.example:8484", b"a_b", b"[::1]", b"[::1]:80", b"127.0.0.1:1", b"a:", b"%41"],
)
def test_hosts(host: bytes) -> None:
    assert refusal("1.1", [(b"host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a, b", b"a,b", b"a/b", b"http://a", b"u@a", b"a:b", b"a:1:2", b"a:123456", b"[a",
     b"\xff", b"a\t", b"a?b", b"a#b", b"\"a\"", b"<a>", b"a\\b", b"::1"],
)  # fmt: skip
def test_what_is_no_host(host: bytes) -> None:
    assert refusal("1.1", [(b"host", host)]) == 400


def test_the_number_of_headers() -> None:
    many = [HOST, *[(b"x", b"")] * (HEADERS_MAX - 1)]
    assert refusal("1.1", many) is None
    assert refusal("1.1", [*many, (b"x", b"")]) == 431


@pytest.mark.parametrize(
    ("length", "status"), [(b"0" * 19, None), (b"0" * 20, 400), (b"1" * 5_000, 400), (b"3", None)]
)
def test_the_digits_of_a_length(length: bytes, status: int | None) -> None:
    assert refusal("1.1", [HOST, (b"content-length", length)]) == status


@pytest.mark.parametrize("length", ["", "-1", "+1", "0x1", "²", "1 ", "9" * 20, "0" * 5_000])
def test_what_is_no_length_declares_none(length: str) -> None:
    assert read_declared_length({"content-length": length}) is None


@pytest.mark.parametrize(
    ("coding", "status"),
    [(b"chunked", None), (b"CHUNKED", None), (b"gzip, chunked", 501), (b"identity", 501),
     (b"chunked, chunked", 501), (b"", 501), (b"xchunked", 501)],
)  # fmt: skip
def test_transfer_codings(coding: bytes, status: int | None) -> None:
    fields = [HOST, (b"transfer-encoding", coding)]
    assert refusal("1.1", fields) == status
    assert refusal("1.0", fields) == 400


@pytest.mark.parametrize(
    ("head", "target", "status"),
    [
        (0, 0, None),
        (REQUEST_HEAD_BYTES_MAX, TARGET_BYTES_MAX, None),
        (REQUEST_HEAD_BYTES_MAX + 1, TARGET_BYTES_MAX, 431),
        (REQUEST_HEAD_BYTES_MAX + 1, TARGET_BYTES_MAX + 1, 414),
        (TARGET_BYTES_MAX + 1, TARGET_BYTES_MAX + 1, 414),
    ],
)
def test_sizes(head: int, target: int, status: int | None) -> None:
    if status is None:
        check_head_size(head, target)
        return
    with pytest.raises(RequestRefusedError) as refused:
        check_head_size(head, target)
    assert refused.value.status == status
