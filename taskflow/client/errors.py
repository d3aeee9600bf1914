"""The errors of the client.

The tree::

    ClientError
    ├── InvalidArgument          an argument is invalid (also a ValueError and a TypeError)
    ├── InvalidEnvironment       an environment variable is invalid
    ├── InvalidSignature         a request is not signed by the service
    ├── ClientUnusable           the client is closed, or of another event loop
    ├── Unreachable              no response; the request may have been processed
    ├── UnexpectedResponse         the response is not one of TaskFlow
    ├── NotFinished                 a task did not finish in time (also a TimeoutError)
    ├── EventsMissed             some events are not stored any more
    ├── Unsuccessful             a task finished without a result
    │   ├── TaskFailed
    │   └── TaskCanceled
    └── Problem                  an error response of TaskFlow (RFC 9457)
        ├── Rejected         4xx  the request was rejected
        │   ├── BadRequest       400
        │   ├── Unauthorized     401
        │   ├── Forbidden        403
        │   ├── NotFound         404
        │   ├── Conflict         409
        │   ├── Gone             410
        │   ├── TooLarge         413
        │   ├── Unprocessable    422
        │   └── TooManyRequests          429
        └── ServerError     5xx  the service failed
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
    """A call failed."""


class InvalidArgument(ClientError, ValueError, TypeError):
    """An argument is invalid; nothing was sent.

    Also a ``ValueError`` and a ``TypeError``, so that either can be caught.
    """


class InvalidEnvironment(ClientError, SettingsError):
    """An environment variable is invalid; nothing was sent."""


class InvalidSignature(ClientError):
    """A request is not signed with one of the secrets, or was sent too long ago."""


class ClientUnusable(ClientError, RuntimeError):
    """The client is closed, or was used on another event loop before; nothing was sent."""


class Unreachable(ClientError):
    """There was no response.

    Args:
        message: The reason.
        is_sent: Whether the request may have been processed nevertheless.
        is_untrusted: Whether the certificate of the service is not trusted: no retry helps.
    """

    def __init__(self, message: str, *, is_sent: bool, is_untrusted: bool = False) -> None:
        super().__init__(message)
        self.is_sent = is_sent
        self.is_untrusted = is_untrusted


class UnexpectedResponse(ClientError):
    """The response is not one of TaskFlow."""


class NotFinished(ClientError, TimeoutError):
    """A task did not finish in time.

    Args:
        task: The task in its last known state; ``None`` if there was no response in time.
    """

    def __init__(self, task: Task | None) -> None:
        reason = f"it is {task.status}" if task else "there was no response about it in time"
        super().__init__(f"the task has not finished: {reason}")
        self.task = task


class EventsMissed(ClientError):
    """Some events are not stored any more; read the tasks for their current state."""


class Unsuccessful(ClientError):
    """A task finished without a result."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"the task is {task.status}" + (f": {task.error}" if task.error else ""))
        self.task = task


class TaskFailed(Unsuccessful):
    """A task FAILED; its ``error`` and ``error_type`` have the reason."""


class TaskCanceled(Unsuccessful):
    """A task was CANCELED."""


class Problem(ClientError):
    """An error response of TaskFlow.

    Args:
        detail: The reason, and what to do.
        kind: The attribute ``type``: the type of the problem, such as
            ``/problems/backlog-full``; ``about:blank`` if the response has none.
        status_code: The status of the response.
        errors: The validation errors, each with its place.
        retry_after_seconds: The value of ``Retry-After``, if the response has it.
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


class Rejected(Problem):
    """The request was rejected."""


class BadRequest(Rejected):
    """The request is malformed."""


class Unauthorized(Rejected):
    """The service requires an API key, or a different one."""


class Forbidden(Rejected):
    """The role of the API key is not sufficient."""


class NotFound(Rejected):
    """There is no such task, queue or schedule."""


class Conflict(Rejected):
    """The task's state does not allow this, or another task has its unique key."""


class Gone(Rejected):
    """The task that the same request created has been deleted."""


class TooLarge(Rejected):
    """The request is too large."""


class Unprocessable(Rejected):
    """The request is invalid; ``errors`` has the reasons, each with its place."""


class TooManyRequests(Rejected):
    """A rate limit or the backlog limit is exceeded."""


class ServerError(Problem):
    """The service failed."""


class Unavailable(ServerError):
    """The store of the service is unavailable at the moment."""


_BY_STATUS: Final[Mapping[int, type[Problem]]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: TooLarge,
    HTTPStatus.UNPROCESSABLE_ENTITY: Unprocessable,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
}


class _Document(msgspec.Struct, frozen=True):
    """The members of ``application/problem+json`` that are read."""

    detail: str
    type: str = "about:blank"
    errors: tuple[FieldError, ...] = ()


_DOCUMENT: Final = msgspec.json.Decoder(_Document)


def problem_of(
    status_code: int, headers: Mapping[str, str], body: bytes, via: str = ""
) -> Problem | None:
    """Return the problem that a response reports; ``None`` if it is a success.

    Args:
        status_code: The status of the response.
        headers: The headers, by name in lower case.
        body: The whole body.
        via: Names the proxy of the connection, if there is one.
    """
    if status_code < HTTPStatus.BAD_REQUEST:
        return None
    is_server_error = status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = _BY_STATUS.get(status_code, ServerError if is_server_error else Rejected)
    try:
        document = _DOCUMENT.decode(body)
    except msgspec.DecodeError:  # of a proxy between
        document = _Document(f"the response{via} has status {status_code} and no explanation")
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
    """Return the error in the last line of a stream; ``None`` if the line is a task."""
    if not line.startswith(_BREAK):  # of a task that is text
        return None
    error = _BROKEN.decode(line).error
    kind = _BY_STATUS.get(error.status, ServerError)
    return kind(error.detail, status_code=error.status, kind=error.type)
