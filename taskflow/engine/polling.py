"""One poll of a parked attempt: a request to the URL that its target named in a 202."""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.worker import (
    UNSIGNED,
    identity_headers,
    opened_claim,
    sign_of,
    with_stored,
)
from taskflow.fetch.hop import carried_headers
from taskflow.fetch.interface import FetchRequest, request_of
from taskflow.fetch.recording import Recorder
from taskflow.model.backoff import is_retryable
from taskflow.model.completion import poll_delay_seconds
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.outcome import (
    Canceled,
    ErrorType,
    Failed,
    Interrupted,
    Outcome,
    Parked,
    Postponed,
    failed,
)
from taskflow.model.task import Claim
from taskflow.model.url import parse_target
from taskflow.settings import Settings
from taskflow.telemetry import Event, emit_throttled

MAX_POLL_SECONDS: Final = 60.0
"""Maximum duration of a poll: if its node dies, another one polls a moment after that."""


def poll_timeout_seconds(settings: Settings) -> float:
    """Return the maximum duration of a poll."""
    return min(settings.fetch_timeout_seconds, MAX_POLL_SECONDS)


async def poll(claim: Claim, url: str, context: EngineContext) -> Outcome:
    """Poll once, and return what becomes of the attempt.

    It stays parked after a 202, and after a failure that may be temporary. Any other response is
    the outcome. The request of the task is not sent again.

    Args:
        claim: The claim of the attempt.
        url: The URL.
        context: Collaborators.
    """
    outcome = await _fetched(claim, url, context)
    match outcome:
        case Failed() if is_retryable(outcome, claim.options):
            delay_seconds = outcome.retry_after_seconds
        case Postponed():
            delay_seconds = outcome.delay_seconds
        case Interrupted() | Canceled():
            delay_seconds = None
        case _:
            return outcome
    completion = claim.options.completion
    within_seconds = 0.0 if completion is None else completion.within_seconds
    return Parked(within_seconds, url, poll_delay_seconds(delay_seconds))


async def _fetched(claim: Claim, url: str, context: EngineContext) -> Outcome:
    if claim.fault:
        return failed(ErrorType.INTERNAL, f"internal: {claim.fault}")
    recorder = Recorder()
    seconds = poll_timeout_seconds(context.settings)
    with trio.move_on_after(seconds):
        opened = await opened_claim(claim, context)
        if not isinstance(opened, Claim):
            return opened
        request = _request_of(opened, url, recorder, context)
        if isinstance(request, Failed):
            return request
        if opened.options.credential is not None:
            found = await with_stored(request, opened, context)
            if not isinstance(found, FetchRequest):
                return found
            request = found
        return recorder.added_to(await context.fetcher.fetch(request))
    timeout = Failed(ErrorType.TIMEOUT, f"timeout: a poll took longer than {seconds:g} s")
    return recorder.added_to(timeout)


def _request_of(
    claim: Claim, url: str, recorder: Recorder, context: EngineContext
) -> FetchRequest | Failed:
    """Return the request of a poll.

    Like a redirect, another origin gets no headers of the task and no signature.
    """
    submitted = request_of(bytes(claim.payload), claim.options.success_on)
    if isinstance(submitted, Failed):
        return submitted
    is_same_origin = _has_same_origin(submitted.url, url)
    must_sign = claim.options.must_sign(by_default=context.settings.sign_requests)
    if must_sign and is_same_origin and not context.signer:
        emit_throttled(Event.REQUEST_UNSIGNED)
        return UNSIGNED
    headers = carried_headers(submitted.headers, is_same_origin=is_same_origin, keeps_body=False)
    request = msgspec.structs.replace(submitted, url=url, method="GET", headers=headers, body=b"")
    return msgspec.structs.replace(
        request,
        headers=headers + identity_headers(claim, request),
        sign=sign_of(claim, context.signer) if must_sign and is_same_origin else None,
        egress_proxy=claim.egress_proxy,
        recorder=recorder,
        completion=claim.options.completion,
        poll_url=url,
    )


def _has_same_origin(url: str, other: str) -> bool:
    try:
        return parse_target(url).origin == parse_target(other).origin
    except InvalidUrl:  # the fetch says what is wrong
        return False
