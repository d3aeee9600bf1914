# Written by `python -m tools.blocking` from client/asynchronous/queues.py: change that.

"""Queues, their state and their settings; and monitoring of a service."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from taskflow.client import calls
from taskflow.client.arguments import json_of
from taskflow.client.blocking.streams import AuditStream
from taskflow.client.blocking.transport import Transport
from taskflow.client.calls import Call
from taskflow.client.listing import Listing
from taskflow.client.task import BulkResult, Service
from taskflow.model.audit import Action, TargetKind
from taskflow.model.grouped_failures import Failure, FailureState
from taskflow.model.monitoring import HostRecord, Minute, NodeRecord
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_limits import HostLimits, Rate
from taskflow.model.queues import Queue, TaskStatistics
from taskflow.model.rollups import Series, Span

PAGE_ENTRIES: Final = 100


class Queues:
    """The queues of a service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> Listing[Queue]:
        """Return the queues that have tasks or settings, by name; at most 1000."""
        return (self._transport.ask(calls.Call("GET", "/queues"))).read_all(Queue)

    def get(self, name: str) -> Queue:
        """Return a queue.

        Raises:
            NotFound: It has no tasks and no settings.
        """
        return (self._transport.ask(calls.of_queue("GET", name))).read(Queue)

    def put(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrency: int | None = None,
        rate: Rate | float | None = None,
        per_host: HostLimits | None = None,
        sign: bool | None = None,
        credential: str | None = None,
        egress_proxy: str | UnsetType | None = UNSET,
    ) -> Queue:
        """Replace the settings of a queue; settings that are not given are removed.

        Args:
            name: The name of the queue.
            paused: Whether no task of the queue starts; ``None`` leaves that unchanged.
            max_concurrency: Maximum number of running tasks, on all nodes together.
            rate: Maximum number of starts per second, or a ``Rate`` with a burst.
            per_host: The limits of each host.
            sign: Whether requests of its tasks are signed; ``None`` for the setting of the service.
            credential: The name of the credential of these requests; ``None`` for none.
            egress_proxy: The URL of the proxy that its tasks use, or ``"direct"`` for none;
                ``None`` for the setting of the service. If it is not given, it stays unchanged. A
                change needs the role ``admin``.

        Raises:
            Forbidden: The key may not change the proxy.
            Unprocessable: The settings are invalid.
        """
        wanted = {
            "paused": UNSET if paused is None else paused,
            "max_concurrency": max_concurrency,
            "rate": rate,
            "per_host": per_host,
            "sign": sign,
            "credential": credential,
            "egress_proxy": egress_proxy,
        }
        given = {name: value for name, value in wanted.items() if value is not UNSET}
        call = calls.of_queue("PUT", name, body=json_of(given))
        return (self._transport.ask(call)).read(Queue)

    def update(  # noqa: PLR0913 - each is a word of its own
        self,
        name: str,
        *,
        paused: bool | UnsetType = UNSET,
        max_concurrency: int | UnsetType | None = UNSET,
        rate: Rate | Mapping[str, float | None] | float | UnsetType | None = UNSET,
        per_host: HostLimits | Mapping[str, Any] | UnsetType | None = UNSET,
        sign: bool | UnsetType | None = UNSET,
        credential: str | UnsetType | None = UNSET,
        egress_proxy: str | UnsetType | None = UNSET,
    ) -> Queue:
        """Change some settings of a queue; the others stay unchanged.

        Args:
            name: The name of the queue.
            paused: Whether no task of the queue starts.
            max_concurrency: Maximum number of running tasks, on all nodes together; ``None``
                removes the limit.
            rate: Maximum number of starts per second; a mapping, such as
                ``{"burst": 10}``, changes a part of that, ``None`` removes the limit.
            per_host: The limits of each host; a mapping, such as ``{"max_concurrency": 2}``,
                changes some of them, ``None`` removes them.
            sign: Whether requests of its tasks are signed; ``None`` for the setting of the service.
            credential: The name of the credential of these requests; ``None`` for none.
            egress_proxy: The URL of the proxy that its tasks use, or ``"direct"`` for none;
                ``None`` for the setting of the service. A change needs the role ``admin``.

        Raises:
            Forbidden: The key may not change the proxy.
            Unprocessable: The settings are invalid.
        """
        wanted = {
            "paused": paused,
            "max_concurrency": max_concurrency,
            "rate": rate,
            "per_host": per_host,
            "sign": sign,
            "credential": credential,
            "egress_proxy": egress_proxy,
        }
        given = {name: value for name, value in wanted.items() if value is not UNSET}
        call = calls.of_queue("PATCH", name, body=json_of(given))
        return (self._transport.ask(call)).read(Queue)

    def pause(self, name: str) -> Queue:
        """Pause a queue: none of its tasks starts."""
        return (self._transport.ask(calls.of_queue("POST", name, "/pause"))).read(Queue)

    def resume(self, name: str) -> Queue:
        """Resume a queue."""
        return (self._transport.ask(calls.of_queue("POST", name, "/resume"))).read(Queue)

    def purge(self, name: str) -> BulkResult:
        """Cancel all PENDING tasks of a queue."""
        return (self._transport.ask(calls.of_queue("POST", name, "/purge"))).read(BulkResult)


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

    def series(
        self, span: Span | str = Span.HOUR, *, queue: str | None = None, host: str | None = None
    ) -> Series:
        """Return throughput, wait and run times and the backlog over time, oldest first.

        Args:
            span: How far it goes back: ``1h``, ``24h``, ``7d``, ``30d`` or ``90d``.
            queue: Only tasks of this queue.
            host: Only tasks for this host, with its port unless it is the default; not together
                with ``queue``.
        """
        query = calls.given_only({"span": span, "queue": queue, "host": host})
        return (self._transport.ask(Call("GET", "/stats/series", query))).read(Series)

    def failures(
        self,
        *,
        state: FailureState | str | None = None,
        queue: str | None = None,
        host: str | None = None,
        error_type: ErrorType | str | None = None,
        since: dt.datetime | None = None,
        limit: int | None = None,
    ) -> Listing[Failure]:
        """Return FAILED tasks that have the same cause, as one; the last occurrence first.

        The filter ``failure`` selects the tasks: ``retry_many(failure=failure.id)``.

        Args:
            state: ``open`` (the default), ``resolved`` or ``all``.
            queue: Only failures of tasks of this queue.
            host: Only failures of tasks for this host, with its port unless it is the default.
            error_type: Only failures with this type of error.
            since: Only failures that occurred at this time or later.
            limit: Maximum number of failures, at most 1000. Default: 100.
        """
        wanted = {
            "state": state,
            "queue": queue,
            "host": host,
            "error_type": error_type,
            "since": since,
            "limit": limit,
        }
        call = Call("GET", "/failures", calls.given_only(wanted))
        return (self._transport.ask(call)).read_all(Failure)

    def failure(self, failure_id: uuid.UUID | str) -> Failure:
        """Return a failure.

        Raises:
            NotFound: There is no failure with this id.
        """
        return (self._transport.ask(calls.of_failure(failure_id))).read(Failure)

    def nodes(self) -> Listing[NodeRecord]:
        """Return the processes that run tasks, and recently died ones."""
        return (self._transport.ask(Call("GET", "/nodes"))).read_all(NodeRecord)

    def hosts(self) -> Listing[HostRecord]:
        """Return statistics of target hosts, the most problematic first."""
        return (self._transport.ask(Call("GET", "/hosts"))).read_all(HostRecord)

    def iter_audit(  # noqa: PLR0913 - each is a word of its own
        self,
        *,
        page: int = PAGE_ENTRIES,
        actor: str | None = None,
        action: Action | str | None = None,
        target_kind: TargetKind | str | None = None,
        target: str | None = None,
        at_after: dt.datetime | None = None,
        at_before: dt.datetime | None = None,
    ) -> AuditStream:
        """Return the audit log, newest first, ``page`` entries per request; needs the role admin.

        Args:
            page: The number of entries per request, at most 1000.
            actor: Only what was done with the API key of this name.
            action: Only this action, such as ``queue.pause``.
            target_kind: Only actions on targets of this kind, such as ``queue``.
            target: Only actions on the target with this id or name.
            at_after: Only what was done at this time or later.
            at_before: Only what was done before this time.
        """
        wanted = {
            "actor": actor,
            "action": action,
            "target_kind": target_kind,
            "target": target,
            "at_after": at_after,
            "at_before": at_before,
        }
        return AuditStream(self._transport, calls.audit_page(page, wanted))
