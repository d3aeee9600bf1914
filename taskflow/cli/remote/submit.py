"""``taskflow submit``."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import trio

from taskflow.cli import output
from taskflow.cli.exit_status import ExitStatus, Failure, complain
from taskflow.cli.remote.input_lines import STANDARD_INPUT, Batch, LineReader, submission_of
from taskflow.cli.remote.options import (
    REQUEST_NAMES,
    options_of,
    payload_of,
    request_options,
    task_options,
)
from taskflow.cli.remote.progress import Meter, meter
from taskflow.cli.remote.remote_service import RemoteService, json_option, service_options
from taskflow.client.asynchronous.client import Client
from taskflow.client.batches import Submitted
from taskflow.client.errors import NotFound
from taskflow.client.options import Options, Submission
from taskflow.client.task import Task
from taskflow.model.invalid_url import InvalidUrl
from taskflow.model.task import TaskStatus
from taskflow.model.url import parse_target

_LOCAL: Final = ("localhost", "127.", "[::1]")
MAX_WAITS: Final = 50
"""How many tasks are waited for at the same time, each with a request of its own."""
MAX_BACKLOG: Final = 5_000
"""How many submitted tasks may be waiting for one of these requests; only ids are kept."""


class Submitter:
    """Submits tasks and prints a line for each.

    Args:
        should_wait: Whether to wait for the tasks, and print their outcomes instead of their ids.
        as_json: Whether to print tasks as JSON.
    """

    def __init__(self, *, should_wait: bool, as_json: bool) -> None:
        self._should_wait = should_wait
        self._as_json = as_json
        self._meter = Meter(None, None)
        self._bytes_read = 0
        self._last_line = 0
        self._submitted = self._rejected = self._finished = self._completed = 0
        self._send: trio.MemorySendChannel[uuid.UUID] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether any task was submitted or rejected."""
        return bool(self._submitted or self._rejected)

    @property
    def has_submitted(self) -> bool:
        """Whether any task was submitted."""
        return bool(self._submitted)

    def progress_text(self) -> str:
        """Return the progress in words."""
        parts = [f"{self._submitted} submitted"]
        if self._rejected:
            parts.append(f"{self._rejected} rejected")
        if self._should_wait:
            parts.append(f"{self._finished} finished")
        if self._last_line:
            parts.append(f"processed up to line {self._last_line}")
        return ", ".join(parts)

    async def submit_items(
        self, client: Client, items: Sequence[Submission], idempotency_key: str | None
    ) -> ExitStatus:
        """Submit tasks; with a key, all of them or none."""
        with meter(None, is_wanted=self._should_wait or len(items) > 1) as self._meter:
            async with trio.open_nursery() as nursery:
                self._start_waiting(client, nursery)
                if idempotency_key is None:
                    await self._submit(client, items, range(1, len(items) + 1), "URL")
                else:
                    for task in await client.submit_all(items, idempotency_key=idempotency_key):
                        await self._report_submitted(task)
                self._end_waiting()
        return self._status()

    async def submit_together(
        self, client: Client, reader: LineReader, options: Options, idempotency_key: str | None
    ) -> ExitStatus:
        """Submit all lines of a file or a pipe in one request."""
        items: list[Submission] = []
        while batch := await reader.next_batch():
            for line in batch.lines:
                try:
                    items.append(submission_of(line, options))
                except ValueError as error:
                    raise Failure(f"line {line.number}: {error}", ExitStatus.USAGE) from None
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        return await self.submit_items(client, items, key)

    async def submit_lines(
        self, client: Client, reader: LineReader, options: Options
    ) -> ExitStatus:
        """Submit the lines of a file or a pipe as they are read."""
        with meter(reader.size) as self._meter:
            async with trio.open_nursery() as nursery:
                self._start_waiting(client, nursery)
                while batch := await reader.next_batch():
                    await self._submit_batch(client, batch, options)
                self._end_waiting()
        return self._status()

    async def _submit_batch(self, client: Client, batch: Batch, options: Options) -> None:
        items: list[Submission] = []
        numbers: list[int] = []
        for line in batch.lines:
            try:
                items.append(submission_of(line, options))
            except ValueError as error:
                self._report_rejected("line", line.number, error)
                continue
            numbers.append(line.number)
        await self._submit(client, items, numbers, "line")
        if batch.lines:
            self._last_line = batch.lines[-1].number
        self._bytes_read = batch.bytes_read
        self._show()

    async def _submit(
        self, client: Client, items: Sequence[Submission], numbers: Sequence[int], unit: str
    ) -> None:
        async for one in client.submit_many(items):
            await self._report(one, numbers[one.index], unit)
        output.flush()

    async def _report(self, one: Submitted, number: int, unit: str) -> None:
        if unit == "line":
            self._last_line = number
        if one.task is None:
            self._report_rejected(unit, number, one.error)
        else:
            await self._report_submitted(one.task)

    def _report_rejected(self, unit: str, number: int, error: BaseException | None) -> None:
        self._rejected += 1
        complain(f"{unit} {number}: {' '.join(str(error).split())}")

    async def _report_submitted(self, task: Task) -> None:
        self._submitted += 1
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
        self._send, receive = trio.open_memory_channel[uuid.UUID](MAX_BACKLOG)
        for _ in range(MAX_WAITS):
            nursery.start_soon(self._wait, client, receive)

    def _end_waiting(self) -> None:
        if self._send is not None:
            self._send.close()

    async def _wait(self, client: Client, receive: trio.MemoryReceiveChannel[uuid.UUID]) -> None:
        async for task_id in receive:
            try:
                task = await client.wait(task_id)
            except NotFound:
                complain(f"{task_id}: the task was deleted, so its outcome is unknown")
                continue
            self._report_finished(task)

    def _report_finished(self, task: Task) -> None:
        self._finished += 1
        self._completed += task.status is TaskStatus.COMPLETED
        if self._as_json:
            output.json_line(task)
        else:
            outcome = task.result.status_code if task.result else task.error_type
            output.line(task.id, task.status, outcome or "", task.error or "")
        output.flush()
        self._show()

    def _show(self) -> None:
        self._meter.show(self.progress_text(), self._bytes_read)

    def _status(self) -> ExitStatus:
        if self._rejected or (self._should_wait and self._completed < self._submitted):
            return ExitStatus.FAILED
        return ExitStatus.OK


