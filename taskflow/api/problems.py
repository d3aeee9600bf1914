"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec
import trio
from quart import Quart, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from taskflow.model.errors import StoreUnavailable, TaskFlowError
from taskflow.telemetry import Event, emit

MEDIA_TYPE: Final = "application/problem+json"
STORE_ANSWER_SECONDS: Final = 5.0
_RETRY_AFTER_SECONDS: Final = 2


class Problem(msgspec.Struct, frozen=True):
    """What went wrong: ``title`` says what kind, ``detail`` what in this case and what to do."""

    type: str
    title: str
    status: int
    detail: str


def install(app: Quart) -> None:
    """Answer every error of the app as a problem."""
    app.register_error_handler(TaskFlowError, _on_our_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_fault)


@contextlib.contextmanager
def store_in_time() -> Iterator[None]:
    """Bound what is done with the store: a client is told within seconds.

    Raises:
        StoreUnavailable: The store did not answer in time.
    """
    try:
        with trio.fail_after(STORE_ANSWER_SECONDS):
            yield
    except trio.TooSlowError:
        raise StoreUnavailable from None


async def _on_our_error(error: TaskFlowError) -> Response:
    if error.status is None:
        return await _on_fault(error)
    response = _problem(error.status, str(error))
    if isinstance(error, StoreUnavailable):
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


async def _on_http_error(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    response = _problem(status, error.description or HTTPStatus(status).phrase)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


async def _on_fault(error: Exception) -> Response:
    emit(Event.REQUEST_FAULT, error=error)
    return _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in TaskFlow itself; its log has the details"
    )


def _problem(status: int, detail: str) -> Response:
    problem = Problem("about:blank", HTTPStatus(status).phrase, status, detail)
    return Response(msgspec.json.encode(problem), status=status, content_type=MEDIA_TYPE)
