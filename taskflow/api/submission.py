"""Validates and stores new tasks: one, an array, or a stream."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import trio
from msgspec import UNSET, UnsetType

from taskflow.api.access.scoped_store import check_queue
from taskflow.api.backlog import Backlog
from taskflow.api.credential_names import CredentialNames
from taskflow.api.inline_requests import Incoming
from taskflow.api.problems import Problem, problem_of, store_timeout
from taskflow.api.reading.bodies import TOO_LONG, Lines
from taskflow.api.reading.graph import check_graph
from taskflow.api.reading.group import new_group_of
from taskflow.checkpoints import Checkpoints
from taskflow.metrics import Metrics
from taskflow.model.errors import (
    BadRequest,
    BodyTooLarge,
    GroupNotFound,
    IdempotencyKeyReused,
    RequestError,
    StoreUnavailable,
    TaskFlowError,
    TaskGone,
    TooManyRequests,
    Unprocessable,
)
from taskflow.model.graphs import refuse_names
from taskflow.model.groups import NewGroup, refuse_mix
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.model.uniqueness import Existing
from taskflow.model.untrusted_text import foreign_format_of
from taskflow.schema.new_task import elements_of, new_task_of
from taskflow.schema.validation_errors import ValidationErrors, token
from taskflow.settings import Settings
from taskflow.store.base.groups import AddedGroup
from taskflow.store.base.store import TaskStore
from taskflow.store.base.submission import AddedOnce, NotStored
from taskflow.tracing import AddTrace

MAX_HELD_BYTES: Final = 64 * 2**10
MAX_ADVISED: Final = 10
"""Maximum number of unknown credentials in a request for which a similar name is suggested."""

_ENCODER: Final = msgspec.json.Encoder()
K = TypeVar("K")


class AcceptedLine(msgspec.Struct, frozen=True):
    """The outcome of a line that was accepted.

    Attributes:
        index: The index of the line, from 0. Blank lines do not count.
        id: The id of the task.
        existing: What the line did to the task, if it existed; absent otherwise.
    """

    index: int
    id: str
    existing: Existing | UnsetType = UNSET


class RejectedLine(msgspec.Struct, frozen=True):
    """The outcome of a line that was rejected.

    Attributes:
        index: The index of the line, from 0. Blank lines do not count.
        error: The problem, as for a request with this task alone.
    """

    index: int
    error: Problem


class StreamSummary(msgspec.Struct, frozen=True):
    """The last line of the response to a stream.

    Attributes:
        accepted: The number of lines that were accepted: tasks that were stored, or existed.
        rejected: The number of lines that were rejected.
        error: Why the stream was not read to its end. If the status is 503, lines without an
            outcome may have been stored.
    """

    accepted: int
    rejected: int
    error: Problem | None = None


class Submissions:
    """Validates and stores new tasks.

    Attributes:
        backlog: Limits the number of pending tasks.
        credentials: The names of the credentials that exist.
    """

    def __init__(self, store: TaskStore, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._metrics: Final = metrics
        self._max_attempts: Final = settings.max_attempts
        self._can_sign: Final = settings.has_webhook_secrets
        self._has_public_url: Final = bool(settings.public_url)
        self._max_task_bytes: Final = settings.max_body_bytes
        self.backlog: Final = Backlog(store, settings.max_pending)
        self.credentials = CredentialNames(store.credentials)
        self._scope: QueueScope | None = None

    def within(self, scope: QueueScope, store: TaskStore) -> Submissions:
        """Return these submissions for a caller whose key is limited to some queues.

        Args:
            scope: The queues.
            store: The store in that scope.
        """
        view = copy.copy(self)
        view._scope, view._store = scope, store  # noqa: SLF001 - its own class
        view.credentials = self.credentials.without_suggestions()
        return view

    async def read(self, body: bytes, trace: Mapping[str, str]) -> NewTask:
        """Read one task.

        Raises:
            RequestError: It is invalid.
            Forbidden: The caller may not use its queue.
            StoreUnavailable: Its credential cannot be looked up.
        """
        task = self._new_task(body, trace)
        self._check_queue(task)
        if task.options.credential is not None:
            for error in (await self.unknown_credentials({0: task})).values():
                raise error
        refuse_names(task)
        return task

    def _new_task(self, body: bytes, trace: Mapping[str, str]) -> NewTask:
        return new_task_of(
            body,
            max_attempts=self._max_attempts,
            can_sign=self._can_sign,
            has_public_url=self._has_public_url,
            trace=trace,
        )

    def _check_queue(self, task: NewTask) -> None:
        if self._scope is not None:
            check_queue(self._scope, task.queue)

    async def unknown_credentials(self, tasks: Mapping[K, NewTask]) -> dict[K, Unprocessable]:
        """Return an error, by its place or index, for each task whose credential does not exist.

        Raises:
            StoreUnavailable: They cannot be looked up.
        """
        wanted = {
            key: name
            for key, task in tasks.items()
            if (name := task.options.credential) is not None
        }
        if not wanted:
            return {}
        known = await self.credentials.known(wanted.values())
        found: dict[K, Unprocessable] = {}
        for key, name in wanted.items():
            if name not in known:
                await trio.lowlevel.checkpoint()
                found[key] = known.error_of(name, is_short=len(found) >= MAX_ADVISED)
        return found

    async def read_array(self, body: bytes, trace: Mapping[str, str]) -> list[NewTask]:
        """Read all tasks of a JSON array.

        Raises:
            BadRequest: It is not JSON.
            Unprocessable: Tasks are invalid; has the errors of each.
            Forbidden: The caller may not use the queue of a task.
            StoreUnavailable: Their credentials cannot be looked up.
        """
        await trio.lowlevel.checkpoint()
        elements = elements_of(body)
        tasks: dict[int, NewTask] = {}
        errors, checkpoints = ValidationErrors(), Checkpoints()
        for index, element in enumerate(elements):
            text = bytes(element)
            await checkpoints.after(len(text))
            try:
                tasks[index] = self._read_element(text, trace)
            except RequestError as error:
                errors.add_part(token(index), f"[{index}]", error)
            if errors.is_full:
                break
        for index, unknown in (await self.unknown_credentials(tasks)).items():
            errors.add_part(token(index), "", unknown)
        errors.raise_if_any()
        for task in tasks.values():
            self._check_queue(task)
        in_order = list(tasks.values())
        refuse_mix(in_order)
        await _check_links(in_order)
        return in_order

    async def read_group(
        self, body: bytes, trace: Mapping[str, str]
    ) -> tuple[NewGroup, list[NewTask]]:
        """Read a group and its first tasks.

        Raises:
            BadRequest: It is not a JSON object.
            Unprocessable: Fields are invalid.
            Forbidden: The caller may not use a queue.
            StoreUnavailable: The credentials of tasks cannot be looked up.
        """
        group, tasks = await new_group_of(body, lambda text: self._read_element(text, trace))
        places = {f"/tasks/{index}": task for index, task in enumerate(tasks)}
        if group.completion is not None:
            places["/on_complete"] = group.completion
        errors = ValidationErrors()
        for place, unknown in (await self.unknown_credentials(places)).items():
            errors.add_part(place, "", unknown)
        errors.raise_if_any()
        for task in places.values():
            self._check_queue(task)
        return group, tasks

    async def add_group(
        self,
        group: NewGroup,
        tasks: Sequence[NewTask],
        *,
        key: IdempotencyKey | None,
    ) -> AddedGroup:
        """Create a group with tasks, all or nothing, or return the one of an earlier request.

        Raises:
            TooManyRequests: The backlog limit is reached.
            IdempotencyKeyReused: Another request had the key.
            GroupNotFound: The group of the earlier request was deleted.
            StoreUnavailable: The store does not answer in time.
        """
        with store_timeout():
            if tasks:
                await self.backlog.admit(len(tasks))
            added = await self._store.groups.add(group, tasks, key=key)
        if not added.is_same:
            raise IdempotencyKeyReused
        if added.group is None:
            raise GroupNotFound("the group of this Idempotency-Key was deleted; use a new key")
        if not added.is_replay:
            self._metrics.accepted(len(tasks))
        return added

    def _read_element(self, text: bytes, trace: Mapping[str, str]) -> NewTask:
        """Read a task of an array, with the size limit of a single body.

        Raises:
            RequestError: It is invalid.
        """
        if len(text) > self._max_task_bytes:
            raise BodyTooLarge(f"the task is longer than {self._max_task_bytes} bytes")
        return self._new_task(text, trace)

    async def add(self, tasks: Sequence[NewTask], key: IdempotencyKey | None = None) -> AddedOnce:
        """Store tasks, all or none, or return the tasks of an earlier request with the key.

        Raises:
            TooManyRequests: The backlog limit is reached.
            IdempotencyKeyReused: Another request had the key.
            NotUnique: Another task has the unique key of a task.
            TaskGone: Some of the tasks were deleted since.
            StoreUnavailable: The store does not answer in time.
        """
        with store_timeout():
            if key is None:
                await self.backlog.admit(len(tasks))
                added = AddedOnce(await self._store.add(tasks))
                self._count(added.tasks)
                return added
            added = await self._add_once(tasks, key)
        if not added.is_same:
            raise IdempotencyKeyReused
        if len(added.tasks) < len(tasks):
            raise TaskGone
        if not added.is_replay:
            self._count(added.tasks)
        return added

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        """Store tasks, each by itself; return the error of a task in its place.

        Raises:
            TooManyRequests: The backlog limit is reached.
            StoreUnavailable: The store does not answer in time.
        """
        if not any(task.is_keyed or task.group or task.after for task in tasks):
            return [*(await self.add(tasks)).tasks]
        with store_timeout():
            await self.backlog.admit(len(tasks))
            added = await self._store.add_each(tasks)
        self._count([one for one in added if isinstance(one, Task)])
        return added

    def _count(self, tasks: Sequence[Task]) -> None:
        self._metrics.accepted(sum(task.existing is UNSET for task in tasks))

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        """Return the tasks of the same request, if it was stored earlier with this key.

        Raises:
            StoreUnavailable: The store does not answer in time.
        """
        with store_timeout():
            added = await self._store.find_added(key)
        return added if added is not None and added.is_same and added.tasks else None

    async def _add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        """Store tasks or return the earlier ones, for which the backlog limit does not matter."""
        try:
            await self.backlog.admit(len(tasks))
        except TooManyRequests:
            if (added := await self._store.find_added(key)) is None:
                raise
            return added
        return await self._store.add_once(tasks, key)

    async def add_stream(
        self, body: Incoming, trace: AddTrace, *, is_minimal: bool
    ) -> AsyncIterator[bytes]:
        """Store the tasks of a stream as they arrive, and yield the outcome of each line.

        Nothing is read while tasks are being stored or outcomes sent, so that memory stays
        constant. A task whose outcome was sent is stored, whatever follows.

        Args:
            body: A line for each task.
            trace: Ends with the stream.
            is_minimal: Whether to yield the outcomes of rejected lines only. They are held until
                the end, unless there are many: some proxies stop sending a request once its
                response has begun.
        """
        stream = _Stream(self, trace.fields, is_minimal=is_minimal)
        lines = Lines(self._max_task_bytes)
        outcomes = b""
        with trace:
            while not stream.is_over and (part := await body.next_part()) is not None:
                if stream.is_foreign(part):
                    break
                outcomes += await stream.take(lines.feed(part))
                if len(outcomes) > (MAX_HELD_BYTES if is_minimal else 0):
                    yield outcomes
                    outcomes = b""
            if body.error is not None:
                stream.stop(body.error)
            elif body.is_complete and not stream.is_over:
                outcomes += await stream.take(lines.finish())
            yield outcomes + stream.summary()

    def read_line(self, line: bytes | None, trace: Mapping[str, str]) -> NewTask:
        """Read the task of a line.

        Raises:
            RequestError: It is invalid.
        """
        if line is TOO_LONG:
            raise BodyTooLarge(f"the line is longer than {self._max_task_bytes} bytes")
        task = self._new_task(line, trace)
        self._check_queue(task)
        refuse_names(task)
        return task


async def _check_links(tasks: Sequence[NewTask]) -> None:
    """Check the parents of tasks, as far as that is possible without the store.

    Raises:
        Unprocessable: Some are wrong.
    """
    errors = ValidationErrors()
    await check_graph(tasks, errors)
    errors.raise_if_any()


class _Stream:
    """The state of a stream of tasks."""

    def __init__(
        self, submissions: Submissions, trace: Mapping[str, str], *, is_minimal: bool
    ) -> None:
        self._submissions = submissions
        self._trace = trace
        self._is_minimal = is_minimal
        self._checkpoints = Checkpoints()
        self._has_started = False
        self._index = 0
        self._accepted = 0
        self._rejected = 0
        self._error: Problem | None = None

    @property
    def is_over(self) -> bool:
        """Whether reading has stopped."""
        return self._error is not None

    async def take(self, lines: Iterable[bytes | None]) -> bytes:
        """Store the tasks of these lines, and return their outcomes."""
        outcomes: dict[int, AcceptedLine | RejectedLine] = {}
        tasks: dict[int, NewTask] = {}
        for line in lines:
            await self._checkpoints.after(len(line or b""))
            try:
                tasks[self._index] = self._submissions.read_line(line, self._trace)
            except RequestError as error:
                outcomes[self._index] = RejectedLine(self._index, problem_of(error))
            self._index += 1
        unknown: dict[int, Unprocessable] = {}
        try:
            unknown = await self._submissions.unknown_credentials(tasks)
        except StoreUnavailable as error:
            self.stop(error)
            tasks = {}
        outcomes |= {n: RejectedLine(n, problem_of(error)) for n, error in unknown.items()}
        self._rejected += len(outcomes)
        if tasks := {n: task for n, task in tasks.items() if n not in unknown}:
            outcomes |= await self._add(tasks)
        return _ENCODER.encode_lines([outcomes[index] for index in sorted(outcomes)])

    def is_foreign(self, part: bytes) -> bool:
        """End the stream if it begins as something other than UTF-8 text; return whether it did."""
        if not self._has_started and (kind := foreign_format_of(part)):
            self.stop(BadRequest(f"the body is not JSON but {kind.name}; send UTF-8"))
        self._has_started |= bool(part)
        return self.is_over

    def stop(self, error: TaskFlowError) -> None:
        """Stop reading, for this reason."""
        self._error = problem_of(error)

    async def _add(self, tasks: Mapping[int, NewTask]) -> dict[int, AcceptedLine | RejectedLine]:
        try:
            added = await self._submissions.add_each(list(tasks.values()))
        except TaskFlowError as error:
            self.stop(error)
            return {}
        lines = {
            index: AcceptedLine(index, str(one.id), one.existing)
            if isinstance(one, Task)
            else RejectedLine(index, problem_of(one))
            for index, one in zip(tasks, added, strict=True)
        }
        rejected = {n: line for n, line in lines.items() if isinstance(line, RejectedLine)}
        self._rejected += len(rejected)
        self._accepted += len(lines) - len(rejected)
        return {**rejected} if self._is_minimal else lines

    def summary(self) -> bytes:
        """Return the last line."""
        return _ENCODER.encode_lines([StreamSummary(self._accepted, self._rejected, self._error)])
