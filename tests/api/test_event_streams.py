"""Server-sent events over HTTP: each change is sent once, in order."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskflow.api.live import events as streams
from taskflow.api.live import feed as feeding
from taskflow.api.live.feed import Feed
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.api.sse import Message, Parser, open_stream
from tests.service.processes import wait_until
from tests.service.targets import Target

UNKNOWN = uuid.UUID(int=7)


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with Target() as target:
        yield target


@pytest.fixture
def feeds(monkeypatch):
    """The feeds of the servers that a test starts."""
    made = []

    class Seen(Feed):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("taskflow.service.Feed", Seen)
    return made


@pytest.fixture
def own(empty_url, feeds):
    """A server of a test's own."""
    with LiveServer(database_url=empty_url, fetch_timeout_seconds=60.0) as server:
        yield server


def add(server, url: str, **fields) -> str:
    body = json.dumps({"payload": url, **fields}).encode()
    answer = server.ask("POST", "/tasks", body, {"content-type": "application/json"})
    assert answer.status == 201, answer
    return answer.json["id"]


def add_many(server, count: int, **fields) -> list[str]:
    """Tasks that fail at once."""
    body = json.dumps([{"payload": "no url", **fields}] * count).encode()
    answer = server.ask("POST", "/tasks", body, {"content-type": "application/json"})
    assert answer.status == 201, answer
    return [task["id"] for task in answer.json]


def told(messages: list[Message]) -> list[tuple[str, int]]:
    return [(message.json["status"], message.json["attempt"]) for message in messages]


def read_all(stream) -> list[Message]:
    return list(stream)


class TestOneTask:
    def test_a_task_is_followed_until_it_is_finished(self, own, held):
        """From how it stands; then the stream is over, and there is no reason to come again."""
        task_id = add(own, f"{held.url}/held", queue="mail", tags={"customer": 42})
        held.wait_for("/held")
        path = f"/tasks/{task_id}/events"
        with open_stream(own.url, path) as stream:
            [first] = stream.take(1)
            assert stream.parser.retry == streams.RECONNECT_MILLISECONDS
            held.release()
            [last] = read_all(stream)
        assert told([first, last]) == [("RUNNING", 1), ("COMPLETED", 1)]
        task = own.show(task_id)
        for message in (first, last):
            assert message.event == "message"
            event = message.json
            assert message.last_event_id == str(event["id"])
            assert (event["task_id"], event["queue"]) == (task_id, "mail")
            assert event["tags"] == {"customer": 42}
            assert (event["error"], event["error_type"]) == ("", None)
        assert first.json["at"] == task["started_at"]
        answer = own.ask("GET", path, None, {"last-event-id": last.last_event_id})
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("content-type") is None

    def test_retries_are_reported(self, own, target):
        """Each failed attempt is an event with its error."""
        with open_stream(own.url, "/events") as every:
            every.begin()
            task_id = add(own, f"{target.url}/500", max_attempts=2)
            with open_stream(own.url, f"/tasks/{task_id}/events") as stream:
                story = read_all(stream)
            of_all = every.take(5)
        expected = [("PENDING", 0), ("RUNNING", 1), ("PENDING", 1), ("RUNNING", 2), ("FAILED", 2)]
        assert told(of_all) == expected
        assert told(story) == expected[-len(story) :]  # from how it stood by then
        for message in (of_all[2], of_all[-1], story[-1]):
            assert message.json["error_type"] == "http_status"
            assert "500" in message.json["error"]

    def test_a_finished_task_is_one_event(self, server, target):
        """The stream has its final status, and ends."""
        task = server.run(f'"{target.url}/json"'.encode())
        with open_stream(server.url, f"/tasks/{task['id']}/events") as stream:
            [message] = read_all(stream)
        assert told([message]) == [("COMPLETED", 1)]
        assert message.json["at"] == task["finished_at"]

    def test_reconnected_clients_get_the_rest(self, own, held):
        """Without what it had; to the end, though that came while it was away."""
        task_id = add(own, f"{held.url}/held")
        held.wait_for("/held")
        path = f"/tasks/{task_id}/events"
        with open_stream(own.url, path) as stream:
            stream.take(1)
        held.release()
        own.wait(task_id)
        with open_stream(own.url, path, after=stream.last_event_id) as again:
            assert told(read_all(again)) == [("COMPLETED", 1)]

    @pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense"])
    def test_unknown_tasks(self, server, task_id):
        """A 404, after which browsers do not reconnect."""
        check_problem(server.ask("GET", f"/tasks/{task_id}/events"), 404)


