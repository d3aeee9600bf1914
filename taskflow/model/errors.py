"""The exceptions that TaskFlow raises on purpose.

The tree::

    TaskFlowError
    ├── SettingsError                 a setting is invalid
    ├── CannotListen                  the address to serve on is not available
    ├── KeyMissing           503  the encryption key of data is not set on this node
    ├── Undecryptable                 encrypted data was changed
    ├── StoreError
    │   ├── StoreUnavailable     503  the store does not answer in time
    │   │   ├── StoreRejectsTasks     it answers, but accepts no new tasks
    │   │   ├── KeyIsBusy             an open transaction has a task with the key
    │   │   ├── StatementRejected      it answers, but rejects the statement
    │   │   ├── TooManySearches       the limit of slow reads is reached
    │   │   ├── CellUnavailable       one of several cells does not answer
    │   │   └── CellsChange           queues are being moved to other cells
    │   ├── StoreUnusable             the store answers, but cannot be used
    │   └── LeaseLost                 the lease of this node has ended
    ├── PartlyDone           503  the store became unavailable during a request
    ├── NotRunning           503  tasks are accepted but not run
    ├── NoDocument           500  the OpenAPI document cannot be built
    ├── IllegalMove              409  the status of the task does not allow it
    └── RequestError             4xx  the request is rejected
        ├── BadRequest           400
        ├── Unauthorized         401
        ├── Forbidden            403
        ├── TaskNotFound         404
        ├── ResultNotFound       404
        ├── QueueNotFound        404
        ├── ScheduleNotFound     404
        ├── GroupNotFound        404
        ├── FailureNotFound      404
        ├── TopicNotFound        404
        ├── EndpointNotFound     404
        ├── AlertNotFound        404
        ├── NoIssuer             404
        ├── BodyTooSlow          408
        ├── NotUnique            409
        ├── GroupClosed          409
        ├── ScheduleOverlap      409
        ├── TaskGone             410
        ├── AttemptOver          410
        ├── ScheduleExists       412
        ├── ConfigurationChanged 412
        ├── BodyTooLarge         413
        ├── UnsupportedEncoding  415
        ├── Misdirected          421
        ├── Unprocessable        422
        │   └── IdempotencyKeyReused
        └── TooManyRequests      429
            ├── RateLimited
            └── BacklogFull

The docstring of a class is its default message. ``problem`` is the API's response, and ``status``
its status; classes without one never reach a client.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from taskflow.model import problem_types as types
from taskflow.model.problem_types import ProblemType


class TaskFlowError(Exception):
    """Base class of all errors of TaskFlow."""

    problem: ClassVar[ProblemType | None] = None
    status: ClassVar[int | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.status = None if cls.problem is None else cls.problem.status

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)


class SettingsError(TaskFlowError):
    """A setting is invalid."""


class CannotListen(TaskFlowError):
    """The address to serve on is not available."""


class KeyMissing(TaskFlowError):
    """Data is encrypted with a key that this node does not have.

    Args:
        key_id: The id of the key; empty if no key is set.
    """

    problem = types.ENCRYPTION_KEY_MISSING

    def __init__(self, key_id: str) -> None:
        named = f"the encryption key {key_id}" if key_id else "an encryption key"
        super().__init__(f"{named} is not among TASKFLOW_ENCRYPTION_KEYS of this node")
        self.key_id = key_id


class Undecryptable(TaskFlowError):
    """Encrypted data was changed, or copied from another place."""


class StoreError(TaskFlowError):
    """Base class of the errors of the task store."""


class StoreUnavailable(StoreError):
    """The task store is unavailable; try again shortly."""

    problem = types.STORE_UNAVAILABLE


class StoreRejectsTasks(StoreUnavailable):
    """The task store accepts no new tasks at the moment; try again later."""


class KeyIsBusy(StoreUnavailable):
    """Another transaction, which is still open, has a task with this key; try again shortly."""


class TooManySearches(StoreUnavailable):
    """Too many searches and other slow reads are in progress; try again shortly."""

    problem = types.TOO_MANY_SEARCHES


class CellUnavailable(StoreUnavailable):
    """A cell does not answer.

    Args:
        name: The cell.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the cell {name} of the task store is unavailable; try again shortly")


class CellsChange(StoreUnavailable):
    """The cells are being changed, and the queue may move to another one; try again shortly."""


class StatementRejected(StoreUnavailable):
    """The task store rejected the statement, possibly because of its content."""


class StoreUnusable(StoreError):
    """The task store is available but cannot be used."""


class LeaseLost(StoreError):
    """The lease of this node has ended; its tasks may be rescued."""


