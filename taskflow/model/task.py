"""What a task is."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model import queue_limits
from taskflow.model.options import NO_OPTIONS, BackoffOption, StatusPatterns, TaskOptions
from taskflow.model.outcome import ErrorType, KeptResponse
from taskflow.model.queue_limits import Hold, Limiter, QueueHost

DEFAULT_QUEUE: Final = "default"
MIN_PRIORITY: Final = -100
MAX_PRIORITY: Final = 100
MAX_ATTEMPTS: Final = 100
MAX_TAGS: Final = 16
MAX_KEY_CHARACTERS: Final = 255  # of an idempotency key
MAX_DELAY_SECONDS: Final = 31_622_400  # a year
MAX_RETENTION_SECONDS: Final = 315_576_000  # ten of them
# What readers of ``/openapi.json`` see of them; msgspec itself takes any JSON for ``Raw``.
Payload: TypeAlias = Annotated[
    msgspec.Raw,
    Meta(extra_json_schema={"type": ["string", "number", "boolean", "object", "array"]}),
]
Moment: TypeAlias = queue_limits.Moment
NAME_RULE: Final = (
    "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
)
QueueName: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)",
        max_length=64,
        extra={"expected": NAME_RULE},
    ),
]
TagName: TypeAlias = QueueName
# No control characters, which PostgreSQL partly refuses; whole numbers that every reader of JSON
# can tell apart (RFC 8259, section 6).
TagValue: TypeAlias = (
    Annotated[str, Meta(pattern="^[^\x00-\x1f\x7f]*$(?!\n)", max_length=256)]
    | Annotated[int, Meta(ge=-(2**53 - 1), le=2**53 - 1)]
    | bool
)
TAGS_RULE: Final = (
    f"an object of up to {MAX_TAGS} names (as those of queues) with text of up to 256 "
    "characters, whole numbers, true or false"
)
Tags: TypeAlias = Annotated[
    dict[TagName, TagValue], Meta(max_length=MAX_TAGS, extra={"expected": TAGS_RULE})
]


class TaskStatus(enum.StrEnum):
    """Where a task stands; the last three are ends, from which only a person moves it."""

    PENDING = "PENDING"
    """It waits: to be due, for a worker, or for another attempt."""
    RUNNING = "RUNNING"
    """A worker has it."""
    COMPLETED = "COMPLETED"
    """The target answered, and the answer counts as success."""
    FAILED = "FAILED"
    """It failed for good; ``error_type`` says why."""
    CANCELED = "CANCELED"
    """Somebody called it off."""

    @property
    def is_final(self) -> bool:
        """Whether the task is at its end (it may still be retried by hand)."""
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING)


class NewTask(msgspec.Struct, frozen=True):
    """A task as it is handed in.

    Attributes:
        payload: JSON text, kept to the byte.
        queue: The queue it stands in.
        priority: Higher is claimed first.
        delay_seconds: How long from now, by the store's clock, until it may be claimed.
        max_attempts: How many attempts may fail before the task does.
        run_at: When it may be claimed, in place of a delay; a past moment is now.
        expires_at: From when on no attempt is begun.
        retention_seconds: How long it is kept after its end; ``None`` is as the settings say.
        tags: What it can be found by.
        host: That of its URL, if it has one.
        authority: The same with its port, unless that is the scheme's own; empty without a host.
        options: How it is to be run.
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
    options: TaskOptions = NO_OPTIONS

    def as_task(self, task_id: uuid.UUID, *, created_at: dt.datetime, run_at: dt.datetime) -> Task:
        """The task that this is once it is stored."""
        return Task(
            id=task_id,
            payload=self.payload,
            status=TaskStatus.PENDING,
            created_at=created_at,
            run_at=run_at,
            queue=self.queue,
            priority=self.priority,
            max_attempts=self.max_attempts,
            backoff=self.options.backoff,
            retry_on=self.options.retry_on,
            success_on=self.options.success_on,
            tags=self.tags,
            expires_at=self.expires_at,
            retention=self.retention_seconds,
            callback_url=self.options.callback_url,
            callback_of=self.options.callback_of,
            schedule=self.options.schedule,
            scheduled_at=self.options.scheduled_at,
        )


