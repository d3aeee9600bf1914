"""What the document says of the whole service."""

from __future__ import annotations

from typing import Any, Final

from taskflow.version import __version__

_DESCRIPTION: Final = """\
Hand in a URL and get an id back; TaskFlow fetches the URL in the background and keeps the outcome.

**Keys.** Where the service has keys, each request but those for `/livez` and `/readyz` needs one,
as `Authorization: Bearer ...`. A key has a role: `read` is enough for GET and HEAD, `write` for
the rest, and `admin` includes both. What an operation needs stands with its security requirement.

**Problems.** Whatever goes wrong is answered as `application/problem+json` (RFC 9457), with what is
wrong and what to do in `detail`. `type` says which kind of problem it is, such as
`/problems/backlog-full`; the service explains it at that path. A path that is not here answers with
404; a method that a path does not take with 405, and with those that it takes in `Allow`.

**HEAD and OPTIONS.** Where GET is taken, so is HEAD, which answers with the same head and no body.
OPTIONS names in `Allow` what a path takes; that of a browser which asks for a page of another
origin is answered by the rules of CORS.

**Limits.** Where the service has a limit of rate, answers to a POST, GET or HEAD say in `RateLimit`
what is left of it. A 429 and a 503 say in `Retry-After` when to try again; with an
`Idempotency-Key` it is safe to send a POST again.

**Fields to come.** Answers may get further fields: pass over those that you do not know.
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
    {"name": "tasks", "description": "Hand in URLs, read what became of them."},
    {"name": "events", "description": "Watch tasks as they go."},
    {"name": "queues", "description": "Pace what goes out."},
    {"name": "schedules", "description": "Have tasks handed in by the clock."},
    {"name": "monitoring", "description": "See who runs tasks, and how that goes."},
    {"name": "health", "description": "For those who watch over the service."},
    {"name": "document", "description": "What all this is, for programs and for people."},
]
KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "Made by `taskflow key new`. Its role is `read`, `write` or `admin`; each "
    "includes those before it.",
}
