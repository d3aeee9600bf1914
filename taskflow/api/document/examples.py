"""Examples in ``/openapi.json``, as values of the types that responses have."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

import msgspec

from taskflow.model.alert_destinations import AlertDestination
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    Alert,
    AlertNotification,
    AlertOn,
    AlertStatus,
    NoticeKind,
    Subject,
)
from taskflow.model.audit import Action, AuditEntry, TargetKind
from taskflow.model.configuration import (
    AppliedConfiguration,
    ChangedResource,
    ResourceKind,
    ResourceOutcome,
)
from taskflow.model.delivery import Delivery
from taskflow.model.event import TaskEvent
from taskflow.model.grouped_failures import Cause, Occurrences, hour_of
from taskflow.model.groups import FailedMember, Group, GroupCounts, GroupStatus
from taskflow.model.heartbeat_monitors import (
    Heartbeat,
    HeartbeatHistory,
    HeartbeatState,
    Ping,
    Reason,
    Signal,
    Transition,
)
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord, RunningTask
from taskflow.model.options import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from taskflow.model.order_keys import OnFailure
from taskflow.model.outcome import ErrorType, KeptResponse, Response
from taskflow.model.queue_limits import Hold, HoldReason, HostLimits, Rate
from taskflow.model.queues import Line, Queue, TaskStatistics, queue_of, total_of, with_states
from taskflow.model.rollups import Percentiles, Series, SeriesPoint
from taskflow.model.schedule import Missed, NextRuns, Schedule
from taskflow.model.sealed_credential import CredentialSummary, CredentialUsers
from taskflow.model.task import DEFAULT_QUEUE, AttemptRecord, AttemptStatus, Task, TaskStatus
from taskflow.model.task_states import Counted, TaskState, counts_of
from taskflow.model.topic_events import PublishedEvent
from taskflow.model.topics import Endpoint, Topic

TASK_ID: Final = uuid.UUID("01a20c58-b6fd-77bf-9328-1ccde011d8da")
GROUP_ID: Final = uuid.UUID("01a20c58-b6fd-77bf-9328-1ccde011d8db")
ENDPOINT_ID: Final = uuid.UUID("01a20c58-b6fd-77bf-9328-1ccde011d8dc")
CALLBACK_ID: Final = uuid.UUID("01a20c58-b704-7d1c-8a0e-5d1f6c3b9e42")
URL: Final = "https://example.com/"
_CREATED: Final = dt.datetime(2026, 11, 24, 6, 57, 50, 332789, tzinfo=dt.UTC)
_STARTED: Final = _CREATED + dt.timedelta(milliseconds=2)
_FINISHED: Final = _STARTED + dt.timedelta(milliseconds=5)


PENDING: Final = Task(
    id=TASK_ID,
    payload=msgspec.Raw(msgspec.json.encode(URL)),
    status=TaskStatus.PENDING,
    created_at=_CREATED,
    run_at=_CREATED,
)
CANCELED: Final = msgspec.structs.replace(
    PENDING, status=TaskStatus.CANCELED, started_at=_STARTED, finished_at=_FINISHED, attempt=1
)
SKIPPED: Final = msgspec.structs.replace(
    CANCELED,
    status=TaskStatus.FAILED,
    error="http error: status: 503 Service Unavailable",
    error_type=ErrorType.HTTP_STATUS,
    order_key="customer-42",
    on_failure=OnFailure.CONTINUE,
)
COMPLETED: Final = msgspec.structs.replace(
    PENDING,
    status=TaskStatus.COMPLETED,
    result=msgspec.Raw(
        msgspec.json.encode(
            Response(
                message="fetched",
                result=msgspec.Raw(b'{"answer": 42}'),
                status="200 OK",
                status_code=200,
                headers={"content-type": "application/json"},
                content_type="application/json",
                encoding="json",
                url=URL,
                elapsed_seconds=0.004769,
                size=14,
            )
        )
    ),
    started_at=_STARTED,
    finished_at=_FINISHED,
    attempt=1,
)
DELIVERED: Final = msgspec.structs.replace(
    COMPLETED,
    payload=msgspec.Raw(
        b'{"url":"https://example.com/webhooks","method":"POST","follow_redirects":false,'
        b'"body":{"type":"invoice.paid","timestamp":"2026-11-24T06:57:50Z",'
        b'"data":{"invoice":4711}}}'
    ),
    queue="webhooks",
    max_attempts=WEBHOOK_ATTEMPTS,
    delivery=Delivery("orders", "billing", ENDPOINT_ID, CALLBACK_ID, "invoice.paid"),
)
CALLBACK_PARENT: Final = msgspec.structs.replace(
    COMPLETED, callback_url="https://shop.example/done", callback_id=CALLBACK_ID
)
ENDED_EVENT: Final = TaskEvent(
    id=7,
    task_id=TASK_ID,
    status=TaskStatus.COMPLETED,
    queue="default",
    attempt=1,
    at=_FINISHED,
)
SCHEDULE: Final = Schedule(
    name="reports",
    cron="30 6 * * MON-FRI",
    timezone="Europe/Berlin",
    task=msgspec.Raw(msgspec.json.encode({"payload": URL})),
    missed=Missed.ONCE,
    created_at=_CREATED,
    updated_at=_CREATED,
    next_run_at=dt.datetime(2026, 11, 25, 5, 30, tzinfo=dt.UTC),
)
HEARTBEAT: Final = Heartbeat(
    name="backup",
    state=HeartbeatState.UP,
    state_since=_CREATED,
    description="Nightly backup of the shop",
    cron="30 2 * * *",
    timezone="Europe/Berlin",
    grace_seconds=1800.0,
    max_run_seconds=7200.0,
    ping_url=f"{URL}ping/AaIMWLb9d7-TKBzN4BHY2jZ0m3cM0b8oTz5rFq0v2kA",
    next_expected_at=dt.datetime(2026, 11, 25, 1, 30, tzinfo=dt.UTC),
    down_at=dt.datetime(2026, 11, 25, 2, 0, tzinfo=dt.UTC),
    last_ping_at=_CREATED,
    last_signal=Signal.SUCCESS,
    last_exit_code=0,
    last_duration_seconds=341.2,
    ping_count=2,
    created_at=_CREATED,
    updated_at=_CREATED,
)
HEARTBEAT_HISTORY: Final = HeartbeatHistory(
    name="backup",
    pings=[
        Ping(
            number=2,
            at=_CREATED,
            signal=Signal.SUCCESS,
            exit_code=0,
            duration_seconds=341.2,
            address="203.0.113.7",
            note="copied 4711 files",
        )
    ],
    transitions=[
        Transition(number=2, at=_CREATED, state=HeartbeatState.UP, reason=Reason.PINGED),
        Transition(number=1, at=_CREATED, state=HeartbeatState.NEW, reason=Reason.CREATED),
    ],
)
TOPIC: Final = Topic(
    name="orders", queue="webhooks", endpoints=2, created_at=_CREATED, updated_at=_CREATED
)
ENDPOINT: Final = Endpoint(
    topic=TOPIC.name,
    name="billing",
    id=ENDPOINT_ID,
    url="https://example.com/webhooks",
    event_types=("invoice.*", "customer.created"),
    headers={"X-Tenant": "42"},
    backoff=WEBHOOK_SECONDS,
    max_attempts=WEBHOOK_ATTEMPTS,
    created_at=_CREATED,
    updated_at=_CREATED,
)
ALERT: Final = Alert(
    name="mail-failures",
    on=AlertOn.TASK_FAILED,
    queue="mail",
    minimum=1,
    window_seconds=300,
    to=(
        AlertDestination(kind=DestinationKind.EMAIL, addresses=("ops@example.com",)),
        AlertDestination(kind=DestinationKind.SLACK, url="https://hooks.slack.com/***-5c7d1a90"),
    ),
    every_seconds=3600,
    notify_recovery=True,
    status=AlertStatus.FIRING,
    since=_FINISHED,
    subjects=(Subject("mail", "3 FAILED within 5 min", _FINISHED),),
    subject_count=1,
    evaluated_at=_FINISHED,
    notified_at=_FINISHED,
    created_at=_CREATED,
    updated_at=_CREATED,
)
ALERT_NOTIFICATION: Final = AlertNotification(
    id=CALLBACK_ID,
    at=_FINISHED,
    kind=NoticeKind.FIRING,
    title="Firing: mail-failures: tasks failed (mail)",
    tasks=(TASK_ID,),
)
PUBLISHED: Final = PublishedEvent(
    id=CALLBACK_ID,
    topic=TOPIC.name,
    type="invoice.paid",
    created_at=_CREATED,
    tasks=(TASK_ID,),
)
GROUP: Final = Group(
    id=GROUP_ID,
    name="import 7",
    status=GroupStatus.CLOSED,
    counts=GroupCounts(PENDING=3, RUNNING=2, COMPLETED=40, FAILED=1),
    first_failures=(
        FailedMember(TASK_ID, "http error: status: 503 Service Unavailable", ErrorType.HTTP_STATUS),
    ),
    on_complete=msgspec.Raw(msgspec.json.encode({"payload": URL})),
    created_at=_CREATED,
    closed_at=_STARTED,
)
NEXT_RUNS: Final = NextRuns(
    name=SCHEDULE.name,
    paused=False,
    times=[
        dt.datetime(2026, 11, 25, 5, 30, tzinfo=dt.UTC),
        dt.datetime(2026, 11, 26, 5, 30, tzinfo=dt.UTC),
    ],
)
CREDENTIAL: Final = CredentialSummary(
    name="billing",
    kind="bearer",
    hosts=("api.example.com",),
    created_at=_CREATED,
    updated_at=_CREATED,
    last_used_at=_STARTED,
    used_by=CredentialUsers(queues=("mail",)),
)
APPLIED: Final = AppliedConfiguration(
    [
        ChangedResource(ResourceKind.QUEUE, "mail", ResourceOutcome.CHANGED),
        ChangedResource(ResourceKind.SCHEDULE, SCHEDULE.name, ResourceOutcome.CREATED),
    ]
)
ATTEMPT: Final = AttemptRecord(
    number=1,
    status=AttemptStatus.FAILED,
    node="vm:11634",
    started_at=_STARTED,
    finished_at=_FINISHED,
    elapsed_seconds=0.004502,
    status_code=503,
    error="http error: status: 503 Service Unavailable",
    error_type=ErrorType.HTTP_STATUS,
    response=KeptResponse(
        status="503 Service Unavailable",
        status_code=503,
        headers={"content-type": "text/plain", "retry-after": "30"},
        content_type="text/plain",
        body=msgspec.Raw(b'"overloaded"'),
        encoding="text",
        url=URL,
        size=10,
        truncated=False,
    ),
)
_LINES: Final = (
    Line(TaskStatus.PENDING, 2, ()),
    Line(TaskStatus.RUNNING, 5, ()),
    Line(TaskStatus.COMPLETED, 1250, (60.0, 300.0, 1210.0)),
    Line(TaskStatus.FAILED, 3, (0.0, 1.0, 2.0)),
)
_COUNTED: Final = [
    Counted(DEFAULT_QUEUE, TaskState.DUE, 2),
    Counted(DEFAULT_QUEUE, TaskState.RUNNING, 5),
]
STATES: Final = counts_of(_CREATED, _COUNTED)
QUEUE: Final = Queue(
    name="mail",
    paused=False,
    max_concurrency=10,
    rate=Rate(5.0, 10),
    per_host=HostLimits(max_concurrency=2),
    sign=None,
    credential=None,
    egress_proxy="http://***@proxy.example:3128",
    counts=queue_of("mail", _LINES, 1.204).counts,
    oldest_waiting_seconds=1.204,
    finished=queue_of("mail", _LINES, 1.204).finished,
    states=STATES.total,
)
STATISTICS: Final = with_states(
    TaskStatistics(
        queues=[queue_of(DEFAULT_QUEUE, _LINES, 1.204)],
        total=total_of(_LINES, 1.204),
        complete=True,
    ),
    STATES,
)

MINUTE: Final = Minute(
    at=_CREATED.replace(second=0, microsecond=0),
    finished={TaskStatus.COMPLETED: 1250, TaskStatus.FAILED: 3, TaskStatus.CANCELED: 0},
)
_WAIT: Final = Percentiles(p50=0.002, p95=0.11, p99=0.47)
_RUN: Final = Percentiles(p50=0.06, p95=0.4, p99=1.2)
SERIES: Final = Series(
    bucket_seconds=60,
    points=[SeriesPoint(at=MINUTE.at, finished=MINUTE.finished, wait=_WAIT, run=_RUN, backlog=17)],
    wait=_WAIT,
    run=_RUN,
)
NODE: Final = NodeRecord(
    id=uuid.UUID("5f0c8b1e-9a47-4c1d-8f4e-2f3e1d0c9b8a"),
    name="worker-1:4711",
    version="0.1.0",
    workers=5,
    tz_version="2026f",
    started_at=_CREATED,
    renewed_at=_STARTED,
    expires_at=_STARTED + dt.timedelta(seconds=15),
    alive=True,
    running=2,
    longest_running_seconds=1.25,
    longest_running=[
        RunningTask(id=TASK_ID, host="example.com", running_seconds=1.25),
        RunningTask(id=CALLBACK_ID, host="example.net", running_seconds=0.31),
    ],
    settings={"TASKFLOW_FETCH_TIMEOUT_SECONDS": "5", "TASKFLOW_WORKERS": "5"},
)
_HOUR: Final = hour_of(_FINISHED)
FAILURE: Final = Cause(
    DEFAULT_QUEUE,
    "example.com",
    ErrorType.HTTP_STATUS.value,
    503,
    "http error: status: 503 Service Unavailable",
).as_failure(
    Occurrences(25, _CREATED, _FINISHED, {_HOUR - 1: 6, _HOUR: 19}),
    failed=23,
    example_ids=[TASK_ID],
    now=_FINISHED,
)
HOST: Final = HostRecord(
    host="example.com",
    fetched=250,
    failed=20,
    median_seconds=0.0842,
    slowest_seconds=4.9871,
    running=1,
    longest_running_seconds=0.31,
    held=Hold(HoldReason.HOST_FAILING, "http error: status: 503 Service Unavailable", _FINISHED),
    open_since=_STARTED,
)

AUDIT_ENTRY: Final = AuditEntry(
    id=uuid.UUID("019ab5a1-4f2c-7b1d-9c0e-6d5f4a3b2c1d"),
    at=_STARTED,
    actor="ops",
    session=None,
    address="192.0.2.17",
    action=Action.QUEUE_CHANGE,
    target_kind=TargetKind.QUEUE,
    target="mail",
    count=1,
    detail={"changes": {"max_concurrency": {"before": 10, "after": 25}}},
)
