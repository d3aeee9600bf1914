"""Tasks on their way in, told of as they go, and waited for if that is wanted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

import trio

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, complain
from taskflow.cli.remote.input_lines import Batch, LineReader, submission_of
from taskflow.cli.remote.progress import Meter, meter
from taskflow.client.errors import NotFound
from taskflow.client.on_trio.client import Client
from taskflow.client.options import Options, Submission
from taskflow.client.portions import Submitted
from taskflow.client.task import Task
from taskflow.model.task import TaskStatus

WAITING_AT_ONCE: Final = 50
"""So many tasks are waited for at once, each by a request."""

MOST_HANDED_IN: Final = 5_000
"""So many more may be handed in that are not waited for yet; of these there are the ids alone."""


class HandingIn:
    """Tasks on their way in.

    Args:
        should_wait: Whether their ends are waited for, and told instead of their ids.
        as_json: Whether they are told as JSON.
    """

    def __init__(self, *, should_wait: bool, as_json: bool) -> None:
        self._should_wait = should_wait
        self._as_json = as_json
        self._meter = Meter(None, None)
        self._bytes_read = 0
        self._last_line = 0
        self._added = self._refused = self._ended = self._completed = 0
        self._send: trio.MemorySendChannel[uuid.UUID] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was handed in or refused."""
        return bool(self._added or self._refused)

    def told(self) -> str:
        """How far it is, in words."""
        said = [f"{self._added} handed in"]
        if self._refused:
            said.append(f"{self._refused} refused")
        if self._should_wait:
            said.append(f"{self._ended} ended")
        if self._last_line:
            said.append(f"all up to line {self._last_line} is dealt with")
        return ", ".join(said)

    async def items(
        self, client: Client, items: Sequence[Submission], idempotency_key: str | None
    ) -> ExitStatus:
        """Hand these in, all or none if they have a key."""
        with meter(None, is_wanted=self._should_wait or len(items) > 1) as self._meter:
            async with trio.open_nursery() as nursery:
                self._start_waiting(client, nursery)
                if idempotency_key is None:
                    await self._hand_in(client, items, range(1, len(items) + 1), "URL")
                else:
                    for task in await client.submit_all(items, idempotency_key=idempotency_key):
                        await self._tell_added(task)
                self._end_waiting()
        return self._status()

    async def lines(self, client: Client, reader: LineReader, options: Options) -> ExitStatus:
        """Hand in what a file or a pipe has, as it comes."""
        with meter(reader.size) as self._meter:
            async with trio.open_nursery() as nursery:
                self._start_waiting(client, nursery)
                while batch := await reader.next_batch():
                    await self._hand_in_batch(client, batch, options)
                self._end_waiting()
        return self._status()

    async def _hand_in_batch(self, client: Client, batch: Batch, options: Options) -> None:
        items: list[Submission] = []
        numbers: list[int] = []
        for line in batch.lines:
            try:
                items.append(submission_of(line, options))
            except ValueError as error:
                self._tell_refused("line", line.number, error)
                continue
            numbers.append(line.number)
        await self._hand_in(client, items, numbers, "line")
        if batch.lines:
            self._last_line = batch.lines[-1].number
        self._bytes_read = batch.bytes_read
        self._show()

    async def _hand_in(
        self, client: Client, items: Sequence[Submission], numbers: Sequence[int], what: str
    ) -> None:
        async for one in client.submit_many(items):
            await self._tell(one, numbers[one.index], what)
        output.flush()

    async def _tell(self, one: Submitted, number: int, what: str) -> None:
        if what == "line":
            self._last_line = number
        if one.task is None:
            self._tell_refused(what, number, one.error)
        else:
            await self._tell_added(one.task)

    def _tell_refused(self, what: str, number: int, error: BaseException | None) -> None:
        self._refused += 1
        complain(f"{what} {number}: {' '.join(str(error).split())}")

    async def _tell_added(self, task: Task) -> None:
        self._added += 1
        if self._send is not None:
            await self._send.send(task.id)
        elif self._as_json:
            output.json_line(task)
        else:
            output.line(task.id)
        self._show()

    def _start_waiting(self, client: Client, nursery: trio.Nursery) -> None:
        if not self._should_wait:
            return
        self._send, receive = trio.open_memory_channel[uuid.UUID](MOST_HANDED_IN)
        for _ in range(WAITING_AT_ONCE):
            nursery.start_soon(self._wait, client, receive)

    def _end_waiting(self) -> None:
        if self._send is not None:
            self._send.close()

    async def _wait(self, client: Client, receive: trio.MemoryReceiveChannel[uuid.UUID]) -> None:
        async for task_id in receive:
            try:
                task = await client.wait(task_id)
            except NotFound:
                complain(f"{task_id}: it was deleted before its end was seen")
                continue
            self._tell_end(task)

    def _tell_end(self, task: Task) -> None:
        self._ended += 1
        self._completed += task.status is TaskStatus.COMPLETED
        if self._as_json:
            output.json_line(task)
        else:
            answer = task.result.status_code if task.result else task.error_type
            output.line(task.id, task.status, answer or "", task.error or "")
        output.flush()
        self._show()

    def _show(self) -> None:
        self._meter.show(self.told(), self._bytes_read)

    def _status(self) -> ExitStatus:
        if self._refused or (self._should_wait and self._completed < self._added):
            return ExitStatus.FAILED
        return ExitStatus.OK
