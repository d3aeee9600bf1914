"""Key rotation: afterwards the first key is enough, whatever happens meanwhile."""

from __future__ import annotations

import contextlib

import msgspec
import psycopg
import trio

from taskflow.model.alert_destinations import (
    StoredDestination,
    destination_to,
    unsealed_url,
)
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import AlertDefinition, AlertOn
from taskflow.model.completion import Completion, CompletionMode
from taskflow.model.credential import Bearer
from taskflow.model.encryption import Encryption
from taskflow.model.endpoint_secrets import seal_secret, unseal_secret
from taskflow.model.groups import NewGroup
from taskflow.model.heartbeat_monitors import MonitorDefinition, NewPing, note_of
from taskflow.model.key_generation import new_generation, private_pem
from taskflow.model.keyring import Keyring
from taskflow.model.masking import MASKING
from taskflow.model.options import TaskOptions
from taskflow.model.proxy import opened_proxy, sealed_proxy
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.sealed_credential import seal, unseal
from taskflow.model.task import NewTask, TaskStatus
from taskflow.model.topics import EndpointDefinition
from taskflow.settings import Settings
from taskflow.store.base.claims import Retry, Settlement
from taskflow.store.base.parking import Parking
from taskflow.store.encrypted import EncryptedStore
from taskflow.store.postgres import key_rotation
from taskflow.store.postgres.database import open_database
from taskflow.store.postgres.key_rotation import KeyRotation, key_ids_in_use
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.store import open_postgres
from tests.model.test_encryption import response
from tests.store.contract import ErrorType
from tests.store.contract import response as kept_response

OLD, NEW, THIRD = b"1" * 32, b"2" * 32, b"3" * 32
ALL = ("payloads", "results")
PROXY = "http://worker:s3cret@proxy.example"


@contextlib.asynccontextmanager
async def open_store(url: str, *keys: bytes):
    encryption = Encryption(Keyring(keys), ALL)
    async with open_postgres(url, Settings(), encryption) as store:
        yield EncryptedStore(store, encryption)


async def rotate(url: str, *keys: bytes, report=lambda done: None):
    async with open_database(url, connections=1, timeout_seconds=30) as database:
        return await KeyRotation(database, Encryption(Keyring(keys)), report).run()


def new_task(number: int, **fields) -> NewTask:
    return NewTask(msgspec.Raw(b'"http://a.example/%d"' % number), **fields)


async def fill(store) -> dict[str, object]:
    """Store data of every kind, and return what is shown of it."""
    options = msgspec.structs.replace(new_task(0).options, callback_url="http://b.example/")
    done, failed, *_ = await store.add(
        [new_task(0, options=options), new_task(1, max_attempts=2), *map(new_task, range(2, 7))]
    )
    node = await store.register("here", lease_seconds=600)
    for claim in await store.claim(node, limit=2):
        if claim.task_id == done.id:
            result = msgspec.json.encode(response({"a": 1}))
            await store.settle(
                [Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result)]
            )
        else:
            retry = Retry(claim.task_id, claim.token, 0.0, "x", ErrorType.TIMEOUT)
            retry = msgspec.structs.replace(retry, response=kept_response(b'"b"'))
            await store.schedule_retries([retry])
    claims = {claim.task_id: claim for claim in await store.claim(node, limit=20)}
    last = claims[failed.id]
    settlement = Settlement(last.task_id, last.token, TaskStatus.FAILED, None, "x")
    settlement = msgspec.structs.replace(
        settlement, error_type=ErrorType.TIMEOUT, response=kept_response(b'"c"')
    )
    await store.settle([settlement])
    definition = ScheduleDefinition(
        name="s",
        timing=Timing(cron="0 6 * * *"),
        task=msgspec.Raw(b'{"payload": "http://c.example/"}'),
        template=NewTask(msgspec.Raw(b'"http://c.example/"')),
    )
    await store.schedules.change("s", lambda _: definition)
    keyring = store._encryption.keyring
    await store.queues.put("q", QueueSettings(egress_proxy=sealed_proxy(PROXY, "q", keyring)))
    await store.credentials.put(seal("c", Bearer(token="t", hosts=("a.example",)), keyring))
    await store.signing_keys.add_if_next(new_generation(1, keyring))
    await store.topics.put("orders", lambda _: "hooks")
    template = new_task_of_endpoint()
    endpoint = EndpointDefinition(
        topic="orders",
        name="a",
        template=template,
        secret=seal_secret(b"first", "orders/a", keyring),
    )
    await store.topics.change_endpoint("orders", "a", lambda _: endpoint)
    second = seal_secret(b"second", "orders/a", keyring)
    await store.topics.rotate_secret("orders", "a", second, overlap_seconds=600)
    return await shown(store)


