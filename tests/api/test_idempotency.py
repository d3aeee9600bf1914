"""Idempotency-Key: the same request comes to one task, however often and wherever it is sent."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from quart_trio import QuartTrio

from taskflow.api.app import create_app
from taskflow.model.errors import StoreUnavailable
from taskflow.service import open_store
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings
from tests.api.client import Answer, Connection, ask, check_problem, request_bytes
from tests.api.live import LiveServer
from tests.service.processes import running

BODY = b'{"payload": "http://127.0.0.1:9/", "delay_seconds": 3600}'
OTHER = b'{"payload": "http://127.0.0.1:9/", "delay_seconds": 3601}'
AT_ONCE = 50


@pytest.fixture
def key() -> str:
    """One that no other test uses."""
    return f'"{uuid.uuid4()}"'


def post(server: LiveServer, key: str, body: bytes = BODY, headers=None) -> Answer:
    return server.ask("POST", "/tasks", body, {"idempotency-key": key, **(headers or {})})


def is_replay(answer: Answer) -> bool:
    """Whether it is of the first task; everything about the answer must say the same."""
    output = answer.header("idempotent-replayed")
    assert (answer.status, output) in ((200, "true"), (201, None)), answer
    return output is not None


class TestReplay:
    def test_the_same_request(self, server, key):
        """The second time it is the first task: 200, and a field that says so."""
        first = post(server, key)
        assert not is_replay(first)
        for _ in range(3):
            again = post(server, key)
            assert is_replay(again)
            assert again.json == first.json
            assert again.header("location") == first.header("location")

    def test_where_no_more_fit(self, empty_url, key):
        """A full backlog refuses what is new, not what is there already."""
        with LiveServer(database_url=empty_url, max_pending=1) as server:
            assert post(server, key).status == 201
            check_problem(post(server, f'"{uuid.uuid4()}"'), 429)
            assert is_replay(post(server, key))
            check_problem(post(server, key, OTHER), 422)

    def test_the_current_state_is_returned(self, server, key):
        """The replayed response has the current state of the task."""
        body = b'{"payload": "x:"}'
        task_id = post(server, key, body).json["id"]
        ended = server.wait(task_id)
        assert ended["status"] == "FAILED"
        again = post(server, key, body)
        assert is_replay(again)
        assert again.json == ended

    def test_another_body(self, server, key):
        """It is refused and nothing is made; the first request is known still."""
        first = post(server, key)
        for body in (OTHER, BODY + b" ", BODY.replace(b"3600", b"3600.0")):
            check_problem(post(server, key, body), 422, "used by a different request", "new key")
        assert post(server, key).json["id"] == first.json["id"]

    def test_only_the_body_is_compared(self, server, key):
        """The body counts, not the fields that a proxy or a tracer adds on a second way."""
        first = post(server, key)
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        again = post(server, key, headers={"traceparent": parent, "content-type": "text/plain"})
        assert is_replay(again)
        assert again.json == first.json

    def test_rejected_requests_are_not_recorded(self, server, key):
        """A request that made nothing may be set right, and sent again with its key."""
        check_problem(post(server, key, b'{"payload": 1, "priority": 101}'), 422, "priority")
        check_problem(post(server, key, b"{}"), 400)
        assert not is_replay(post(server, key))

    def test_without_a_key(self, server):
        """Equal requests are as many tasks."""
        ids = {server.post(BODY).json["id"] for _ in range(3)}
        assert len(ids) == 3

    def test_in_chunks(self, server, key):
        """How the body comes does not matter."""
        first = post(server, key)
        head = f"POST /tasks HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\n"
        with server.connect() as connection:
            connection.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for piece in (BODY[:7], BODY[7:]):
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
            again = connection.read()
        assert is_replay(again)
        assert again.json["id"] == first.json["id"]


class TestSyntax:
    @pytest.mark.parametrize(
        "text",
        [
            '""',
            '"',
            '"a',
            'a"',
            '"a"b',
            '"a""b"',
            '"a\\b"',
            '"a\\',
            '"é"',
            "é",
            "a b",
            '"a\tb"',
            '"a", "b"',
            '"a";b=1',
            '"' + "x" * 256 + '"',
            "x" * 256,
        ],
    )
    def test_invalid_keys(self, server, text):
        """Strings by RFC 9651, or bare without spaces; 1 to 255 characters; nothing is guessed."""
        with server.connect() as connection:
            fields = {"host": "a", "idempotency-key": text}
            connection.send(request_bytes("POST", "/tasks", BODY, fields))
            check_problem(connection.read(), 400, "Idempotency-Key must be one text of 1 to 255")

    @pytest.mark.parametrize("text", ["", " "])
    def test_an_empty_one(self, server, text):
        """An empty key is rejected, because its client relies on it."""
        check_problem(post(server, text), 400, "Idempotency-Key")

    def test_two(self, server):
        """Which of them counts?"""
        head = "POST /tasks HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\n"
        with server.connect() as connection:
            connection.send(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
            check_problem(connection.read(), 400, "Idempotency-Key must be one text")

    @pytest.mark.parametrize(
        "text", ['"a b"', '"a\\"b"', '"\\\\"', '"!#[]~\'"', "!#[]~\\'", '"x, y"', "a,b", "k;a=1"]
    )
    def test_valid_keys(self, server, text, key):
        """A string may contain all of printable ASCII."""
        unique = key.strip('"')
        text = f'"{unique}{text[1:]}' if text.startswith('"') else unique + text
        first, again = post(server, text), post(server, text)
        assert (is_replay(first), is_replay(again)) == (False, True)

    def test_the_longest(self, server, key):
        """255 characters without the quotes and what is escaped for them."""
        text = key.strip('"').ljust(255, '"').replace('"', '\\"')
        first, again = post(server, f'"{text}"'), post(server, f'"{text}"')
        assert (is_replay(first), is_replay(again)) == (False, True)

    def test_quotes_are_not_the_key(self, server, key):
        """With and without them it is the same one."""
        first = post(server, key)
        again = post(server, key.strip('"'))
        assert is_replay(again)
        assert again.json["id"] == first.json["id"]

    def test_case_is(self, server):
        """Keys that differ in it are two."""
        unique = uuid.uuid4().hex
        assert not is_replay(post(server, f'"a{unique}"'))
        assert not is_replay(post(server, f'"A{unique}"'))


class TestCallers:
    def test_each_api_key_has_its_own_idempotency_keys(self, empty_url, key):
        """Clients with different API keys cannot see or block each other's idempotency keys."""
        first, second = (
            {"authorization": "Bearer first-key-of-tests"},
            {"authorization": "Bearer second-key-of-tests"},
        )
        keys = "a:first-key-of-tests,b:second-key-of-tests"
        with LiveServer(database_url=empty_url, api_keys=keys) as server:
            one = post(server, key, headers=first)
            other = post(server, key, OTHER, headers=second)
            assert not is_replay(one)
            assert not is_replay(other)
            assert post(server, key, headers=first).json == one.json
            assert post(server, key, OTHER, headers=second).json == other.json
            check_problem(post(server, key, OTHER, headers=first), 422)

    def test_a_new_secret_is_the_same_caller(self, database_uri, key):
        """It goes by the name: a client whose key was changed may repeat what it had sent."""
        answers = []
        for secret in ("old-key-of-the-tests", "new-key-of-the-tests"):
            with LiveServer(database_url=database_uri, key=secret) as server:
                answers.append(post(server, key))
        assert [is_replay(answer) for answer in answers] == [False, True]