class PartlyDone(TaskFlowError):
    """The store became unavailable: some tasks may be processed; send the request again."""

    problem = types.PARTLY_DONE


class NotRunning(TaskFlowError):
    """The workers are not running."""

    problem = types.WORKERS_NOT_RUNNING


class NoDocument(TaskFlowError):
    """The OpenAPI document cannot be built; the log states why. Tasks keep running."""

    problem = types.INTERNAL_ERROR


class IllegalMove(TaskFlowError):
    """The status of the task does not allow this."""

    problem = types.STATUS_CONFLICT


class RequestError(TaskFlowError):
    """The request is invalid."""

    problem = types.INVALID_REQUEST


class BadRequest(RequestError):
    """The request body is invalid for this route."""

    problem = types.INVALID_REQUEST


class Unauthorized(RequestError):
    """An API key is required.

    Args:
        message: What to do.
        error: The error code of RFC 6750 for the key that was sent; ``None`` if none was sent.
    """

    problem = types.UNAUTHORIZED

    def __init__(self, message: str, *, error: str | None = None) -> None:
        super().__init__(message)
        self.error = error


class Forbidden(RequestError):
    """The client is not permitted to do this.

    Args:
        message: Why not.
        scope: The role that permits it, if there is one.
    """

    problem = types.FORBIDDEN

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class TaskNotFound(RequestError):
    """No task has this id."""

    problem = types.TASK_NOT_FOUND


class QueueNotFound(RequestError):
    """No queue has this name: it has no tasks and no settings."""

    problem = types.QUEUE_NOT_FOUND


class BodyTooSlow(RequestError):
    """The request body did not arrive in time; send it without long pauses."""

    problem = types.REQUEST_TIMEOUT


class TaskGone(RequestError):
    """The task of this Idempotency-Key was deleted; use a new key to submit it again."""

    problem = types.TASK_DELETED


class AttemptOver(RequestError):
    """This URL belongs to no attempt in progress; nothing was changed."""

    problem = types.ATTEMPT_OVER


class ResultNotFound(RequestError):
    """The task has no result; only COMPLETED tasks have one."""

    problem = types.RESULT_NOT_FOUND


class ScheduleNotFound(RequestError):
    """No schedule has this name."""

    problem = types.SCHEDULE_NOT_FOUND


class ScheduleExists(RequestError):
    """A schedule with this name exists; without If-None-Match it would be replaced."""

    problem = types.SCHEDULE_EXISTS


class ScheduleOverlap(RequestError):
    """A task of the schedule is PENDING or RUNNING, and the schedule has ``overlap: "skip"``."""

    problem = types.SCHEDULE_OVERLAP


class HeartbeatNotFound(RequestError):
    """No heartbeat has this name."""

    problem = types.HEARTBEAT_NOT_FOUND


class GroupNotFound(RequestError):
    """No group has this id."""

    problem = types.GROUP_NOT_FOUND


class FailureNotFound(RequestError):
    """No failure has this id."""

    problem = types.FAILURE_NOT_FOUND


class TopicNotFound(RequestError):
    """No topic has this name."""

    problem = types.TOPIC_NOT_FOUND


class AlertNotFound(RequestError):
    """No alert has this name."""

    problem = types.ALERT_NOT_FOUND


class EndpointNotFound(RequestError):
    """The topic has no endpoint with this name."""

    problem = types.ENDPOINT_NOT_FOUND


class GroupClosed(RequestError):
    """A group takes no more tasks.

    Args:
        group_id: The group.
        why: Why not.
        places: For an array: the indexes of the tasks that would join it.
    """

    problem = types.GROUP_CLOSED

    def __init__(self, group_id: uuid.UUID, why: str, places: Sequence[int] = ()) -> None:
        message = f"the group {group_id} takes no more tasks: {why}"
        super().__init__(message)
        pointers = [f"#/{index}/group" for index in places[:MAX_NAMED_CONFLICTS]] or ["#/group"]
        self.errors = tuple(FieldError(pointer, message) for pointer in pointers)


class CredentialNotFound(RequestError):
    """No credential has this name."""

    problem = types.CREDENTIAL_NOT_FOUND


class NoIssuer(RequestError):
    """This service issues no ID tokens: TASKFLOW_PUBLIC_URL is not set."""

    problem = types.NO_ISSUER


class CredentialInUse(RequestError):
    """A queue, schedule or endpoint uses the credential.

    Args:
        name: The credential.
        users: What uses it.
    """

    problem = types.CREDENTIAL_IN_USE

    def __init__(self, name: str, users: object) -> None:
        super().__init__(
            f"the credential {name} is used by {users}; change these first, or delete it with "
            "force=true: then its tasks fail as credential_missing"
        )


