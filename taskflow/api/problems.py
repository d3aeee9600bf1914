"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec
import trio
from msgspec import UNSET, UnsetType
from quart import Quart, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestTimeout

from taskflow.model.errors import (
    CellUnavailable,
    ConfigurationChanged,
    FieldError,
    Forbidden,
    GroupClosed,
    NotUnique,
    StatementRejected,
    StoreRejectsTasks,
    StoreUnavailable,
    TaskFlowError,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
    UnsupportedEncoding,
)
from taskflow.model.problem_types import INTERNAL_ERROR, ProblemType, type_for
from taskflow.telemetry import Event, emit_throttled

MEDIA_TYPE: Final = "application/problem+json"
REALM: Final = "taskflow"
# Clients get a response within five seconds; the rest is for a busy machine.
STORE_ANSWER_SECONDS: Final = 4.0
_RETRY_AFTER_SECONDS: Final = 2
_WITH_PLACES: Final = (ConfigurationChanged, GroupClosed, NotUnique, Unprocessable)


class Problem(msgspec.Struct, frozen=True):
    """An error (RFC 9457).

    Attributes:
        type: The type of the problem: the path of a page of this service that explains it.
        title: A short name of the type.
        status: The status code of the response.
        detail: What is wrong in this case, and what to do.
        errors: The validation errors of the request body, each with its place; absent for other
            problems.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] | UnsetType = UNSET


def install(app: Quart) -> None:
    """Return every error of the app as a problem."""
    app.register_error_handler(TaskFlowError, _on_own_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_bug)


@contextlib.contextmanager
def store_timeout() -> Iterator[None]:
    """Limit the duration of calls of the store, so that clients get a response in time.

    Raises:
        StoreUnavailable: The store did not answer in time.
    """
    try:
        with trio.fail_after(STORE_ANSWER_SECONDS):
            yield
    except trio.TooSlowError:
        raise StoreUnavailable from None


async def response_to(error: Exception) -> Response:
    """Return an exception, or the first of a group, as a problem."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TaskFlowError):
        return await _on_own_error(error)
    if isinstance(error, HTTPException):
        return await _on_http_error(error)
    return await _on_bug(error)


async def _on_own_error(error: TaskFlowError) -> Response:
    if error.status is None:
        return await _on_bug(error)
    if isinstance(error, StatementRejected):
        emit_throttled(Event.STORE_LOST, reason=str(error))
    response = _response_of(problem_of(error))
    response.headers.update(headers_of(error))
    return response


def headers_of(error: TaskFlowError) -> dict[str, str]:
    """Return the headers of the response to an error."""
    if isinstance(error, UnsupportedEncoding):
        return {"Accept-Encoding": "identity"}
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": _challenge(error.error, str(error))}
    if isinstance(error, Forbidden) and error.scope:
        challenge = _challenge("insufficient_scope", str(error))
        return {"WWW-Authenticate": f'{challenge}, scope="{error.scope}"'}
    if isinstance(error, TooManyRequests):
        return {
            "Retry-After": str(error.retry_seconds),
            "RateLimit": error.limit,
            "RateLimit-Policy": error.policy,
        }
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    return {}


def _challenge(error: str | None, description: str) -> str:
    """Return the value of ``WWW-Authenticate`` (RFC 6750, section 3)."""
    if error is None:
        return f'Bearer realm="{REALM}"'
    return f'Bearer realm="{REALM}", error="{error}", error_description="{description}"'


async def _on_http_error(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, NotFound):
        return _problem(status, "no such path; tasks are at /tasks and /tasks/{id}")
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        allowed = ", ".join(sorted(error.valid_methods))
        response = _problem(status, f"method not allowed; this path allows {allowed}")
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, RequestTimeout):
        return _problem(
            status, "the request body did not arrive in time; send it without long pauses"
        )
    return _problem(status, error.description or HTTPStatus(status).phrase)


async def _on_bug(error: Exception) -> Response:
    emit_throttled(Event.REQUEST_ERROR, error=error)
    return _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal error in TaskFlow; its log has the details"
    )


def problem_of(error: TaskFlowError) -> Problem:
    """Return an error that has a status as a document."""
    # Messages of the database go to the log only, since they name hosts and users. The reason why
    # it rejects writes names neither, and the name of a cell is none of these.
    is_shown = isinstance(error, StoreRejectsTasks | CellUnavailable)
    is_secret = isinstance(error, StoreUnavailable) and not is_shown
    shown = type(error)() if is_secret else error
    errors = error.errors if isinstance(error, _WITH_PLACES) else ()
    return document(error.problem or INTERNAL_ERROR, str(shown), errors)


def document(kind: ProblemType, detail: str, errors: tuple[FieldError, ...] = ()) -> Problem:
    """Return a problem of a type."""
    return Problem(kind.type, kind.title, kind.status, detail, errors or UNSET)


def document_for(status: int, detail: str) -> Problem:
    """Return a problem for an error of a library, of which only the status is known."""
    return msgspec.structs.replace(document(type_for(status), detail), status=status)


def _problem(status: int, detail: str) -> Response:
    return _response_of(document_for(status, detail))


def _response_of(problem: Problem) -> Response:
    response = Response(
        msgspec.json.encode(problem), status=problem.status, content_type=MEDIA_TYPE
    )
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response
