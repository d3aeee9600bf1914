"""The credential of an attempt: which one it is, how often it is read, and what can be wrong."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
import trio

from taskflow.engine.credentials import UNUSED_SECONDS, Credentials
from taskflow.fetch.authenticators import Authenticators
from taskflow.model.credential import Basic, Bearer, Credential
from taskflow.model.errors import StoreUnavailable
from taskflow.model.keyring import NO_KEYS, Keyring, key_of, new_encryption_key
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType, Failed, Interrupted
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.sealed_credential import seal
from taskflow.model.task import NewTask, TaskStatus
from taskflow.store.base.credentials import KEPT_SECONDS
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.engine.conftest import Bench, ScriptedFetcher
from tests.engine.test_retries import BUSY, Script, run_one
from tests.fetch.conftest import no_issuer
from tests.logs import capture_logs

KEYRING = Keyring([key_of(new_encryption_key())])
OTHER_KEYRING = Keyring([key_of(new_encryption_key())])
HOSTS = {"hosts": ("target",)}
BILLING = TaskOptions(credential="billing")


class Target(Script):
    """Keeps the credential of each request: none of one that has none."""

    def __init__(self, *failures) -> None:
        super().__init__(*failures)
        self.added: list[dict[str, str]] = []

    async def fetch(self, request):
        of = request.authenticator
        self.added.append({} if of is None else dict(await of.headers(request)))
        return await super().fetch(request)


def bench_with(keyring: Keyring = KEYRING) -> Bench:
    bench = Bench()
    bench.keyring = keyring
    return bench


async def put(store: MemoryStore, name: str, token: str, keyring: Keyring = KEYRING) -> None:
    await store.credentials.put(seal(name, Bearer(token=token, **HOSTS), keyring))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("task", "queue", "added"),
    [
        (None, None, {}),
        ("own", None, bearer("of-task")),
        (None, "queue", bearer("of-queue")),
        ("own", "queue", bearer("of-task")),
    ],
)
async def test_what_decides(autojump_clock, nursery, task, queue, added):
    """The task, then its queue; each attempt has it."""
    bench, target = bench_with(), Target(BUSY)
    await put(bench.store, "own", "of-task")
    await put(bench.store, "queue", "of-queue")
    await bench.store.queues.put("mail", QueueSettings(credential=queue))
    options = TaskOptions(credential=task)
    await run_one(bench, nursery, target, queue="mail", options=options, max_attempts=2)
    assert target.added == [added, added]


async def test_a_missing_credential(autojump_clock, nursery):
    """It is retried while attempts last, and works once it exists."""
    target = Target()
    task, attempts = await run_one(bench_with(), nursery, target, max_attempts=3, options=BILLING)
    assert (task.status, task.error_type) == (TaskStatus.FAILED, ErrorType.CREDENTIAL_MISSING)
    assert task.error == "credential missing: there is no credential billing"
    assert (len(attempts), target.added) == (3, [])
    bench = bench_with()
    nursery.start_soon(create_later, bench.store)
    task, _ = await run_one(bench, nursery, target, max_attempts=9, options=BILLING)
    assert (task.status, target.added) == (TaskStatus.COMPLETED, [bearer("late")])


async def create_later(store: MemoryStore) -> None:
    await trio.sleep(2)
    await put(store, "billing", "late")


@pytest.mark.parametrize("keyring", [NO_KEYS, OTHER_KEYRING])
async def test_a_node_without_the_key(autojump_clock, nursery, keyring):
    """It releases the task, logs that once, and uses no attempt; a node with the key runs it."""
    bench, target = bench_with(keyring), Target()
    await put(bench.store, "billing", "token")
    bench.fetcher = target
    bench.engine = bench.new_engine()
    waiting = NewTask(msgspec.Raw(b'"http://target/"'), options=BILLING)
    tasks = await bench.store.add([waiting] * 3)
    with capture_logs() as logs:
        async with trio.open_nursery() as running:  # until the engine has released its tasks
            await running.start(bench.engine.run)
            await trio.sleep(20)
            bench.engine.shut_down(drain_seconds=0)
    [shown] = {(task.status, task.attempt) for task in [await bench.now(one) for one in tasks]}
    assert (shown, target.added) == ((TaskStatus.PENDING, 0), [])
    events = [entry["event"] for entry in logs]
    assert events.count(Event.ENCRYPTION_KEY_MISSING.value[1]) == 1
    bench.keyring = KEYRING
    bench.engine = bench.new_engine()
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    assert target.added == [bearer("token")] * 3


class CountingStore:
    """The credentials of a store, which counts what it is asked for, and can be unavailable."""

    def __init__(self) -> None:
        self.kept = MemoryStore()
        self.calls: Counter[str] = Counter()
        self.is_away = False

    def reading(self):
        return self.kept.credentials.reading()

    def is_fresh(self, reading, *, max_age_seconds):
        return self.kept.credentials.is_fresh(reading, max_age_seconds=max_age_seconds)

    async def sealed(self, name: str):
        return await self._call("sealed", name)

    async def mark_used(self, name: str):
        return await self._call("mark_used", name)

    async def _call(self, verb: str, name: str):
        self.calls[verb] += 1
        await trio.sleep(0.1)
        if self.is_away:
            raise StoreUnavailable
        return await getattr(self.kept.credentials, verb)(name)


@pytest.fixture
async def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
async def credentials(store) -> Credentials:
    return Credentials(store, KEYRING, Authenticators(ScriptedFetcher(), no_issuer).of)


async def headers_of(credentials: Credentials) -> dict[str, str]:
    found = await credentials.find("billing")
    assert not isinstance(found, Failed | Interrupted)
    return dict(await found.headers(None))


async def test_attempts_share_one(autojump_clock, store, credentials):
    """A thousand at once read it once, and its use is recorded by the minute."""
    await put(store.kept, "billing", "1")
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(headers_of, credentials)
    assert store.calls == {"sealed": 1, "mark_used": 1}
    for _ in range(50):
        await trio.sleep(1)
        await headers_of(credentials)
    assert store.calls["sealed"] <= 50 / KEPT_SECONDS + 1
    assert store.calls["mark_used"] == 1
    await trio.sleep(20)
    await headers_of(credentials)
    assert store.calls["mark_used"] == 2


async def test_a_change_takes_effect_at_once(autojump_clock, store, credentials):
    """A replaced one is used, a deleted one is missing, and the same one keeps what it has."""
    await put(store.kept, "billing", "1")
    first = await credentials.find("billing")
    await put(store.kept, "other", "x")
    assert await credentials.find("billing") is first
    await put(store.kept, "billing", "1")  # encrypted anew
    assert await credentials.find("billing") is first
    await put(store.kept, "billing", "2")
    assert await headers_of(credentials) == bearer("2")
    await store.kept.credentials.delete("billing")
    missing = await credentials.find("billing")
    assert missing.error_type is ErrorType.CREDENTIAL_MISSING


async def test_a_lost_notification(autojump_clock, store, credentials):
    """A credential in memory is read again after some seconds."""
    await put(store.kept, "billing", "1")
    await headers_of(credentials)
    await put(store.kept, "billing", "2")
    store.kept.credentials._changes -= 1
    assert await headers_of(credentials) == bearer("1")
    await trio.sleep(KEPT_SECONDS)
    assert await headers_of(credentials) == bearer("2")


async def test_an_outage_of_the_store(autojump_clock, store, credentials):
    """What is in memory is used on; otherwise the attempt does not count."""
    await put(store.kept, "billing", "1")
    store.is_away = True
    assert isinstance(await credentials.find("billing"), Interrupted)
    store.is_away = False
    await headers_of(credentials)
    store.is_away = True
    await trio.sleep(2 * 60)
    assert await headers_of(credentials) == bearer("1")


async def test_unused_ones_leave_the_memory(autojump_clock, store, credentials):
    """Their values are not kept for the life of the process."""
    for name in ("billing", "other"):
        await put(store.kept, name, name)
        await credentials.find(name)
    await trio.sleep(UNUSED_SECONDS)
    await credentials.find("other")
    assert list(credentials._kept) == ["other"]


@pytest.mark.parametrize("change", ["value", "name", "kind", "hosts"])
async def test_changed_data(autojump_clock, store, credentials, change):
    """A row that was changed is not used: not its value, its name, its kind or its hosts."""
    credential: Credential = Basic(username="me", password="s3cret", **HOSTS)
    sealed = seal("other" if change == "name" else "billing", credential, KEYRING)
    if change == "name":
        sealed = msgspec.structs.replace(sealed, name="billing")
    if change == "kind":
        sealed = msgspec.structs.replace(sealed, kind="bearer")
    if change == "value":
        sealed = msgspec.structs.replace(sealed, sealed=sealed.sealed[:-1] + b"x")
    if change == "hosts":
        sealed = msgspec.structs.replace(sealed, hosts=("evil.example",))
    await store.kept.credentials.put(sealed)
    found = await credentials.find("billing")
    if change == "hosts":
        assert "evil.example" not in found._hosts
        assert "target" in found._hosts
        return
    assert (found.error_type, found.is_of_node) == (ErrorType.INTERNAL, True)
    assert "the credential billing cannot be read: it was changed in the database" in found.error
    assert "s3cret" not in repr(found)
