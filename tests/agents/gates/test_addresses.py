"""Only computers on the internet are public, in whichever form an address is written."""

import ipaddress

import pytest

from agents.gates.addresses import is_odd_number, is_public, literal, may_be_asked


@pytest.mark.parametrize(
    "text",
    ["93.184.216.34", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.0.1", "192.167.0.1", "223.255.255.255",
     "2606:2800:220:1::1", "2a00:1450::1", "64:ff9b::808:808"],
)  # fmt: skip
def test_an_address_on_the_internet_may_be_asked(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",  # noqa: S104
     "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1",
     "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
     "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a00:1",
     "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd12::1",
     "fe80::1", "fe80::1%eth0", "2606:2800:220:1::1%eth0", "fec0::1", "ff02::1"],
)  # fmt: skip
def test_an_address_of_this_computer_of_the_house_or_of_nobody_may_not_be_asked(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "192.168.1.20", "10.1.2.3", "::1", "fd12::5"])
def test_an_address_of_the_house_may_be_asked_when_that_very_address_was_granted(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert may_be_asked(address, host=text, granted={text})
    assert not may_be_asked(address, host=text, granted={"192.168.1.99"})
    assert not may_be_asked(address, host="router.example", granted={"router.example", text})


@pytest.mark.parametrize("text", ["0.0.0.0", "169.254.169.254", "224.0.0.1", "::", "fe80::1", "::ffff:127.0.0.1"])  # fmt: skip  # noqa: S104
def test_some_addresses_may_never_be_asked(text: str) -> None:
    assert not may_be_asked(ipaddress.ip_address(text), host=text, granted={text})


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5", "host.7"])  # fmt: skip
def test_a_host_that_ends_in_a_number_is_no_name(host: str) -> None:
    assert is_odd_number(host)


@pytest.mark.parametrize("host", ["example.org", "7.example", "192.168.1.1", "::1", "0xyz.example", "a1"])
def test_names_and_plain_addresses_are_not_odd(host: str) -> None:
    assert not is_odd_number(host)


def test_a_name_is_no_literal() -> None:
    assert literal("example.org") is None
    assert literal("::1") == ipaddress.IPv6Address("::1")
