"""The store in memory: for trying out, and the model that PostgreSQL is compared with.

It is written to be read: lists and dicts, sorted and filtered when needed. Its tasks are lost at
exit.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import uuid
from collections.abc import Iterator

import msgspec
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.completion import FOR_COMPLETION, PARKED_NODE
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.masking import MASKING, Masking
from taskflow.model.monitoring import FetchedTask
from taskflow.model.queue_limits import QueueHost
from taskflow.model.task import Claim, TaskStatus
from taskflow.store.base.configuration import ConfigurationWork, Result
from taskflow.store.base.listing import MAX_SCANNED
from taskflow.store.base.store import SECRET_BYTES, StoreStatistics, TaskStore
from taskflow.store.memory.alerts import AlertTasks, MemoryAlerts
from taskflow.store.memory.archive import MemoryArchive
from taskflow.store.memory.claims import MemoryClaims
from taskflow.store.memory.configuration import MemoryConfiguration
from taskflow.store.memory.credentials import MemoryCredentials
from taskflow.store.memory.events import MemoryEvents
from taskflow.store.memory.groups import GroupTasks, MemoryGroups
from taskflow.store.memory.heartbeat_monitors import MemoryHeartbeatMonitors
from taskflow.store.memory.leases import MemoryLeases
from taskflow.store.memory.listing import (
    MemoryListing,
    MemoryMonitoring,
    RunningHold,
)
from taskflow.store.memory.parking import MemoryParking, ParkedTasks
from taskflow.store.memory.schedules import MemorySchedules, ScheduleTasks
from taskflow.store.memory.signing_keys import MemorySigningKeys
from taskflow.store.memory.submission import MemorySubmission
from taskflow.store.memory.task_actions import MemoryTaskActions
from taskflow.store.memory.topics import MemoryTopics, TopicTasks
from taskflow.store.memory.views import MemoryViews


class MemoryStore(
    MemorySubmission,
    MemoryListing,
    MemoryClaims,
    MemoryLeases,
    MemoryArchive,
    MemoryTaskActions,
    MemoryEvents,
    TaskStore,
):
    """Tasks in memory. To be made and used inside one Trio run."""

    def __init__(
        self,
        *,
        max_per_host: int | None = None,
        masking: Masking = MASKING,
        encryption: Encryption = NO_ENCRYPTION,
    ) -> None:
        super().__init__(max_per_host, masking)
        self._secrets: dict[str, bytes] = {}
        self._ended_sessions: dict[str, float] = {}
        self.queues = self._queues
        self.audit = self._audit
        self.rollups = self._rollups
        self.failures = self._failures
        self.schedules = MemorySchedules(
            ScheduleTasks(
                add=self._add_at_once,
                find=self._find_submitted,
                cancel=self._cancel,
                open=self._schedule_tasks,
            ),
            now=self._now,
            masking=masking,
            audit=self._audit,
            encryption=encryption,
        )
        self.groups = MemoryGroups(
            self._groups,
            GroupTasks(
                new_id=self._new_id,
                make=self._made_each,
                enter=self._link_and_enter,
                find=self._find,
                cancel_rest=self._cancel_rest,
                retry=self._retry,
                check_parents=functools.partial(self._graphs.check, under="/tasks"),
            ),
            now=self._now,
            masking=masking,
            audit=self._audit,
        )
        self.topics = MemoryTopics(
            TopicTasks(
                new_id=self._new_id, add=self._add_at_once, redeliver=self._redeliver_if_failed
            ),
            now=self._now,
            audit=self._audit,
        )
        self.alerts = MemoryAlerts(
            AlertTasks(new_id=self._new_id, add=self._add_at_once),
            now=self._now,
            audit=self._audit,
        )
        self.credentials = MemoryCredentials(
            self._now,
            self._audit,
            queues=self._queues.names_with_credential,
            schedules=self.schedules.names_with_credential,
            endpoints=self.topics.names_with_credential,
        )
        self.heartbeat_monitors = MemoryHeartbeatMonitors(self._now, self._new_id, self._audit)
        self._configuration = MemoryConfiguration(
            queues=self._queues,
            topics=self.topics,
            schedules=self.schedules,
            credentials=self.credentials,
            audit=self._audit,
            make_room=self._work.notify,
        )
        self.signing_keys = MemorySigningKeys(self._now, self._audit)
        self.views = MemoryViews(self._audit)
        self.parking = MemoryParking(
            ParkedTasks(
                is_held=self._is_held,
                park=self._park,
                make_room=self._work.notify,
                find=self._open_attempt,
                parked=self._parked,
            ),
            self._now,
        )
        self.monitoring = MemoryMonitoring(
            nodes=self._nodes,
            running=self._running,
            fetched=self._fetched,
            pending=lambda: self._pending,
            queues=self._queues,
            finished=self._finished,
            now=self._now,
            states=self._open_states,
        )

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        return await self._configuration.configure(work)

    def _park(self, task_id: uuid.UUID) -> None:
        hold = self._holds[task_id]
        self._holds[task_id] = msgspec.structs.replace(hold, node_id=PARKED_NODE)
        self._tasks[task_id] = msgspec.structs.replace(
            self._tasks[task_id], waiting_for=FOR_COMPLETION
        )

    def _open_attempt(self, task_id: uuid.UUID) -> tuple[Claim, float] | None:
        """Return the claim of a running task, and how long it has been running."""
        hold = self._holds.get(task_id)
        if hold is None:
            return None
        task = self._tasks[task_id]
        assert task.started_at is not None
        claim = self._claim_of(task, hold.token, None)
        is_limited = self._limiter().is_limited(QueueHost(task.queue, ""))
        claim = msgspec.structs.replace(self._masking.claim(claim), is_limited=is_limited)
        return claim, (self._now() - task.started_at).total_seconds()

    def _running(self) -> Iterator[RunningHold]:
        """Yield the tasks whose requests are in flight."""
        for task_id, hold in self._holds.items():
            if task_id in self._parked:
                continue
            started_at = self._tasks[task_id].started_at
            assert started_at is not None
            host = self._submitted[task_id].authority
            yield RunningHold(task_id, hold.node_id, host, started_at)

    def _fetched(self) -> Iterator[FetchedTask]:
        for task in itertools.islice(reversed(self._tasks.values()), MAX_SCANNED):
            attempts = self._attempts.get(task.id)
            if attempts and task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
                elapsed_seconds = attempts[-1].elapsed_seconds
                if elapsed_seconds is not None:
                    host = self._submitted[task.id].authority
                    has_failed = task.status is TaskStatus.FAILED
                    yield FetchedTask(host, has_failed, elapsed_seconds, task.error_type)

    async def shared_secret(self, name: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._secrets.setdefault(name, secrets.token_bytes(SECRET_BYTES))

    async def end_session(
        self, session_id: str, *, seconds: float, by: Actor | None = None
    ) -> None:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        if session_id not in self._ended_sessions:
            self._audit.add(entry_of(Action.SESSION_SIGN_OUT, by))
        kept = {one: until for one, until in self._ended_sessions.items() if until > now}
        self._ended_sessions = {**kept, session_id: now + seconds}

    async def is_session_ended(self, session_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return session_id in self._ended_sessions

    async def promote(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0  # each change has done it

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()  # there is no database, and so no state of one

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(kind="memory", place="this process")