class IdempotencyKey(msgspec.Struct, frozen=True):
    """What makes a repeated request known (draft-ietf-httpapi-idempotency-key-header).

    Attributes:
        text: As its client made it up, with a mark of whose it is.
        fingerprint: Of the whole request: another one must not come by the same key.
        seconds: How long it is remembered.
    """

    text: str
    fingerprint: bytes
    seconds: float


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is kept and shown; the field order is the order of the JSON.

    Attributes:
        id: Made by the store; later tasks have greater ids.
        payload: JSON as it was sent, to the byte.
        status: Where it stands.
        result: The ``Response`` of a COMPLETED task, as JSON.
        error: Why the last attempt failed, for people; empty if none did.
        error_type: The same for programs.
        created_at: When it was stored.
        run_at: When it may be claimed, at the earliest.
        started_at: When the last attempt was claimed.
        finished_at: When it came to its end, or ``None``.
        queue: The queue it stands in.
        priority: Higher is claimed first.
        attempt: How many attempts counted so far, a running one included.
        max_attempts: How many may fail before the task does.
        rescues: How often its node died under it.
        tags: What it can be found by.
        expires_at: From when on no attempt is begun.
        backoff: How long it waits between attempts; ``None`` is as the settings say.
        retry_on: Which statuses are worth another attempt; ``None`` is those that ask for it.
        success_on: Which statuses count as success; ``None`` is 2xx.
        retention: How long it is kept after its end, in seconds; ``None`` is as the settings say.
        callback_url: Who is to be told of its end.
        callback_id: The task by which its last end is told, once it came to one.
        callback_of: Of a callback: the task whose end it tells.
        schedule: The schedule that made it, if one did.
        scheduled_at: The time of that schedule that it is for; ``None`` if it was run by hand.
        waiting_for: What keeps it from starting although it is due, or ``None``.
    """

    id: uuid.UUID
    payload: Payload
    status: TaskStatus
    result: msgspec.Raw | None = None
    error: str = ""
    error_type: ErrorType | None = None
    created_at: Moment
    run_at: Moment
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
    retention: float | None = None
    callback_url: str | None = None
    callback_id: uuid.UUID | None = None
    callback_of: uuid.UUID | None = None
    schedule: str | None = None
    scheduled_at: Moment | None = None
    waiting_for: Hold | None = None

    def with_hold(self, limiter: Limiter, queue_host: QueueHost, now: dt.datetime) -> Task:
        """Return the task with what keeps it from starting, if it is due and held."""
        if self.status is not TaskStatus.PENDING or self.run_at > now:
            return self
        return msgspec.structs.replace(self, waiting_for=limiter.hold_of(queue_host))


class AttemptStatus(enum.StrEnum):
    """How an attempt stands, or how it went."""

    RUNNING = "RUNNING"
    """It is under way."""
    COMPLETED = "COMPLETED"
    """The target answered, and the answer counts as success."""
    FAILED = "FAILED"
    """It counts; if another one is left, that comes after a pause."""
    INTERRUPTED = "INTERRUPTED"
    """Cut off by a shutdown; it does not count, and the next one has the same number."""
    LOST = "LOST"
    """Its node died; it does not count, and the next one has the same number."""
    CANCELED = "CANCELED"
    """Cut off, as somebody called the task off."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as it is kept and shown; the field order is the order of the JSON.

    Attributes:
        number: Which attempt of the task it was, from 1.
        status: How it went.
        node: Which node ran it: host and process.
        started_at: When it was claimed.
        finished_at: When its outcome was written, or its loss noticed.
        elapsed_ms: How long the fetch took, in milliseconds; ``None`` if nobody can say.
        status_code: What the target answered, if it answered.
        error: Why it failed, for people; empty if it did not.
        error_type: The same for programs.
        response: The last response of a FAILED attempt, if one came and it is among the last
            100 attempts: status, headers and the beginning of the body.
    """

    number: int
    status: AttemptStatus
    node: str | None
    started_at: Moment
    finished_at: Moment | None = None
    elapsed_ms: float | None = None
    status_code: int | None = None
    error: str = ""
    error_type: ErrorType | None = None
    response: KeptResponse | UnsetType = UNSET


class ClaimKey(NamedTuple):
    """What tells a claim from all others: of one task there may be several, one after the other."""

    task_id: uuid.UUID
    token: uuid.UUID


class Claim(msgspec.Struct, frozen=True):
    """The right to run a task once; the token proves it at every write.

    Attributes:
        task_id: Which task.
        token: The proof.
        payload: The task's.
        attempt: The number of this one, from 1.
        max_attempts: How many may fail.
        options: How it is to be run.
        authority: Where it goes: host and port; empty for nowhere.
        is_limited: Whether others may wait for its end, for a limit keeps them from starting.
        is_probe: Whether it shows if a host that failed is well again.
        waited_seconds: How long the task had been due, by the store's clock.
        fault: Why the task cannot be run, if it cannot even be read.
    """

    task_id: uuid.UUID
    token: uuid.UUID
    payload: msgspec.Raw
    attempt: int
    max_attempts: int
    options: TaskOptions = NO_OPTIONS
    authority: str = ""
    is_limited: bool = False
    is_probe: bool = False
    waited_seconds: float = 0.0
    fault: str = ""

    @property
    def key(self) -> ClaimKey:
        """What tells it from all others."""
        return ClaimKey(self.task_id, self.token)
