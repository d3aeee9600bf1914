"""Failures: FAILED tasks that have the same cause, as one.

The cause is the queue, the host, the type of the error, the status of the response and the message
without what differs from task to task: numbers, ids, times, addresses and quoted values.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import Moment
from taskflow.model.untrusted_text import printable, shortened

MAX_FAILURES: Final = 5_000
"""Maximum number of failures; further causes are counted by queue and type of error."""

MAX_MESSAGE_CHARACTERS: Final = 200
MAX_READ_CHARACTERS: Final = 500
"""Number of characters of an error that are read for its message."""

MAX_EXAMPLES: Final = 3
TREND_HOURS: Final = 24
RESOLVED_KEPT_SECONDS: Final = 7 * 86_400.0
"""How long a failure without FAILED tasks is kept after its last occurrence."""

VARIOUS: Final = "(various messages)"

_UUID: Final = "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_TIME: Final = (
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
)
_IP_ADDRESS: Final = (
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"
    r"|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\](?::\d{1,5})?"
    r"|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_MAIL_ADDRESS: Final = r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"
_QUOTED: Final = (
    r"\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)|`[^`\n]*`"
    "|\N{LEFT DOUBLE QUOTATION MARK}[^\N{RIGHT DOUBLE QUOTATION MARK}\n]*"
    "\N{RIGHT DOUBLE QUOTATION MARK}"
)
# Hexadecimal, or longer than a word and with digits: hashes, keys and tokens.
_ID: Final = (
    r"\b0x[0-9A-Fa-f]+\b|\b(?=\d*[A-Fa-f])(?=[A-Fa-f]*\d)[0-9A-Fa-f]{8,}\b"
    r"|\b(?=[A-Za-z_-]*\d)(?=\w*[A-Za-z])[\w-]{16,}\b"
)
# After a letter or a digit, "-" is no sign.
_NUMBER: Final = r"(?:(?<!\w)[+-])?\d+(?:[.,]\d+)*"
_ESCAPED: Final = r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})"
"""A character that cannot be printed, as the text of a target may have it; it stays."""

_VARIABLE: Final = re.compile(
    f"(?P<value>{_QUOTED})|(?P<id>{_UUID})|(?P<time>{_TIME})|(?P<email>{_MAIL_ADDRESS})"
    f"|(?P<address>{_IP_ADDRESS})|(?P<escaped>{_ESCAPED})|(?P<hash>{_ID})|(?P<n>{_NUMBER})"
)
_NAMES: Final[Mapping[str, str]] = {
    "value": '"..."',
    "id": "<id>",
    "time": "<time>",
    "email": "<address>",
    "address": "<address>",
    "hash": "<id>",
    "n": "<n>",
}
_SPACES: Final = re.compile(r"\s+")
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)
_HOUR: Final = dt.timedelta(hours=1)


class FailureState(enum.StrEnum):
    """Which failures are listed."""

    OPEN = "open"
    """Failures with FAILED tasks."""
    RESOLVED = "resolved"
    """Failures of the last seven days whose tasks were retried, canceled or deleted."""
    ALL = "all"
    """Both."""


class Cause(NamedTuple):
    """What the tasks of a failure have in common."""

    queue: str
    host: str
    error_type: str | None
    status_code: int | None
    message: str

    @property
    def id(self) -> uuid.UUID:
        """The id of the failure: the same in every store (UUIDv8, RFC 9562)."""
        digest = hashlib.sha256(msgspec.json.encode(tuple(self))).digest()
        number = int.from_bytes(digest[:16]) & ~(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62
        return uuid.UUID(int=number)

    @property
    def without_details(self) -> Cause:
        """The cause that stands for this one when there are too many."""
        return Cause(self.queue, "", self.error_type, None, VARIOUS)

    def as_failure(
        self,
        occurrences: Occurrences,
        *,
        failed: int,
        example_ids: Sequence[uuid.UUID],
        now: dt.datetime,
    ) -> Failure:
        """Return the failure with this cause as it is shown."""
        types = {one.value: one for one in ErrorType}
        return Failure(
            id=self.id,
            queue=self.queue,
            host=self.host,
            error_type=types.get(self.error_type or ""),
            status_code=self.status_code,
            message=self.message,
            failed=failed,
            occurrences=occurrences.count,
            first_at=occurrences.first_at,
            last_at=occurrences.last_at,
            trend=occurrences.trend(now),
            example_ids=list(example_ids),
        )


class Occurrences(msgspec.Struct):
    """How often a failure occurred.

    Attributes:
        count: Number of times.
        first_at: The first time.
        last_at: The last time.
        by_hour: Numbers by hour, counted from 1970, of the last ``TREND_HOURS``.
    """

    count: int
    first_at: dt.datetime
    last_at: dt.datetime
    by_hour: dict[int, int]

    def add(self, other: Occurrences) -> None:
        """Add other occurrences, and forget hours that are over."""
        self.count += other.count
        self.first_at = min(self.first_at, other.first_at)
        self.last_at = max(self.last_at, other.last_at)
        for hour, count in other.by_hour.items():
            self.by_hour[hour] = self.by_hour.get(hour, 0) + count
        first = hour_of(self.last_at) - TREND_HOURS
        self.by_hour = {hour: count for hour, count in self.by_hour.items() if hour > first}

    def trend(self, now: dt.datetime) -> list[int]:
        """Return the numbers of the last ``TREND_HOURS``, the oldest first."""
        last = hour_of(now)
        return [self.by_hour.get(last - ago, 0) for ago in reversed(range(TREND_HOURS))]


class FailureFilter(msgspec.Struct, frozen=True):
    """A filter for failures: all given conditions must match.

    Attributes:
        state: Whether there are FAILED tasks.
        queue: The queue of the tasks.
        host: Their host, with its port unless it is the default.
        error_type: Why they failed.
        since: The last occurrence was at this time or later.
        scope: The queue is one of these.
    """

    state: FailureState = FailureState.OPEN
    queue: str | None = None
    host: str | None = None
    error_type: ErrorType | None = None
    since: dt.datetime | None = None
    scope: QueueScope | None = None


OPEN_FAILURES: Final = FailureFilter()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """FAILED tasks that have the same cause; the field order is the order of the JSON.

    Attributes:
        id: The id, for the filter ``failure`` of tasks. The same cause always has the same id.
        queue: The queue of the tasks.
        host: Their host, with its port unless it is the default; empty without one.
        error_type: Why they failed, for programs.
        status_code: The status of the last response; ``null`` if there was none.
        message: Why they failed, for people: `<n>`, `<id>`, `<time>`, `<address>` and `"..."` stand
            for what differs from task to task.
        failed: Number of tasks that are FAILED now; 0 once all were retried, canceled or deleted.
        occurrences: How often a task failed for this cause, including tasks that were retried.
        first_at: The first time.
        last_at: The last time.
        trend: Occurrences in each of the last 24 hours, the current one last.
        example_ids: The ids of up to three of the FAILED tasks, the newest first.
    """

    id: uuid.UUID
    queue: str
    host: str
    error_type: ErrorType | None
    status_code: int | None
    message: str
    failed: int
    occurrences: int
    first_at: Moment
    last_at: Moment
    trend: list[int]
    example_ids: list[uuid.UUID]


@functools.lru_cache(1024)
def normalized_message(error: str, status_code: int | None = None) -> str:
    """Return an error without what differs from task to task.

    Args:
        error: The error, without credentials.
        status_code: The status of the response: this number stays, because it is part of the cause.
    """
    kept = str(status_code)

    def name_of(match: re.Match[str]) -> str:
        if match[0] == kept or match.lastgroup == "escaped":
            return match[0]
        return _NAMES[match.lastgroup or "n"]

    text = _VARIABLE.sub(name_of, error[:MAX_READ_CHARACTERS])
    return shortened(printable(_SPACES.sub(" ", text).strip()), MAX_MESSAGE_CHARACTERS)


def hour_of(moment: dt.datetime) -> int:
    """Return the number of hours since 1970."""
    return (moment - _EPOCH) // _HOUR


def once(at: dt.datetime) -> Occurrences:
    """Return one occurrence."""
    return Occurrences(1, at, at, {hour_of(at): 1})


def not_once(at: dt.datetime) -> Occurrences:
    """Return no occurrence, of a task that failed at this time and is counted elsewhere."""
    return Occurrences(0, at, at, {})


def matches_failure(failure: Failure, wanted: FailureFilter) -> bool:
    """Return whether a failure matches a filter."""
    is_open = failure.failed > 0
    return (
        (wanted.state is FailureState.ALL or is_open is (wanted.state is FailureState.OPEN))
        and wanted.queue in (None, failure.queue)
        and wanted.host in (None, failure.host)
        and wanted.error_type in (None, failure.error_type)
        and (wanted.since is None or failure.last_at >= wanted.since)
        and (wanted.scope is None or wanted.scope.allows(failure.queue))
    )


def failures_in_order(failures: Iterable[Failure]) -> list[Failure]:
    """Return failures, the last occurrence first."""
    return sorted(failures, key=lambda one: (one.last_at, one.id), reverse=True)


def merged_failures(parts: Iterable[Failure]) -> list[Failure]:
    """Return the failures of several stores, with one for each cause."""
    merged: dict[uuid.UUID, Failure] = {}
    for one in parts:
        known = merged.get(one.id)
        merged[one.id] = one if known is None else _sum_of(known, one)
    return failures_in_order(merged.values())


def _sum_of(one: Failure, other: Failure) -> Failure:
    return msgspec.structs.replace(
        one,
        failed=one.failed + other.failed,
        occurrences=one.occurrences + other.occurrences,
        first_at=min(one.first_at, other.first_at),
        last_at=max(one.last_at, other.last_at),
        trend=[a + b for a, b in zip(one.trend, other.trend, strict=True)],
        example_ids=sorted((*one.example_ids, *other.example_ids), reverse=True)[:MAX_EXAMPLES],
    )
