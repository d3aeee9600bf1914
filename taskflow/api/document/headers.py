"""Headers of requests and responses that several routes have."""

from __future__ import annotations

from typing import Final, Literal

from taskflow.api.access.browser import EXPOSED_HEADERS, SECURITY_HEADERS
from taskflow.api.route import Parameter

_SECURITY_HEADERS: Final = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}

PREFER: Final = Parameter(
    "Prefer",
    "`wait=N` waits for the task to finish, for N seconds at most (60 or less). For a stream, "
    "`return=minimal` reports only rejected lines, at the end (RFC 7240).",
    str,
    "wait=10",
)

ON_EVERY_RESPONSE: Final = (
    Parameter(
        "X-Content-Type-Options",
        "Tells browsers not to guess a type other than `Content-Type`.",
        Literal["nosniff"],
        _SECURITY_HEADERS["x-content-type-options"],
        is_required=True,
    ),
    Parameter(
        "Cache-Control",
        "Keeps responses out of shared caches.",
        str,
        _SECURITY_HEADERS["cache-control"],
        is_required=True,
    ),
    Parameter(
        "Content-Security-Policy",
        "What a browser may run, load and frame; nothing, unless the response is a page.",
        str,
        _SECURITY_HEADERS["content-security-policy"],
        is_required=True,
    ),
    Parameter(
        "Content-Encoding",
        "Present if the body is compressed: it has 1 KiB or more, and `Accept-Encoding` has gzip.",
        Literal["gzip"],
        "gzip",
    ),
    Parameter(
        "Vary",
        "The request headers that the response depends on, for caches.",
        str,
        "Origin",
    ),
    Parameter(
        "Access-Control-Allow-Origin",
        "The origin of the page that sent the request, if `TASKFLOW_CORS_ORIGINS` includes it.",
        str,
        "https://app.example",
    ),
    Parameter(
        "Access-Control-Expose-Headers",
        "The headers that such a page may read.",
        str,
        EXPOSED_HEADERS,
    ),
)
ON_LIMITED_RESPONSES: Final = (
    Parameter(
        "RateLimit",
        "What is left of the rate limit, if one is set: `r` requests now, and one more in `t` "
        "seconds. On responses to `POST`, `GET` and `HEAD`.",
        str,
        '"post";r=9;t=1',
    ),
    Parameter(
        "RateLimit-Policy",
        "The rate limit, if one is set: `q` requests in `w` seconds. `post` is the limit for "
        "`POST`, `read` the one for `GET` and `HEAD`.",
        str,
        '"post";q=10;w=1',
    ),
)
ETAG: Final = Parameter(
    "ETag", "Changes whenever the task does.", str, '"3a90c45b0beee913714a6bf7"', is_required=True
)
PREFERENCE_APPLIED: Final = Parameter(
    "Preference-Applied", "The preference that was applied.", str, "wait=10"
)
X_ACCEL_BUFFERING: Final = Parameter(
    "X-Accel-Buffering",
    "Present on streams: tells proxies such as nginx not to buffer the response.",
    Literal["no"],
    "no",
)
REFERRER_POLICY: Final = Parameter(
    "Referrer-Policy",
    "Hides the address of a page from other sites.",
    str,
    "same-origin",
    is_required=True,
)
RETRY_AFTER: Final = Parameter(
    "Retry-After", "The number of seconds to wait before a retry.", int, 2, is_required=True
)
WWW_AUTHENTICATE: Final = Parameter(
    "WWW-Authenticate",
    "How to authenticate (RFC 6750).",
    str,
    'Bearer realm="taskflow"',
    is_required=True,
)
ALLOW: Final = Parameter(
    "Allow", "The methods of the path.", str, "GET, HEAD, OPTIONS, POST", is_required=True
)
SHARED: Final = (
    *ON_EVERY_RESPONSE,
    *ON_LIMITED_RESPONSES,
    *(ETAG, PREFERENCE_APPLIED, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW),
)
"""The headers in ``components/headers`` of the document."""


def next_page_link(example: str) -> Parameter:
    """Return ``Link`` as lists have it.

    Args:
        example: The path and query of a next page.
    """
    return Parameter("Link", "The next page, if there is one.", str, f'<{example}>; rel="next"')


def location(example: str, description: str, *, is_required: bool = False) -> Parameter:
    """Return ``Location``."""
    return Parameter("Location", description, str, example, is_required)
