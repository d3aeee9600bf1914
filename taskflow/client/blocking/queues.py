# Written by `python -m tools.blocking` from taskflow/client/on_trio/queues.py: change that.

"""Queues: how they stand, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from taskflow.client import calls
from taskflow.client.arguments import json_of
from taskflow.client.blocking.transport import Transport
from taskflow.client.task import Moved
from taskflow.model.queue_limits import HostLimits, Rate
from taskflow.model.queues import Queue


class Queues:
    """The queues of a service.

    Args:
        transport: Where they are.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> list[Queue]:
        """Those that have tasks, or of which something is asked, by name; 1000 at most."""
        return (self._transport.ask(calls.Call("GET", "/queues"))).read(list[Queue])

    def get(self, name: str) -> Queue:
        """One of them.

        Raises:
            NotFound: It has no tasks and no settings.
        """
        return (self._transport.ask(calls.of_queue("GET", name))).read(Queue)

    def put(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrency: int | None = None,
        rate: Rate | float | None = None,
        per_host: HostLimits | None = None,
    ) -> Queue:
        """Replace the limits of a queue; those that are not given are lifted.

        Args:
            name: Which.
            paused: Whether none of its tasks may be started; ``None`` leaves that as it is.
            max_concurrency: How many of its tasks may run at once, on all nodes together.
            rate: How many of its tasks may be started a second; or that, and how many at once.
            per_host: The same for its tasks of each host.

        Raises:
            Unprocessable: It cannot be asked.
        """
        wanted = {
            "paused": UNSET if paused is None else paused,
            "max_concurrency": max_concurrency,
            "rate": rate,
            "per_host": per_host,
        }
        given = {name: value for name, value in wanted.items() if value is not UNSET}
        call = calls.of_queue("PUT", name, body=json_of(given))
        return (self._transport.ask(call)).read(Queue)

    def update(
        self,
        name: str,
        *,
        paused: bool | UnsetType = UNSET,
        max_concurrency: int | UnsetType | None = UNSET,
        rate: Rate | Mapping[str, float | None] | float | UnsetType | None = UNSET,
        per_host: HostLimits | Mapping[str, Any] | UnsetType | None = UNSET,
    ) -> Queue:
        """Change some settings of a queue; those that are not given stay as they are.

        Args:
            name: Which.
            paused: Whether none of its tasks may be started.
            max_concurrency: How many of its tasks may run at once, on all nodes together; ``None``
                removes the limit.
            rate: How many of its tasks may be started a second; a mapping, such as
                ``{"burst": 10}``, changes a part of that, ``None`` removes the limit.
            per_host: The limits of each host; a mapping, such as ``{"max_concurrency": 2}``,
                changes some of them, ``None`` removes them.

        Raises:
            Unprocessable: The settings cannot be so.
        """
        wanted = {
            "paused": paused,
            "max_concurrency": max_concurrency,
            "rate": rate,
            "per_host": per_host,
        }
        given = {name: value for name, value in wanted.items() if value is not UNSET}
        call = calls.of_queue("PATCH", name, body=json_of(given))
        return (self._transport.ask(call)).read(Queue)

    def pause(self, name: str) -> Queue:
        """Start nothing more of it."""
        return (self._transport.ask(calls.of_queue("POST", name, "/pause"))).read(Queue)

    def resume(self, name: str) -> Queue:
        """Start its tasks again."""
        return (self._transport.ask(calls.of_queue("POST", name, "/resume"))).read(Queue)

    def purge(self, name: str) -> Moved:
        """Cancel all of its pending tasks."""
        return (self._transport.ask(calls.of_queue("POST", name, "/purge"))).read(Moved)
