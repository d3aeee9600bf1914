"""What is made of an answer: its head, its framing, its status and its body."""

from __future__ import annotations

import gzip
import json
import zlib

import msgspec
import pytest
import trio

from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.http1.readers import MAX_INTERIM_RESPONSES
from taskflow.model.outcome import ErrorType, Failed
from taskflow.settings import Settings
from tests.fetch.scripted import Then, answer, fetch_with, is_failure, response_of
from tests.loopback import OPEN

HELLO = answer(b'{"hello": "world"}', "Content-Type: application/json")


async def test_success(get):
    """A plain answer becomes a Response with every field, which encodes to JSON."""
    response = response_of(await get(HELLO))
    assert response.message == "fetched"
    assert bytes(response.result) == b'{"hello": "world"}'
    assert (response.status, response.status_code) == ("200 OK", 200)
    assert response.headers == {"content-type": "application/json", "content-length": "18"}
    assert (response.content_type, response.encoding) == ("application/json", "json")
    assert response.url.startswith("http://localhost:")
    assert (response.size, response.elapsed_seconds > 0) == (18, True)
    assert json.loads(msgspec.json.encode(response))["result"] == {"hello": "world"}


async def test_request_as_sent(serve, fetch):
    """Our request line and our fields go out, once each, and no length with a GET."""
    server = await serve([HELLO])
    await fetch(f"http://localhost:{server.port}/a%2fb?c=\u00e9#d", headers=(("X-A", "1"),))
    assert server.heads[0].split("\r\n") == [
        "GET /a%2fb?c=%C3%A9 HTTP/1.1",
        f"Host: localhost:{server.port}",
        "Connection: keep-alive",
        "User-Agent: TaskFlow/0.1.0",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "X-A: 1",
    ]


async def test_body_and_overrides_as_sent(serve, fetch):
    """A body goes out to the byte with its length; a task's field replaces our default."""
    server = await serve([HELLO])
    await fetch(
        f"http://localhost:{server.port}/",
        method="POST",
        headers=(("content-type", "text/plain"), ("user-agent", "mine")),
        body=b"\x00\xffbody",
    )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"\x00\xffbody"
    assert b"Content-Length: 6" in head
    assert head.lower().count(b"user-agent") == 1
    assert b"application/" not in head


async def test_post_without_body(serve, fetch):
    """A POST without a body says so (RFC 9110 section 8.6)."""
    server = await serve([HELLO])
    await fetch(f"http://localhost:{server.port}/", method="POST")
    assert "Content-Length: 0" in server.heads[0]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", (("Host", "other"),)),
        ("GET", (("Transfer-Encoding", "chunked"),)),
        ("GET", (("X", "a\r\nInjected: 1"),)),
        ("GET", (("X y", "a"),)),
        ("GET", (("X", "\udc80"),)),
        ("GE T", ()),
        ("CONNECT", ()),
    ],
)
async def test_request_that_cannot_be_sent(serve, fetch, method, headers):
    """What would break the framing of requests is refused before anything is connected to."""
    server = await serve([HELLO])
    outcome = await fetch(f"http://localhost:{server.port}/", method=method, headers=headers)
    assert is_failure(outcome, ErrorType.INVALID_URL, "invalid request: ")
    assert server.connections == 0


async def test_invalid_url(fetch):
    """A URL that cannot be fetched is an outcome; credentials in it are not taken."""
    assert is_failure(await fetch("12345"), ErrorType.INVALID_URL, "invalid url: it has no scheme")
    outcome = await fetch("http://user:password@localhost/")
    assert is_failure(outcome, ErrorType.INVALID_URL, "Authorization header")


