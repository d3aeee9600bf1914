"""The declarations of alerts."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.alert_destinations import MailAddresses
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    MAX_AFTER_SECONDS,
    MAX_DESTINATIONS,
    MAX_EVERY_SECONDS,
    MAX_WINDOW_SECONDS,
    MIN_EVERY_SECONDS,
    MIN_WINDOW_SECONDS,
    Alert,
    AlertOn,
    SilenceSeconds,
)
from taskflow.model.task import CredentialName, QueueName
from taskflow.schema.merge_patch import patch_type
from taskflow.schema.tasks import CallbackUrl


class DestinationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A destination of an alert: a URL, or e-mail addresses."""

    kind: Annotated[
        DestinationKind,
        Meta(
            description="`webhook` is a `POST` signed as the Standard Webhooks specify, `slack` an "
            "incoming webhook, `teams` a workflow that posts webhook requests, `discord` a "
            "webhook, `email` an e-mail by `TASKFLOW_SMTP_URL`.",
            examples=["slack"],
        ),
    ]
    url: Annotated[
        CallbackUrl | None,
        Meta(
            description="Its URL, unless it is `email`. Of chats, it is stored encrypted and shown "
            "masked; as it was shown, it stays as it is.",
            examples=["https://hooks.slack.com/services/T0/B0/x9"],
        ),
    ] = None
    addresses: Annotated[
        MailAddresses | None,
        Meta(description="Its e-mail addresses, if it is `email`.", examples=[["ops@example.com"]]),
    ] = None


Destinations: TypeAlias = Annotated[
    tuple[DestinationRequest, ...],
    Meta(
        min_length=1,
        max_length=MAX_DESTINATIONS,
        extra={
            "expected": f"a list of 1 to {MAX_DESTINATIONS} objects with kind (webhook, slack, "
            "teams, discord or email) and url, or addresses for email"
        },
    ),
]


class AlertRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An alert to create or replace.

    Fields that only TaskFlow sets are ignored, so that an alert can be sent again as it was shown.
    """

    on: Annotated[
        AlertOn,
        Meta(
            description="What it watches: `task_failed` (`minimum` tasks FAILED within "
            "`window_seconds`), `failure_rate` (of at least `minimum` tasks that finished within "
            "`window_seconds`, the share `rate` FAILED), `schedule_failed` (the last finished task "
            "FAILED), `schedule_missed` (a task was created `after_seconds` late, or not at all), "
            "`oldest_waiting` (a due task has been waiting for `after_seconds`), `host_open` (the "
            "circuit breaker of a host is open), `node_lost` (a node died), "
            "`credential_failing` (tasks failed within `window_seconds` because of their "
            "credential), or `heartbeat_missed` (a heartbeat is down).",
            examples=["task_failed"],
        ),
    ]
    to: Annotated[
        Destinations,
        Meta(
            description="Who is notified.",
            examples=[[{"kind": "email", "addresses": ["ops@example.com"]}]],
        ),
    ]
    queue: Annotated[
        QueueName | None,
        Meta(
            description="The only queue that it watches, for `task_failed`, `failure_rate` and "
            "`oldest_waiting`. Default: all but `alerts`, the queue of notifications.",
            examples=["mail"],
        ),
    ] = None
    schedule: Annotated[
        QueueName | None,
        Meta(
            description="The only schedule that it watches, for `schedule_failed` and "
            "`schedule_missed`. Default: all.",
            examples=["nightly"],
        ),
    ] = None
    host: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^[a-z0-9.:\[\]_-]{1,300}$(?!\n)",
                extra={"expected": "a host in lower case, with its port unless it is the default"},
            ),
        ]
        | None,
        Meta(
            description="The only host that it watches, for `host_open`: with its port, unless "
            "that is the default. Default: all, except the hosts of its own destinations.",
            examples=["api.example.com"],
        ),
    ] = None
    credential: Annotated[
        CredentialName | None,
        Meta(
            description="The only credential that it watches, for `credential_failing`. "
            "Default: all.",
            examples=["billing"],
        ),
    ] = None
    heartbeat: Annotated[
        QueueName | None,
        Meta(
            description="The only heartbeat that it watches, for `heartbeat_missed`. Default: all.",
            examples=["backup"],
        ),
    ] = None
    minimum: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="Minimum number of tasks. Default: 1 for `task_failed`, 20 for "
            "`failure_rate`.",
            examples=[5],
        ),
    ] = None
    rate: Annotated[
        Annotated[float, Meta(ge=0.001, le=1)] | None,
        Meta(
            description="Share of the finished tasks that FAILED, from 0.001 to 1; required for "
            "`failure_rate`.",
            examples=[0.2],
        ),
    ] = None
    window_seconds: Annotated[
        Annotated[
            float,
            Meta(ge=MIN_WINDOW_SECONDS, le=MAX_WINDOW_SECONDS, extra={"unit": "seconds"}),
        ]
        | None,
        Meta(
            description="The time within which tasks are counted, to the minute. Default: 300.",
            examples=[300],
        ),
    ] = None
    after_seconds: Annotated[
        Annotated[float, Meta(ge=1, le=MAX_AFTER_SECONDS, extra={"unit": "seconds"})] | None,
        Meta(
            description="The time after which a task waits too long (`oldest_waiting`, required), "
            "or a schedule is late (`schedule_missed`, at least 5). Default: 60 for schedules.",
            examples=[600],
        ),
    ] = None
    every_seconds: Annotated[
        Annotated[
            float,
            Meta(ge=MIN_EVERY_SECONDS, le=MAX_EVERY_SECONDS, extra={"unit": "seconds"}),
        ]
        | None,
        Meta(
            description="Minimum time between two notifications that it fires; while it fires, it "
            "notifies again after this time. Default: 3600.",
            examples=[3600],
        ),
    ] = None
    notify_recovery: Annotated[
        bool | None,
        Meta(
            description="Whether it also notifies that it no longer fires. Default: true.",
            examples=[True],
        ),
    ] = None
    paused: Annotated[
        bool | None,
        Meta(description="Whether it is not evaluated. Default: false.", examples=[False]),
    ] = None


class SilenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long an alert notifies nothing."""

    seconds: Annotated[
        SilenceSeconds | None,
        Meta(
            description="How long, from now; `null` ends the silence.",
            examples=[7200],
        ),
    ]


AlertPatch: Final = patch_type(AlertRequest)
ONLY_SHOWN: Final = frozenset(Alert.__struct_fields__) - set(AlertRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in an ``AlertRequest``."""
