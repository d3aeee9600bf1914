"""Every route as clients see it: what it takes and what it answers.

A route that is added gets an ``Operation`` in the module of its group, and a new group a place in
``OPERATIONS``. An answer that any request can get has one in ``ANY_REQUEST`` (``problems.py``).
``openapi.py`` makes the document of it all.
"""

from __future__ import annotations

from typing import Final

from taskflow.api.document.operations.events import EVENT_STREAMS
from taskflow.api.document.operations.health import HEALTH
from taskflow.api.document.operations.many_tasks import MANY_TASKS
from taskflow.api.document.operations.monitoring import MONITORING
from taskflow.api.document.operations.new_tasks import NEW_TASKS
from taskflow.api.document.operations.one_task import ONE_TASK, SHOW_TASK
from taskflow.api.document.operations.queues import QUEUES
from taskflow.api.document.operations.schedules import SCHEDULES
from taskflow.api.document.operations.stats import STATISTICS_OF_TASKS

OPERATIONS: Final = (
    *NEW_TASKS,
    *MANY_TASKS,
    SHOW_TASK,
    *EVENT_STREAMS,
    *ONE_TASK,
    *QUEUES,
    *STATISTICS_OF_TASKS,
    *MONITORING,
    *SCHEDULES,
    *HEALTH,
)
