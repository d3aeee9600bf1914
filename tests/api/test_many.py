"""Many tasks at once: arrays, all or nothing, and streams, which are kept as they come."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time

import pytest

from tests.api.client import check_problem, in_chunks
from tests.api.live import LiveServer

LINES = {"content-type": "application/x-ndjson"}
URL = "http://127.0.0.1:9/"


def post(server, document, headers=None):
    return server.ask("POST", "/tasks", json.dumps(document).encode(), headers)


def stream(server, body, headers=None):
    """What is answered to a stream, line by line."""
    answer = server.ask("POST", "/tasks", body, LINES | (headers or {}))
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


def count(server):
    return server.ask("GET", "/stats").json["total"]["counts"]["PENDING"]


class TestArray:
    def test_all_are_kept_in_order(self, server):
        """201 and the tasks, each with what it said."""
        tasks = [{"payload": n, "priority": n % 7, "delay_seconds": 3600} for n in range(300)]
        answer = post(server, tasks)
        assert answer.status == 201
        assert [(task["payload"], task["priority"]) for task in answer.json] == [
            (n, n % 7) for n in range(300)
        ]
        ids = [task["id"] for task in answer.json]
        assert ids == sorted(set(ids))
        assert server.show(ids[-1])["payload"] == 299

    def test_an_invalid_array_stores_nothing(self, server):
        """422 names each fault with the index of its task, and nothing is stored."""
        before = count(server)
        answer = post(
            server,
            [
                {"payload": 1, "delay_seconds": 3600},
                {"payload": None},
                7,
                {"payload": {"url": "http://x/", "verb": "GET"}, "priority": 1000},
            ],
        )
        problem = check_problem(answer, 422)
        assert [error["pointer"] for error in problem["errors"]] == [
            "#/1",
            "#/2",
            "#/3/payload/verb",
            "#/3/priority",
        ]
        assert count(server) == before

    @pytest.mark.parametrize("size", [0, 10_001])
    def test_too_few_and_too_many(self, server, size):
        """The 422 has the limit, and says how to send more."""
        check_problem(post(server, [{"payload": 1}] * size), 422, "1 to 10000", "x-ndjson")

    def test_the_most_there_may_be(self, server):
        """10,000 at once, of more than a single task may be long."""
        answer = post(server, [{"payload": "x" * 200, "delay_seconds": 3600}] * 10_000)
        assert (answer.status, len(answer.json)) == (201, 10_000)

    def test_a_body_that_is_too_long(self):
        """413 for an array, too, beyond its own bound."""
        with LiveServer(database_url="memory://", max_array_bytes=2_000_000) as server:
            assert post(server, ["x" * 1_900_000]).status == 422
            check_problem(post(server, ["x" * 2_000_000]), 413, "2000000 bytes")
            check_problem(post(server, {"payload": "x" * 1_900_000}), 413, "1048576 bytes")

    def test_white_space_has_no_end(self, memory_server):
        """A body of nothing but white space is bounded, too."""
        answer = memory_server.ask("POST", "/tasks", b" " * (2**20 + 1))
        check_problem(answer, 413)

    def test_it_may_be_repeated(self, server):
        """With a key the same array is answered with the same tasks, in order."""
        tasks = [{"payload": n, "delay_seconds": 3600} for n in range(20)]
        first, again = (post(server, tasks, {"idempotency-key": "array-1"}) for _ in range(2))
        assert (first.status, again.status) == (201, 200)
        assert again.header("idempotent-replayed") == "true"
        assert [task["id"] for task in again.json] == [task["id"] for task in first.json]

    def test_a_full_backlog(self):
        """429 if not all of them fit, and nothing is kept."""
        with LiveServer(database_url="memory://", max_pending=50) as server:
            assert post(server, [{"payload": 1, "delay_seconds": 3600}] * 30).status == 201
            check_problem(post(server, [{"payload": 1, "delay_seconds": 3600}] * 30), 429)
            assert count(server) == 30
            assert post(server, [{"payload": 1, "delay_seconds": 3600}] * 20).status == 201


class TestStream:
    def test_each_line_has_an_outcome(self, server):
        """Ids and errors by the index of the line, then a summary; blank lines do not count."""
        body = b'{"payload": 1, "delay_seconds": 9}\r\n\n  \nnonsense\n'
        body += b'{"payload": 2, "priority": 999}\n'
        added, bad, worse, last, summary = stream(
            server, body + b'{"payload": 3, "delay_seconds": 9}'
        )
        assert server.show(added["id"])["payload"] == 1
        assert server.show(last["id"])["payload"] == 3
        assert [line["index"] for line in (added, bad, worse, last)] == [0, 1, 2, 3]
        assert bad["error"]["status"] == 400
        assert worse["error"]["errors"][0]["pointer"] == "#/priority"
        assert summary == {"accepted": 2, "rejected": 2, "error": None}

    def test_nothing_but_errors(self, server):
        """``Prefer: return=minimal`` leaves out what went well."""
        body = b'{"payload": 1, "delay_seconds": 9}\n{}\n{"payload": 2, "delay_seconds": 9}\n'
        answer = server.ask("POST", "/tasks", body, LINES | {"prefer": "return=minimal"})
        assert answer.header("preference-applied") == "return=minimal"
        bad, summary = [json.loads(line) for line in answer.body.splitlines()]
        assert (bad["index"], summary["accepted"], summary["rejected"]) == (1, 2, 1)

    def test_return_minimal(self, server):
        """With ``return=minimal`` it begins when all is read, unless there is much to tell.

        Some proxies hand on no more of a request whose answer has begun.
        """
        with server.connect() as connection:
            head = f"POST /tasks HTTP/1.1\r\nhost: {connection.host}\r\nprefer: return=minimal\r\n"
            fields = "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.send((head + fields).encode() + in_chunks(b"{}\n", 99)[:-5])
            connection.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.socket.recv(1)
            connection.socket.settimeout(120)
            connection.send(
                in_chunks(b'{"payload": 1, "delay_seconds": 9}\n' + b"{}\n" * 1000, 9999)[:-5]
            )
            status, _ = connection.read_raw_head()
            first = connection.read_chunk().splitlines()
            connection.send(b"0\r\n\r\n")
            while chunk := connection.read_chunk():
                summary = json.loads(chunk.splitlines()[-1])
        assert (status, json.loads(first[1])["index"]) == (200, 2)
        assert summary == {"accepted": 1, "rejected": 1001, "error": None}

    def test_a_line_that_is_too_long(self, server):
        """It is refused, and the next one is read as ever."""
        body = b'{"payload": "' + b"x" * 2**20 + b'"}\n{"payload": 1, "delay_seconds": 9}\n'
        long, added, summary = stream(server, body)
        assert (long["error"]["status"], added["index"]) == (413, 1)
        assert summary == {"accepted": 1, "rejected": 1, "error": None}

    def test_nothing_at_all(self, server):
        """An empty stream is read to its end."""
        assert stream(server, b"") == [{"accepted": 0, "rejected": 0, "error": None}]

    def test_no_key(self, server):
        """A stream cannot be repeated as a whole."""
        answer = server.ask("POST", "/tasks", b"", LINES | {"idempotency-key": "k"})
        check_problem(answer, 422, "Idempotency-Key")

    def test_compressed(self, server):
        """415, as for a single task."""
        headers = LINES | {"content-encoding": "gzip"}
        check_problem(server.ask("POST", "/tasks", b"", headers), 415)

    def test_outcomes_are_sent_during_the_request(self, server):
        """What was answered is kept, also when its sender leaves in the middle of a line."""
        before = count(server)
        with server.connect() as connection:
            head = (
                f"POST /tasks HTTP/1.1\r\nHost: {connection.host}\r\nTransfer-Encoding: chunked\r\n"
                "Content-Type: application/x-ndjson\r\n\r\n"
            )
            connection.send(head.encode())
            for n in range(3):
                connection.send(
                    in_chunks(b'{"payload": %d, "delay_seconds": 3600}\n' % n, 100)[:-5]
                )
                if n == 0:
                    assert connection.read_raw_head()[0] == 200
                line = json.loads(connection.read_chunk())
                assert line["index"] == n
            connection.send(in_chunks(b'{"payload": 99, "delay_seconds": 3600}', 100)[:-5])
        deadline = time.monotonic() + 90
        while count(server) != before + 3:
            assert time.monotonic() < deadline
        time.sleep(0.05)
        assert count(server) == before + 3

    def test_a_client_that_reads_nothing_is_not_read_on(self, memory_server):
        """Backpressure: tasks are not taken faster than their answers are."""
        sent = 0
        with memory_server.connect() as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.socket.settimeout(1.0)
            connection.socket.sendall(
                b"POST /tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                b"Content-Type: application/x-ndjson\r\n\r\n"
            )
            part = in_chunks(b'{"payload": 1, "delay_seconds": 3600}\n' * 1000, 2**20)[:-5]
            with pytest.raises(TimeoutError):
                while sent < 50_000_000:
                    connection.socket.sendall(part)
                    sent += len(part)
        assert sent < 20_000_000

    def test_slow_senders_are_aborted(self):
        """The last line has the reason, and earlier tasks stay stored."""
        with LiveServer(database_url="memory://", request_seconds=2.0) as server:
            with server.connect() as connection:
                connection.send(
                    b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                    b"Content-Type: application/x-ndjson\r\n\r\n"
                    b'{"payload": 1, "delay_seconds": 9}\n'
                )
                answer = connection.read()
            added, summary = [json.loads(line) for line in answer.body.splitlines()]
            assert server.show(added["id"])["payload"] == 1
            assert (summary["accepted"], summary["error"]["status"]) == (1, 408)

    def test_a_full_backlog_ends_the_stream(self):
        """What does not fit any more ends the stream with a 429 in its last line."""
        with LiveServer(database_url="memory://", max_pending=50) as server:
            lines = b'{"payload": 1, "delay_seconds": 3600}\n'
            assert stream(server, lines * 50)[-1]["accepted"] == 50
            [summary] = stream(server, lines * 20)
            assert (summary["accepted"], summary["error"]["status"]) == (0, 429)

    @pytest.mark.long
    def test_forty_megabytes_in_constant_memory(self, postgres_api):
        """All of them are kept; the process grows by less than they are long."""
        lines = b'{"payload": "' + b"x" * 8000 + b'", "delay_seconds": 86400, "queue": "large"}\n'
        grown_before = memory_mib()
        answers = 0
        with postgres_api.connect() as connection:
            connection.send(
                b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                b"Content-Type: application/x-ndjson\r\n\r\n" % (len(lines) * 5_000)
            )
            sender = threading.Thread(target=send_all, args=(connection, lines * 50, 100))
            sender.start()
            assert connection.read_raw_head()[0] == 200
            while chunk := connection.read_chunk():
                answers += chunk.count(b"\n")
            sender.join()
        assert answers == 5_001
        [queue] = postgres_api.ask("GET", "/stats?queue=large").json["queues"]
        assert queue["counts"]["PENDING"] == 5_000
        assert memory_mib() - grown_before < 30


def send_all(connection, part, times):
    for _ in range(times):
        connection.socket.sendall(part)


def memory_mib():
    """The most that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
