from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.http.hosts import AllowedHosts, is_loopback_host, normalize_host, read_host


def make_scope(*hosts: str, server: tuple[str, int] | None = ("192.0.2.1", 8484)) -> Any:
    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    return {"type": "http", "headers": headers, "server": server}


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", "example.com"),
        ("Example.COM:8484", "example.com"),
        ("example.com.", "example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8484", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:127.0.0.1]:1", "127.0.0.1"),
        ("::1", "::1"),
        ("", None),
        (":80", None),
        ("[::1", None),
        ("[::1]x", None),
        ("example.com:80x", None),
        ("localhost:80@evil.example", None),
        ("ex\xe4mple.com", None),
    ],
)
def test_how_a_host_is_read(text: str, host: str | None) -> None:
    assert normalize_host(text) == host


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    host = normalize_host(text)
    assert host is None or normalize_host(host) in (host, None)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
        "0.0.0.0",  # noqa: S104 - compared
        "2130706433", "0x7f000001", "127.1", "017700000001", "localhost%00", "10.0.0.1",
        "::", "fe80::1", "localhost evil",
    ],
)  # fmt: skip
def test_no_loopback(host: str | None) -> None:
    assert not is_loopback_host(host)


def test_which_hosts_are_allowed() -> None:
    hosts = AllowedHosts.parse("treadle.internal", "Treadle.Example.com, other.example:443 ,[::2]")
    for host in (
        "treadle.internal:8484", "treadle.example.com", "TREADLE.example.com:443", "other.example",
        "[::2]:1", "localhost:8484", "127.0.0.1", "[::1]", "192.0.2.1:8484",
    ):  # fmt: skip
        assert hosts.allows(make_scope(host)), host
    for host in (
        "evil.example", "treadle.example.com.evil.example", "192.0.2.2", "", "sub.other.example",
        "treadle.internal:8484x", "localhost:80@evil.example",
    ):  # fmt: skip
        assert not hosts.allows(make_scope(host)), host
    assert not hosts.allows(make_scope())
    assert not hosts.allows(make_scope("localhost", "evil.example"))
    assert not hosts.allows(make_scope("evil.example", server=None))
    assert read_host(make_scope("a", "a")) is None


def test_a_server_that_listens_everywhere_knows_the_address_that_was_used() -> None:
    hosts = AllowedHosts.parse("0.0.0.0", None)  # noqa: S104 - compared
    assert hosts.allows(make_scope("10.1.2.3:8484", server=("10.1.2.3", 8484)))
    assert not hosts.allows(make_scope("evil.example", server=("10.1.2.3", 8484)))
    hosts = AllowedHosts.parse("::", None)
    assert hosts.allows(make_scope("10.1.2.3", server=("::ffff:10.1.2.3", 8484)))


def test_the_name_of_the_public_url_is_known() -> None:
    hosts = AllowedHosts.parse("127.0.0.1", None, "https://Data.example.com:8443/treadle/")
    assert hosts.allows(make_scope("data.example.com:8443"))
    assert hosts.allows(make_scope("data.example.com"))
    assert not hosts.allows(make_scope("example.com"))
    assert AllowedHosts.parse("127.0.0.1", None, None) == AllowedHosts.parse("127.0.0.1", None)
