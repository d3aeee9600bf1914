"""Server-sent events as they may come: cut anywhere, with words of the service between them."""

from __future__ import annotations

import json
import socket
import uuid

import pytest

from taskflow import BlockingClient, EventsMissed, TaskStatus, UnexpectedResponse, Unreachable
from taskflow.client.sse import Message, Parser
from tests.service.targets import SocketServer

TASK = uuid.UUID(int=7)
TEXT = (
    "\ufeffretry: 20\r\n\r\n: alive\nid: 3\n\nid: 4\ndata: a\ndata:b\n\n"
    "event: reset\rdata: \xe9\r\rid: x\nid: 5\ndata: c\n\ndata: never\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_cut_anywhere(size):
    parser = Parser(None)
    data = TEXT.encode()
    reported = [
        message
        for begin in range(0, len(data), size)
        for message in parser.feed(data[begin : begin + size])
    ]
    assert reported == [
        Message("message", "a\nb"),
        Message("reset", "\xe9"),
        Message("message", "c"),
    ]
    assert (parser.position, parser.retry_seconds) == (5, 0.02)


class Scripted(SocketServer):
    """Serves a stream of events after the other, and keeps what it was asked."""

    def __init__(self, *bodies: str) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._bodies = list(bodies)
        self.positions: list[str | None] = []

    def serve(self, connection: socket.socket) -> None:
        requested = connection.recv(65536).decode().lower()
        _, found, rest = requested.partition("last-event-id: ")
        self.positions.append(rest.split("\r\n")[0] if found else None)
        if not self._bodies:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 10\n\n"
        connection.sendall(head + self._bodies.pop(0).encode())


def event(number: int, status: str) -> str:
    reported = {
        "id": number,
        "task_id": str(TASK),
        "status": status,
        "queue": "default",
        "attempt": 1,
        "at": "2026-11-24T23:00:46Z",
        "a field of a later version": 1,
    }
    return f"id: {number}\ndata: {json.dumps(reported)}\n\n"


def test_it_goes_on_where_it_was():
    """After a cut within an event, and after the service gave it up for being slow."""
    with (
        Scripted(
            event(1, "PENDING") + event(2, "RUNNING")[:-10],
            "event: dropped\ndata: {}\n\n",
            ": heartbeat\nid: 5\n\n",
            event(6, "RUNNING") + event(7, "COMPLETED") + event(8, "PENDING"),
        ) as service,
        BlockingClient(service.url) as client,
    ):
        reported = list(client.iter_events(TASK))
        assert [one.id for one in reported][:3] == [1, 6, 7]
        assert reported[2].status is TaskStatus.COMPLETED
        assert service.positions == [None, "1", "1", "5"]


def test_from_a_position_on_and_up_to_nothing_more():
    with Scripted() as service, BlockingClient(service.url) as client:
        with client.iter_events(TASK, after=41) as events:
            assert list(events) == []
        assert service.positions == ["41"]


def test_what_was_missed_is_told_and_the_rest_comes():
    """In its place; going on with the stream gets what comes then."""
    with (
        Scripted(
            event(1, "PENDING") + "event: reset\ndata: {}\n\n" + event(9, "RUNNING"),
            "data: nonsense\n\n",
        ) as service,
        BlockingClient(service.url) as client,
    ):
        events = client.iter_events(queue="default")
        assert next(events).id == 1
        with pytest.raises(EventsMissed):
            next(events)
        assert events.position == 8
        assert next(events).id == 9
        assert events.position == 9
        with pytest.raises(UnexpectedResponse):
            next(events)


def test_an_outage_that_lasts_is_an_error():
    with Scripted(event(1, "PENDING")) as service:
        client = BlockingClient(service.url, timeout_seconds=2.0)
        events = client.iter_events()
        assert next(events).id == 1
    with client, pytest.raises(Unreachable):
        next(events)
