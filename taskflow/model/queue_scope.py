"""The queues that a client may use, if it may not use all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.model.callback import CALLBACK_QUEUE
from taskflow.model.task import DEFAULT_QUEUE, NAME_RULE, is_name

MAX_PATTERNS: Final = 20
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# Queues that tasks of several clients share without naming them.
_SHARED_QUEUES: Final = (DEFAULT_QUEUE, CALLBACK_QUEUE)


class QueueScope(msgspec.Struct, frozen=True):
    """Some queues, by name or by the beginning of their name.

    It never has ``default`` and ``callbacks``: tasks of all clients are in these. The index of
    tasks by queue also leaves out ``default``, so the length and the cost of a page would depend on
    the tasks of other clients.

    Attributes:
        names: Names of queues.
        prefixes: Beginnings of names.
    """

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join((*self.names, *(f"{prefix}*" for prefix in self.prefixes)))

    def allows(self, queue: str) -> bool:
        """Return whether a queue is one of these."""
        return queue in self.names or queue.startswith(self.prefixes)

    def narrowed_to(self, queue: str | None) -> QueueScope:
        """Return this scope, or the part of it that a filter by queue leaves."""
        if queue is None:
            return self
        return QueueScope((queue,) if self.allows(queue) else ())

    def parameters(self) -> Mapping[str, list[str]]:
        """Return the parameters of statements that are limited to these queues."""
        return {"scope_names": list(self.names), "scope_prefixes": list(self.prefixes)}


def scope_of(text: str) -> QueueScope:
    """Read patterns that are separated by commas: a name, or the beginning of one and ``*``.

    Raises:
        ValueError: A pattern is invalid, or has a queue that several clients share.
    """
    patterns = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"there may be at most {MAX_PATTERNS} queues")
    scope = QueueScope(
        tuple(sorted(one for one in patterns if not one.endswith("*"))),
        tuple(sorted(one[:-1] for one in patterns if one.endswith("*"))),
    )
    if not all(map(is_name, scope.names)) or not all(map(_PREFIX.fullmatch, scope.prefixes)):
        raise ValueError(f"a queue is a name or its beginning and *; a name is {NAME_RULE}")
    for shared in _SHARED_QUEUES:
        if scope.allows(shared):
            raise ValueError(
                f"the queue {shared} is not for one client alone: tasks of all clients are in it"
            )
    return scope
