"""Queues, schedules, exports and results, by the client against both stores."""

from __future__ import annotations

import datetime as dt
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from taskflow import (
    BlockingClient,
    Client,
    Conflict,
    InvalidArgument,
    NotFound,
    Rejected,
    ServerError,
    Submission,
    Unauthorized,
    UnexpectedResponse,
    Unprocessable,
    Unreachable,
    __version__,
)
from taskflow.model.audit import Action, TargetKind
from taskflow.model.heartbeat_monitors import HeartbeatState
from taskflow.model.queue_limits import HostLimits, Rate
from taskflow.model.schedule import Overlap
from taskflow.model.task import TaskStatus
from tests.api.live import LiveServer
from tests.client.test_client import Always


class TestQueues:
    async def test_queues_and_schedules(self, client, queue):
        made = await client.queues.put(
            queue,
            max_concurrency=3,
            rate=Rate(5.0, 10),
            per_host=HostLimits(2, Rate(1.0, 1)),
            sign=True,
        )
        assert made.sign
        assert made.egress_proxy is None
        changed = await client.queues.update(queue, egress_proxy="http://me:it@proxy.example")
        assert changed.egress_proxy == "http://***@proxy.example"
        assert (await client.queues.update(queue, sign=None)).sign is None
        assert (made.max_concurrency, made.rate, made.paused) == (3, Rate(5.0, 10), False)
        assert made.per_host == HostLimits(2, Rate(1.0, 1))
        assert (await client.queues.pause(queue)).paused
        assert (await client.queues.get(queue)).paused
        await client.submit("x", queue=queue)
        assert (await client.queues.purge(queue)).count == 1
        assert not (await client.queues.resume(queue)).paused
        assert queue in [one.name for one in await client.queues.all()]
        nothing = await client.queues.put(queue)
        assert (nothing.rate, nothing.per_host, nothing.max_concurrency) == (None, None, None)

    async def test_invalid_values(self, client):
        with pytest.raises(NotFound):
            await client.queues.get("never-heard-of")
        for name in ("a/b", "a?b=c", "a b", "\xe9"):
            with pytest.raises(NotFound):
                await client.queues.get(name)
        for name in ("", "..", "."):
            with pytest.raises(ValueError, match="is no name"):
                await client.queues.pause(name)
        with pytest.raises(Unprocessable, match="rate must be"):
            await client.queues.put("asked", rate=-1.0)


class TestSchedules:
    async def test_from_its_making_to_its_end(self, client):
        task = Submission("http://x.invalid/", queue="by-schedule", tags={"a": 1}, delay_seconds=99)
        made = await client.schedules.put(
            "reports", task, cron="30 6 * * MON-FRI", timezone="Europe/Berlin", missed="skip"
        )
        assert (made.cron, made.timezone, made.missed) == (
            "30 6 * * MON-FRI",
            "Europe/Berlin",
            "skip",
        )
        assert made.next_run_at is not None
        assert await client.schedules.get("reports") == made
        runs = await client.schedules.next("reports", count=2)
        assert (runs.paused, runs.times[0], len(runs.times)) == (False, made.next_run_at, 2)
        with pytest.raises(Unprocessable, match="count must be a whole number from 1 to 100"):
            await client.schedules.next("reports", count=101)
        ran = await client.schedules.run("reports")
        assert (ran.schedule, ran.queue, ran.tags) == ("reports", "by-schedule", {"a": 1})
        with pytest.raises(Rejected, match="replaced"):
            await client.schedules.put("reports", "x", every_seconds=60, must_be_new=True)
        changed = await client.schedules.update("reports", overlap=Overlap.CANCEL_PREVIOUS)
        assert changed.overlap is Overlap.CANCEL_PREVIOUS
        await client.schedules.run("reports")
        assert (await client.get(ran.id)).status is TaskStatus.CANCELED
        await client.schedules.update("reports", overlap="skip")
        with pytest.raises(Conflict, match="schedule reports is PENDING or RUNNING"):
            await client.schedules.run("reports")
        other = await client.schedules.put("reports", "x", every_seconds=60, paused=True)
        assert (other.every_seconds, other.cron, other.next_run_at) == (60, None, None)
        await client.schedules.delete("reports")
        with pytest.raises(NotFound):
            await client.schedules.delete("reports")

    async def test_all_of_them_by_pages(self, client):
        names = [f"many-{n}" for n in range(5)]
        for name in names:
            await client.schedules.put(name, "x", every_seconds=3600)
        found = [one.name async for one in client.schedules.iter(page=2)]
        assert [name for name in found if name.startswith("many-")] == names
        for name in names:
            await client.schedules.delete(name)

    async def test_times_that_cannot_be(self, client):
        with pytest.raises(Unprocessable, match="cron has an invalid minute"):
            await client.schedules.put("no", "x", cron="61 * * * *")


