"""How tasks get in: one, some at once, or a stream of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from taskflow.api.backlog import Backlog
from taskflow.api.inline_requests import Incoming
from taskflow.api.problems import Problem, problem_of, store_timeout
from taskflow.api.reading.lines import TOO_LONG, Lines
from taskflow.metrics import Metrics
from taskflow.model.errors import (
    BadRequest,
    BodyTooLarge,
    IdempotencyKeyReused,
    RequestError,
    TaskFlowError,
    TaskGone,
    TooManyRequests,
)
from taskflow.model.task import IdempotencyKey, NewTask
from taskflow.model.untrusted_text import foreign_format_of
from taskflow.schema.new_task import new_task_of
from taskflow.schema.task_array import elements_of
from taskflow.schema.validation_errors import Faults
from taskflow.settings import Settings
from taskflow.store.base.submission import AddedOnce
from taskflow.store.base.tasks import TaskStore
from taskflow.tracing import AddTrace
from taskflow.yielding import Checkpoints

HELD_BYTES: Final = 64 * 2**10

_ENCODER: Final = msgspec.json.Encoder()


class AddedLine(msgspec.Struct, frozen=True):
    """What became of a line: the task that it made.

    Attributes:
        index: Which line it was, from 0; blank ones do not count.
        id: The task's.
    """

    index: int
    id: str


class RejectedLine(msgspec.Struct, frozen=True):
    """What became of a line: why it made no task.

    Attributes:
        index: Which line it was, from 0; blank ones do not count.
        error: What is wrong with it, as if it had been sent by itself.
    """

    index: int
    error: Problem


class StreamSummary(msgspec.Struct, frozen=True):
    """The last line: the stream was read to its end, or why it was not.

    Attributes:
        added: How many tasks it made.
        refused: How many lines made none.
        error: Why it was not read on, if it was not; lines that have no answer may have made tasks
            if the status of this is 503.
    """

    added: int
    refused: int
    error: Problem | None = None


class Submissions:
    """Reads tasks and keeps them.

    Args:
        store: Where they are kept.
        settings: For the bounds.
        metrics: What is told of new tasks.
    """

    def __init__(self, store: TaskStore, settings: Settings, metrics: Metrics) -> None:
        self._store: Final = store
        self._metrics: Final = metrics
        self._max_attempts: Final = settings.max_attempts
        self._can_sign: Final = settings.has_webhook_secrets
        self._longest_line: Final = settings.max_body_bytes
        self.backlog: Final = Backlog(store, settings.max_pending)

    def read(self, body: bytes, trace: Mapping[str, str]) -> NewTask:
        """Read one task.

        Raises:
            RequestError: It cannot be taken.
        """
        return new_task_of(
            body, max_attempts=self._max_attempts, can_sign=self._can_sign, trace=trace
        )

    async def read_array(self, body: bytes, trace: Mapping[str, str]) -> list[NewTask]:
        """Read all tasks of a JSON array.

        Raises:
            BadRequest: It is no JSON.
            Unprocessable: Some of them cannot be taken; says which, and why.
        """
        await trio.lowlevel.checkpoint()
        elements = elements_of(body)
        tasks: list[NewTask] = []
        faults, checkpoints = Faults(), Checkpoints()
        for index, element in enumerate(elements):
            text = bytes(element)
            await checkpoints.after(len(text))
            try:
                tasks.append(self._read_element(text, trace))
            except RequestError as error:
                faults.note(index, error)
            if faults.is_full:
                break
        faults.refuse()
        return tasks

    def _read_element(self, text: bytes, trace: Mapping[str, str]) -> NewTask:
        """Read a task of an array, which is held to the bound of a single body.

        Raises:
            RequestError: It cannot be taken.
        """
        if len(text) > self._longest_line:
            raise BodyTooLarge(f"the task is longer than {self._longest_line} bytes")
        return self.read(text, trace)

    async def add(self, tasks: Sequence[NewTask], key: IdempotencyKey | None = None) -> AddedOnce:
        """Keep tasks, all or none, or find those that the same request made before.

        Raises:
            TooManyRequests: Too many wait already.
            IdempotencyKeyReused: The key was for another request.
            TaskGone: Some of the tasks were deleted since.
            StoreUnavailable: The store does not answer in time.
        """
        with store_timeout():
            if key is None:
                await self.backlog.admit(len(tasks))
                added = AddedOnce(await self._store.add(tasks))
                self._metrics.accepted(len(tasks))
                return added
            added = await self._add_once(tasks, key)
        if not added.is_same:
            raise IdempotencyKeyReused
        if len(added.tasks) < len(tasks):
            raise TaskGone
        if not added.is_replay:
            self._metrics.accepted(len(tasks))
        return added

    async def _add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        """Keep tasks or find them; for those that are there already there need be no room."""
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
        """Keep the tasks of a stream as they come, and tell what became of them, line by line.

        No more is read while some are being stored or told, so that memory stays constant. What
        was told to be kept is kept, whatever comes after it.

        Args:
            body: A line for each task.
            trace: Ended with the stream.
            is_minimal: Whether to tell of those only that were not kept; that is told at the end,
                unless it is a lot. Some proxies send nothing more of a request whose answer has
                begun.
        """
        stream = _Stream(self, trace.fields, is_minimal=is_minimal)
        lines = Lines(self._longest_line)
        told = b""
        with trace:
            while not stream.is_over and (part := await body.next_part()) is not None:
                if stream.is_foreign(part):
                    break
                told += await stream.take(lines.feed(part))
                if len(told) > (HELD_BYTES if is_minimal else 0):
                    yield told
                    told = b""
            if body.error is not None:
                stream.give_up(body.error)
            elif body.is_complete and not stream.is_over:
                told += await stream.take(lines.finish())
            yield told + stream.summary()

    def read_line(self, line: bytes | None, trace: Mapping[str, str]) -> NewTask:
        """Read the task of a line.

        Raises:
            RequestError: It cannot be taken.
        """
        if line is TOO_LONG:
            raise BodyTooLarge(f"the line is longer than {self._longest_line} bytes")
        return self.read(line, trace)


class _Stream:
    """A stream of tasks on its way in."""

    def __init__(
        self, submissions: Submissions, trace: Mapping[str, str], *, is_minimal: bool
    ) -> None:
        self._intake = submissions
        self._trace = trace
        self._is_minimal = is_minimal
        self._checkpoints = Checkpoints()
        self._has_begun = False
        self._index = 0
        self._added = 0
        self._refused = 0
        self._error: Problem | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is no sense in reading on."""
        return self._error is not None

    async def take(self, lines: Iterable[bytes | None]) -> bytes:
        """Keep the tasks of these lines, and tell what became of each."""
        told: dict[int, AddedLine | RejectedLine] = {}
        tasks: dict[int, NewTask] = {}
        for line in lines:
            await self._checkpoints.after(len(line or b""))
            try:
                tasks[self._index] = self._intake.read_line(line, self._trace)
            except RequestError as error:
                told[self._index] = RejectedLine(self._index, problem_of(error))
            self._index += 1
        self._refused += len(told)
        if tasks:
            told |= await self._add(tasks)
        return _ENCODER.encode_lines([told[index] for index in sorted(told)])

    def is_foreign(self, part: bytes) -> bool:
        """Return whether the stream begins as something other than UTF-8 text; end it then."""
        if not self._has_begun and (kind := foreign_format_of(part)):
            self.give_up(BadRequest(f"the body is not JSON but {kind.name}; send UTF-8"))
        self._has_begun |= bool(part)
        return self.is_over

    def give_up(self, error: TaskFlowError) -> None:
        """Read no more, for this reason."""
        self._error = problem_of(error)

    async def _add(self, tasks: Mapping[int, NewTask]) -> dict[int, AddedLine]:
        try:
            added = await self._intake.add(list(tasks.values()))
        except TaskFlowError as error:
            self.give_up(error)
            return {}
        self._added += len(tasks)
        if self._is_minimal:
            return {}
        pairs = zip(tasks, added.tasks, strict=True)
        return {index: AddedLine(index, str(task.id)) for index, task in pairs}

    def summary(self) -> bytes:
        """The last line."""
        return _ENCODER.encode_lines([StreamSummary(self._added, self._refused, self._error)])