async def test_ipv6_literal(serve, fetch):
    """An IPv6 literal is connected to and named in brackets in Host."""
    try:
        server = await serve([HELLO], host="::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    response = response_of(await fetch(f"http://[0::1]:{server.port}/"))
    assert f"Host: [::1]:{server.port}\r\n" in server.heads[0] + "\r\n"
    assert response.url == f"http://[::1]:{server.port}/"


async def test_international_host(serve, fetch, resolver):
    """An international name is resolved and sent in its ASCII form."""
    resolver.table["xn--bcher-kva.example"] = ["127.0.0.1"]
    server = await serve([HELLO])
    response_of(await fetch(f"http://B\u00fccher.example:{server.port}/"))
    assert resolver.asked == ["xn--bcher-kva.example"]
    assert f"Host: xn--bcher-kva.example:{server.port}" in server.heads[0]


async def test_interim_answers(get):
    """1xx answers before the answer are skipped, with their fields."""
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    )
    assert "link" not in response_of(await get(interim + HELLO)).headers


async def test_too_many_interim_answers(get):
    """1xx answers without end are not read without end."""
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1)
    assert is_failure(await get(interim + HELLO), ErrorType.PROTOCOL, "interim")


async def test_switching_protocols(get):
    """A 101 that nobody asked for is a protocol failure."""
    outcome = await get(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert is_failure(outcome, ErrorType.PROTOCOL)


async def test_http_1_0(get):
    """An HTTP/1.0 answer ends with the connection."""
    response = response_of(await get(b"HTTP/1.0 200 OK\r\n\r\nold and good", Then.CLOSE))
    assert response.result == "old and good"


async def test_read_until_close(get):
    """Without a length the body ends with the connection, also if no field announces it."""
    response = response_of(await get(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end", Then.CLOSE))
    assert response.result == "to the end"


async def test_chunked(get):
    """Chunks are put together; extensions and trailers are read over."""
    response = response_of(
        await get(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;ext=1\r\nfoo\r\n4\r\n bar\r\n0\r\nTrailer: x\r\n\r\n"
        )
    )
    assert (response.result, response.size) == ("foo bar", 7)


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content"])
async def test_no_body(serve, fetch, status):
    """An answer without a body is success with empty text; the connection is kept."""
    head = f"HTTP/1.1 {status}\r\n" + ("Content-Length: 0\r\n" if status[:3] == "205" else "")
    server = await serve([head.encode() + b"\r\n", HELLO])
    response = response_of(await fetch(f"http://localhost:{server.port}/"))
    assert (response.result, response.encoding, response.size) == ("", "text", 0)
    assert response.status == status
    response_of(await fetch(f"http://localhost:{server.port}/"))
    assert server.connections == 1


async def test_head(serve, fetch):
    """The length in an answer to HEAD, and its coding, announce nothing that would come."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\nContent-Encoding: br\r\n\r\n"
    server = await serve([head, HELLO])
    url = f"http://localhost:{server.port}/"
    assert response_of(await fetch(url, method="HEAD")).size == 0
    response_of(await fetch(url))
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("404 Not Found", "404 Not Found"),
        ("404 Nope", "404 Not Found"),
        ("500", "500 Internal Server Error"),
        ("599 Odd", "599 Odd"),
        ("799 \xffx\x1b[2J", "799 \xffx\\x1b[2J"),
        ("499", "499"),
    ],
)
async def test_http_error(get, status, error):
    """400 and above fail with code and phrase; a hostile phrase is made harmless."""
    outcome = await get(answer(b"no", status=status))
    assert outcome == Failed(ErrorType.HTTP_STATUS, f"http error: status: {error}", int(error[:3]))


async def test_hostile_phrase_of_success(get):
    """A phrase that is shown for success is harmless and bounded."""
    response = response_of(await get(answer(b"1", status="299 \x1b\x9b" + "x" * 5000)))
    assert response.status.startswith("299 \\x1b\\x9bxxx")
    assert len(response.status) < 200


async def test_other_3xx(get):
    """A 3xx that leads nowhere is no success, unless the task says so."""
    for status in ("300 Multiple Choices", "302 Found", "304 Not Modified"):
        outcome = await get(answer(b"", status=status))
        assert (outcome.error_type, outcome.error) == (
            ErrorType.HTTP_STATUS,
            f"http error: status: {status}",
        )
    outcome = await get(answer(b"1", status="300 Multiple Choices"), success_on=("3xx",))
    assert bytes(response_of(outcome).result) == b"1"


async def test_field_bytes_and_cookies(serve, resolver):
    """Field bytes that are not UTF-8, and cookies that are none, are kept and harm nothing."""
    fields = ("X-Raw: caf\xe9", "Set-Cookie: =;;;=", "Set-Cookie: a", "X: 1", "X: 2", "x-empty:")
    server = await serve([answer(b"1", *fields)])
    settings = Settings(**OPEN, masked_headers=())
    async with open_fetcher(settings, resolver=resolver) as fetcher:
        outcome = await fetch_with(fetcher, f"http://localhost:{server.port}/")
    headers = response_of(outcome).headers
    assert headers["x-raw"] == "caf\xe9"
    assert headers["set-cookie"] == "=;;;=\na"
    assert (headers["x"], headers["x-empty"]) == ("1, 2", "")


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"\0" * 100,
    ],
)
async def test_not_http(get, sent):
    """What is not HTTP, or breaks off, is a protocol failure and not a fault of ours."""
    assert is_failure(await get(sent, Then.CLOSE), ErrorType.PROTOCOL, "protocol error: ")


COMPLAINT_ABOUT_LENGTH = (
    "peer closed connection without sending complete message body (received 5 bytes, expected 10)"
)


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "Only Transfer-Encoding: chunked is supported",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            COMPLAINT_ABOUT_LENGTH,
        ),
        (b"HTTP/1.1 200 OK\r\nBad Name: secret: x\r\n\r\n", "illegal header line"),
        (b"HTTP/1.1 2x0 b'secret: x\r\n\r\n", "illegal status line"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx: secret",
            "malformed chunk footer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
            "illegal chunk header",
        ),
        (b"HTTP/1.1 200 OK\r\nX: y\r\nX\0: secret: x\r\n\r\n", "illegal header line"),
    ],
)
async def test_whole_complaint(serve, fetch, sent, complaint):
    """The error says what is wrong, and quotes no bytes of the response."""
    server = await serve([sent, Then.CLOSE])
    outcome = await fetch(f"http://localhost:{server.port}/")
    assert outcome.error == f"protocol error: localhost:{server.port}: {complaint}"


async def test_huge_head(get):
    """A head of a mebibyte is not read to its end."""
    head = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20 + b"\r\nContent-Length: 0\r\n\r\n"
    assert is_failure(await get(head), ErrorType.PROTOCOL)


GZIPPED = gzip.compress(b"[1, 2]", mtime=0)
RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", GZIPPED),
        ("X-GZip", GZIPPED),
        ("identity, gzip", GZIPPED),
        ("gzip", gzip.compress(b"[1,", mtime=0) + gzip.compress(b" 2]", mtime=0) + b"\0\0"),
        ("gzip, gzip", gzip.compress(GZIPPED)),
        ("gzip, x-gzip,GZIP", gzip.compress(gzip.compress(GZIPPED))),
        ("deflate, gzip", gzip.compress(zlib.compress(b"[1, 2]"))),
        ("gzip, deflate", zlib.compress(GZIPPED)),
        ("gzip, gzip", GZIPPED),
        ("gzip, gzip, gzip", gzip.compress(GZIPPED)),
        ("deflate", zlib.compress(b"[1, 2]")),
        ("deflate", RAW_DEFLATE.compress(b"[1, 2]") + RAW_DEFLATE.flush()),
        ("identity", b"[1, 2]"),
        ("", b"[1, 2]"),
    ],
)
@pytest.mark.parametrize("is_dribbled", [False, True])
async def test_content_coding(get, coding, coded, is_dribbled):
    """Codings that were asked for are undone, whole or byte by byte; size is decoded."""
    field = f"Content-Encoding: {coding}"
    if is_dribbled:
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in coded)
        head = f"HTTP/1.1 200 OK\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = head.encode() + chunks + b"0\r\n\r\n"
    else:
        sent = answer(coded, field)
    response = response_of(await get(sent))
    assert (bytes(response.result), response.size) == (b"[1, 2]", 6)


@pytest.mark.parametrize(
    ("coding", "coded", "complaint"),
    [
        ("gzip", GZIPPED[:-3], "is incomplete"),
        ("gzip", b"not gzip", "is invalid"),
        ("gzip", GZIPPED[:-8] + b"\0" * 8, "is invalid"),
        ("gzip", GZIPPED + GZIPPED[:-3], "is incomplete"),
        ("gzip, gzip", gzip.compress(GZIPPED[:-3]), "is incomplete"),
        ("gzip, gzip", gzip.compress(GZIPPED)[:-3], "is incomplete"),
        ("deflate", zlib.compress(b"x")[:-1], "is incomplete"),
        ("deflate", b"x", "is incomplete"),
        ("deflate", b"\xff\xff\xff", "is invalid"),
        ("gzip, gzip", b"junk", "is invalid"),
    ],
)
async def test_bad_content_coding(get, coding, coded, complaint):
    """A coding that cannot be undone is a protocol failure that says which."""
    outcome = await get(answer(coded, f"Content-Encoding: {coding}"))
    assert is_failure(outcome, ErrorType.PROTOCOL, complaint)


@pytest.mark.parametrize(
    ("coding", "left"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf8"),
        ("none", "none"),
        ("binary", "binary"),
        ("8bit", "8bit"),
        ("aws-chunked", "aws-chunked"),
        ("identity, none", "none"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("compress", "compress"),
        ("\xff" + "x" * 200, "\xff" + "x" * 200),
        ("gzip;q=1", "gzip;q=1"),
        ("gzip, br", "gzip, br"),
        (", ".join(["gzip"] * 5), ", ".join(["gzip"] * 5)),
    ],
)
async def test_unknown_content_coding(get, coding, left):
    """A body whose coding is unknown is kept as it came, and the result says so."""
    for body, encoding in ((b"[1, 2]", "json"), (b"text", "text"), (b"\xff\0", "base64")):
        response = response_of(await get(answer(body, f"Content-Encoding: {coding}")))
        assert (response.encoding, response.size) == (encoding, len(body))
        assert response.content_encoding == left
    response = response_of(await get(answer(b"", f"Content-Encoding: {coding}")))
    assert (response.size, response.content_encoding) == (0, msgspec.UNSET)


@pytest.mark.parametrize(
    ("coding", "coded", "left"),
    [
        ("gzip, utf-8", GZIPPED, "utf-8"),
        ("aws-chunked, gzip", GZIPPED, "aws-chunked"),
        ("br, gzip", GZIPPED, "br"),
        ("br, utf-8, deflate", zlib.compress(b"[1, 2]"), "br, utf-8"),
    ],
)
async def test_codings_beside_unknown_ones(get, coding, coded, left):
    """What can be undone is, and the result names the rest."""
    response = response_of(await get(answer(coded, f"Content-Encoding: {coding}")))
    assert (bytes(response.result), response.content_encoding) == (b"[1, 2]", left)


@pytest.mark.parametrize(
    ("coding", "coded", "dropped"),
    [
        ("gzip", GZIPPED + b"junk", 4),
        ("gzip", GZIPPED + b"\0\0junk\0", 5),
        ("gzip", GZIPPED + b"\x1f", 1),
        ("gzip", GZIPPED + b"\x1fx", 2),
        ("gzip", gzip.compress(b"[1,") + gzip.compress(b" 2]") + b"x" * 70_000, 70_000),
        ("deflate", zlib.compress(b"[1, 2]") + b"junk", 4),
        ("gzip, gzip", gzip.compress(GZIPPED + b"ab") + b"cd", 4),
    ],
)
@pytest.mark.parametrize("is_dribbled", [False, True])
async def test_junk_after_the_coded_body(get, coding, coded, dropped, is_dribbled):
    """Bytes after the end of compressed data are dropped, and the result says how many."""
    fields = (f"Content-Encoding: {coding}",)
    sent = answer(coded, *fields)
    if is_dribbled:
        pieces = [coded[start : start + 70] for start in range(0, len(coded), 70)]
        if len(coded) < 70:
            pieces = [bytes([byte]) for byte in coded]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        head = f"HTTP/1.1 200 OK\r\n{fields[0]}\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = head.encode() + chunks + b"0\r\n\r\n"
    response = response_of(await get(sent))
    assert (bytes(response.result), response.dropped_bytes) == (b"[1, 2]", dropped)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip", "br"])
@pytest.mark.parametrize(
    "sent",
    [
        "HTTP/1.1 204 No Content\r\nContent-Encoding: {}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Encoding: {}\r\nContent-Length: 9\r\n\r\n",
    ],
)
async def test_coding_of_nothing(get, coding, sent):
    """An empty body is taken, whatever its coding is said to be."""
    outcome = await get(sent.format(coding).encode(), success_on=("2xx", 304))
    response = response_of(outcome)
    assert (response.result, response.content_encoding) == ("", msgspec.UNSET)


async def test_as_large_as_is_kept(get):
    """A body of exactly the bound is kept."""
    assert response_of(await get(answer(b"x" * 100_000))).size == 100_000


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        answer(b"x" * 100_001),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx",
        CHUNKED + b"100000\r\n" + b"x" * 0x100000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 0x100000,
        answer(gzip.compress(b"\0" * 2**24), "Content-Encoding: gzip"),
        answer(zlib.compress(b"\0" * 2**24), "Content-Encoding: deflate"),
    ],
    ids=["length", "announced", "chunked", "until-close", "bomb", "deflate-bomb"],
)
async def test_too_large(get, fetcher, sent):
    """A body beyond the bound ends the fetch at the bound, decoded or not; nothing is kept."""
    assert is_failure(await get(sent), ErrorType.TOO_LARGE, "100000 bytes")
    assert (fetcher.statistics().idle, fetcher.statistics().in_use) == (0, 0)


async def test_error_with_endless_body(serve, fetch, fetcher, monkeypatch):
    """The status of an error does not wait for a body that never ends."""
    monkeypatch.setattr("taskflow.fetch.exchange.MAX_DRAIN_SECONDS", 0.01)
    server = await serve([b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nx"])
    outcome = await fetch(f"http://localhost:{server.port}/")
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "503 Service Unavailable")
    assert fetcher.statistics().idle == 0


async def test_answer_before_body_was_read(nursery, fetch):
    """An answer that comes while the request body is still going out is taken."""

    async def refuse_early(stream):
        await stream.receive_some(10)
        await stream.send_all(answer(b"", status="413 Too Much"))
        await stream.send_eof()
        while await stream.receive_some():
            pass
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, refuse_early, listeners)
    port = listeners[0].socket.getsockname()[1]
    outcome = await fetch(f"http://localhost:{port}/", method="PUT", body=b"x" * 2**21)
    assert is_failure(outcome, ErrorType.HTTP_STATUS, "413")


async def test_fault_of_ours(fetch, fetcher, monkeypatch, capsys):
    """A bug of ours is logged and becomes an outcome that tells nothing of it."""

    def burst(_request):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("taskflow.fetch.http_fetcher.first_hop", burst)
    outcome = await fetch("http://localhost/")
    assert is_failure(outcome, ErrorType.INTERNAL, "internal error")
    assert "secret" not in outcome.error
    assert "ZeroDivisionError" in "".join(capsys.readouterr())
