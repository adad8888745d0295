"""Whom a request comes from, behind proxies that are trusted and those that are not."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from treadle.http.forwarding import (
    HOPS_MAX,
    ForwardedOrigin,
    RequestOrigin,
    TrustedProxies,
    find_origin,
    parse_address,
    parse_node,
)

TRUSTED = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:1::/48"], socket=False)
AT_SOCKET = TrustedProxies.parse(["unix", "10.0.0.0/8"], socket=True)
ADDRESSES = st.ip_addresses().map(str)


def found(
    peer: str | None = "10.0.0.1", trusted: TrustedProxies = TRUSTED, **headers: str
) -> str | None:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return find_origin(peer, "http", raw, trusted).address


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        # The client wrote what stands left of the address that the first proxy saw.
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("10.9.9.9, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("203.0.113.7, 2001:db8:1::2, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # What is no address says only that the proxy before it was asked.
        ("unknown", "10.0.0.1"),
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("_hidden, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7,", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("203.0.113.7 198.51.100.1", "10.0.0.1"),
        ("1.2.3", "10.0.0.1"),
        ("0x7f.0.0.1", "10.0.0.1"),
        ("127.1", "10.0.0.1"),
        ("[::1", "10.0.0.1"),
        ("[::1]x", "10.0.0.1"),
        ("fe80::1%\x1b[2J", "10.0.0.1"),
        ("203.0.113.7\x1b", "10.0.0.1"),
        ("localhost", "10.0.0.1"),
    ],
)
def test_the_right_most_address_that_is_not_a_proxys_counts(header: str, client: str) -> None:
    assert found(x_forwarded_for=header) == client


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ('For="[2001:db8::7]:4711"', "2001:db8::7"),
        ('for=203.0.113.7;by=10.0.0.1;proto=https;host="a,b;c"', "203.0.113.7"),
        ("for=1.1.1.1, for=203.0.113.7;proto=http, for=10.0.0.2", "203.0.113.7"),
        ('for="203.0.113.7:80", for=10.0.0.2', "203.0.113.7"),
        ('for="\\203.0.113.7"', "203.0.113.7"),
        ("for=unknown, for=10.0.0.2", "10.0.0.2"),
        ("by=10.0.0.2", "10.0.0.1"),
        ('for="203.0.113.7', "10.0.0.1"),
        ('for="a", for=203.0.113.7 garbage', "10.0.0.1"),
        ("for=1.1.1.1;for=203.0.113.7", "10.0.0.1"),
        ("=203.0.113.7", "10.0.0.1"),
    ],
)
def test_the_standard_header_says_the_same(header: str, client: str) -> None:
    assert found(forwarded=header) == client


@given(ADDRESSES.filter(lambda text: not TRUSTED.trust(parse_address(text))), ADDRESSES)
def test_a_stranger_is_never_believed(stranger: str, claimed: str) -> None:
    headers = [
        (b"x-forwarded-for", claimed.encode()),
        (b"forwarded", f'for="[{claimed}]"'.encode()),
        (b"x-forwarded-proto", b"https"),
    ]
    direct = RequestOrigin(stranger, "http")
    assert find_origin(stranger, "http", headers, TRUSTED) == direct


@given(
    st.lists(st.text(st.characters(codec="latin-1"), max_size=20)),
    ADDRESSES.filter(lambda text: not TRUSTED.trust(parse_address(text))),
    st.lists(st.integers(1, 254).map(lambda n: f"10.0.0.{n}"), max_size=5),
)
def test_whatever_a_client_sends_its_address_is_the_one_that_the_proxies_saw(
    sent: list[str], client: str, proxies: list[str]
) -> None:
    chain = ", ".join([*sent, client, *proxies])
    headers = [(b"x-forwarded-for", chain.encode("latin-1"))]
    origin = find_origin("10.0.0.1", "http", headers, TRUSTED)
    assert origin.address == str(parse_address(client))


@given(st.lists(st.tuples(st.sampled_from(["forwarded", "x-forwarded-for"]), st.text())))
def test_any_header_gives_an_address(pairs: list[tuple[str, str]]) -> None:
    headers = [(name.encode(), text.encode()) for name, text in pairs]
    address = find_origin("10.0.0.1", "http", headers, TRUSTED).address
    assert address is not None
    assert str(parse_address(address)) == address


def test_lines_of_one_header_are_one_list() -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.7, 10.0.0.2")]
    assert find_origin("10.0.0.1", "http", headers, TRUSTED).address == "203.0.113.7"


def test_two_headers_that_differ_are_both_not_believed() -> None:
    assert found(x_forwarded_for="203.0.113.7", forwarded="for=203.0.113.8") == "10.0.0.1"
    assert found(x_forwarded_for="203.0.113.7", forwarded="for=203.0.113.7") == "203.0.113.7"
    assert found(x_forwarded_for="203.0.113.7", forwarded="garbage") == "10.0.0.1"


def test_a_long_list_of_proxies_is_looked_at_from_its_end() -> None:
    many = ", ".join(["203.0.113.7", *["10.0.0.2"] * 5000])
    assert found(x_forwarded_for=many) == "10.0.0.2"
    few = ", ".join(["203.0.113.7", *["10.0.0.2"] * (HOPS_MAX - 1)])
    assert found(x_forwarded_for=few) == "203.0.113.7"


def test_a_socket_has_no_address_and_is_trusted_by_name_only() -> None:
    assert found(None, AT_SOCKET, x_forwarded_for="203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert found(None, AT_SOCKET, x_forwarded_for="unknown") is None
    assert found(None, AT_SOCKET) is None
    assert found(None, TRUSTED, x_forwarded_for="203.0.113.7") is None
    elsewhere = TrustedProxies.parse(["unix"], socket=False)
    assert found(None, elsewhere, x_forwarded_for="203.0.113.7") is None


@pytest.mark.parametrize(
    ("peer", "headers", "scheme"),
    [
        ("10.0.0.1", {"x-forwarded-proto": "https"}, "https"),
        ("10.0.0.1", {"x-forwarded-proto": "HTTPS", "x-forwarded-for": "1.1.1.1"}, "https"),
        ("10.0.0.1", {"x-forwarded-proto": "http, https"}, "https"),
        ("10.0.0.1", {"x-forwarded-proto": "javascript"}, "http"),
        ("10.0.0.1", {"forwarded": "for=1.1.1.1;proto=https"}, "https"),
        ("10.0.0.1", {"forwarded": "for=1.1.1.1;proto=gopher"}, "http"),
        ("192.0.2.1", {"x-forwarded-proto": "https"}, "http"),
        ("192.0.2.1", {"forwarded": "for=1.1.1.1;proto=https"}, "http"),
    ],
)
def test_the_scheme_is_told_by_a_trusted_proxy(
    peer: str, headers: dict[str, str], scheme: str
) -> None:
    raw = [(name.encode(), text.encode()) for name, text in headers.items()]
    assert find_origin(peer, "http", raw, TRUSTED).scheme == scheme


@given(ADDRESSES)
def test_a_node_is_read_as_it_is_written(address: str) -> None:
    written = f"[{address}]" if ":" in address else address
    assert parse_node(written) == parse_node(f"{written}:80") == parse_address(address)


@pytest.mark.parametrize(
    ("client", "header", "seen"),
    [
        (("10.0.0.1", 5), b"203.0.113.7", ("203.0.113.7", 0)),
        (("192.0.2.1", 5), b"203.0.113.7", ("192.0.2.1", 5)),
        (("10.0.0.1", 5), b"unknown", ("10.0.0.1", 5)),
        (None, b"203.0.113.7", None),
    ],
)
def test_the_application_sees_the_client(
    client: tuple[str, int] | None, header: bytes, seen: tuple[str, int] | None
) -> None:
    asked: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        return

    scope = {
        "type": "http",
        "client": client,
        "scheme": "http",
        "headers": [(b"x-forwarded-for", header), (b"x-forwarded-proto", b"https")],
    }
    answering = ForwardedOrigin(app, TRUSTED)
    asyncio.run(answering(scope, receive, send))
    assert asked[0]["client"] == seen
    assert asked[0]["scheme"] == ("https" if client == ("10.0.0.1", 5) else "http")
    asyncio.run(answering({"type": "lifespan"}, receive, send))
    assert asked[1] == {"type": "lifespan"}
