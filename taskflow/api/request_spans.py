"""Spans of requests, if tracing is on."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from quart import Quart, request

from taskflow.api.access.request_head import Message, Receive, Send
from taskflow.api.inline_requests import COMPLETIONS_PATH
from taskflow.api.middleware import ROUTE
from taskflow.api.reading.request_headers import trace_of
from taskflow.model.masking import MASK
from taskflow.tracing import AddTrace, RequestTrace, Tracing

TRACE: Final = "taskflow.trace"
"""The key of the trace in the scope of a request."""
_COMPLETION_TOKEN: Final = re.compile(f"({COMPLETIONS_PATH}[^/]*/)[^/]+")


def trace_requests(app: Quart, untraced: Collection[bytes], tracing: Tracing) -> None:
    """Record a span for each request, if tracing is on, except for the untraced paths."""
    if not tracing.is_enabled:
        return

    async def note_route() -> None:
        scope: Any = request.scope
        if (trace := _trace()) is not None and ROUTE in scope:
            trace.routed(scope[ROUTE])

    app.before_request(note_route)
    traced: Any = _TracedApp(app.asgi_app, untraced, tracing)
    app.asgi_app = traced  # type: ignore[method-assign]  # as Quart's docs advise


def submission_trace() -> AddTrace:
    """Return the trace of the current request for the tasks that it submits."""
    if (trace := _trace()) is not None:
        return trace.adding()
    head = request.headers
    return AddTrace(trace_of(head.getlist("traceparent"), head.getlist("tracestate")))


def _trace() -> RequestTrace | None:
    scope: Any = request.scope
    trace: RequestTrace | None = scope.get(TRACE)
    return trace


class _TracedApp:
    """An ASGI app around another one."""

    def __init__(self, app: Any, untraced: Collection[bytes], tracing: Tracing) -> None:
        self._app = app
        self._untraced = untraced
        self._tracing = tracing

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["raw_path"] in self._untraced:
            await self._app(scope, receive, send)
            return
        trace = self._tracing.request(
            scope["method"], _shown(scope["path"]), scope["scheme"], _trace_headers_of(scope)
        )

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.answered(message["status"])
            await send(message)

        try:
            await self._app({**scope, TRACE: trace}, receive, note_status)
        except Exception as error:
            trace.failed(error)
            raise
        finally:
            trace.end()


def _shown(path: str) -> str:
    """Return a path without the token of a completion URL."""
    return _COMPLETION_TOKEN.sub(rf"\1{MASK}", path) if COMPLETIONS_PATH in path else path


def _trace_headers_of(scope: Message) -> dict[str, str]:
    found: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": []}
    for name, value in scope["headers"]:
        if name in found:
            found[name].append(value.decode("latin-1"))
    return trace_of(found[b"traceparent"], found[b"tracestate"])
