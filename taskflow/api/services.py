"""What the handlers of the routes work with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from taskflow.api.document.source import DocumentSource
from taskflow.api.live.feed import Feed
from taskflow.api.submission import Submissions
from taskflow.metrics import Metrics
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore


class Services(msgspec.Struct, frozen=True):
    """The collaborators of the handlers.

    Attributes:
        store: Where tasks, queues and schedules are kept.
        settings: The settings of the service.
        metrics: The counters that ``/metrics`` reports.
        feed: Reports events to requests that wait or watch.
        submissions: Validates and stores new tasks.
        masking: The rule that masks credentials.
        document: The source of ``/openapi.json``.
        is_running: Returns whether workers are running, for ``/readyz``.
    """

    store: TaskStore
    settings: Settings
    metrics: Metrics
    feed: Feed
    submissions: Submissions
    masking: Masking
    document: DocumentSource
    is_running: Callable[[], bool]
