"""What the tests of the service share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import open_folder
from tests.service.database import Tasks
from tests.service.targets import Target


@pytest.fixture
def target() -> Iterator[Target]:
    """A server to fetch from that does as the test says."""
    with Target() as server:
        yield server


@pytest.fixture
def tasks(migrated_url: str) -> Iterator[Tasks]:
    """A database without tasks, to be handed to processes and looked into."""
    with Tasks(migrated_url) as database:
        yield database


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach too."""
    with open_folder() as folder:
        yield folder
