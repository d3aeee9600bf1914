"""How a task wants to be run, where it wants something else than the settings say."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

MAX_BACKOFF_SECONDS: Final = 86_400
MAX_PAUSES: Final = 100

BackoffSeconds: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_BACKOFF_SECONDS)]
Pauses: TypeAlias = Annotated[tuple[BackoffSeconds, ...], Meta(min_length=1, max_length=MAX_PAUSES)]
# A status, or all of a hundred: 404, "5xx".
StatusPattern: TypeAlias = (
    Annotated[int, Meta(ge=100, le=999)] | Annotated[str, Meta(pattern="^[1-9]xx$(?!\n)")]
)
StatusPatterns: TypeAlias = Annotated[
    tuple[StatusPattern, ...],
    Meta(max_length=50, extra={"expected": 'a list of up to 50 statuses, such as 503 or "5xx"'}),
]

SUCCESS: Final[tuple[int | str, ...]] = ("2xx",)


class Backoff(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Waits between attempts that grow by a factor; each is drawn from half of it to all of it."""

    initial: Annotated[
        BackoffSeconds | None,
        Meta(
            description="Seconds before the second attempt. Default: the setting "
            "`TASKFLOW_BACKOFF_SECONDS`.",
            examples=[1],
        ),
    ] = None
    factor: Annotated[
        float,
        Meta(ge=1, le=100, description="Factor by which each further wait grows.", examples=[2]),
    ] = 2.0
    max: Annotated[
        BackoffSeconds | None,
        Meta(
            description="Maximum wait in seconds. Default: the setting "
            "`TASKFLOW_MAX_BACKOFF_SECONDS`.",
            examples=[60],
        ),
    ] = None


BackoffOption: TypeAlias = Annotated[
    Backoff | Pauses,
    Meta(
        extra={
            "expected": f"an object of {', '.join(Backoff.__struct_fields__[:-1])} and max, or a "
            f"list of 1 to {MAX_PAUSES} waits; waits are seconds up to "
            f"{MAX_BACKOFF_SECONDS}, factor is 1 to 100"
        }
    ),
]


class TaskOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a task may say of how it is to be run; empty for nearly all.

    Attributes:
        backoff: How long to wait between attempts, or each wait by itself; the last one is for
            all further attempts.
        retry_on: Which statuses are worth another attempt; ``None`` for those that ask for it.
        success_on: Which statuses count as success; ``None`` for 2xx.
        callback_url: Who is to be told of its end.
        traceparent: The W3C Trace Context of the request that handed it in.
        tracestate: What goes with that.
        callback_host: The host of ``callback_url``.
        callback_authority: The same with its port, unless that is the scheme's own.
        callback_of: Of a callback: whose end it tells. Never from outside.
        schedule: The schedule that made it. This and what follows nobody can hand in.
        scheduled_at: The time of that schedule that it is for.
        if_none_match: The entity tag that its fetch is conditional on.
        if_modified_since: The date that its fetch is conditional on.
    """

    backoff: BackoffOption | None = None
    retry_on: StatusPatterns | None = None
    success_on: StatusPatterns | None = None
    callback_url: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    callback_host: str | None = None
    callback_authority: str | None = None
    callback_of: uuid.UUID | None = None
    schedule: str | None = None
    scheduled_at: dt.datetime | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether an answer that nothing has changed is one to be had."""
        return self.if_none_match is not None or self.if_modified_since is not None


NO_OPTIONS: Final = TaskOptions()


def matches(status: int, patterns: Iterable[int | str]) -> bool:
    """Whether a status is one of these."""
    return any(pattern in (status, f"{status // 100}xx") for pattern in patterns)