class TestAll:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "abc"),
            ("?queue=mail", "ab"),
            ("?tag=customer:42", "ac"),
            ("?tag=customer:42&queue=mail", "a"),
            ("?tag=customer:42&tag=is_big:true", "a"),
            ("?tag=note:a:b%20%C3%A9", "b"),
        ],
    )
    def test_filters(self, own, query, expected):
        """By queue and tags, all of which must hold."""
        with open_stream(own.url, f"/events{query}") as stream:
            stream.begin()
            ids = {
                "a": add(own, "no", queue="mail", tags={"customer": 42, "is_big": True}),
                "b": add(own, "no", queue="mail", tags={"note": "a:b é"}),
                "c": add(own, "no", tags={"customer": "42"}),
            }
            messages = stream.take(3 * len(expected))
        by_task: dict[str, list[str]] = {}
        for message in messages:
            by_task.setdefault(message.json["task_id"], []).append(message.json["status"])
        life = ["PENDING", "RUNNING", "FAILED"]
        assert by_task == {ids[name]: life for name in expected}

    @pytest.mark.parametrize(
        "query",
        [
            "queue=",
            "queue=a&queue=b",
            "queue=%00",
            "tag=",
            "tag=x",
            "tag=:x",
            "tag=a:1&tag=a:2",
            "tag=a:%00",
            "tag=a:" + "x" * 400,
            "tag=a:1%0A",
            "status=PENDING",
            "&".join(f"tag=t{number}:1" for number in range(17)),
        ],
    )
    def test_an_invalid_query_is_rejected(self, server, query):
        """422 says what is allowed."""
        check_problem(server.ask("GET", f"/events?{query}"), 422)

    @pytest.mark.parametrize("place", ["x", "-1", "1.5", "9" * 19, "1,2", "0x1", "\u0661"])
    @pytest.mark.parametrize("path", ["/events", f"/tasks/{UNKNOWN}/events"])
    def test_an_invalid_position_is_rejected(self, server, path, place):
        """It is of another service."""
        headers = {"last-event-id": place.encode().decode("latin-1")}
        check_problem(server.ask("GET", path, None, headers), 422, "Last-Event-ID")

    @pytest.mark.parametrize(
        "name", ["lastEventId", "lastEventID", "last_event_id", "Last-Event-ID"]
    )
    @pytest.mark.parametrize("kind", ["all", "task"])
    def test_a_place_in_the_query(self, own, kind, name):
        """What polyfills of EventSource send when they connect again means the header."""
        with open_stream(own.url, "/events") as stream:
            stream.begin()
            task_id = add(own, "no")
            messages = stream.take(3)
        path = "/events" if kind == "all" else f"/tasks/{task_id}/events"
        with open_stream(own.url, f"{path}?{name}={messages[0].last_event_id}") as again:
            assert told(again.take(2)) == told(messages[1:])

    @pytest.mark.parametrize("kind", ["all", "task"])
    def test_the_header_takes_precedence(self, own, kind):
        """The header wins over a different query parameter; an empty header counts as absent."""
        with open_stream(own.url, "/events") as stream:
            stream.begin()
            task_id = add(own, "no")
            first, second, third = stream.take(3)
        path = "/events" if kind == "all" else f"/tasks/{task_id}/events"
        query = f"{path}?lastEventId={first.last_event_id}"
        with open_stream(own.url, query, after=second.last_event_id) as again:
            assert told(again.take(1)) == told([third])
        with open_stream(own.url, query, headers={"last-event-id": ""}) as again:
            assert told(again.take(2)) == told([second, third])

    def test_no_more_events_after_a_place_in_the_query(self, own):
        """204, which ends a polyfill's attempts, as after the header."""
        with open_stream(own.url, "/events") as stream:
            stream.begin()
            task_id = add(own, "no")
            last = stream.take(3)[-1]
        answer = own.ask("GET", f"/tasks/{task_id}/events?lastEventId={last.last_event_id}")
        assert (answer.status, answer.body) == (204, b"")

    @pytest.mark.parametrize("place", ["x", "-1", "1.5", "9" * 19, "1,2", "0x1", "%D9%A1", "1%0A"])
    @pytest.mark.parametrize("path", ["/events", f"/tasks/{UNKNOWN}/events"])
    def test_an_invalid_place_in_the_query(self, server, path, place):
        """The same error as for the header; two positions are one too many."""
        check_problem(server.ask("GET", f"{path}?lastEventId={place}"), 422, "lastEventId must be")
        twice = f"{path}?lastEventId=1&last_event_id=1"
        check_problem(server.ask("GET", twice), 422, "lastEventId is given more than once")

    def test_an_unknown_parameter_of_a_task(self, server):
        """A misspelt name is not passed over."""
        answer = server.ask("GET", f"/tasks/{UNKNOWN}/events?lastEvent=1")
        check_problem(answer, 422, "no parameter 'lastEvent'; did you mean lastEventId?")

    def test_other_methods(self, server, target):
        """HEAD says what comes, and none of it; 405 for others."""
        task_id = server.run(f'"{target.url}/json"'.encode())["id"]
        for path in ("/events", f"/tasks/{task_id}/events"):
            with server.connect() as connection:
                answer = connection.ask("HEAD", path)
                assert answer.status == 200
                assert answer.header("content-type") == "text/event-stream"
                assert answer.header("content-length") is None
                assert connection.ask("GET", "/livez").status == 200  # the connection goes on
            check_problem(server.ask("POST", path), 405)


