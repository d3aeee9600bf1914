"""Parses hosts of URLs: canonical IPv4 addresses, IPv6 addresses, and DNS names.

Stricter than the URL standard where parsers disagree: a host that one resolver could treat as an
address and another as a name is rejected.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, TypeAlias

import idna

from taskflow.model.invalid_url import InvalidUrl

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NAME_CHARACTERS: Final = 253
"""RFC 1035 section 2.3.4, written without the trailing dot."""

INTERNAL_SUFFIXES: Final = (
    *(".localhost", ".local", ".internal", ".home.arpa"),
    *(".localdomain", ".intranet", ".private", ".corp", ".home", ".lan"),
)
"""Suffixes of names that are not public (RFC 6761, RFC 6762 appendix G, RFC 8375, ICANN)."""

_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL)
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_DOTTED_QUAD: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_DOT_LOOKALIKES: Final = re.compile("[\u3002\uff0e\uff61]")


def parse_host(text: str) -> tuple[str, Address | None]:
    """Parse a host without brackets.

    Returns:
        The host in canonical ASCII, and its address if it is one. The trailing dot of a name is
        dropped, so that each host has one spelling.

    Raises:
        InvalidUrl: The host is neither a canonical IPv4 address nor a name.
    """
    if _DOTTED_QUAD.fullmatch(text):
        return text, ipaddress.IPv4Address(text)
    _check_length(text.removesuffix("."))  # before expensive work
    if _DOT_LOOKALIKES.search(text):
        raise InvalidUrl("the host contains a character that only looks like a dot; write '.'")
    name = ".".join(_parse_label(label) for label in text.removesuffix(".").split("."))
    # The URL standard treats such a host as IPv4, in formats that differ between parsers.
    if _ENDS_IN_NUMBER.fullmatch(name):
        raise InvalidUrl(
            "a host that ends in a number must be an IPv4 address in four decimal parts, "
            "such as 192.0.2.1"
        )
    _check_length(name)
    return name, None


def parse_bracketed(text: str) -> tuple[str, Address]:
    """Parse the text between brackets: an IPv6 address (RFC 3986 section 3.2.2).

    Raises:
        InvalidUrl: The text is not an IPv6 address, or has a zone.
    """
    if "%" in text:
        raise InvalidUrl("an IPv6 address with a zone ('%') is not taken; write it without")
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise InvalidUrl("only an IPv6 address may be in brackets, such as [2001:db8::1]") from None
    return _canonical_ipv6(address), address


def _canonical_ipv6(address: ipaddress.IPv6Address) -> str:
    """Return an address in the form of the URL standard, on every version of Python.

    From Python 3.13 on, ``str`` writes IPv4-mapped addresses with a dotted quad.
    """
    if (mapped := address.ipv4_mapped) is None:
        return str(address)
    high, low = divmod(int(mapped), 1 << 16)
    return f"::ffff:{high:x}:{low:x}"


def unmapped(address: Address) -> Address:
    """Return an IPv4 address that is mapped to IPv6 as IPv4; any other address as it is."""
    return getattr(address, "ipv4_mapped", None) or address


def bracketed(host: str) -> str:
    """Return a host as URLs and ``Host`` write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_local_name(name: str) -> bool:
    """Return whether a name is a loopback name (RFC 6761, section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


def canonical_host(text: str) -> str:
    """Return a host in the canonical spelling of ``Target.host``.

    Args:
        text: A name or an address, with or without brackets.

    Raises:
        InvalidUrl: The text is neither.
    """
    bare = text.removeprefix("[").removesuffix("]")
    host, _ = parse_bracketed(bare) if ":" in bare else parse_host(bare)
    return host


def _check_length(name: str) -> None:
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidUrl(f"the host is longer than {MAX_NAME_CHARACTERS} characters")


def _parse_label(label: str) -> str:
    if not label.isascii():
        return _parse_unicode_label(label)
    label = label.lower()
    if not label:
        raise InvalidUrl("the host has an empty part; there is a dot too many, or no host")
    if not _LABEL.fullmatch(label):
        raise InvalidUrl(
            "each part of a host may have up to 63 letters, digits, '-' and '_' and nothing else"
        )
    if label.startswith("xn--"):
        _check_alabel(label)
    return label


def _parse_unicode_label(label: str) -> str:
    """Convert a label by IDNA 2008, after the mapping of UTS 46 (lower case, composed)."""
    try:
        mapped = idna.uts46_remap(label)
        # Circled, fullwidth and similar characters would disguise another host.
        if mapped.isascii() or "." in mapped:
            raise InvalidUrl("the host is written in look-alike characters; write it in ASCII")
        return idna.alabel(mapped).decode("ascii")
    except UnicodeError as error:
        raise InvalidUrl(f"the host is not a valid international name: {error}") from None


def _check_alabel(label: str) -> None:
    try:
        idna.ulabel(label)
    except UnicodeError as error:
        raise InvalidUrl(f"the host is not a valid international name: {error}") from None
