"""JSON as programs write it: byte order marks, media types, charsets; and what is no UTF-8."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.api.client import check_problem, in_chunks

MARK = b"\xef\xbb\xbf"
TASK = b'{"payload": "http://a.invalid/", "delay_seconds": 86400}'
CHUNKED = {"transfer-encoding": "chunked"}
LINES = {"content-type": "application/x-ndjson"}
# Each route that reads JSON, with a body that it takes.
ROUTES = {
    ("POST", "/tasks"): TASK,
    ("POST", "/tasks/cancel"): b'{"queue": "none"}',
    ("POST", "/tasks/retry"): b'{"queue": "none"}',
    ("POST", "/tasks/delete"): b'{"queue": "none"}',
    ("PUT", "/queues/formats"): b"{}",
    (
        "PUT",
        "/schedules/formats",
    ): b'{"every_seconds": 86400, "task": {"payload": "http://a.invalid/"}}',
}
each_route = pytest.mark.parametrize(
    ("route", "body"), ROUTES.items(), ids=[" ".join(route) for route in ROUTES]
)


def summary_of(answer):
    """Of a stream, the last line."""
    assert answer.status == 200, answer
    return json.loads(answer.body.splitlines()[-1])


class TestByteOrderMark:
    @each_route
    def test_each_route(self, server, route, body):
        """It may be ignored (RFC 8259, section 8.1), and is, wherever JSON is read."""
        assert server.ask(*route, MARK + body).status in (200, 201)
        assert server.ask(*route, in_chunks(MARK + body, 1), CHUNKED).status in (200, 201)

    def test_an_array(self, server):
        """It is an array behind a mark, too, with the bound of an array."""
        body = MARK + b" [" + b",".join([TASK] * 30_000)[:-1] + b"}]"
        assert 2**20 < len(body) < 8 * 2**20
        check_problem(server.ask("POST", "/tasks", body), 422, "10000 tasks")
        assert len(server.ask("POST", "/tasks", MARK + b"[" + TASK + b"]").json) == 1

    def test_a_stream(self, server):
        """Before the first line, and before others, where files were concatenated."""
        for lines in (MARK + TASK, MARK + b"\r\n" + TASK, TASK + b"\r\n" + MARK + TASK + b"\r\n"):
            added = lines.count(b"payload")
            for size in (1, 10_000):
                answer = server.ask("POST", "/tasks", in_chunks(lines, size), LINES | CHUNKED)
                assert summary_of(answer) == {"accepted": added, "rejected": 0, "error": None}

    @pytest.mark.parametrize("body", [MARK, MARK * 2 + TASK, MARK + b"[" + MARK + TASK + b"]"])
    def test_nowhere_else(self, server, body):
        """Alone, twice or inside it is no JSON."""
        check_problem(server.ask("POST", "/tasks", body), 400)


class TestMediaTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            *("application/jsonl", "application/x-jsonlines", "application/json-lines"),
            *(
                "application/ndjson",
                "application/x-jsonl",
                "text/x-ndjson",
                "application/jsonlines",
            ),
            *("Application/JSONL; charset=UTF-8", 'application/x-ndjson;charset="utf-8"'),
        ],
    )
    def test_lines(self, server, kind):
        """All names that are in use for JSON lines, with parameters and in any case."""
        answer = server.ask("POST", "/tasks", TASK + b"\n" + TASK, {"content-type": kind})
        assert summary_of(answer)["accepted"] == 2
        head = {"accept": kind.partition(";")[0]}
        shown = server.ask("GET", "/tasks?limit=1", None, head)
        assert shown.header("content-type") == "application/x-ndjson"

    @each_route
    @pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', "latin-1", "utf-16"])
    def test_a_charset(self, server, route, body, charset):
        """It has no effect (RFC 8259, section 11): the bytes say whether they are UTF-8."""
        kind = {"content-type": f"application/json; charset={charset}"}
        assert server.ask(*route, body, kind).status in (200, 201)
        check_problem(server.ask(*route, body.replace(b"}", b"\xe9}"), kind), 400, "not UTF-8")
        check_problem(server.ask(*route, body.decode().encode("utf-16"), kind), 400, "UTF-16 text")

    @each_route
    def test_compressed(self, server, route, body):
        """415, wherever JSON is read."""
        head = {"content-encoding": "gzip"}
        check_problem(server.ask(*route, gzip.compress(body), head), 415, "compressed")


class TestOtherFormats:
    FORMATS = (
        *(("UTF-16 text", TASK.decode().encode(name)) for name in ("utf-16", "utf-16-le")),
        *(("UTF-16 text", TASK.decode().encode(name)) for name in ("utf-16-be",)),
        *(("UTF-32 text", TASK.decode().encode(name)) for name in ("utf-32", "utf-32-be")),
        ("gzip data", gzip.compress(TASK)),
        ("a zip archive or an Excel workbook", b"PK\x03\x04" + bytes(30)),
    )

    @pytest.mark.parametrize(("name", "body"), FORMATS)
    def test_a_body(self, server, name, body):
        """What it is, and what to send instead."""
        for route in ROUTES:
            check_problem(server.ask(*route, body), 400, name, "send UTF-8")

    @pytest.mark.parametrize(("name", "body"), FORMATS)
    def test_a_stream(self, server, name, body):
        """One error for all of it, not one for each line; the connection can be used again."""
        with server.connect() as connection:
            for _ in range(2):
                answer = connection.ask("POST", "/tasks", body * 3, LINES)
                [line] = answer.body.splitlines()
                error = json.loads(line)["error"]
                assert (error["status"], name in error["detail"]) == (400, True)

    def test_latin_1(self, server):
        """Bytes that are not UTF-8 are reported with their position."""
        body = '{"payload": "http://a.invalid/é"}'.encode("latin-1")
        check_problem(server.ask("POST", "/tasks", body), 400, "not UTF-8 (at byte 30)")
