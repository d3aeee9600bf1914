"""A worker: receives claims from a channel, fetches, and sends the outcomes to the settler."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.load import HeldClaim, Load
from taskflow.engine.notifications import is_mail, without_secrets
from taskflow.engine.parent_results import with_results
from taskflow.fetch.authentication import Headers
from taskflow.fetch.interface import FetchRequest, Sign, request_of
from taskflow.fetch.recording import Recorder
from taskflow.model.completion import (
    COMPLETION_URL_HEADER,
    Completion,
    CompletionMode,
    completion_url,
)
from taskflow.model.errors import KeyMissing, StoreUnavailable, Undecryptable
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import (
    Canceled,
    ErrorType,
    Failed,
    Interrupted,
    Outcome,
    Postponed,
    failed,
)
from taskflow.model.proxy import opened_proxy
from taskflow.model.references import MissingReference
from taskflow.model.request import IDEMPOTENCY_FIELD, SAFE_METHODS, TRACE_FIELDS
from taskflow.model.signature import Signer
from taskflow.model.task import Claim
from taskflow.telemetry import Event, bind_task, emit_throttled
from taskflow.tracing import NO_TRACE, AttemptTrace

UNSIGNED: Final = Failed(
    ErrorType.INTERNAL,
    "internal: this node has no TASKFLOW_WEBHOOK_SECRETS to sign the request with",
    is_of_node=True,
)
_NO_COMPLETION_URL: Final = Failed(
    ErrorType.INTERNAL,
    "internal: this node has no TASKFLOW_PUBLIC_URL, at which the target reports the outcome",
    is_of_node=True,
)


class Attempt(msgspec.Struct, frozen=True):
    """A claim and the outcome of its fetch.

    Attributes:
        claim: The claim.
        outcome: The outcome.
        finished_at: Time of the outcome, on Trio's clock.
        elapsed_seconds: Duration of the fetch; ``None`` if it never started.
        trace: The trace of the attempt, which ends when the outcome is written.
    """

    claim: Claim
    outcome: Outcome
    finished_at: float
    elapsed_seconds: float | None = None
    trace: AttemptTrace = NO_TRACE


async def work(
    claims: trio.MemoryReceiveChannel[Claim],
    attempts: trio.MemorySendChannel[Attempt],
    context: EngineContext,
    load: Load,
) -> None:
    """Run claims one after the other until the channel is closed.

    When the worker is cancelled, its claim is sent on as interrupted. When a claim is canceled, its
    fetch ends, it is sent on as canceled, and the worker receives the next one. The channel
    of attempts has room for all claims that a node may hold, so sending never waits.
    """
    async with claims, attempts:
        async for claim in claims:
            trace = context.tracing.attempt(claim)
            await _run(claim, trace, attempts, context, load)


async def _run(
    claim: Claim,
    trace: AttemptTrace,
    attempts: trio.MemorySendChannel[Attempt],
    context: EngineContext,
    load: Load,
) -> None:
    """Run a claim. A function of its own, so that an idle worker keeps no outcome in memory."""
    load.started()
    bind_task(claim.task_id, claim.attempt)
    started_at = trio.current_time()
    held = load.claims[claim.key]
    outcome: Outcome = Interrupted()
    try:
        if not held.is_canceled:
            outcome = await _fetch_decrypted(claim, held, trace, context)
    finally:
        load.finished(claim)
        # Also if the fetch completed, or a shutdown cancelled it at the same moment.
        if held.is_canceled:
            outcome = Canceled()
        finished_at = trio.current_time()
        elapsed_seconds = round(finished_at - started_at, 6)
        trace.fetched(outcome)
        attempts.send_nowait(Attempt(claim, outcome, finished_at, elapsed_seconds, trace))


async def _fetch_decrypted(
    claim: Claim, held: HeldClaim, trace: AttemptTrace, context: EngineContext
) -> Outcome:
    opened = await opened_claim(claim, context)
    if not isinstance(opened, Claim):
        return opened
    if is_mail(opened.options.alert):
        return await _send_mail(opened, held, context)
    return await _fetch(opened, held, trace, context)


async def _send_mail(claim: Claim, held: HeldClaim, context: EngineContext) -> Outcome:
    with trio.CancelScope() as scope:
        held.runs_in(scope)
        return await context.notifications.mail(claim)
    return Canceled()


async def opened_claim(
    claim: Claim, context: EngineContext
) -> Claim | Failed | Interrupted | Postponed:
    """Return a claim decrypted and with its references filled in, or why that is impossible."""
    try:
        opened = context.encryption.open_claim(claim)
        if (proxy := claim.egress_proxy) is not None:
            proxy = opened_proxy(proxy, claim.queue, context.keyring)
            opened = msgspec.structs.replace(opened, egress_proxy=proxy)
        if opened.options.has_references:
            bound = context.settings.max_body_bytes
            opened = await with_results(opened, context.store, context.encryption, max_bytes=bound)
    except KeyMissing as error:
        return await context.missing_keys.postponed(error)
    except Undecryptable as error:
        return failed(ErrorType.INTERNAL, f"internal: {error}")
    except MissingReference as error:
        return failed(error.error_type, str(error))
    except StoreUnavailable:
        return Interrupted()
    else:
        return opened


async def _fetch(
    claim: Claim, held: HeldClaim, trace: AttemptTrace, context: EngineContext
) -> Outcome:
    request = _request_of(claim, context)
    if isinstance(request, Failed):
        return request
    trace_headers = trace.fetching(request)
    headers = request.headers + identity_headers(claim, request, trace_headers)
    headers += conditional_headers(claim.options)
    must_sign = claim.options.must_sign(by_default=context.settings.sign_requests)
    if must_sign and not context.signer and claim.options.delivery is None:
        emit_throttled(Event.REQUEST_UNSIGNED)
        return UNSIGNED
    recorder = Recorder()
    request = msgspec.structs.replace(
        request,
        headers=headers,
        is_conditional=claim.options.is_conditional,
        sign=sign_of(claim, context.signer) if must_sign else None,
        egress_proxy=claim.egress_proxy,
        recorder=recorder,
    )
    seconds = request.timeout_seconds or context.settings.fetch_timeout_seconds
    with trio.move_on_after(seconds) as scope:
        held.runs_in(scope)  # one scope for both: each takes a twentieth of a fetch
        if claim.options.needs_store:
            scope.deadline = math.inf  # the store does not count
            found = await with_stored(request, claim, context)
            if not isinstance(found, FetchRequest):
                return found
            request = found
            scope.deadline = trio.current_time() + seconds
        outcome = recorder.added_to(await context.fetcher.fetch(request))
        return without_secrets(outcome, claim.options.alert)
    timeout = Failed(ErrorType.TIMEOUT, f"timeout: the fetch took longer than {seconds:g} s")
    return recorder.added_to(timeout)


def _request_of(claim: Claim, context: EngineContext) -> FetchRequest | Failed:
    """Return the request of a claim, without what TaskFlow adds to every request."""
    if claim.fault:
        return failed(ErrorType.INTERNAL, f"internal: {claim.fault}")
    request = request_of(bytes(claim.payload), claim.options.success_on)
    if claim.options.completion is None or isinstance(request, Failed):
        return request
    return _deferred(request, claim, claim.options.completion, context)


def _deferred(
    request: FetchRequest, claim: Claim, completion: Completion, context: EngineContext
) -> FetchRequest | Failed:
    """Return a request whose target may answer 202 and work on."""
    headers = request.headers
    if completion.mode is CompletionMode.CALLBACK:
        if not (public_url := context.settings.public_url):
            emit_throttled(Event.COMPLETION_URL_MISSING)
            return _NO_COMPLETION_URL
        url = completion_url(public_url, claim.task_id, claim.token)
        name = COMPLETION_URL_HEADER
        headers = tuple(pair for pair in headers if pair[0].lower() != name.lower())
        headers += ((name, url),)
    return msgspec.structs.replace(request, headers=headers, completion=completion)


async def with_stored(
    request: FetchRequest, claim: Claim, context: EngineContext
) -> FetchRequest | Failed | Interrupted | Postponed:
    """Return a request with its credential, the signatures of its endpoint, or its secret URL."""
    options = claim.options
    try:
        if options.alert is not None:
            return await context.notifications.with_url(request, options.alert)
        if options.delivery is not None:
            signer = await context.endpoints.signer_of(options.delivery)
            if not isinstance(signer, Signer):
                return signer
            if not signer:
                emit_throttled(Event.REQUEST_UNSIGNED)
                return UNSIGNED
            request = msgspec.structs.replace(request, sign=sign_of(claim, signer))
        if options.credential is not None:
            authenticator = await context.credentials.find(options.credential)
            if isinstance(authenticator, Failed | Interrupted):
                return authenticator
            request = msgspec.structs.replace(request, authenticator=authenticator)
    except KeyMissing as error:
        return await context.missing_keys.postponed(error)
    return request


def sign_of(claim: Claim, signer: Signer) -> Sign:
    """Return what signs a request as it is sent: targets reject old timestamps."""
    delivery = claim.options.delivery
    message_id = claim.task_id if delivery is None else delivery.event_id
    return lambda body: signer.headers(str(message_id), body, timestamp=int(time.time()))


def conditional_headers(options: TaskOptions) -> Headers:
    """Return the headers of a conditional request (RFC 9110, section 13.1)."""
    fields = (
        ("If-None-Match", options.if_none_match),
        ("If-Modified-Since", options.if_modified_since),
    )
    return tuple((name, value) for name, value in fields if value is not None)


def identity_headers(
    claim: Claim, request: FetchRequest, trace: Mapping[str, str] | None = None
) -> Headers:
    """Return the headers that tell a target which task and attempt a request belongs to.

    A task may be fetched twice. So requests with unsafe methods (RFC 9110, section 9.2.1) have an
    ``Idempotency-Key``, unless the task has one itself.

    Args:
        claim: The claim.
        request: Its request.
        trace: W3C Trace Context; by default, the one that the ``POST`` had.
    """
    fields = [("X-TaskFlow-Id", str(claim.task_id)), ("X-TaskFlow-Attempt", str(claim.attempt))]
    own = {name.lower() for name, _ in request.headers}
    if request.method not in SAFE_METHODS and IDEMPOTENCY_FIELD not in own:
        fields.append(("Idempotency-Key", str(claim.task_id)))
    if own.isdisjoint(TRACE_FIELDS):  # tracestate belongs to its traceparent
        submitted = {name: getattr(claim.options, name) for name in TRACE_FIELDS}
        trace = submitted if trace is None else trace
        fields += [(name, value) for name, value in trace.items() if value is not None]
    return tuple(fields)
