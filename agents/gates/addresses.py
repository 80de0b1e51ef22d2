"""Which computers a gate may ask: the public internet, and nothing inside the house or this computer; pure.

Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and successors); RFC 6052 for NAT64.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Python's is_global has changed between its patch versions, so the list is our own.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and where clouds keep their credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
]
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
# Within the public range: those that carry another address inside, and those that lead nowhere.
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GRANTABLE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
]
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_public(address: Address) -> bool:
    """Whether it is a computer on the internet. Mapped, tunnelled and local forms of an address never are."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def may_be_asked(address: Address, *, host: str, granted: Collection[str]) -> bool:
    """Whether a connection to `address` is allowed when the URL names `host`, which is one of `granted`.

    An address of this computer or of the house is allowed in one case: the user granted that very address, as a literal
    ("192.168.1.20"), and the URL names it. A name never leads there, granted or not: whoever owns the name decides what it means.
    Link-local, multicast and unspecified addresses are never allowed.
    """
    if is_public(address):
        return True
    return (
        literal(host) == address
        and host in granted
        and any(address in network for network in _GRANTABLE if network.version == address.version)
    )


def literal(host: str) -> Address | None:
    """The address that a host is, when it is not a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_odd_number(host: str) -> bool:
    """Whether it is an address in a form that only some programs understand: 2130706433, 0x7f.1, 127.1, 0177.0.0.1.

    Such a host ends in a number (WHATWG URL, "ends in a number") and is no plain literal; no name on the internet does.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return literal(host) is None and bool(_NUMBER.fullmatch(last))