class BodyTooLarge(RequestError):
    """The request body is too large."""

    problem = types.BODY_TOO_LARGE


class UnsupportedEncoding(RequestError):
    """The request body is compressed; send it uncompressed."""

    problem = types.UNSUPPORTED_ENCODING


class Misdirected(RequestError):
    """This service does not serve the requested host."""

    problem = types.MISDIRECTED


class FieldError(msgspec.Struct, frozen=True):
    """One invalid value in a document that a client sent.

    Attributes:
        pointer: The place of the value: a JSON pointer (RFC 6901) in URI form.
        detail: What is wrong, and what is allowed.
    """

    pointer: str
    detail: str


MAX_NAMED_CONFLICTS: Final = 100
"""Number of rejected tasks of an array that an error lists."""
MAX_SUMMARIZED: Final = 3
"""Number of values that the message of an error names."""


def _taken_by(task_id: uuid.UUID | None) -> str:
    other = f"the task {task_id}" if task_id else "an earlier task of the array"
    return f"{other} has this unique key"


class NotUnique(RequestError):
    """Another task has the unique key.

    Args:
        task_id: That task; ``None`` if it is an earlier one of the same array.
        in_array: For an array: the index of each rejected task, and the task that has its key.
    """

    problem = types.NOT_UNIQUE

    def __init__(
        self,
        task_id: uuid.UUID | None,
        in_array: Sequence[tuple[int, uuid.UUID | None]] = (),
    ) -> None:
        more = f"; and so on, {len(in_array)} in all" if len(in_array) > 1 else ""
        super().__init__(_taken_by(task_id) + more)
        self.task_id = task_id
        self.errors = tuple(
            FieldError(f"#/{index}/unique", _taken_by(other))
            for index, other in in_array[:MAX_NAMED_CONFLICTS]
        ) or (FieldError("#/unique", _taken_by(task_id)),)


class Unprocessable(RequestError):
    """The request is well-formed but invalid.

    Args:
        message: Why, in one line.
        errors: Each invalid value, if the error is about a document.
    """

    problem = types.VALIDATION_ERROR

    def __init__(self, message: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class TooManyCredentials(Unprocessable):
    """There are as many credentials as a service can have; delete one that is not used."""

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class TooManyAlerts(Unprocessable):
    """There are as many alerts as a service can have; delete one that is not used."""

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class TooManyHeartbeats(Unprocessable):
    """There are as many heartbeats as a service can have; delete one that is not used."""

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class TooManyEndpoints(Unprocessable):
    """The topic has as many endpoints as it can have; delete one that is not used."""

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class ConfigurationChanged(RequestError):
    """Resources have changed since the plan was made; nothing was changed.

    Args:
        errors: Each value that is not as it was, with the place of its change in the request.
    """

    problem = types.CONFIGURATION_CHANGED

    def __init__(self, errors: Sequence[FieldError]) -> None:
        more = f"; and so on, {len(errors)} in all" if len(errors) > MAX_SUMMARIZED else ""
        found = "; ".join(error.detail for error in errors[:MAX_SUMMARIZED])
        super().__init__(f"changed since the plan was made: {found}{more}; nothing was changed")
        self.errors = tuple(errors[:MAX_NAMED_CONFLICTS])


class IdempotencyKeyReused(Unprocessable):
    """This Idempotency-Key was used by a different request; use a new key for a new request."""

    problem = types.IDEMPOTENCY_KEY_REUSED

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class TooManyRequests(RequestError):
    """A limit is exceeded.

    Args:
        message: Which limit.
        policy: The value of ``RateLimit-Policy``.
        limit: The value of ``RateLimit``.
        retry_seconds: The value of ``Retry-After``, in seconds.
    """

    problem = types.RATE_LIMITED

    def __init__(self, message: str, *, policy: str, limit: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.policy = policy
        self.limit = limit
        self.retry_seconds = retry_seconds


class RateLimited(TooManyRequests):
    """The rate limit of a client is exceeded."""


class BacklogFull(TooManyRequests):
    """The backlog limit is reached."""

    problem = types.BACKLOG_FULL


def expected_message(error: BaseException) -> str | None:
    """Return a one-line message if the error, or each error of a group, is a ``TaskFlowError``.

    Returns:
        The message; ``None`` if an error is a bug.
    """
    if isinstance(error, BaseExceptionGroup):
        messages = [expected_message(inner) for inner in error.exceptions]
        known = dict.fromkeys(message for message in messages if message is not None)
        return None if None in messages else "; ".join(known)
    return str(error) if isinstance(error, TaskFlowError) else None
