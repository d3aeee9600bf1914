# Written by `python -m tools.blocking` from taskflow/client/on_trio/monitoring.py: change that.

"""Monitoring of a service and its tasks."""

from __future__ import annotations

import msgspec

from taskflow.client import calls
from taskflow.client.blocking.transport import Transport
from taskflow.client.calls import Call
from taskflow.client.task import Service
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord
from taskflow.model.queues import TaskStatistics


class _History(msgspec.Struct, frozen=True):
    minutes: list[Minute]


class Monitoring:
    """The methods for monitoring."""

    _transport: Transport

    def check(self) -> Service:
        """Return the version of the service, if it is ready: it accepts tasks and runs them.

        Raises:
            ServerError: It is not ready.
            Unauthorized: It requires an API key, or a different one.
        """
        self._transport.ask(Call("GET", "/readyz"))
        return calls.service_of(self._transport.ask(Call("GET", "/openapi.json")))

    def stats(self, queue: str | None = None) -> TaskStatistics:
        """Return the number of tasks by status, per queue and in total; or of one queue."""
        query = calls.of_queue_only(queue)
        return (self._transport.ask(Call("GET", "/stats", query))).read(TaskStatistics)

    def history(self, queue: str | None = None) -> list[Minute]:
        """Return what finished in each minute of the last hour, oldest first, up to now."""
        query = calls.of_queue_only(queue)
        answer = self._transport.ask(Call("GET", "/stats/history", query))
        return answer.read(_History).minutes

    def nodes(self) -> list[NodeRecord]:
        """Return the processes that run tasks, and recently died ones."""
        return (self._transport.ask(Call("GET", "/nodes"))).read(list[NodeRecord])

    def hosts(self) -> list[HostRecord]:
        """Return statistics of target hosts, the most problematic first."""
        return (self._transport.ask(Call("GET", "/hosts"))).read(list[HostRecord])
