"""The URL parser: strict, pure, and the only one in TaskFlow.

The grammar is RFC 3986 for http and https (RFC 9110 section 4.2), without anything that parsers are
known to interpret differently.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from taskflow.model.hostname import (
    Address,
    bracketed,
    is_local_name,
    parse_bracketed,
    parse_host,
    unmapped,
)
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.untrusted_text import shortened

Scheme: TypeAlias = Literal["http", "https"]

MAX_URL_CHARACTERS: Final = 8192
"""RFC 9110 section 4.1 recommends support for at least 8000 characters."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_FORBIDDEN_ASCII: Final = re.compile(r"[\x00-\x20\x7f\\]")
_FORBIDDEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Zs", "Zl", "Zp"))
_URL: Final = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# If a port follows, what looks like a scheme is a host.
_HOST_AND_PORT: Final = re.compile(r"[A-Za-z0-9.-]+:\d+([/?#]|$)")
_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::(.*))?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NOT_IN_REQUEST_TARGET: Final = re.compile(
    r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]+",
)
"""Matches what is neither unreserved, sub-delims, ':', '@', '/', '?' nor percent-encoded."""

# Control characters, line separators, direction marks and unpaired surrogates are not encoded, and
# rejected later. U+DC80 to U+DCFF represent raw bytes (PEP 383).
_NOT_ASCII: Final = (
    r"[^\x00-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]"
)
_ENCODED_IN_PATH: Final = re.compile(rf"""(?:[ "<>^`{{}}]|{_NOT_ASCII})+""")
_ENCODED_IN_QUERY: Final = re.compile(rf"""(?:[ "<>']|{_NOT_ASCII})+""")
"""The path and special-query percent-encode sets of the URL standard (section 1.3)."""

