"""Which addresses a data source that the API made may have, and how a host may be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_NEVER: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host, on Linux
        "169.254.0.0/16",  # link-local, and where clouds tell credentials
        "100.100.100.200/32",  # the same of Alibaba,
        "168.63.129.16/32",  # of Azure,
        "192.0.0.192/32",  # of Oracle,
        "fd00:ec2::254/128",  # and of AWS over IPv6
        "224.0.0.0/4",
        "240.0.0.0/4",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        # These hold an IPv4 address that they may lead to, whatever it is.
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
    )
)
_IPV4_COMPATIBLE: Final = ip_network("::/96")
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
# Some resolvers read a last label that begins with a digit as a number: 127.1, 0x7f.0.0.1, 2130706433.
_NAME: Final = re.compile(rf"({_LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
_MAX_NAME: Final = 253


def host_name(text: str) -> str | None:
    """The name of a host in the one form that is compared; None when it is no name: a number in any spelling,
    a zone, a list, a path."""
    name = text.lower().removesuffix(".")
    return name if len(name) <= _MAX_NAME and _NAME.fullmatch(name) else None


def literal_address(text: str) -> Address | None:
    """The address that the text is in its usual spelling; None for octal, hexadecimal and short ones, and for
    one with a zone."""
    if "%" in text:
        return None
    try:
        return _unmapped(ip_address(text))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """Networks in which hosts may be. A loopback address must be in one that names nothing but loopback:
    who allows everything has not thought of this machine."""

    networks: tuple[Network, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> AllowedNetworks:
        """Raises ValueError for a text that is no network."""
        return cls(tuple(ip_network(text) for text in texts))

    def allow(self, address: Address) -> bool:
        address = _unmapped(address)
        loopback = _within(address, _LOOPBACK)
        if not loopback and (_within(address, _NEVER) or _within(address, (_IPV4_COMPATIBLE,))):
            return False
        networks = [n for n in self.networks if not loopback or _is_loopback(n)]
        return _within(address, networks)


def _unmapped(address: Address) -> Address:
    """An IPv4 address in the clothes of IPv6 is that IPv4 address."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_loopback(network: Network) -> bool:
    first, last = network.network_address, network.broadcast_address
    return any(first in loopback and last in loopback for loopback in _LOOPBACK)
