"""Changes of several resources in one transaction, in PostgreSQL."""

from __future__ import annotations

from typing import Final, Protocol, cast

from taskflow.model.configuration import ResourceKind
from taskflow.store.base.configuration import Configuration, ConfigurationWork, Result
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.credentials import PostgresCredentials
from taskflow.store.postgres.database import Database
from taskflow.store.postgres.open_transaction import OpenTransaction, in_open_transaction
from taskflow.store.postgres.queues import PostgresQueues
from taskflow.store.postgres.schedule_firing import TaskWriter
from taskflow.store.postgres.schedules import PostgresSchedules
from taskflow.store.postgres.statements import Statements, StoreContext
from taskflow.store.postgres.topics import PostgresTopics, TopicTasks

_HOLDS: Final = {
    ResourceKind.CREDENTIAL: "hold_credential",
    ResourceKind.QUEUE: "hold_queue",
    ResourceKind.TOPIC: "hold_topic",
    ResourceKind.ENDPOINT: "hold_endpoint",
    ResourceKind.SCHEDULE: "hold_schedule",
}
"""The statement that keeps others from changing a resource."""


class TransactionTasks(TopicTasks, TaskWriter, Protocol):
    """The verbs for tasks that topics and schedules use."""


class PostgresConfiguration:
    """The part of ``PostgresStore`` that changes several resources together."""

    def __init__(
        self, context: StoreContext, tasks: TransactionTasks, audit: PostgresAudit
    ) -> None:
        self._context: Final = context
        self._tasks: Final = tasks
        self._audit: Final = audit

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        """Call ``work`` in a transaction."""

        async def work_in(transaction: OpenTransaction) -> Result:
            statements = Statements(cast("Database", transaction))
            await statements.run("lock_configuration")
            return await work(self._within(statements))

        return await in_open_transaction(self._context.statements.database, work_in)

    def _within(self, statements: Statements) -> Configuration:
        async def hold(kind: ResourceKind, name: str) -> None:
            if kind is ResourceKind.ENDPOINT:
                topic, _, name = name.partition("/")
                await statements.run(_HOLDS[kind], topic=topic, name=name)
            else:
                await statements.run(_HOLDS[kind], name=name)

        return Configuration(
            queues=PostgresQueues(statements, self._context.announcements, self._audit),
            topics=PostgresTopics(statements, self._tasks, self._audit),
            schedules=PostgresSchedules(
                statements,
                self._tasks,
                has_notifications=self._context.has_notifications,
                masking=self._context.masking,
                audit=self._audit,
                encryption=self._context.encryption,
            ),
            credentials=PostgresCredentials(statements, self._audit),
            hold=hold,
        )
