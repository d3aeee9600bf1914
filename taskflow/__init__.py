"""TaskFlow: a self-hosted HTTP task queue on PostgreSQL, written on Trio.

The API for Python programs::

    Client, BlockingClient       clients over HTTP: on asyncio and Trio, or blocking
    enqueue, enqueue_many        submit tasks in your own transaction, with psycopg
    verify_webhook               verify a callback, a delivery or a signed request
    Submission                   a task in a list of submissions, with its options
    Task, Result, TaskEvent      what the clients return
    Queue, Schedule, Rate, ...   queues and schedules, and their settings
    ClientError, ...             the errors: taskflow.client.errors has the tree

Each name is imported when it is first used, so that the service does not import its clients, and
clients only what they use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from taskflow.version import __version__

if TYPE_CHECKING:
    from taskflow.client.asynchronous.client import Client
    from taskflow.client.batches import Submitted
    from taskflow.client.blocking.client import BlockingClient
    from taskflow.client.errors import (
        BadRequest,
        ClientError,
        ClientUnusable,
        Conflict,
        EventsMissed,
        Forbidden,
        Gone,
        InvalidArgument,
        InvalidEnvironment,
        InvalidSignature,
        NotFinished,
        NotFound,
        Problem,
        Rejected,
        ServerError,
        TaskCanceled,
        TaskFailed,
        TooLarge,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        UnexpectedResponse,
        Unprocessable,
        Unreachable,
        Unsuccessful,
    )
    from taskflow.client.options import Options, Submission
    from taskflow.client.task import (
        BulkResult,
        Download,
        Group,
        Result,
        Schedule,
        Service,
        Task,
    )
    from taskflow.client.webhooks import verify_signature, verify_webhook
    from taskflow.enqueuing import enqueue, enqueue_many
    from taskflow.model.audit import AuditEntry
    from taskflow.model.errors import FieldError, StoreUnusable
    from taskflow.model.event import TaskEvent
    from taskflow.model.groups import GroupStatus, OnMemberFailure
    from taskflow.model.options import Backoff
    from taskflow.model.outcome import ErrorType, KeptResponse
    from taskflow.model.queue_limits import HostLimits, Rate
    from taskflow.model.queues import Queue
    from taskflow.model.schedule import Missed, NextRuns, Overlap
    from taskflow.model.sealed_credential import CredentialSummary
    from taskflow.model.task import AttemptRecord, TaskStatus
    from taskflow.model.topic_events import PublishedEvent
    from taskflow.model.topics import Endpoint, Topic
    from taskflow.model.uniqueness import Debounce, Unique

__all__ = [
    "AttemptRecord",
    "AuditEntry",
    "Backoff",
    "BadRequest",
    "BlockingClient",
    "BulkResult",
    "Client",
    "ClientError",
    "ClientUnusable",
    "Conflict",
    "CredentialSummary",
    "Debounce",
    "Download",
    "Endpoint",
    "ErrorType",
    "EventsMissed",
    "FieldError",
    "Forbidden",
    "Gone",
    "Group",
    "GroupStatus",
    "HostLimits",
    "InvalidArgument",
    "InvalidEnvironment",
    "InvalidSignature",
    "KeptResponse",
    "Missed",
    "NextRuns",
    "NotFinished",
    "NotFound",
    "OnMemberFailure",
    "Options",
    "Overlap",
    "Problem",
    "PublishedEvent",
    "Queue",
    "Rate",
    "Rejected",
    "Result",
    "Schedule",
    "ServerError",
    "Service",
    "StoreUnusable",
    "Submission",
    "Submitted",
    "Task",
    "TaskCanceled",
    "TaskEvent",
    "TaskFailed",
    "TaskStatus",
    "TooLarge",
    "TooManyRequests",
    "Topic",
    "Unauthorized",
    "Unavailable",
    "UnexpectedResponse",
    "Unique",
    "Unprocessable",
    "Unreachable",
    "Unsuccessful",
    "__version__",
    "enqueue",
    "enqueue_many",
    "verify_signature",
    "verify_webhook",
]

_HOMES: Final = {
    "AttemptRecord": "model.task",
    "AuditEntry": "model.audit",
    "Backoff": "model.options",
    "BlockingClient": "client.blocking.client",
    "Client": "client.asynchronous.client",
    "CredentialSummary": "model.sealed_credential",
    "Debounce": "model.uniqueness",
    "Download": "client.task",
    "ErrorType": "model.outcome",
    "Endpoint": "model.topics",
    "FieldError": "model.errors",
    "Group": "client.task",
    "GroupStatus": "model.groups",
    "HostLimits": "model.queue_limits",
    "KeptResponse": "model.outcome",
    "Missed": "model.schedule",
    "NextRuns": "model.schedule",
    "OnMemberFailure": "model.groups",
    "Overlap": "model.schedule",
    "BulkResult": "client.task",
    "Options": "client.options",
    "PublishedEvent": "model.topic_events",
    "Queue": "model.queues",
    "Rate": "model.queue_limits",
    "Result": "client.task",
    "Schedule": "client.task",
    "Service": "client.task",
    "StoreUnusable": "model.errors",
    "Submission": "client.options",
    "Submitted": "client.batches",
    "Task": "client.task",
    "TaskEvent": "model.event",
    "TaskStatus": "model.task",
    "Topic": "model.topics",
    "Unique": "model.uniqueness",
    "enqueue": "enqueuing",
    "enqueue_many": "enqueuing",
    "verify_signature": "client.webhooks",
    "verify_webhook": "client.webhooks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'client.errors')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