_ESCAPED_DOT: Final = re.compile("%2e", re.IGNORECASE)
_SLASHES: Final = re.compile(r"(?:https?:)?//(?!/)", re.IGNORECASE)


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of a URL; targets of one origin may share a connection.

    Attributes:
        scheme: In lower case.
        host: A name in lower-case ASCII without a trailing dot, or the canonical text of an
            IP address without brackets.
        address: The address, if the host is one.
        port: 1 to 65535.
        host_header: The value of ``Host`` (RFC 9110 section 7.2).
        origin: All of it as text.
    """

    scheme: Scheme
    host: str
    address: Address | None
    port: int
    host_header: str
    origin: str


class Target(Origin, frozen=True):
    """The target of a request: a parsed URL.

    Attributes:
        path_and_query: The request target of the request line; ASCII, never empty.
        url: The normalized URL, without a fragment.
    """

    path_and_query: str
    url: str


def parse_target(url: str) -> Target:
    """Parse a URL.

    Raises:
        InvalidUrl: It is not a valid http or https URL. The message says what is wrong.
    """
    return _target_of(url, _encode)


def parse_location(base: Target, location: str) -> Target:
    """Parse a ``Location`` header as browsers do, and apply the rules for URLs.

    Args:
        base: The URL of the response.
        location: The value of the header, decoded with ``surrogateescape``.

    Raises:
        InvalidUrl: It is not a valid http or https URL.
    """
    return _target_of(resolve_location(base, location), lambda encoded: encoded)


def _target_of(url: str, encode: Callable[[str], str]) -> Target:
    scheme, authority, rest = _parts_of(url)
    origin = _parse_origin(scheme, authority)
    path_and_query = encode(rest if rest.startswith("/") else f"/{rest}")
    whole = origin.origin + path_and_query
    if len(whole) > MAX_URL_CHARACTERS:
        raise InvalidUrl(f"it is longer than {MAX_URL_CHARACTERS} characters once it is encoded")
    return Target(
        origin.scheme,
        origin.host,
        origin.address,
        origin.port,
        origin.host_header,
        origin.origin,
        path_and_query,
        whole,
    )


def is_loopback(target: Target) -> bool:
    """Return whether a target is on this machine."""
    if target.address is None:
        return is_local_name(target.host)
    address = unmapped(target.address)
    return address.is_loopback or address.is_unspecified


class Place(NamedTuple):
    """The host of a URL.

    Attributes:
        host: The host, as in ``Target``.
        authority: The host with its port unless it is the default, as in ``Host``.
    """

    host: str
    authority: str


NOWHERE: Final = Place("", "")
"""The place of a URL that is invalid."""


def place_of(url: str) -> Place:
    """Return the host of a URL as ``parse_target`` does, in half the time.

    Raises:
        InvalidUrl: The scheme or the host is invalid. The rest of the URL is not validated.
    """
    scheme, authority, _ = _parts_of(url)
    origin = _parse_origin(scheme, authority)
    return Place(origin.host, origin.host_header)


def place_in(url: str) -> Place:
    """Return where a URL leads to; a task whose URL is invalid fails and says why."""
    try:
        return place_of(url)
    except InvalidUrl:
        return NOWHERE


def resolve_location(target: Target, location: str) -> str:
    """Return the URL of a ``Location`` header, resolved by the URL standard.

    The path and the query are percent-encoded. The authority, backslashes and control characters
    stay unchanged, and are validated when the URL is parsed.
    """
    location, _, _ = location.strip(" \t").partition("#")
    before_query, mark, query = location.partition("?")
    mark += _ENCODED_IN_QUERY.sub(_encode_match, query)
    if match := _SLASHES.match(before_query):
        authority, slash, path = before_query[match.end() :].partition("/")
        scheme = target.scheme if match[0] == "//" else match[0].lower()[:-3]
        return f"{scheme}://{authority}{_resolved_path('/', slash + path)}{mark}"
    if _SCHEME.match(location):
        return location
    if location.startswith("//"):
        return f"{target.scheme}:{location}"
    base_path, _, _ = target.path_and_query.partition("?")
    if not before_query:
        return target.origin + (base_path + mark if mark else target.path_and_query)
    return target.origin + _resolved_path(base_path, before_query) + mark


def _resolved_path(base_path: str, path: str) -> str:
    """Return the encoded path without dot segments; empty for an empty path."""
    if path and not path.startswith("/"):
        base_path = _without_dot_segments(base_path)
        path = base_path[: base_path.rindex("/") + 1] + path
    return _without_dot_segments(_ENCODED_IN_PATH.sub(_encode_match, path)) if path else ""


def _parts_of(url: str) -> Sequence[str]:
    """Return scheme, authority and the rest."""
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidUrl(f"it is longer than {MAX_URL_CHARACTERS} characters")
    _refuse_odd_characters(url)
    match = _URL.match(url)
    if match is None:
        raise InvalidUrl(_complaint_about_scheme(url))
    return match.groups()


def _refuse_odd_characters(url: str) -> None:
    odd = _FORBIDDEN_ASCII.search(url)
    character = odd[0] if odd else None
    if character is None and not url.isascii():
        character = next((c for c in url if unicodedata.category(c) in _FORBIDDEN_CATEGORIES), None)
    if character is not None:
        raise InvalidUrl(
            f"it contains the character U+{ord(character):04X}, which must be percent-encoded "
            "(or left out)"
        )


def _complaint_about_scheme(url: str) -> str:
    match = _SCHEME.match(url)
    if not url:
        return "it is empty"
    if match is None or _HOST_AND_PORT.match(url):
        return "it has no scheme; write it in full, such as https://example.com/"
    if match[1].lower() in DEFAULT_PORTS:
        return "'://' must follow the scheme, as in https://example.com/"
    return f"the scheme must be http or https, not {shortened(match[1], 20)}"


@functools.lru_cache(maxsize=1024)  # tasks go to the same few hosts again and again
def _parse_origin(scheme_text: str, authority: str) -> Origin:
    scheme: Scheme = "https" if scheme_text.lower() == "https" else "http"
    host, address, port = _parse_authority(authority)
    header = bracketed(host)
    if port is not None and port != DEFAULT_PORTS[scheme]:
        header = f"{header}:{port}"
    return Origin(
        scheme, host, address, port or DEFAULT_PORTS[scheme], header, f"{scheme}://{header}"
    )


def _parse_authority(authority: str) -> tuple[str, Address | None, int | None]:
    if "@" in authority:
        raise InvalidUrl("credentials in a URL are not taken; send an Authorization header instead")
    if authority.startswith("["):
        match = _BRACKETED.fullmatch(authority)
        if match is None:
            raise InvalidUrl("the brackets around an IPv6 address must enclose the whole host")
        return *parse_bracketed(match[1]), _parse_port(match[2])
    host, colon, port = authority.partition(":")
    if not host:
        raise InvalidUrl("it has no host; write it in full, such as https://example.com/")
    return *parse_host(host), _parse_port(port if colon else None)


def _parse_port(text: str | None) -> int | None:
    if text is None:
        return None
    if not _PORT.fullmatch(text) or int(text) > 65535:  # noqa: PLR2004 - RFC 9293: 16 bits
        raise InvalidUrl("the port must be a number from 1 to 65535")
    return int(text)


def _encode(path_and_query: str) -> str:
    """Percent-encode characters that a request line must not contain (RFC 3986 section 2.1).

    Existing escapes stay unchanged; any other '%' becomes ``%25``.
    """
    return _NOT_IN_REQUEST_TARGET.sub(_encode_match, path_and_query)


def _encode_match(match: re.Match[str]) -> str:
    return "%" + match[0].encode("utf-8", "surrogateescape").hex("%").upper()


def _without_dot_segments(path: str) -> str:
    """Resolve ``.`` and ``..`` segments, escaped or not, of an absolute path."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        plain = _ESCAPED_DOT.sub(".", segment)
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
    if plain in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
