"""Conformance of stores: the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec
import pytest
import trio

from taskflow.model.audit import Action, Actor, AuditEntry, AuditFilter, NewEntry, TargetKind
from taskflow.model.audit_entries import filter_detail
from taskflow.model.errors import CredentialInUse, IllegalMove
from taskflow.model.filter import TaskFilter
from taskflow.model.options import TaskOptions
from taskflow.model.queue_limits import QueueSettings, Rate
from taskflow.model.schedule import Missed, ScheduleDefinition, Timing
from taskflow.model.sealed_credential import SealedCredential
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import new_task

ADA = Actor("ada", "session-1", "192.0.2.1")
EVE = Actor("eve", None, "192.0.2.2")


def bulk(action: Action = Action.TASKS_CANCEL, **fields) -> NewEntry:
    return NewEntry(action=action, actor=ADA, batch=uuid.uuid4(), **fields)


def schedule(**fields) -> ScheduleDefinition:
    template = fields.pop("payload", '"http://user:secret@example.com/"')
    return ScheduleDefinition(
        name="reports",
        timing=fields.pop("timing", Timing(every_seconds=3600.0)),
        task=msgspec.Raw(f'{{"payload": {template}}}'.encode()),
        template=fields.pop("template", None) or new_task(template),
        **fields,
    )


class AuditContract:
    """The conformance suite."""

    async def entries(self, store: TaskStore, **wanted) -> list[AuditEntry]:
        """All entries, the oldest first."""
        page = await store.audit.page(limit=1000, filter=AuditFilter(**wanted))
        assert page.next_before is None
        return page.entries[::-1]

    async def only(self, store: TaskStore) -> AuditEntry:
        [entry] = await self.entries(store)
        return entry

    # Changes and their entries

    async def test_an_action_on_a_task(self, store):
        """Cancel, retry and delete are recorded: who did what to which task, in this order."""
        [task] = await store.add([new_task()])
        assert await store.cancel(task.id, by=ADA)
        assert await store.retry(task.id, by=EVE)
        assert await store.cancel(task.id, by=ADA)
        assert await store.delete(task.id, by=ADA)
        entries = await self.entries(store)
        assert [(one.actor, one.action) for one in entries] == [
            ("ada", Action.TASK_CANCEL),
            ("eve", Action.TASK_RETRY),
            ("ada", Action.TASK_CANCEL),
            ("ada", Action.TASK_DELETE),
        ]
        assert {(one.target_kind, one.target) for one in entries} == {
            (TargetKind.TASK, str(task.id))
        }
        assert [one.id for one in entries] == sorted(one.id for one in entries)
        first = entries[0]
        assert (first.session, first.address, first.count) == ("session-1", "192.0.2.1", 1)
        assert abs((first.at - task.created_at).total_seconds()) < 60

    async def test_what_changes_nothing_is_not_recorded(self, store):
        """An action that is refused, or finds nothing, has no entry."""
        [task] = await store.add([new_task()])
        for act in (store.retry, store.delete):
            with pytest.raises(IllegalMove):
                await act(task.id, by=ADA)
        nobody = uuid.uuid4()
        assert await store.cancel(nobody, by=ADA) is None
        assert not await store.delete(nobody, by=ADA)
        assert await store.retry_many([task.id, nobody], entry=bulk()) == set()
        assert not await store.schedules.delete("reports", by=ADA)
        assert await store.schedules.run_now("reports", by=ADA) is None
        assert await self.entries(store) == []

    async def test_nobody_is_recorded_without_an_actor(self, store):
        """What the service does by itself is not in the audit log."""
        [task] = await store.add([new_task()])
        await store.cancel(task.id)
        await store.delete_many([task.id])
        await store.queues.put("mail", QueueSettings(paused=True))
        await store.schedules.put(schedule())
        await store.schedules.run_now("reports")
        await store.schedules.delete("reports")
        assert await self.entries(store) == []

    @pytest.mark.parametrize(
        ("verb", "action"),
        [
            ("cancel_many", Action.TASKS_CANCEL),
            ("retry_many", Action.TASKS_RETRY),
            ("delete_many", Action.TASKS_DELETE),
        ],
    )
    async def test_a_bulk_action_is_one_entry(self, store, verb, action):
        """However many portions it has: its entry counts the tasks that changed."""
        ids = [task.id for task in await store.add([new_task()] * 30)]
        if verb != "cancel_many":
            await store.cancel_many(ids)
        detail = filter_detail(TaskFilter(queue="default", tags=(("a", "b"),)))
        entry = bulk(action, detail=detail)
        for start in range(0, 30, 10):
            await getattr(store, verb)([*ids[start : start + 10], uuid.uuid4()], entry=entry)
        await getattr(store, verb)(ids, entry=entry)  # none is left
        found = await self.only(store)
        assert (found.action, found.count, found.target) == (action, 30, None)
        assert found.detail == {"filter": {"queue": "default", "tags": {"a": "b"}}}

    async def test_deleted_tasks_keep_their_entries(self, store):
        """Whether a client deletes the task or its time is over."""
        tasks = await store.add([new_task(), new_task()])
        for task in tasks:
            await store.cancel(task.id, by=ADA)
        await store.delete(tasks[0].id, by=ADA)
        assert await store.delete_finished(age_seconds=-1.0, limit=10) == 1
        assert len(await self.entries(store, target=str(tasks[0].id))) == 2
        assert len(await self.entries(store, target=str(tasks[1].id))) == 1

    async def test_settings_of_a_queue(self, store):
        """An entry has the settings that changed, before and after; no change, no entry."""

        async def put(settings: QueueSettings) -> None:
            await store.queues.change("mail", lambda _: settings, by=ADA)

        await put(QueueSettings(max_concurrency=5))
        await put(QueueSettings(max_concurrency=5))
        await put(QueueSettings(max_concurrency=7, rate=Rate(2.0, 3)))
        await store.queues.set_paused("mail", is_paused=True, by=EVE)
        await store.queues.set_paused("mail", is_paused=True, by=EVE)
        await store.queues.set_paused("mail", is_paused=False, by=EVE)
        assert [(one.action, one.target, one.detail) for one in await self.entries(store)] == [
            (
                Action.QUEUE_CHANGE,
                "mail",
                {"changes": {"max_concurrency": {"before": None, "after": 5}}},
            ),
            (
                Action.QUEUE_CHANGE,
                "mail",
                {
                    "changes": {
                        "max_concurrency": {"before": 5, "after": 7},
                        "rate": {"before": None, "after": {"per_second": 2.0, "burst": 3}},
                    }
                },
            ),
            (Action.QUEUE_PAUSE, "mail", {}),
            (Action.QUEUE_RESUME, "mail", {}),
        ]

    async def test_the_proxy_of_a_queue(self, store):
        """Each change of it has an entry, also of the password alone, which is in none."""
        for password in ("first%2Fhidden", "second%40hidden"):
            settings = QueueSettings(egress_proxy=f"http://me:{password}@proxy.example")
            await store.queues.change("mail", lambda _, one=settings: one, by=ADA)
        first, second = [one.detail["changes"]["egress_proxy"] for one in await self.entries(store)]
        shown = "http://***@proxy.example"
        assert first == {"before": None, "after": shown}
        assert second == {"before": shown, "after": shown}

    async def test_a_new_queue_without_settings(self, store):
        """Its first settings are a change, also if they are the defaults."""
        await store.queues.change("mail", lambda _: QueueSettings(), by=ADA)
        assert (await self.only(store)).action is Action.QUEUE_CHANGE

    async def test_a_change_that_fails(self, store):
        """If the change raises, neither it nor its entry exists."""

        def fail(_):
            raise RuntimeError

        for part in (store.queues, store.schedules):
            with pytest.raises(RuntimeError):
                await part.change("mail", fail, by=ADA)
        assert await store.queues.get("mail") is None
        assert await self.entries(store) == []

    async def test_schedules(self, store):
        """Created, changed, paused, resumed, run and deleted; never with the template."""

        async def put(definition: ScheduleDefinition) -> None:
            await store.schedules.change("reports", lambda _: definition, by=ADA)

        await put(schedule())
        await put(schedule())
        await put(schedule(paused=True))
        await put(schedule())
        await put(schedule(payload='{"url": "http://example.com/", "body": "secret"}'))
        other = Timing(cron="0 7 * * *")
        await put(
            schedule(payload='"http://a.example/?token=secret"', timing=other, missed=Missed.SKIP)
        )
        task = await store.schedules.run_now("reports", by=EVE)
        assert await store.schedules.delete("reports", by=EVE)
        entries = await self.entries(store)
        assert [(one.actor, one.action) for one in entries] == [
            ("ada", Action.SCHEDULE_PUT),
            ("ada", Action.SCHEDULE_PAUSE),
            ("ada", Action.SCHEDULE_RESUME),
            ("ada", Action.SCHEDULE_PUT),
            ("ada", Action.SCHEDULE_PUT),
            ("eve", Action.SCHEDULE_RUN),
            ("eve", Action.SCHEDULE_DELETE),
        ]
        assert {one.target for one in entries} == {"reports"}
        changes = [one.detail.get("changes") for one in entries]
        assert changes[0]["every_seconds"] == {"before": None, "after": 3600.0}
        assert changes[3] == {"task": {"payload": {}}}
        assert changes[4].keys() == {"every_seconds", "cron", "missed", "task"}
        assert entries[5].detail == {"task": str(task.id)}
        assert "secret" not in repr(entries)

    async def test_the_task_of_a_schedule(self, store):
        """Which credential, queue and host before and after; of other fields, only the name."""

        async def put(**fields) -> None:
            template = new_task('"https://example.com/secret"', **fields)
            text = msgspec.Raw(msgspec.json.encode({"as": repr(template)}))
            definition = msgspec.structs.replace(schedule(template=template), task=text)
            await store.schedules.change("reports", lambda _: definition, by=ADA)

        await put(options=TaskOptions(credential="billing", sign=True), authority="example.com")
        options = TaskOptions(
            credential="payroll",
            callback_url="https://example.net/secret",
            callback_authority="example.net",
        )
        await put(options=options, authority="example.com:8443", queue="mail", tags={"a": "secret"})
        await put(authority="example.com:8443", queue="mail", tags={"a": "secret"})
        entries = await self.entries(store)
        changes = [one.detail["changes"]["task"] for one in entries]
        assert changes == [
            {
                "queue": {"before": None, "after": "default"},
                "credential": {"before": None, "after": "billing"},
                "sign": {"before": None, "after": True},
                "host": {"before": None, "after": "example.com"},
            },
            {
                "queue": {"before": "default", "after": "mail"},
                "credential": {"before": "billing", "after": "payroll"},
                "sign": {"before": True, "after": None},
                "host": {"before": "example.com", "after": "example.com:8443"},
                "callback_host": {"before": None, "after": "example.net"},
                "callback_url": {},
                "tags": {},
            },
            {
                "credential": {"before": "payroll", "after": None},
                "callback_host": {"before": "example.net", "after": None},
                "callback_url": {},
            },
        ]
        assert "secret" not in repr(entries)

    async def test_the_credential_of_a_queue(self, store):
        """Its name before and after, also when it is removed."""
        for name in ("billing", "payroll", None):
            settings = QueueSettings(credential=name)
            await store.queues.change("mail", lambda _, one=settings: one, by=ADA)
        changes = [one.detail["changes"] for one in await self.entries(store)]
        assert changes == [
            {"credential": {"before": None, "after": "billing"}},
            {"credential": {"before": "billing", "after": "payroll"}},
            {"credential": {"before": "payroll", "after": None}},
        ]

    async def test_credentials(self, store):
        """Put and deleted: with the kind and the hosts before and after, and no values."""
        sealed = SealedCredential("billing", "bearer", ("api.example.com",), b"the value")
        await store.credentials.put(sealed, by=ADA)
        sealed = SealedCredential("billing", "basic", ("*.example.com",), b"another value")
        await store.credentials.put(sealed, by=ADA)
        await store.queues.put("mail", QueueSettings(credential="billing"))
        with pytest.raises(CredentialInUse):
            await store.credentials.delete("billing", by=EVE)
        assert await store.credentials.delete("billing", even_if_used=True, by=EVE)
        assert not await store.credentials.delete("billing", by=EVE)
        entries = await self.entries(store)
        first = {"kind": "bearer", "hosts": ["api.example.com"]}
        second = {"kind": "basic", "hosts": ["*.example.com"]}
        used_by = {"queues": ["mail"], "schedules": [], "endpoints": []}
        assert [(one.actor, one.action, one.target, one.detail) for one in entries] == [
            ("ada", Action.CREDENTIAL_PUT, "billing", {**first, "before": None}),
            ("ada", Action.CREDENTIAL_PUT, "billing", {**second, "before": first}),
            ("eve", Action.CREDENTIAL_DELETE, "billing", {**second, "used_by": used_by}),
        ]

    async def test_sessions_that_are_ended(self, store):
        """Signing out is recorded once."""
        for _ in range(2):
            await store.end_session("session-1", seconds=60.0, by=ADA)
        found = await self.only(store)
        assert (found.action, found.session) == (Action.SESSION_SIGN_OUT, "session-1")

    async def test_urls_are_masked(self, store):
        """Credentials in the URLs of a detail are masked before they are stored."""
        detail = {"filter": {"url_contains": "?token=abc", "more": ["http://a:b@c.example/"]}}
        await store.audit.record([bulk(detail=detail)])
        assert (await self.only(store)).detail == {
            "filter": {"url_contains": "?token=***", "more": ["http://***@c.example/"]}
        }

    # Reading

    async def record_some(self, store: TaskStore) -> None:
        """Entries of two actors about several targets."""
        kinds = [
            (Action.QUEUE_PAUSE, ADA, "mail"),
            (Action.QUEUE_RESUME, ADA, "mail"),
            (Action.QUEUE_PAUSE, EVE, "a"),
            (Action.SCHEDULE_PAUSE, EVE, "mail"),
            (Action.KEY_REJECTED, Actor(address="2001:db8::/64"), None),
        ]
        for action, actor, target in kinds:
            await store.audit.record([NewEntry(action=action, actor=actor, target=target)])

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ({}, [0, 1, 2, 3, 4]),
            ({"actor": "ada"}, [0, 1]),
            ({"actor": "nobody"}, []),
            ({"action": Action.QUEUE_PAUSE}, [0, 2]),
            ({"target_kind": TargetKind.QUEUE}, [0, 1, 2]),
            ({"target": "mail"}, [0, 1, 3]),
            ({"target": "mail", "target_kind": TargetKind.SCHEDULE}, [3]),
            ({"target": "mail", "actor": "eve"}, [3]),
            ({"action": Action.QUEUE_PAUSE, "target_kind": TargetKind.SCHEDULE}, []),
            ({"target_kind": TargetKind.KEY}, [4]),
        ],
    )
    async def test_filters(self, store, wanted, expected):
        """All given conditions must match."""
        await self.record_some(store)
        everything = await self.entries(store)
        assert await self.entries(store, **wanted) == [everything[index] for index in expected]

    async def test_times(self, store):
        """From this time on, and before that time."""
        await self.record_some(store)
        everything = await self.entries(store)
        for after in range(5):
            for before in range(5):
                found = await self.entries(
                    store, after=everything[after].at, before=everything[before].at
                )
                expected = [
                    one
                    for one in everything
                    if everything[after].at <= one.at < everything[before].at
                ]
                assert found == expected

    async def test_pages(self, store):
        """Page by page each entry is found once, newest first, with and without a filter."""
        names = [f"queue-{number}" for number in range(25)]
        pause = Action.QUEUE_PAUSE
        for name in names:
            await store.audit.record([NewEntry(action=pause, actor=ADA, target=name)])
            await store.audit.record([NewEntry(action=Action.TASK_RETRY, actor=EVE)])

        async def targets(**wanted) -> list[str | None]:
            return [one.target async for one in pages(store, 4, AuditFilter(**wanted))]

        for wanted in ({"actor": "ada"}, {"action": pause}, {"target_kind": TargetKind.QUEUE}):
            assert await targets(**wanted) == names[::-1]
        assert len(await targets()) == 50

    async def test_a_page_is_short_if_few_entries_match(self, store, monkeypatch):
        """The scan of a page is limited, and the next page continues there."""
        for module in self.modules_that_scan():
            monkeypatch.setattr(module, "MAX_ENTRIES_SCANNED", 10)
        await store.audit.record([NewEntry(action=Action.TASK_RETRY, actor=ADA)])
        for _ in range(25):
            await store.audit.record([NewEntry(action=Action.TASK_CANCEL, actor=EVE)])
        wanted = AuditFilter(action=Action.TASK_RETRY)
        first = await store.audit.page(limit=5, filter=wanted)
        assert first.entries == []
        assert first.next_before is not None
        assert len([one async for one in pages(store, 5, wanted)]) == 1

    def modules_that_scan(self) -> Iterator[object]:
        raise NotImplementedError

    # Retention

    async def test_old_entries_are_deleted(self, store):
        """The oldest first, at most as many as are allowed."""
        await self.record_some(store)
        assert await store.audit.delete_old(age_seconds=3600.0, limit=10) == 0
        assert await store.audit.delete_old(age_seconds=-3600.0, limit=2) == 2
        assert [one.action for one in await self.entries(store)] == [
            Action.QUEUE_PAUSE,
            Action.SCHEDULE_PAUSE,
            Action.KEY_REJECTED,
        ]
        assert await store.audit.delete_old(age_seconds=-3600.0, limit=10) == 3

    async def test_a_batch_whose_entry_was_deleted(self, store):
        """It gets another one."""
        entry = bulk(count=3)
        for _ in range(2):
            await store.audit.record([entry])
            await store.audit.delete_old(age_seconds=-3600.0, limit=10)
        await store.audit.record([entry, bulk()])
        assert sorted(one.count for one in await self.entries(store)) == [1, 3]

    async def test_bulk_actions_at_once(self, store):
        """Each has its own entry, and counts what it changed itself."""
        ids = [task.id for task in await store.add([new_task()] * 60)]

        async def cancel(entry: NewEntry) -> None:
            for start in range(0, 60, 20):
                await store.cancel_many(ids[start : start + 20], entry=entry)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(cancel, bulk())
        assert sum(one.count for one in await self.entries(store)) == 60
        page = await store.page(limit=1, filter=TaskFilter(statuses=(TaskStatus.PENDING,)))
        assert page.tasks == []


async def pages(store: TaskStore, limit: int, wanted: AuditFilter):
    """All entries that match, newest first, page by page."""
    before = None
    while True:
        page = await store.audit.page(limit=limit, before=before, filter=wanted)
        for one in page.entries:
            yield one
        before = page.next_before
        if before is None:
            return
