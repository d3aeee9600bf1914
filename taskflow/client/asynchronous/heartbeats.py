"""Heartbeats: create, read, change and delete them."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from taskflow.client import calls
from taskflow.client.arguments import json_of, whole_number
from taskflow.client.asynchronous.streams import HeartbeatStream
from taskflow.client.asynchronous.transport import Transport
from taskflow.model.heartbeat_monitors import Heartbeat, HeartbeatHistory

_PAGE: Final = 100


class Heartbeats:
    """The heartbeats of jobs that a service watches.

    A job reports that it has run by a request to the ``ping_url`` of its heartbeat, without a key.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def iter(self, *, page: int = _PAGE) -> HeartbeatStream:
        """Return all heartbeats by name, ``page`` per request."""
        query = [("limit", str(whole_number("page", page, minimum=1)))]
        return HeartbeatStream(self._transport, calls.Call("GET", "/heartbeats", query=query))

    async def get(self, name: str) -> Heartbeat:
        """Return a heartbeat.

        Raises:
            NotFound: There is no heartbeat with this name.
        """
        return (await self._transport.ask(calls.of_heartbeat("GET", name))).read(Heartbeat)

    async def history(self, name: str) -> HeartbeatHistory:
        """Return the last pings of a heartbeat, and the last changes of its state.

        Raises:
            NotFound: There is no heartbeat with this name.
        """
        call = calls.of_heartbeat("GET", name, "/history")
        return (await self._transport.ask(call)).read(HeartbeatHistory)

    async def put(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        *,
        every_seconds: float | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        grace_seconds: float | None = None,
        max_run_seconds: float | None = None,
        description: str | None = None,
        paused: bool | None = None,
    ) -> Heartbeat:
        """Create or replace a heartbeat; its ping URL and its history stay.

        Args:
            name: The name of the heartbeat.
            every_seconds: The maximum time from one ping to the next; or
            cron: A cron expression of five fields: a ping is expected after each of its times.
            timezone: The time zone of ``cron``, such as ``Europe/Berlin``.
            grace_seconds: How late a ping may be.
            max_run_seconds: The maximum time from a start to its end.
            description: Text for people.
            paused: Whether missed pings are not noticed; ``None`` leaves that unchanged.

        Raises:
            Unprocessable: The heartbeat is invalid; ``errors`` has all reasons.
        """
        fields = {
            "every_seconds": every_seconds,
            "cron": cron,
            "timezone": timezone,
            "grace_seconds": grace_seconds,
            "max_run_seconds": max_run_seconds,
            "description": description,
            "paused": paused,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        call = calls.of_heartbeat("PUT", name, body=json_of(given))
        return (await self._transport.ask(call)).read(Heartbeat)

    async def update(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        *,
        every_seconds: float | UnsetType | None = UNSET,
        cron: str | UnsetType | None = UNSET,
        timezone: str | UnsetType | None = UNSET,
        grace_seconds: float | UnsetType | None = UNSET,
        max_run_seconds: float | UnsetType | None = UNSET,
        description: str | UnsetType | None = UNSET,
        paused: bool | UnsetType = UNSET,
    ) -> Heartbeat:
        """Change some fields of a heartbeat; the others stay unchanged, and ``None`` removes one.

        Args:
            name: The name of the heartbeat.
            every_seconds: The interval; needs ``cron=None`` if it has ``cron``.
            cron: A cron expression; needs ``every_seconds=None`` if it has an interval.
            timezone: The time zone of ``cron``.
            grace_seconds: How late a ping may be.
            max_run_seconds: The maximum time from a start to its end.
            description: Text for people.
            paused: Whether missed pings are not noticed.

        Raises:
            NotFound: There is no heartbeat with this name.
            Unprocessable: The heartbeat would be invalid; ``errors`` has all reasons.
        """
        fields: dict[str, Any] = {
            "every_seconds": every_seconds,
            "cron": cron,
            "timezone": timezone,
            "grace_seconds": grace_seconds,
            "max_run_seconds": max_run_seconds,
            "description": description,
            "paused": paused,
        }
        given = {name: value for name, value in fields.items() if value is not UNSET}
        call = calls.of_heartbeat("PATCH", name, body=json_of(given))
        return (await self._transport.ask(call)).read(Heartbeat)

    async def rotate(self, name: str) -> Heartbeat:
        """Replace the ping URL of a heartbeat; the old one is unknown from then on.

        Raises:
            NotFound: There is no heartbeat with this name.
        """
        call = calls.of_heartbeat("POST", name, "/rotate", is_repeatable=False)
        return (await self._transport.ask(call)).read(Heartbeat)

    async def delete(self, name: str) -> None:
        """Delete a heartbeat with its history.

        Raises:
            NotFound: There is no heartbeat with this name.
        """
        await self._transport.ask(calls.of_heartbeat("DELETE", name, is_repeatable=False))
