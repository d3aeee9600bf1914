"""What the tests of the stores share."""

from __future__ import annotations

import pytest
import trio
import trio.testing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no wait take time in the tests of a class that says so: the clock goes on, and jumps."""
    for item in items:
        if getattr(getattr(item, "cls", None), "has_virtual_clock", False):
            item.add_marker(pytest.mark.trio(run=_run_on_virtual_clock), append=False)


def _run_on_virtual_clock(function, *, clock=None, instruments=()):
    clock = clock or trio.testing.MockClock(rate=1.0, autojump_threshold=0)
    return trio.run(function, clock=clock, instruments=instruments)


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """A new database that has its tables already."""
    return migrated_url
