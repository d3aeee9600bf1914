"""A path to the database on which nothing moves any more, as behind a firewall that forgot it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.store.postgres.pool import CONNECT_SECONDS
from tests.chaos.postgres import Server, Thaw, ThawingWay
from tests.folders import open_folder
from tests.service.database import url_of
from tests.service.processes import wait_until


@pytest.fixture
def way(server: Server) -> Iterator[ThawingWay]:
    """The path that all nodes take."""
    parts = conninfo_to_dict(server.conninfo)
    place = Path(str(parts["host"]), f".s.PGSQL.{parts['port']}")
    with open_folder() as folder, ThawingWay(folder, place) as path:
        yield path


@pytest.fixture
def nodes_url(server: Server, way: ThawingWay) -> str:
    return url_of(make_conninfo(server.conninfo, host=str(way.folder)))


@pytest.mark.parametrize(
    "thaw",
    [
        pytest.param(
            thaw, id=thaw.name.lower(), marks=[pytest.mark.long] * (thaw is Thaw.FORGOTTEN)
        )
        for thaw in Thaw
    ],
)
def test_the_path_to_the_database_freezes(scene, way, thaw):
    """While it is frozen nothing is promised; after the thaw work goes on at once."""
    with scene.under_load() as load:
        load.wait_for_share(0.2)
        way.freeze()
        over = time.monotonic() + scene.shape.freeze_seconds
        wait_until(lambda: time.monotonic() >= over, scene.shape.freeze_seconds + 5)
        at = way.thaw(thaw)
        # A client that is connecting at this moment gets no response, and must time out first.
        scene.harm_ended(at + CONNECT_SECONDS if thaw is Thaw.FORGOTTEN else at)
    scene.judge()
    assert not load.reasons["TimeoutError"], "clients were left without an answer"
