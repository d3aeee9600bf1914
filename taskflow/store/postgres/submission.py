"""Submission of tasks to PostgreSQL.

Tasks that are submitted at the same time share a statement (``group_commit``), and so a commit.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from typing import Final

import psycopg
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model import graphs
from taskflow.model.errors import (
    GroupClosed,
    KeyIsBusy,
    NotUnique,
    StoreUnavailable,
    Unprocessable,
)
from taskflow.model.graphs import is_graph, parent_ids
from taskflow.model.groups import refusal_of
from taskflow.model.parents import MAX_CHILDREN
from taskflow.model.task import Claim, IdempotencyKey, NewTask, Task
from taskflow.store.base.submission import AddedOnce, NotStored, SubmissionStore
from taskflow.store.postgres import keyed_submission
from taskflow.store.postgres.entries import (
    Entry,
    entries_of,
    parameters_of,
    size_of,
    stored_tasks,
)
from taskflow.store.postgres.group_commit import GroupCommit
from taskflow.store.postgres.group_rows import states_of
from taskflow.store.postgres.keyed_submission import KeyedRequest, KeyedResult, request_of
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import StoreContext, StorePart

# A submission of more tasks than this does not share a statement with single tasks.
MAX_SMALL_SUBMISSION: Final = 100
# A request whose key another transaction has is repeated for this time, with growing pauses.
MAX_KEY_WAIT_SECONDS: Final = 3.0
MIN_PAUSE_SECONDS: Final = 0.01
MAX_PAUSE_SECONDS: Final = 0.25

_NO_NODE: Final = uuid.UUID(int=0)


class PostgresSubmission(StorePart, SubmissionStore):
    """Stores new tasks.

    Attributes:
        additions: Writes the tasks of small submissions; run by the owner of the store.
        large_additions: The same for large ones, so that single tasks need not wait for them.
        keyed_additions: The same for requests whose tasks have unique or debounce keys.
        is_refused: True if the database refused new tasks the last time.
    """

    def __init__(self, context: StoreContext) -> None:
        super().__init__(context)
        self._requests = itertools.count()
        self.is_refused = False
        self.additions: Final = GroupCommit[Entry, Task | None](self._add, size_of)
        self.large_additions: Final = GroupCommit[Entry, Task | None](self._add, size_of)
        self.keyed_additions: Final = GroupCommit[KeyedRequest, KeyedResult](
            self._add_keyed, keyed_submission.size_of
        )

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        if any(task.is_keyed for task in tasks):
            return await self._submit_keyed(tasks, None) or []
        await self._check_parents(tasks)
        added = await self._submit(tasks, None)
        stored = [task for task in added if task is not None]
        if len(stored) < len(tasks):
            raise await self._refusal(tasks) or StoreUnavailable
        return stored

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        keyed = [index for index, task in enumerate(tasks) if task.is_keyed]
        plain = [index for index, task in enumerate(tasks) if not task.is_keyed]
        added: dict[int, Task | NotStored] = {}
        if plain:
            stored = await self._add_apart([tasks[index] for index in plain])
            added |= zip(plain, stored, strict=True)
        requests = [request_of([tasks[index]], None) for index in keyed]
        results = await self._wait_for_keys(requests) if requests else []
        added |= zip(keyed, map(_only, results), strict=True)
        return [added[index] for index in range(len(tasks))]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        try:
            await self._check_parents(tasks)
        except Unprocessable:  # parents may have been deleted since the first request
            if (first := await self.find_added(key)) is None:
                raise
            return first
        is_keyed = any(task.is_keyed for task in tasks)
        submit = self._submit_keyed if is_keyed else self._submit_once
        known = None
        while known is None:  # again if the key was deleted meanwhile: the request is a new one
            added = await submit(tasks, key)
            if added is not None:
                return AddedOnce(added)
            known = await self.find_added(key)
            if known is None and (refusal := await self._refusal(tasks)) is not None:
                raise refusal
        return known

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        return await self._statements.database.run(lambda connection: self._known(connection, key))

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks in the transaction that is open, not claimed."""
        parameters: dict[str, object] = {"node_id": _NO_NODE, "token": _NO_NODE, **self._notified()}
        entries = list(entries_of(tasks, None, 0))
        parameters |= parameters_of(entries, ())
        rows = self._statements.execute(connection, "add", parameters)
        return [task for _, task in stored_tasks(entries, rows)]

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Announce tasks that ``insert`` stored, once they are committed."""
        self._announce([(task.id, task.priority, task.run_at) for task in tasks])

    def _announce(self, rows: Sequence[Row]) -> None:
        """Announce new tasks; tasks that wait for others have no due time."""
        due = [row for row in rows if row[2] is not None]
        self._announcements.announce(due)
        if len(due) < len(rows):
            self._announcements.note_waiting()

    async def _submit(
        self, tasks: Sequence[NewTask], key: IdempotencyKey | None
    ) -> list[Task | None]:
        """Store tasks; ``None`` for each if a request with their key came earlier."""
        entries, checkpoints = [], Checkpoints()
        for entry in entries_of(tasks, key, next(self._requests)):
            entries.append(entry)
            if entry.links.count:
                await checkpoints.after(0)
        return await self._submit_entries(entries)

    async def _submit_entries(self, entries: Sequence[Entry]) -> list[Task | None]:
        is_large = len(entries) > MAX_SMALL_SUBMISSION
        return await (self.large_additions if is_large else self.additions).submit(entries)

    async def _submit_once(
        self, tasks: Sequence[NewTask], key: IdempotencyKey
    ) -> list[Task] | None:
        """Store tasks; ``None`` if a request with their key came earlier."""
        added = [task for task in await self._submit(tasks, key) if task is not None]
        return added if len(added) == len(tasks) else None

    async def _add_apart(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        """Store tasks without unique and debounce keys, each as a request of its own."""
        if not any(task.group or task.after for task in tasks):
            return [*(await self.add(tasks))]
        children = await self._children_of(parent_ids(tasks))
        refusals = [graphs.refusal_of([task], children) for task in tasks]
        entries = [
            entry
            for task, refusal in zip(tasks, refusals, strict=True)
            if refusal is None
            for entry in entries_of([task], None, next(self._requests))
        ]
        stored = iter(await self._submit_entries(entries) if entries else ())
        added: list[Task | NotStored] = []
        for task, refusal in zip(tasks, refusals, strict=True):
            added.append(refusal or next(stored) or await self._refusal([task]) or KeyIsBusy())
        return added

    async def _check_parents(self, tasks: Sequence[NewTask]) -> None:
        """Check that the parents of tasks exist that are given by their ids.

        Raises:
            Unprocessable: One does not, or cannot have more children.
        """
        if not is_graph(tasks):
            return
        refusal = graphs.refusal_of(tasks, await self._children_of(parent_ids(tasks)))
        if refusal is not None:
            raise refusal

    async def _children_of(self, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Return the number of children of each of these tasks that exists."""
        if not ids:
            return {}
        return dict(await self._statements.run("children_of", ids=ids, limit=MAX_CHILDREN))

    async def _refusal(self, tasks: Sequence[NewTask]) -> GroupClosed | Unprocessable | None:
        """Return why tasks of a request cannot join their groups."""
        ids = list({task.group for task in tasks if task.group is not None})
        if not ids:
            return None
        return refusal_of(tasks, states_of(await self._statements.run("group_states", ids=ids)))

    async def _submit_keyed(
        self, tasks: Sequence[NewTask], key: IdempotencyKey | None
    ) -> list[Task] | None:
        """Store tasks with unique or debounce keys; ``None`` as in ``_submit_once``."""
        [result] = await self._wait_for_keys([request_of(tasks, key)])
        if isinstance(result, NotUnique | KeyIsBusy):
            raise result
        return result

    async def _wait_for_keys(self, requests: Sequence[KeyedRequest]) -> list[KeyedResult]:
        """Store requests, and repeat those whose keys other transactions have, for some time."""
        results: dict[int, KeyedResult] = {}
        busy = list(range(len(requests)))
        deadline, pause = trio.current_time() + MAX_KEY_WAIT_SECONDS, MIN_PAUSE_SECONDS
        while busy:
            again = [requests[index] for index in busy]
            results |= zip(busy, await self._submit_requests(again), strict=True)
            busy = [index for index in busy if isinstance(results[index], KeyIsBusy)]
            if not busy or trio.current_time() > deadline:
                break
            await trio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        return [results[index] for index in range(len(requests))]

    async def _submit_requests(self, requests: Sequence[KeyedRequest]) -> list[KeyedResult]:
        if any(len(request.tasks) > MAX_SMALL_SUBMISSION for request in requests):
            return await self._add_keyed(requests)  # single requests need not wait for it
        return await self.keyed_additions.submit(requests)

    async def _add_keyed(self, requests: Sequence[KeyedRequest]) -> list[KeyedResult]:
        in_order = sorted(range(len(requests)), key=lambda index: requests[index].order)
        sorted_requests = [requests[index] for index in in_order]
        rows, results = await self._statements.database.run(
            lambda connection: self._store_keyed(connection, sorted_requests)
        )
        self._announcements.announce(
            [row[2:5] for row in rows if row[4] is not None and row[2] is not None]
        )
        if any(task.order_key for request in requests for task in request.tasks):
            self._announcements.order_steps.notify()
        by_index = dict(zip(in_order, results, strict=True))
        return [by_index[index] for index in range(len(requests))]

    def _store_keyed(
        self, connection: Connection, requests: Sequence[KeyedRequest]
    ) -> tuple[list[Row], list[KeyedResult]]:
        parameters = {
            "requests": [request.document for request in requests],
            "wait_ms": keyed_submission.WAIT_MILLISECONDS,
            **self._notified(),
        }
        rows = self._statements.execute(connection, "add_keyed", parameters)
        ids = keyed_submission.existing_ids(rows)
        found = {task.id: task for task in self._read(connection, ids)} if ids else {}
        results = keyed_submission.results_of(requests, rows, found)
        return rows, [
            self._masked(result) if isinstance(result, list) else result for result in results
        ]

    async def _add(self, entries: Sequence[Entry]) -> list[Task | None]:
        tasks = [entry.task for entry in entries]
        with self._context.direct_claims.reserved(tasks) as (reservation, indexes):
            found = await self._run_add(
                node_id=reservation.node_id,
                token=reservation.token,
                **self._notified(),
                **parameters_of(entries, set(indexes)),
            )
            rows = {index: row for index, *row in found}
            reservation.deliver(
                [
                    _first_claim(rows[index][0], reservation.token, tasks[index])
                    for index in indexes
                    if index in rows and rows[index][-1]
                ]
            )
        self._announce([tuple(row) for row in rows.values() if not row[-1]])
        added: list[Task | None] = [None] * len(tasks)
        checkpoints = Checkpoints()
        for index, task in stored_tasks(entries, found):
            added[index] = self._context.masking.task(task)
            await checkpoints.after(0)
        return added

    async def delete_expired_keys(self, *, limit: int) -> int:
        return len(await self._statements.run("delete_expired_keys", limit=limit))

    def _notified(self) -> dict[str, object]:
        """Return the parameters that decide which nodes are notified of new tasks."""
        announcements = self._announcements
        own_nodes = announcements.own_nodes if announcements.nodes else []
        return {"sender": announcements.sender, "own_nodes": own_nodes}

    async def _run_add(self, **parameters: object) -> list[Row]:
        """Store tasks, and remember for ``check`` whether the database refused it."""
        extras = parameters["extras"]
        assert isinstance(extras, list)
        name = "add" if any(extras) else "add_plain"
        try:
            rows = await self._statements.run(name, **parameters)
        except (StoreUnavailable, psycopg.Error):
            self.is_refused = True
            raise
        self.is_refused = False
        return rows

    def _known(self, connection: Connection, key: IdempotencyKey) -> AddedOnce | None:
        """Return what the first request with this key made; ``None`` if there was none."""
        rows = self._statements.execute(connection, "known_keys", {"keys": [key.text]})
        if not rows:
            return None
        [(_, fingerprint, task_ids)] = rows
        if fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        found = {task.id: task for task in self._read(connection, task_ids)}
        tasks = [found[task_id] for task_id in task_ids if task_id in found]
        return AddedOnce(tasks, is_replay=True)


def _only(result: KeyedResult) -> Task | NotStored:
    """Return the task of a request without an idempotency key, or why there is none."""
    assert result is not None
    return result[0] if isinstance(result, list) else result


def _first_claim(task_id: uuid.UUID, token: uuid.UUID, task: NewTask) -> Claim:
    return Claim(task_id, token, task.payload, 1, task.max_attempts, task.options, queue=task.queue)
