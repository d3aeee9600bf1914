"""Answers that are problems: when they come, and what they say.

An answer that any request can get has a place in ``ANY_REQUEST``.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from taskflow.api.document.operations.parts import Parameter


class ProblemText(msgspec.Struct, frozen=True):
    """What is told of an answer that is a problem.

    Attributes:
        description: When it comes.
        detail: Of an example.
        fields: Of its head.
    """

    description: str
    detail: str
    fields: tuple[Parameter, ...] = ()


# What stands before the routes answers so, whatever is asked for.
ANY_REQUEST: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

# What the rules of access answer.
ACCESS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
)
_RETRY_AFTER: Final = Parameter("Retry-After", "In seconds.", int, 2, is_required=True)

PROBLEMS: Final[Mapping[HTTPStatus, ProblemText]] = {
    HTTPStatus.BAD_REQUEST: ProblemText(
        "The request can be read in two ways, or its body is no JSON object with a `payload` "
        "that is not null.",
        'payload is missing; send a JSON object with a payload, such as {"payload": '
        '"https://example.com/"}',
    ),
    HTTPStatus.UNAUTHORIZED: ProblemText(
        "This TaskFlow asks for a key, and the request has none, or one that it does not know.",
        "this needs a key; send Authorization: Bearer and a key that this service knows",
        (
            Parameter(
                "WWW-Authenticate",
                "What is asked for (RFC 6750).",
                str,
                'Bearer realm="taskflow"',
                is_required=True,
            ),
        ),
    ),
    HTTPStatus.FORBIDDEN: ProblemText(
        "The key's role does not suffice; or there are no keys and the request came from another "
        "machine; or a page of another origin had a browser ask.",
        "pages of another origin may not ask this service; TASKFLOW_CORS_ORIGINS names those "
        "that may",
    ),
    HTTPStatus.NOT_FOUND: ProblemText(
        "No task has this id, or it is no id at all; or the task has no result that could be asked "
        "for; or no queue or schedule has this name.",
        "There is no task with this id.",
    ),
    HTTPStatus.REQUEST_TIMEOUT: ProblemText(
        "The body did not come within `TASKFLOW_REQUEST_SECONDS`.",
        "the body did not come in time; send it without long pauses",
    ),
    HTTPStatus.CONFLICT: ProblemText(
        "The task stands so that this cannot be done to it.",
        "cannot cancel a task that is COMPLETED",
    ),
    HTTPStatus.PRECONDITION_FAILED: ProblemText(
        "There is a schedule with this name, and `If-None-Match: *` says not to replace it.",
        "There is a schedule with this name; without If-None-Match it would be replaced.",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ProblemText(
        "The body is larger than the setting `TASKFLOW_MAX_BODY_BYTES` says.",
        "the body is larger than the 1048576 bytes that are taken here",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: ProblemText(
        "The request target is longer than 8 KiB.", "the target is longer than 8192 bytes"
    ),
    HTTPStatus.GONE: ProblemText(
        "The same request came before with the same Idempotency-Key, and the task that it made was "
        "deleted since.",
        "This request made a task that was deleted since; make up a new Idempotency-Key.",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ProblemText(
        "The body is compressed. Its media type does not matter: it is read as JSON.",
        "The request body is compressed; send it as it is.",
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
        "this service does not go by the name in Host; TASKFLOW_ALLOWED_HOSTS has its names",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ProblemText(
        "The key's rate limit is used up, or as many tasks wait as may wait.",
        "more than 10 a second are not taken from one client; try again in 1 s",
        (
            _RETRY_AFTER,
            Parameter("RateLimit", "What is left of the limit.", str, '"post";r=0;t=1'),
            Parameter("RateLimit-Policy", "The limit.", str, '"post";q=10;w=1'),
        ),
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemText(
        "The request is well-formed, but a field or parameter cannot be used, which is named "
        "together with what is allowed; or the payload cannot be kept unchanged.",
        "limit must be a whole number from 1 to 1000",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ProblemText(
        "A header field is longer than 8 KiB, or all of them together are longer than 16 KiB or "
        "more than 100.",
        "a header field is longer than 8192 bytes, or all of them together are longer than 16384",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ProblemText(
        "A fault in TaskFlow itself.", "a fault in TaskFlow itself; its log has the details"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ProblemText(
        "Too many clients are connected, the database does not answer, or tasks are not being run. "
        "Whether a task of such a POST was kept is not known.",
        "The task store cannot be reached at the moment; try again shortly.",
        (_RETRY_AFTER,),
    ),
}
