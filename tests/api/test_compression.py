"""Answers are compressed for clients that accept gzip, whole ones and streams as they come."""

from __future__ import annotations

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
import trio.testing

from taskflow.api import compression
from taskflow.api.compression import MIN_BYTES, PIECE_BYTES, Compressing, accepts_gzip
from taskflow.service import MEMORY_URL
from tests.api.client import Answer
from tests.api.live import LiveServer

IDENTITY = {"accept-encoding": "identity"}
GZIP = {"accept-encoding": "gzip"}
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def server():
    """A server with 50 tasks in it."""
    with LiveServer(database_url=MEMORY_URL) as server:
        tasks = [{"payload": f"http://x.invalid/{n}", "delay_seconds": 3600} for n in range(50)]
        assert server.ask("POST", "/tasks", json.dumps(tasks).encode()).status == 201
        yield server


def plain_of(answer: Answer) -> bytes:
    assert answer.header("content-encoding") == "gzip"
    return gzip.decompress(answer.body)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ("GZIP;Q=0.5", True),
        ("gzip, deflate, br, zstd", True),
        ("*", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("identity;q=0, gzip", True),
        ("gzip ; q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("gzip;q=x", False),
        ("br", False),
        ("gzipped", False),
    ],
)
def test_accept_encoding(server, field, expected):
    """Weights count; an invalid header accepts nothing."""
    assert accepts_gzip(field) is expected
    answer = server.ask("GET", "/tasks", None, {"accept-encoding": field})
    assert answer.header("content-encoding") == ("gzip" if expected else None)
    assert answer.header("vary") == "Accept-Encoding"


@pytest.mark.parametrize(
    "path", ["/tasks", "/openapi.json", "/docs", "/problems", "/metrics", "/ui/assets/taskflow.css"]
)
def test_complete_responses(server, path):
    """The decompressed body is unchanged, Content-Length is right, and HEAD agrees."""
    plain = server.ask("GET", path)
    assert len(plain.body) > MIN_BYTES
    assert plain.header("content-encoding") is None
    packed = server.ask("GET", path, None, GZIP)
    unpacked = plain_of(packed)
    if path != "/metrics":
        assert unpacked == plain.body
    assert int(packed.header("content-length")) == len(packed.body) < len(plain.body) / 2
    assert packed.header("content-type") == plain.header("content-type")
    head = server.ask("HEAD", path, None, GZIP)
    assert head.body == b""
    framing = {"content-length", "transfer-encoding", "date"}
    names = [{name for name, _ in one.fields} - framing for one in (head, packed)]
    assert names[0] == names[1]


