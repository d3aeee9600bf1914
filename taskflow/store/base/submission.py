"""Submission of tasks: the store interface."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from taskflow.model.errors import GroupClosed, KeyIsBusy, NotUnique, Unprocessable
from taskflow.model.task import IdempotencyKey, NewTask, Task

NotStored: TypeAlias = NotUnique | KeyIsBusy | GroupClosed | Unprocessable
"""Why a task is not stored, while others are."""


class AddedOnce(msgspec.Struct, frozen=True):
    """Result of a submission with an idempotency key.

    Attributes:
        tasks: The tasks that this request made, or, for a replay, the tasks that the first
            request with the key made, in their current state and without the deleted ones.
        is_replay: True if an earlier request had the same key.
        is_same: False if that request had another fingerprint; then ``tasks`` is empty.
    """

    tasks: list[Task]
    is_replay: bool = False
    is_same: bool = True


class SubmissionStore(abc.ABC):
    """Stores new tasks; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store new tasks, all or none, and return them in order with their ids, as PENDING.

        An idle node may have claimed them already (see ``wait_for_work``). When this returns, the
        tasks survive a crash of any process (if the store is durable at all), and the nodes that
        wait for work are notified.

        A task whose unique or debounce key another task has is not stored: the other one is
        returned, and its ``existing`` says what was done to it.

        Raises:
            NotUnique: Another task has the unique key of a task that says so; nothing is stored.
            KeyIsBusy: A transaction that is still open has a task with one of the keys; nothing is
                stored.
            Unprocessable: The group of a task does not exist; nothing is stored.
            GroupClosed: The group of a task takes no more tasks; nothing is stored.
        """

    @abc.abstractmethod
    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        """Store new tasks like ``add``, each by itself; return the error of a task in its place."""

    @abc.abstractmethod
    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        """Store new tasks like ``add``, unless an earlier request had this key.

        Of concurrent requests with one key, on any nodes, exactly one makes the tasks.
        """

    @abc.abstractmethod
    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        """Return what an earlier request with this key made; ``None`` if there was none."""

    @abc.abstractmethod
    async def delete_expired_keys(self, *, limit: int) -> int:
        """Delete up to ``limit`` idempotency keys that have expired; return their number."""
