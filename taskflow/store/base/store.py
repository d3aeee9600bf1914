"""The store interface: everything that a store of tasks provides. Read this first.

The verbs are divided by subject: submission, listing, claims, leases, task_actions, events; queues,
schedules and credentials are objects of their own, and so are the audit log, and the monitoring in
listing. Every store has a module for each subject, and every store passes the same tests
(``tests/store/contract.py``).

Each verb is atomic. The store's clock decides, never a node's. Every verb may raise
``StoreUnavailable`` if the store cannot be reached; then it is unknown whether the write was done.
No verb waits for ever by itself, but callers who promised an answer in time open a cancel scope of
their own.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.monitoring import DatabaseState
from taskflow.store.base.alerts import AlertStore
from taskflow.store.base.archive import ArchiveStore
from taskflow.store.base.audit import AuditStore
from taskflow.store.base.claims import ClaimStore
from taskflow.store.base.configuration import ConfigurationWork, Result
from taskflow.store.base.credentials import CredentialStore
from taskflow.store.base.events import EventStore
from taskflow.store.base.grouped_failures import FailureStore
from taskflow.store.base.groups import GroupStore
from taskflow.store.base.heartbeat_monitors import HeartbeatMonitorStore
from taskflow.store.base.leases import LeaseStore
from taskflow.store.base.listing import ListingStore, MonitoringStore
from taskflow.store.base.parking import ParkingStore
from taskflow.store.base.queues import QueueStore
from taskflow.store.base.rollups import RollupStore
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.signing_keys import SigningKeyStore
from taskflow.store.base.submission import SubmissionStore
from taskflow.store.base.task_actions import TaskActionStore
from taskflow.store.base.topics import TopicStore
from taskflow.store.base.views import ViewStore

SECRET_BYTES: Final = 32


class PoolStatistics(msgspec.Struct, frozen=True):
    """A pool of connections: used ones, free ones, and calls that wait for one."""

    name: str
    used: int
    free: int
    waiting: int


class StoreStatistics(msgspec.Struct, frozen=True):
    """What a store reports about itself.

    Attributes:
        kind: ``memory`` or ``postgres``.
        place: Host, port and name of the database.
        version: Version of the server.
        pools: Its pools of connections.
        is_listening: Whether it receives notifications; ``None`` if it is not meant to.
        parts: The names of its parts, if it has several.
    """

    kind: str
    place: str
    version: str = ""
    pools: tuple[PoolStatistics, ...] = ()
    is_listening: bool | None = None
    parts: tuple[str, ...] = ()


class TaskStore(
    SubmissionStore,
    ListingStore,
    ClaimStore,
    LeaseStore,
    ArchiveStore,
    TaskActionStore,
    EventStore,
):
    """A store of tasks. ``MemoryStore`` and ``PostgresStore`` implement it.

    A verb that finishes a task with a ``callback_url`` also makes the callback task, both or
    neither (see ``model.callback``).

    Attributes:
        queues: Settings of queues, and circuit breakers of hosts.
        schedules: Schedules, which are stored beside the tasks.
        credentials: Credentials, which tasks name; their values are encrypted.
        signing_keys: The keys that sign ID tokens, encrypted.
        groups: Groups of tasks, which are stored beside the tasks.
        heartbeat_monitors: Heartbeats of jobs elsewhere, and their pings.
        topics: Topics, and the endpoints that their events are delivered to.
        parking: Parked attempts, whose targets work on after a 202.
        monitoring: Nodes, hosts and throughput.
        failures: FAILED tasks that have the same cause, as one.
        rollups: Finished tasks, their times and the backlog, by minute and by hour.
        views: Saved views of the dashboard.
        audit: The audit log.
        alerts: Alerts, and what they notify.
    """

    queues: QueueStore
    schedules: ScheduleStore
    credentials: CredentialStore
    signing_keys: SigningKeyStore
    groups: GroupStore
    heartbeat_monitors: HeartbeatMonitorStore
    topics: TopicStore
    parking: ParkingStore
    monitoring: MonitoringStore
    rollups: RollupStore
    failures: FailureStore
    views: ViewStore
    audit: AuditStore
    alerts: AlertStore

    @abc.abstractmethod
    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        """Call ``work`` with the parts of a configuration; its changes are made all together.

        If it raises, nothing is changed. Two such calls are made one after the other.

        Raises:
            StoreUnavailable: It is unknown whether the changes were made: all, or none. With
                several cells, the changes in some cells may have been made.
        """

    @abc.abstractmethod
    async def shared_secret(self, name: str) -> bytes:
        """Return random bytes that all nodes share under this name; the first call makes them."""

    @abc.abstractmethod
    async def end_session(
        self, session_id: str, *, seconds: float, by: Actor | None = None
    ) -> None:
        """End a session of the dashboard on all nodes, and delete sessions that ended long ago.

        Args:
            session_id: The session.
            seconds: Time to remember it: the maximum for which its cookie could still be valid.
            by: Who ends it, for the audit log; ``None`` records nothing.
        """

    @abc.abstractmethod
    async def is_session_ended(self, session_id: str) -> bool:
        """Return whether a session was ended by ``end_session``."""

    @abc.abstractmethod
    async def promote(self) -> int:
        """Start the next task of each order key that is free; return the number of these tasks.

        The store does this by itself, in a moment. When this returns, it is done for all changes
        that were made before the call.
        """

    @abc.abstractmethod
    async def check(self) -> DatabaseState | None:
        """Return the state of the database if the store can be read and written.

        Without a database that is ``None``.

        Raises:
            StoreUnavailable: It cannot.
        """

    async def parts_without_nodes(self) -> Sequence[str]:
        """Return the names of the parts whose tasks no node runs, if it has several parts."""
        return ()

    @abc.abstractmethod
    def statistics(self) -> StoreStatistics:
        """Return what the store knows about itself, without a request to it."""
