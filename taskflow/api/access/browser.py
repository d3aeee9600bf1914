"""Rules for browsers: security headers, and requests from pages of other origins."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from taskflow.api.access.request_head import RequestHead
from taskflow.model.errors import Forbidden

RawHeader: TypeAlias = tuple[bytes, bytes]

# On every response that does not set them itself: nothing in it is run, framed or sniffed, and
# shared caches must not store it.
SECURITY_HEADERS: Final[tuple[RawHeader, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# The headers that a page of an allowed origin may read.
EXPOSED_HEADERS: Final = ", ".join(
    (
        *("Content-Disposition", "ETag", "Idempotent-Replayed", "Link", "Location"),
        "Preference-Applied",
        *("RateLimit", "RateLimit-Policy", "Retry-After", "TaskFlow-Missing-Cells"),
        "WWW-Authenticate",
    )
)
PREFLIGHT_SECONDS: Final = 600
# "same-site" is not enough: everything that listens on this machine is one site.
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_HOW: Final = "TASKFLOW_CORS_ORIGINS lists allowed origins"


def with_security_headers(headers: Iterable[RawHeader]) -> list[RawHeader]:
    """Return the headers of a response, with the security headers that it lacks."""
    kept = _with_one_vary(list(headers))
    names = {name.lower() for name, _ in kept}
    return [*kept, *(header for header in SECURITY_HEADERS if header[0] not in names)]


def _with_one_vary(headers: list[RawHeader]) -> list[RawHeader]:
    """Return the headers with all values of ``Vary`` in one header."""
    values = [value for name, value in headers if name.lower() == b"vary"]
    if len(values) <= 1:
        return headers
    others = [header for header in headers if header[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join(values))]


class CrossOrigin:
    """Rejects requests that browsers send on behalf of pages of other origins.

    A body is read as JSON whatever its media type is, so a form on any page could submit tasks.
    Browsers state where a request comes from (``Sec-Fetch-Site``, ``Origin``), and pages cannot
    change that. Only pages of this service and of configured origins may send requests. Other
    clients send neither header, and these rules do not apply to them.

    Args:
        origins: The origins whose pages may send requests and read the responses.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins: Final = frozenset(_as_browsers_say(origin) for origin in origins)

    def check(self, head: RequestHead) -> None:
        """Check the origin of a request.

        Raises:
            Forbidden: A page of another origin sent it.
        """
        origin = head.headers.get("origin")
        if origin in self._origins:
            return
        if origin is not None and not is_own(origin, head):
            raise Forbidden(f"pages of another origin may not use this service; {_HOW}")
        site = head.headers.get("sec-fetch-site", "none")
        # Following a link is allowed: the page with the link cannot read the response.
        if site not in _OWN_SITES and not _is_followed_link(head):
            raise Forbidden(f"pages of another site may not use this service; {_HOW}")

    def is_preflight(self, head: RequestHead) -> bool:
        """Return whether this is a CORS preflight request of an allowed origin."""
        return (
            head.method == "OPTIONS"
            and head.headers.get("origin") in self._origins
            and "access-control-request-method" in head.headers
        )

    def headers_for(self, head: RequestHead) -> list[RawHeader]:
        """Return the CORS headers of a response.

        They never allow credentials such as cookies: scripts set the header with the key.
        """
        if not self._origins:
            return []
        # Caches must not serve the response for one origin to another.
        headers = [(b"vary", b"Origin")]
        if (origin := head.headers.get("origin")) in self._origins:
            assert origin is not None
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
            ]
        return headers


def preflight_headers() -> dict[str, str]:
    """Return the methods and headers that pages of configured origins may use."""
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, "
        "If-None-Match, Last-Event-ID, Prefer, traceparent, tracestate",
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }


def _as_browsers_say(origin: str) -> str:
    """Return an origin in lower case and without a default port."""
    lowered = origin.lower()
    default = {"http": ":80", "https": ":443"}.get(lowered.partition("://")[0])
    return lowered.removesuffix(default) if default else lowered


def is_own(origin: str, head: RequestHead) -> bool:
    """Return whether the request was sent to this origin.

    A proxy may have terminated TLS, so ``https`` may have become ``http``; never the reverse.
    """
    scheme, _, authority = origin.partition("://")
    return scheme in {head.scheme, "https"} and authority == head.headers.get("host", "").lower()


def _is_followed_link(head: RequestHead) -> bool:
    is_page = head.headers.get("sec-fetch-dest") == "document"
    is_navigation = head.headers.get("sec-fetch-mode") == "navigate"
    return head.method in {"GET", "HEAD"} and is_navigation and is_page
