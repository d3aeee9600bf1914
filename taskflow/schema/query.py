"""The declarations of queries."""

from __future__ import annotations

import base64
import uuid
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.audit import Action, AuditFilter, TargetKind
from taskflow.model.filter import PageOrder, TaskFilter
from taskflow.model.groups import GroupFilter, GroupName, GroupStatus
from taskflow.model.heartbeat_monitors import MonitorName
from taskflow.model.rollups import Span
from taskflow.model.schedule import DEFAULT_NEXT_RUNS, MAX_NEXT_RUNS, ScheduleName
from taskflow.model.task import MAX_TAGS, NAME_RULE, Moment, QueueName, Task
from taskflow.model.task_status import TaskStatus
from taskflow.model.topics import EndpointName, TopicName
from taskflow.schema.filters import States, Statuses, TaskFilters, filter_of
from taskflow.schema.reader import Reader

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
NO_LIMIT: Final = 2**62
LONGEST_WAIT_SECONDS: Final = 60
LONGEST_QUEUE_NAME: Final = 255
FIELDS: Final = tuple(
    one.name for one in msgspec.structs.fields(Task) if one.default is not msgspec.UNSET
)

_CURSOR_RULE: Final = {
    "expected": "one that this service gave; follow the Link header with rel=next"
}
_TAG: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:[^\x00-\x1f\x7f]{0,256}$(?!\n)"

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_PAGE)]
# Base64 of 16 bytes, whose last character has four bits that stand for nothing. The length says
# what Python's $ does not: that no newline follows.
Cursor: TypeAlias = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", max_length=22, extra=_CURSOR_RULE)
]
TagText: TypeAlias = Annotated[str, Meta(pattern=_TAG, max_length=64 + 1 + 256)]
TagTexts: TypeAlias = Annotated[
    tuple[TagText, ...],
    Meta(
        min_length=1,
        max_length=MAX_TAGS,
        extra={
            "repeated": True,
            "expected": f"a name, a colon and a value, such as color:red, {MAX_TAGS} times at "
            f"most; a name is {NAME_RULE}, a value up to 256 characters",
        },
    ),
]
Field: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(FIELDS)})$(?!\n)",
        extra_json_schema={"enum": list(FIELDS)},
        extra={"expected": f"one of {', '.join(FIELDS)}"},
    ),
]
TaskFieldNames: TypeAlias = Annotated[tuple[Field, ...], Meta(min_length=1)]
WaitSeconds: TypeAlias = Annotated[
    int,
    Meta(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        extra={"expected": f"a whole number of seconds from 0 to {LONGEST_WAIT_SECONDS}"},
    ),
]
LastEventId: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,18}$(?!\n)",
        max_length=18,
        extra={"expected": "the id of an event of this service"},
    ),
]
# PostgreSQL's text holds any character but NUL.
AnyQueueName: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_QUEUE_NAME,
        pattern=r"^[^\u0000]+$",
        extra={"expected": f"the name of a queue, of 1 to {LONGEST_QUEUE_NAME} characters"},
    ),
]


KeyName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)",
        max_length=64,
        extra={"expected": "the name of an API key, 1 to 64 of the characters A-Z a-z 0-9 . _ -"},
    ),
]
TargetText: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=r"^[^\u0000]+$",
        extra={"expected": "an id or a name, of 1 to 255 characters"},
    ),
]
AnyNumber: TypeAlias = Annotated[
    int, Meta(ge=1, le=NO_LIMIT, extra={"expected": "a whole number from 1 on"})
]


class NoParameters(msgspec.Struct, frozen=True):
    """The query of routes without parameters."""


class WaitRequest(msgspec.Struct, frozen=True):
    """The query of ``POST /tasks``."""

    wait: Annotated[
        WaitSeconds | None,
        Meta(
            description="Seconds to wait for the task to finish before the response is sent; "
            "takes precedence over `Prefer: wait`.",
            examples=[10],
        ),
    ] = None


