"""What those who call TaskFlow from Python may have to deal with.

The tree::

    ClientError
    ├── InvalidArgument          a call was made with it (a ValueError and a TypeError, too)
    ├── InvalidEnvironment       a variable of the environment cannot be used
    ├── Unreachable              no answer came; what was asked may have been done
    ├── UnexpectedAnswer         somebody answered, but not as TaskFlow does
    ├── NotEnded                 a task that was waited for has not ended in time (a TimeoutError)
    ├── EventsMissed             some events are not kept any more
    ├── Unsuccessful             a task ended without a result
    │   ├── TaskFailed
    │   └── TaskCanceled
    └── Problem                  what TaskFlow answers (RFC 9457)
        ├── Refused         4xx  it will not do as it was asked
        │   ├── BadRequest       400
        │   ├── Unauthorized     401
        │   ├── Forbidden        403
        │   ├── NotFound         404
        │   ├── Conflict         409
        │   ├── Gone             410
        │   ├── TooLarge         413
        │   ├── Unprocessable    422
        │   └── TooMany          429
        └── ServerFault     5xx  it cannot
            └── Unavailable      503

``enqueue`` raises ``Unprocessable`` and ``Gone`` as well, as the service would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from taskflow.model.errors import FieldError, SettingsError, TaskFlowError
from taskflow.model.task import Task


class ClientError(TaskFlowError):
    """A call of TaskFlow did not come to what was asked for."""


class InvalidArgument(ClientError, ValueError, TypeError):
    """An argument cannot be used; nothing was sent.

    It is what Python itself raises for values and types, too, so that either can be caught.
    """


class InvalidEnvironment(ClientError, SettingsError):
    """A variable of the environment cannot be used; nothing was sent."""


class Unreachable(ClientError):
    """No answer came.

    Args:
        message: Why not.
        is_sent: Whether what was asked for may have been done all the same.
    """

    def __init__(self, message: str, *, is_sent: bool) -> None:
        super().__init__(message)
        self.is_sent = is_sent


class UnexpectedAnswer(ClientError):
    """Somebody answered, but not as TaskFlow does."""


class NotEnded(ClientError, TimeoutError):
    """A task has not ended in time.

    Args:
        task: It, as it was seen last; ``None`` if not even that was told in time.
    """

    def __init__(self, task: Task | None) -> None:
        standing = f"the task is still {task.status}" if task else "there was no answer in time"
        super().__init__(standing)
        self.task = task


class EventsMissed(ClientError):
    """Some events are not kept any more; look at the tasks to see how they stand."""


class Unsuccessful(ClientError):
    """A task ended without a result.

    Args:
        task: It, at its end.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(f"the task is {task.status}" + (f": {task.error}" if task.error else ""))
        self.task = task


class TaskFailed(Unsuccessful):
    """A task FAILED; its ``error`` and ``error_type`` say why."""


class TaskCanceled(Unsuccessful):
    """A task was CANCELED."""


class Problem(ClientError):
    """TaskFlow did not do as it was asked.

    Args:
        detail: Why not, and what to do.
        kind: What is the attribute ``type``: the kind of problem, such as
            ``/problems/backlog-full``; ``about:blank`` if the answer does not say it.
        status_code: The status of its answer.
        errors: Each thing that is wrong with what was sent, with its place.
        retry_after_seconds: For how long it asks to be left alone, if it does.
    """

    def __init__(
        self,
        detail: str,
        *,
        status_code: int,
        kind: str = "about:blank",
        errors: Sequence[FieldError] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.type = kind
        self.status_code = status_code
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds


class Refused(Problem):
    """TaskFlow will not do as it was asked."""


class BadRequest(Refused):
    """What was sent is not what is taken there."""


class Unauthorized(Refused):
    """A key is needed, or another one."""


class Forbidden(Refused):
    """Who asks may not do this."""


class NotFound(Refused):
    """There is no such task, queue or schedule."""


class Conflict(Refused):
    """The task's state does not allow this."""


class Gone(Refused):
    """The task that the same request made has been deleted since."""


class TooLarge(Refused):
    """What was sent is larger than is taken."""


class Unprocessable(Refused):
    """What was sent cannot be used; ``faults`` says why, place by place."""


class TooMany(Refused):
    """There is too much to do at the moment."""


class ServerFault(Problem):
    """TaskFlow cannot do as it was asked."""


class Unavailable(ServerFault):
    """TaskFlow's store cannot be reached at the moment."""


_BY_STATUS: Final[Mapping[int, type[Problem]]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: TooLarge,
    HTTPStatus.UNPROCESSABLE_ENTITY: Unprocessable,
    HTTPStatus.TOO_MANY_REQUESTS: TooMany,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
}


class _Document(msgspec.Struct, frozen=True):
    """What is looked at of ``application/problem+json``."""

    detail: str
    type: str = "about:blank"
    errors: tuple[FieldError, ...] = ()


_DOCUMENT: Final = msgspec.json.Decoder(_Document)


def problem_of(
    status_code: int, headers: Mapping[str, str], body: bytes, via: str = ""
) -> Problem | None:
    """What an answer says is the matter; ``None`` if nothing is.

    Args:
        status_code: The status of the answer.
        headers: By name in small letters.
        body: All of it.
        via: Names the proxy that the answer came through, if there is one.
    """
    if status_code < HTTPStatus.BAD_REQUEST:
        return None
    is_fault = status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = _BY_STATUS.get(status_code, ServerFault if is_fault else Refused)
    try:
        document = _DOCUMENT.decode(body)
    except msgspec.DecodeError:  # of a proxy between
        document = _Document(f"the answer{via} was {status_code}, without a word why")
    after = headers.get("retry-after", "")
    return kind(
        document.detail,
        kind=document.type,
        status_code=status_code,
        errors=document.errors,
        retry_after_seconds=float(after) if after.isdecimal() else None,
    )


class _Error(msgspec.Struct, frozen=True):
    status: int
    detail: str
    type: str = "about:blank"


class _Broken(msgspec.Struct, frozen=True):
    error: _Error


_BREAK: Final = b'{"error":{'
_BROKEN: Final = msgspec.json.Decoder(_Broken)


def broken_off(line: bytes) -> ClientError | None:
    """What the last line of many says is the matter; ``None`` of one that is a task's."""
    if not line.startswith(_BREAK):  # of a task that is text
        return None
    error = _BROKEN.decode(line).error
    kind = _BY_STATUS.get(error.status, ServerFault)
    return kind(error.detail, status_code=error.status, kind=error.type)
