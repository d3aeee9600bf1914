"""The audit log of both stores; in PostgreSQL, a change and its entry are one transaction."""

from __future__ import annotations

import datetime as dt

import msgspec
import psycopg
import pytest

from taskflow.model.audit import Action, AuditFilter, NewEntry
from taskflow.model.errors import TaskFlowError
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.sealed_credential import SealedCredential
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.audit import MAX_ENTRIES_SCANNED
from taskflow.store.memory import audit as memory_audit
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres import audit as postgres_audit
from taskflow.store.postgres.store import open_postgres
from tests.store.audit_contract import ADA, AuditContract, bulk, schedule
from tests.store.contract import new_task
from tests.test_costs import explained, foreground, nodes_of, statements_told


class TestMemoryAudit(AuditContract):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return MemoryStore()

    def modules_that_scan(self):
        return [memory_audit]


class TestPostgresAudit(AuditContract):
    @pytest.fixture
    async def store(self, database_url):
        async with open_postgres(database_url, Settings()) as store:
            yield store

    def modules_that_scan(self):
        return [postgres_audit]


SEALED = SealedCredential("billing", "bearer", (), b"the value")


@pytest.fixture
def connection(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


async def test_memory_is_bounded(monkeypatch):
    """The oldest entries are dropped."""
    monkeypatch.setattr(memory_audit, "MAX_ENTRIES", 100)
    store = MemoryStore()
    for number in range(500):
        await store.audit.record([bulk(target=str(number))])
    newest = (await store.audit.page(limit=1000)).entries
    assert 90 <= len(newest) <= 100
    assert newest[0].target == "499"
    assert len(store.audit._batches) == len(newest)


async def test_no_change_without_its_entry(database_url, connection):
    """If an entry cannot be written, the change is not made, whatever it is."""
    async with open_postgres(database_url, Settings()) as store:
        [one, other] = await store.add([new_task(), new_task()])
        await store.cancel(other.id)
        await store.schedules.put(schedule())
        connection.execute("ALTER TABLE taskflow_audit ADD CHECK (actor <> 'ada')")
        changes = [
            lambda: store.cancel(one.id, by=ADA),
            lambda: store.retry(other.id, by=ADA),
            lambda: store.delete(other.id, by=ADA),
            lambda: store.cancel_many([one.id], entry=bulk()),
            lambda: store.retry_many([other.id], entry=bulk()),
            lambda: store.delete_many([other.id], entry=bulk()),
            lambda: store.queues.change("mail", lambda _: QueueSettings(paused=True), by=ADA),
            lambda: store.schedules.change("reports", lambda _: schedule(paused=True), by=ADA),
            lambda: store.schedules.run_now("reports", by=ADA),
            lambda: store.schedules.delete("reports", by=ADA),
            lambda: store.credentials.put(SEALED, by=ADA),
            lambda: store.end_session("session-1", seconds=60.0, by=ADA),
        ]
        for change in changes:
            with pytest.raises(TaskFlowError):
                await change()
        statuses = {task.id: task.status for task in (await store.page(limit=10)).tasks}
        assert statuses == {one.id: TaskStatus.PENDING, other.id: TaskStatus.CANCELED}
        assert await store.queues.get("mail") is None
        kept = await store.schedules.get("reports")
        assert (kept.paused, kept.last_task_id) == (False, None)
        assert await store.credentials.names() == []
        assert not await store.is_session_ended("session-1")
        assert (await store.audit.page(limit=10)).entries == []


HOSTILE = ("[1]", "null", '{"a": "\\ud800", "b": 1}', '{"a": ' + "[" * 5000 + "]" * 5000 + "}")


@pytest.mark.parametrize("detail", HOSTILE)
async def test_details_that_no_version_writes(database_url, connection, detail):
    """Their entries are shown without them."""
    async with open_postgres(database_url, Settings()) as store:
        connection.execute(
            "INSERT INTO taskflow_audit (action, at, count, detail) "
            "VALUES ('queue.pause', 'infinity', 1, %s)",
            [detail],
        )
        [entry] = (await store.audit.page(limit=10)).entries
        assert entry.action is Action.QUEUE_PAUSE
        assert entry.detail == {}
        msgspec.json.encode(entry)


async def test_actions_of_a_later_version(database_url, connection):
    """Entries of a newer node are shown as they are, also if their detail cannot be read."""
    async with open_postgres(database_url, Settings()) as store:
        connection.execute(
            "INSERT INTO taskflow_audit (action, count, detail) VALUES ('moon.land', 1, '[1]')"
        )
        [entry] = (await store.audit.page(limit=10)).entries
        assert (entry.action, entry.target_kind, entry.detail) == ("moon.land", "moon", {})


FILL = """
INSERT INTO taskflow_audit (action, actor, target, count, detail)
SELECT 'task.cancel', 'service', 'task-' || n, 1, '{}' FROM generate_series(1, 50000) AS n
"""


@pytest.mark.parametrize(
    "wanted",
    [
        AuditFilter(),
        AuditFilter(actor="ada"),
        AuditFilter(target="mail"),
        AuditFilter(action=Action.QUEUE_PAUSE),
        AuditFilter(before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    ],
)
async def test_a_page_reads_a_bounded_number_of_entries(database_url, connection, wanted):
    """However many there are; the ones of an actor or a target are found by an index."""
    async with open_postgres(database_url, Settings()) as store:
        pause = NewEntry(action=Action.QUEUE_PAUSE, actor=ADA, target="mail")
        await store.audit.record([pause])
        connection.execute(FILL)
        sent: list = []
        with statements_told(lambda *statement: sent.append(statement)):
            page = await store.audit.page(limit=10, filter=wanted)
        [statement] = foreground(sent)
        plan = await store._statements.database.run(lambda c: explained(c, *statement))
    read = sum(
        node["Actual Loops"] * node["Actual Rows"]
        for node in nodes_of(plan)
        if node.get("Relation Name") == "taskflow_audit"
    )
    assert read <= (MAX_ENTRIES_SCANNED if wanted.action else 11)
    assert not any(node["Node Type"] == "Seq Scan" for node in nodes_of(plan))
    if wanted.actor or wanted.target:
        assert [one.target for one in page.entries] == ["mail"]
