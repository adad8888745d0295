"""Which addresses the server connects to when a client names a host."""

import pytest

from treadle.http.address_policy import AddressPolicy, AddressRefusedError

ALWAYS_REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "0.0.0.0",  # noqa: S104 - an example
    "::",
    "224.0.0.1",
    "ff02::1",
    "db.example.com",
    "",
]
OF_THIS_MACHINE = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
ALLOWED = ["10.0.0.5", "192.168.1.4", "172.16.3.3", "8.8.8.8", "fd00::5", "2001:db8::7"]


@pytest.mark.parametrize("allows_loopback", [True, False])
@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_some_addresses_are_refused_always(address: str, allows_loopback: bool) -> None:
    with pytest.raises(AddressRefusedError, match="name another host"):
        AddressPolicy(allows_loopback).check(address)


@pytest.mark.parametrize("address", OF_THIS_MACHINE)
def test_this_machine_is_refused_unless_it_is_allowed(address: str) -> None:
    with pytest.raises(AddressRefusedError, match="an address of this machine"):
        AddressPolicy(allows_loopback=False).check(address)
    AddressPolicy(allows_loopback=True).check(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_private_networks_and_the_internet_are_allowed(address: str) -> None:
    AddressPolicy(allows_loopback=False).check(address)