class ShowRequest(WaitRequest, frozen=True):
    """The query of ``GET /tasks/{id}``."""

    fields: Annotated[
        TaskFieldNames | None,
        Meta(
            description="Only these fields of the task, separated by commas.",
            examples=[["id", "status"]],
        ),
    ] = None


class PageRequest(TaskFilters, frozen=True, kw_only=True):
    """The query of ``GET /tasks``."""

    limit: Annotated[
        Limit,
        Meta(
            description="Maximum number of tasks in the response. A stream of lines takes any "
            "number, and has all tasks without it.",
            examples=[20],
        ),
    ] = DEFAULT_PAGE
    status: Annotated[
        Statuses | None,
        Meta(
            description="Only tasks with this status, or one of several separated by commas.",
            examples=[["COMPLETED", "FAILED"]],
        ),
    ] = None
    state: Annotated[
        States | None,
        Meta(
            description="Only tasks that are in this state now, or in one of several separated by "
            "commas.",
            examples=[["due", "held"]],
        ),
    ] = None
    tag: Annotated[
        TagTexts | None,
        Meta(
            description="Only tasks with this tag, as `name:value`; if it is given several "
            "times, tasks with all of them.",
            examples=[["customer:42"]],
        ),
    ] = None
    fields: Annotated[
        TaskFieldNames | None,
        Meta(
            description="Only these fields of each task, separated by commas.",
            examples=[["id", "status"]],
        ),
    ] = None
    order: Annotated[
        PageOrder,
        Meta(description="Whether the newest or the oldest task is first.", examples=["oldest"]),
    ] = PageOrder.NEWEST
    cursor: Annotated[
        Cursor | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the newest task, or the oldest one with `order=oldest`.",
            examples=["AZq1kQ0AcACAAAAAAAAAAQ"],
        ),
    ] = None

    @property
    def before(self) -> uuid.UUID | None:
        """The task after which the page begins."""
        return _id_of(self.cursor)

    @property
    def filter(self) -> TaskFilter:
        """The filters as the stores search by them."""
        tags = [text.partition(":") for text in self.tag or ()]
        return filter_of(
            self,
            statuses=self.status or (),
            states=self.state or (),
            tags=tuple((name, value) for name, _, value in tags),
        )

    def going_on(self, before: uuid.UUID, *, limit: int) -> PageRequest:
        """Return the same request for the tasks after this one."""
        return msgspec.structs.replace(self, cursor=cursor_of(before), limit=limit)


class StreamRequest(PageRequest, frozen=True, kw_only=True):
    """The query of ``GET /tasks`` for a stream of lines."""

    limit: AnyNumber = NO_LIMIT


class SchedulesRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /schedules``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of schedules in the response.", examples=[20])
    ] = DEFAULT_PAGE
    cursor: Annotated[
        Annotated[ScheduleName, Meta(extra=_CURSOR_RULE)] | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the beginning.",
            examples=["reports"],
        ),
    ] = None


class HeartbeatsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /heartbeats``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of heartbeats in the response.", examples=[20])
    ] = DEFAULT_PAGE
    cursor: Annotated[
        Annotated[MonitorName, Meta(extra=_CURSOR_RULE)] | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the beginning.",
            examples=["backup"],
        ),
    ] = None


class GroupsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The query of ``GET /groups``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of groups in the response.", examples=[20])
    ] = DEFAULT_PAGE
    status: Annotated[
        GroupStatus | None, Meta(description="Only groups with this status.", examples=["OPEN"])
    ] = None
    queue: Annotated[
        QueueName | None, Meta(description="Only groups of this queue.", examples=["mail"])
    ] = None
    name: Annotated[
        GroupName | None, Meta(description="Only groups with this name.", examples=["import 7"])
    ] = None
    cursor: Annotated[
        Cursor | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the newest group.",
            examples=["AZq1kQ0AcACAAAAAAAAAAQ"],
        ),
    ] = None

    @property
    def before(self) -> uuid.UUID | None:
        """The group after which the page begins."""
        return _id_of(self.cursor)

    @property
    def filter(self) -> GroupFilter:
        """The filters as the stores search by them."""
        return GroupFilter(status=self.status, queue=self.queue, name=self.name)

    def going_on(self, before: uuid.UUID) -> GroupsRequest:
        """Return the same request for the groups after this one."""
        return msgspec.structs.replace(self, cursor=cursor_of(before))


class TopicsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /topics``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of topics in the response.", examples=[20])
    ] = DEFAULT_PAGE
    cursor: Annotated[
        Annotated[TopicName, Meta(extra=_CURSOR_RULE)] | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the beginning.",
            examples=["orders"],
        ),
    ] = None


class EndpointsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /topics/{topic}/endpoints``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of endpoints in the response.", examples=[20])
    ] = DEFAULT_PAGE
    cursor: Annotated[
        Annotated[EndpointName, Meta(extra=_CURSOR_RULE)] | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the beginning.",
            examples=["billing"],
        ),
    ] = None


class DeliveriesRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /topics/{topic}/endpoints/{name}/deliveries``."""

    limit: Annotated[
        Limit, Meta(description="Maximum number of deliveries in the response.", examples=[20])
    ] = DEFAULT_PAGE
    status: Annotated[
        TaskStatus | None,
        Meta(description="Only deliveries with this status.", examples=["FAILED"]),
    ] = None
    cursor: Annotated[
        Cursor | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the newest delivery.",
            examples=["AZq1kQ0AcACAAAAAAAAAAQ"],
        ),
    ] = None

    @property
    def before(self) -> uuid.UUID | None:
        """The delivery after which the page begins."""
        return _id_of(self.cursor)


class NextRunsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /schedules/{name}/next``."""

    count: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_NEXT_RUNS,
            description="Maximum number of times in the response.",
            examples=[5],
        ),
    ] = DEFAULT_NEXT_RUNS


class DeleteCredentialRequest(msgspec.Struct, frozen=True):
    """The query of ``DELETE /credentials/{name}``."""

    force: Annotated[
        bool,
        Meta(
            description="Whether to delete it although a queue, schedule or endpoint uses it.",
            examples=[True],
        ),
    ] = False


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The query of ``GET /audit``."""

    limit: Annotated[
        Limit,
        Meta(
            description="Maximum number of entries in the response. A stream of lines takes any "
            "number, and has all entries without it.",
            examples=[20],
        ),
    ] = DEFAULT_PAGE
    actor: Annotated[
        KeyName | None,
        Meta(description="Only what was done with the API key of this name.", examples=["ops"]),
    ] = None
    action: Annotated[
        Action | None, Meta(description="Only this action.", examples=["queue.pause"])
    ] = None
    target_kind: Annotated[
        TargetKind | None,
        Meta(description="Only actions on targets of this kind.", examples=["queue"]),
    ] = None
    target: Annotated[
        TargetText | None,
        Meta(description="Only actions on the target with this id or name.", examples=["mail"]),
    ] = None
    at_after: Annotated[
        Moment | None,
        Meta(
            description="Only what was done at this time or later.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = None
    at_before: Annotated[
        Moment | None,
        Meta(
            description="Only what was done before this time.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = None
    cursor: Annotated[
        Cursor | None,
        Meta(
            description="The position of the page, from the `Link` header of the previous page. "
            "Default: the newest entry.",
            examples=["AZq1kQ0AcACAAAAAAAAAAQ"],
        ),
    ] = None

    @property
    def before(self) -> uuid.UUID | None:
        """The entry after which the page begins."""
        return _id_of(self.cursor)

    @property
    def filter(self) -> AuditFilter:
        """The filters as the stores search by them."""
        return AuditFilter(
            actor=self.actor,
            action=self.action,
            target_kind=self.target_kind,
            target=self.target,
            after=self.at_after,
            before=self.at_before,
        )

    def going_on(self, before: uuid.UUID, *, limit: int) -> AuditRequest:
        """Return the same request for the entries after this one."""
        return msgspec.structs.replace(self, cursor=cursor_of(before), limit=limit)


class AuditStreamRequest(AuditRequest, frozen=True, kw_only=True):
    """The query of ``GET /audit`` for a stream of lines."""

    limit: AnyNumber = NO_LIMIT


class StatisticsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /stats`` and ``GET /stats/history``."""

    queue: Annotated[
        AnyQueueName | None,
        Meta(
            description="Only this queue, whether it has tasks or not. Default: all queues.",
            examples=["default"],
        ),
    ] = None


