"""Groups, which are stored beside the tasks: the store interface."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.groups import ALL_GROUPS, Group, GroupFilter, NewGroup
from taskflow.model.task import IdempotencyKey, NewTask

MAX_RETRIED_MEMBERS: Final = 10_000
"""Maximum number of tasks that one retry of a group starts again, in one transaction."""


class AddedGroup(msgspec.Struct, frozen=True):
    """Result of the creation of a group.

    Attributes:
        group: The group; ``None`` if it was deleted, or the request is another one.
        is_replay: True if an earlier request had the same key.
        is_same: False if that request had another fingerprint.
    """

    group: Group | None
    is_replay: bool = False
    is_same: bool = True


class GroupPage(msgspec.Struct, frozen=True):
    """Some groups, newest first, and the id that the next page continues from."""

    groups: list[Group]
    next_before: uuid.UUID | None


class GroupStore(abc.ABC):
    """Stores groups; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.

    A verb that finishes the last member of a closed group also completes the group and creates its
    completion task, all or nothing. A verb that starts a finished member again makes a COMPLETED
    group CLOSED.
    """

    @abc.abstractmethod
    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        """Create a group with these tasks, all or nothing; unless ``is_open``, it is closed.

        Args:
            new: The group.
            tasks: Its first members; none has a unique or debounce key.
            key: Of concurrent requests with one key, exactly one creates a group.
        """

    @abc.abstractmethod
    async def get(self, group_id: uuid.UUID) -> Group | None:
        """Return a group; ``None`` if there is none with this id."""

    @abc.abstractmethod
    async def queues_of(self, group_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        """Return the queues of the groups that exist, by id."""

    @abc.abstractmethod
    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        """Return a page of groups, newest first."""

    @abc.abstractmethod
    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        """Let no more tasks join a group; it completes at once if no member is open.

        Raises:
            IllegalMove: It is CANCELED.
            KeyIsBusy: A transaction that adds tasks to it is still open.
        """

    @abc.abstractmethod
    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        """Cancel a group and its open members; it creates no completion task.

        Raises:
            IllegalMove: It is COMPLETED.
            KeyIsBusy: A transaction that adds tasks to it is still open.
        """

    @abc.abstractmethod
    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        """Retry the FAILED members of a group, all or nothing; a COMPLETED group is CLOSED again.

        If there are more than ``MAX_RETRIED_MEMBERS``, the oldest are retried.

        Raises:
            IllegalMove: It is CANCELED.
        """

    @abc.abstractmethod
    async def cancel_rest(self) -> int:
        """Cancel open members of groups that are to be canceled; return the number of tasks.

        Actions of a living process do so by themselves; this continues what another one began.
        """

    @abc.abstractmethod
    async def fold_counts(self, *, limit: int) -> int:
        """Add some recorded changes to the stored counts, and return the number of changes."""

    @abc.abstractmethod
    async def delete_finished(self, *, age_seconds: float, limit: int) -> int:
        """Delete groups that finished before this time; return a number of deleted rows.

        Their tasks keep the id of the group.
        """
