"""What is wrong with the names and parents of the tasks of an array."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from taskflow.model import graphs
from taskflow.model.errors import Unprocessable
from taskflow.model.graphs import faults_of, links_of, refuse_faults
from taskflow.model.options import TaskOptions
from taskflow.model.parents import MAX_CHILDREN
from taskflow.model.task import NewTask
from taskflow.model.uniqueness import Unique

ID = uuid.UUID(int=7)


def graph(*tasks: tuple[str | None, list[str]]) -> list[NewTask]:
    """Tasks with their names, and the names of their parents."""
    return [
        NewTask(msgspec.Raw(b'"x:"'), after=tuple(after), options=TaskOptions(name=name))
        for name, after in tasks
    ]


def faults(tasks: list[NewTask]) -> list[tuple[str, str]]:
    found = [fault for fault in faults_of(tasks) if fault is not None]
    return [(f"{fault.index}{fault.pointer}", fault.detail) for fault in found]


def test_a_graph_without_faults():
    """Names, ids, diamonds and tasks without either."""
    tasks = graph(
        ("d", ["b", "c"]), ("a", []), ("b", ["a"]), ("c", ["a"]), (None, [str(ID)]), (None, [])
    )
    assert faults(tasks) == []
    links = list(links_of(tasks))
    assert [has_children for _, has_children in links] == [False, True, True, True, False, False]
    assert links[0][0].near == {"b": 2, "c": 3}
    assert (links[4][0].near, links[4][0].ids) == ({}, [ID])


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([("a", []), ("a", [])], ("1/name", "the task 0 of the array has the name 'a', too")),
        ([("a", []), (None, ["b"])], ("1/after/0", "no task of the array has the name 'b'")),
        ([("a", ["a"])], ("0/after", "tasks wait for each other: a -> a")),
        (
            [("x", ["a"]), ("a", ["b"]), ("b", ["c"]), ("c", ["a"])],
            ("1/after", "tasks wait for each other: a -> b -> c -> a"),
        ),
    ],
)
def test_faults(tasks, expected):
    """Each is named with its place; of a cycle, only its own tasks are."""
    assert faults(graph(*tasks)) == [expected]


def test_a_long_cycle_is_found_and_shortened():
    """A chain of 10,000 tasks whose first one waits for its last."""
    count = 10_000
    tasks = graph(*((f"t{n}", [f"t{(n + 1) % count}"]) for n in range(count)))
    [(place, text)] = faults(tasks)
    assert place.endswith("/after")
    assert text.startswith("tasks wait for each other: t0 -> t1 -> t2")
    assert len(text) < 400


def test_too_many_edges(monkeypatch):
    """The parents of all tasks of an array are limited."""
    monkeypatch.setattr(graphs, "MAX_EDGES", 3)
    tasks = graph(("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("d", ["a"]))
    assert faults(tasks) == [("3/after", "the tasks of an array have at most 3 parents")]


def test_keys_in_a_graph():
    """A task with a unique key may meet one that exists, so no array with parents has one."""
    tasks = graph(("a", []), (None, ["a"]))
    keyed = msgspec.structs.replace(tasks[0], options=TaskOptions(name="a", unique=Unique("k")))
    with pytest.raises(Unprocessable, match="must not have tasks with unique") as caught:
        refuse_faults([keyed, tasks[1]])
    assert [error.pointer for error in caught.value.errors] == ["#/0"]


def test_parents_that_cannot_be_used():
    """They do not exist, or have as many children as are allowed."""
    tasks = graph((None, [str(ID), str(uuid.UUID(int=8))]), (None, [str(ID)]))
    refusal = graphs.refusal_of(tasks, {ID: MAX_CHILDREN - 1})
    assert refusal is not None
    assert [error.pointer for error in refusal.errors] == ["#/0/after/1", "#/1/after/0"]
    assert graphs.refusal_of(tasks, {ID: 0, uuid.UUID(int=8): 0}) is None