def new_task_of_endpoint() -> NewTask:
    return NewTask(msgspec.Raw(b'{"url":"http://c.example/","method":"POST"}'))


async def shown(store) -> dict[str, object]:
    tasks = (await store.page(limit=100)).tasks
    attempts = {task.id: await store.attempts(task.id) for task in tasks}
    [generation] = await store.signing_keys.all()
    credential = unseal(await store.credentials.sealed("c"), store._encryption.keyring)
    endpoint = await store.topics.endpoint("orders", "a")
    secrets = await store.topics.secrets(endpoint.id)
    return {
        "template": endpoint.definition.template,
        "secrets": [
            unseal_secret(one, "orders/a", store._encryption.keyring) for one in secrets.sealed
        ],
        "tasks": tasks,
        "attempts": attempts,
        "schedule": await store.schedules.get("s"),
        "credential": credential,
        "proxy": opened_proxy(
            (await store.queues.get("q")).egress_proxy, "q", store._encryption.keyring
        ),
        "signing key": private_pem(generation, "ES256", store._encryption.keyring),
    }


def sealed_left(url: str) -> list[str]:
    """The heads of all that is encrypted, wherever it is."""
    statement = """
    SELECT DISTINCT found[1] FROM (
        SELECT concat_ws(' ', payload, result, response) FROM taskflow_tasks
        UNION ALL SELECT response::text FROM taskflow_attempts
        UNION ALL SELECT definition::text FROM taskflow_schedules
        UNION ALL SELECT template::text FROM taskflow_endpoints
        UNION ALL SELECT substring(poll_url FROM '^[{].*') FROM taskflow_parked
    ) AS every (text),
    regexp_matches(every.text, '\\{"\\$encrypted":"(.{8})', 'g') AS found
    """
    with psycopg.connect(url) as connection:
        return [head for (head,) in connection.execute(statement)]


async def test_the_new_key_is_enough_afterwards(database_url, monkeypatch):
    """Tasks, schedules, credentials and keys of ID tokens are shown as before, by one key."""
    monkeypatch.setattr(key_rotation, "WINDOW_ROWS", 3)
    monkeypatch.setattr(key_rotation, "MAX_HELD_ROWS", 2)
    async with open_store(database_url, OLD) as store:
        before = await fill(store)
    assert len(sealed_left(database_url)) == 1
    reports = []
    done = await rotate(database_url, NEW, OLD, report=lambda one: reports.append(one.checked))
    assert done.rotated == {
        "tasks": 8,
        "schedules": 1,
        "credentials": 1,
        "queues": 1,
        "signing_keys": 1,
        "endpoints": 1,
    }
    assert (done.left, reports[-1]) == ({}, 13)
    assert len(sealed_left(database_url)) == 1
    async with open_store(database_url, NEW) as store:
        assert await shown(store) == before
    again = await rotate(database_url, NEW, OLD)
    assert (again.rotated.total(), again.left) == (0, {})


