"""Conformance of stores: callbacks of finished tasks."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
import trio

from taskflow.model import callback
from taskflow.model.callback import CALLBACK_QUEUE, RETRY_ON
from taskflow.model.completion import Completion, CompletionMode
from taskflow.model.filter import TaskFilter
from taskflow.model.options import (
    NO_OPTIONS,
    WEBHOOK_ATTEMPTS,
    WEBHOOK_SECONDS,
    StoredBackoff,
    TaskOptions,
)
from taskflow.model.order_keys import OnFailure
from taskflow.model.task import IdempotencyKey, NewTask, Task, TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task, released

URL = 'https://shop.example/done?a="%20\\'
OPTIONS = TaskOptions(callback_url=URL, callback_host="shop.example")
ENDS = ("completed", "failed", "canceled", "canceled_running", "canceled_many", "expired", "poison")


def told(**fields: object) -> NewTask:
    """Return a task with a callback."""
    return new_task(options=OPTIONS, **fields)


def request_of(task: Task) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(bytes(task.payload), type=dict[str, msgspec.Raw])


class CallbacksContract(StoreContract):
    """The conformance suite of callbacks."""

    async def end(self, store: TaskStore, how: str, **fields: object) -> Task:
        """Finish a task in this way, and return it."""
        if how == "expired":
            fields["expires_at"] = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
        [task] = await store.add([told(**fields)])
        await getattr(self, f"_end_as_{how}")(store, task.id)
        ended = await store.get(task.id)
        assert ended is not None
        assert ended.status.is_final
        return ended

    async def _end_as_completed(self, store, _):
        node = await store.register("here", lease_seconds=30)
        await store.settle([completed(await self.claim_one(store, node))])

    async def _end_as_failed(self, store, _):
        node = await store.register("here", lease_seconds=30)
        await store.settle([failed(await self.claim_one(store, node))])

    async def _end_as_canceled(self, store, task_id):
        await store.cancel(task_id)

    async def _end_as_canceled_running(self, store, task_id):
        node = await store.register("here", lease_seconds=30)
        await self.claim_one(store, node)
        await store.cancel(task_id)

    async def _end_as_canceled_many(self, store, task_id):
        assert await store.cancel_many([task_id]) == {task_id}

    async def _end_as_expired(self, store, _):
        assert await store.expire(limit=9) == 1

    async def _end_as_poison(self, store, _):
        await self.claim_and_die(store)
        await self.rescued(store, max_rescues=1)

    async def callback_of(self, store: TaskStore, ended: Task) -> Task:
        """Return the callback of a task."""
        assert ended.callback_id is not None
        found = await store.get(ended.callback_id)
        assert found is not None
        return found

    async def callbacks(self, store: TaskStore) -> list[Task]:
        tasks = (await store.page(limit=100)).tasks
        return [task for task in tasks if task.callback_of is not None]

    @pytest.mark.parametrize("how", ENDS)
    async def test_every_outcome_has_one_callback(self, store, how):
        """Whichever way it ends, a task is there that sends it, as it is shown from then on."""
        ended = await self.end(store, how)
        [told_by] = await self.callbacks(store)
        assert told_by == await self.callback_of(store, ended)
        assert (told_by.status, told_by.callback_of) == (TaskStatus.PENDING, ended.id)
        request = request_of(told_by)
        assert bytes(request.pop("body")) == msgspec.json.encode(ended)
        assert request == msgspec.json.decode(
            msgspec.json.encode(
                {
                    "url": URL,
                    "method": "POST",
                    "headers": {"Content-Type": "application/json"},
                    "follow_redirects": False,
                }
            ),
            type=dict[str, msgspec.Raw],
        )

    @pytest.mark.parametrize(
        "fields",
        [
            {"payload": '{"a" :  [1.50, 1e400, -0.0], "\\u0000": "\\ud83d\\ude00 é \\/"}'},
            {"tags": {"team": 'b"\\/é\U0001f600', "n": -(2**53) + 1, "b": True}, "queue": "mail"},
            {"priority": -7, "max_attempts": 4, "retention_seconds": 60.0},
            {"retention_seconds": 12.5, "expires_at": dt.datetime.max.replace(tzinfo=dt.UTC)},
            {"expires_at": dt.datetime(2222, 2, 2, 2, 2, 2, tzinfo=dt.UTC)},
            {"payload": "[" * 500 + "]" * 500},
            {"order_key": 'a "\\é', "on_failure": OnFailure.HOLD},
        ],
    )
    async def test_the_body_is_the_task_to_the_byte(self, store, node, fields):
        """Numbers, escapes, times and the order of keys equal the response to a GET."""
        [task] = await store.add([told(**fields)])
        await store.promote()
        claim = await self.claim_one(store, node)
        await store.settle([completed(claim, b'{"b":1e400, "a":"\\u0000"}')])
        ended = await store.get(task.id)
        request = request_of(await self.callback_of(store, ended))
        assert bytes(request["body"]) == msgspec.json.encode(ended)

    @pytest.mark.parametrize(
        "options",
        [
            {"backoff": StoredBackoff(), "retry_on": (), "success_on": ("4xx", 200)},
            {
                "backoff": StoredBackoff(0.5, 3.0, 9.0),
                "retry_on": (404, "5xx"),
            },
            {"backoff": (0.0, 1.5), "sign": True},
            {"sign": False, "credential": "billing"},
            {"completion": Completion(CompletionMode.CALLBACK, 3600.0)},
            {"completion": Completion(CompletionMode.POLL, 1.1 + 2.2)},
        ],
    )
    async def test_the_body_has_the_options_of_the_task(self, store, node, options):
        """The body has the options of the task as they are shown, and the error of a failure."""
        options = msgspec.structs.replace(OPTIONS, **options)
        [task] = await store.add([new_task(options=options)])
        ending = failed(await self.claim_one(store, node))
        ending = msgspec.structs.replace(ending, error='\x01 "é\\ \t\x7f\u2028')
        await store.settle([ending])
        ended = await store.get(task.id)
        request = request_of(await self.callback_of(store, ended))
        assert bytes(request["body"]) == msgspec.json.encode(ended)

    async def test_a_task_that_was_never_due(self, store):
        """It was canceled before its turn: it has no due time, in the body and in the response."""
        _, task = await store.add([told(order_key="a", on_failure=OnFailure.CONTINUE)] * 2)
        canceled = await store.cancel(task.id)
        request = request_of(await self.callback_of(store, canceled))
        assert bytes(request["body"]) == msgspec.json.encode(canceled)
        assert canceled.run_at is None

    async def test_how_a_callback_is_run(self, store, node):
        """A callback has its own retries, its parent's trace and retention, and no callback."""
        trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": 'a="1'}
        options = msgspec.structs.replace(OPTIONS, **trace)
        [task] = await store.add(
            [
                new_task(
                    options=options, queue="mail", priority=9, tags={"a": 1}, retention_seconds=7.0
                )
            ]
        )
        await store.cancel(task.id)
        [claim] = await store.claim(node, limit=9)
        made = await store.get(claim.task_id)
        assert claim.options == TaskOptions(
            backoff=WEBHOOK_SECONDS, retry_on=RETRY_ON, callback_of=task.id, **trace
        )
        assert (claim.attempt, claim.max_attempts) == (1, WEBHOOK_ATTEMPTS)
        assert (made.queue, made.priority, made.tags) == (CALLBACK_QUEUE, 0, {})
        assert (made.retention_seconds, made.callback_url, made.callback_id) == (7.0, None, None)
        assert made.run_at == made.created_at
        await store.settle([completed(claim)])
        assert await self.callbacks(store) == [await store.get(claim.task_id)]
        assert (await store.get(claim.task_id)).callback_id is None

    async def test_a_callback_is_found_by_its_host(self, store):
        """A callback has the host of its URL and its size, so that pages are bounded."""
        await self.end(store, "canceled", payload='"' + "x" * 100_000 + '"')
        wanted = TaskFilter(host="shop.example")
        [found] = (await store.page(limit=9, filter=wanted)).tasks
        assert found.callback_of is not None

    async def test_a_retried_task_has_another_callback(self, store, node):
        """The callback of the end before stays as it is; the task names the newest one."""
        first = await self.end(store, "canceled")
        again = await store.retry(first.id)
        assert again.callback_id == first.callback_id
        assert len(await self.callbacks(store)) == 1
        claims = await store.claim(node, limit=9)
        await store.settle([failed(c) for c in claims if c.task_id == first.id])
        second = await store.get(first.id)
        assert {task.id for task in await self.callbacks(store)} == {
            first.callback_id,
            second.callback_id,
        }
        assert second.callback_id > first.callback_id

    async def test_unfinished_tasks_have_no_callback(self, store, node):
        """Retries, releases and rescues make no callback, nor does a write that comes too late."""
        [task] = await store.add([told(max_attempts=3)])
        claim = await self.claim_one(store, node)
        await store.release([released(claim)])
        await self.claim_and_die(store)
        await self.rescued(store)
        await store.settle([completed(claim)])
        assert await self.callbacks(store) == []
        assert (await store.get(task.id)).callback_id is None

    async def test_without_callback_url_there_is_no_callback(self, store, node):
        """Tasks with other options only have no callback."""
        for options in (NO_OPTIONS, TaskOptions(retry_on=(404,))):
            await store.add([new_task(options=options)])
            await store.settle([completed(await self.claim_one(store, node))])
        assert await self.callbacks(store) == []

    async def test_tasks_that_finish_together_have_a_callback_each(self, store, node):
        """Each task has its own, whatever tasks finished with it."""
        tasks = await store.add([told() for _ in range(20)] + [new_task() for _ in range(20)])
        claims = await store.claim(node, limit=40)
        await store.settle([completed(claim) for claim in claims])
        ended = {task.id: task for task in await store.get_many([task.id for task in tasks])}
        callbacks = await self.callbacks(store)
        assert len(callbacks) == 20
        assert {task.callback_of for task in callbacks} == {task.id for task in tasks[:20]}
        for task in callbacks:
            body = bytes(request_of(task)["body"])
            assert body == msgspec.json.encode(ended[task.callback_of])

    async def test_callbacks_are_counted_and_seen(self, store, node):
        """The counts and the events have them as any other task."""
        position = await store.record_events()
        ended = await self.end(store, "completed")
        [line] = (await store.count(limit=9, queue=CALLBACK_QUEUE)).queues
        assert line.counts[TaskStatus.PENDING] == 1
        assert line.oldest_waiting_seconds is not None
        page = await store.events_after(position, limit=99)
        seen = [(event.task_id, event.status) for event in page.events]
        assert (ended.callback_id, TaskStatus.PENDING) in seen
        assert (ended.id, TaskStatus.COMPLETED) in seen
        assert page.is_complete

    async def test_a_callback_wakes_waiting_nodes(self, store, node):
        """Nodes that wait for work are woken when a task finishes, also the one that ran it."""
        [task] = await store.add([told()])
        claim = await self.claim_one(store, node)
        with trio.fail_after(90):
            with trio.move_on_after(0.2):
                while True:  # what rang before
                    await store.wait_for_work()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.wait_for_work)
                await store.settle([completed(claim)])
        [claim] = await store.claim(node, limit=1)
        assert claim.options.callback_of == task.id

    async def test_an_idempotency_key_returns_the_parent(self, store):
        """A repeated request is answered with the task that it made, not with its callback."""
        key = IdempotencyKey("one", b"{}".ljust(32), 3600.0)
        [task] = (await store.add_once([told()], key)).tasks
        await store.cancel(task.id)
        again = await store.add_once([told()], key)
        assert again.tasks == [await store.get(task.id)]
        assert len(await self.callbacks(store)) == 1

    async def test_a_callback_outlives_its_parent(self, store, node):
        """The callback is sent even if its parent is deleted."""
        ended = await self.end(store, "canceled")
        assert await store.delete(ended.id)
        [claim] = await store.claim(node, limit=1)
        assert claim.options.callback_of == ended.id


def test_how_long_a_callback_is_tried():
    """As the Standard Webhooks advise, for three days at the least; each wait can be shown."""
    assert sum(WEBHOOK_SECONDS) > 3 * 86_400
    assert all(0 < wait <= 86_400 for wait in WEBHOOK_SECONDS)
    task = NewTask(msgspec.Raw(b"1"), options=OPTIONS).as_task(
        uuid.uuid4(), created_at=dt.datetime.now(dt.UTC), run_at=dt.datetime.now(dt.UTC)
    )
    made = callback.callback_of(task, URL, OPTIONS)
    options = msgspec.json.decode(msgspec.json.encode(made.options), type=TaskOptions)
    assert options == made.options
