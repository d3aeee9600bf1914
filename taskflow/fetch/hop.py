"""One request on the way to an answer, and which one a redirect asks for next. No I/O."""

from __future__ import annotations

import http
from collections.abc import Collection
from typing import Final

import h11
import msgspec

from taskflow.fetch.errors import BadResponse, InvalidRequest, complaint_of, masked_url
from taskflow.fetch.interface import FetchRequest, Headers
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.request import HEADERS_OF_THE_CONNECTION, REFUSED_METHODS
from taskflow.model.url import Target, parse_location, parse_target
from taskflow.version import __version__

IDEMPOTENT_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""RFC 9110 section 9.2.2."""

_REDIRECTS_OF_OLD: Final = frozenset((301, 302))
_REDIRECTS: Final = _REDIRECTS_OF_OLD | {303, 307, 308}
_DEFAULTS: Final = (
    ("User-Agent", f"TaskFlow/{__version__}"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, deflate"),
)
_ABOUT_THE_BODY: Final = frozenset(
    ("content-type", "content-encoding", "content-language", "content-location")
)


class Hop(msgspec.Struct, frozen=True):
    """One request of a fetch.

    Attributes:
        target: Where it goes.
        method: In upper case.
        headers: The fields that the task asked for.
        body: In bytes; empty if there is none.
    """

    target: Target
    method: str
    headers: Headers
    body: bytes

    @property
    def is_idempotent(self) -> bool:
        """Whether to send it twice is to send it once."""
        return self.method in IDEMPOTENT_METHODS

    def as_h11(self) -> h11.Request:
        """The request as it goes over the wire.

        Raises:
            InvalidRequest: The method or a field cannot be sent.
        """
        asked = {name.lower() for name, _ in self.headers}
        fields = [("Host", self.target.host_header), ("Connection", "keep-alive")]
        fields += [field for field in _DEFAULTS if field[0].lower() not in asked]
        fields += self.headers
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(self.body))))
        try:
            return h11.Request(
                method=self.method, target=self.target.path_and_query, headers=fields
            )
        except h11.LocalProtocolError as error:
            raise InvalidRequest(
                f"the method or a header cannot be sent: {complaint_of(error)}"
            ) from None
        except UnicodeError:
            raise InvalidRequest("the method or a header is not ASCII text") from None


def first_hop(request: FetchRequest) -> Hop:
    """The request that a task asks for.

    Raises:
        InvalidUrl: It does not say where to.
        InvalidRequest: It says what only the transport may say.
    """
    for name, _ in request.headers:
        if name.lower() in HEADERS_OF_THE_CONNECTION:
            raise InvalidRequest(f"the header {name} is made by TaskFlow; leave it out")
    if request.method in REFUSED_METHODS:
        raise InvalidRequest(f"the method {request.method} is not for fetching")
    return Hop(parse_target(request.url), request.method, request.headers, request.body)


def is_redirect(status: int, locations: Collection[str]) -> bool:
    """Whether an answer sends us elsewhere. Any other 3xx is an answer like another."""
    return status in _REDIRECTS and bool(locations)


def next_hop(hop: Hop, status: int, locations: Collection[str]) -> Hop:
    """The request that a redirect asks for.

    Raises:
        InvalidUrl: It leads to what is not a URL that can be fetched.
        BadResponse: It leads to several places.
    """
    if len(locations) > 1:
        raise BadResponse(
            f"{hop.target.host_header}: the redirect has several Location fields that differ"
        )
    [location] = locations
    try:
        target = parse_location(hop.target, location)
    except InvalidUrl as error:
        raise InvalidUrl(f"redirected to {masked_url(location)!r}: {error.reason}") from None
    keeps_body = not _becomes_get(status, hop.method)
    return Hop(
        target=target,
        method=hop.method if keeps_body else "GET",
        headers=_redirected_headers(
            hop.headers, is_same_origin=target.origin == hop.target.origin, keeps_body=keeps_body
        ),
        body=hop.body if keeps_body else b"",
    )


def _becomes_get(status: int, method: str) -> bool:
    """Whether a GET without a body follows (RFC 9110 section 15.4; what is free: as browsers)."""
    if status == http.HTTPStatus.SEE_OTHER:
        return method != "HEAD"
    return status in _REDIRECTS_OF_OLD and method == "POST"


def _redirected_headers(headers: Headers, *, is_same_origin: bool, keeps_body: bool) -> Headers:
    """What of the task's fields goes on.

    Another origin gets none of them, credentials or not, but those that say what a body is.
    Once dropped they stay so, also when the chain comes back.
    """
    return tuple(
        (name, value)
        for name, value in headers
        if (keeps_body if name.lower() in _ABOUT_THE_BODY else is_same_origin)
    )
