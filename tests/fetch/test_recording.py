"""What is kept of the last response when a fetch fails."""

from __future__ import annotations

import base64
import gzip
import json

import msgspec
import pytest
import trio

from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.recording import MAX_KEPT_HEADER_BYTES, Recorder
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.settings import Settings
from tests.fetch.scripted import PATIENCE_SECONDS, Then, answer
from tests.loopback import OPEN

KEPT_BYTES = 1000
LONG = bytes(range(32, 127)) * 100
ERROR = "500 Internal Server Error"


@pytest.fixture
def settings():
    return Settings(**OPEN, max_result_bytes=50_000, max_redirects=2, failed_body_bytes=KEPT_BYTES)


@pytest.fixture
def fail(serve, fetcher):
    """Fetch from a server that plays this script, and return the failure with what was kept."""

    async def fail_script(*script, **kwargs):
        server = await serve(script)
        return await failure_of(fetcher, server, **kwargs)

    return fail_script


async def failure_of(fetcher, server, **kwargs):
    recorder = Recorder()
    request = FetchRequest(f"http://localhost:{server.port}/", recorder=recorder, **kwargs)
    with trio.fail_after(PATIENCE_SECONDS):
        failure = recorder.added_to(await fetcher.fetch(request))
    assert isinstance(failure, Failed)
    if failure.response is not None:
        json.loads(msgspec.json.encode(failure.response))
    return failure


async def test_status_header_and_body(fail):
    """All of a short response is kept, masked as results are."""
    fields = ("Content-Type: application/json", "Set-Cookie: a=b", "X-Reason: stock")
    failure = await fail(answer(b'{"fault": 1.50}', *fields, status=ERROR))
    kept = failure.response
    assert (failure.error_type, failure.status_code) == (ErrorType.HTTP_STATUS, 500)
    assert (kept.status, kept.status_code, kept.content_type) == (ERROR, 500, "application/json")
    assert kept.headers["set-cookie"] == "***"
    assert kept.headers["x-reason"] == "stock"
    assert (bytes(kept.body), kept.encoding) == (b'{"fault": 1.50}', "json")
    assert (kept.size, kept.truncated) == (15, False)
    assert kept.url.startswith("http://localhost:")


@pytest.mark.parametrize("length", [KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, 9000, 200_000])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_a_long_body_is_cut(fail, length, framing):
    """Of a longer one the beginning is kept, whatever its framing."""
    body = (LONG * 30)[:length]
    head = f"HTTP/1.1 {ERROR}\r\n"
    sent = {
        "length": f"{head}Content-Length: {length}\r\n\r\n".encode() + body,
        "chunks": f"{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n".encode()
        + body
        + b"\r\n0\r\n\r\n",
        "close": f"{head}\r\n".encode() + body,
    }[framing]
    kept = (await fail(sent, Then.CLOSE)).response
    assert kept.text == body[:KEPT_BYTES].decode()
    assert (kept.size, kept.truncated) == (min(length, KEPT_BYTES), length > KEPT_BYTES)


@pytest.mark.parametrize(
    ("body", "encoding", "kept"),
    [
        (b"\x89PNG\0\xff", "base64", base64.b64encode(b"\x89PNG\0\xff")),
        (b"a" * (KEPT_BYTES - 1) + "\u20ac".encode(), "text", b"a" * (KEPT_BYTES - 1)),
        (b"[" + b"1," * KEPT_BYTES + b"1]", "text", b"[" + b"1," * 499 + b"1"),
        (b"1" * (KEPT_BYTES + 1), "text", b"1" * KEPT_BYTES),
        (b"\x1b" * 500, "base64", base64.b64encode(b"\x1b" * 500)),
        (b"", "text", b""),
    ],
)
async def test_forms(fail, body, encoding, kept):
    """A body is text where it can be, without half a character at its end; else base64."""
    response = (await fail(answer(body, status=ERROR))).response
    assert (response.encoding, response.text) == (encoding, kept.decode())


async def test_content_codings(fail):
    """Compressed bodies are undone as far as they are kept; bombs and damaged ones do no harm."""
    coding = "Content-Encoding: gzip"
    kept = (await fail(answer(gzip.compress(b"fault"), coding, status=ERROR))).response
    assert (kept.text, kept.truncated) == ("fault", False)
    kept = (await fail(answer(gzip.compress(LONG * 50), coding, status=ERROR))).response
    assert (kept.text, kept.truncated) == (LONG[:KEPT_BYTES].decode(), True)
    kept = (await fail(answer(b"no gzip", coding, status=ERROR))).response
    assert (kept.text, kept.truncated) == ("no gzip", True)
    kept = (await fail(answer(gzip.compress(b"fault")[:-4], coding, status=ERROR))).response
    assert (kept.text, kept.truncated) == ("fault", True)
    kept = (await fail(answer(b"\x0b\x02", "Content-Encoding: br", status=ERROR))).response
    assert base64.b64decode(kept.text) == b"\x0b\x02"


