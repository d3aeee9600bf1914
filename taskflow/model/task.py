"""Tasks, attempts and claims as plain values."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model import queue_limits, task_status
from taskflow.model.completion import Completion
from taskflow.model.delivery import Delivery
from taskflow.model.options import NO_OPTIONS, BackoffOption, StatusPatterns, TaskOptions
from taskflow.model.order_keys import IN_LINE, OnFailure, OrderKey, WaitingFor
from taskflow.model.outcome import ErrorType, KeptResponse
from taskflow.model.parents import FOR_PARENTS, NAME_PATTERN, OnParentFailure
from taskflow.model.queue_limits import Hold, Limiter, QueueHost
from taskflow.model.uniqueness import Debounce, Existing, Unique

DEFAULT_QUEUE: Final = "default"
MIN_PRIORITY: Final = -100
MAX_PRIORITY: Final = 100
MAX_ATTEMPTS: Final = 100
MAX_TAGS: Final = 16
MAX_KEY_CHARACTERS: Final = 255  # of an idempotency key
MAX_DELAY_SECONDS: Final = 31_622_400  # 366 days
MAX_RETENTION_SECONDS: Final = 315_576_000  # ten years
# The schema is for ``/openapi.json`` only: msgspec accepts any JSON as ``Raw``.
Payload: TypeAlias = Annotated[
    msgspec.Raw,
    Meta(extra_json_schema={"type": ["string", "number", "boolean", "object", "array"]}),
]
Moment: TypeAlias = queue_limits.Moment
TaskStatus: TypeAlias = task_status.TaskStatus
NAME_RULE: Final = (
    "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
)
QueueName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        max_length=64,
        extra={"expected": NAME_RULE},
    ),
]
TaskName: TypeAlias = QueueName
TagName: TypeAlias = QueueName
CredentialName: TypeAlias = QueueName

# No control characters, because PostgreSQL rejects some; only integers that every JSON parser
# represents exactly (RFC 8259, section 6).
TagValue: TypeAlias = (
    Annotated[str, Meta(pattern="^[^\x00-\x1f\x7f]*$(?!\n)", max_length=256)]
    | Annotated[int, Meta(ge=-(2**53 - 1), le=2**53 - 1)]
    | bool
)
TAGS_RULE: Final = (
    f"an object of up to {MAX_TAGS} names (as for queues) with text of up to 256 "
    "characters, whole numbers, true or false"
)
Tags: TypeAlias = Annotated[
    dict[TagName, TagValue], Meta(max_length=MAX_TAGS, extra={"expected": TAGS_RULE})
]


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a queue, a schedule or a tag."""
    try:
        msgspec.convert(text, QueueName)
    except msgspec.ValidationError:
        return False
    return True


class NewTask(msgspec.Struct, frozen=True):
    """A validated submission.

    Attributes:
        payload: JSON text, stored byte for byte.
        queue: The name of its queue.
        priority: Tasks with a higher priority are claimed first.
        delay_seconds: Seconds from now, by the store's clock, until it is due.
        max_attempts: Maximum number of attempts.
        run_at: When it is due, instead of a delay; a time in the past means now.
        expires_at: When it expires: no attempt starts from then on.
        retention_seconds: How long it is kept after it finishes; ``None`` for the setting.
        tags: Tags for filters.
        host: The host of its URL, if it has one.
        authority: The host with its port, unless that is the default port; empty without a host.
        order_key: Tasks of its queue with the same key run one at a time, in order.
        on_failure: What happens to the key when the task fails; ``None`` without a key.
        group: The group that it joins.
        after: Its parents: names of tasks of the same request, and ids.
        options: Options for its attempts.
    """

    payload: msgspec.Raw
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay_seconds: float = 0.0
    max_attempts: int = 1
    run_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    retention_seconds: float | None = None
    tags: dict[str, TagValue] = {}
    host: str | None = None
    authority: str = ""
    order_key: str | None = None
    on_failure: OnFailure | None = None
    group: uuid.UUID | None = None
    after: tuple[str, ...] = ()
    options: TaskOptions = NO_OPTIONS

    @property
    def is_keyed(self) -> bool:
        """True if it may meet another task, because it has a unique or debounce key."""
        return self.options is not NO_OPTIONS and self.options.is_keyed

    @property
    def waits(self) -> bool:
        """True if it is stored waiting for other tasks, without a due time."""
        return self.order_key is not None or bool(self.after)

    @property
    def waiting_for(self) -> WaitingFor | None:
        """What it waits for when it is stored."""
        if self.order_key is not None:
            return IN_LINE
        return FOR_PARENTS if self.after else None

    def as_task(
        self,
        task_id: uuid.UUID,
        *,
        created_at: dt.datetime,
        run_at: dt.datetime | None,
        after: tuple[uuid.UUID, ...] | None = None,
    ) -> Task:
        """Return the task once it is stored, with the ids of its parents."""
        return Task(
            id=task_id,
            payload=self.payload,
            status=TaskStatus.PENDING,
            created_at=created_at,
            run_at=run_at,
            queue=self.queue,
            priority=self.priority,
            max_attempts=self.max_attempts,
            backoff=self.options.shown_backoff,
            retry_on=self.options.retry_on,
            success_on=self.options.success_on,
            sign=self.options.sign,
            credential=self.options.credential,
            unique=self.options.unique,
            debounce=self.options.debounce,
            tags=self.tags,
            expires_at=self.expires_at,
            retention_seconds=self.retention_seconds,
            completion=self.options.completion,
            callback_url=self.options.callback_url,
            callback_of=self.options.callback_of,
            schedule=self.options.schedule,
            scheduled_at=self.options.scheduled_at,
            order_key=self.order_key,
            on_failure=self.on_failure,
            group=self.group,
            completion_of=self.options.completion_of,
            delivery=self.options.delivery or UNSET,
            name=self.options.name,
            after=after,
            on_parent_failure=self.options.on_parent_failure,
            waiting_for=self.waiting_for,
        )