class TestPlaces:
    def test_no_gap_and_no_double_however_often_it_breaks(self, own):
        """Under load, with connections that are cut anywhere: in the middle of a message, too."""
        chance = random.Random(7)
        count = 400
        seen: list[int] = []
        tasks: list[str] = []
        with open_stream(own.url, "/events") as stream:
            stream.begin()
            place = stream.last_event_id

        def load():
            for _ in range(count // 8):
                tasks.extend(add_many(own, 8))

        loader = threading.Thread(target=load)
        loader.start()
        breaks = 0
        by_task: dict[str, list[str]] = {}
        deadline = time.monotonic() + 120
        while len(seen) < 3 * count:
            assert time.monotonic() < deadline, len(seen)
            with open_stream(own.url, "/events", after=place) as stream:
                wanted = chance.randrange(1, 60)
                for message in stream:
                    seen.append(message.json["id"])
                    by_task.setdefault(message.json["task_id"], []).append(message.json["status"])
                    place = message.last_event_id
                    wanted -= 1
                    if not wanted or len(seen) >= 3 * count:
                        break
                breaks += 1
        loader.join()
        assert breaks > 10
        assert seen == sorted(set(seen))
        assert by_task == {task: ["PENDING", "RUNNING", "FAILED"] for task in tasks}

    def test_two_streams_have_the_same_events(self, own):
        """Both have the same order and the same ids."""
        with open_stream(own.url, "/events") as one, open_stream(own.url, "/events") as two:
            one.begin()
            two.begin()
            add_many(own, 50)
            assert [m.data for m in one.take(150)] == [m.data for m in two.take(150)]

    def test_heartbeats_have_the_position(self, own, monkeypatch):
        """Heartbeats have ids, so a client that reconnects skips events that it did not request."""
        monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
        with open_stream(own.url, "/events?queue=none") as stream:
            stream.begin()
            begun = int(stream.last_event_id)
            add_many(own, 3)
            wait_until(lambda: stream.read() and int(stream.last_event_id) >= begun + 9)
            wait_until(lambda: stream.read() and stream.parser.comments.count("heartbeat") > 5)

    def test_heartbeats_of_a_task(self, own, held, monkeypatch):
        """They say nothing new of it."""
        monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
        path = f"/tasks/{add(own, f'{held.url}/held')}/events"
        held.wait_for("/held")
        with open_stream(own.url, path) as stream:
            assert told(stream.take(1)) == [("RUNNING", 1)]
            wait_until(lambda: stream.read() and stream.parser.comments.count("heartbeat") > 5)
            with open_stream(own.url, path, after=stream.last_event_id) as again:
                wait_until(lambda: again.read() and again.parser.comments.count("heartbeat") > 5)
                held.release()
                assert told(read_all(again)) == told(read_all(stream)) == [("COMPLETED", 1)]


class TestSlowReaders:
    def test_slow_streams_end_with_dropped(self, empty_url, feeds, monkeypatch):
        """What it was sent is whole; the others get all; when it comes back it gets the rest."""
        monkeypatch.setattr(feeding, "MAX_UNREAD_EVENTS", 600)
        with LiveServer(database_url=empty_url, request_seconds=60.0) as server:
            with socket.socket() as slow, open_stream(server.url, "/events") as quick:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                host, port = server.url.removeprefix("http://").split(":")
                slow.settimeout(120)
                slow.connect((host, int(port)))
                slow.sendall(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
                quick.begin()
                [feed] = feeds
                wait_until(lambda: sum(map(len, feed._watchers.values())) == 2)
                watchers = set(feed._watchers[None])
                rounds = 0
                ids: list[int] = []
                while not any(watcher.is_behind for watcher in watchers):
                    rounds += 1
                    assert rounds < 300
                    tags = {f"tag{number}": "x" * 250 for number in range(16)}
                    add_many(server, 50, tags=tags)
                    ids += [message.json["id"] for message in quick.take(150)]
                for watcher in watchers:
                    held_back = watcher._receive.statistics().current_buffer_used
                    assert held_back <= 600
                output = b""
                while not output.endswith(b"0\r\n\r\n"):
                    piece = slow.recv(65536)
                    assert piece
                    output += piece
            parser = Parser()
            body = output.partition(b"\r\n\r\n")[2]
            messages = [m for chunk in dechunked(body) for m in parser.feed(chunk)]
            *events, last = messages
            assert last.event == "dropped"
            assert "Last-Event-ID" in last.json["detail"]
            seen = [event.json["id"] for event in events]
            assert last.last_event_id == str(seen[-1])
            with open_stream(server.url, "/events", after=last.last_event_id) as again:
                seen += [message.json["id"] for message in again.take(len(ids) - len(seen))]
            assert seen == ids

    def test_one_that_reads_nothing_is_hung_up_on(self, empty_url, feeds):
        """After the time that it has for any answer; nothing of it is left."""
        with LiveServer(database_url=empty_url, request_seconds=1.0) as server:
            with server.connect() as connection:
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                connection.send(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
                wait_until(lambda: feeds[0]._watchers)
                tags = {f"tag{number}": "x" * 250 for number in range(16)}

                def load() -> bool:
                    """Fill the buffers of the connection; then wait for the server to give up."""
                    watchers = set().union(*feeds[0]._watchers.values())
                    unread = sum(one._receive.statistics().current_buffer_used for one in watchers)
                    if watchers and not unread:
                        add_many(server, 100, tags=tags)
                    return not watchers

                wait_until(load)
            server.check_serves()

    def test_a_burst_drops_no_stream_that_is_read(self, own):
        """Thousands of events of one statement reach all streams."""
        count = 1000
        with open_stream(own.url, "/events") as stream:
            stream.begin()
            with ThreadPoolExecutor(1) as thread:
                thread.submit(add_many, own, count)
                messages = stream.take(3 * count)
        ids = [message.json["id"] for message in messages]
        assert ids == list(range(ids[0], ids[0] + 3 * count))


class TestTheEnd:
    def test_streams_of_clients_that_left_are_removed(self, own, held, feeds):
        """This holds while a stream waits and while it sends."""
        task_id = add(own, f"{held.url}/held")
        for path in ("/events", f"/tasks/{task_id}/events") * 3:
            with open_stream(own.url, path) as stream:
                stream.begin()
                assert feeds[0]._watchers
                add_many(own, 5)
            wait_until(lambda: not feeds[0]._watchers)

    def test_a_shutdown_ends_the_streams(self, empty_url, held):
        """In order, with nothing that a client would take for a place or an event."""
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(LiveServer(database_url=empty_url))
            task_id = add(server, f"{held.url}/held")
            held.wait_for("/held")
            with ThreadPoolExecutor(2) as threads, open_stream(server.url, "/events") as every:
                every.begin()
                place = every.last_event_id
                with open_stream(server.url, f"/tasks/{task_id}/events") as one:
                    one.take(1)
                    rests = [threads.submit(read_all, stream) for stream in (every, one)]
                    stack.close()
                    for rest in rests:
                        rest.result()
                assert every.parser.comments[-1] == "goodbye"
                assert int(every.last_event_id) >= int(place)


def dechunked(body: bytes) -> list[bytes]:
    """The chunks of a body in the chunked coding."""
    chunks = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        body = rest[length + 2 :]
    return chunks