async def test_a_large_header_is_cut(fail):
    """Fields beyond 16 KiB in all are left out."""
    fields = [f"X-{number}: {'x' * 1000}" for number in range(40)]
    kept = (await fail(answer(b"", *fields, status=ERROR))).response
    assert 14 < len(kept.headers) < 18
    assert sum(map(len, kept.headers.values())) < MAX_KEPT_HEADER_BYTES


@pytest.mark.parametrize(
    ("sent", "error_type", "body"),
    [
        (answer(b"x" * 50_001), ErrorType.TOO_LARGE, b"x" * KEPT_BYTES),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 60_000, ErrorType.TOO_LARGE, b"x" * KEPT_BYTES),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ErrorType.PROTOCOL, b"half"),
        (answer(b"no gzip", "Content-Encoding: gzip"), ErrorType.PROTOCOL, b"no gzip"),
        (answer(b"", "Location: ftp://x/", status="302 Found"), ErrorType.INVALID_URL, b""),
        (answer(b"", "Location: http://10.0.0.1/", status="302 Found"), ErrorType.BLOCKED, b""),
        (answer(b"", "Location: /", status="302 Found"), ErrorType.TOO_MANY_REDIRECTS, b""),
    ],
)
async def test_other_failures(serve, settings, resolver, sent, error_type, body):
    """Whatever fails after a response has begun, that is kept as far as it came."""
    narrow = msgspec.structs.replace(settings, allow_networks=("127.0.0.0/8",))
    server = await serve([sent] * 4 if b"302" in sent else [sent, Then.CLOSE])
    async with open_fetcher(narrow, resolver=resolver) as fetcher:
        failure = await failure_of(fetcher, server)
    assert (failure.error_type, failure.status_code) == (error_type, None)
    assert failure.response.text == body.decode()
    assert failure.response.truncated


async def test_the_last_response_of_a_chain(fail):
    """Of a chain of redirects the last response is kept."""
    moved = answer(b"moved", "Location: /b", status="302 Found")
    failure = await fail(moved, answer(b"gone", status="410 Gone"))
    assert (failure.response.status_code, failure.response.text) == (410, "gone")
    assert failure.response.url.endswith("/b")


async def test_nothing_came(fail):
    """Without a response nothing is kept."""
    assert (await fail(Then.DROP)).response is None
    assert (await fail(b"SSH-2.0\r\n")).response is None


async def test_no_body_is_kept(serve, settings, resolver):
    """A bound of 0 keeps status and header alone."""
    settings = msgspec.structs.replace(settings, failed_body_bytes=0)
    server = await serve([answer(b"secret", "X-A: 1", status=ERROR)])
    async with open_fetcher(settings, resolver=resolver) as fetcher:
        kept = (await failure_of(fetcher, server)).response
    assert (kept.status, kept.headers["x-a"]) == (ERROR, "1")
    assert (kept.text, kept.size) == ("", 0)


async def test_the_connection_is_kept(serve, fetcher):
    """A response of which only the beginning is kept is read to its end."""
    server = await serve([answer(LONG, status=ERROR)] * 2)
    await failure_of(fetcher, server)
    await failure_of(fetcher, server)
    assert server.connections == 1


async def test_a_body_that_never_ends(serve, fetcher, monkeypatch):
    """The beginning of a body is not waited for without end."""
    monkeypatch.setattr("taskflow.fetch.exchange.MAX_BEGINNING_SECONDS", 0.01)
    server = await serve([f"HTTP/1.1 {ERROR}\r\nContent-Length: 10\r\n\r\nx".encode()])
    kept = (await failure_of(fetcher, server)).response
    assert (kept.text, kept.truncated) == ("x", True)


async def test_cut_off_by_a_timeout(serve, fetcher):
    """What came until the timeout is kept."""
    server = await serve([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
    recorder = Recorder()
    request = FetchRequest(f"http://localhost:{server.port}/", recorder=recorder)
    with trio.move_on_after(PATIENCE_SECONDS) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.fetch, request)
            while recorder.last is None or recorder.last.body != b"half":
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    kept = recorder.added_to(Failed(ErrorType.TIMEOUT, "timeout")).response
    assert (kept.status, kept.text, kept.truncated) == ("200 OK", "half", True)


async def test_success_keeps_nothing(serve, fetcher):
    """A fetch that succeeds leaves nothing with its recorder."""
    server = await serve([answer(b"1")])
    recorder = Recorder()
    request = FetchRequest(f"http://localhost:{server.port}/", recorder=recorder)
    outcome = recorder.added_to(await fetcher.fetch(request))
    assert isinstance(outcome, Fetched)
    assert recorder.last is None