class TestTime:
    def test_it_is_forgotten(self, empty_url, key):
        """After the time of the setting the same request is a new one, another one is taken."""
        with LiveServer(database_url=empty_url, idempotency_seconds=3.0) as server:
            first = post(server, key)
            assert is_replay(post(server, key))
            while (second := post(server, key, OTHER)).status != 201:
                check_problem(second, 422)
                time.sleep(0.1)
            assert not is_replay(second)
            assert second.json["id"] != first.json["id"]
            assert is_replay(post(server, key, OTHER))

    def test_a_restart_changes_nothing(self, database_uri, key):
        """It is kept with the tasks."""
        answers = []
        for _ in range(2):
            with LiveServer(database_url=database_uri) as server:
                answers.append(post(server, key))
        assert [is_replay(answer) for answer in answers] == [False, True]
        assert answers[0].json == answers[1].json

    def test_a_task_that_was_deleted(self, database_uri, key):
        """The response is a 410, and the task is not created again."""
        with LiveServer(database_url=database_uri) as server:
            task_id = post(server, key).json["id"]
            with psycopg.connect(database_uri, autocommit=True) as connection:
                connection.execute("DELETE FROM taskflow_tasks WHERE id = %s", [task_id])
            check_problem(post(server, key), 410, "was deleted", "a new key")
            check_problem(post(server, key, OTHER), 422, "used by a different request")
            assert server.ask("GET", "/tasks").json == []


