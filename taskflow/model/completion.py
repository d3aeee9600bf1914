"""Deferred completion: attempts that outlast their request.

A target that accepts the work with a 202 (RFC 9110, section 15.3.3) parks the attempt: the task
stays RUNNING, but no worker, connection or memory is held until the outcome is known. In the mode
``callback`` the target reports the outcome at a URL that belongs to this attempt; in the mode
``poll`` TaskFlow asks for it at the ``Location`` of the response.

The token of the URL is derived from the token of the claim, which is random and belongs to one
attempt. So nothing is stored for it, it is valid before the 202 has arrived, and it ends with the
attempt.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import uuid
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.order_keys import WaitingFor, WaitReason
from taskflow.model.task_status import TaskStatus

COMPLETION_URL_HEADER: Final = "X-TaskFlow-Completion-Url"
"""The header of a request that has the URL at which its target reports the outcome."""

PARKED_NODE: Final = uuid.UUID(int=2**128 - 1)
"""The node that holds parked attempts: the Max UUID (RFC 9562, section 5.10), last in an index."""

MIN_WITHIN_SECONDS: Final = 1
MAX_WITHIN_SECONDS: Final = 31_622_400  # 366 days
DEFAULT_POLL_SECONDS: Final = 5.0
"""Time between two polls if the response has no ``Retry-After``."""

MIN_POLL_SECONDS: Final = 1.0
MAX_POLL_SECONDS: Final = 3600.0
_PURPOSE: Final = b"taskflow completion "

WithinSeconds: TypeAlias = Annotated[
    float, Meta(ge=MIN_WITHIN_SECONDS, le=MAX_WITHIN_SECONDS, extra={"unit": "seconds"})
]


class CompletionMode(enum.StrEnum):
    """How the outcome of an attempt becomes known after a 202."""

    CALLBACK = "callback"
    """The target reports it at the URL in the header `X-TaskFlow-Completion-Url` of the request."""
    POLL = "poll"
    """TaskFlow polls the `Location` of the response until the response is not a 202."""


class Completion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a task is completed whose target answers 202 and works on."""

    mode: Annotated[
        CompletionMode,
        Meta(
            description="How the outcome becomes known. `callback` needs the setting "
            "`TASKFLOW_PUBLIC_URL`.",
            examples=["callback"],
        ),
    ]
    within_seconds: Annotated[
        WithinSeconds,
        Meta(
            description="Time after the 202, or after the last heartbeat, within which the outcome "
            "must be known. Then the attempt fails as `timeout`.",
            examples=[3600],
        ),
    ]


FOR_COMPLETION: Final = WaitingFor(
    WaitReason.COMPLETION,
    None,
    "its target has accepted the work, and its outcome is not known yet",
)
"""What a parked task waits for."""


class AttemptStatusAfter(msgspec.Struct, frozen=True):
    """The response to a target that reports an outcome.

    Attributes:
        task_id: The task.
        status: Its status now: COMPLETED; or, after a failure, FAILED, or PENDING until its next
            attempt.
    """

    task_id: uuid.UUID
    status: TaskStatus


def completion_token(task_id: uuid.UUID, claim_token: uuid.UUID) -> str:
    """Return the token of the completion URL of an attempt: 43 characters, 256 bits.

    Args:
        task_id: The task.
        claim_token: The token of its claim, which has 122 random bits, and cannot be derived from
            the result.
    """
    digest = hmac.digest(claim_token.bytes, _PURPOSE + task_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_completion_token(text: str, task_id: uuid.UUID, claim_token: uuid.UUID) -> bool:
    """Return whether a text is the token of an attempt; compares in constant time."""
    return hmac.compare_digest(text.encode(), completion_token(task_id, claim_token).encode())


def completion_url(public_url: str, task_id: uuid.UUID, claim_token: uuid.UUID) -> str:
    """Return the URL at which the target of an attempt reports its outcome.

    Args:
        public_url: ``TASKFLOW_PUBLIC_URL``.
        task_id: The task.
        claim_token: The token of its claim.
    """
    token = completion_token(task_id, claim_token)
    return f"{public_url.rstrip('/')}/completions/{task_id}/{token}"


def poll_delay_seconds(retry_after_seconds: float | None) -> float:
    """Return the time until the next poll, by the ``Retry-After`` of the last response."""
    if retry_after_seconds is None:
        return DEFAULT_POLL_SECONDS
    return min(max(retry_after_seconds, MIN_POLL_SECONDS), MAX_POLL_SECONDS)
