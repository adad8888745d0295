"""Hosts are looked up once, checked, and connected to by the address that was checked."""

import socket
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest

from treadle.destinations.libpq.place import pin_addresses, place_certificate, withhold_credentials
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.registry import make_destination
from treadle.http.address_policy import AddressPolicy, AddressRefusedError

CHECK = AddressPolicy(allows_loopback=False).check
NAMES = {
    "db.example.com": ["10.0.0.7", "fd00::7"],
    "meta.example.com": ["10.0.0.7", "169.254.169.254"],
    "here.example.com": ["127.0.0.1"],
}
PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A resolver that knows NAMES and literal addresses; returns what it was asked."""
    asked: list[str] = []

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host[0].isdigit() or ":" in host:
            return [(0, 0, 0, "", (host, 0))]
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in NAMES[host] * 2]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_every_address_of_a_name_is_tried_under_the_name() -> None:
    assert pin_addresses({"host": "db.example.com", "port": "6543", "dbname": "d"}, CHECK) == {
        "host": "db.example.com,db.example.com",
        "hostaddr": "10.0.0.7,fd00::7",
        "port": "6543,6543",
        "dbname": "d",
    }


def test_several_hosts_keep_their_ports() -> None:
    found = pin_addresses({"host": "10.0.0.1,db.example.com", "port": "1,2"}, CHECK)
    assert found["hostaddr"] == "10.0.0.1,10.0.0.7,fd00::7"
    assert found["port"] == "1,2,2"


@pytest.mark.parametrize(
    "parameters",
    [
        {"host": "169.254.169.254"},
        {"host": "meta.example.com"},
        {"host": "here.example.com"},
        {"host": "db.example.com,here.example.com"},
        {"host": "db.example.com", "hostaddr": "127.0.0.1"},
        {"host": "/var/run/postgresql"},
        {"host": "@abstract"},
        {"dbname": "d"},
    ],
)
def test_one_refused_address_refuses_all(parameters: dict[str, str]) -> None:
    with pytest.raises(AddressRefusedError):
        pin_addresses(parameters, CHECK)


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    with pytest.raises(DestinationUnavailableError, match="the host nowhere cannot be found"):
        pin_addresses({"host": "nowhere"}, CHECK)


def test_the_checked_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """A name that changes its address between check and connect has no effect."""
    sent: list[str] = []

    def connect(conninfo: str, **_: Any) -> None:
        sent.append(conninfo)
        raise psycopg.OperationalError("refused")

    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setenv("PGHOSTADDR", "169.254.169.254")
    with pytest.raises(DestinationUnavailableError):
        make_destination("postgresql://me@db.example.com/d", CHECK).open()
    found = psycopg.conninfo.conninfo_to_dict(sent[0])
    assert found["hostaddr"] == "10.0.0.7,fd00::7"
    assert names == ["db.example.com"]
    with pytest.raises(AddressRefusedError):
        make_destination("postgresql://me@here.example.com/d", CHECK).open()
    assert len(sent) == 1
    # What the operator named is left to libpq.
    with pytest.raises(DestinationUnavailableError):
        make_destination("postgresql://me@here.example.com/d").open()
    assert "hostaddr" not in psycopg.conninfo.conninfo_to_dict(sent[1])


def test_certificates_are_in_a_private_file_while_libpq_connects() -> None:
    with place_certificate({"host": "h", "sslrootcert": PEM}) as parameters:
        path = Path(parameters["sslrootcert"])
        assert path.read_text() == PEM
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with place_certificate({"sslrootcert": "/etc/ca.pem"}) as parameters:
        assert parameters == {"sslrootcert": "/etc/ca.pem"}


def test_a_server_that_an_account_named_gets_nothing_of_the_operators() -> None:
    given = {"host": "db.example.com", "password": "secret"}
    assert withhold_credentials(given) == {
        "host": "db.example.com",
        "password": "secret",
        "sslcertmode": "disable",
        "gssencmode": "disable",
        "require_auth": "!gss,!sspi",
        "options": "",
    }
    own = {"options": "-c role=owner", "sslcert": "/etc/own.crt", "gssencmode": "require"}
    assert withhold_credentials(own) == own | {"require_auth": "!gss,!sspi"}
