"""The problem types of the API (RFC 9457).

Error classes and responses refer to them; the pages under ``/problems`` and the reference are
generated from them. The names are part of the API and do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

PATH: Final = "/problems"
"""The path of the pages that explain them."""


class ProblemType(msgspec.Struct, frozen=True, kw_only=True):
    """A problem type.

    Attributes:
        type: The URI reference of its page, which identifies it.
        title: A short summary.
        status: The HTTP status of its responses.
        meaning: When it occurs.
        action: What to do about it.
        example_detail: An example of ``detail``.
    """

    type: str
    title: str
    status: int
    meaning: str
    action: str
    example_detail: str

    @property
    def name(self) -> str:
        """The last segment of ``type``."""
        return self.type.removeprefix(f"{PATH}/")


PROBLEM_TYPES: Final[dict[str, ProblemType]] = {}
"""All problem types by name."""


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
    "The request is malformed or ambiguous: its body is not JSON or not an object with a payload, "
    "or its header can be parsed in two ways.",
    "Correct the request as `detail` says.",
    'payload is missing; send a JSON object with a payload, such as {"payload": '
    '"https://example.com/"}',
)
UNAUTHORIZED: Final = _declare(
    "unauthorized",
    HTTPStatus.UNAUTHORIZED,
    "API key required",
    "This service requires an API key, and the request has none, or an unknown one.",
    "Send `Authorization: Bearer` and a key. `taskflow key new` creates one, to be added to "
    "`TASKFLOW_API_KEYS`.",
    "an API key is required; send Authorization: Bearer with a key of this service",
)
FORBIDDEN: Final = _declare(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "Not permitted",
    "The role of the key does not permit this; or no keys are set and the request came from "
    "another machine; or a page of another origin sent it.",
    "Use a key with the role that `detail` names, or ask an operator to change the setting there.",
    "POST needs a key with the role write; this one has read",
)
NOT_FOUND: Final = _declare(
    "not-found",
    HTTPStatus.NOT_FOUND,
    "No such path",
    "No resource has this path.",
    "Compare the path with the reference at `/docs`.",
    "no such path; tasks are at /tasks and /tasks/{id}",
)
TASK_NOT_FOUND: Final = _declare(
    "task-not-found",
    HTTPStatus.NOT_FOUND,
    "Task not found",
    "No task has this id: it never existed, or was deleted by a request or after its retention.",
    "Check the id. Tasks are kept for `retention_seconds`, or `TASKFLOW_RETENTION_SECONDS`.",
    "No task has this id.",
)
RESULT_NOT_FOUND: Final = _declare(
    "result-not-found",
    HTTPStatus.NOT_FOUND,
    "No result",
    "The task has no result: it is not COMPLETED.",
    "Wait until it is finished (`GET /tasks/{id}?wait=60`); if it is FAILED, read `error`.",
    "the task is PENDING and has no result; try again when it is finished",
)
QUEUE_NOT_FOUND: Final = _declare(
    "queue-not-found",
    HTTPStatus.NOT_FOUND,
    "Queue not found",
    "No queue has this name: it has no tasks and no settings, or the name is not valid.",
    "Check the name in `GET /queues`. A queue exists once it has a task or settings.",
    "No queue has this name: it has no tasks and no settings.",
)
SCHEDULE_NOT_FOUND: Final = _declare(
    "schedule-not-found",
    HTTPStatus.NOT_FOUND,
    "Schedule not found",
    "No schedule has this name.",
    "Check the name in `GET /schedules`; `PUT` creates a schedule.",
    "No schedule has this name.",
)
HEARTBEAT_NOT_FOUND: Final = _declare(
    "heartbeat-not-found",
    HTTPStatus.NOT_FOUND,
    "Heartbeat not found",
    "No heartbeat has this name, or this ping URL: the heartbeat was deleted, or its URL rotated.",
    "Check the name in `GET /heartbeats`, which has the ping URLs; `PUT` creates a heartbeat.",
    "No heartbeat has this name.",
)
GROUP_NOT_FOUND: Final = _declare(
    "group-not-found",
    HTTPStatus.NOT_FOUND,
    "Group not found",
    "No group has this id. Completed and canceled groups are deleted after a time, like tasks.",
    "Check the id in `GET /groups`.",
    "No group has this id.",
)
FAILURE_NOT_FOUND: Final = _declare(
    "failure-not-found",
    HTTPStatus.NOT_FOUND,
    "Failure not found",
    "No failure has this id. Failures without FAILED tasks are deleted after seven days.",
    "Check the id in `GET /failures?state=all`.",
    "No failure has this id.",
)
TOPIC_NOT_FOUND: Final = _declare(
    "topic-not-found",
    HTTPStatus.NOT_FOUND,
    "Topic not found",
    "No topic has this name.",
    "Check the name in `GET /topics`; `PUT` creates a topic.",
    "No topic has this name.",
)
ENDPOINT_NOT_FOUND: Final = _declare(
    "endpoint-not-found",
    HTTPStatus.NOT_FOUND,
    "Endpoint not found",
    "The topic has no endpoint with this name.",
    "Check the name in `GET /topics/{topic}/endpoints`; `PUT` creates an endpoint.",
    "The topic has no endpoint with this name.",
)
ALERT_NOT_FOUND: Final = _declare(
    "alert-not-found",
    HTTPStatus.NOT_FOUND,
    "Alert not found",
    "No alert has this name.",
    "Check the name in `GET /alerts`; `PUT` creates an alert.",
    "No alert has this name.",
)
CREDENTIAL_NOT_FOUND: Final = _declare(
    "credential-not-found",
    HTTPStatus.NOT_FOUND,
    "Credential not found",
    "No credential has this name.",
    "Check the name in `GET /credentials`; `PUT` creates a credential.",
    "No credential has this name.",
)
NO_ISSUER: Final = _declare(
    "no-issuer",
    HTTPStatus.NOT_FOUND,
    "No issuer",
    "This service issues no ID tokens: it has no public URL.",
    "Set `TASKFLOW_PUBLIC_URL` on all nodes.",
    "This service issues no ID tokens: TASKFLOW_PUBLIC_URL is not set.",
)
METHOD_NOT_ALLOWED: Final = _declare(
    "method-not-allowed",
    HTTPStatus.METHOD_NOT_ALLOWED,
    "Method not allowed",
    "The path exists, but does not support this method.",
    "Use one of the methods in `Allow`.",
    "method not allowed; this path allows GET, HEAD, OPTIONS, POST",
)
REQUEST_TIMEOUT: Final = _declare(
    "request-timeout",
    HTTPStatus.REQUEST_TIMEOUT,
    "Request timed out",
    "The body did not arrive within `TASKFLOW_REQUEST_SECONDS`.",
    "Send the body without long pauses, or in smaller requests.",
    "the request body did not arrive in time; send it without long pauses",
)
STATUS_CONFLICT: Final = _declare(
    "status-conflict",
    HTTPStatus.CONFLICT,
    "Not allowed in this status",
    "The status of the task does not allow this.",
    "`detail` has the status of the task. PENDING and RUNNING tasks can be canceled, FAILED and "
    "CANCELED tasks retried, finished tasks deleted.",
    "cannot cancel a task that is COMPLETED",
)
NOT_UNIQUE: Final = _declare(
    "not-unique",
    HTTPStatus.CONFLICT,
    "Unique key is taken",
    "Another task of the queue has the unique key: a task with `on_conflict` `reject` is not "
    "stored, and a finished task is not retried.",
    "`detail` names the other task. Wait until it is finished, or cancel it.",
    "the task 019abf75-cdd0-7a45-8a3f-6f0bc45a6b6e has this unique key",
)
GROUP_CLOSED: Final = _declare(
    "group-closed",
    HTTPStatus.CONFLICT,
    "Group is closed",
    "The group takes no more tasks: it was closed or canceled, or a task of it failed and the "
    "others are canceled.",
    "Submit the task without `group`, or create another group.",
    "the group 019abf75-cdd0-7a45-8a3f-6f0bc45a6b6e takes no more tasks: it is CLOSED",
)
TASK_DELETED: Final = _declare(
    "task-deleted",
    HTTPStatus.GONE,
    "Task was deleted",
    "The task that was submitted with this Idempotency-Key was deleted.",
    "Use a new Idempotency-Key to submit the task again.",
    "The task of this Idempotency-Key was deleted; use a new key to submit it again.",
)
ATTEMPT_OVER: Final = _declare(
    "attempt-over",
    HTTPStatus.GONE,
    "Attempt is over",
    "The completion URL belongs to no attempt that is in progress: the attempt has its outcome, "
    "ran out of time or was canceled, or there never was one with this URL. Nothing was changed.",
    "Do not repeat the request. If the task is retried, its next attempt has another URL.",
    "This URL belongs to no attempt in progress; nothing was changed.",
)
CREDENTIAL_IN_USE: Final = _declare(
    "credential-in-use",
    HTTPStatus.CONFLICT,
    "Credential in use",
    "The credential cannot be deleted, because a queue, schedule or endpoint names it.",
    "Change these first. `force=true` deletes it anyway: then the tasks that use it fail as "
    "`credential_missing`.",
    "the credential billing is used by queue mail; change these first, or delete it with "
    "force=true: then its tasks fail as credential_missing",
)
SCHEDULE_OVERLAP: Final = _declare(
    "schedule-overlap",
    HTTPStatus.CONFLICT,
    "Schedule overlap",
    'A task of the schedule is PENDING or RUNNING, and the schedule has `overlap: "skip"`.',
    "Run the schedule when its task has finished, or cancel the task first.",
    "a task of the schedule reports is PENDING or RUNNING; wait for it, or cancel it first",
)
SCHEDULE_EXISTS: Final = _declare(
    "schedule-exists",
    HTTPStatus.PRECONDITION_FAILED,
    "Schedule exists",
    "A schedule with this name exists, and `If-None-Match: *` forbids replacing it.",
    "Use another name, or omit `If-None-Match` to replace the schedule.",
    "A schedule with this name exists; without If-None-Match it would be replaced.",
)
CONFIGURATION_CHANGED: Final = _declare(
    "configuration-changed",
    HTTPStatus.PRECONDITION_FAILED,
    "Configuration changed",
    "Resources that `POST /config` names are not as its `before` says: they were changed after the "
    "plan was made. Nothing was changed.",
    "Make a new plan; `errors` has each value that is different.",
    "changed since the plan was made: queue mail: max_concurrency is 20, and was 10; nothing was "
    "changed",
)
BODY_TOO_LARGE: Final = _declare(
    "body-too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "Body too large",
    "The body exceeds `TASKFLOW_MAX_BODY_BYTES`, or an array exceeds `TASKFLOW_MAX_ARRAY_BYTES`.",
    "Split the request (a stream of lines has no limit), or raise the setting.",
    "the request body exceeds the limit of 1048576 bytes",
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
    "The request body is compressed.",
    "Send it without `Content-Encoding`.",
    "The request body is compressed; send it uncompressed.",
)
MISDIRECTED: Final = _declare(
    "misdirected",
    HTTPStatus.MISDIRECTED_REQUEST,
    "Host is not served",
    "`Host` names a host that this service does not serve.",
    "Use another name, or ask an operator to add this one to `TASKFLOW_ALLOWED_HOSTS`.",
    "this service does not serve the name in Host; TASKFLOW_ALLOWED_HOSTS lists its names",
)
VALIDATION_ERROR: Final = _declare(
    "validation-error",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Validation failed",
    "The request is well-formed, but a field or a parameter has an invalid value.",
    "Correct each value; `errors` lists its place and what is allowed.",
    "priority must be a whole number from -100 to 100",
)
IDEMPOTENCY_KEY_REUSED: Final = _declare(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "Idempotency-Key was used",
    "A different request was sent with this Idempotency-Key.",
    "Use a new key for each new request, and the same key only to repeat a request.",
    "This Idempotency-Key was used by a different request; use a new key for a new request.",
)
RATE_LIMITED: Final = _declare(
    "rate-limited",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Rate limit exceeded",
    "The rate limit of the client is exceeded.",
    "Try again after `Retry-After` seconds; `RateLimit` and `RateLimit-Policy` have the details.",
    "rate limit exceeded: 1 per second per client; try again in 1 s",
)
BACKLOG_FULL: Final = _declare(
    "backlog-full",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Backlog is full",
    "The backlog limit `TASKFLOW_MAX_PENDING` is reached.",
    "Try again after `Retry-After` seconds. If it persists, add workers or raise the limit.",
    "the backlog limit is reached (TASKFLOW_MAX_PENDING=1); try again in 2 s",
)
HEADER_TOO_LARGE: Final = _declare(
    "header-too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "Header too large",
    "A header is longer than 8 KiB, or all headers exceed 16 KiB or 100 fields.",
    "Send fewer or shorter headers, such as cookies.",
    "there are more than 100 header fields",
)
INTERNAL_ERROR: Final = _declare(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "Internal error",
    "An error in TaskFlow itself.",
    "Report it with the log of the node. A submission with an Idempotency-Key can be repeated.",
    "internal error in TaskFlow; its log has the details",
)
UNSUPPORTED_TRANSFER_CODING: Final = _declare(
    "unsupported-transfer-coding",
    HTTPStatus.NOT_IMPLEMENTED,
    "Unsupported transfer coding",
    "The request body has a transfer coding other than chunked.",
    "Send `Content-Length`, or `Transfer-Encoding: chunked`.",
    "chunked is the only supported transfer coding",
)
STORE_UNAVAILABLE: Final = _declare(
    "store-unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Database unavailable",
    "The database did not respond in time. It is not known whether the tasks of a POST are stored.",
    "Try again after `Retry-After` seconds, with the same Idempotency-Key. Operators: run "
    "`taskflow doctor`.",
    "The task store is unavailable; try again shortly.",
)
ENCRYPTION_KEY_MISSING: Final = _declare(
    "encryption-key-missing",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Encryption key missing",
    "The request needs data that is encrypted with a key that this node does not have.",
    "Operators: set the same `TASKFLOW_ENCRYPTION_KEYS` on all nodes. `taskflow doctor` names the "
    "keys that are missing.",
    "the encryption key 0b5a3c9e41 is not among TASKFLOW_ENCRYPTION_KEYS of this node",
)
TOO_MANY_SEARCHES: Final = _declare(
    "too-many-searches",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many searches",
    "Too many searches, counts or exports are in progress. They may use half of the connections to "
    "the database (`TASKFLOW_DATABASE_CONNECTIONS`), so that submissions are not delayed.",
    "Try again after `Retry-After` seconds, with less concurrency. Operators: "
    "`TASKFLOW_READ_RATE_LIMIT` limits the reads of each key.",
    "Too many searches and other slow reads are in progress; try again shortly.",
)
PARTLY_DONE: Final = _declare(
    "partly-done",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Partly processed",
    "The database became unavailable during a request for many tasks.",
    "Send the same request again: it continues with the rest.",
    "The store became unavailable: some tasks may be processed; send the request again.",
)
WORKERS_NOT_RUNNING: Final = _declare(
    "workers-not-running",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Workers are not running",
    "This node accepts tasks but does not run any at the moment.",
    "Try again. If the problem persists, read the log of the node.",
    "the workers are not running",
)
TOO_MANY_CONNECTIONS: Final = _declare(
    "too-many-connections",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many connections",
    "The connection limit `TASKFLOW_MAX_CONNECTIONS` is reached.",
    "Try again after `Retry-After` seconds; reuse connections.",
    "connection limit reached; try again shortly",
)
UNSUPPORTED_HTTP_VERSION: Final = _declare(
    "unsupported-http-version",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    "HTTP version not supported",
    "The HTTP version of the request is not supported.",
    "Send it as HTTP/1.1.",
    "only HTTP/1.1 is supported",
)

_BY_STATUS: Final[Mapping[int, ProblemType]] = {
    **{one.status: one for one in PROBLEM_TYPES.values()},
    # The type of a library's response, where several types have the status.
    HTTPStatus.NOT_FOUND: NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY: VALIDATION_ERROR,
    HTTPStatus.TOO_MANY_REQUESTS: RATE_LIMITED,
    HTTPStatus.SERVICE_UNAVAILABLE: TOO_MANY_CONNECTIONS,
}


def type_for(status: int) -> ProblemType:
    """Return the problem type of a response that a library generates with a status."""
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _BY_STATUS.get(status, INTERNAL_ERROR if is_server_error else INVALID_REQUEST)
