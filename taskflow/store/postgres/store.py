"""The store in PostgreSQL: durable, and shared by any number of nodes.

Each verb is one statement of ``queries``, or a few in one transaction, in one thread hop.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import psycopg
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import StoreUnavailable
from taskflow.model.masking import Masking
from taskflow.model.monitoring import DatabaseState
from taskflow.model.task import NewTask
from taskflow.settings import Settings
from taskflow.store.base.claims import CANCELLATIONS_CHANNEL, Cancellations, DirectClaims
from taskflow.store.base.configuration import ConfigurationWork, Result
from taskflow.store.base.store import SECRET_BYTES, StoreStatistics, TaskStore
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.alerts import PostgresAlerts
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.cell_maps import PostgresCellMaps
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.claims import PostgresClaims
from taskflow.store.postgres.configuration import PostgresConfiguration
from taskflow.store.postgres.credentials import CREDENTIALS_CHANNEL, PostgresCredentials
from taskflow.store.postgres.database import Database, one_line, open_database
from taskflow.store.postgres.events import PostgresEvents
from taskflow.store.postgres.folding import Folding
from taskflow.store.postgres.graph_promoter import GraphPromoter
from taskflow.store.postgres.grouped_failures import PostgresFailures
from taskflow.store.postgres.groups import PostgresGroups
from taskflow.store.postgres.heartbeat_monitors import PostgresHeartbeatMonitors
from taskflow.store.postgres.leases import PostgresLeases
from taskflow.store.postgres.listener import EVENTS_CHANNEL, listen
from taskflow.store.postgres.listing import PostgresListing, PostgresMonitoring
from taskflow.store.postgres.migrate import Migrated, migrate_database
from taskflow.store.postgres.parking import PostgresParking
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.promoter import OrderPromoter
from taskflow.store.postgres.queues import PostgresQueues
from taskflow.store.postgres.requirements import refusal_of, server_state
from taskflow.store.postgres.rollups import PostgresRollups
from taskflow.store.postgres.schedules import SCHEDULES_CHANNEL, PostgresSchedules
from taskflow.store.postgres.session import WORK_CHANNEL
from taskflow.store.postgres.signing_keys import SIGNING_KEYS_CHANNEL, PostgresSigningKeys
from taskflow.store.postgres.statements import Statements, StoreContext
from taskflow.store.postgres.submission import PostgresSubmission
from taskflow.store.postgres.task_actions import PostgresTaskActions
from taskflow.store.postgres.topics import TOPICS_CHANNEL, PostgresTopics
from taskflow.store.postgres.views import PostgresViews


class PostgresStore(
    PostgresSubmission,
    PostgresListing,
    PostgresClaims,
    PostgresLeases,
    PostgresTaskActions,
    PostgresEvents,
    TaskStore,
):
    """Tasks in PostgreSQL. ``open_postgres`` makes one.

    Attributes:
        cell_maps: The map of cells, if this is a cell.
    """

    def __init__(self, context: StoreContext, statistics: StoreStatistics) -> None:
        super().__init__(context)
        self._statistics = statistics
        announcements = context.announcements
        self.audit = self._audit = PostgresAudit(context.statements, context.masking)
        self.queues = PostgresQueues(context.statements, announcements, self._audit)
        self.credentials = PostgresCredentials(context.statements, self._audit)
        self.heartbeat_monitors = PostgresHeartbeatMonitors(context.statements, self._audit)
        self.signing_keys = PostgresSigningKeys(context.statements, self._audit)
        self.views = PostgresViews(context.statements, self._audit)
        self.monitoring = PostgresMonitoring(context.statements, max_per_host=context.max_per_host)
        self.schedules = schedules = PostgresSchedules(
            context.statements,
            self,
            has_notifications=context.has_notifications,
            masking=context.masking,
            audit=self._audit,
            encryption=context.encryption,
        )
        self._groups = PostgresGroups(
            context.statements, self, announcements, self._audit, context.masking
        )
        self.groups = self._groups
        self.topics = PostgresTopics(context.statements, self, self._audit)
        self.alerts = PostgresAlerts(context.statements, self, self._audit)
        self._configuration = PostgresConfiguration(context, self, self._audit)
        self.parking = PostgresParking(context)
        self.rollups = PostgresRollups(context.statements)
        self._folding = Folding(context.statements, context.masking)
        self.failures = PostgresFailures(context.statements, self._folding)
        self.cell_maps = PostgresCellMaps(context.statements)
        self._promoters: Final = (
            OrderPromoter(context.statements, announcements, announcements.order_steps),
            GraphPromoter(context.statements, announcements, announcements.graph_steps),
        )
        self._schedule_changed: Final = schedules.changed

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        try:
            return await self._configuration.configure(work)
        finally:  # it may have been committed
            self.topics.note_change()
            self.credentials.note_change()
            self._schedule_changed.notify()
            self._announcements.work.notify()

    async def shared_secret(self, name: str) -> bytes:
        made = secrets.token_bytes(SECRET_BYTES)
        while True:  # if another node makes it at this moment, the next query finds it
            for (value,) in await self._statements.run("share_secret", name=name, value=made):
                return bytes(value)

    async def end_session(
        self, session_id: str, *, seconds: float, by: Actor | None = None
    ) -> None:
        parameters = {"id": session_id, "seconds": seconds}

        def work(connection: Connection) -> None:
            with connection.transaction():
                is_ended_now = self._statements.execute(connection, "end_session", parameters)
                if is_ended_now:
                    self._audit.add(connection, entry_of(Action.SESSION_SIGN_OUT, by))

        await self._statements.database.run(work)

    async def is_session_ended(self, session_id: str) -> bool:
        return bool(await self._statements.run("ended_session", id=session_id))

    async def promote(self) -> int:
        return sum([await promoter.promote() for promoter in self._promoters])

    async def check(self) -> DatabaseState:
        state = await self._statements.database.run(self._check)
        self.is_refused = False
        return state

    def _check(self, connection: Connection) -> DatabaseState:
        state = server_state(connection)
        refusal = refusal_of(connection, state)
        if refusal is not None:
            raise refusal
        # The statement itself, with no tasks: it needs all that a submission needs, and writes
        # nothing. After a refusal with a task that is rolled back, and a commit.
        tasks = [NewTask(payload=msgspec.Raw(b'""'))] if self.is_refused else []
        try:
            with connection.transaction(force_rollback=True):
                self.insert(connection, tasks)
            if tasks:
                self._statements.execute(connection, "try_commit")
        except psycopg.Error as error:
            raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error
        address = self._statements.database.address
        return DatabaseState(
            host=address.host_number(connection),
            hosts=address.number_of_hosts,
            replication=state.replication.mode,
        )

    def statistics(self) -> StoreStatistics:
        pools = (
            self._statements.database.statistics("work"),
            self._heartbeats.database.statistics("heartbeats"),
        )
        return msgspec.structs.replace(self._statistics, pools=pools)

    async def run(self) -> None:
        """Write submissions, and start tasks that wait for others, until cancelled."""
        async with trio.open_nursery() as nursery:
            for promoter in self._promoters:
                nursery.start_soon(promoter.run)
            nursery.start_soon(self._groups.run)
            nursery.start_soon(self.additions.run)
            nursery.start_soon(self.large_additions.run)
            nursery.start_soon(self.keyed_additions.run)

    async def listen(
        self, address: DatabaseAddress, timeout_seconds: float, server_version: int
    ) -> None:
        """Process the notifications of other nodes until cancelled."""
        await listen(
            address,
            timeout_seconds=timeout_seconds,
            server_version=server_version,
            receivers={
                WORK_CHANNEL: self._announcements.receive,
                CANCELLATIONS_CHANNEL: self._context.cancellations.receive,
                EVENTS_CHANNEL: lambda _: self.new_events.notify(),
                SCHEDULES_CHANNEL: lambda _: self._schedule_changed.notify(),
                CREDENTIALS_CHANNEL: lambda _: self.credentials.note_change(),
                SIGNING_KEYS_CHANNEL: lambda _: self.signing_keys.note_change(),
                TOPICS_CHANNEL: lambda _: self.topics.note_change(),
            },
            report=self._set_listening,
        )

    def _set_listening(self, *, is_listening: bool) -> None:
        self._statistics = msgspec.structs.replace(self._statistics, is_listening=is_listening)


@contextlib.asynccontextmanager
async def open_postgres(
    conninfo: str, settings: Settings, encryption: Encryption = NO_ENCRYPTION
) -> AsyncIterator[PostgresStore]:
    """Migrate the database, and store tasks in it until the block ends.

    Raises:
        StoreUnavailable: The database cannot be reached.
        StoreUnusable: It can, but not with this address or this version of the code.
    """
    timeout_seconds, pooler = settings.database_timeout_seconds, settings.database_pooler
    address = DatabaseAddress(conninfo)
    migrated = await migrate_database(address, timeout_seconds=timeout_seconds, pooler=pooler)
    open_pool = functools.partial(
        open_database,
        address,
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        schemas=migrated.schemas,
        server_version=migrated.server_version,
        is_distributed=migrated.is_distributed,
    )
    async with (
        open_pool(connections=settings.database_connections) as database,
        open_pool(connections=1) as heartbeats,
        trio.open_nursery() as nursery,
    ):
        store = _make_store(database, heartbeats, migrated, settings, encryption)
        nursery.start_soon(store.run)
        if pooler == "none":  # LISTEN needs a server connection that stays the same
            nursery.start_soon(store.listen, address, timeout_seconds, migrated.server_version)
        yield store
        nursery.cancel_scope.cancel()


def _make_store(
    database: Database,
    heartbeats: Database,
    migrated: Migrated,
    settings: Settings,
    encryption: Encryption,
) -> PostgresStore:
    has_notifications = settings.database_pooler == "none"
    context = StoreContext(
        statements=Statements(database),
        heartbeats=Statements(heartbeats),
        masking=Masking(settings.masked_headers),
        max_per_host=settings.max_per_host,
        has_notifications=has_notifications,
        announcements=Announcements(),
        cancellations=Cancellations(),
        direct_claims=DirectClaims(),
        encryption=encryption,
    )
    is_listening = False if has_notifications else None
    return PostgresStore(
        context,
        StoreStatistics("postgres", migrated.place, migrated.version, is_listening=is_listening),
    )
