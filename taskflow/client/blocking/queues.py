# Written by `python -m tests.blocking` from taskflow/client/on_trio/queues.py: change that.

"""Queues: how they stand, and what is asked of them."""

from __future__ import annotations

import msgspec

from taskflow.client import calls
from taskflow.client.blocking.transport import Transport
from taskflow.client.task import Moved
from taskflow.model.flow import HostLimits, Rate
from taskflow.model.queue import Queue


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
        paused: bool = False,
        max_concurrency: int | None = None,
        rate: Rate | float | None = None,
        per_host: HostLimits | None = None,
    ) -> Queue:
        """Ask this of a queue from now on, and nothing else.

        Args:
            name: Which.
            paused: Whether nothing of it is to be started.
            max_concurrency: How many of its tasks may run at once, on all nodes together.
            rate: How many of its tasks may be started a second; or that, and how many at once.
            per_host: The same for its tasks of each host.

        Raises:
            Unprocessable: It cannot be asked.
        """
        wanted = {
            "paused": paused,
            "max_concurrency": max_concurrency,
            "rate": rate,
            "per_host": per_host,
        }
        call = calls.of_queue("PUT", name, body=msgspec.json.encode(wanted))
        return (self._transport.ask(call)).read(Queue)

    def pause(self, name: str) -> Queue:
        """Start nothing more of it."""
        return (self._transport.ask(calls.of_queue("POST", name, "/pause"))).read(Queue)

    def resume(self, name: str) -> Queue:
        """Start its tasks again."""
        return (self._transport.ask(calls.of_queue("POST", name, "/resume"))).read(Queue)

    def purge(self, name: str) -> Moved:
        """Call off all of its tasks that wait."""
        return (self._transport.ask(calls.of_queue("POST", name, "/purge"))).read(Moved)
