"""A rolling restart: every node is replaced in order, while work goes on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.chaos.shape import LONG_LEASE


@pytest.fixture
def odd_settings() -> Mapping[int, Mapping[str, object]]:
    return dict.fromkeys(range(3), LONG_LEASE)


def test_a_rolling_restart_is_not_noticed(scene):
    """SIGTERM ends each node with status 0, and not one task is fetched twice."""
    with scene.under_load() as load:
        for place in range(scene.fleet.size):
            load.wait_for_share((place + 0.5) / scene.fleet.size)
            assert scene.fleet.end(place) == 0
            scene.fleet.start(place)
    assert not scene.judge().twice()
