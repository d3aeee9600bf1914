"""How a service and its tasks do."""

from __future__ import annotations

import msgspec

from taskflow.client import calls
from taskflow.client.calls import Call
from taskflow.client.on_trio.transport import Transport
from taskflow.client.task import Service
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord
from taskflow.model.queues import TaskStatistics


class _History(msgspec.Struct, frozen=True):
    minutes: list[Minute]


class Monitoring:
    """What a client looks at to keep a service running."""

    _transport: Transport

    async def check(self) -> Service:
        """What answers there, if it is well: it takes tasks and runs them.

        Raises:
            ServerFault: It is not.
            Unauthorized: It wants a key, or another one.
        """
        await self._transport.ask(Call("GET", "/readyz"))
        return calls.service_of(await self._transport.ask(Call("GET", "/openapi.json")))

    async def stats(self, queue: str | None = None) -> TaskStatistics:
        """How tasks stand, by queue and in all; of one queue if it is given."""
        query = calls.of_queue_only(queue)
        return (await self._transport.ask(Call("GET", "/stats", query))).read(TaskStatistics)

    async def history(self, queue: str | None = None) -> list[Minute]:
        """What ended in each minute of the last hour, the oldest first; the last is under way."""
        query = calls.of_queue_only(queue)
        answer = await self._transport.ask(Call("GET", "/stats/history", query))
        return answer.read(_History).minutes

    async def nodes(self) -> list[NodeRecord]:
        """The processes that run tasks, and those that died lately."""
        return (await self._transport.ask(Call("GET", "/nodes"))).read(list[NodeRecord])

    async def hosts(self) -> list[HostRecord]:
        """How the hosts do that tasks are fetched from, those first that need a look."""
        return (await self._transport.ask(Call("GET", "/hosts"))).read(list[HostRecord])
