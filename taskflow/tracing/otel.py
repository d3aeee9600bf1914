"""Tracing with OpenTelemetry; the only module that imports it.

Attributes are named by its semantic conventions for HTTP and messaging; other names begin with
``taskflow.``. Nothing is registered globally, and there is no current span.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskflow.fetch.errors import masked_url
from taskflow.fetch.interface import FetchRequest
from taskflow.model.outcome import Canceled, ErrorType, Failed, Fetched, Outcome, Parked, Postponed
from taskflow.model.task import Claim, Task
from taskflow.model.untrusted_text import printable
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.parking import Parking
from taskflow.telemetry import Event, emit_throttled, node_name
from taskflow.tracing.interface import AddTrace, AttemptTrace, RequestTrace, Tracing
from taskflow.version import __version__

T = TypeVar("T")

# Maximum number of claims whose times are remembered: more than a node can hold.
MAX_CLAIMS: Final = 10_000
MIN_SERVER_ERROR: Final = 500

_LOGGER: Final = "opentelemetry"
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)
_QUERY: Final = re.compile(r"\?[^\s'\"()]+")
_WIRE: Final = TraceContextTextMapPropagator()


def start(processor: SpanProcessor | None = None) -> OtelTracing:
    """Start tracing with the settings in the ``OTEL_*`` variables.

    Args:
        processor: Receives the spans; by default, they are sent to a collector.
    """
    _capture_logs()
    resource = Resource.create(
        {
            "service.name": "taskflow",
            "service.version": __version__,
            "service.instance.id": node_name(),
        }
    ).merge(OTELResourceDetector().detect())
    ids = _Ids()
    # Without its exit handler, which waits for a collector without a timeout.
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTracing(provider, ids)


class _Log(logging.Handler):
    """Logs warnings of OpenTelemetry as events: usually the collector is unavailable."""

    def emit(self, record: logging.LogRecord) -> None:
        # The URL of the collector may have a key in its query.
        emit_throttled(Event.SPANS_LOST, reason=_QUERY.sub("?***", record.getMessage()))


def _capture_logs() -> None:
    logger = logging.getLogger(_LOGGER)
    logger.handlers, logger.propagate = [_Log(logging.WARNING)], False
    logger.setLevel(logging.WARNING)
    # It warns of a full queue for every span; that spans cannot be exported is logged anyway.
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)


class _Ids(RandomIdGenerator):
    """Random ids; the id of the next trace can be set."""

    def __init__(self) -> None:
        self.next_trace: int | None = None

    def generate_trace_id(self) -> int:
        trace, self.next_trace = self.next_trace, None
        return trace or super().generate_trace_id()


class _ClaimTimes(NamedTuple):
    """Start and end of a claim, and the number of its tasks."""

    start: int
    end: int
    tasks: int


class OtelTracing(Tracing):
    """Creates spans; made by ``start``.

    Args:
        provider: Receives the spans.
        ids: Generates the ids of the provider.
    """

    is_enabled = True

    def __init__(self, provider: TracerProvider, ids: _Ids) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer("taskflow", __version__)
        self._claim_starts: dict[uuid.UUID, int] = {}
        self._claims: dict[uuid.UUID, _ClaimTimes] = {}

    def close(self) -> None:
        """Send the remaining spans; blocks until that is done."""
        self._provider.shutdown()

    def silence(self) -> None:
        """Stop logging the warnings of threads that are still running."""
        logging.getLogger(_LOGGER).setLevel(logging.CRITICAL + 1)

    def request(
        self, method: str, path: str, scheme: str, fields: Mapping[str, str]
    ) -> RequestTrace:
        """See ``Tracing``."""
        attributes = {**_method(method), "url.path": printable(path), "url.scheme": scheme}
        name = attributes["http.request.method"]
        span = self._tracer.start_span(
            name if name != "_OTHER" else "HTTP",
            _WIRE.extract(fields, Context()),
            SpanKind.SERVER,
            attributes,
        )
        return _Request(self._tracer, span)

    def claiming(self, token: uuid.UUID) -> None:
        """See ``Tracing``."""
        _remember(self._claim_starts, token, time.time_ns())

    def claimed(self, claims: Sequence[Claim]) -> None:
        """See ``Tracing``."""
        if claims:
            token, now = claims[0].token, time.time_ns()
            started = self._claim_starts.pop(token, now)
            _remember(self._claims, token, _ClaimTimes(started, now, len(claims)))

    def attempt(self, claim: Claim) -> AttemptTrace:
        """See ``Tracing``."""
        times = self._claims.get(claim.token)
        span = self._tracer.start_span(
            "process",
            self._parent_of(claim),
            SpanKind.CONSUMER,
            {
                "messaging.system": "taskflow",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": str(claim.task_id),
                "taskflow.attempt": claim.attempt,
                "taskflow.max_attempts": claim.max_attempts,
            },
            start_time=times.start if times else None,
        )
        if times:
            self._trace_claim(span, times)
        return _Attempt(self._tracer, span, claim)

    def _parent_of(self, claim: Claim) -> Context:
        """Return the span of the submission; without one, attempts have a trace of their own."""
        context = _WIRE.extract(_submitted_context(claim), Context())
        if not context:
            digest = hashlib.blake2b(claim.task_id.bytes, digest_size=16).digest()
            self._ids.next_trace = int.from_bytes(digest)
        return context

    def _trace_claim(self, span: Span, times: _ClaimTimes) -> None:
        claim = self._tracer.start_span(
            "claim",
            set_span_in_context(span, Context()),
            attributes={"messaging.batch.message_count": times.tasks},
            start_time=times.start,
        )
        claim.end(times.end)


class _Request(RequestTrace):
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._method = getattr(span, "name", "")

    def routed(self, route: str) -> None:
        self._span.set_attribute("http.route", route)
        self._span.update_name(f"{self._method} {route}")

    def adding(self) -> AddTrace:
        attributes = {
            "messaging.system": "taskflow",
            "messaging.operation.name": "add",
            "messaging.operation.type": "send",
        }
        context = set_span_in_context(self._span, Context())
        return _Add(self._tracer.start_span("add", context, SpanKind.PRODUCER, attributes))

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= MIN_SERVER_ERROR:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)

    def failed(self, error: BaseException) -> None:
        _fail(self._span, type(error).__qualname__)

    def end(self) -> None:
        self._span.end()


class _Add(AddTrace):
    def __init__(self, span: Span) -> None:
        super().__init__(_context_fields(span))
        self._span = span

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception):
            _fail(self._span, type(error).__qualname__)
        self._span.end()

    def added(self, tasks: Sequence[Task]) -> None:
        self._span.set_attribute("messaging.batch.message_count", len(tasks))
        queues = {task.queue for task in tasks}
        if len(queues) == 1:
            self._span.set_attribute("messaging.destination.name", queues.pop())
        if len(tasks) == 1:
            self._span.set_attribute("messaging.message.id", str(tasks[0].id))


class _Attempt(AttemptTrace):
    def __init__(self, tracer: Tracer, span: Span, claim: Claim) -> None:
        self._tracer = tracer
        self._span = span
        self._claim = claim
        self._fetch: Span | None = None
        self._settle: Span | None = None

    def fetching(self, request: FetchRequest) -> Mapping[str, str]:
        attributes = {**_method(request.method), "url.full": printable(masked_url(request.url))}
        self._fetch = self._child(
            attributes["http.request.method"].replace("_OTHER", "HTTP"), SpanKind.CLIENT, attributes
        )
        self._fetch.set_attributes(_server(self._claim.authority, request.url))
        if self._claim.attempt > 1:
            self._fetch.set_attribute("http.request.resend_count", self._claim.attempt - 1)
        return _context_fields(self._fetch)

    def fetched(self, outcome: Outcome) -> None:
        if self._fetch is not None:
            _record_outcome(self._fetch, outcome)
            self._fetch.end()
        if isinstance(outcome, Failed):
            _fail(self._span, str(outcome.error_type), outcome.error)
        self._settle = self._child("settle", SpanKind.INTERNAL, {})

    def settled(
        self, write: Settlement | Retry | Release | Parking | None, *, is_late: bool
    ) -> None:
        move = _move_of(write)
        if self._settle is not None:
            self._settle.set_attribute("taskflow.move", move)
            if is_late:
                _fail(self._settle, "late", "the claim was no longer held")
            self._settle.end()
        self._span.set_attribute("taskflow.move", "none" if is_late else move)
        if isinstance(write, Retry):
            self._span.set_attribute("taskflow.retry_seconds", write.delay_seconds)
        self._span.end()

    def _child(self, name: str, kind: SpanKind, attributes: Mapping[str, str]) -> Span:
        return self._tracer.start_span(
            name, set_span_in_context(self._span, Context()), kind, attributes
        )


def _record_outcome(span: Span, outcome: Outcome) -> None:
    match outcome:
        case Fetched(response):
            span.set_attribute("http.response.status_code", response.status_code)
            span.set_attribute("http.response.body.size", response.size)
        case Failed(error_type, error, status):
            if status is not None:
                span.set_attribute("http.response.status_code", status)
            is_of_status = error_type is ErrorType.HTTP_STATUS
            _fail(span, str(status if is_of_status else error_type), error)
        case Parked():
            span.set_attribute("http.response.status_code", HTTPStatus.ACCEPTED.value)
        case Postponed(error_type, error):
            _fail(span, str(error_type), error)
        case _:
            span.add_event("canceled" if isinstance(outcome, Canceled) else "interrupted")


def _move_of(write: Settlement | Retry | Release | Parking | None) -> str:
    """Return the name of the transition, as in ``model/lifecycle.py``; parked tasks have none."""
    match write:
        case Settlement():
            return "complete" if write.result is not None else "fail"
        case Retry():
            return "retry"
        case Release():
            return "release"
        case Parking():
            return "park"
        case None:
            return "none"


def _fail(span: Span, error_type: str, error: str | None = None) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR, error)


def _method(method: str) -> dict[str, str]:
    if method in _METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": printable(method)}


def _server(authority: str, url: str) -> Mapping[str, str | int]:
    """Return the attributes of the target; none if the URL is not valid."""
    if not authority:
        return {}
    host, _, port = authority.rpartition(":")
    if not port.isdigit():  # none, or the end of an address in brackets
        host, port = authority, "443" if url.lower().startswith("https:") else "80"
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _submitted_context(claim: Claim) -> dict[str, str]:
    options = claim.options
    kept = {"traceparent": options.traceparent, "tracestate": options.tracestate}
    return {name: value for name, value in kept.items() if value is not None}


def _context_fields(span: Span) -> dict[str, str]:
    fields: dict[str, str] = {}
    _WIRE.inject(fields, set_span_in_context(span, Context()))
    return fields


def _remember(known: dict[uuid.UUID, T], token: uuid.UUID, value: T) -> None:
    known[token] = value
    if len(known) > MAX_CLAIMS:
        del known[next(iter(known))]
