"""The PostgreSQL store keeps the contract, and what is its own."""

import pytest

from taskflow.settings import Settings
from taskflow.store.postgres import open_postgres
from tests.store.contract import StoreContract


class TestPostgresStore(StoreContract):
    @pytest.fixture
    async def store(self, database_url):
        async with open_postgres(database_url, Settings()) as store:
            yield store
