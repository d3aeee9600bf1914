"""The client on Trio and asyncio, against services on both stores, over real sockets."""

from __future__ import annotations

import datetime as dt
import socket
import uuid

import pytest

from taskflow import (
    AttemptRecord,
    BadRequest,
    Client,
    ClientError,
    ClientUnusable,
    Conflict,
    Forbidden,
    Gone,
    NotFinished,
    NotFound,
    Rejected,
    ServerError,
    Submission,
    TaskCanceled,
    TaskFailed,
    TaskStatus,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    UnexpectedResponse,
    Unprocessable,
    Unreachable,
)
from tests.api.live import LiveServer
from tests.client.loops import LOOPS, beside, current_time, in_thread, move_on_after, run, sleep
from tests.client.proxy import Proxy
from tests.service.targets import SocketServer
from tests.service.targets import Target as HeldTarget

SOON_SECONDS = 90.0


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with HeldTarget() as target:
        yield target


class Always(SocketServer):
    """A server that always sends this response."""

    def __init__(self, answer: bytes) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(listener)
        self._answer = answer
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def serve(self, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(self._answer)


class TestVerbs:
    async def test_a_task_from_its_submission_to_its_result(self, client, target):
        task = await client.submit(target.url + "/json", tags={"kind": "a"}, queue="q-1")
        assert task.status is TaskStatus.PENDING
        task = await client.wait(task.id, SOON_SECONDS)
        assert (task.status, task.queue, task.tags) == (TaskStatus.COMPLETED, "q-1", {"kind": "a"})
        result = task.raise_for_failure()
        assert (result.status_code, result.encoding) == (200, "json")
        assert result.json() == {"b": 1.5, "a": [float("inf"), "\x00"]}
        assert result.content == b'{"b": 1.50, "a": [1e400, "\\u0000"]}'
        assert await client.get(str(task.id)) == task
        [attempt] = await client.attempts(task.id)
        assert isinstance(attempt, AttemptRecord)
        assert attempt.status_code == 200

    async def test_payloads_are_plain_python(self, client):
        """Any JSON, also numbers that no other language has; and the bytes that were submitted."""
        body = {"a": [1, 2.5, None, True, "\xe9"], "b": {"c": 10**15}}
        plain = {"url": "http://x.invalid/", "body": body}
        assert (await client.submit(plain, delay_seconds=60)).payload == plain
        assert (await client.submit("text", delay_seconds=60)).payload == "text"
        document = b'{"payload": [1e400,  1.50], "delay_seconds": 60}'
        [task] = await client.submit_all([Submission.from_json(document)])
        found = await client.get(str(task.id))
        assert found.payload == [float("inf"), 1.5]
        assert found.payload_bytes == b"[1e400,  1.50]"
        long = Submission.from_json(b'{"payload": [%s], "delay_seconds": 60}' % (b"9" * 5000))
        [task] = await client.submit_all([long])
        with pytest.raises(ClientError, match="payload cannot be read"):
            _ = task.payload
        assert len(task.payload_bytes) == 5002

    async def test_results_that_are_not_json(self, client, target):
        text = await client.submit(target.url + "/text", wait_seconds=10)
        assert text.raise_for_failure().text == "h\xe9llo"
        with pytest.raises(ValueError, match="Expecting value"):
            text.raise_for_failure().json()
        binary = await client.submit(target.url + "/binary", wait_seconds=10)
        assert binary.raise_for_failure().content == b"\x89PNG\x00\xff"
        assert "PNG" in binary.raise_for_failure().text

    async def test_failures_are_raised(self, client, target):
        failed = await client.submit(target.url + "/404", wait_seconds=9.5)
        with pytest.raises(TaskFailed, match="404 Not Found") as raised:
            failed.raise_for_failure()
        assert raised.value.task.error_type == "http_status"
        again = await client.wait((await client.retry(failed.id)).id, SOON_SECONDS)
        assert again.status is TaskStatus.FAILED
        later = await client.submit(target.url, delay_seconds=3600)
        with pytest.raises(NotFinished):
            later.raise_for_failure()
        with pytest.raises(TaskCanceled):
            (await client.cancel(later.id)).raise_for_failure()
        with pytest.raises(Conflict, match="CANCELED") as refused:
            await client.cancel(later.id)
        assert refused.value.type == "/problems/status-conflict"
        await client.delete(later.id)
        with pytest.raises(NotFound):
            await client.get(later.id)

    async def test_waiting_times_out(self, client, target):
        task = await client.submit(target.url, delay_seconds=3600)
        began = current_time()
        with pytest.raises(TimeoutError) as raised:
            await client.wait(task.id, 0.3)
        assert current_time() - began > 0.25
        assert isinstance(raised.value, NotFinished)
        await client.cancel(task.id)
        assert (await client.wait(task.id)).status is TaskStatus.CANCELED
        with pytest.raises(NotFound):
            await client.wait(uuid.UUID(int=7), SOON_SECONDS)

    async def test_some_are_all_or_none(self, client):
        tasks = await client.submit_all(["no url", Submission("no url", priority=3)])
        assert [task.priority for task in tasks] == [0, 3]
        with pytest.raises(Unprocessable) as refused:
            await client.submit_all(["no url", Submission("no url", priority=1000)])
        assert [problem.pointer for problem in refused.value.errors] == ["#/1/priority"]

    async def test_submit_many(self, client, queue):
        async def items():
            for number in range(25):
                await sleep(0)
                yield (
                    None
                    if number % 10 == 7
                    else Submission("x", queue="?" * (number == 9) or queue)
                )

        reported = [one async for one in client.submit_many(items(), at_once=10)]
        assert [one.index for one in reported] == list(range(25))
        refused = {one.index: one.error for one in reported if one.task is None}
        assert list(refused) == [7, 9, 17]
        assert [problem.pointer for problem in refused[9].errors] == ["#/queue"]
        assert str(refused[7]).startswith("payload is null")
        ids = {one.task.id for one in reported if one.task}
        assert ids == {task.id async for task in client.iter_tasks(queue=queue, page=7)}
        assert [one async for one in client.submit_many([])] == []

    async def test_tasks_are_found(self, client):
        mark = uuid.uuid4().hex
        begun = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        made = await client.submit_all(
            [
                Submission(
                    f"https://h-{mark}.example/{n}", delay_seconds=3600, tags={"m": mark, "n": n}
                )
                for n in range(5)
            ]
        )
        newest_first = [task.id for task in reversed(made)]
        found = await client.list_tasks(tags={"m": mark})
        assert [task.id for task in found] == newest_first
        assert [t.id for t in await client.list_tasks(limit=2, host=f"h-{mark}.example")] == (
            newest_first[:2]
        )
        assert [t.tags["n"] for t in await client.list_tasks(tags={"m": mark, "n": 3})] == [3]
        later = await client.list_tasks(tags={"m": mark}, state=["scheduled", "held"])
        assert [task.id for task in later] == newest_first
        assert await client.list_tasks(tags={"m": mark}, state="due") == []
        assert await client.list_tasks(tags={"m": mark}, status=["FAILED", "CANCELED"]) == []
        narrow = client.iter_tasks(
            page=2, status="PENDING", url_contains=mark, created_after=begun, queue="default"
        )
        assert [task.id async for task in narrow] == newest_first
        with pytest.raises(TypeError, match="no filter 'tag'"):
            client.iter_tasks(tag="x")

    async def test_statistics(self, client):
        queue = f"stats-{uuid.uuid4().hex}"
        await client.submit("x", queue=queue, delay_seconds=3600)
        [reported] = (await client.stats(queue)).queues
        assert reported.counts[TaskStatus.PENDING] == 1
        assert (await client.stats()).total.counts[TaskStatus.PENDING] >= 1

    async def test_bulk_actions(self, client):
        queue = f"many-{uuid.uuid4().hex}"
        await client.submit_all([Submission("no url", queue=queue, delay_seconds=3600)] * 3)
        dry = await client.cancel_many(queue=queue, status=["PENDING", "RUNNING"], dry_run=True)
        assert (dry.count, dry.complete, dry.dry_run) == (3, True, True)
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        moved = await client.cancel_many(queue=queue, created_before=soon)
        assert (moved.count, moved.dry_run) == (3, False)
        assert (await client.retry_many(queue=queue, tags={"a": 1})).count == 0
        assert (await client.retry_many(queue=queue, status="CANCELED")).count == 3
        assert (await client.cancel_many(queue=queue)).count <= 3
        for task in await client.list_tasks(queue=queue):
            await client.wait(task.id, SOON_SECONDS)
        assert (await client.delete_many(queue=queue)).count == 3
        with pytest.raises(Unprocessable, match="all tasks"):
            await client.delete_many()

    async def test_options_that_there_are_not(self, client):
        with pytest.raises(TypeError, match="no option 'prio'"):
            await client.submit("x", prio=1)
        with pytest.raises(ValueError, match="badly formed"):
            await client.get("../livez")
        with pytest.raises(ValueError, match="idempotency_key"):
            await client.submit("x", idempotency_key="\r\n")

    async def test_keys_of_any_printable_text(self, client):
        key = f'order "4711" \\ {uuid.uuid4()}'
        first = await client.submit("x", delay_seconds=60, idempotency_key=key)
        assert (await client.submit("x", delay_seconds=60, idempotency_key=key)).id == first.id
        with pytest.raises(Unprocessable, match="Idempotency-Key"):
            await client.submit("y", idempotency_key=key)
        await client.cancel(first.id)
        await client.delete(first.id)
        with pytest.raises(Gone):
            await client.submit("x", delay_seconds=60, idempotency_key=key)


class TestEvents:
    async def test_of_a_task_up_to_its_end(self, client, held):
        task = await client.submit(held.url + "/held")
        async with client.iter_events(task.id) as events:
            first = await anext(events)
            held.release()
            reported = [first.status, *[event.status async for event in events]]
        assert reported[-2:] == [TaskStatus.RUNNING, TaskStatus.COMPLETED]
        # Once more: how it stands, and that is all.
        assert [e.status async for e in client.iter_events(task.id)] == [TaskStatus.COMPLETED]

    async def test_of_some_and_left_early(self, client):
        """Leaving it leaves nothing behind: no warning, and others go on."""
        mark = uuid.uuid4().hex
        async with client.iter_events(tags={"m": mark}) as events:
            task = await client.submit("x", tags={"m": mark}, queue="here")
            await client.submit("x")
            async for event in events:
                assert event.task_id == task.id
                break
        async with client.iter_events(queue="here", after=event.id) as events:
            later = [await anext(events), await anext(events)]
        assert [event.status for event in later] == [TaskStatus.RUNNING, TaskStatus.FAILED]
        with pytest.raises(ValueError, match="give its id"):
            client.iter_events(task.id, queue="here")
        with pytest.raises(NotFound):
            await anext(client.iter_events(uuid.UUID(int=7)))

    async def test_a_cut_misses_nothing(self, service):
        mark = uuid.uuid4().hex
        with Proxy(service.url) as proxy:
            async with (
                Client(service.url) as direct,
                Client(proxy.url) as client,
                client.iter_events(tags={"m": mark}) as events,
            ):
                made = [await direct.submit("x", tags={"m": mark})]
                reported = [await anext(events)]
                proxy.cut()
                made += [await direct.submit("x", tags={"m": mark}) for _ in range(3)]
                with move_on_after(SOON_SECONDS):
                    reported += [await anext(events) for _ in range(11)]
                assert events.position == reported[-1].id
            assert proxy.connections == 2
        assert [event.id for event in reported] == sorted({event.id for event in reported})
        for task in made:
            statuses = [event.status for event in reported if event.task_id == task.id]
            assert statuses == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.FAILED]


