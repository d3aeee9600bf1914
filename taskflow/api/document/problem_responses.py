"""Responses that are problems: which ones a route can return, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.headers import ALLOW, RETRY_AFTER, WWW_AUTHENTICATE
from taskflow.api.route import Parameter, Route
from taskflow.model import problem_types as types
from taskflow.model.errors import Fault
from taskflow.model.problem_types import ProblemType


class ProblemExample(msgspec.Struct, frozen=True):
    """A problem as a response can have it.

    Attributes:
        kind: The type of problem.
        detail: What is wrong.
        errors: Each validation error with its place, if the problem is about the request body.
    """

    kind: ProblemType
    detail: str
    errors: tuple[Fault, ...] = ()


class ProblemResponse(msgspec.Struct, frozen=True):
    """The responses of one status that are problems.

    Attributes:
        description: When they are returned.
        examples: Examples by a short name; a test provokes each.
        headers: Their headers.
    """

    description: str
    examples: Mapping[str, ProblemExample]
    headers: tuple[Parameter, ...] = ()


# Returned before the request reaches a route, or by all of them.
_ANY_REQUEST: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)
_ANY_BODY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_ANY_DOCUMENT: Final = (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY)


def problems_of(route: Route) -> list[HTTPStatus]:
    """Return the statuses of all problems that a route can return, in ascending order."""
    statuses = {*_ANY_REQUEST, *route.problems}
    if route.access is not AccessPolicy.OPEN:
        statuses |= {HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST}
    if route.role is not None:
        statuses.add(HTTPStatus.UNAUTHORIZED)
    if route.is_rate_limited:
        statuses.add(HTTPStatus.TOO_MANY_REQUESTS)
    if route.query is not None:
        statuses.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if route.body is not None or route.method == "POST":
        statuses.update(_ANY_BODY)
    if route.body is not None:
        statuses.update(_ANY_DOCUMENT)
    return sorted(statuses)


_NO_PAYLOAD: Final = (
    'payload is missing; send a JSON object with a payload, such as {"payload": '
    '"https://example.com/"}'
)
_PRIORITY: Final = "priority must be a whole number from -100 to 100"

PROBLEMS: Final[Mapping[HTTPStatus, ProblemResponse]] = {
    HTTPStatus.BAD_REQUEST: ProblemResponse(
        "The request can be read in two ways, or its body is not a JSON object with a `payload` "
        "that is not null.",
        {
            "no payload": ProblemExample(types.INVALID_REQUEST, _NO_PAYLOAD),
            "no JSON": ProblemExample(
                types.INVALID_REQUEST,
                "the body is not JSON (Input data was truncated); send a JSON object with a "
                'payload, such as {"payload": "https://example.com/"}',
            ),
            "two lengths": ProblemExample(
                types.INVALID_REQUEST, "send Content-Length or Transfer-Encoding, not both"
            ),
        },
    ),
    HTTPStatus.UNAUTHORIZED: ProblemResponse(
        "This TaskFlow asks for a key, and the request has none, or one that it does not know.",
        {
            "no key": ProblemExample(
                types.UNAUTHORIZED,
                "this needs a key; send Authorization: Bearer and a key that this service knows",
            ),
            "unknown key": ProblemExample(
                types.UNAUTHORIZED,
                "this key is not known here; send Authorization: Bearer and a key that this "
                "service knows",
            ),
        },
        (WWW_AUTHENTICATE,),
    ),
    HTTPStatus.FORBIDDEN: ProblemResponse(
        "The key's role does not suffice; or there are no keys and the request came from another "
        "machine; or a page of another origin had a browser ask.",
        {
            "role": ProblemExample(
                types.FORBIDDEN, "POST needs a key with the role write; this one has read"
            ),
            "origin": ProblemExample(
                types.FORBIDDEN,
                "pages of another origin may not ask this service; TASKFLOW_CORS_ORIGINS names "
                "those that may",
            ),
        },
        (
            Parameter(
                "WWW-Authenticate",
                "The role that it takes, if it is for want of one (RFC 6750).",
                str,
                'Bearer realm="taskflow", error="insufficient_scope", error_description="POST '
                'needs a key with the role write; this one has read", scope="write"',
            ),
        ),
    ),
    HTTPStatus.NOT_FOUND: ProblemResponse(
        "No task has this id, or it is no id at all; or the task has no result that could be asked "
        "for; or no queue or schedule has this name.",
        {
            "no path": ProblemExample(types.NOT_FOUND, types.NOT_FOUND.example_detail),
            "no task": ProblemExample(types.TASK_NOT_FOUND, "There is no task with this id."),
            "no result": ProblemExample(
                types.RESULT_NOT_FOUND,
                "the task is PENDING and has no result; try again when it is finished",
            ),
            "no queue": ProblemExample(
                types.QUEUE_NOT_FOUND,
                "There is no queue of this name: it has no tasks and no settings.",
            ),
            "no schedule": ProblemExample(
                types.SCHEDULE_NOT_FOUND, "There is no schedule with this name."
            ),
        },
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ProblemResponse(
        "The path does not take the method.",
        {
            "PUT": ProblemExample(
                types.METHOD_NOT_ALLOWED,
                "this path does not take the method; it takes GET, HEAD, OPTIONS, POST",
            ),
        },
        (ALLOW,),
    ),
    HTTPStatus.REQUEST_TIMEOUT: ProblemResponse(
        "The body did not come within `TASKFLOW_REQUEST_SECONDS`.",
        {
            "slow body": ProblemExample(
                types.REQUEST_TIMEOUT, "the body did not come in time; send it without long pauses"
            )
        },
    ),
    HTTPStatus.CONFLICT: ProblemResponse(
        "The status of the task does not allow this.",
        {
            "cancel": ProblemExample(
                types.STATUS_CONFLICT, "cannot cancel a task that is COMPLETED"
            ),
            "retry": ProblemExample(
                types.STATUS_CONFLICT,
                "cannot retry a task that is COMPLETED; submit it again as a new task",
            ),
            "delete": ProblemExample(
                types.STATUS_CONFLICT, "cannot delete a task that is PENDING; cancel it first"
            ),
        },
    ),
    HTTPStatus.GONE: ProblemResponse(
        "The same request came before with the same Idempotency-Key, and the task that it made was "
        "deleted since.",
        {
            "deleted": ProblemExample(
                types.TASK_DELETED,
                "This request made a task that was deleted since; make up a new Idempotency-Key.",
            )
        },
    ),
    HTTPStatus.PRECONDITION_FAILED: ProblemResponse(
        "There is a schedule with this name, and `If-None-Match: *` says not to replace it.",
        {
            "exists": ProblemExample(
                types.SCHEDULE_EXISTS,
                "There is a schedule with this name; without If-None-Match it would be replaced.",
            )
        },
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ProblemResponse(
        "The body is larger than the setting `TASKFLOW_MAX_BODY_BYTES` says.",
        {
            "too large": ProblemExample(
                types.BODY_TOO_LARGE,
                "the body is larger than the 1048576 bytes that are taken here",
            )
        },
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: ProblemResponse(
        "The request target is longer than 8 KiB.",
        {"too long": ProblemExample(types.TARGET_TOO_LONG, "the target is longer than 8192 bytes")},
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ProblemResponse(
        "The body is compressed. Its media type does not matter: it is read as JSON in UTF-8.",
        {
            "compressed": ProblemExample(
                types.UNSUPPORTED_ENCODING, "The request body is compressed; send it as it is."
            )
        },
        (
            Parameter(
                "Accept-Encoding",
                "What is taken.",
                Literal["identity"],
                "identity",
                is_required=True,
            ),
        ),
    ),
    HTTPStatus.MISDIRECTED_REQUEST: ProblemResponse(
        "`Host` names another service.",
        {
            "another name": ProblemExample(
                types.MISDIRECTED,
                types.MISDIRECTED.example_detail,
            )
        },
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemResponse(
        "The request is well-formed, but a field or parameter cannot be used, which is named "
        "together with what is allowed; or the payload cannot be kept unchanged.",
        {
            "parameter": ProblemExample(
                types.VALIDATION_ERROR, "limit must be a whole number from 1 to 1000"
            ),
            "field": ProblemExample(
                types.VALIDATION_ERROR, _PRIORITY, (Fault("#/priority", _PRIORITY),)
            ),
            "another request": ProblemExample(
                types.IDEMPOTENCY_KEY_REUSED,
                "Another request has come with this Idempotency-Key; make up a new key for a new "
                "request.",
            ),
        },
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ProblemResponse(
        "The key's rate limit, of submissions or of reads, is used up, or the backlog limit is "
        "reached.",
        {
            "rate": ProblemExample(
                types.RATE_LIMITED,
                "more than 1 a second are not taken from one client; try again in 1 s",
            ),
            "backlog": ProblemExample(
                types.BACKLOG_FULL, "1 tasks are waiting already; try again in 2 s"
            ),
        },
        (RETRY_AFTER,),
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ProblemResponse(
        "A header field is longer than 8 KiB, or all of them together are longer than 16 KiB or "
        "more than 100.",
        {
            "too long": ProblemExample(
                types.HEADER_TOO_LARGE,
                "a header field is longer than 8192 bytes, or all of them together are longer "
                "than 16384",
            ),
            "too many": ProblemExample(
                types.HEADER_TOO_LARGE, "there are more than 100 header fields"
            ),
        },
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ProblemResponse(
        "A fault in TaskFlow itself.",
        {
            "fault": ProblemExample(
                types.INTERNAL_ERROR, "a fault in TaskFlow itself; its log has the details"
            )
        },
    ),
    HTTPStatus.NOT_IMPLEMENTED: ProblemResponse(
        "The body comes in a transfer coding that is not known here.",
        {
            "coding": ProblemExample(
                types.UNSUPPORTED_TRANSFER_CODING,
                "chunked is the only transfer coding that is taken here",
            )
        },
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ProblemResponse(
        "Too many clients are connected, too many searches or other slow reads are under way, the "
        "database does not answer, or tasks are not being run. Whether a task of such a POST was "
        "kept is not known.",
        {
            "store": ProblemExample(
                types.STORE_UNAVAILABLE,
                "The task store cannot be reached at the moment; try again shortly.",
            ),
            "searches": ProblemExample(
                types.TOO_MANY_SEARCHES,
                "Too many searches and other slow reads are under way; try again shortly.",
            ),
            "workers": ProblemExample(types.WORKERS_NOT_RUNNING, "the workers are not running"),
            "clients": ProblemExample(
                types.TOO_MANY_CONNECTIONS,
                "too many clients are connected; come again a little later",
            ),
        },
        (RETRY_AFTER,),
    ),
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: ProblemResponse(
        "The request is in a version of HTTP other than 1.",
        {"version": ProblemExample(types.UNSUPPORTED_HTTP_VERSION, "HTTP/1.1 is spoken here")},
    ),
}
