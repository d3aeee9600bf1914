"""Another program holds all connections that PostgreSQL allows."""

from __future__ import annotations

import contextlib

import psycopg

from tests.chaos.postgres import MAX_CONNECTIONS
from tests.service.processes import wait_until

HELD_AT_LEAST = 70  # by this program; the rest by three nodes


def take_all(conninfo: str, hoard: contextlib.ExitStack) -> int:
    """Take connections until none is left, and say how many there were."""
    for number in range(MAX_CONNECTIONS):
        try:
            hoard.enter_context(contextlib.closing(psycopg.connect(conninfo)))
        except psycopg.OperationalError as error:
            assert "too many clients" in str(error)
            return number
    raise AssertionError("there is no limit")


def see_to_start(scene, place: int) -> None:
    """Do as a service manager does: start it again if it gave up for want of a connection."""
    if ended := scene.fleet.ended_by_itself(place):
        assert ended.code == 1
        assert "too many clients" in ended.stderr
        assert "Traceback" not in ended.stderr
        print("\nthe new node gave up at its start, and is started again")
        scene.fleet.begin(place)
    scene.fleet[place].wait_until_ready("serve")


def test_no_connections_are_left(scene):
    """Nodes at work go on with those they have; a new one begins once some are let go."""
    newcomer = scene.fleet.size
    with scene.under_load() as load, scene.look() as tasks:
        load.wait_for_share(0.2)
        with contextlib.ExitStack() as hoard:
            assert take_all(scene.server.conninfo, hoard) >= HELD_AT_LEAST
            before = tasks.finished()
            scene.fleet.begin(newcomer)
            load.wait_for_share(0.8)
            assert tasks.finished() > before
        scene.harm_ended()
        see_to_start(scene, newcomer)
        wait_until(lambda: scene.held(tasks, newcomer))
    scene.judge()
