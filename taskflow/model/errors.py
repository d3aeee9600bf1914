"""Every exception that TaskFlow raises on purpose.

The tree::

    TaskFlowError
    ├── SettingsError                 a setting that cannot be used
    ├── CannotListen                  the address to serve on cannot be had
    ├── StoreError
    │   ├── StoreUnavailable     503  the store cannot be reached in time
    │   │   ├── StoreRefusesTasks     it can, and takes no new tasks
    │   │   ├── StatementRefused      it can, and does not do this
    │   │   └── TooManySearches       its share of slow reads is in use
    │   ├── StoreUnusable             the store can be reached but not used as it is
    │   └── LeaseLost                 this node's lease is over
    ├── PartlyDone           503  the store could be reached at first only
    ├── NotRunning           503  tasks are accepted but not run
    ├── NoDocument           500  the description of the API cannot be built
    ├── IllegalMove              409  the law of a task (lifecycle.py) does not allow it
    └── RequestError             4xx  what a client sent cannot be taken
        ├── BadRequest           400
        ├── Unauthorized         401
        ├── Forbidden            403
        ├── TaskNotFound         404
        ├── ResultNotFound       404
        ├── QueueNotFound        404
        ├── ScheduleNotFound     404
        ├── BodyTooSlow          408
        ├── TaskGone             410
        ├── ScheduleExists       412
        ├── BodyTooLarge         413
        ├── UnsupportedEncoding  415
        ├── Misdirected          421
        ├── Unprocessable        422
        │   └── IdempotencyKeyReused
        └── TooManyRequests      429
            ├── RateLimited
            └── BacklogFull

A class's docstring is its default message. ``problem`` is what the API
answers with, and its status; the classes without one never reach a client.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from taskflow.model import problem_types as types
from taskflow.model.problem_types import ProblemType


class TaskFlowError(Exception):
    """TaskFlow could not do what was asked."""

    problem: ClassVar[ProblemType | None] = None
    status: ClassVar[int | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.status = None if cls.problem is None else cls.problem.status

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)


class SettingsError(TaskFlowError):
    """A setting cannot be used as it is."""


class CannotListen(TaskFlowError):
    """The address to serve on cannot be had."""


class StoreError(TaskFlowError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The task store cannot be reached at the moment; try again shortly."""

    problem = types.STORE_UNAVAILABLE


class StoreRefusesTasks(StoreUnavailable):
    """The task store can be reached but takes no new tasks at the moment."""


class TooManySearches(StoreUnavailable):
    """Too many searches and other slow reads are under way; try again shortly."""

    problem = types.TOO_MANY_SEARCHES


class StatementRefused(StoreUnavailable):
    """The task store does not do this, maybe because of a part of what is in it."""


class StoreUnusable(StoreError):
    """The task store can be reached but not be used as it is."""


class LeaseLost(StoreError):
    """This node's lease is over; what it held belongs to others now."""


class PartlyDone(TaskFlowError):
    """The task store could not be reached half-way: some of the tasks may be done; ask again."""

    problem = types.PARTLY_DONE


class NotRunning(TaskFlowError):
    """The workers are not running."""

    problem = types.WORKERS_NOT_RUNNING


class NoDocument(TaskFlowError):
    """The description of the API cannot be built; the log has the reason, and tasks run on."""

    problem = types.INTERNAL_ERROR


class IllegalMove(TaskFlowError):
    """The task is in a state that does not allow this."""

    problem = types.STATUS_CONFLICT


class RequestError(TaskFlowError):
    """The request cannot be taken."""

    problem = types.INVALID_REQUEST


class BadRequest(RequestError):
    """The request body is not what this route takes."""

    problem = types.INVALID_REQUEST


class Unauthorized(RequestError):
    """This needs a key.

    Args:
        message: What to do.
        error: What is wrong with the key that was sent, in RFC 6750's words; ``None`` if none was.
    """

    problem = types.UNAUTHORIZED

    def __init__(self, message: str, *, error: str | None = None) -> None:
        super().__init__(message)
        self.error = error


class Forbidden(RequestError):
    """Who asks may not do this.

    Args:
        message: Why not.
        scope: The role that it takes, if another key would do.
    """

    problem = types.FORBIDDEN

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class TaskNotFound(RequestError):
    """There is no task with this id."""

    problem = types.TASK_NOT_FOUND


class QueueNotFound(RequestError):
    """There is no queue of this name: it has no tasks and no settings."""

    problem = types.QUEUE_NOT_FOUND


class BodyTooSlow(RequestError):
    """The body did not come in time; send it without long pauses."""

    problem = types.REQUEST_TIMEOUT


class TaskGone(RequestError):
    """This request made a task that was deleted since; make up a new Idempotency-Key."""

    problem = types.TASK_DELETED


class ResultNotFound(RequestError):
    """The task has no result; only a COMPLETED one has."""

    problem = types.RESULT_NOT_FOUND


class ScheduleNotFound(RequestError):
    """There is no schedule with this name."""

    problem = types.SCHEDULE_NOT_FOUND


class ScheduleExists(RequestError):
    """There is a schedule with this name; without If-None-Match it would be replaced."""

    problem = types.SCHEDULE_EXISTS


class BodyTooLarge(RequestError):
    """The request body is larger than this service takes."""

    problem = types.BODY_TOO_LARGE


class UnsupportedEncoding(RequestError):
    """The request body is compressed; send it as it is."""

    problem = types.UNSUPPORTED_ENCODING


class Misdirected(RequestError):
    """The request is for another service."""

    problem = types.MISDIRECTED


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a document that was sent.

    Attributes:
        pointer: Where: a JSON pointer (RFC 6901) in its URI form.
        detail: What is allowed there.
    """

    pointer: str
    detail: str


class Unprocessable(RequestError):
    """The request is well-formed but cannot be processed.

    Args:
        message: Why, in one line.
        faults: The same by places, if it is about a document.
    """

    problem = types.VALIDATION_ERROR

    def __init__(self, message: str, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class IdempotencyKeyReused(Unprocessable):
    """Another request has come with this Idempotency-Key; make up a new key for a new request."""

    problem = types.IDEMPOTENCY_KEY_REUSED

    def __init__(self) -> None:
        super().__init__(inspect.getdoc(type(self)) or "")


class TooManyRequests(RequestError):
    """There is too much to do at the moment.

    Args:
        message: What there is too much of.
        policy: The limit, as ``RateLimit-Policy`` says it.
        limit: What is left of it, as ``RateLimit`` says it.
        retry_seconds: After how long to try again.
    """

    problem = types.RATE_LIMITED

    def __init__(self, message: str, *, policy: str, limit: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.policy = policy
        self.limit = limit
        self.retry_seconds = retry_seconds


class RateLimited(TooManyRequests):
    """A client has sent too many requests."""


class BacklogFull(TooManyRequests):
    """Too many tasks are pending."""

    problem = types.BACKLOG_FULL


def expected_message(error: BaseException) -> str | None:
    """One line for a person if the error, or every one of a group, was raised on purpose.

    Returns:
        The line, or ``None`` if there is a fault of ours among them.
    """
    if isinstance(error, BaseExceptionGroup):
        messages = [expected_message(inner) for inner in error.exceptions]
        known = dict.fromkeys(message for message in messages if message is not None)
        return None if None in messages else "; ".join(known)
    return str(error) if isinstance(error, TaskFlowError) else None