async def test_completion_tasks_of_groups(database_url):
    """Of an open group, and of a completed one: the task, and the callback that sends it."""
    options = TaskOptions(callback_url="http://b.example/")
    payload = msgspec.Raw(b'{"url":"http://a.example/?token=secret","method":"POST"}')
    shown_as = msgspec.Raw(b'{"payload":"http://a.example/?token=secret"}')
    completing = NewGroup(on_complete=shown_as, completion=NewTask(payload, options=options))
    async with open_store(database_url, OLD) as store:
        await store.groups.add(completing)
        await store.groups.add(msgspec.structs.replace(completing, is_open=False))
        node = await store.register("here", lease_seconds=600)
        [claim] = await store.claim(node, limit=1)
        result = msgspec.json.encode(response({"a": 1}))
        await store.settle([Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result)])
        before = [await store.groups.page(limit=10), await store.page(limit=10)]
    done = await rotate(database_url, NEW, OLD)
    assert (done.rotated, done.left) == ({"groups": 2, "tasks": 2}, {})
    async with open_store(database_url, NEW) as store:
        assert [await store.groups.page(limit=10), await store.page(limit=10)] == before
        [callback] = [task for task in before[1].tasks if task.callback_of]
        assert b"$encrypted" not in bytes(callback.payload)


async def test_urls_of_alerts(database_url):
    """Notifications reach the same chats afterwards; other destinations need no key."""
    url = "https://hooks.example.com/secret"
    to = (
        destination_to(DestinationKind.SLACK, url, "a", Keyring([OLD]), MASKING),
        StoredDestination(kind=DestinationKind.EMAIL, addresses=("ops@example.com",)),
    )
    definition = AlertDefinition(name="a", on=AlertOn.NODE_LOST, to=to)
    async with open_store(database_url, OLD) as store:
        await store.alerts.put("a", lambda _: definition)
        plain = msgspec.structs.replace(definition, name="b", to=to[1:])
        await store.alerts.put("b", lambda _: plain)
    done = await rotate(database_url, NEW, OLD)
    assert (done.rotated, done.left) == ({"alerts": 1}, {})
    async with open_store(database_url, NEW) as store:
        slack, mail = (await store.alerts.get("a")).definition.to
        assert unsealed_url(slack, "a", Keyring([NEW])) == url
        assert mail == to[1]
        assert (await store.alerts.get("b")).definition == plain


async def test_urls_of_parked_attempts(database_url):
    """They are polled as before, and those that are not encrypted are left alone."""
    options = TaskOptions(completion=Completion(CompletionMode.POLL, 600))
    async with open_store(database_url, OLD) as store:
        await store.add([new_task(number, options=options) for number in range(3)])
        node = await store.register("here", lease_seconds=600)
        first, *others = await store.claim(node, limit=3)
        url = "http://a.example/?token=secret"
        parkings = [Parking(one.task_id, one.token, 600) for one in others]
        sealed = Parking(first.task_id, first.token, 600, poll_url=url)
        await store.parking.park([sealed, parkings[0]])
        odd_url = url + '{"$encrypted":"AQAAAAAA"}'
        plain = msgspec.structs.replace(parkings[1], poll_url=odd_url)
        await store._store.parking.park([plain])
    assert len(sealed_left(database_url)) == 1
    done = await rotate(database_url, NEW, OLD)
    assert (done.rotated, done.left) == ({"tasks": 3, "parked": 1}, {})
    assert (done.checked, len(sealed_left(database_url))) == (6, 1)
    async with open_store(database_url, NEW) as store:
        due = await store.parking.take_due(limit=9, take_seconds=60)
        assert {one.claim.task_id: one.poll_url for one in due} == {
            first.task_id: url,
            others[1].task_id: odd_url,
        }


async def test_notes_of_pings(database_url):
    """They are shown as before; one of a client that looks like encrypted data is left alone."""
    definition = MonitorDefinition(name="backup", timing=Timing(every_seconds=60))
    odd = note_of(b'{"$encrypted":"AQAAAAAA"}')
    async with open_store(database_url, OLD) as store:
        made, _ = await store.heartbeat_monitors.change("backup", lambda _: definition)
        await store.heartbeat_monitors.ping(made.monitor.ping_id, NewPing(note=b"secret"))
        await store.heartbeat_monitors.ping(made.monitor.ping_id, NewPing())
        await store._store.heartbeat_monitors.ping(made.monitor.ping_id, NewPing(note=odd))
    done = await rotate(database_url, NEW, OLD)
    assert (done.checked, done.rotated, done.left) == (3, {"heartbeat_pings": 1}, {})
    async with open_store(database_url, NEW) as store:
        pings = (await store.heartbeat_monitors.history("backup")).pings
        assert [one.ping.note for one in pings] == [odd, None, b"secret"]


