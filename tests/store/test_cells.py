"""A store of stores keeps the contract: cells in memory, and cells in PostgreSQL."""

from __future__ import annotations

import contextlib
import uuid

import msgspec
import pytest

from taskflow.model.cell_map import CellMap, bucket_of, new_map
from taskflow.model.topic_events import OPERATIONS_TOPIC
from taskflow.settings import Settings
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.store import CellStore
from taskflow.store.memory import audit as memory_audit
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres import audit as postgres_audit
from taskflow.store.postgres.store import open_postgres
from tests.databases import new_schemas
from tests.store.alerts_contract import AlertContract
from tests.store.audit_contract import AuditContract
from tests.store.callbacks_contract import CallbacksContract
from tests.store.configuration_contract import ConfigurationContract
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.heartbeats_contract import HeartbeatsContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.overlap_contract import OverlapContract
from tests.store.parking_contract import ParkingContract
from tests.store.schedules_contract import SchedulesContract
from tests.store.signing_keys_contract import SigningKeysContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract

NAMES = ("a", "b", "c")
FEW = Settings(database_timeout_seconds=2.0, database_connections=2)


def contract_map() -> CellMap:
    """Three cells. What the suite uses in one request, or in one order, is in one of them."""
    made = new_map(NAMES, secret=b"secret")
    home = made.home_of("default")
    other, *_ = (number for number in range(3) if number != home)
    buckets = list(made.buckets)
    buckets[bucket_of(OPERATIONS_TOPIC)] = made.cell_of("topic", "orders")
    placed = {"mail": home, "a": other, "b": other}
    return msgspec.structs.replace(made, placed=placed, buckets=tuple(buckets))


class MemoryCell(MemoryStore):
    """A cell whose ids name it. All share one clock: the order of ids is that of creation."""

    last_stamp = 0

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def _new_id(self) -> uuid.UUID:
        self._last_stamp = MemoryCell.last_stamp
        made = super()._new_id()
        MemoryCell.last_stamp = self._last_stamp
        return uuid.UUID(bytes=made.bytes[:15] + bytes([self._number]))


def memory_cells() -> CellStore:
    cells = [Cell(number, name, MemoryCell(number)) for number, name in enumerate(NAMES)]
    return CellStore(Cells(cells, contract_map()))


class CellContract(
    FlowContract,
    OrderContract,
    GroupContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    HeartbeatsContract,
    SigningKeysContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
    ConfigurationContract,
):
    """The conformance suite, for a store of three cells."""


class TestCellsInMemory(CellContract):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return memory_cells()


@pytest.mark.long  # the rest of the contract finds what cells can do wrong
class TestAuditOfCells(AuditContract):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return memory_cells()

    def modules_that_scan(self):
        return [memory_audit]


class TestSchedulesOfCells(SchedulesContract, OverlapContract):
    @pytest.fixture
    async def store(self):
        return memory_cells()

    @pytest.fixture
    async def node(self, store):
        return await store.register("here", lease_seconds=30)

    async def set_next_run_at(self, store, name, next_run_at):
        kept = store.cells.of_name("schedule", name).store.schedules._schedules
        kept[name] = msgspec.structs.replace(kept[name], next_run_at=next_run_at)


@pytest.fixture
def cell_urls(postgres_server):
    with new_schemas(postgres_server, NAMES) as urls:
        yield urls


class CellsInPostgres:
    """Three schemas of one database, of which none is ``public``."""

    @pytest.fixture
    async def store(self, cell_urls):
        async with contextlib.AsyncExitStack() as stack:
            cells = [
                Cell(number, name, await stack.enter_async_context(open_postgres(url, FEW)))
                for number, (name, url) in enumerate(zip(NAMES, cell_urls, strict=True))
            ]
            yield CellStore(Cells(cells, contract_map()))

    def modules_that_scan(self):
        return [postgres_audit]


class TestPartsOfCellsInPostgres(CellsInPostgres, ConfigurationContract, CredentialsContract):
    """What is copied to all cells, and merged."""

    @pytest.fixture
    async def node(self, store):
        return await store.register("here", lease_seconds=30)


@pytest.mark.long  # the cells are the stores of the other tests; a minute of copied databases
class TestCellsInPostgres(CellsInPostgres, AuditContract, CellContract):
    pass
