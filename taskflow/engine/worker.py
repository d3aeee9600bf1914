"""A worker: takes claims from a channel, fetches, hands outcomes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from taskflow.engine.load import Load
from taskflow.fetch.interface import Fetcher, FetchRequest, Headers, request_of
from taskflow.fetch.recording import Recorder
from taskflow.model.callback_signature import NO_SIGNER, Signer
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import Canceled, ErrorType, Failed, Interrupted, Outcome, failed
from taskflow.model.request import IDEMPOTENCY_FIELD, SAFE_METHODS, TRACE_FIELDS
from taskflow.model.task import Claim
from taskflow.telemetry import Event, bind_task, emit_throttled
from taskflow.tracing import NO_TRACE, NO_TRACING, AttemptTrace, Tracing

_UNSIGNED: Final = Failed(
    ErrorType.INTERNAL,
    "internal: this node has no TASKFLOW_WEBHOOK_SECRETS to sign the callback with",
)


class Attempt(msgspec.Struct, frozen=True):
    """A claim and how it went.

    ``ended_at`` is when that was, on Trio's clock; ``elapsed_ms`` is how long its fetch took, and
    ``None`` if it was never started. ``trace`` is told when the outcome was written.
    """

    claim: Claim
    outcome: Outcome
    ended_at: float
    elapsed_ms: float | None = None
    trace: AttemptTrace = NO_TRACE


async def work(  # noqa: PLR0913 - what a worker works with
    claims: trio.MemoryReceiveChannel[Claim],
    attempts: trio.MemorySendChannel[Attempt],
    *,
    fetcher: Fetcher,
    load: Load,
    fetch_timeout_seconds: float,
    signer: Signer = NO_SIGNER,
    tracing: Tracing = NO_TRACING,
) -> None:
    """Run claims one after the other until there are no more to come.

    When cancelled, the one being run is handed on as interrupted; one that is called off, by its
    own scope, is handed on as such, and the next one is taken. The channel of attempts
    has room for every claim that a node may hold, so handing on never waits.
    """
    async with claims, attempts:
        async for claim in claims:
            trace = tracing.attempt(claim)
            await _run(claim, trace, attempts, fetcher, load, fetch_timeout_seconds, signer)


async def _run(  # noqa: PLR0913, PLR0917 - what a worker works with
    claim: Claim,
    trace: AttemptTrace,
    attempts: trio.MemorySendChannel[Attempt],
    fetcher: Fetcher,
    load: Load,
    fetch_timeout_seconds: float,
    signer: Signer,
) -> None:
    """Run one. Its outcome is not kept here: a worker that waits would hold on to the last one."""
    load.started()
    bind_task(claim.task_id, claim.attempt)
    began = trio.current_time()
    scope = load.in_hand.scope_of(claim)
    outcome: Outcome = Interrupted()
    try:
        if not scope.cancel_called:
            with scope:
                outcome = await _attempt(claim, trace, fetcher, fetch_timeout_seconds, signer)
    finally:
        load.ended(claim)
        # Not only when the scope caught it: an outcome that came all the same, or was cut off by
        # a shutdown in the same moment, is not to be written either.
        if scope.cancel_called:
            outcome = Canceled()
        ended_at = trio.current_time()
        elapsed_ms = round((ended_at - began) * 1000, 3)
        trace.fetched(outcome)
        attempts.send_nowait(Attempt(claim, outcome, ended_at, elapsed_ms, trace))


async def _attempt(
    claim: Claim,
    trace: AttemptTrace,
    fetcher: Fetcher,
    fetch_timeout_seconds: float,
    signer: Signer,
) -> Outcome:
    if claim.fault:
        return failed(ErrorType.INTERNAL, f"internal: {claim.fault}")
    request = request_of(bytes(claim.payload), claim.options.success_on)
    if isinstance(request, Failed):
        return request
    fields = trace.fetching(request)
    headers = request.headers + identity(claim, request, fields) + conditions(claim.options)
    if claim.options.callback_of is not None:
        if not signer:
            emit_throttled(Event.CALLBACK_UNSIGNED)
            return _UNSIGNED
        # Anew for each attempt: what was signed long ago is not taken any more.
        timestamp = int(time.time())
        headers += signer.headers(str(claim.task_id), request.body, timestamp=timestamp)
    recorder = Recorder()
    request = msgspec.structs.replace(
        request,
        headers=headers,
        is_conditional=claim.options.is_conditional,
        recorder=recorder,
    )
    seconds = request.timeout_seconds or fetch_timeout_seconds
    with trio.move_on_after(seconds):
        return recorder.added_to(await fetcher.fetch(request))
    timeout = Failed(ErrorType.TIMEOUT, f"timeout: the fetch took longer than {seconds:g} s")
    return recorder.added_to(timeout)


def conditions(options: TaskOptions) -> Headers:
    """Fields that ask for an answer only if it is another one (RFC 9110, section 13.1)."""
    fields = (
        ("If-None-Match", options.if_none_match),
        ("If-Modified-Since", options.if_modified_since),
    )
    return tuple((name, value) for name, value in fields if value is not None)


def identity(
    claim: Claim, request: FetchRequest, trace: Mapping[str, str] | None = None
) -> Headers:
    """Fields by which a target can tell whose request this is, and know it when it comes again.

    A task may be fetched twice; what is not safe to repeat (RFC 9110 section 9.2.1) says so by a
    key of its own, unless the task brought one. The trace is that of the POST (W3C Trace Context),
    if no other is given.
    """
    fields = [("X-TaskFlow-Id", str(claim.task_id)), ("X-TaskFlow-Attempt", str(claim.attempt))]
    brought = {name.lower() for name, _ in request.headers}
    if request.method not in SAFE_METHODS and IDEMPOTENCY_FIELD not in brought:
        fields.append(("Idempotency-Key", str(claim.task_id)))
    if brought.isdisjoint(TRACE_FIELDS):  # a state belongs to its parent
        kept = {name: getattr(claim.options, name) for name in TRACE_FIELDS}
        trace = kept if trace is None else trace
        fields += [(name, value) for name, value in trace.items() if value is not None]
    return tuple(fields)
