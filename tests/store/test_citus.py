"""A schema that Citus distributes keeps the contract.

Citus is no part of the suite: these tests need a schema of a cluster that is distributed and
migrated (docs/how-to/place-cells-with-citus.md), and empty it before each test. Its URL is in
TASKFLOW_TEST_CITUS_URL.
"""

from __future__ import annotations

import os

import psycopg
import pytest

from taskflow.settings import Settings
from taskflow.store.postgres import audit as postgres_audit
from taskflow.store.postgres.store import open_postgres
from tests.store.alerts_contract import AlertContract
from tests.store.audit_contract import AuditContract
from tests.store.callbacks_contract import CallbacksContract
from tests.store.configuration_contract import ConfigurationContract
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.overlap_contract import OverlapContract
from tests.store.parking_contract import ParkingContract
from tests.store.schedules_contract import SchedulesContract
from tests.store.signing_keys_contract import SigningKeysContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract

URL = os.environ.get("TASKFLOW_TEST_CITUS_URL", "")
FEW = Settings(database_timeout_seconds=8.0, database_connections=2)
TWO_MACHINES = "times of one statement are of the coordinator or of a worker"

if not URL:
    pytest.skip("TASKFLOW_TEST_CITUS_URL is not set", allow_module_level=True)


def empty() -> None:
    """Delete all rows except the list of migrations."""
    with psycopg.connect(URL) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition "
            "AND relname NOT IN ('taskflow_migrations', 'taskflow_event_log')"
        ).fetchall()
        for _ in range(2):  # triggers add rows to the tables that were emptied before
            for (table,) in tables:
                connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "UPDATE taskflow_event_log SET recorded_until = '-infinity', complete_after = 0"
        )


class OnCitus:
    """A store in a distributed schema."""

    @pytest.fixture
    async def store(self):
        empty()
        async with open_postgres(URL, FEW) as store:
            yield store


class TestCitus(
    OnCitus,
    FlowContract,
    OrderContract,
    GroupContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    SigningKeysContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
    ConfigurationContract,
):
    @pytest.mark.xfail(reason=TWO_MACHINES, strict=False)
    async def test_a_task_for_later_is_not_claimed(self, store, node):
        await super().test_a_task_for_later_is_not_claimed(store, node)


class TestAuditOnCitus(OnCitus, AuditContract):
    def modules_that_scan(self):
        return [postgres_audit]


class TestSchedulesOnCitus(OnCitus, SchedulesContract, OverlapContract):
    @pytest.fixture
    async def node(self, store):
        return await store.register("here", lease_seconds=30)

    async def set_next_run_at(self, store, name, next_run_at):
        with psycopg.connect(URL) as connection:
            connection.execute(
                "UPDATE taskflow_schedules SET next_at = %s WHERE name = %s", [next_run_at, name]
            )
