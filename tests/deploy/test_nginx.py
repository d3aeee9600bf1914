"""TaskFlow behind nginx, as docs/deploy.md has it: what streams goes on streaming."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from taskflow.api.live import events as streams
from taskflow.schema.query import LONGEST_WAIT_SECONDS
from taskflow.serving.server import MAX_REQUESTS_PER_CONNECTION
from taskflow.settings import Settings
from tests.api.client import Connection, ask, check_problem, in_chunks
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.sse import open_stream
from tests.deploy.nginx import SHOWN, nginx_before
from tests.service.targets import Target

NAME = "tasks.example"
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def server(postgres_server) -> Iterator[LiveServer]:
    with (
        open_database(postgres_server) as url,
        LiveServer(database_url=url, allowed_hosts=(NAME,)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def url(server, tmp_path_factory) -> Iterator[str]:
    """Where nginx is before it."""
    with nginx_before([server.url], tmp_path_factory.mktemp("nginx")) as url:
        yield url


def add(url: str, payload: str, query: str = "") -> str:
    answer = ask(url, "POST", f"/tasks{query}", json.dumps({"payload": payload}).encode())
    assert answer.status == 201, answer
    return answer.json["id"]


def test_events_flow(url, monkeypatch):
    """Each event is there at once, while the stream stays open.

    What is held back comes with the next sign of life, and that is not awaited here.
    """
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 7200.0)
    with open_stream(url, "/events") as stream:
        stream.begin()
        for _ in range(5):
            task_id = add(url, "no url")
            last = stream.next()
            while last.json["task_id"] != task_id or last.json["status"] != "FAILED":
                last = stream.next()


def test_waiting_works_through_nginx(url):
    """A request with ``wait`` is answered when the task finishes."""
    with Target() as target, Connection(url) as connection:
        task_id = add(url, f"{target.url}/held")
        target.wait_for("/held")
        connection.send(f"GET /tasks/{task_id}?wait=60 HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        target.release()
        assert connection.read().json["status"] == "COMPLETED"


def begin_stream(connection: Connection, *fields: str, path: str = "/tasks/batch") -> None:
    head = [f"POST {path} HTTP/1.1", f"host: {NAME}", "content-type: application/x-ndjson"]
    lines = [*head, "transfer-encoding: chunked", *fields, "", ""]
    connection.send("\r\n".join(lines).encode())


@pytest.mark.parametrize("path", ["/tasks/batch", "/tasks"])
def test_a_stream_is_answered_while_it_is_sent(url, path):
    """The response to each line arrives before the next line is sent."""
    with Connection(url) as connection:
        begin_stream(connection, path=path)
        for index in range(3):
            connection.send(in_chunks(b'{"payload": "no url"}\n', 99)[:-5])
            if index == 0:
                assert connection.read_raw_head()[0] == 200
            assert json.loads(connection.read_chunk())["index"] == index
        connection.send(b"0\r\n\r\n")
        assert json.loads(connection.read_chunk())["accepted"] == 3


def test_a_long_stream_is_processed_completely(url):
    """More than there is room for on the way, as its answer waits for the end (``return=minimal``).

    Of a request whose answer has begun nginx sends no more, once it had to wait.
    """
    line = json.dumps({"payload": "no url" + "x" * 2**16, "delay_seconds": 3600}).encode() + b"\n"
    body = b"nonsense\n" + line * 320
    answer = ask(url, "POST", "/tasks/batch", body, LINES | {"prefer": "return=minimal"})
    refused, summary = [json.loads(line) for line in answer.body.splitlines()]
    assert (refused["index"], summary) == (0, {"accepted": 320, "rejected": 1, "error": None})


def test_streams_disable_buffering(server):
    """Streams have ``X-Accel-Buffering: no``, and other responses do not."""
    accept = {"accept": LINES["content-type"]}
    answers = [
        server.ask("HEAD", "/events"),
        server.ask("GET", "/tasks?fields=id", None, accept),
        server.ask("POST", "/tasks", b"", LINES),
        server.ask("GET", "/tasks?fields=id"),
    ]
    assert [one.header("x-accel-buffering") for one in answers] == ["no", "no", "no", None]


def test_pages_of_the_same_origin_are_accepted(url):
    """The proxy passes the name and port, so a page of that origin is not cross-origin."""
    host = {"host": f"{NAME}:8443", "sec-fetch-site": "same-origin"}
    for origin in (f"http://{NAME}:8443", f"https://{NAME}:8443"):
        answer = ask(url, "POST", "/tasks", b'{"payload": 1}', host | {"origin": origin})
        assert answer.status == 201
    page = ask(url, "GET", "/ui", None, {"host": f"{NAME}:8443"})
    assert (page.status, b"<!doctype html>" in page.body.lower()) == (200, True)
    foreign = host | {"origin": "https://elsewhere.example"}
    check_problem(ask(url, "POST", "/tasks", b'{"payload": 1}', foreign), 403)
    check_problem(ask(url, "GET", "/tasks", None, {"host": "rebound.example"}), 421)


def test_bodies_are_bounded_by_taskflow(url):
    """Its own answer comes, as a problem: nginx refuses none, and holds none back."""
    body = json.dumps({"payload": "x" * 2 * 2**20}).encode()
    check_problem(ask(url, "POST", "/tasks", body), 413)


def test_a_node_that_is_gone_is_passed_over(server, tmp_path):
    """While one of two is away each POST is answered by the other one."""
    with Target() as gone:
        pass
    with nginx_before([gone.url, server.url], tmp_path) as url:
        for _ in range(4):
            add(url, "no url")


def test_times_fit():
    """Connections are closed by nginx before TaskFlow does, and no answer that waits is cut."""
    times = dict(re.findall(r"^ *(\w+) +(\d+)s?;$", SHOWN.read_text("utf-8"), re.MULTILINE))
    assert int(times["keepalive_timeout"]) < Settings().keep_alive_seconds
    assert int(times["keepalive_requests"]) < MAX_REQUESTS_PER_CONNECTION
    assert int(times["proxy_read_timeout"]) > max(streams.HEARTBEAT_SECONDS, LONGEST_WAIT_SECONDS)
