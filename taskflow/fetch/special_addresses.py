"""Addresses that the guard blocks by default: not global unicast, or this machine's own.

IPv4: every entry of the IPv4 Special-Purpose Address Registry (RFC 6890), including the
globally reachable ones (AS112, AMT: no web server is there), multicast and the reserved rest.
IPv6: only 2000::/3 is allocated for global unicast (RFC 4291, section 2.4), so everything else and
the special blocks inside it are special. Both lists contain the metadata addresses of clouds.

``ipaddress.is_global`` is not sufficient: in Python 3.11 it is true for 6to4, the second NAT64
prefix, SRv6, site-local and multicast addresses.

The machine's own addresses may be public. Packets from the machine itself pass most packet filters,
so they can reach services that listen on all addresses but are internal.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import Final, TypeAlias

import msgspec

from taskflow.model.hostname import Address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Special(msgspec.Struct, frozen=True):
    """A block of addresses that are not global unicast.

    Attributes:
        network: The block.
        meaning: A noun phrase for an address in it, such as "a loopback address".
        is_sensitive: True if an operator must allow it explicitly: allowing a larger network does
            not include it.
        embeds_ipv4: True if its addresses contain an IPv4 address to which packets may be sent.
        min_prefix_length: Minimum prefix length of a network that allows it.
    """

    network: Network
    meaning: str
    is_sensitive: bool = False
    embeds_ipv4: bool = False
    min_prefix_length: int = 0

    def covers(self, network: Network) -> bool:
        """Return whether a network is inside this block."""
        return (
            network.version == self.network.version
            and network.network_address in self.network
            and network.broadcast_address in self.network
        )


def _block(network: str, meaning: str) -> Special:
    return Special(ipaddress.ip_network(network), meaning)


def _sensitive(network: str, meaning: str = "a cloud metadata address") -> Special:
    return Special(ipaddress.ip_network(network), meaning, is_sensitive=True)


def _embedding(network: str, min_prefix_length: int = 0) -> Special:
    meaning = "an IPv6 address that embeds an IPv4 address"
    return Special(
        ipaddress.ip_network(network),
        meaning,
        embeds_ipv4=True,
        min_prefix_length=min_prefix_length,
    )


# The first match counts, so single addresses precede the blocks that contain them.
_IPV4: Final = (
    _sensitive("168.63.129.16/32"),  # Azure
    _sensitive("100.100.100.200/32"),  # Alibaba
    _sensitive("192.0.0.192/32"),  # Oracle
    _sensitive("169.254.0.0/16", "a link-local or metadata address"),  # RFC 3927
    _block("0.0.0.0/8", "an address of 'this network'"),  # RFC 791
    _block("10.0.0.0/8", "a private address"),  # RFC 1918
    _block("100.64.0.0/10", "a shared carrier address"),  # RFC 6598
    _block("127.0.0.0/8", "a loopback address"),  # RFC 1122
    _block("172.16.0.0/12", "a private address"),  # RFC 1918
    _block("192.0.0.0/24", "an address reserved for protocols"),  # RFC 6890
    _block("192.0.2.0/24", "a documentation address"),  # RFC 5737
    _block("192.31.196.0/24", "an AS112 name server address"),  # RFC 7535
    _block("192.52.193.0/24", "a multicast relay (AMT) address"),  # RFC 7450
    _block("192.88.99.0/24", "a 6to4 relay address"),  # RFC 7526
    _block("192.168.0.0/16", "a private address"),  # RFC 1918
    _block("192.175.48.0/24", "an AS112 name server address"),  # RFC 7534
    _block("198.18.0.0/15", "a benchmark address"),  # RFC 2544
    _block("198.51.100.0/24", "a documentation address"),  # RFC 5737
    _block("203.0.113.0/24", "a documentation address"),  # RFC 5737
    _block("224.0.0.0/4", "a multicast address"),  # RFC 5771
    _block("240.0.0.0/4", "a reserved or broadcast address"),  # RFC 1112, RFC 919
)

_IPV6: Final = (
    _sensitive("fd00:ec2::/32"),  # AWS
    _sensitive("fd20:ce::254/128"),  # Google
    _sensitive("fd00:c1::a9fe:a9fe/128"),  # Oracle
    _sensitive("fd00:42::42/128"),  # Scaleway
    _sensitive("fe80::/10", "a link-local address"),  # RFC 4291
    _block("::1/128", "a loopback address"),  # RFC 4291
    _block("::/128", "the unspecified address"),  # RFC 4291
    _embedding("::ffff:0:0/96"),  # mapped, RFC 4291
    _embedding("::ffff:0:0:0/96"),  # translated, RFC 2765
    _embedding("::/96"),  # compatible, RFC 4291
    _embedding("64:ff9b::/96"),  # NAT64, RFC 6052
    # Local NAT64, RFC 8215. A shorter prefix puts the IPv4 address elsewhere (RFC 6052).
    _embedding("64:ff9b:1::/48", min_prefix_length=96),
    _embedding("2002::/16"),  # 6to4, RFC 3056
    _embedding("2001::/32"),  # Teredo, RFC 4380
    _block("2001::/23", "an address reserved for protocols"),  # RFC 2928
    _block("2001:db8::/32", "a documentation address"),  # RFC 3849
    _block("3fff::/20", "a documentation address"),  # RFC 9637
    _block("2620:4f:8000::/48", "an AS112 name server address"),  # RFC 7534
    _block("100::/64", "a discard address"),  # RFC 6666
    _block("fc00::/7", "a private address"),  # RFC 4193
    _block("fec0::/10", "a site-local address"),  # RFC 3879
    _block("ff00::/8", "a multicast address"),  # RFC 4291
)
# Documentation addresses (RFC 5737, RFC 3849), which no machine has.
_UNASSIGNED: Final = {
    4: ipaddress.ip_address("192.0.2.1"),
    6: ipaddress.ip_address("2001:db8::1"),
}
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL: Final = _block("::/0", "not a global unicast address")
# RFC 5214, section 6.1: the upper half of the interface identifier.
_ISATAP: Final = frozenset((0x0000_5EFE, 0x0200_5EFE))
_INSIDE_ISATAP: Final = _embedding("::/0")
_LAST_32_BITS: Final = 0xFFFF_FFFF


@functools.lru_cache(maxsize=4096)
def special_of(address: Address) -> Special | None:
    """Return the special block that contains an address; ``None`` if it is global unicast."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((block for block in _IPV4 if address in block.network), None)
    for block in _IPV6:
        if address in block.network:
            return block
    if address not in _GLOBAL_UNICAST:
        return _NOT_GLOBAL
    return _INSIDE_ISATAP if _is_isatap(address) else None