class TestAtOnce:
    def test_equal_posts_over_two_processes(self, database_uri, tmp_path, key):
        """Fifty at the same moment over two processes on one database make one task."""
        with two_processes(database_uri, tmp_path) as urls:
            answers = all_at_once([(urls[n % 2], request_of(key, BODY)) for n in range(AT_ONCE)])
            assert Counter(is_replay(answer) for answer in answers) == {False: 1, True: 49}
            assert len({answer.json["id"] for answer in answers}) == 1
            for url in urls:
                assert len(ask(url, "GET", "/tasks").json) == 1

    def test_two_requests_with_one_key(self, database_uri, tmp_path, key):
        """One of them is taken, whichever it is; of the other nothing is made anywhere."""
        with two_processes(database_uri, tmp_path) as urls:
            answers = all_at_once(
                [
                    (urls[n % 2], request_of(key, OTHER if n % 4 < 2 else BODY))
                    for n in range(AT_ONCE)
                ]
            )
            statuses = Counter(answer.status for answer in answers)
            assert statuses[201] == 1
            assert statuses[200] + 1 in (24, 26)
            assert statuses[422] in (24, 26)
            assert len(ask(urls[0], "GET", "/tasks").json) == 1

    def test_many_keys_in_different_orders(self, database_uri, tmp_path):
        """Batches of the same keys the other way round on the other node: each makes one task."""
        run = uuid.uuid4().hex
        keys = [f'"{run} {n}"' for n in range(AT_ONCE)]
        with two_processes(database_uri, tmp_path) as urls:
            for turn in range(4):
                texts = [key[:-1] + f' {turn}"' for key in keys]
                requests = [(urls[0], request_of(text, BODY)) for text in texts]
                requests += [(urls[1], request_of(text, BODY)) for text in reversed(texts)]
                answers = all_at_once(requests)
                assert Counter(map(is_replay, answers)) == {False: AT_ONCE, True: AT_ONCE}
                assert len({answer.json["id"] for answer in answers}) == AT_ONCE
            assert len(ask(urls[0], "GET", "/tasks?limit=1000").json) == 4 * AT_ONCE

    def test_in_one_process(self, server, key):
        """They share a statement, or wait for the same row."""
        answers = all_at_once([(server.url, request_of(key, BODY))] * AT_ONCE)
        assert Counter(map(is_replay, answers)) == {False: 1, True: AT_ONCE - 1}
        assert len({answer.json["id"] for answer in answers}) == 1


class TestOutages:
    def test_cut_off_in_the_statement(self, database_uri, key):
        """The server process ends while it stores the task: nothing was made, the key is free."""
        with (
            LiveServer(database_url=database_uri) as server,
            psycopg.connect(database_uri, autocommit=True) as connection,
        ):
            connection.execute(CUT_OFF)
            lost = post(server, key)
            check_problem(lost, 503, "try again shortly")
            assert lost.header("retry-after")
            connection.execute("DROP TRIGGER cut_off ON taskflow_idempotency_keys")
            answers = [post_until_taken(server, key) for _ in range(2)]
            assert [is_replay(answer) for answer in answers] == [False, True]
            assert len(server.ask("GET", "/tasks").json) == 1

    def test_a_lost_response(self, empty_url, key):
        """If the response was lost, the repeated request returns the task that was created."""
        with LiveServer(database_url=empty_url, open_app=open_app_that_loses_an_answer) as server:
            check_problem(post(server, key), 503, "try again shortly")
            [made] = server.ask("GET", "/tasks").json
            for _ in range(2):
                again = post(server, key)
                assert is_replay(again)
                assert again.json == made
            check_problem(post(server, key, OTHER), 422)

    def test_a_client_that_disconnects(self, server, key):
        """It gets the response when it repeats the request."""
        for turn in range(10):
            text = f'"{key[1:-1]} {turn}"'
            with server.connect() as connection:
                connection.send(request_of(text, BODY))
                connection.socket.shutdown(socket.SHUT_RDWR)
            first, again = post(server, text), post(server, text)
            assert is_replay(again)
            assert first.json["id"] == again.json["id"]


# The server process ends in the statement that stores a task, as if it had crashed.
CUT_OFF = """
CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN NULL;
END $$;
CREATE TRIGGER cut_off AFTER INSERT ON taskflow_idempotency_keys
FOR EACH ROW EXECUTE FUNCTION cut_off();
"""


@contextlib.asynccontextmanager
async def open_app_that_loses_an_answer(
    settings: Settings, shutdown: Shutdown
) -> AsyncIterator[QuartTrio]:
    """An app whose store works, but loses the first response."""
    async with open_store(settings) as store:
        add_once, losses = store.add_once, [StoreUnavailable()]

        async def lose(tasks, key):
            added = await add_once(tasks, key)
            if losses:
                raise losses.pop()
            return added

        store.add_once = lose
        yield create_app(store, settings, lambda: True)


@contextlib.contextmanager
def two_processes(database_url: str, folder: Path) -> Iterator[list[str]]:
    """The addresses of two ``taskflow serve`` on one database."""
    with (
        running("serve", folder, DATABASE_URL=database_url) as first,
        running("serve", folder, DATABASE_URL=database_url) as second,
    ):
        yield [first.url, second.url]


def request_of(key: str, body: bytes) -> bytes:
    """A whole POST."""
    return request_bytes("POST", "/tasks", body, {"host": "localhost", "idempotency-key": key})


def all_at_once(requests: list[tuple[str, bytes]]) -> list[Answer]:
    """The answers to requests that are sent when all connections are there, bar the last byte."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(requests)) as threads:
        connections = [stack.enter_context(Connection(url)) for url, _ in requests]
        for connection, (_, request) in zip(connections, requests, strict=True):
            connection.send(request[:-1])
        for connection, (_, request) in zip(connections, requests, strict=True):
            connection.send(request[-1:])
        return list(threads.map(Connection.read, connections))


def post_until_taken(server: LiveServer, key: str, seconds: float = 120.0) -> Answer:
    """POST until the response is not a 503, as a client does."""
    deadline = time.monotonic() + seconds
    while (answer := post(server, key)).status == 503:
        assert time.monotonic() < deadline, answer
    return answer
