"""Graphs: tasks that name their parents. What is wrong with the tasks of a request together.

Names are known within one array, so all parents that a task names are in its request. The others
have ids, which the store looks up.
"""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.errors import MAX_NAMED_CONFLICTS, FieldError, Unprocessable
from taskflow.model.parents import MAX_CHILDREN, after_parents, is_id
from taskflow.model.task import NewTask, Task
from taskflow.model.untrusted_text import shortened

MAX_CYCLE_CHARACTERS: Final = 300
MAX_EDGES: Final = 100_000
"""Maximum number of parents of all tasks of an array together."""

_NO_ARRAY: Final = (
    "{!r} is not the id of a task; a name is for a task of the same array: send both as one array"
)


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a task because of others.

    Attributes:
        index: The index of the task.
        pointer: The place in that task, as a JSON pointer (RFC 6901).
        detail: What is wrong.
    """

    index: int
    pointer: str
    detail: str


class Links(msgspec.Struct, frozen=True):
    """The parents of a task.

    Attributes:
        near: The parents in the same request: by name, the distance from the index of the task.
        ids: The ids of the others.
    """

    near: Mapping[str, int]
    ids: Sequence[uuid.UUID]

    @property
    def count(self) -> int:
        """The number of parents."""
        return len(self.near) + len(self.ids)

    def parents(self, index: int, ids: Mapping[int, uuid.UUID]) -> tuple[uuid.UUID, ...] | None:
        """Return the ids of all parents, in order; ``None`` if there are none.

        Args:
            index: The index of the task.
            ids: The ids of the tasks of the request by their indexes.
        """
        if not self.count:
            return None
        near = [ids[index + distance] for distance in self.near.values()]
        return tuple(sorted([*near, *self.ids]))


NO_LINKS: Final = Links({}, ())


def is_graph(tasks: Sequence[NewTask]) -> bool:
    """Return whether a task of a request has parents."""
    return any(task.after for task in tasks)


def parent_ids(tasks: Sequence[NewTask]) -> list[uuid.UUID]:
    """Return the ids of the parents of these tasks that are given by their ids."""
    return list({uuid.UUID(one) for task in tasks for one in task.after if is_id(one)})


def links_of(tasks: Sequence[NewTask]) -> Iterator[tuple[Links, bool]]:
    """Yield the parents of each task of a checked request, and whether it is a parent itself."""
    places = {name: index for index, task in enumerate(tasks) if (name := task.options.name)}
    parents = {name for task in tasks for name in task.after}
    for index, task in enumerate(tasks):
        near = {name: places[name] - index for name in task.after if not is_id(name)}
        ids = [uuid.UUID(one) for one in task.after if is_id(one)]
        yield Links(near, ids), task.options.name in parents


def faults_of(tasks: Sequence[NewTask]) -> Iterator[Fault | None]:
    """Yield what is wrong with names and parents of the tasks of an array; ``None`` in between.

    Between two values little is computed, so that callers on an event loop can let others run.
    """
    places: dict[str, int] = {}
    for index, task in enumerate(tasks):
        name = task.options.name
        first = index if name is None else places.setdefault(name, index)
        yield (
            None
            if first == index
            else Fault(index, "/name", f"the task {first} of the array has the name {name!r}, too")
        )
    edges = 0
    for index, task in enumerate(tasks):
        edges += len(task.after)
        if edges > MAX_EDGES:
            yield Fault(index, "/after", f"the tasks of an array have at most {MAX_EDGES} parents")
            return
        for place, parent in enumerate(task.after):
            if not is_id(parent) and parent not in places:
                yield Fault(
                    index, f"/after/{place}", f"no task of the array has the name {parent!r}"
                )
        yield None
    keyed = next((index for index, task in enumerate(tasks) if task.is_keyed), None)
    if edges and keyed is not None:
        what = "an array with tasks that have parents must not have tasks with unique or debounce"
        yield Fault(keyed, "", what)
    if edges:
        yield from _cycles(tasks, places)


def _cycles(tasks: Sequence[NewTask], places: Mapping[str, int]) -> Iterator[Fault | None]:
    """Yield a fault for the first cycle: tasks that wait for each other."""
    left = [sum(name in places for name in task.after) for task in tasks]
    yield None
    children: dict[int, list[int]] = {}
    for index, task in enumerate(tasks):
        for name in task.after:
            if name in places:
                children.setdefault(places[name], []).append(index)
        yield None
    free = [index for index, count in enumerate(left) if not count]
    while free:
        index = free.pop()
        for child in children.pop(index, ()):
            left[child] -= 1
            if not left[child]:
                free.append(child)
        yield None
    blocked = {index for index, count in enumerate(left) if count}
    if blocked:
        cycle = _cycle_in(tasks, places, blocked)
        text = shortened(" -> ".join(cycle), MAX_CYCLE_CHARACTERS)
        first = places[cycle[0]]
        yield Fault(first, "/after", f"tasks wait for each other: {text}")


def _cycle_in(
    tasks: Sequence[NewTask], places: Mapping[str, int], blocked: Container[int]
) -> list[str]:
    """Return the names of a cycle, from a task to its parents; the first one is repeated at last.

    Each of the blocked tasks has a blocked parent.
    """
    seen: dict[str, int] = {}
    path: list[str] = []
    name = next(name for name, index in places.items() if index in blocked)
    while name not in seen:
        seen[name] = len(path)
        path.append(name)
        after = tasks[places[name]].after
        name = next(one for one in after if one in places and places[one] in blocked)
    return [*path[seen[name] :], name]


def refuse_names(task: NewTask) -> None:
    """Check that a task that is submitted by itself names no parents: these have ids.

    Raises:
        Unprocessable: It does.
    """
    errors = [
        FieldError(f"#/after/{place}", _NO_ARRAY.format(parent))
        for place, parent in enumerate(task.after)
        if not is_id(parent)
    ]
    if errors:
        raise Unprocessable(errors[0].detail, errors=errors)


def refuse_faults(tasks: Sequence[NewTask]) -> None:
    """Check the names of the tasks of an array, and of their parents.

    Raises:
        Unprocessable: Some are wrong.
    """
    found = [fault for fault in faults_of(tasks) if fault is not None]
    if found:
        errors = [
            FieldError(f"#/{fault.index}{fault.pointer}", fault.detail)
            for fault in found[:MAX_NAMED_CONFLICTS]
        ]
        raise Unprocessable(errors[0].detail, errors=errors)


def refusal_of(
    tasks: Sequence[NewTask], children: Mapping[uuid.UUID, int], *, under: str = ""
) -> Unprocessable | None:
    """Return why tasks of one request cannot have their parents; ``None`` if they can.

    Args:
        tasks: The tasks of the request.
        children: The number of children of each of these parents that exists.
        under: The place of the tasks in the request.
    """
    is_array = bool(under) or len(tasks) > 1
    left = {parent: MAX_CHILDREN - count for parent, count in children.items()}
    errors: list[FieldError] = []
    for index, task in enumerate(tasks):
        for place, text in enumerate(task.after):
            if not is_id(text):
                continue
            parent = uuid.UUID(text)
            left[parent] = left.get(parent, 0) - 1
            if left[parent] < 0:
                where = f"#{under}/{index}/after/{place}" if is_array else f"#/after/{place}"
                errors.append(FieldError(where, _unusable(text, is_known=parent in children)))
    if not errors:
        return None
    return Unprocessable(errors[0].detail, errors=errors[:MAX_NAMED_CONFLICTS])


def _unusable(parent: str, *, is_known: bool) -> str:
    if is_known:
        return f"the task {parent} has {MAX_CHILDREN} children, and cannot have more"
    return f"no task has the id {parent}"


def with_parents(
    task: Task, parents: Sequence[uuid.UUID], first_open: uuid.UUID | None, count: int
) -> Task:
    """Return a task with its parents, and with the parents that it waits for.

    Args:
        task: The task; without parents it stays the same.
        parents: The ids of its parents.
        first_open: The first of them that have not finished, if there are any.
        count: The number of these.
    """
    if task.after is None:
        return task
    waiting_for = task.waiting_for
    if waiting_for is not None and first_open is not None:
        waiting_for = after_parents(first_open, count)
    return msgspec.structs.replace(task, after=tuple(parents), waiting_for=waiting_for)
