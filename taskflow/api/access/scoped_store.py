"""The store as a key with a scope sees it. This is the one place that decides what a key may see.

Whatever is not in the queues of the key does not exist: it is not found, not listed and not
counted. Handlers get this store in place of the whole one, so none of them can forget the scope. It
has the verbs that requests use, and no others.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NoReturn, cast

import msgspec

from taskflow.model import graphs
from taskflow.model.audit import Actor, NewEntry
from taskflow.model.errors import Forbidden, GroupClosed, QueueNotFound, Unprocessable
from taskflow.model.event import ALL_EVENTS, EventFilter
from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter
from taskflow.model.graphs import parent_ids
from taskflow.model.grouped_failures import OPEN_FAILURES, Failure, FailureFilter
from taskflow.model.groups import (
    ALL_GROUPS,
    Group,
    GroupFilter,
    GroupState,
    GroupStatus,
    NewGroup,
    refusal_of,
)
from taskflow.model.monitoring import LISTED_TASKS, Minute
from taskflow.model.queue_limits import QueueChange, QueueSettings
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import TaskStatistics
from taskflow.model.rollups import RecordedSeries, Span
from taskflow.model.schedule import (
    NextRuns,
    Schedule,
    ScheduleChange,
    ScheduleDefinition,
    ScheduleRun,
    StoredSchedule,
)
from taskflow.model.task import DEFAULT_QUEUE, AttemptRecord, IdempotencyKey, NewTask, Task
from taskflow.model.task_states import MAX_COUNTED, StateCounts
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import (
    EndpointChange,
    EndpointDefinition,
    StoredEndpoint,
    Topic,
    TopicChange,
)
from taskflow.model.views import View
from taskflow.store.base.events import EventPage
from taskflow.store.base.grouped_failures import FailureStore
from taskflow.store.base.groups import AddedGroup, GroupPage
from taskflow.store.base.listing import MonitoringStore, Page
from taskflow.store.base.queues import Changed, QueueStore
from taskflow.store.base.rollups import RollupStore
from taskflow.store.base.schedules import SchedulePage
from taskflow.store.base.store import TaskStore
from taskflow.store.base.submission import AddedOnce, NotStored
from taskflow.store.base.topics import AddedEvent, EndpointPage, TopicPage


def scoped_store(store: TaskStore, scope: QueueScope) -> TaskStore:
    """Return the part of a store that is in a scope."""
    return cast("TaskStore", ScopedStore(store, scope))


def check_queue(scope: QueueScope, queue: str) -> None:
    """Check the queue that a client sends a task to.

    Raises:
        Forbidden: It is not in the scope.
    """
    if not scope.allows(queue):
        raise Forbidden(f"this key may use the queues {scope} only, and the task goes to {queue}")


async def _parent_refusal(
    store: TaskStore, scope: QueueScope, tasks: Sequence[NewTask], *, under: str = ""
) -> Unprocessable | None:
    """Return an error if a parent of new tasks is not in the scope, as if it did not exist."""
    if not (ids := parent_ids(tasks)):
        return None
    queues = await store.queues_of(ids)
    children = {task_id: 0 for task_id, queue in queues.items() if scope.allows(queue)}
    return graphs.refusal_of(tasks, children, under=under)


class ScopedStore:
    """The verbs of ``TaskStore`` that requests use, limited to a scope.

    A task never changes its queue, so an action may check the queue before.
    """

    def __init__(self, store: TaskStore, scope: QueueScope) -> None:
        self._store: Final = store
        self._scope: Final = scope
        self.queues: Final = ScopedQueues(store.queues, scope)
        self.schedules: Final = ScopedSchedules(store, scope)
        self.groups: Final = ScopedGroups(store, scope)
        self.topics: Final = ScopedTopics(store, scope)
        self.monitoring: Final = ScopedMonitoring(store.monitoring, scope)
        self.rollups: Final = ScopedRollups(store.rollups, scope)
        self.failures: Final = ScopedFailures(store.failures, scope)
        self.views: Final = ScopedViews()

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        await self._check(tasks)
        return await self._store.add(tasks)

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        self._check_queues(tasks)
        errors = [await self._refusal([task]) for task in tasks]
        allowed = [task for task, error in zip(tasks, errors, strict=True) if error is None]
        added = iter(await self._store.add_each(allowed) if allowed else ())
        return [next(added) if error is None else error for error in errors]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        self._check_queues(tasks)
        if (refusal := await self._refusal(tasks)) is None:
            return self._visible(await self._store.add_once(tasks, key))
        if (added := await self.find_added(key)) is None:  # a parent may be deleted since
            raise refusal
        return added

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        added = await self._store.find_added(key)
        return None if added is None else self._visible(added)

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return self._if_visible(await self._store.get(task_id))

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        return self._if_visible(await self._store.get_unmasked(task_id))

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        return await self._store.attempts(task_id) if await self._has(task_id) else None

    async def status_codes(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, int]:
        return await self._store.status_codes(await self._ids_of(task_ids))

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        wanted = msgspec.structs.replace(filter, scope=self._scope.narrowed_to(filter.queue))
        return await self._store.page(
            limit=limit, before=before, filter=wanted, without=without, order=order
        )

    async def count(
        self, *, limit: int, queue: str | None = None, is_after_write: bool = False
    ) -> TaskStatistics:
        return await self._store.count(
            limit=limit, queue=queue, is_after_write=is_after_write, scope=self._scope
        )

    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._store.cancel(task_id, by=by) if await self._has(task_id) else None

    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._store.retry(task_id, by=by) if await self._has(task_id) else None

    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._store.skip(task_id, by=by) if await self._has(task_id) else None

    async def delete(self, task_id: uuid.UUID, *, by: Actor | None = None) -> bool:
        return await self._has(task_id) and await self._store.delete(task_id, by=by)

    async def cancel_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._store.cancel_many(await self._ids_of(task_ids), entry=entry)

    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._store.retry_many(await self._ids_of(task_ids), entry=entry)

    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._store.delete_many(await self._ids_of(task_ids), entry=entry)

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        mine = msgspec.structs.replace(wanted, scope=self._scope)
        return await self._store.events_after(position, limit=limit, until=until, wanted=mine)

    async def _check(self, tasks: Sequence[NewTask]) -> None:
        self._check_queues(tasks)
        if (refusal := await self._refusal(tasks)) is not None:
            raise refusal

    def _check_queues(self, tasks: Sequence[NewTask]) -> None:
        for task in tasks:
            check_queue(self._scope, task.queue)

    async def _refusal(self, tasks: Sequence[NewTask]) -> GroupClosed | Unprocessable | None:
        """Return an error if tasks name a group or a parent that is not in the scope."""
        ids = {task.group for task in tasks if task.group is not None}
        queues = await self._store.groups.queues_of(ids) if ids else {}
        known = {one: _JOINABLE for one, queue in queues.items() if self._scope.allows(queue)}
        return refusal_of(tasks, known) or await _parent_refusal(self._store, self._scope, tasks)

    def _if_visible(self, task: Task | None) -> Task | None:
        return task if task is not None and self._scope.allows(task.queue) else None

    def _visible(self, added: AddedOnce) -> AddedOnce:
        """Return a replay without tasks that the key may no longer see, as if deleted."""
        tasks = [task for task in added.tasks if self._scope.allows(task.queue)]
        return msgspec.structs.replace(added, tasks=tasks)

    async def _has(self, task_id: uuid.UUID) -> bool:
        return bool(await self._ids_of([task_id]))

    async def _ids_of(self, task_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
        queues = await self._store.queues_of(task_ids)
        return [task_id for task_id, queue in queues.items() if self._scope.allows(queue)]


class ScopedQueues:
    """The settings of the queues in a scope."""

    def __init__(self, queues: QueueStore, scope: QueueScope) -> None:
        self._queues: Final = queues
        self._scope: Final = scope

    async def change(self, name: str, change: QueueChange, *, by: Actor | None = None) -> Changed:
        self._check(name)
        return await self._queues.change(name, change, by=by)

    async def set_paused(
        self, name: str, *, is_paused: bool, by: Actor | None = None
    ) -> QueueSettings:
        self._check(name)
        return await self._queues.set_paused(name, is_paused=is_paused, by=by)

    async def get(self, name: str) -> QueueSettings | None:
        return await self._queues.get(name) if self._scope.allows(name) else None

    async def first(self, limit: int) -> Mapping[str, QueueSettings]:
        return await self._queues.first(limit, self._scope)

    def _check(self, name: str) -> None:
        if not self._scope.allows(name):
            raise QueueNotFound


_JOINABLE: Final = GroupState(GroupStatus.OPEN)


class ScopedGroups:
    """The groups that belong to a queue of a scope.

    Their failed tasks in other queues are not shown; their counts include all tasks.
    """

    def __init__(self, store: TaskStore, scope: QueueScope) -> None:
        self._store: Final = store
        self._groups: Final = store.groups
        self._scope: Final = scope

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        queues = [new.queue, *(task.queue for task in tasks)]
        if new.completion is not None:
            queues.append(new.completion.queue)
        for queue in queues:
            check_queue(self._scope, queue)
        refusal = await _parent_refusal(self._store, self._scope, tasks, under="/tasks")
        if refusal is not None:
            raise refusal
        added = await self._groups.add(new, tasks, key=key)
        return msgspec.structs.replace(added, group=await self._shown(added.group))

    async def get(self, group_id: uuid.UUID) -> Group | None:
        return await self._shown(await self._groups.get(group_id))

    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        wanted = msgspec.structs.replace(filter, scope=self._scope)
        page = await self._groups.page(limit=limit, before=before, filter=wanted)
        shown = [await self._shown(group) for group in page.groups]
        return msgspec.structs.replace(page, groups=[group for group in shown if group])

    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._acted(self._groups.close, group_id, by)

    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._acted(self._groups.cancel, group_id, by)

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return await self._acted(self._groups.retry, group_id, by)

    async def _acted(
        self, act: Callable[..., Awaitable[Group | None]], group_id: uuid.UUID, by: Actor | None
    ) -> Group | None:
        if await self.get(group_id) is None:
            return None
        return await self._shown(await act(group_id, by=by))

    async def _shown(self, group: Group | None) -> Group | None:
        if group is None or not self._scope.allows(group.queue):
            return None
        ids = [failed.task_id for failed in group.first_failures]
        queues = await self._store.queues_of(ids) if ids else {}
        mine = tuple(
            failed
            for failed in group.first_failures
            if self._scope.allows(queues.get(failed.task_id, ""))
        )
        return msgspec.structs.replace(group, first_failures=mine)


class ScopedTopics:
    """The topics that belong to a queue of a scope, with their endpoints.

    Of an event, deliveries to other queues are not shown.
    """

    def __init__(self, store: TaskStore, scope: QueueScope) -> None:
        self._store: Final = store
        self._topics: Final = store.topics
        self._scope: Final = scope

    async def put(
        self, name: str, change: TopicChange, *, by: Actor | None = None
    ) -> tuple[Topic, bool]:
        def scoped(before: Topic | None) -> str:
            is_taken = before is not None and not self._scope.allows(before.queue)
            queue = change(None if is_taken else before)
            check_queue(self._scope, queue)
            if is_taken:
                raise Forbidden("this key cannot use this name for a topic; choose another one")
            return queue

        return await self._topics.put(name, scoped, by=by)

    async def get(self, name: str) -> Topic | None:
        topic = await self._topics.get(name)
        return topic if topic is not None and self._scope.allows(topic.queue) else None

    async def page(self, *, limit: int, after: str | None = None) -> TopicPage:
        return await self._topics.page(limit=limit, after=after, scope=self._scope)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        return await self.get(name) is not None and await self._topics.delete(name, by=by)

    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        if (of := await self.get(topic)) is None:
            return None

        def scoped(before: StoredEndpoint | None) -> EndpointDefinition:
            after = change(before)
            check_queue(self._scope, after.queue or of.queue)
            return after

        return await self._topics.change_endpoint(topic, name, scoped, by=by)

    async def rotate_secret(
        self,
        topic: str,
        name: str,
        secret: bytes,
        *,
        overlap_seconds: float,
        by: Actor | None = None,
    ) -> StoredEndpoint | None:
        if await self.get(topic) is None:
            return None
        return await self._topics.rotate_secret(
            topic, name, secret, overlap_seconds=overlap_seconds, by=by
        )

    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        return None if await self.get(topic) is None else await self._topics.endpoint(topic, name)

    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        if await self.get(topic) is None:
            return EndpointPage([], None)
        return await self._topics.endpoints(topic, limit=limit, after=after)

    async def delete_endpoint(self, topic: str, name: str, *, by: Actor | None = None) -> bool:
        if await self.get(topic) is None:
            return False
        return await self._topics.delete_endpoint(topic, name, by=by)

    async def publish(
        self, event: NewEvent, *, key: IdempotencyKey | None = None
    ) -> AddedEvent | None:
        if await self.get(event.topic) is None:
            return None
        added = await self._topics.publish(event, key=key)
        if added is None or added.event is None:
            return added
        queues = await self._store.queues_of(added.event.tasks)
        mine = tuple(one for one in added.event.tasks if self._scope.allows(queues.get(one, "")))
        return msgspec.structs.replace(
            added, event=msgspec.structs.replace(added.event, tasks=mine)
        )

    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        queues = await self._store.queues_of(list(deliveries))
        mine = {one for one, queue in queues.items() if self._scope.allows(queue)}
        wanted = {one: task for one, task in deliveries.items() if one in mine}
        return await self._topics.redeliver(wanted, entry=entry)


class _Template(msgspec.Struct):
    """The field of the template of a schedule that matters here."""

    queue: str = DEFAULT_QUEUE


_TEMPLATE: Final = msgspec.json.Decoder(_Template)


class ScopedSchedules:
    """The schedules whose tasks go to a queue of a scope."""

    def __init__(self, store: TaskStore, scope: QueueScope) -> None:
        self._store: Final = store
        self._schedules: Final = store.schedules
        self._scope: Final = scope

    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        def scoped(before: ScheduleDefinition | None) -> ScheduleDefinition:
            is_taken = before is not None and not self._scope.allows(before.template.queue)
            after = change(None if is_taken else before)
            check_queue(self._scope, after.template.queue)
            if is_taken:
                raise Forbidden("this key cannot use this name for a schedule; choose another one")
            return after

        changed, is_new = await self._schedules.change(name, scoped, by=by)
        [shown] = await self._shown([changed])
        return shown, is_new

    async def get(self, name: str) -> Schedule | None:
        found = await self._schedules.get(name)
        shown = await self._shown([] if found is None else [found])
        return shown[0] if shown else None

    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        mine: list[Schedule] = []
        while len(mine) <= limit:
            found = await self._schedules.page(limit=limit + 1, after=after)
            mine += await self._shown(found.schedules)
            after = found.next_after
            if after is None:
                break
        return SchedulePage(mine[:limit], mine[limit - 1].name if len(mine) > limit else None)

    async def get_stored(self, name: str) -> tuple[StoredSchedule, dt.datetime] | None:
        return None if await self.get(name) is None else await self._schedules.get_stored(name)

    async def runs(self, name: str, *, limit: int) -> list[ScheduleRun]:
        """Return the last runs; tasks of before the schedule was moved here are hidden."""
        if await self.get(name) is None:
            return []
        runs = await self._schedules.runs(name, limit=limit)
        queues = await self._store.queues_of([run.task_id for run in runs if run.task_id])
        return [
            run
            if run.task_id is None or self._scope.allows(queues.get(run.task_id, ""))
            else ScheduleRun(at=run.at, kind=run.kind, count=run.count)
            for run in runs
        ]

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        return await self.get(name) is not None and await self._schedules.delete(name, by=by)

    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        return None if await self.get(name) is None else await self._schedules.run_now(name, by=by)

    async def next_runs(self, name: str, *, count: int) -> NextRuns | None:
        if await self.get(name) is None:
            return None
        return await self._schedules.next_runs(name, count=count)

    async def _shown(self, schedules: Sequence[Schedule]) -> list[Schedule]:
        """Return those in the scope; a last task of before they were moved there is hidden."""
        mine = [one for one in schedules if self._allows(one)]
        ids = [one.last_task_id for one in mine if one.last_task_id is not None]
        queues = await self._store.queues_of(ids) if ids else {}
        own = {task_id for task_id, queue in queues.items() if self._scope.allows(queue)}
        return [
            one
            if one.last_task_id in own
            else msgspec.structs.replace(one, last_task_id=None, last_task_status=None)
            for one in mine
        ]

    def _allows(self, schedule: Schedule) -> bool:
        try:
            return self._scope.allows(_TEMPLATE.decode(schedule.task).queue)
        except (msgspec.DecodeError, RecursionError):  # no version of TaskFlow stores such a task
            return False


class ScopedViews:
    """No views: saved views may name queues of others."""

    async def all(self) -> Sequence[View]:
        return ()

    async def put(self, view: View, *, by: Actor | None = None) -> NoReturn:  # noqa: ARG002
        refuse_scope()

    async def delete(self, name: str, *, by: Actor | None = None) -> NoReturn:  # noqa: ARG002
        refuse_scope()


class ScopedMonitoring:
    """The throughput of the queues in a scope; nodes and hosts serve all queues."""

    def __init__(self, monitoring: MonitoringStore, scope: QueueScope) -> None:
        self._monitoring: Final = monitoring
        self._scope: Final = scope

    async def history(self, queue: str | None = None) -> list[Minute]:
        return await self._monitoring.history(queue, self._scope)

    async def states(
        self, *, limit: int = MAX_COUNTED, queue: str | None = None, is_after_write: bool = False
    ) -> StateCounts:
        return await self._monitoring.states(
            limit=limit, queue=queue, is_after_write=is_after_write, scope=self._scope
        )

    async def nodes(self, limit: int, *, tasks: int = LISTED_TASKS) -> NoReturn:  # noqa: ARG002
        refuse_scope()

    async def host(self, host: str) -> NoReturn:  # noqa: ARG002 - as in MonitoringStore
        refuse_scope()

    async def hosts(self, limit: int) -> NoReturn:  # noqa: ARG002 - as in MonitoringStore
        refuse_scope()


class ScopedRollups:
    """The roll-ups of the queues in a scope; hosts serve all queues."""

    def __init__(self, rollups: RollupStore, scope: QueueScope) -> None:
        self._rollups: Final = rollups
        self._scope: Final = scope

    async def read(
        self, span: Span, *, queue: str | None = None, host: str | None = None
    ) -> RecordedSeries:
        if host is not None:
            refuse_scope()
        return await self._rollups.read(span, queue=queue, scope=self._scope)


class ScopedFailures:
    """The failures of the queues in a scope."""

    def __init__(self, failures: FailureStore, scope: QueueScope) -> None:
        self._failures: Final = failures
        self._scope: Final = scope

    async def first(self, limit: int, filter: FailureFilter = OPEN_FAILURES) -> list[Failure]:
        wanted = msgspec.structs.replace(filter, scope=self._scope)
        return await self._failures.first(limit, wanted)

    async def get(self, failure_id: uuid.UUID) -> Failure | None:
        found = await self._failures.get(failure_id)
        return found if found is not None and self._scope.allows(found.queue) else None


def refuse_scope() -> NoReturn:
    """Reject a request about the service as a whole.

    Raises:
        Forbidden: Always.
    """
    raise Forbidden("this is about all queues; it needs a key that is not limited to some")