class TestTrouble:
    async def test_a_lost_response_creates_no_second_task(self, service):
        queue = f"lost-{uuid.uuid4().hex}"
        with Proxy(service.url) as proxy:
            proxy.answers_lost = 2
            async with Client(proxy.url) as client:
                task = await client.submit("x", queue=queue, delay_seconds=3600)
                proxy.answers_lost = 1
                many = client.submit_many([Submission("x", queue=queue, delay_seconds=3600)] * 5)
                reported = [one.task.id async for one in many]
                found = await client.list_tasks(queue=queue)
        assert {one.id for one in found} == {task.id, *reported}
        assert len(found) == 6

    async def test_unsafe_requests_are_not_repeated(self, service):
        with Proxy(service.url) as proxy:
            async with Client(proxy.url) as client:
                task = await client.submit("x", delay_seconds=3600)
                proxy.answers_lost = 1
                with pytest.raises(Unreachable) as raised:
                    await client.cancel(task.id)
                assert raised.value.is_sent
                assert (await client.get(task.id)).status is TaskStatus.CANCELED

    async def test_waiting_survives_a_lost_connection(self, service, held):
        with Proxy(service.url) as proxy:
            async with Client(proxy.url) as client:
                task = await client.submit(held.url + "/held")

                async def end_it():
                    await in_thread(held.wait_for, "/held")
                    proxy.cut()
                    await sleep(0.2)
                    held.release()

                async with beside(end_it):
                    ended = await client.wait(task.id, SOON_SECONDS)
        assert ended.status is TaskStatus.COMPLETED

    async def test_submit_many_survives_an_outage(self, service):
        """Going on with the same stream hands nothing in twice, and leaves nothing out."""
        queue = f"outage-{uuid.uuid4().hex}"
        with Proxy(service.url) as proxy:
            async with Client(proxy.url, timeout_seconds=2.0) as client:
                many = client.submit_many(
                    [Submission("x", queue=queue, delay_seconds=3600)] * 10, at_once=5
                )
                reported = [await anext(many) for _ in range(5)]
                proxy.answers_lost = 1000
                with pytest.raises(Unreachable):
                    await anext(many)
                proxy.answers_lost = 0
                reported += [one async for one in many]
                found = [task.id async for task in client.iter_tasks(queue=queue)]
        assert [one.index for one in reported] == list(range(10))
        assert {one.task.id for one in reported} == set(found)
        assert len(found) == 10

    async def test_an_unreachable_service(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", timeout_seconds=2.0) as client:
            with pytest.raises(Unreachable) as raised:
                await client.submit("x")
            assert not raised.value.is_sent
            with pytest.raises((Unreachable, NotFinished)):  # whichever comes first
                await client.wait(uuid.uuid4(), 0.1)

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", UnexpectedResponse),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", UnexpectedResponse),
            (
                b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
                UnexpectedResponse,
            ),
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", ServerError),
            (b"HTTP/1.1 451 No\r\nContent-Length: 0\r\n\r\n", Rejected),
            (b"* BYE\r\n\r\n", Unreachable),
        ],
    )
    async def test_a_server_that_is_not_taskflow(self, answer, error):
        with Always(answer) as other:
            async with Client(other.url, timeout_seconds=2.0) as client:
                with pytest.raises(error) as raised:
                    await client.get(uuid.UUID(int=7))
            assert type(raised.value) is error

    async def test_cancelling_closes_the_connection(self, service):
        """And the client goes on."""
        with Proxy(service.url) as proxy:
            async with Client(proxy.url) as client:
                task = await client.submit("x", delay_seconds=3600)
                with move_on_after(0.1):
                    await client.wait(task.id)
                async with client.iter_events(task.id) as events:
                    await anext(events)
                    with move_on_after(0.1):
                        await anext(events)
                    assert proxy.connections == 2
                assert (await client.cancel(task.id)).status is TaskStatus.CANCELED
            assert proxy.connections == 3


