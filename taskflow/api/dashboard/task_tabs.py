"""The tabs above the list of tasks: states and statuses, with the number of tasks in each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, NamedTuple

from taskflow.model.queues import QueueStatistics, TotalStatistics
from taskflow.model.task import TaskStatus
from taskflow.model.task_states import (
    StateCount,
    StateNumbers,
    TaskState,
    number_in,
    number_text,
)
from taskflow.store.base.store import TaskStore

# Tasks of a state are counted up to this number, because the tabs of an open page are counted
# every two seconds.
MAX_COUNTED_IN_TABS: Final = 1000
SELECTING: Final = ("status", "state")
"""The parameters that a tab sets."""
_COUNTED_WITH: Final = frozenset((*SELECTING, "queue"))

Parameters = Mapping[str, list[str]]


class Tab(NamedTuple):
    """A tab.

    Attributes:
        title: The title.
        states: The states that it shows, if it shows states.
        status: The status that it shows, if it shows one.
    """

    title: str
    states: tuple[TaskState, ...] = ()
    status: TaskStatus | None = None

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The parameters that it sets."""
        if self.states:
            return {"state": [",".join(self.states)]}
        return {} if self.status is None else {"status": [str(self.status)]}


TABS: Final = (
    Tab("All"),
    Tab("Due", (TaskState.DUE,)),
    Tab("Scheduled", (TaskState.SCHEDULED,)),
    Tab("Retrying", (TaskState.RETRYING,)),
    Tab("Held", (TaskState.HELD,)),
    Tab("Waiting", (TaskState.WAITING_FOR_PARENTS, TaskState.WAITING_FOR_ORDER)),
    *(
        Tab(status.value.capitalize(), status=status)
        for status in TaskStatus
        if status is not TaskStatus.PENDING
    ),
)


class ShownTab(NamedTuple):
    """A tab as a page shows it: its title, its parameters, whether it is selected, its number."""

    title: str
    parameters: dict[str, list[str]]
    is_selected: bool
    number: str


class TabCounts(NamedTuple):
    """The number of tasks by status and by state, and the time by the clock of the store."""

    at: dt.datetime
    statistics: QueueStatistics | TotalStatistics
    states: StateNumbers


def shown_tabs(given: Parameters, counts: TabCounts | None) -> list[ShownTab]:
    """Return the tabs, which keep the other filters; without counts if there are none."""
    others = {name: texts for name, texts in given.items() if name not in SELECTING}
    selecting = {name: texts for name, texts in given.items() if name in SELECTING}
    return [
        ShownTab(
            tab.title,
            {**tab.parameters, **others},
            tab.parameters == selecting,
            "" if counts is None else _count_of(tab, counts),
        )
        for tab in TABS
    ]


async def count_tabs(store: TaskStore, filters: Parameters) -> TabCounts | None:
    """Count the tasks of the tabs; ``None`` if there are filters by which tasks are not counted."""
    if not filters.keys() <= _COUNTED_WITH:
        return None
    queue = filters["queue"][0] if "queue" in filters else None
    counted = await store.count(limit=1, queue=queue)
    states = await store.monitoring.states(limit=MAX_COUNTED_IN_TABS, queue=queue)
    statistics = counted.total if queue is None else counted.queues[0]
    return TabCounts(states.at, statistics, states.total)


def _count_of(tab: Tab, counts: TabCounts) -> str:
    by_status = counts.statistics.counts
    if tab.states:
        return number_text(number_in(counts.states, *tab.states))
    tasks = sum(by_status.values()) if tab.status is None else by_status.get(tab.status, 0)
    return number_text(StateCount(tasks))
