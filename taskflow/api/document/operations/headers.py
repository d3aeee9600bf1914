"""Fields in the heads of answers that more than one operation has, or all: each is told of once."""

from __future__ import annotations

from typing import Final, Literal

from taskflow.api.access.browser import DEFENCES, READABLE
from taskflow.api.document.operations.parts import Parameter

_DEFENCES: Final = {name.decode(): value.decode() for name, value in DEFENCES}

ON_EVERY_ANSWER: Final = (
    Parameter(
        "X-Content-Type-Options",
        "The body is what `Content-Type` says; nobody is to guess.",
        Literal["nosniff"],
        _DEFENCES["x-content-type-options"],
        is_required=True,
    ),
    Parameter(
        "Cache-Control",
        "What is one client's is not for a cache that others share.",
        str,
        _DEFENCES["cache-control"],
        is_required=True,
    ),
    Parameter(
        "Content-Security-Policy",
        "What a browser may run, load and frame of an answer; nothing, unless it is a page.",
        str,
        _DEFENCES["content-security-policy"],
        is_required=True,
    ),
    Parameter(
        "Content-Encoding",
        "The body is compressed: it is 1 KiB or more, and `Accept-Encoding` has gzip.",
        Literal["gzip"],
        "gzip",
    ),
    Parameter(
        "Vary",
        "The header fields of the request that the answer depends on, for caches.",
        str,
        "Origin",
    ),
    Parameter(
        "Access-Control-Allow-Origin",
        "The origin whose page asked, if `TASKFLOW_CORS_ORIGINS` names it.",
        str,
        "https://app.example",
    ),
    Parameter(
        "Access-Control-Expose-Headers",
        "What such a page may read of the head.",
        str,
        READABLE,
    ),
)
ON_LIMITED_ANSWERS: Final = (
    Parameter(
        "RateLimit",
        "What is left of the limit, where there is one: `r` requests, and one more in `t` seconds; "
        "on answers to `POST`, and to `GET` and `HEAD`.",
        str,
        '"post";r=9;t=1',
    ),
    Parameter(
        "RateLimit-Policy",
        "The limit, where there is one: `q` requests in `w` seconds; `post` is that of `POST`, "
        "`read` that of `GET` and `HEAD`.",
        str,
        '"post";q=10;w=1',
    ),
)
ETAG: Final = Parameter(
    "ETag", "Changes whenever the task does.", str, '"3a90c45b0beee913714a6bf7"', is_required=True
)
PREFERENCE_APPLIED: Final = Parameter(
    "Preference-Applied", "The preference that was followed.", str, "wait=10"
)
X_ACCEL_BUFFERING: Final = Parameter(
    "X-Accel-Buffering",
    "Of a stream: proxies that know it hold nothing back.",
    Literal["no"],
    "no",
)
RETRY_AFTER: Final = Parameter(
    "Retry-After", "After how many seconds to try again.", int, 2, is_required=True
)
WWW_AUTHENTICATE: Final = Parameter(
    "WWW-Authenticate",
    "What is asked for (RFC 6750).",
    str,
    'Bearer realm="taskflow"',
    is_required=True,
)
ALLOW: Final = Parameter(
    "Allow", "The methods that the path takes.", str, "GET, HEAD, OPTIONS, POST", is_required=True
)
SHARED: Final = (
    *ON_EVERY_ANSWER,
    *ON_LIMITED_ANSWERS,
    *(ETAG, PREFERENCE_APPLIED, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW),
)
"""Those that the document has among its components."""