class TestErrors:
    async def test_a_closed_client_says_so(self, client):
        await client.stats()
        await client.aclose()
        with pytest.raises(ClientUnusable, match="closed"):
            await client.stats()
        with pytest.raises(ClientUnusable, match="closed"):
            await anext(client.iter_tasks())

    @pytest.mark.parametrize("loop", LOOPS)
    def test_another_event_loop(self, loop):
        """A client that a program keeps from one run to the next gets one clear error."""
        client = Client("http://127.0.0.1:1", timeout_seconds=0.001)
        for error in (Unreachable, ClientUnusable, ClientUnusable):
            with pytest.raises(ClientError) as raised:
                run(loop, client.stats)
            assert type(raised.value) is error
        assert "make one client for each" in str(raised.value)

    async def test_errors_of_the_service(self, target):
        with LiveServer(
            database_url="memory://",
            api_keys="r:read:readkey123456789012345,w:write:writekey12345678901234",
            max_body_bytes=300,
            max_array_bytes=700,
            rate_limit=0.01,
            rate_burst=30,
        ) as server:
            async with Client(server.url) as no_key:
                with pytest.raises(Unauthorized):
                    await no_key.get(uuid.UUID(int=7))
            async with Client(server.url, api_key="readkey123456789012345") as reader:
                assert await reader.list_tasks() == []
                with pytest.raises(Forbidden):
                    await reader.submit("x")
            async with Client(server.url, api_key="writekey12345678901234") as writer:
                with pytest.raises(TooLarge):
                    await writer.submit("x" * 1000)
                with pytest.raises(BadRequest):
                    await writer.submit(None)
                # Too large together: halves of it are tried.
                items = ["x" * 100] * 9 + ["y" * 800] + ["z"]
                reported = [one async for one in writer.submit_many(items)]
                assert [one.index for one in reported if one.task is None] == [9]
                assert isinstance(reported[9].error, TooLarge)
            async with Client(
                server.url, api_key="writekey12345678901234", timeout_seconds=2.0
            ) as hasty:
                with pytest.raises(TooManyRequests) as raised:
                    for _ in range(40):
                        await hasty.submit("x")
                assert raised.value.retry_after_seconds >= 1

    async def test_addresses_and_keys_that_cannot_be(self):
        for url in ("localhost:8080", "ftp://x", "http://", "http://x/?a=b"):
            with pytest.raises(ValueError, match="not the address"):
                Client(url)
        for key in ("", "a b", "\xe9", "a\n"):
            with pytest.raises(ValueError, match="api_key"):
                Client(api_key=key)


async def test_from_the_environment(monkeypatch, service):
    from taskflow.model.errors import SettingsError

    monkeypatch.delenv("TASKFLOW_URL", raising=False)
    with pytest.raises(SettingsError, match="TASKFLOW_URL"):
        Client.from_environment()
    monkeypatch.setenv("TASKFLOW_URL", service.url + "/")
    monkeypatch.setenv("TASKFLOW_API_KEY", "anything")
    async with Client.from_environment() as client:
        assert (await client.submit("x")).status is TaskStatus.PENDING
