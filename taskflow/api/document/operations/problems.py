"""Answers that are problems: when they come, and what they say.

An answer that any request can get has a place in ``ANY_REQUEST``.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from taskflow.api.document.operations.headers import ALLOW, RETRY_AFTER, WWW_AUTHENTICATE
from taskflow.api.document.operations.parts import Parameter
from taskflow.model import problem_types as types
from taskflow.model.errors import Fault
from taskflow.model.problem_types import ProblemType


class Said(msgspec.Struct, frozen=True):
    """What an answer says that is a problem.

    Attributes:
        kind: Of which kind it is.
        detail: What is wrong.
        errors: The same by places, if it is about a document that was sent.
    """

    kind: ProblemType
    detail: str
    errors: tuple[Fault, ...] = ()


class ProblemText(msgspec.Struct, frozen=True):
    """What is told of answers of a status that are problems.

    Attributes:
        description: When they come.
        examples: What they say, by short names; each is said in a test to who asks for it.
        fields: Of their heads.
    """

    description: str
    examples: Mapping[str, Said]
    fields: tuple[Parameter, ...] = ()


# What stands before the routes answers so, whatever is asked for.
ANY_REQUEST: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)

# What the rules of access answer.
ACCESS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
)

# What no operation answers, as it is about methods that are none.
NO_OPERATION: Final = (HTTPStatus.METHOD_NOT_ALLOWED,)

_NO_PAYLOAD: Final = (
    'payload is missing; send a JSON object with a payload, such as {"payload": '
    '"https://example.com/"}'
)
_PRIORITY: Final = "priority must be a whole number from -100 to 100"

PROBLEMS: Final[Mapping[HTTPStatus, ProblemText]] = {
    HTTPStatus.BAD_REQUEST: ProblemText(
        "The request can be read in two ways, or its body is not a JSON object with a `payload` "
        "that is not null.",
        {
            "no payload": Said(types.INVALID_REQUEST, _NO_PAYLOAD),
            "no JSON": Said(
                types.INVALID_REQUEST,
                "the body is not JSON (Input data was truncated); send a JSON object with a "
                'payload, such as {"payload": "https://example.com/"}',
            ),
            "two lengths": Said(
                types.INVALID_REQUEST, "send Content-Length or Transfer-Encoding, not both"
            ),
        },
    ),
    HTTPStatus.UNAUTHORIZED: ProblemText(
        "This TaskFlow asks for a key, and the request has none, or one that it does not know.",
        {
            "no key": Said(
                types.UNAUTHORIZED,
                "this needs a key; send Authorization: Bearer and a key that this service knows",
            ),
            "unknown key": Said(
                types.UNAUTHORIZED,
                "this key is not known here; send Authorization: Bearer and a key that this "
                "service knows",
            ),
        },
        (WWW_AUTHENTICATE,),
    ),
    HTTPStatus.FORBIDDEN: ProblemText(
        "The key's role does not suffice; or there are no keys and the request came from another "
        "machine; or a page of another origin had a browser ask.",
        {
            "role": Said(
                types.FORBIDDEN, "POST needs a key with the role write; this one has read"
            ),
            "origin": Said(
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
    HTTPStatus.NOT_FOUND: ProblemText(
        "No task has this id, or it is no id at all; or the task has no result that could be asked "
        "for; or no queue or schedule has this name.",
        {
            "no path": Said(types.NOT_FOUND, types.NOT_FOUND.example_detail),
            "no task": Said(types.TASK_NOT_FOUND, "There is no task with this id."),
            "no result": Said(
                types.RESULT_NOT_FOUND,
                "the task is PENDING and has no result; ask again when it has ended",
            ),
            "no queue": Said(
                types.QUEUE_NOT_FOUND,
                "There is no queue of this name: it has no tasks and no settings.",
            ),
            "no schedule": Said(types.SCHEDULE_NOT_FOUND, "There is no schedule with this name."),
        },
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ProblemText(
        "The path does not take the method.",
        {
            "PUT": Said(
                types.METHOD_NOT_ALLOWED,
                "this path does not take the method; it takes GET, HEAD, OPTIONS, POST",
            ),
        },
        (ALLOW,),
    ),
    HTTPStatus.REQUEST_TIMEOUT: ProblemText(
        "The body did not come within `TASKFLOW_REQUEST_SECONDS`.",
        {
            "slow body": Said(
                types.REQUEST_TIMEOUT, "the body did not come in time; send it without long pauses"
            )
        },
    ),
    HTTPStatus.CONFLICT: ProblemText(
        "The status of the task does not allow this.",
        {
            "cancel": Said(types.STATUS_CONFLICT, "cannot cancel a task that is COMPLETED"),
            "retry": Said(
                types.STATUS_CONFLICT,
                "cannot retry a task that is COMPLETED; submit it again as a new task",
            ),
            "delete": Said(
                types.STATUS_CONFLICT, "cannot delete a task that is PENDING; cancel it first"
            ),
        },
    ),
    HTTPStatus.GONE: ProblemText(
        "The same request came before with the same Idempotency-Key, and the task that it made was "
        "deleted since.",
        {
            "deleted": Said(
                types.TASK_DELETED,
                "This request made a task that was deleted since; make up a new Idempotency-Key.",
            )
        },
    ),
    HTTPStatus.PRECONDITION_FAILED: ProblemText(
        "There is a schedule with this name, and `If-None-Match: *` says not to replace it.",
        {
            "exists": Said(
                types.SCHEDULE_EXISTS,
                "There is a schedule with this name; without If-None-Match it would be replaced.",
            )
        },
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ProblemText(
        "The body is larger than the setting `TASKFLOW_MAX_BODY_BYTES` says.",
        {
            "too large": Said(
                types.BODY_TOO_LARGE,
                "the body is larger than the 1048576 bytes that are taken here",
            )
        },
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: ProblemText(
        "The request target is longer than 8 KiB.",
        {"too long": Said(types.TARGET_TOO_LONG, "the target is longer than 8192 bytes")},
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ProblemText(
        "The body is compressed. Its media type does not matter: it is read as JSON in UTF-8.",
        {
            "compressed": Said(
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
    HTTPStatus.MISDIRECTED_REQUEST: ProblemText(
        "`Host` names another service.",
        {
            "another name": Said(
                types.MISDIRECTED,
                types.MISDIRECTED.example_detail,
            )
        },
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemText(
        "The request is well-formed, but a field or parameter cannot be used, which is named "
        "together with what is allowed; or the payload cannot be kept unchanged.",
        {
            "parameter": Said(
                types.VALIDATION_ERROR, "limit must be a whole number from 1 to 1000"
            ),
            "field": Said(types.VALIDATION_ERROR, _PRIORITY, (Fault("#/priority", _PRIORITY),)),
            "another request": Said(
                types.IDEMPOTENCY_KEY_REUSED,
                "Another request has come with this Idempotency-Key; make up a new key for a new "
                "request.",
            ),
        },
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ProblemText(
        "The key's rate limit, of submissions or of reads, is used up, or the backlog limit is "
        "reached.",
        {
            "rate": Said(
                types.RATE_LIMITED,
                "more than 1 a second are not taken from one client; try again in 1 s",
            ),
            "backlog": Said(types.BACKLOG_FULL, "1 tasks are waiting already; try again in 2 s"),
        },
        (RETRY_AFTER,),
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ProblemText(
        "A header field is longer than 8 KiB, or all of them together are longer than 16 KiB or "
        "more than 100.",
        {
            "too long": Said(
                types.HEADER_TOO_LARGE,
                "a header field is longer than 8192 bytes, or all of them together are longer "
                "than 16384",
            ),
            "too many": Said(types.HEADER_TOO_LARGE, "there are more than 100 header fields"),
        },
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ProblemText(
        "A fault in TaskFlow itself.",
        {
            "fault": Said(
                types.INTERNAL_ERROR, "a fault in TaskFlow itself; its log has the details"
            )
        },
    ),
    HTTPStatus.NOT_IMPLEMENTED: ProblemText(
        "The body comes in a transfer coding that is not known here.",
        {
            "coding": Said(
                types.UNSUPPORTED_TRANSFER_CODING,
                "chunked is the only transfer coding that is taken here",
            )
        },
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ProblemText(
        "Too many clients are connected, too many searches or other slow reads are under way, the "
        "database does not answer, or tasks are not being run. Whether a task of such a POST was "
        "kept is not known.",
        {
            "store": Said(
                types.STORE_UNAVAILABLE,
                "The task store cannot be reached at the moment; try again shortly.",
            ),
            "searches": Said(
                types.TOO_MANY_SEARCHES,
                "Too many searches and other slow reads are under way; try again shortly.",
            ),
            "workers": Said(types.WORKERS_NOT_RUNNING, "the workers are not running"),
            "clients": Said(
                types.TOO_MANY_CONNECTIONS,
                "too many clients are connected; come again a little later",
            ),
        },
        (RETRY_AFTER,),
    ),
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: ProblemText(
        "The request is in a version of HTTP other than 1.",
        {"version": Said(types.UNSUPPORTED_HTTP_VERSION, "HTTP/1.1 is spoken here")},
    ),
}
