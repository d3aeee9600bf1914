"""Tasks canceled, retried, deleted."""

from __future__ import annotations

import uuid
from typing import Unpack

from taskflow.client import calls
from taskflow.client.filters import Filters
from taskflow.client.on_trio.transport import Transport
from taskflow.client.task import Moved, Task


class ByHand:
    """What a client does to tasks that are there already."""

    _transport: Transport

    async def cancel(self, task_id: uuid.UUID | str) -> Task:
        """Call a task off that has not ended.

        Raises:
            Conflict: It is at its end.
            NotFound: There is none with this id.
        """
        call = calls.of_task("POST", task_id, "/cancel", is_repeatable=False)
        return (await self._transport.ask(call)).read(Task)

    async def retry(self, task_id: uuid.UUID | str) -> Task:
        """Run a task again that FAILED or was CANCELED.

        Raises:
            Conflict: It stands otherwise.
            NotFound: There is none with this id.
        """
        call = calls.of_task("POST", task_id, "/retry", is_repeatable=False)
        return (await self._transport.ask(call)).read(Task)

    async def delete(self, task_id: uuid.UUID | str) -> None:
        """Delete a task that is at its end.

        Raises:
            Conflict: It is not at its end.
            NotFound: There is none with this id.
        """
        await self._transport.ask(calls.of_task("DELETE", task_id, is_repeatable=False))

    async def cancel_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> Moved:
        """Cancel all tasks that match and have not ended.

        Args:
            everything: Says that all tasks are meant, where no filter says which.
            dry_run: Only count them.
            filters: Which.
        """
        call = calls.by_hand(
            "cancel", filters, everything=everything, dry_run=dry_run, is_repeatable=True
        )
        return (await self._transport.ask(call)).read(Moved)

    async def retry_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> Moved:
        """Run all tasks again that match and FAILED or were CANCELED; see ``cancel_many``."""
        call = calls.by_hand(
            "retry", filters, everything=everything, dry_run=dry_run, is_repeatable=dry_run
        )
        return (await self._transport.ask(call)).read(Moved)

    async def delete_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> Moved:
        """Delete all tasks that match and are at their end; see ``cancel_many``."""
        call = calls.by_hand(
            "delete", filters, everything=everything, dry_run=dry_run, is_repeatable=True
        )
        return (await self._transport.ask(call)).read(Moved)