def test_small_responses_are_not_compressed(server):
    """Responses below the threshold, errors, and responses without a body."""
    task = server.ask("GET", "/tasks?limit=1").json[0]
    for method, path in (
        ("GET", f"/tasks/{task['id']}?fields=id"),
        ("GET", "/livez"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/tasks"),
    ):
        answer = server.ask(method, path, None, GZIP)
        assert answer.header("content-encoding") is None
        assert (answer.header("vary") is None) == (answer.header("etag") is None)


def test_streams_are_flushed(server):
    """Each part can be read when it has come, and all of it is one gzip file."""
    with server.connect() as connection:
        connection.send(
            b"GET /tasks HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n"
            b"accept-encoding: gzip\r\n\r\n"
        )
        status, fields = connection.read_raw_head()
        assert (status, dict(fields)["content-encoding"]) == (200, "gzip")
        assert "content-length" not in dict(fields)
        reader, first = zlib.decompressobj(31), b""
        while b"\n" not in first:
            first += reader.decompress(connection.read_chunk())
        rest = b""
        while chunk := connection.read_chunk():
            rest += reader.decompress(chunk)
        assert reader.eof
    lines = (first + rest).splitlines()
    assert len([json.loads(line) for line in lines]) == 50


def test_a_stream_of_new_tasks(server):
    """Lines are answered while the next ones are still to be sent."""
    with server.connect() as connection:
        connection.send(
            b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
            b"accept-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        line = b'{"payload": 1, "delay_seconds": 3600, "queue": "other"}\n'
        reader, answered = zlib.decompressobj(31), b""
        for count in (1, 2):
            connection.send(b"%x\r\n%b\r\n" % (len(line), line))
            if count == 1:
                assert dict(connection.read_raw_head()[1])["content-encoding"] == "gzip"
            while answered.count(b"\n") < count:
                answered += reader.decompress(connection.read_chunk())
        connection.send(b"0\r\n\r\n")
        while chunk := connection.read_chunk():
            answered += reader.decompress(chunk)
    assert json.loads(answered.splitlines()[-1])["accepted"] == 2


def test_validators(server):
    """A compressed answer has a weak ETag, by which the task is known in either coding."""
    tags = {"big": "x" * 200, "bigger": "y" * 256, "more": "z" * 256, "most": "w" * 256}
    body = json.dumps(
        {"payload": "x", "delay_seconds": 3600, "queue": "kept", "tags": tags}
    ).encode()
    path = f"/tasks/{server.ask('POST', '/tasks', body).json['id']}"
    plain, packed = server.ask("GET", path), server.ask("GET", path, None, GZIP)
    assert plain_of(packed) == plain.body
    tag = plain.header("etag")
    assert tag.startswith('"')
    assert packed.header("etag") == f"W/{tag}"
    assert packed.header("vary") == "Accept-Encoding"
    for known in (tag, f"W/{tag}", "*", f'"other", W/{tag}', f'W/"other",{tag},"x"'):
        for method in ("GET", "HEAD"):
            for accepted, expected in ((IDENTITY, tag), (GZIP, f"W/{tag}")):
                answer = server.ask(method, path, None, {"if-none-match": known, **accepted})
                assert (answer.status, answer.body) == (304, b"")
                assert answer.header("etag") == expected
                assert answer.header("content-encoding") is None
                assert answer.header("vary") == "Accept-Encoding"  # as the 200 has
    for unknown in ('"other"', f'W/"other", "{tag}"', "", '"'):
        answer = server.ask("GET", path, None, {"if-none-match": unknown, **GZIP})
        assert (answer.status, answer.header("etag")) == (200, f"W/{tag}"), unknown


def test_validators_of_a_change(server):
    """With the tag of a compressed response: 304 until the task changes, then 200 at once."""
    task_id = server.ask("POST", "/tasks", b'{"payload":"x","delay_seconds":3600}').json["id"]
    path = f"/tasks/{task_id}"
    tag = server.ask("GET", path, None, GZIP).header("etag")
    assert tag.startswith("W/")
    known = {**GZIP, "if-none-match": tag}
    assert server.ask("GET", path, None, known).status == 304
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(server.ask, "GET", f"{path}?wait=60", None, known)
        server.ask("POST", f"/tasks/{task_id}/cancel")
        answer = waiting.result()
    assert (answer.status, answer.json["status"]) == (200, "CANCELED")
    assert answer.header("etag") != tag
    small = server.ask("GET", f"/tasks/{task_id}?fields=id", None, GZIP)
    assert small.header("content-encoding") is None
    assert small.header("vary") == "Accept-Encoding"  # its tag depends on it


def test_responses_that_are_never_compressed(server):
    """Pages of the dashboard (BREACH), and event streams."""
    for path in ("/ui", "/ui/tasks", "/ui/submit", "/ui/docs"):
        answer = server.ask("GET", path, None, {**GZIP, "accept": "text/html"})
        assert answer.status == 200
        assert answer.header("content-encoding") is None
    with server.connect() as connection:
        connection.send(b"GET /events HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n")
        assert "content-encoding" not in dict(connection.read_raw_head()[1])


async def ask(app, *, content_type: bytes, body: bytes, fields=()) -> list[dict]:
    """The messages of an answer that an app gives to a client that accepts gzip."""

    async def inner(scope, receive, send):
        length = (b"content-length", b"%d" % len(body))
        headers = [(b"content-type", content_type), length, *fields]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/tasks/1/result",
        "headers": [(b"accept-encoding", b"gzip")],
    }
    await app(inner)(scope, None, send)
    return sent


@pytest.mark.parametrize(
    ("content_type", "is_compressed"),
    [
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"application/x-ndjson", True),
        (b"application/vnd.api+json; charset=utf-8", True),
        (b"text/html; charset=utf-8", True),
        (b"TEXT/CSV", True),
        (b"image/svg+xml", True),
        (b"text/event-stream", False),
        (b"image/png", False),
        (b"image/jpeg", False),
        (b"video/mp4", False),
        (b"application/zip", False),
        (b"application/gzip", False),
        (b"application/octet-stream", False),
        (b"font/woff2", False),
        (b"", False),
    ],
)
async def test_by_media_type(content_type, is_compressed):
    """Results have the media types of their targets; compressed types are sent unchanged."""
    start, *parts = await ask(Compressing, content_type=content_type, body=b"a" * 5000)
    head = dict(start["headers"])
    assert (b"content-encoding" in head) is is_compressed
    assert int(head[b"content-length"]) == sum(len(part["body"]) for part in parts)
    coded = [(b"content-encoding", b"br")]
    start, *_ = await ask(Compressing, content_type=content_type, body=b"a" * 5000, fields=coded)
    assert dict(start["headers"])[b"content-encoding"] == b"br"


@pytest.mark.parametrize(("size", "is_compressed"), [(MIN_BYTES - 1, False), (MIN_BYTES, True)])
async def test_the_threshold(size, is_compressed):
    """Below it an answer goes out as it is."""
    start, *_ = await ask(Compressing, content_type=b"text/plain", body=b"a" * size)
    assert (b"content-encoding" in dict(start["headers"])) is is_compressed


async def test_compression_yields_to_other_requests(monkeypatch):
    """There is a checkpoint after each piece: others run between pieces."""
    turns = 0
    is_over = False

    async def others():
        nonlocal turns
        while not is_over:
            turns += 1
            await trio.lowlevel.checkpoint()

    pieces = 40
    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        body = b'{"id": 12345}' * (PIECE_BYTES * pieces // 13)
        _, *parts = await ask(Compressing, content_type=b"application/json", body=body)
        is_over = True
    assert turns >= pieces // 2
    assert gzip.decompress(b"".join(part["body"] for part in parts)) == body


async def test_requests_without_compression_cost_nothing(monkeypatch):
    """The app is called directly, with the send function of the server."""
    called = []

    async def app(scope, receive, send):
        called.append(send)

    monkeypatch.setattr(compression, "_Response", None)

    async def send(message):
        raise AssertionError

    await Compressing(app)({"type": "http", "headers": []}, None, send)
    await Compressing(app)({"type": "lifespan"}, None, send)
    assert called == [send, send]