class TestHeartbeats:
    async def test_from_its_making_to_its_end(self, client, service):
        """It is made, pinged, changed, rotated and deleted."""
        made = await client.heartbeats.put(
            "backup", cron="30 2 * * *", timezone="Europe/Berlin", grace_seconds=60, description="d"
        )
        assert (made.state, made.cron, made.description) == (HeartbeatState.NEW, "30 2 * * *", "d")
        assert await client.heartbeats.get("backup") == made
        url = service.url + urlsplit(made.ping_url).path
        async with httpx.AsyncClient() as http:
            assert (await http.post(f"{url}/3", content=b"full")).status_code == 204
        history = await client.heartbeats.history("backup")
        assert [(one.exit_code, one.note) for one in history.pings] == [(3, "full")]
        changed = await client.heartbeats.update("backup", cron=None, every_seconds=60)
        assert (changed.cron, changed.every_seconds, changed.state) == (
            None,
            60,
            HeartbeatState.DOWN,
        )
        assert (await client.heartbeats.rotate("backup")).ping_url != made.ping_url
        assert "backup" in [one.name async for one in client.heartbeats.iter(page=1)]
        with pytest.raises(Unprocessable, match="every_seconds must be"):
            await client.heartbeats.put("backup", every_seconds=1)
        await client.heartbeats.delete("backup")
        with pytest.raises(NotFound):
            await client.heartbeats.get("backup")


class TestFinding:
    async def test_some_fields_only(self, client, target, queue):
        task = await client.submit(target.url + "/json", queue=queue, wait_seconds=10)
        [found] = await client.list_tasks(queue=queue, fields=["attempt"])
        assert (found.id, found.status, found.attempt) == (task.id, TaskStatus.COMPLETED, 1)
        assert found.result is None
        assert found.queue == "default"

    async def test_an_export(self, client, queue):
        payload = '{\n"url": "http://x.invalid/",\n"body": "a\\nb"}'
        await client.submit_all([json.loads(payload)] * 7)
        document = f'{{"payload": {payload}, "queue": "{queue}"}}'
        one = Submission.from_json(document)
        reported = [submitted async for submitted in client.submit_many([one] * 250)]
        assert all(submitted.task for submitted in reported)
        lines = [line async for line in client.export(queue=queue)]
        assert len(lines) == 250
        assert all(json.loads(line)["queue"] == queue for line in lines)
        async with client.export(queue=queue, fields=["queue", "status"], limit=3) as some:
            assert [list(json.loads(line)) async for line in some] == [["status", "queue"]] * 3
        async with client.export(queue=queue) as left_early:
            await anext(left_early)

    async def test_a_result_to_be_saved(self, client, target):
        task = await client.submit(target.url + "/binary", wait_seconds=10)
        saved = await client.download(task.id)
        assert saved.content == b"\x89PNG\x00\xff"
        later = await client.submit(target.url, delay_seconds=3600)
        with pytest.raises(NotFound, match="no result"):
            await client.download(later.id)