class IdempotencyKey(msgspec.Struct, frozen=True):
    """An idempotency key (draft-ietf-httpapi-idempotency-key-header).

    Attributes:
        text: The key that the client sent, prefixed with the owner of the key.
        fingerprint: A hash of the request: a different request must not use the same key.
        seconds: How long the key is stored.
    """

    text: str
    fingerprint: bytes
    seconds: float


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the API shows it; the field order is the order of the JSON.

    Attributes:
        id: The id of the task; later tasks have greater ids.
        payload: The payload, byte for byte as it was submitted.
        status: The status.
        result: The response of a COMPLETED task, as JSON.
        error: Why the last attempt failed, for people; empty if it did not fail.
        error_type: Why the last attempt failed, for programs.
        created_at: When it was stored.
        run_at: When it is due at the earliest; ``None`` while it waits for other tasks.
        started_at: When the last attempt started.
        finished_at: When it finished, or ``None``.
        queue: The name of its queue.
        priority: Tasks with a higher priority are claimed first.
        attempt: Number of attempts that count, including a running one.
        max_attempts: Maximum number of attempts.
        rescues: How many nodes died while they ran it.
        tags: Tags for filters.
        expires_at: When it expires: no attempt starts from then on.
        backoff: Delays between attempts; ``None`` for the settings.
        retry_on: Statuses that are retried; ``None`` for 408, 425, 429 and 5xx.
        success_on: Statuses that count as success; ``None`` for 2xx.
        sign: Whether its requests are signed; ``None`` for what its queue says, or the setting.
        credential: The name of the credential of its requests; ``None`` for what its queue says.
        unique: Its unique key, if it has one.
        debounce: Its debounce key, if it has one.
        debounced: Number of later submissions that its debounce key folded into it.
        retention_seconds: How long it is kept after it finishes; ``None`` for the setting.
        completion: How it is completed if its target answers 202 and works on.
        callback_url: The URL to which its outcome is sent.
        callback_id: The id of the callback for its outcome, once it is finished.
        callback_of: In a callback, the id of the task whose outcome it sends.
        schedule: The name of the schedule that created it, if any.
        scheduled_at: The scheduled time; ``None`` if a client ran the schedule.
        order_key: Tasks of its queue with the same key run one at a time, in order.
        on_failure: What happens to the key when the task fails; ``None`` without a key. A FAILED
            task with ``hold`` holds its key.
        group: The id of its group, if it is in one.
        completion_of: In the task that a completed group creates, the id of the group.
        name: Its name within the array that it was submitted in, if it has one.
        after: The ids of its parents, in their order of creation; ``None`` without parents.
        on_parent_failure: What happens when a parent FAILED or was CANCELED; ``None`` without
            parents.
        held: Why it does not start although it is due, or ``None``.
        waiting_for: The task that must finish before it is due; or, of a RUNNING task, that its
            target has accepted the work and its outcome is not known yet. Otherwise ``None``.
        delivery: In the delivery of an event, what it delivers; absent otherwise.
        existing: In the response to a submission, what the submission did to this task, which
            existed; absent otherwise.
    """

    id: uuid.UUID
    payload: Payload
    status: TaskStatus
    result: msgspec.Raw | None = None
    error: str = ""
    error_type: ErrorType | None = None
    created_at: Moment
    run_at: Moment | None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    attempt: int = 0
    max_attempts: int = 1
    rescues: int = 0
    tags: dict[str, TagValue] = {}
    expires_at: Moment | None = None
    backoff: BackoffOption | None = None
    retry_on: StatusPatterns | None = None
    success_on: StatusPatterns | None = None
    sign: bool | None = None
    credential: str | None = None
    unique: Unique | None = None
    debounce: Debounce | None = None
    debounced: int = 0
    retention_seconds: float | None = None
    completion: Completion | None = None
    callback_url: str | None = None
    callback_id: uuid.UUID | None = None
    callback_of: uuid.UUID | None = None
    schedule: str | None = None
    scheduled_at: Moment | None = None
    order_key: OrderKey | None = None
    on_failure: OnFailure | None = None
    group: uuid.UUID | None = None
    completion_of: uuid.UUID | None = None
    name: TaskName | None = None
    after: tuple[uuid.UUID, ...] | None = None
    on_parent_failure: OnParentFailure | None = None
    held: Hold | None = None
    waiting_for: WaitingFor | None = None
    delivery: Delivery | UnsetType = UNSET
    existing: Existing | UnsetType = UNSET

    @property
    def size_bytes(self) -> int:
        """Size of the payload and the result."""
        return len(bytes(self.payload)) + len(bytes(self.result or b""))

    @property
    def endpoint_id(self) -> uuid.UUID | None:
        """The id of the endpoint that an event is delivered to."""
        return self.delivery.endpoint_id if isinstance(self.delivery, Delivery) else None

    def with_hold(self, limiter: Limiter, queue_host: QueueHost, now: dt.datetime) -> Task:
        """Return the task with what keeps it from starting, if it is due and held."""
        if self.status is not TaskStatus.PENDING or self.run_at is None or self.run_at > now:
            return self
        return msgspec.structs.replace(self, held=limiter.hold_of(queue_host))

    @property
    def holds_key(self) -> bool:
        """True if it FAILED and no task with its order key starts until a client decides."""
        return self.status is TaskStatus.FAILED and self.on_failure is OnFailure.HOLD


class AttemptStatus(enum.StrEnum):
    """The status of an attempt."""

    RUNNING = "RUNNING"
    """It is in progress."""
    COMPLETED = "COMPLETED"
    """The target returned a response that counts as success."""
    FAILED = "FAILED"
    """It failed and counts; another one follows if any are left."""
    INTERRUPTED = "INTERRUPTED"
    """A shutdown or the egress proxy interrupted it; the next attempt has the same number."""
    LOST = "LOST"
    """Its node died; it does not count, and the next attempt has the same number."""
    CANCELED = "CANCELED"
    """A client canceled the task."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as the API shows it; the field order is the order of the JSON.

    Attributes:
        number: The number of the attempt, from 1.
        status: The status.
        node: The node that ran it: host and process.
        started_at: When it was claimed.
        finished_at: When its outcome was stored, or its loss was detected.
        elapsed_seconds: Duration of the fetch in seconds; ``None`` if unknown.
        status_code: The status of the response, if there was one.
        error: Why it failed, for people; empty if it did not fail.
        error_type: Why it failed, for programs.
        response: The last response of a FAILED attempt, if there was one and the attempt is among
            the last 100: status, headers and the beginning of the body.
    """

    number: int
    status: AttemptStatus
    node: str | None
    started_at: Moment
    finished_at: Moment | None = None
    elapsed_seconds: float | None = None
    status_code: int | None = None
    error: str = ""
    error_type: ErrorType | None = None
    response: KeptResponse | UnsetType = UNSET


class ClaimKey(NamedTuple):
    """The identity of a claim: a task may be claimed several times, one after the other."""

    task_id: uuid.UUID
    token: uuid.UUID


class Claim(msgspec.Struct, frozen=True):
    """The right of a node to run a task once; each write proves it with the token.

    Attributes:
        task_id: The id of the task.
        token: The token of the claim.
        payload: The payload of the task.
        attempt: The number of the attempt, from 1.
        max_attempts: Maximum number of attempts.
        options: Options for the attempt, with what the queue says for tasks that do not.
        egress_proxy: What its queue says about the proxy of its request (``QueueSettings``).
        authority: The host and port of its URL; empty without a URL.
        is_limited: True if other tasks may be held until this one finishes.
        is_probe: True if it probes a host whose circuit breaker is half-open.
        waited_seconds: How long the task had been due, by the store's clock.
        fault: Why the task cannot be run, if its row cannot be decoded.
        queue: The name of its queue.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    payload: msgspec.Raw
    attempt: int
    max_attempts: int
    options: TaskOptions = NO_OPTIONS
    egress_proxy: str | None = None
    authority: str = ""
    is_limited: bool = False
    is_probe: bool = False
    waited_seconds: float = 0.0
    fault: str = ""
    queue: str = DEFAULT_QUEUE

    @property
    def key(self) -> ClaimKey:
        """The identity of the claim."""
        return ClaimKey(self.task_id, self.token)
