"""Options of a task that override the settings for its attempts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.alert_target import AlertTarget
from taskflow.model.completion import Completion
from taskflow.model.delivery import Delivery
from taskflow.model.parents import OnParentFailure
from taskflow.model.uniqueness import Debounce, Unique

MAX_BACKOFF_SECONDS: Final = 86_400
MAX_PAUSES: Final = 100

BackoffSeconds: TypeAlias = Annotated[float, Meta(ge=0, le=MAX_BACKOFF_SECONDS)]
Pauses: TypeAlias = Annotated[tuple[BackoffSeconds, ...], Meta(min_length=1, max_length=MAX_PAUSES)]
# A status such as 404, or a class of statuses such as "5xx".
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

    initial_seconds: Annotated[
        BackoffSeconds | None,
        Meta(
            description="Wait before the second attempt. Default: the setting "
            "`TASKFLOW_BACKOFF_SECONDS`.",
            examples=[1],
        ),
    ] = None
    factor: Annotated[
        float,
        Meta(ge=1, le=100, description="Factor by which each further wait grows.", examples=[2]),
    ] = 2.0
    max_seconds: Annotated[
        BackoffSeconds | None,
        Meta(
            description="Maximum wait. Default: the setting `TASKFLOW_MAX_BACKOFF_SECONDS`.",
            examples=[60],
        ),
    ] = None


class StoredBackoff(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A ``Backoff`` with the names that its fields have in the database."""

    initial_seconds: BackoffSeconds | None = msgspec.field(default=None, name="initial")
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_seconds: BackoffSeconds | None = msgspec.field(default=None, name="max")


BackoffOption: TypeAlias = Annotated[
    Backoff | Pauses,
    Meta(
        extra={
            "expected": f"an object of initial_seconds, factor and max_seconds, or a "
            f"list of 1 to {MAX_PAUSES} waits; waits are seconds up to "
            f"{MAX_BACKOFF_SECONDS}, factor is 1 to 100"
        }
    ),
]

# The preset is stored, and shown, as its waits.
BackoffChoice: TypeAlias = Annotated[
    Backoff | Pauses | Literal["webhook"],
    Meta(
        extra={
            "expected": f"an object of initial_seconds, factor and max_seconds, a list of 1 to "
            f"{MAX_PAUSES} waits, or webhook; waits are seconds up to {MAX_BACKOFF_SECONDS}, "
            "factor is 1 to 100"
        }
    ),
]
WEBHOOK_SECONDS: Final = (
    *(5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0),
    *(50_400.0, 72_000.0, 86_400.0),
)
"""The waits of the preset ``webhook``, from the Standard Webhooks ("Retry schedule").

They take about three and a half days in all.
"""
WEBHOOK_ATTEMPTS: Final = len(WEBHOOK_SECONDS) + 1


class TaskOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of a task; nearly all tasks have none.

    Attributes:
        backoff: Exponential backoff, or a list of delays of which the last one repeats.
        retry_on: Statuses that are retried; ``None`` for 408, 425, 429 and 5xx.
        success_on: Statuses that count as success; ``None`` for 2xx.
        sign: Whether its requests are signed; ``None`` for what its queue says, or the setting.
        credential: The name of the credential of its requests; ``None`` for what its queue says.
        unique: Its unique key.
        debounce: Its debounce key, and its times.
        name: Its name within the array that it was submitted in.
        on_parent_failure: What happens when a parent FAILED or was CANCELED; ``None`` without
            parents.
        delay_after_parents: Seconds from the end of its last parent until it is due.
        has_references: Whether its request refers to results of its parents.
        completion: How it is completed if its target answers 202 and works on.
        callback_url: The URL to which its outcome is sent.
        traceparent: The W3C Trace Context of the request that submitted it.
        tracestate: The ``tracestate`` of the same context.
        callback_host: The host of ``callback_url``.
        callback_authority: That host with its port, unless that is the default port.
        callback_of: In a callback, the task whose outcome it sends. Clients cannot set this or the
            following options.
        completion_of: In the task that a completed group creates, the group.
        delivery: In the delivery of an event, what it delivers.
        alert: In a notification of an alert, its destination.
        schedule: The name of the schedule that created it.
        scheduled_at: The scheduled time.
        if_none_match: The entity tag on which its fetch is conditional.
        if_modified_since: The date on which its fetch is conditional.
    """

    backoff: StoredBackoff | Pauses | None = None
    retry_on: StatusPatterns | None = None
    success_on: StatusPatterns | None = None
    sign: bool | None = None
    credential: str | None = None
    unique: Unique | None = None
    debounce: Debounce | None = None
    name: str | None = None
    on_parent_failure: OnParentFailure | None = None
    delay_after_parents: float | None = None
    has_references: bool = False
    completion: Completion | None = None
    callback_url: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    callback_host: str | None = None
    callback_authority: str | None = None
    callback_of: uuid.UUID | None = None
    completion_of: uuid.UUID | None = None
    delivery: Delivery | None = None
    alert: AlertTarget | None = None
    schedule: str | None = None
    scheduled_at: dt.datetime | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None

    @property
    def shown_backoff(self) -> Backoff | Pauses | None:
        """The backoff as the API shows it."""
        if isinstance(self.backoff, StoredBackoff):
            return Backoff(**msgspec.structs.asdict(self.backoff))
        return self.backoff

    def with_queue_defaults(self, *, sign: bool | None, credential: str | None) -> TaskOptions:
        """Return the options for an attempt, with the defaults of the queue for what is not set.

        The credential of a queue is not sent to receivers of webhooks.
        """
        sign = sign if self.sign is None else self.sign
        if self.credential is not None or self.is_webhook or self.alert is not None:
            credential = self.credential
        if (sign, credential) == (self.sign, self.credential):
            return self
        return msgspec.structs.replace(self, sign=sign, credential=credential)

    def must_sign(self, *, by_default: bool) -> bool:
        """Return whether a request is signed; webhooks always are."""
        if self.is_webhook:
            return True
        return by_default if self.sign is None else self.sign

    @property
    def is_webhook(self) -> bool:
        """True for a callback, and for the delivery of an event."""
        return self.callback_of is not None or self.delivery is not None

    @property
    def needs_store(self) -> bool:
        """True if its request depends on what is stored beside the task."""
        return self.credential is not None or self.delivery is not None or self.alert is not None

    @property
    def is_keyed(self) -> bool:
        """True if its submission may meet another task, because of a key."""
        return self.unique is not None or self.debounce is not None

    @property
    def is_conditional(self) -> bool:
        """True if its fetch is conditional, so that 304 counts as success."""
        return self.if_none_match is not None or self.if_modified_since is not None


NO_OPTIONS: Final = TaskOptions()


def matches(status: int, patterns: Iterable[int | str]) -> bool:
    """Return whether a status matches one of the patterns."""
    return any(pattern in (status, f"{status // 100}xx") for pattern in patterns)
