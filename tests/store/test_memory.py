"""The memory store keeps the contract."""

import pytest

from taskflow.store.memory import MemoryStore
from tests.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self):
        return MemoryStore()
