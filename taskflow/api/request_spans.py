"""Requests as spans, where traces are wanted; elsewhere nothing of this is there."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from quart import Quart, request

from taskflow.api.reading.post_headers import trace_of
from taskflow.tracing import AddTrace, RequestTrace, Tracing

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

TRACE: Final = "taskflow.trace"
"""Where routes find the trace of a request in its scope."""

# Asked for by the second, by machines that nobody wants to read about.
UNTRACED: Final = frozenset((b"/livez", b"/readyz", b"/metrics"))
_VALUE: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


def trace_requests(app: Quart, tracing: Tracing) -> None:
    """Make a span of each request from now on, if traces are wanted."""
    if not tracing.is_on:
        return

    async def note_route() -> None:
        if (trace := _trace()) is not None and request.url_rule is not None:
            # As OpenAPI and other frameworks write it.
            trace.found(_VALUE.sub(r"{\1}", request.url_rule.rule))

    app.before_request(note_route)
    traced: Any = _Traced(app.asgi_app, tracing)
    app.asgi_app = traced  # type: ignore[method-assign]  # as Quart's docs advise


def adding() -> AddTrace:
    """The request at hand hands in tasks: what they are to keep of its trace."""
    if (trace := _trace()) is not None:
        return trace.adding()
    head = request.headers
    return AddTrace(trace_of(head.getlist("traceparent"), head.getlist("tracestate")))


def _trace() -> RequestTrace | None:
    scope: Any = request.scope
    trace: RequestTrace | None = scope.get(TRACE)
    return trace


class _Traced:
    """An ASGI app around another one."""

    def __init__(self, app: Any, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["raw_path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        trace = self._tracing.request(
            scope["method"], scope["path"], scope["scheme"], _fields_of(scope)
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


def _fields_of(scope: Message) -> dict[str, str]:
    found: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": []}
    for name, value in scope["headers"]:
        if name in found:
            found[name].append(value.decode("latin-1"))
    return trace_of(found[b"traceparent"], found[b"tracestate"])
