"""Schedules: create, read, run and delete them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.client import calls
from taskflow.client.arguments import json_of, whole_number
from taskflow.client.asynchronous.streams import ScheduleStream
from taskflow.client.asynchronous.transport import Transport
from taskflow.client.options import change_of, document_of_item
from taskflow.client.task import Schedule, Task
from taskflow.model.schedule import DEFAULT_NEXT_RUNS, Missed, NextRuns, Overlap

_PAGE: Final = 100


class Schedules:
    """The schedules of a service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def iter(self, *, page: int = _PAGE) -> ScheduleStream:
        """Return all schedules by name, ``page`` per request."""
        return ScheduleStream(
            self._transport,
            calls.Call(
                "GET", "/schedules", query=[("limit", str(whole_number("page", page, minimum=1)))]
            ),
        )

    async def get(self, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            NotFound: There is no schedule with this name.
        """
        return (await self._transport.ask(calls.of_schedule("GET", name))).read(Schedule)

    async def next(self, name: str, *, count: int = DEFAULT_NEXT_RUNS) -> NextRuns:
        """Return the next runs of a schedule; if it is paused, those after a resume now.

        Args:
            name: The name of the schedule.
            count: Maximum number of runs, up to 100.

        Raises:
            NotFound: There is no schedule with this name.
        """
        call = calls.of_next_runs(name, whole_number("count", count, minimum=1))
        return (await self._transport.ask(call)).read(NextRuns)

    async def put(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        task: Any,
        *,
        cron: str | None = None,
        every_seconds: float | None = None,
        start_at: dt.datetime | None = None,
        timezone: str | None = None,
        missed: Missed | str | None = None,
        overlap: Overlap | str | None = None,
        conditional: bool = False,
        paused: bool | None = None,
        must_be_new: bool = False,
    ) -> Schedule:
        """Create or replace a schedule.

        Args:
            name: The name of the schedule.
            task: The template of its tasks: a payload, or a ``Submission`` with options.
            cron: A cron expression of five fields; or
            every_seconds: The interval between two runs.
            start_at: The first run of ``every_seconds``; with a time zone.
            timezone: The time zone of ``cron``, such as ``Europe/Berlin``.
            missed: What happens to runs that no node started.
            overlap: What happens while an earlier task is PENDING or RUNNING.
            conditional: Whether to fetch only what has changed.
            paused: Whether it creates no tasks; ``None`` leaves that unchanged.
            must_be_new: Whether an existing schedule is an error.

        Raises:
            Unprocessable: The schedule is invalid; ``errors`` has all reasons.
            Rejected: With ``must_be_new``: the schedule exists.
        """
        fields = {
            "cron": cron,
            "every_seconds": every_seconds,
            "start_at": start_at,
            "timezone": timezone,
            "missed": missed,
            "overlap": overlap,
            "conditional": conditional,
            "paused": paused,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        body = json_of({"task": msgspec.Raw(document_of_item(task)), **given})
        call = calls.of_schedule("PUT", name, body=body, must_be_new=must_be_new)
        return (await self._transport.ask(call)).read(Schedule)

    async def update(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        task: Any = UNSET,
        *,
        cron: str | UnsetType | None = UNSET,
        every_seconds: float | UnsetType | None = UNSET,
        start_at: dt.datetime | UnsetType | None = UNSET,
        timezone: str | UnsetType | None = UNSET,
        missed: Missed | str | UnsetType | None = UNSET,
        overlap: Overlap | str | UnsetType | None = UNSET,
        conditional: bool | UnsetType = UNSET,
        paused: bool | UnsetType = UNSET,
        options: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """Change some fields of a schedule; the others stay unchanged, and ``None`` removes one.

        Args:
            name: The name of the schedule.
            task: The template of its tasks: a payload, or a ``Submission`` whose options are
                changed, too.
            cron: A cron expression; needs ``every_seconds=None`` if it has an interval.
            every_seconds: The interval; needs ``cron=None`` if it has ``cron``.
            start_at: The first run of ``every_seconds``; with a time zone.
            timezone: The time zone of ``cron``.
            missed: What happens to runs that no node started.
            overlap: What happens while an earlier task is PENDING or RUNNING.
            conditional: Whether to fetch only what has changed.
            paused: Whether it creates no tasks.
            options: Options of its tasks, such as ``{"queue": "mail"}``; ``None`` removes one.

        Raises:
            NotFound: There is no schedule with this name.
            Unprocessable: The schedule would be invalid; ``errors`` has all reasons.
        """
        fields = {
            "task": change_of(task, options or {}) or UNSET,
            "cron": cron,
            "every_seconds": every_seconds,
            "start_at": start_at,
            "timezone": timezone,
            "missed": missed,
            "overlap": overlap,
            "conditional": conditional,
            "paused": paused,
        }
        given = {name: value for name, value in fields.items() if value is not UNSET}
        call = calls.of_schedule("PATCH", name, body=json_of(given))
        return (await self._transport.ask(call)).read(Schedule)

    async def delete(self, name: str) -> None:
        """Delete a schedule; its tasks stay.

        Raises:
            NotFound: There is no schedule with this name.
        """
        await self._transport.ask(calls.of_schedule("DELETE", name, is_repeatable=False))

    async def run(self, name: str) -> Task:
        """Create a task of a schedule now; its times stay unchanged.

        Raises:
            NotFound: There is no schedule with this name.
        """
        call = calls.of_schedule("POST", name, "/run", is_repeatable=False)
        return (await self._transport.ask(call)).read(Task)
