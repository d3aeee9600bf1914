"""The general part of the document: title, description, groups and authentication."""

from __future__ import annotations

from typing import Any, Final

from taskflow.version import __version__

_DESCRIPTION: Final = """\
Submit a URL and get an id; TaskFlow fetches the URL in the background and keeps the outcome.

**Keys.** If the service has keys, every request except `/livez`, `/readyz` and `/problems` needs
one, as `Authorization: Bearer ...`. A key has a role: `read` allows GET and HEAD, `write` allows
all methods, and `admin` includes both. The security requirement of an operation has its role.

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
    {"name": "queues", "description": "Limit and pause outgoing requests."},
    {"name": "schedules", "description": "Submit tasks at fixed times."},
    {"name": "monitoring", "description": "Monitor nodes, target hosts and throughput."},
    {"name": "health", "description": "Health checks for load balancers and supervisors."},
    {"name": "document", "description": "This document, for programs and for people."},
]
KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "Created by `taskflow key new`. Its role is `read`, `write` or `admin`; each "
    "role includes the previous ones.",
}