def own_block(address: Address) -> Special:
    """Return a block for one of this machine's own addresses."""
    return _block(str(address), "an address of the machine that TaskFlow runs on")


def embedded_ipv4(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses to which packets for an IPv6 address may be sent."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    block = special_of(address)
    found = []
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    elif address.teredo is not None:
        found += address.teredo  # the server and the client
    if _is_isatap(address) or (not found and block is not None and block.embeds_ipv4):
        found.append(_last_32_bits(address))
    return tuple(found)


def _last_32_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)


def _is_isatap(address: ipaddress.IPv6Address) -> bool:
    return (int(address) >> 32) & _LAST_32_BITS in _ISATAP


def family_of(address: Address) -> socket.AddressFamily:
    """Return the family of the sockets that connect to an address."""
    return socket.AF_INET if isinstance(address, ipaddress.IPv4Address) else socket.AF_INET6


def is_own_address(address: Address) -> bool:
    """Return whether this machine has the address: only then can a socket be bound to it."""
    return _can_bind(address) and not _can_bind_any(address.version)


@functools.cache
def _can_bind_any(version: int) -> bool:
    """Return whether the system lets sockets be bound to addresses that it does not have."""
    return _can_bind(_UNASSIGNED[version])


def _can_bind(address: Address) -> bool:
    try:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
