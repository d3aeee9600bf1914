"""Responses that are problems: which ones a route can return, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.common_parts import ALLOW, RETRY_AFTER, WWW_AUTHENTICATE
from taskflow.api.route import Parameter, Route
from taskflow.model import problem_types as types
from taskflow.model.errors import FieldError
from taskflow.model.problem_types import ProblemType


class ProblemExample(msgspec.Struct, frozen=True):
    """A problem as a response can have it.

    Attributes:
        kind: The type of problem.
        detail: What is wrong; the example of the type if empty.
        errors: The validation errors, if the problem is about the request body.
    """

    kind: ProblemType
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


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
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)
_ANY_BODY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def problems_of(route: Route) -> list[HTTPStatus]:
    """Return the statuses of all problems that a route can return, in ascending order."""
    statuses = {*_ANY_REQUEST, *route.problems}
    if route.access is not AccessPolicy.OPEN:
        statuses |= {HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST}
    if route.role is not None:
        statuses.add(HTTPStatus.UNAUTHORIZED)
    if route.is_rate_limited:
        statuses.add(HTTPStatus.TOO_MANY_REQUESTS)
    if route.body is not None or route.method == "POST":
        statuses.update(_ANY_BODY)
    if route.body is not None:
        statuses.add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return sorted(statuses)


_EXAMPLES: Final[Mapping[str, ProblemExample]] = {
    "no payload": ProblemExample(types.INVALID_REQUEST),
    "no JSON": ProblemExample(
        types.INVALID_REQUEST,
        "the body is not JSON (Input data was truncated); send a JSON object with a payload, such "
        'as {"payload": "https://example.com/"}',
    ),
    "two lengths": ProblemExample(
        types.INVALID_REQUEST,
        "the request is not valid HTTP/1.1: send Content-Length or Transfer-Encoding, not both",
    ),
    "no key": ProblemExample(types.UNAUTHORIZED),
    "unknown key": ProblemExample(
        types.UNAUTHORIZED,
        "this key is unknown; send Authorization: Bearer with a key of this service",
    ),
    "role": ProblemExample(types.FORBIDDEN),
    "origin": ProblemExample(
        types.FORBIDDEN,
        "pages of another origin may not use this service; TASKFLOW_CORS_ORIGINS lists allowed "
        "origins",
    ),
    "no path": ProblemExample(types.NOT_FOUND),
    "no task": ProblemExample(types.TASK_NOT_FOUND),
    "no result": ProblemExample(types.RESULT_NOT_FOUND),
    "no queue": ProblemExample(types.QUEUE_NOT_FOUND),
    "no group": ProblemExample(types.GROUP_NOT_FOUND),
    "no failure": ProblemExample(types.FAILURE_NOT_FOUND),
    "no topic": ProblemExample(types.TOPIC_NOT_FOUND),
    "no endpoint": ProblemExample(types.ENDPOINT_NOT_FOUND),
    "no schedule": ProblemExample(types.SCHEDULE_NOT_FOUND),
    "no heartbeat": ProblemExample(types.HEARTBEAT_NOT_FOUND),
    "PUT": ProblemExample(types.METHOD_NOT_ALLOWED),
    "slow body": ProblemExample(types.REQUEST_TIMEOUT),
    "cancel": ProblemExample(types.STATUS_CONFLICT),
    "retry": ProblemExample(
        types.STATUS_CONFLICT,
        "cannot retry a task that is COMPLETED; submit it again as a new task",
    ),
    "delete": ProblemExample(
        types.STATUS_CONFLICT, "cannot delete a task that is PENDING; cancel it first"
    ),
    "overlap": ProblemExample(types.SCHEDULE_OVERLAP),
    "not unique": ProblemExample(
        types.NOT_UNIQUE, errors=(FieldError("#/unique", types.NOT_UNIQUE.example_detail),)
    ),
    "group": ProblemExample(
        types.GROUP_CLOSED, errors=(FieldError("#/group", types.GROUP_CLOSED.example_detail),)
    ),
    "deleted": ProblemExample(types.TASK_DELETED),
    "over": ProblemExample(types.ATTEMPT_OVER),
    "exists": ProblemExample(types.SCHEDULE_EXISTS),
    "changed": ProblemExample(
        types.CONFIGURATION_CHANGED,
        errors=(
            FieldError(
                "#/changes/0/before/max_concurrency",
                "queue mail: max_concurrency is 20, and was 10",
            ),
        ),
    ),
    "too large": ProblemExample(types.BODY_TOO_LARGE),
    "target too long": ProblemExample(types.TARGET_TOO_LONG),
    "compressed": ProblemExample(types.UNSUPPORTED_ENCODING),
    "another name": ProblemExample(types.MISDIRECTED),
    "parameter": ProblemExample(
        types.VALIDATION_ERROR, "limit must be a whole number from 1 to 1000"
    ),
    "field": ProblemExample(
        types.VALIDATION_ERROR,
        errors=(FieldError("#/priority", types.VALIDATION_ERROR.example_detail),),
    ),
    "another request": ProblemExample(types.IDEMPOTENCY_KEY_REUSED),
    "rate": ProblemExample(types.RATE_LIMITED),
    "backlog": ProblemExample(types.BACKLOG_FULL),
    "too long": ProblemExample(
        types.HEADER_TOO_LARGE,
        "a header is longer than 8192 bytes, or all headers together are longer than 16384 bytes",
    ),
    "too many": ProblemExample(types.HEADER_TOO_LARGE),
    "error": ProblemExample(types.INTERNAL_ERROR),
    "coding": ProblemExample(types.UNSUPPORTED_TRANSFER_CODING),
    "store": ProblemExample(types.STORE_UNAVAILABLE),
    "searches": ProblemExample(types.TOO_MANY_SEARCHES),
    "workers": ProblemExample(types.WORKERS_NOT_RUNNING),
    "clients": ProblemExample(types.TOO_MANY_CONNECTIONS),
    "version": ProblemExample(types.UNSUPPORTED_HTTP_VERSION),
}
_HEADERS: Final[Mapping[HTTPStatus, tuple[Parameter, ...]]] = {
    HTTPStatus.UNAUTHORIZED: (WWW_AUTHENTICATE,),
    HTTPStatus.FORBIDDEN: (
        Parameter(
            "WWW-Authenticate",
            "Present if the role of the key is insufficient: the role that is required (RFC 6750).",
            str,
            'Bearer realm="taskflow", error="insufficient_scope", error_description="POST needs a '
            'key with the role write; this one has read", scope="write"',
        ),
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: (ALLOW,),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        Parameter(
            "Accept-Encoding",
            "The encoding that is supported.",
            Literal["identity"],
            "identity",
            is_required=True,
        ),
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (RETRY_AFTER,),
    HTTPStatus.SERVICE_UNAVAILABLE: (RETRY_AFTER,),
}


def _response_with(status: HTTPStatus) -> ProblemResponse:
    kinds = [kind for kind in types.PROBLEM_TYPES.values() if kind.status == status]
    return ProblemResponse(
        " ".join(kind.meaning for kind in kinds),
        {name: example for name, example in _EXAMPLES.items() if example.kind in kinds},
        _HEADERS.get(status, ()),
    )


PROBLEMS: Final[Mapping[HTTPStatus, ProblemResponse]] = {
    HTTPStatus(status): _response_with(HTTPStatus(status))
    for status in sorted({kind.status for kind in types.PROBLEM_TYPES.values()})
}
"""The problems of the API by status, from their types."""
