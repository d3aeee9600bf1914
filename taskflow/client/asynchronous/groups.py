"""Groups: create, read, watch, close, cancel and retry them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from taskflow.client import arguments, calls
from taskflow.client.arguments import json_of, whole_number
from taskflow.client.asynchronous.streams import EventStream, GroupStream
from taskflow.client.asynchronous.transport import Transport
from taskflow.client.options import document_of_item
from taskflow.client.task import Group
from taskflow.model.groups import GroupStatus, OnMemberFailure
from taskflow.model.task import TagValue

_PAGE: Final = 100


class Groups:
    """The groups of a service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def iter(
        self,
        *,
        page: int = _PAGE,
        status: GroupStatus | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> GroupStream:
        """Return groups, newest first, ``page`` per request.

        Args:
            page: Number of groups per request.
            status: Only groups with this status.
            queue: Only groups of this queue.
            name: Only groups with this name.
        """
        given = {"status": status, "queue": queue, "name": name}
        query = [("limit", str(whole_number("page", page, minimum=1)))]
        query += [(key, str(value)) for key, value in given.items() if value is not None]
        return GroupStream(self._transport, calls.Call("GET", "/groups", query=query))

    async def create(  # noqa: PLR0913 - each is a word of its own
        self,
        tasks: Iterable[Any] = (),
        *,
        name: str | None = None,
        queue: str | None = None,
        on_complete: Any = None,
        on_failure: OnMemberFailure | str | None = None,
        tags: Mapping[str, TagValue] | None = None,
        is_open: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Group:
        """Create a group, with up to 10,000 tasks, all or nothing.

        Args:
            tasks: Its first tasks: payloads; a ``Submission`` for a task with options.
            name: A name.
            queue: The queue that it belongs to.
            on_complete: The task to create when it completes: a payload, or a ``Submission``.
            on_failure: What happens when a task of it fails: ``run`` or ``cancel_rest``.
            tags: Tags.
            is_open: Whether tasks can join it later, by their option ``group``. Default: only if
                it is created without tasks.
            idempotency_key: Calls with the same key create one group. Default: a new key for each
                call.

        Raises:
            Unprocessable: The group or a task is invalid; ``errors`` has all reasons.
        """
        documents = [
            msgspec.Raw(document_of_item(item)) for item in arguments.items_of("tasks", tasks)
        ]
        completion = None if on_complete is None else msgspec.Raw(document_of_item(on_complete))
        fields = {
            "name": name,
            "queue": queue,
            "on_complete": completion,
            "on_failure": on_failure,
            "tags": tags,
            "open": is_open,
            "tasks": documents or None,
        }
        body = json_of({name: value for name, value in fields.items() if value is not None})
        call = calls.new_group(body, idempotency_key)
        return (await self._transport.ask(call)).read(Group)

    async def get(self, group_id: uuid.UUID | str) -> Group:
        """Return a group.

        Raises:
            NotFound: There is no group with this id.
        """
        return (await self._transport.ask(calls.of_group("GET", group_id))).read(Group)

    def iter_events(self, group_id: uuid.UUID | str, *, after: int | None = None) -> EventStream:
        """Return events of the tasks of a group, until the group has finished.

        They are consumed like the events of ``iter_events`` of the client.

        Args:
            group_id: The id of the group.
            after: The id of the event after which to continue.
        """
        place = None if after is None else whole_number("after", after, minimum=0)
        call = calls.group_events(group_id)
        return EventStream(self._transport, call, after=place, is_of_task=False)

    async def close(self, group_id: uuid.UUID | str) -> Group:
        """Let no more tasks join a group; it completes when its last task has finished.

        Raises:
            NotFound: There is no group with this id.
            Conflict: It is CANCELED.
        """
        call = calls.of_group("POST", group_id, "/close")
        return (await self._transport.ask(call)).read(Group)

    async def cancel(self, group_id: uuid.UUID | str) -> Group:
        """Cancel a group and all of its tasks that have not finished.

        Raises:
            NotFound: There is no group with this id.
            Conflict: It is COMPLETED.
        """
        call = calls.of_group("POST", group_id, "/cancel")
        return (await self._transport.ask(call)).read(Group)

    async def retry(self, group_id: uuid.UUID | str) -> Group:
        """Retry the FAILED tasks of a group, up to 10,000; a COMPLETED group completes again.

        Raises:
            NotFound: There is no group with this id.
            Conflict: It is CANCELED.
        """
        call = calls.of_group("POST", group_id, "/retry", is_repeatable=False)
        return (await self._transport.ask(call)).read(Group)