HostText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x20\x7f/?#@\\\\]+$(?!\n)",
        min_length=1,
        max_length=255,
        extra={
            "expected": "a host, with its port unless it is the default, such as "
            "example.com:8080, of 1 to 255 characters"
        },
    ),
]


class SeriesRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /stats/series``."""

    span: Annotated[
        Span | None,
        Meta(
            description="How far the series goes back: points of a minute for `1h`, of 15 minutes "
            "for `24h`, of an hour for `7d`, of 4 hours for `30d`, of a day for `90d`. "
            "Default: `1h`.",
            examples=["24h"],
        ),
    ] = None
    queue: Annotated[
        AnyQueueName | None,
        Meta(description="Only tasks of this queue. Default: all queues.", examples=["default"]),
    ] = None
    host: Annotated[
        HostText | None,
        Meta(
            description="Only tasks for this host, with its port unless it is the default, as "
            "`GET /hosts` shows it. Not together with `queue`.",
            examples=["example.com"],
        ),
    ] = None


class TaskEventsRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /tasks/{id}/events`` and ``GET /groups/{id}/events``."""

    last_event_id: Annotated[
        LastEventId | None,
        Meta(
            description="The id of the last event that was received, for clients that cannot set "
            "the header `Last-Event-ID`, which takes precedence.",
            examples=["4711"],
        ),
    ] = msgspec.field(default=None, name="lastEventId")


class EventsRequest(TaskEventsRequest, frozen=True):
    """The query of ``GET /events``."""

    queue: Annotated[
        QueueName | None,
        Meta(description="Only events of tasks of this queue.", examples=["default"]),
    ] = None
    tag: Annotated[
        TagTexts | None,
        Meta(
            description="Only events of tasks with this tag, as `name:value`; if it is given "
            "several times, of tasks with all of them.",
            examples=[["customer:42"]],
        ),
    ] = None


NO_QUERY: Final = Reader(NoParameters)
PAGE_QUERY: Final = Reader(PageRequest)
STREAM_QUERY: Final = Reader(StreamRequest)
SHOW_QUERY: Final = Reader(ShowRequest)
WAIT_QUERY: Final = Reader(WaitRequest)
GROUPS_QUERY: Final = Reader(GroupsRequest)
TOPICS_QUERY: Final = Reader(TopicsRequest)
ENDPOINTS_QUERY: Final = Reader(EndpointsRequest)
DELIVERIES_QUERY: Final = Reader(DeliveriesRequest)
SCHEDULES_QUERY: Final = Reader(SchedulesRequest)
HEARTBEATS_QUERY: Final = Reader(HeartbeatsRequest)
NEXT_RUNS_QUERY: Final = Reader(NextRunsRequest)
DELETE_CREDENTIAL_QUERY: Final = Reader(DeleteCredentialRequest)
AUDIT_QUERY: Final = Reader(AuditRequest)
AUDIT_STREAM_QUERY: Final = Reader(AuditStreamRequest)
STATISTICS_QUERY: Final = Reader(StatisticsRequest)
SERIES_QUERY: Final = Reader(SeriesRequest)
TASK_EVENTS_QUERY: Final = Reader(TaskEventsRequest)
EVENTS_QUERY: Final = Reader(EventsRequest)


def cursor_of(task_id: uuid.UUID) -> str:
    """Return an opaque text for the position in the list after this task."""
    return base64.urlsafe_b64encode(task_id.bytes).rstrip(b"=").decode()


def _id_of(cursor: str | None) -> uuid.UUID | None:
    return None if cursor is None else uuid.UUID(bytes=base64.urlsafe_b64decode(f"{cursor}=="))
