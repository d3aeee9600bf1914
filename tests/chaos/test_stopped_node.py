"""A node that stands still past its lease, as a machine does that is suspended."""

from __future__ import annotations

import signal
import time

from tests.service.processes import wait_until


def test_a_node_is_stopped_past_its_lease(scene):
    """Others take its tasks; when it goes on, what it writes late changes nothing."""
    place = scene.random.randrange(scene.fleet.size)
    with scene.under_load() as load:
        load.wait_for_share(0.2)
        scene.strike(place, signal.SIGSTOP)
        over = time.monotonic() + scene.shape.lease_seconds + 1.5
        wait_until(lambda: time.monotonic() >= over, scene.shape.lease_seconds + 5)
        scene.fleet[place].process.send_signal(signal.SIGCONT)
        scene.harm_ended()
        with scene.look() as tasks:
            wait_until(lambda: scene.held(tasks, place))
    scene.judge()
