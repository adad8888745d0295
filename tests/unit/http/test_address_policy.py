import pytest

from treadle.http.address_policy import AddressPolicy, AddressRefusedError

ALWAYS_REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::a9fe:a9fe",
    "fd00:ec2::254",
    "100.100.100.200",
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "example.com",
    "",
]
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
ALLOWED = ["10.0.0.5", "192.168.1.1", "172.16.0.1", "fd12::7", "8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_what_no_account_may_name_is_refused_always(address: str) -> None:
    for allows_loopback in (False, True):
        with pytest.raises(AddressRefusedError, match="the server does not connect to"):
            AddressPolicy(allows_loopback).check(address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_the_servers_own_machine_is_refused_unless_it_is_allowed(address: str) -> None:
    AddressPolicy(allows_loopback=True).check(address)
    with pytest.raises(AddressRefusedError, match="own machine"):
        AddressPolicy(allows_loopback=False).check(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_private_and_public_addresses_are_connected_to(address: str) -> None:
    AddressPolicy(allows_loopback=False).check(address)
