"""The PostgreSQL store keeps the contract with all finished tasks in the archive."""

from __future__ import annotations

import pytest

from taskflow.settings import Settings
from tests.store.alerts_contract import AlertContract
from tests.store.archiving import open_archiving
from tests.store.callbacks_contract import CallbacksContract
from tests.store.contract import StoreContract
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.parking_contract import ParkingContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract

FEW = Settings(database_timeout_seconds=2.0, database_connections=2)


@pytest.fixture
async def store(database_url):
    async with open_archiving(database_url, FEW) as store:
        yield store


@pytest.mark.long  # minutes; test_archive.py has what an archive can do wrong
class TestArchivingStore(
    FlowContract,
    OrderContract,
    GroupContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
    StoreContract,
):
    """The contract of all subjects."""
