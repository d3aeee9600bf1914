"""What the document says once: title, groups, authentication, and headers of several routes."""

from __future__ import annotations

from typing import Any, Final, Literal

from taskflow.api.access.browser import EXPOSED_HEADERS, SECURITY_HEADERS
from taskflow.api.route import Parameter
from taskflow.version import __version__

_DESCRIPTION: Final = """\
Submit a URL and get an id; TaskFlow fetches the URL in the background and keeps the outcome.

**Keys.** If the service has keys, every request except `/livez`, `/readyz`, `/problems` and
`/completions` needs one, as `Authorization: Bearer ...`. A key has a role: `read` allows GET and
HEAD, `write` allows all methods, and `admin` includes both. The security requirement of an
operation has its role.

**Problems.** Errors are returned as `application/problem+json` (RFC 9457). `detail` states what is
wrong and what to do. `type` identifies the type of problem, such as `/problems/backlog-full`; the
service explains it at that path. An unknown path returns 404, and a method that a path does not
support 405, with the supported methods in `Allow`.

**HEAD and OPTIONS.** Every path with GET supports HEAD, which returns the same headers and no
body. OPTIONS returns the supported methods in `Allow`. CORS preflight requests of browsers are
supported.

**Limits.** If the service has a rate limit, responses to POST, GET and HEAD have the remaining
requests in `RateLimit`. Responses with 429 and 503 have in `Retry-After` when to retry; with an
`Idempotency-Key`, repeating a POST is safe.

**Streams.** Where an operation accepts a stream of lines, its media type is in `requestBody` under
`x-streams`, because code generators reject media types that they do not know.

**Compatibility.** Responses may get new fields: ignore fields that you do not know.
"""
INFO: Final[dict[str, Any]] = {
    "title": "TaskFlow",
    "version": __version__,
    "summary": "A self-hosted HTTP task queue.",
    "description": _DESCRIPTION,
    "contact": {"name": "TaskFlow contributors"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
TAGS: Final = [
    {"name": "tasks", "description": "Submit URLs, and read their outcomes."},
    {"name": "events", "description": "Watch tasks while they run."},
    {"name": "completions", "description": "Report outcomes of work that outlasts a request."},
    {"name": "queues", "description": "Limit and pause outgoing requests."},
    {"name": "groups", "description": "Submit tasks that belong together."},
    {"name": "topics", "description": "Send events to endpoints that subscribe to them."},
    {"name": "schedules", "description": "Submit tasks at fixed times."},
    {"name": "heartbeats", "description": "Notice when jobs elsewhere no longer run."},
    {"name": "credentials", "description": "What targets need to accept requests."},
    {"name": "config", "description": "Change several resources, all or nothing."},
    {"name": "identity", "description": "How targets verify the ID tokens of this service."},
    {"name": "monitoring", "description": "Monitor nodes, target hosts and throughput."},
    {"name": "failures", "description": "See what fails, grouped by cause."},
    {"name": "alerts", "description": "Notify people when something is wrong."},
    {"name": "audit", "description": "See who did what."},
    {"name": "health", "description": "Health checks for load balancers and supervisors."},
    {"name": "document", "description": "This document, for programs and for people."},
]
KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "Created by `taskflow key new`. Its role is `read`, `write` or `admin`; each "
    "role includes the previous ones.",
}
_SECURITY_HEADERS: Final = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
PREFER: Final = Parameter(
    "Prefer",
    "`wait=N` waits for the task to finish, for N seconds at most, 60 or less (RFC 7240).",
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
MISSING_CELLS: Final = Parameter(
    "TaskFlow-Missing-Cells",
    "Present if cells of the task store did not answer: their names. What they have is missing in "
    "the response.",
    str,
    "a, b",
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
    *(MISSING_CELLS, ETAG, PREFERENCE_APPLIED, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW),
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
