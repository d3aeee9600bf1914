# Written by `python -m tools.blocking` from client/asynchronous/task_actions.py: change that.

"""Cancel, retry and delete tasks."""

from __future__ import annotations

import uuid
from typing import Unpack

from taskflow.client import calls
from taskflow.client.blocking.transport import Transport
from taskflow.client.options import Filters
from taskflow.client.task import BulkResult, Task


class ByHand:
    """The methods that change existing tasks."""

    _transport: Transport

    def cancel(self, task_id: uuid.UUID | str) -> Task:
        """Cancel a task.

        Raises:
            Conflict: The task is finished.
            NotFound: There is no task with this id.
        """
        call = calls.of_task("POST", task_id, "/cancel", is_repeatable=False)
        return (self._transport.ask(call)).read(Task)

    def retry(self, task_id: uuid.UUID | str) -> Task:
        """Retry a FAILED or CANCELED task.

        Raises:
            Conflict: The task has another status.
            NotFound: There is no task with this id.
        """
        call = calls.of_task("POST", task_id, "/retry", is_repeatable=False)
        return (self._transport.ask(call)).read(Task)

    def skip(self, task_id: uuid.UUID | str) -> Task:
        """Skip a FAILED task that holds its order key, so that the next task of the key starts.

        Raises:
            Conflict: The task does not hold its order key.
            NotFound: There is no task with this id.
        """
        call = calls.of_task("POST", task_id, "/skip", is_repeatable=False)
        return (self._transport.ask(call)).read(Task)

    def delete(self, task_id: uuid.UUID | str) -> None:
        """Delete a finished task.

        Raises:
            Conflict: The task is not finished.
            NotFound: There is no task with this id.
        """
        self._transport.ask(calls.of_task("DELETE", task_id, is_repeatable=False))

    def cancel_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> BulkResult:
        """Cancel all matching tasks that are not finished.

        Args:
            everything: Whether all tasks are meant, if there is no filter.
            dry_run: Whether to count the tasks only.
            filters: Filters; a task must match all of them.
        """
        call = calls.task_action(
            "cancel", filters, everything=everything, dry_run=dry_run, is_repeatable=True
        )
        return (self._transport.ask(call)).read(BulkResult)

    def retry_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> BulkResult:
        """Retry all matching FAILED and CANCELED tasks; see ``cancel_many``."""
        call = calls.task_action(
            "retry", filters, everything=everything, dry_run=dry_run, is_repeatable=dry_run
        )
        return (self._transport.ask(call)).read(BulkResult)

    def delete_many(
        self, *, everything: bool = False, dry_run: bool = False, **filters: Unpack[Filters]
    ) -> BulkResult:
        """Delete all matching finished tasks; see ``cancel_many``."""
        call = calls.task_action(
            "delete", filters, everything=everything, dry_run=dry_run, is_repeatable=True
        )
        return (self._transport.ask(call)).read(BulkResult)
