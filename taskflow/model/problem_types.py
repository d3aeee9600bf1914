"""The kinds of problems that the API answers with (RFC 9457): each is declared here, once.

Error classes and answers refer to them; their pages under ``/problems`` and the reference are made
from them. A name is part of the API: it does not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

PATH: Final = "/problems"
"""Where the service explains them."""


class ProblemType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of problem, as the service explains it.

    Attributes:
        type: A reference to its page, which identifies it.
        title: It in a few words.
        status: The status of the answers.
        meaning: When it comes.
        action: What to do about it.
        example_detail: The ``detail`` of such an answer.
    """

    type: str
    title: str
    status: int
    meaning: str
    action: str
    example_detail: str

    @property
    def name(self) -> str:
        """The last part of its reference."""
        return self.type.removeprefix(f"{PATH}/")


PROBLEM_TYPES: Final[dict[str, ProblemType]] = {}
"""All of them, by name."""


def _declare(
    name: str, status: HTTPStatus, title: str, meaning: str, action: str, example: str
) -> ProblemType:
    declared = ProblemType(
        type=f"{PATH}/{name}",
        title=title,
        status=status.value,
        meaning=meaning,
        action=action,
        example_detail=example,
    )
    return PROBLEM_TYPES.setdefault(name, declared)


INVALID_REQUEST: Final = _declare(
    "invalid-request",
    HTTPStatus.BAD_REQUEST,
    "Invalid request",
    "The request cannot be read, or can be read in two ways: its body is not JSON or not an object "
    "with a payload, or its header is ambiguous.",
    "Correct the request as `detail` says. Sent again as it is, it is rejected again.",
    'payload is missing; send a JSON object with a payload, such as {"payload": '
    '"https://example.com/"}',
)
UNAUTHORIZED: Final = _declare(
    "unauthorized",
    HTTPStatus.UNAUTHORIZED,
    "API key required",
    "This service requires an API key, and the request has none, or one that is not known.",
    "Send `Authorization: Bearer` and a key. `taskflow key new` makes one; an operator adds it to "
    "`TASKFLOW_API_KEYS`.",
    "this needs a key; send Authorization: Bearer and a key that this service knows",
)
FORBIDDEN: Final = _declare(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "Not permitted",
    "The role of the key does not permit this; or there are no keys and the request came from "
    "another machine; or a page of another origin sent it.",
    "Use a key with the role that `detail` names, or have an operator change the setting that it "
    "names.",
    "POST needs a key with the role write; this one has read",
)
NOT_FOUND: Final = _declare(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "No such path",
    "There is nothing at this path.",
    "Compare the path with the reference at `/docs`.",
    "there is nothing at this path; tasks are at /tasks and /tasks/{id}",
)
TASK_NOT_FOUND: Final = _declare(
    "task-not-found",
    HTTPStatus.NOT_FOUND,
    "Task not found",
    "No task has this id: it was never given, or the task was deleted, by a request or after its "
    "retention time.",
    "Check the id. Tasks are kept for `retention`, or `TASKFLOW_RETENTION_SECONDS`.",
    "There is no task with this id.",
)
RESULT_NOT_FOUND: Final = _declare(
    "result-not-found",
    HTTPStatus.NOT_FOUND,
    "No result",
    "The task has no result: it is not COMPLETED.",
    "Wait until it is finished (`GET /tasks/{id}?wait=60`); of a FAILED task read `error`.",
    "the task is PENDING and has no result; try again when it is finished",
)
QUEUE_NOT_FOUND: Final = _declare(
    "queue-not-found",
    HTTPStatus.NOT_FOUND,
    "Queue not found",
    "No queue has this name: it has no tasks and no settings, or the name is not valid.",
    "Check the name in `GET /queues`. A queue exists once a task was submitted to it or it was "
    "configured.",
    "There is no queue of this name: it has no tasks and no settings.",
)
SCHEDULE_NOT_FOUND: Final = _declare(
    "schedule-not-found",
    HTTPStatus.NOT_FOUND,
    "Schedule not found",
    "No schedule has this name.",
    "Check the name in `GET /schedules`; `PUT` makes a schedule.",
    "There is no schedule with this name.",
)
METHOD_NOT_ALLOWED: Final = _declare(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "Method not allowed",
    "The path exists, but not with this method.",
    "Use one of the methods in `Allow`.",
    "this path does not take the method; it takes GET, HEAD, OPTIONS, POST",
)
REQUEST_TIMEOUT: Final = _declare(
    "request-timeout",
    HTTPStatus.REQUEST_TIMEOUT,
    "Request timed out",
    "The body did not arrive within `TASKFLOW_REQUEST_SECONDS`.",
    "Send the body without long pauses, or in smaller requests.",
    "the body did not come in time; send it without long pauses",
)
STATUS_CONFLICT: Final = _declare(
    "status-conflict",
    HTTPStatus.CONFLICT,
    "Not possible in this status",
    "The status of the task does not permit this.",
    "Read the task; `detail` names its status. Only a PENDING or RUNNING task can be canceled, a "
    "FAILED or CANCELED one retried, a finished one deleted.",
    "cannot cancel a task that is COMPLETED",
)
TASK_DELETED: Final = _declare(
    "task-deleted",
    HTTPStatus.GONE,
    "Task was deleted",
    "A request with this Idempotency-Key made a task that was deleted since.",
    "Use a new Idempotency-Key if the task is to be submitted again.",
    "This request made a task that was deleted since; make up a new Idempotency-Key.",
)
SCHEDULE_EXISTS: Final = _declare(
    "schedule-exists",
    HTTPStatus.PRECONDITION_FAILED,
    "Schedule exists",
    "A schedule has this name, and `If-None-Match: *` forbids replacing it.",
    "Use another name, or leave out `If-None-Match` to replace the schedule.",
    "There is a schedule with this name; without If-None-Match it would be replaced.",
)
BODY_TOO_LARGE: Final = _declare(
    "body-too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "Body too large",
    "The body is larger than `TASKFLOW_MAX_BODY_BYTES`, or an array than "
    "`TASKFLOW_MAX_ARRAY_BYTES`.",
    "Send less at a time (a stream of lines has no limit), or raise the setting.",
    "the body is larger than the 1048576 bytes that are taken here",
)
TARGET_TOO_LONG: Final = _declare(
    "target-too-long",
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "Request target too long",
    "The path and the query are longer than 8 KiB.",
    "Shorten the query.",
    "the target is longer than 8192 bytes",
)
UNSUPPORTED_ENCODING: Final = _declare(
    "unsupported-encoding",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "Body is compressed",
    "The body of the request is compressed.",
    "Send it without `Content-Encoding`.",
    "The request body is compressed; send it as it is.",
)
MISDIRECTED: Final = _declare(
    "misdirected",
    HTTPStatus.MISDIRECTED_REQUEST,
    "Host is not served",
    "`Host` names a host that this service does not serve.",
    "Use one of its names, or have an operator add this one to `TASKFLOW_ALLOWED_HOSTS`.",
    "this service does not go by the name in Host; TASKFLOW_ALLOWED_HOSTS has its names",
)
VALIDATION_ERROR: Final = _declare(
    "validation-error",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Validation failed",
    "The request can be read, but a field or a parameter has a value that is not permitted.",
    "Correct each value; `detail` and `errors` name it, its place and what is permitted.",
    "priority must be a whole number from -100 to 100",
)
IDEMPOTENCY_KEY_REUSED: Final = _declare(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Idempotency-Key was used",
    "Another request was sent with this Idempotency-Key.",
    "Use a new key for each new request, and the same one only to repeat a request.",
    "Another request has come with this Idempotency-Key; make up a new key for a new request.",
)
RATE_LIMITED: Final = _declare(
    "rate-limited",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Rate limit exceeded",
    "The client has sent more requests than the rate limit permits.",
    "Try again after `Retry-After` seconds; `RateLimit` and `RateLimit-Policy` say what is left.",
    "more than 1 a second are not taken from one client; try again in 1 s",
)
BACKLOG_FULL: Final = _declare(
    "backlog-full",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Backlog is full",
    "As many tasks are pending as `TASKFLOW_MAX_PENDING` permits.",
    "Try again after `Retry-After` seconds. If it stays so, add workers or raise the setting.",
    "1 tasks are waiting already; try again in 2 s",
)
HEADER_TOO_LARGE: Final = _declare(
    "header-too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "Header too large",
    "A header field is longer than 8 KiB, or all of them are longer than 16 KiB or more than 100.",
    "Send fewer or shorter header fields, such as cookies.",
    "there are more than 100 header fields",
)
INTERNAL_ERROR: Final = _declare(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "Internal error",
    "A fault in TaskFlow itself.",
    "Report it with what the log of the node says. A submission with an Idempotency-Key can be "
    "repeated safely.",
    "a fault in TaskFlow itself; its log has the details",
)
UNSUPPORTED_TRANSFER_CODING: Final = _declare(
    "unsupported-transfer-coding",
    HTTPStatus.NOT_IMPLEMENTED,
    "Unknown transfer coding",
    "The body is sent in a transfer coding other than chunked.",
    "Send `Content-Length`, or `Transfer-Encoding: chunked`.",
    "chunked is the only transfer coding that is taken here",
)
STORE_UNAVAILABLE: Final = _declare(
    "store-unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Database unavailable",
    "The database did not answer in time. Whether a task of such a POST was kept is not known.",
    "Try again after `Retry-After` seconds, a submission with an Idempotency-Key. Operators: see "
    "`taskflow doctor`.",
    "The task store cannot be reached at the moment; try again shortly.",
)
TOO_MANY_SEARCHES: Final = _declare(
    "too-many-searches",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many searches",
    "Too many searches, counts or exports are under way. They may use half of the connections to "
    "the database (`TASKFLOW_DATABASE_CONNECTIONS`), so that submissions get through.",
    "Try again after `Retry-After` seconds, with fewer of them at once. Operators: "
    "`TASKFLOW_READ_RATE_LIMIT` limits the reads of each key.",
    "Too many searches and other slow reads are under way; try again shortly.",
)
PARTLY_DONE: Final = _declare(
    "partly-done",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Partly done",
    "The database did not answer any more in the middle of a request about many tasks.",
    "Send the same request again: it continues with the rest.",
    "The task store could not be reached half-way: some of the tasks may be done; ask again.",
)
WORKERS_NOT_RUNNING: Final = _declare(
    "workers-not-running",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Workers are not running",
    "This node accepts tasks but does not run any at the moment.",
    "Try again. If it stays so, read the log of the node.",
    "the workers are not running",
)
TOO_MANY_CONNECTIONS: Final = _declare(
    "too-many-connections",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many connections",
    "As many clients are connected as `TASKFLOW_MAX_CONNECTIONS` permits.",
    "Try again after `Retry-After` seconds; keep connections open and use few.",
    "too many clients are connected; come again a little later",
)
UNSUPPORTED_HTTP_VERSION: Final = _declare(
    "unsupported-http-version",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    "HTTP version not supported",
    "The request is in a version of HTTP other than 1.",
    "Send it as HTTP/1.1.",
    "HTTP/1.1 is spoken here",
)

_BY_STATUS: Final[Mapping[int, ProblemType]] = {
    **{one.status: one for one in PROBLEM_TYPES.values()},
    # Those that a library answers with, where there are several.
    HTTPStatus.NOT_FOUND: NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY: VALIDATION_ERROR,
    HTTPStatus.TOO_MANY_REQUESTS: RATE_LIMITED,
    HTTPStatus.SERVICE_UNAVAILABLE: TOO_MANY_CONNECTIONS,
}


def type_for(status: int) -> ProblemType:
    """The problem that a library means by a status."""
    is_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _BY_STATUS.get(status, INTERNAL_ERROR if is_fault else INVALID_REQUEST)