class TestExportsThatBreakOff:
    async def test_with_a_word_why(self):
        body = b'{"id":"a"}\n{"error":{"status":503,"detail":"gone"}}\n'
        with Always(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body) as other:
            async with Client(other.url) as client, client.export() as lines:
                assert await anext(lines) == b'{"id":"a"}'
                with pytest.raises(ServerError, match="gone"):
                    await anext(lines)

    async def test_without(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"
        with Always(head + b'{"id":"a"}\n{"i') as other:
            async with Client(other.url) as client, client.export() as lines:
                assert await anext(lines) == b'{"id":"a"}'
                with pytest.raises(Unreachable):
                    await anext(lines)


class TestMonitoring:
    async def test_nodes_hosts_and_history(self, client, target):
        await client.submit(target.url + "/json", wait_seconds=10)
        [node] = await client.nodes()
        assert (node.alive, node.version) == (True, __version__)
        assert target.url.removeprefix("http://") in [one.host for one in await client.hosts()]
        minutes = await client.history()
        assert len(minutes) == 60
        assert len(await client.history("never-heard-of")) == 60


class TestWhoAnswers:
    async def test_taskflow(self, client):
        service = await client.check()
        assert service.version == __version__
        assert abs((service.date - dt.datetime.now(dt.UTC)).total_seconds()) < 60

    async def test_another_service(self):
        body = b'{"info": {"title": "Pets", "version": "1"}}'
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        with Always(answer) as other:
            async with Client(other.url) as client:
                with pytest.raises(UnexpectedResponse, match="Pets"):
                    await client.check()

    async def test_one_that_wants_a_key(self):
        with LiveServer(database_url="memory://", key="k" * 32) as server:
            async with Client(server.url) as client:
                with pytest.raises(Unauthorized):
                    await client.check()
            async with Client(server.url, api_key="k" * 32) as client:
                assert (await client.check()).version == __version__

    async def test_an_unreachable_service(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", timeout_seconds=0.2) as client:
            with pytest.raises(Unreachable):
                await client.check()


class TestSubmissionsThatAreWritten:
    async def test_what_they_say_goes_before_options(self, client):
        written = Submission.from_json('{"payload": 1.50, "priority": 3}', priority=7, queue="w")
        assert json.loads(written.document)["priority"] == 3
        assert b"1.50" in written.document
        [task] = await client.submit_all([written])
        assert (task.priority, task.queue) == (3, "w")

    @pytest.mark.parametrize("text", ["[1]", "nonsense", "", "7", b"\xff", "[" * 100_000])
    def test_invalid_arguments(self, text):
        with pytest.raises(ValueError, match="not a JSON object"):
            Submission.from_json(text)

    def test_options_that_are_none(self):
        with pytest.raises(TypeError, match="no option"):
            Submission.from_json("{}", colour="red")


def test_blocking(memory_server):
    with BlockingClient(memory_server.url) as client:
        assert client.queues.pause("blocked").paused
        assert client.schedules.put("b", "x", every_seconds=60).every_seconds == 60
        assert "b" in [one.name for one in client.schedules.iter()]
        client.schedules.delete("b")
        client.submit("x", queue="blocked", delay_seconds=3600)
        with client.export(queue="blocked", fields=["queue"]) as lines:
            assert list(lines) == [b'{"queue":"blocked"}']
        assert client.check().version == __version__


class TestAudit:
    async def test_the_audit_log(self, client, queue):
        """Entries come newest first, page by page, and filters select them."""
        since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
        for name in (f"{queue}-a", f"{queue}-b"):
            await client.queues.pause(name)
            await client.queues.resume(name)
        found = [
            one async for one in client.iter_audit(page=1, target=f"{queue}-b", at_after=since)
        ]
        assert [one.action for one in found] == [Action.QUEUE_RESUME, Action.QUEUE_PAUSE]
        assert {(one.target_kind, one.target, one.actor) for one in found} == {
            (TargetKind.QUEUE, f"{queue}-b", None)
        }
        pauses = client.iter_audit(action=Action.QUEUE_PAUSE, target_kind="queue")
        assert {one.action for one in [one async for one in pauses]} == {Action.QUEUE_PAUSE}
        assert [one async for one in client.iter_audit(actor="nobody")] == []
        assert [one async for one in client.iter_audit(at_before=since, target=f"{queue}-a")] == []

    async def test_invalid_filters(self, client):
        """The service says what is wrong with a filter; the client, with an argument."""
        with pytest.raises(Unprocessable, match="action must be one of"):
            await anext(client.iter_audit(action="moon.land"))
        with pytest.raises(InvalidArgument):
            client.iter_audit(page=0)

    def test_it_blocks(self, service):
        """The blocking client returns the same."""
        with BlockingClient(service.url) as client:
            client.queues.pause("c-log")
            [entry] = client.iter_audit(target="c-log")
        assert entry.action is Action.QUEUE_PAUSE
