"""What the tests of the stores share."""

from __future__ import annotations

import pytest


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """A new database that has its tables already."""
    return migrated_url
