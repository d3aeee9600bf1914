"""What every store has to keep of alerts and their notifications."""

from __future__ import annotations

import datetime as dt

import pytest
import trio

from taskflow.model.alert_destinations import StoredDestination
from taskflow.model.alert_messages import tasks_of
from taskflow.model.alert_states import Observation
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    ALERTS_QUEUE,
    KEPT_NOTIFICATIONS,
    MAX_ALERTS,
    AlertDefinition,
    AlertOn,
    NoticeKind,
    StoredAlert,
    Subject,
)
from taskflow.model.audit import Actor, AuditFilter
from taskflow.model.errors import TooManyAlerts
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task

BY = Actor("boss")
FIRING = Observation((Subject("mail", "3 FAILED"),))
TO = (
    StoredDestination(
        kind=DestinationKind.WEBHOOK, url="http://a.example/", masked_url="http://a.example/"
    ),
    StoredDestination(kind=DestinationKind.EMAIL, addresses=("ops@example.com",)),
)


def definition(name: str = "mail", **fields) -> AlertDefinition:
    return AlertDefinition(**{"name": name, "on": AlertOn.TASK_FAILED, "to": TO, **fields})


class AlertContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def alert(self, store: TaskStore, name: str = "mail", **fields) -> StoredAlert:
        alert, _ = await store.alerts.put(name, lambda _: definition(name, **fields), by=BY)
        return alert

    async def taken(self, store: TaskStore) -> StoredAlert:
        [alert] = (await store.alerts.take_due(every_seconds=0.0)).alerts
        return alert

    async def test_alerts_are_stored(self, store):
        """An alert is created, listed, changed and deleted; the audit log says by whom."""
        made, is_new = await store.alerts.put("mail", lambda _: definition(), by=BY)
        assert is_new
        assert made.definition == definition()
        await self.alert(store, "hosts", on=AlertOn.HOST_OPEN, to=TO[:1])
        assert [one.definition.name for one in await store.alerts.all()] == ["hosts", "mail"]
        changed, is_new = await store.alerts.put(
            "mail", lambda before: definition(minimum=3, queue="x" if before else None), by=BY
        )
        assert (is_new, changed.definition.minimum, changed.definition.queue) == (False, 3, "x")
        assert (await store.alerts.get("mail")).definition == changed.definition
        assert await store.alerts.delete("mail", by=BY)
        assert not await store.alerts.delete("mail", by=BY)
        assert await store.alerts.get("mail") is None
        assert await store.alerts.notifications("mail") is None
        entries = (await store.audit.page(limit=9, filter=AuditFilter(target="mail"))).entries
        assert [str(one.action) for one in entries] == ["alert.delete", "alert.put", "alert.put"]

    async def test_a_change_that_raises_changes_nothing(self, store):
        """The alert stays as it was."""
        await self.alert(store)

        def change(_: StoredAlert | None) -> AlertDefinition:
            raise ValueError

        with pytest.raises(ValueError, match=""):
            await store.alerts.put("mail", change)
        assert (await store.alerts.get("mail")).definition == definition()

    async def test_alerts_are_limited_in_number(self, store, monkeypatch):
        """One more is rejected, a change of one is not."""
        for module in ("memory", "postgres"):
            monkeypatch.setattr(f"taskflow.store.{module}.alerts.MAX_ALERTS", 1)
        assert MAX_ALERTS > 1
        await self.alert(store)
        await self.alert(store, minimum=2)
        with pytest.raises(TooManyAlerts):
            await self.alert(store, "another")

    async def test_an_alert_notifies_each_destination(self, store):
        """A notification is a task for each destination, and one in the history."""
        await self.alert(store)
        done = await store.alerts.evaluate(await self.taken(store), FIRING, tasks_of)
        assert done.notice is NoticeKind.FIRING
        assert len(done.tasks) == 2
        tasks = [await store.get(task_id) for task_id in done.tasks]
        assert {task.queue for task in tasks} == {ALERTS_QUEUE}
        assert {task.tags["alert"] for task in tasks} == {"mail"}
        assert b'"http://a.example/"' in bytes(tasks[0].payload)
        assert b'"to":["ops@example.com"]' in bytes(tasks[1].payload)
        [one] = await store.alerts.notifications("mail")
        assert (one.kind, one.tasks) == (NoticeKind.FIRING, done.tasks)
        assert "mail" in one.title
        again = await store.alerts.evaluate(await self.taken(store), FIRING, tasks_of)
        assert (again.notice, again.tasks) == (None, ())
        over = await store.alerts.evaluate(await self.taken(store), Observation(), tasks_of)
        assert over.notice is NoticeKind.RECOVERED
        assert [one.kind for one in await store.alerts.notifications("mail")] == [
            NoticeKind.RECOVERED,
            NoticeKind.FIRING,
        ]

    async def test_one_of_several_evaluations_notifies(self, store):
        """Of nodes that evaluate an alert at the same moment, one writes."""
        await self.alert(store)
        taken = [await self.taken(store) for _ in range(3)]
        results = []

        async def evaluate(alert: StoredAlert) -> None:
            results.append(await store.alerts.evaluate(alert, FIRING, tasks_of))

        async with trio.open_nursery() as nursery:
            for alert in (*taken, taken[-1]):
                nursery.start_soon(evaluate, alert)
        notices = [one.notice for one in results if one is not None]
        assert notices.count(NoticeKind.FIRING) == 1
        assert len(notices) <= 2
        assert len(await store.alerts.notifications("mail")) == 1

    async def test_an_alert_is_taken_by_one_caller(self, store):
        """Until it is due again; a paused one is not taken at all."""
        await self.alert(store)
        await self.alert(store, "off", paused=True)
        first = await store.alerts.take_due(every_seconds=3600.0)
        assert [one.definition.name for one in first.alerts] == ["mail"]
        assert abs(first.now - dt.datetime.now(dt.UTC)) < dt.timedelta(days=1)
        assert not (await store.alerts.take_due(every_seconds=3600.0)).alerts
        await self.alert(store, minimum=2)
        [again] = (await store.alerts.take_due(every_seconds=3600.0)).alerts
        assert again.revision > first.alerts[0].revision

    async def test_a_change_supersedes_an_evaluation(self, store):
        """So does a deletion: nothing is notified."""
        await self.alert(store)
        taken = await self.taken(store)
        await self.alert(store, minimum=2)
        assert await store.alerts.evaluate(taken, FIRING, tasks_of) is None
        taken = await self.taken(store)
        await store.alerts.delete("mail")
        assert await store.alerts.evaluate(taken, FIRING, tasks_of) is None

    async def test_notifications_that_cannot_be_made(self, store):
        """Neither the state nor the history says that they were."""
        await self.alert(store)
        taken = await self.taken(store)

        def notify(_: object) -> list:
            raise RuntimeError("no tasks")

        with pytest.raises(RuntimeError):
            await store.alerts.evaluate(taken, FIRING, notify)
        assert await store.alerts.notifications("mail") == []
        assert not (await store.alerts.get("mail")).state.is_firing

    async def test_silence(self, store):
        """A silenced alert is evaluated and does not notify."""
        await self.alert(store)
        silenced = await store.alerts.silence("mail", 3600.0, by=BY)
        assert silenced.silenced_until is not None
        done = await store.alerts.evaluate(await self.taken(store), FIRING, tasks_of)
        assert (done.notice, done.state.is_firing) == (None, True)
        assert (await store.alerts.silence("mail", None, by=BY)).silenced_until is None
        done = await store.alerts.evaluate(await self.taken(store), FIRING, tasks_of)
        assert done.notice is NoticeKind.FIRING
        assert await store.alerts.silence("other", None) is None

    async def test_a_test(self, store):
        """A test reaches the destinations, whatever the state, and is in the history."""
        await self.alert(store)
        sent = await store.alerts.test("mail", tasks_of, by=BY)
        assert sent.kind is NoticeKind.TEST
        assert len(sent.tasks) == 2
        assert await store.alerts.notifications("mail") == [sent]
        assert await store.alerts.test("other", tasks_of) is None
        [entry, _] = (await store.audit.page(limit=9, filter=AuditFilter(target="mail"))).entries
        assert str(entry.action) == "alert.test"

    async def test_the_history_is_bounded(self, store):
        """The last notifications are kept, newest first."""
        await self.alert(store, to=())
        sent = [await store.alerts.test("mail", tasks_of) for _ in range(KEPT_NOTIFICATIONS + 3)]
        assert await store.alerts.notifications("mail") == sent[:-51:-1]

    async def _failed_task(self, store, node, *, is_failed: bool = True):
        [claim] = await store.claim(node, limit=1)
        await store.settle([failed(claim) if is_failed else completed(claim)])
        return claim.task_id

    async def _schedule(self, store, name, every_seconds=3600.0):
        template = new_task(queue="q")
        timing = Timing(every_seconds=every_seconds)
        made = ScheduleDefinition(
            name=name, timing=timing, task=template.payload, template=template
        )
        await store.schedules.change(name, lambda _: made)

    async def test_failing_schedules(self, store):
        """A schedule fails while its last finished task is FAILED."""
        node = await store.register("here", lease_seconds=60)
        await self._schedule(store, "good")
        await self._schedule(store, "nightly")
        assert await store.schedules.failing(None, limit=9) == []
        await store.schedules.run_now("nightly")
        assert await store.schedules.failing(None, limit=9) == []  # it has not finished
        task_id = await self._failed_task(store, node)
        [one] = await store.schedules.failing(None, limit=9)
        assert (one.name, one.task_id, one.error) == ("nightly", task_id, "it failed")
        assert await store.schedules.failing("good", limit=9) == []
        assert len(await store.schedules.failing("nightly", limit=9)) == 1
        await store.schedules.run_now("nightly")
        await self._failed_task(store, node, is_failed=False)
        assert (await store.get(task_id)).status is TaskStatus.FAILED
        assert await store.schedules.failing(None, limit=9) == []

    async def test_schedules_that_are_late(self, store):
        """Before a late time is processed, and for some time afterwards."""
        await self._schedule(store, "rare")
        await self._schedule(store, "often", every_seconds=1.0)
        late = {"late_seconds": 0.3, "within_seconds": 600.0, "limit": 9}
        assert await store.schedules.overdue("rare", **late) == []
        while not (found := await store.schedules.overdue(None, **late)):
            await trio.sleep(0.05)
        assert [one.name for one in found] == ["often"]
        assert found[0].late_seconds >= 0.3
        assert (await store.schedules.fire_due(limit=9)).tasks
        [processed] = await store.schedules.overdue("often", **late)
        assert processed.at == found[0].at
        much = {**late, "late_seconds": 600.0}
        assert await store.schedules.overdue(None, **much) == []
        assert await store.schedules.overdue(None, **{**late, "limit": 0}) == []
