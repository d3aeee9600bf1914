"""Clients that are gone before they could be answered."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest

RESET = struct.pack("ii", 1, 0)  # closing sends a reset


def post_and_leave(scene, load) -> None:
    """Send all of a POST to some node and hang up: in order, or with a reset."""
    key, body = load.payload(scene.random)
    head = f"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    load.unknown.add(key)
    place = scene.random.randrange(scene.fleet.size)
    with contextlib.suppress(OSError), scene.fleet[place].connect() as client:
        client.sendall(head.encode() + body)
        if scene.random.random() < 0.5:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.long
def test_clients_hang_up_at_once(scene):
    """Either there is no task, or it runs to its end like any other."""
    left = 0
    with scene.under_load() as load:
        while load.is_before_share(1.0):
            load.wait_for_share(left * 0.005)
            post_and_leave(scene, load)
            left += 1
    verdict = scene.judge()
    kept = load.unknown & {record.key for record in verdict.records}
    print(f"\n{left} clients left at once, {len(kept)} of their tasks were kept")
    assert kept