async def test_a_key_that_is_missing(database_url):
    """What needs it is left and counted; the rest is encrypted again."""
    async with open_store(database_url, THIRD) as store:
        await store.add([new_task(1), new_task(2)])
    async with open_store(database_url, OLD) as store:
        await store.add([new_task(3)])
    done = await rotate(database_url, NEW, OLD)
    assert done.rotated["tasks"] == 1
    assert done.left == {Keyring([THIRD]).key_ids[0]: 2}
    assert not (await rotate(database_url, NEW, OLD, THIRD)).left


async def test_what_was_changed_is_left(database_url):
    """It is counted, and does not stop the rotation."""
    async with open_store(database_url, OLD) as store:
        [changed, _] = await store.add([new_task(1), new_task(2)])
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE taskflow_tasks SET queue = 'x' WHERE id = %s", [changed.id])
    done = await rotate(database_url, NEW, OLD)
    assert (done.rotated["tasks"], done.left.total()) == (1, 1)


async def test_what_a_target_sent_is_not_taken_for_encrypted(database_url):
    """A response of that form is plain: it needs no key."""
    async with open_postgres(database_url, Settings()) as store:
        [task] = await store.add([new_task(1)])
        node = await store.register("here", lease_seconds=600)
        [claim] = await store.claim(node, limit=1)
        result = msgspec.json.encode(response({"$encrypted": "AQAAAAAAAAAAAAAAAAAA"}))
        await store.settle([Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result)])
        done = await rotate(database_url, NEW, OLD)
        assert (done.rotated.total(), done.left) == (0, {})
        assert bytes((await store.get_unmasked(task.id)).result) == result


async def test_rows_that_are_in_use(database_url):
    """A row that another transaction holds is encrypted when it is free."""
    async with open_store(database_url, OLD) as store:
        [task, _] = await store.add([new_task(1), new_task(2)])
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [task.id])

        def release(done) -> None:
            if done.checked and done.rotated["tasks"]:
                connection.rollback()

        with trio.fail_after(60):
            done = await rotate(database_url, NEW, OLD, report=release)
    assert (done.rotated["tasks"], done.left) == (2, {})


async def test_a_rotation_changes_nothing_that_is_counted_or_watched(database_url):
    """No event is recorded, no count changes, and a running task stays claimed."""
    async with open_store(database_url, OLD, NEW) as store:
        await store.add([new_task(1)])
        node = await store.register("here", lease_seconds=600)
        [claim] = await store.claim(node, limit=1)
        position = await store.record_events()
        count = await store.count(limit=10)
        assert (await rotate(database_url, NEW, OLD)).rotated["tasks"] == 1
        assert (await store.events_after(position, limit=100)).events == []
        assert (await store.count(limit=10)).total.counts == count.total.counts
        result = msgspec.json.encode(response("x"))
        settlement = Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result)
        assert await store.settle([settlement]) == {claim.task_id}


def in_use(url: str, seconds: float):
    with psycopg.connect(url) as connection:
        sql = load_queries()
        return key_ids_in_use(
            lambda name, parameters: connection.execute(sql[name], parameters).fetchall(), seconds
        )


async def test_the_keys_in_use(database_url, monkeypatch):
    """They are found in all data; in too short a time, those of the newest tasks."""
    monkeypatch.setattr(key_rotation, "WINDOW_ROWS", 2)
    async with open_postgres(database_url, Settings()) as store:
        await store.add([new_task(1)])
    for key in (OLD, THIRD):
        async with open_store(database_url, key) as store:
            await store.add([new_task(1), new_task(2)])
    async with open_store(database_url, NEW) as store:
        await store.credentials.put(
            seal("c", Bearer(token="t", hosts=("a.example",)), store._encryption.keyring)
        )
    old, new, third = Keyring([OLD, NEW, THIRD]).key_ids
    assert in_use(database_url, 60) == ({old, new, third}, True)
    assert in_use(database_url, 0) == ({third}, False)
