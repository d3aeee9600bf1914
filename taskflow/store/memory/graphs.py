"""Parents and children of tasks in memory."""

from __future__ import annotations

import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from taskflow.model.graphs import is_graph, links_of, parent_ids, refusal_of, with_parents
from taskflow.model.parents import OnParentFailure, is_id
from taskflow.model.task import NewTask, Task, TaskStatus

_NO_TASK: Final = uuid.UUID(int=0)


class GraphTasks(msgspec.Struct, frozen=True):
    """The tasks beside the graphs.

    Attributes:
        find: Returns a task, if it exists.
        start: Starts a task; its delay counts from now.
        restart: Starts a task without its delay.
        end: Cancels a task or lets it fail, because of the given parent.
    """

    find: Callable[[uuid.UUID], Task | None]
    start: Callable[[Task], None]
    restart: Callable[[Task], None]
    end: Callable[[Task, Task], None]


class GraphBook:
    """The parents of tasks, and what the ends of these do to their children.

    Args:
        tasks: The tasks.
    """

    def __init__(self, tasks: GraphTasks) -> None:
        self._tasks = tasks
        self._children: dict[uuid.UUID, list[uuid.UUID]] = {}
        self._parents: dict[uuid.UUID, tuple[uuid.UUID, ...]] = {}
        self._names: dict[uuid.UUID, dict[str, uuid.UUID]] = {}
        # Of the parents, the ones whose end was not counted.
        self._open: dict[uuid.UUID, set[uuid.UUID]] = {}
        self._ended: deque[Task] = deque()
        self._depth = 0

    def check(self, tasks: Sequence[NewTask], *, under: str = "") -> None:
        """Check that the parents of the tasks of a request exist that are given by their ids.

        Raises:
            Unprocessable: One does not, or cannot have more children.
        """
        if not is_graph(tasks):
            return
        known = [one for one in parent_ids(tasks) if self._tasks.find(one) is not None]
        children = {one: len(self._children.get(one, ())) for one in known}
        if (refusal := refusal_of(tasks, children, under=under)) is not None:
            raise refusal

    def linked(self, tasks: Sequence[Task], new_tasks: Sequence[NewTask]) -> list[Task]:
        """Return the tasks of a request with the ids of their parents."""
        if not is_graph(new_tasks):
            return list(tasks)
        ids = {index: task.id for index, task in enumerate(tasks)}
        links = [one for one, _ in links_of(new_tasks)]
        for index, (task, one) in enumerate(zip(tasks, links, strict=True)):
            near = {name: ids[index + distance] for name, distance in one.near.items()}
            self._names[task.id] = near | {str(parent): parent for parent in one.ids}
        return [
            msgspec.structs.replace(task, after=one.parents(index, ids))
            for index, (task, one) in enumerate(zip(tasks, links, strict=True))
        ]

    def join(self, task: Task) -> None:
        """Let a new task wait for its parents; parents that have finished count at once."""
        if task.after is None:
            return
        self._parents[task.id] = task.after
        self._open[task.id] = set(task.after)
        for parent in task.after:
            self._children.setdefault(parent, []).append(task.id)
        for parent in task.after:
            known = self._tasks.find(parent)
            if known is not None and known.status.is_final:
                self._count(known, task.id)

    def rejoin(self, task: Task) -> None:
        """Let a retried task wait for its parents that have not finished."""
        if task.after is None:
            return
        parents = [self._tasks.find(one) for one in task.after]
        is_open = {one.id for one in parents if one is not None and not one.status.is_final}
        self._open[task.id] = is_open
        if not is_open:
            self._tasks.restart(task)

    def note(self, task: Task) -> None:
        """Note the end of a task, and of the tasks that end because of it."""
        if not task.status.is_final or task.id not in self._children:
            return
        with self.together():
            self._ended.append(task)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Count what ends in the block when it is over: in it, tasks end by themselves."""
        self._depth += 1
        try:
            yield
            while self._depth == 1 and self._ended:
                parent = self._ended.popleft()
                for child_id in self._children.get(parent.id, ()):
                    self._count(parent, child_id)
        finally:
            self._depth -= 1

    def _count(self, parent: Task, child_id: uuid.UUID) -> None:
        """Count the end of a parent, unless it was counted."""
        is_open, child = self._open.get(child_id, set()), self._tasks.find(child_id)
        if parent.id not in is_open or child is None:
            return
        is_open.remove(parent.id)
        if child.status is not TaskStatus.PENDING or child.waiting_for is None:
            return
        is_failure = parent.status is not TaskStatus.COMPLETED
        if is_failure and child.on_parent_failure is not OnParentFailure.RUN:
            self._tasks.end(child, parent)
        elif not is_open:
            self._tasks.start(child)

    def forget(self, task_id: uuid.UUID) -> None:
        """Forget a deleted task; its children keep its id."""
        for parent in self._parents.pop(task_id, ()):
            self._children[parent].remove(task_id)
        self._open.pop(task_id, None)
        self._names.pop(task_id, None)
        if not self._children.get(task_id):
            self._children.pop(task_id, None)

    def parent(self, task_id: uuid.UUID, parent: str) -> uuid.UUID:
        """Return the id of a parent by the name or the id that a task gives it."""
        key = parent.lower() if is_id(parent) else parent
        return self._names.get(task_id, {}).get(key, _NO_TASK)

    def has_open_children(self, task_id: uuid.UUID) -> bool:
        """Return whether a child of a task has not finished."""
        children = map(self._tasks.find, self._children.get(task_id, ()))
        return any(child is not None and not child.status.is_final for child in children)

    def shown(self, task: Task) -> Task:
        """Return a task with the parents that it waits for."""
        if task.after is None or task.waiting_for is None:
            return task
        is_open = self._open[task.id]
        return with_parents(task, task.after, min(is_open, default=None), len(is_open))
