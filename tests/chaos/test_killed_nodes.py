"""Nodes that are killed: others take over what they held."""

from __future__ import annotations

import pytest


@pytest.mark.long  # the other test kills nodes one at a time, too
def test_one_node_is_killed(scene):
    """After a SIGKILL others are at work on the dead node's tasks soon after its lease."""
    with scene.under_load() as load:
        load.wait_for_share(0.3)
        scene.kill(scene.random.randrange(scene.fleet.size))
    scene.judge()


def test_nodes_are_killed_all_the_time(scene):
    """Every couple of seconds a node dies and another is started: nothing is lost."""
    with scene.under_load() as load:
        kills = max(2, round(scene.shape.seconds / 2))
        for number in range(kills):
            load.wait_for_share((number + 0.5) / kills)
            place = scene.random.randrange(scene.fleet.size)
            scene.kill(place)
            scene.fleet.start(place)
    scene.judge()