@click.command("submit")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option(
    "--file", "-f", "path", metavar="FILE", help="Read lines from a file; - is standard input."
)
@click.option(
    "--together",
    is_flag=True,
    help="Submit all lines in one request, all or none: then tasks can name each other in after.",
)
@click.option("--wait", "-w", is_flag=True, help="Wait until the tasks are finished.")
@json_option("Task")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Repeating the command with this key submits nothing new; for URLs, or with --together.",
)
@task_options
@request_options
@service_options
def submit_command(
    *,
    urls: Sequence[str],
    path: str | None,
    wait: bool,
    as_json: bool,
    idempotency_key: str | None,
    service: RemoteService,
    **options: Any,
) -> int:
    """Submit URLs, or the lines of a file or a pipe.

    A line is a URL, or a JSON object with a payload as in POST /tasks, in UTF-8. What a line sets
    takes precedence over the options. Empty lines and lines that begin with # are skipped. Lines
    are submitted as they are read, any number of them. Rejected lines are reported with their
    number, and the others are submitted.

    The ids are printed, one per line. With --wait a line is printed for each task when it is
    finished: id, status, the status code or the type of the error, and the error. Exit status 0
    then means that all tasks are COMPLETED.

    \b
      taskflow submit https://example.com/ https://example.org/ --tag customer=42
      taskflow submit https://example.com/orders -d '{"order": 4711}' -H 'X-Shop: 7' --wait
      taskflow submit -f urls.txt --queue crawl --max-attempts 3
      zcat urls.gz | taskflow submit - --wait > finished.tsv
      taskflow submit -f pipeline.ndjson --together
    """
    if urls == (STANDARD_INPUT,) and path is None:
        urls, path = (), STANDARD_INPUT
    together: bool = options.pop("together")
    _check(urls, path, None if together else idempotency_key, options)
    if together and path is None:
        raise click.UsageError("--together is for the lines of a file; URLs have no names")
    task = options_of(options)
    submitter = Submitter(should_wait=wait, as_json=as_json)

    async def work(client: Client) -> int:
        if path is not None and together:
            reader = LineReader(path)
            return await submitter.submit_together(client, reader, task, idempotency_key)
        if path is not None:
            return await submitter.submit_lines(client, LineReader(path), task)
        items = [Submission(payload_of(url, options), **task) for url in urls]
        return await submitter.submit_items(client, items, idempotency_key)

    try:
        status = service.call(work)
    except KeyboardInterrupt:
        complain(f"interrupted: {submitter.progress_text()}")
        raise
    except Failure as failure:
        if submitter.has_begun:
            message = f"{failure.message} ({submitter.progress_text()})"
            raise Failure(message, failure.status) from None
        raise
    _warn_of_invalid(urls if submitter.has_submitted else ())
    return status


def _warn_of_invalid(urls: Sequence[str]) -> None:
    """Warn that tasks fail, because their URLs are invalid."""
    for url in urls:
        try:
            parse_target(url)
        except InvalidUrl as error:
            reason = str(error)
            meant = f"{'http' if url.startswith(_LOCAL) else 'https'}://{url}"
            with contextlib.suppress(InvalidUrl):
                parse_target(meant)
                reason = f"did you mean {meant}?"
            complain(f"warning: {url!r} is not a URL, so its task fails; {reason}")


def _check(
    urls: Sequence[str], path: str | None, idempotency_key: str | None, options: Mapping[str, Any]
) -> None:
    if bool(urls) == (path is not None):
        raise click.UsageError("give URLs, or a file with -f, or - for standard input")
    if path is None:
        return
    if idempotency_key is not None:
        raise click.UsageError(
            "--idempotency-key is for URLs, or with --together; each line is submitted once anyway"
        )
    if any(options[name] for name in REQUEST_NAMES):
        raise click.UsageError("the lines describe the requests, as JSON objects")
