# Written by `python -m tools.blocking` from taskflow/client/on_trio/schedules.py: change that.

"""Schedules: made, looked at, run by hand, deleted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.client import calls
from taskflow.client.arguments import json_of, whole_number
from taskflow.client.blocking.streams import ScheduleStream
from taskflow.client.blocking.transport import Transport
from taskflow.client.options import change_of, document_of_item
from taskflow.client.task import Task
from taskflow.model.schedule import Missed, Schedule

_PAGE: Final = 100


class Schedules:
    """The schedules of a service.

    Args:
        transport: Where they are.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def iter(self, *, page: int = _PAGE) -> ScheduleStream:
        """All of them by name, so many with each request."""
        return ScheduleStream(
            self._transport,
            calls.Call(
                "GET", "/schedules", query=[("limit", str(whole_number("page", page, minimum=1)))]
            ),
        )

    def get(self, name: str) -> Schedule:
        """One of them.

        Raises:
            NotFound: There is none of this name.
        """
        return (self._transport.ask(calls.of_schedule("GET", name))).read(Schedule)

    def put(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        task: Any,
        *,
        cron: str | None = None,
        every_seconds: float | None = None,
        start_at: dt.datetime | None = None,
        timezone: str | None = None,
        missed: Missed | str | None = None,
        conditional: bool = False,
        paused: bool | None = None,
        must_be_new: bool = False,
    ) -> Schedule:
        """Make a schedule, or put it in the place of the one of this name.

        Args:
            name: What it goes by.
            task: What it hands in: a payload, or a ``Submission`` with options.
            cron: When, as five fields; or
            every_seconds: When, as an interval.
            start_at: From where ``every_seconds`` counts; with a time zone.
            timezone: Whose clock ``cron`` goes by, such as ``Europe/Berlin``.
            missed: What is done about times at which no node was there.
            conditional: Whether to ask the target only for something new.
            paused: Whether it makes no tasks for now; ``None`` leaves that as it is.
            must_be_new: Whether to leave it alone if there is one.

        Raises:
            Unprocessable: It cannot be; ``faults`` says why.
            Refused: With ``must_be_new``: there is one.
        """
        said = {
            "cron": cron,
            "every_seconds": every_seconds,
            "start_at": start_at,
            "timezone": timezone,
            "missed": missed,
            "conditional": conditional,
            "paused": paused,
        }
        given = {name: value for name, value in said.items() if value is not None}
        body = json_of({"task": msgspec.Raw(document_of_item(task)), **given})
        call = calls.of_schedule("PUT", name, body=body, must_be_new=must_be_new)
        return (self._transport.ask(call)).read(Schedule)

    def update(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        task: Any = UNSET,
        *,
        cron: str | UnsetType | None = UNSET,
        every_seconds: float | UnsetType | None = UNSET,
        start_at: dt.datetime | UnsetType | None = UNSET,
        timezone: str | UnsetType | None = UNSET,
        missed: Missed | str | UnsetType | None = UNSET,
        conditional: bool | UnsetType = UNSET,
        paused: bool | UnsetType = UNSET,
        options: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """Change some of a schedule; what is not given stays as it is, ``None`` removes it.

        Args:
            name: Which.
            task: What it hands in: a payload, or a ``Submission``, of which the options are
                changed, too.
            cron: When, as five fields; needs ``every_seconds=None`` if it has an interval.
            every_seconds: When, as an interval; needs ``cron=None`` if it has ``cron``.
            start_at: From where ``every_seconds`` counts; with a time zone.
            timezone: Whose clock ``cron`` goes by.
            missed: What is done about times at which no node was there.
            conditional: Whether to ask the target only for something new.
            paused: Whether it makes no tasks for now.
            options: Options of its tasks, such as ``{"queue": "mail"}``; ``None`` removes one.

        Raises:
            NotFound: There is none of this name.
            Unprocessable: It cannot be changed so; ``faults`` says why.
        """
        said = {
            "task": change_of(task, options or {}) or UNSET,
            "cron": cron,
            "every_seconds": every_seconds,
            "start_at": start_at,
            "timezone": timezone,
            "missed": missed,
            "conditional": conditional,
            "paused": paused,
        }
        given = {name: value for name, value in said.items() if value is not UNSET}
        call = calls.of_schedule("PATCH", name, body=json_of(given))
        return (self._transport.ask(call)).read(Schedule)

    def delete(self, name: str) -> None:
        """Make an end of it; its tasks stay.

        Raises:
            NotFound: There is none of this name.
        """
        self._transport.ask(calls.of_schedule("DELETE", name, is_repeatable=False))

    def run(self, name: str) -> Task:
        """Hand in its task now; its times stay as they are.

        Raises:
            NotFound: There is none of this name.
        """
        call = calls.of_schedule("POST", name, "/run", is_repeatable=False)
        return (self._transport.ask(call)).read(Task)
