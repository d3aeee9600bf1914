"""``/completions``: targets that work on after a 202 report the outcomes of their attempts.

The URL has a token that belongs to one attempt, so no key is needed. Any request that matches no
attempt in progress gets the same response, whether the token is wrong, the attempt is over or the
task never existed. A body is read only when the token is valid.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from quart import Response as QuartResponse
from quart import request

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.examples import TASK_ID
from taskflow.api.inline_requests import COMPLETIONS_PATH, MAX_BYTES_WITHOUT_KEY, Incoming
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import check_encoding
from taskflow.api.reading.paths import task_id_of
from taskflow.api.responses import as_json
from taskflow.api.route import OCTETS, Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.engine.parking import report
from taskflow.fetch.body import kept_form
from taskflow.fetch.interface import request_of
from taskflow.model.completion import (
    AttemptStatusAfter,
    Completion,
    CompletionMode,
    is_completion_token,
)
from taskflow.model.encryption import Encryption
from taskflow.model.errors import (
    AttemptOver,
    BodyTooLarge,
    KeyMissing,
    TaskNotFound,
    Undecryptable,
)
from taskflow.model.outcome import ErrorType, Failed, Fetched, Response, failed
from taskflow.model.task import Claim, Moment, TaskStatus
from taskflow.model.untrusted_text import BYTE_ORDER_MARK
from taskflow.schema.completions import FailureReport
from taskflow.schema.json_text import object_fields
from taskflow.schema.reader import Reader
from taskflow.schema.validation_errors import ValidationErrors
from taskflow.store.base.parking import OpenAttempt

_HOW: Final = 'send a JSON object such as {"error": "the file has no rows"}, or no body'
_READER: Final = Reader(FailureReport)
_NO_CLAIM: Final = uuid.UUID(int=0)
"""The token of the claim that a token is compared with if there is no attempt."""


class ExtendedAttempt(msgspec.Struct, frozen=True):
    """The response to a heartbeat.

    Attributes:
        overdue_at: When the attempt fails as `timeout`, unless its outcome or another heartbeat
            arrives.
    """

    overdue_at: Moment


_ONE_ATTEMPT: Final[dict[str, Any]] = {
    "group": "completions",
    "problems": (HTTPStatus.GONE,),
    "path_parameters": (
        Parameter("id", "The id of the task.", uuid.UUID, TASK_ID),
        Parameter(
            "token",
            "The token of the attempt, which only its target knows.",
            str,
            "rUqyJ0PxE5p1qB8tJmHn3mZ0m3cM0b8oTz5rFq0v2kA",
        ),
    ),
    "access": AccessPolicy.URL_TOKEN,
}


@Route(
    "POST",
    f"{COMPLETIONS_PATH}{{id}}/{{token}}",
    responses=(
        RouteResponse(
            "The outcome is stored.",
            AttemptStatusAfter,
            AttemptStatusAfter(TASK_ID, TaskStatus.COMPLETED),
        ),
    ),
    body=Any,
    body_examples={"result": {"rows": 4711}},
    also_accepts=(Content(OCTETS, (), "4711 rows"),),
    needs_body=False,
    **_ONE_ATTEMPT,
)
async def complete_attempt(services: Services, task_id: str, token: str) -> QuartResponse:
    """Complete a task whose target answered 202.

    For targets: the URL is the value of ``X-TaskFlow-Completion-Url`` in the request of an attempt.
    The body becomes the result of the task, like the body of a response: JSON, text, or anything
    else, of at most ``TASKFLOW_MAX_RESULT_BYTES`` bytes. The URL is valid before the 202 is sent,
    and until the attempt has an outcome.
    """
    found = await _open_attempt(services, task_id, token)
    body = await _read_body(services.settings.max_result_bytes)
    return await _report(services, found, Fetched(_result_of(services, found, body)))


@Route(
    "POST",
    f"{COMPLETIONS_PATH}{{id}}/{{token}}/failure",
    responses=(
        RouteResponse(
            "The attempt has failed: the task is PENDING if it will be retried, otherwise FAILED.",
            AttemptStatusAfter,
            AttemptStatusAfter(TASK_ID, TaskStatus.FAILED),
        ),
    ),
    body=FailureReport,
    body_examples={
        "final": {"error": "the file has no rows", "retry": False},
        "temporary": {"error": "the warehouse is locked"},
    },
    needs_body=False,
    **_ONE_ATTEMPT,
)
async def fail_attempt(services: Services, task_id: str, token: str) -> QuartResponse:
    """Fail an attempt whose target answered 202.

    For targets, like ``completeAttempt``. The attempt fails as ``reported``. The task is retried
    after its backoff if it has attempts left, unless ``retry`` is false; its next attempt has
    another URL.
    """
    found = await _open_attempt(services, task_id, token)
    given = _failure_of(await _read_body(MAX_BYTES_WITHOUT_KEY))
    error = given.error or "the target reported a failure"
    outcome = failed(ErrorType.REPORTED, f"reported: {error}")
    return await _report(services, found, outcome, may_retry=given.retry is not False)


@Route(
    "POST",
    f"{COMPLETIONS_PATH}{{id}}/{{token}}/heartbeat",
    responses=(
        RouteResponse(
            "The attempt has more time.",
            ExtendedAttempt,
            {"overdue_at": "2026-11-24T07:57:50Z"},
        ),
    ),
    **_ONE_ATTEMPT,
)
async def extend_attempt(services: Services, task_id: str, token: str) -> QuartResponse:
    """Report that the work of an attempt goes on.

    For targets, like ``completeAttempt``: the attempt is overdue ``within_seconds`` from now.
    """
    found = await _open_attempt(services, task_id, token)
    completion = cast("Completion", found.claim.options.completion)
    with store_timeout():
        overdue_at = await services.store.parking.extend(found.claim.key, completion.within_seconds)
    if overdue_at is None:
        raise AttemptOver
    return as_json(ExtendedAttempt(overdue_at))


async def _open_attempt(services: Services, task_id: str, token: str) -> OpenAttempt:
    """Return the attempt that a URL belongs to.

    Raises:
        AttemptOver: There is none in progress. Says no more.
        StoreUnavailable: The store does not answer in time.
    """
    try:
        wanted = task_id_of(task_id)
    except TaskNotFound:
        raise AttemptOver from None
    with store_timeout():
        found = await services.store.parking.find(wanted)
    # Compared in any case, so that the time does not depend on whether there is an attempt.
    held = _NO_CLAIM if found is None else found.claim.token
    is_valid = is_completion_token(token, wanted, held)
    if found is None or not is_valid:
        raise AttemptOver
    completion = found.claim.options.completion
    if completion is None or completion.mode is not CompletionMode.CALLBACK:
        raise AttemptOver
    return found


async def _read_body(max_bytes: int) -> bytes:
    """Return the body of the request.

    Raises:
        UnsupportedEncoding: It is compressed.
        RequestError: It is too large, too slow or not complete.
    """
    check_encoding()
    if (request.content_length or 0) > max_bytes:
        raise BodyTooLarge(f"the request body exceeds the limit of {max_bytes} bytes")
    return await cast("Incoming", request.body).read(max_bytes)


async def _report(
    services: Services, found: OpenAttempt, outcome: Fetched | Failed, *, may_retry: bool = True
) -> QuartResponse:
    with store_timeout():
        status = await report(
            found,
            outcome,
            store=services.store,
            settings=services.settings,
            metrics=services.metrics,
            may_retry=may_retry,
        )
    if status is None:
        raise AttemptOver
    return as_json(AttemptStatusAfter(found.claim.task_id, status))


def _result_of(services: Services, found: OpenAttempt, body: bytes) -> Response:
    content_type = request.headers.get("Content-Type")
    headers = {} if content_type is None else {"content-type": content_type}
    result, encoding = kept_form(body, content_type)
    return Response(
        message="completed",
        result=result,
        status="200 OK",
        status_code=HTTPStatus.OK.value,
        headers=services.masking.headers(headers),
        content_type=content_type,
        encoding=encoding,
        url=_url_of(services, found.claim),
        elapsed_seconds=round(found.running_seconds, 6),
        size=len(body),
    )


def _url_of(services: Services, claim: Claim) -> str:
    """Return the URL of a task without credentials; its host if this node cannot read it.

    It is never empty: a response without a URL is one that the store has encrypted.
    """
    host = claim.authority or "unknown"
    try:
        opened = Encryption(services.keyring, masking=services.masking).open_claim(claim)
    except (KeyMissing, Undecryptable):
        return host
    sent = request_of(bytes(opened.payload))
    return host if isinstance(sent, Failed) else services.masking.url(sent.url)


def _failure_of(body: bytes) -> FailureReport:
    """Read why an attempt failed; without a body, nothing is known.

    Raises:
        BadRequest: The body is not a JSON object.
        Unprocessable: Fields are invalid.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        return FailureReport()
    fields = object_fields(text, how=_HOW)
    errors = ValidationErrors()
    given = _READER.read(fields, errors)
    errors.raise_if_any()
    return FailureReport(**given)


ROUTES: Final = (complete_attempt, fail_attempt, extend_attempt)
