"""The requests of a fetch: the first one, and one for each redirect. No I/O."""

from __future__ import annotations

import http
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from taskflow.fetch.authentication import Headers
from taskflow.fetch.errors import BadResponse, InvalidRequest, masked_url
from taskflow.fetch.interface import FetchRequest, Sign
from taskflow.http1.errors import UnsendableError
from taskflow.http1.writing import request_head
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.proxy import Proxy
from taskflow.model.request import HEADERS_OF_THE_CONNECTION, REFUSED_METHODS
from taskflow.model.signature import SIGNATURE_FIELDS, SIGNED_HEADER
from taskflow.model.url import Target, parse_location, parse_target
from taskflow.version import __version__

IDEMPOTENT_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""RFC 9110 section 9.2.2."""

_LEGACY_REDIRECTS: Final = frozenset((301, 302))
_REDIRECTS: Final = _LEGACY_REDIRECTS | {303, 307, 308}
_DEFAULTS: Final = {
    "connection": ("Connection", "keep-alive"),  # tasks may not set it
    "user-agent": ("User-Agent", f"TaskFlow/{__version__}"),
    "accept": ("Accept", "*/*"),
    "accept-encoding": ("Accept-Encoding", "gzip, deflate"),
}
_REFUSED_HEADERS: Final = frozenset(HEADERS_OF_THE_CONNECTION)
_BODY_HEADERS: Final = frozenset(
    ("content-type", "content-encoding", "content-language", "content-location")
)


class Hop(msgspec.Struct, frozen=True):
    """One request of a fetch.

    Attributes:
        target: The target.
        method: The method, in upper case.
        headers: The headers of the task.
        body: The body; empty if there is none.
        sign: Signs the body; ``None`` if the request is not signed.
    """

    target: Target
    method: str
    headers: Headers
    body: bytes
    sign: Sign | None = None

    @property
    def is_idempotent(self) -> bool:
        """True if sending it twice has the same effect as once (RFC 9110 section 9.2.2)."""
        return self.method in IDEMPOTENT_METHODS

    def head(self, proxy: Proxy | None = None) -> bytes:
        """Return the head of the request for the wire.

        Args:
            proxy: The proxy to send it to; ``None`` if it goes to the target, also by a tunnel.

        Raises:
            InvalidRequest: The method or a header cannot be sent.
        """
        fields = [("Host", self.target.host_header), *self._defaults(), *self.headers]
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(self.body))))
        if self.sign is not None:
            fields += self.sign(self.body)
        target = self.target.path_and_query
        if proxy is not None:
            target = self.target.url
            fields = [pair for pair in fields if pair[0].lower() != "proxy-authorization"]
            fields += proxy.credentials
        try:
            return request_head(self.method, target, fields)
        except UnsendableError as error:
            raise InvalidRequest(str(error)) from None

    def _defaults(self) -> Iterable[tuple[str, str]]:
        own = [name.lower() for name, _ in self.headers]
        if _DEFAULTS.keys().isdisjoint(own):
            return _DEFAULTS.values()
        return [field for name, field in _DEFAULTS.items() if name not in own]


def first_hop(request: FetchRequest) -> Hop:
    """Return the first request of a fetch.

    Raises:
        InvalidUrl: The URL is invalid.
        InvalidRequest: It sets a method or a header that tasks may not set.
    """
    for name, _ in request.headers:
        if name.lower() in _REFUSED_HEADERS:
            raise InvalidRequest(f"the header {name} is set by TaskFlow; leave it out")
        if request.sign is not None and name.lower() in SIGNATURE_FIELDS:
            raise InvalidRequest(SIGNED_HEADER.format(name))
    if request.method in REFUSED_METHODS:
        raise InvalidRequest(f"the method {request.method} is not supported")
    target = parse_target(request.url)
    return Hop(target, request.method, request.headers, request.body, request.sign)


def with_headers(hop: Hop, added: Headers) -> Hop:
    """Return a request with these headers; they replace headers of the same names."""
    names = {name.lower() for name, _ in added}
    kept = tuple(pair for pair in hop.headers if pair[0].lower() not in names)
    return msgspec.structs.replace(hop, headers=kept + added)


def is_redirect(status: int, locations: Collection[str]) -> bool:
    """Return whether a response is a redirect to follow; any other 3xx is a normal response."""
    return status in _REDIRECTS and bool(locations)


def next_hop(hop: Hop, status: int, locations: Collection[str]) -> Hop:
    """Return the request that follows a redirect.

    Raises:
        InvalidUrl: ``Location`` is not a valid URL.
        BadResponse: There are several different ``Location`` headers.
    """
    target = _located(hop, locations, "the redirect", "redirected")
    keeps_body = not _becomes_get(status, hop.method)
    is_same_origin = target.origin == hop.target.origin
    return Hop(
        target=target,
        method=hop.method if keeps_body else "GET",
        headers=carried_headers(hop.headers, is_same_origin=is_same_origin, keeps_body=keeps_body),
        body=hop.body if keeps_body else b"",
        sign=hop.sign if is_same_origin else None,
    )


def poll_url_of(hop: Hop, locations: Collection[str]) -> str:
    """Return the URL to poll after a 202 with at least one ``Location``.

    Raises:
        InvalidUrl: ``Location`` is not a valid URL.
        BadResponse: There are several different ``Location`` headers.
    """
    return _located(hop, locations, "the 202", "sent for the outcome").url


def _located(hop: Hop, locations: Collection[str], response: str, sent: str) -> Target:
    if len(locations) > 1:
        raise BadResponse(
            f"{hop.target.host_header}: {response} has several different Location headers"
        )
    [location] = locations
    try:
        return parse_location(hop.target, location)
    except InvalidUrl as error:
        raise InvalidUrl(f"{sent} to {masked_url(location)!r}: {error.reason}") from None


def _becomes_get(status: int, method: str) -> bool:
    """Return whether a GET without a body follows (RFC 9110 section 15.4, as in browsers)."""
    if status == http.HTTPStatus.SEE_OTHER:
        return method != "HEAD"
    return status in _LEGACY_REDIRECTS and method == "POST"


def carried_headers(headers: Headers, *, is_same_origin: bool, keeps_body: bool) -> Headers:
    """Return the headers of the task for the request after a redirect, or for a poll.

    Another origin receives only headers that describe the body. Dropped headers are not sent again,
    even if the redirects return to the first origin.
    """
    return tuple(
        (name, value)
        for name, value in headers
        if (keeps_body if name.lower() in _BODY_HEADERS else is_same_origin)
    )
