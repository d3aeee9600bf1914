"""The evaluation of alerts, on Trio's virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.engine import alerts
from taskflow.engine.alert_conditions import observe
from taskflow.engine.alerts import EVALUATE_SECONDS, AlertEvaluation
from taskflow.metrics import Metrics
from taskflow.model.alert_destinations import StoredDestination
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    ALERTS_QUEUE,
    LOST_NODE_SECONDS,
    AlertDefinition,
    AlertOn,
    NoticeKind,
    StoredAlert,
)
from taskflow.model.errors import StoreUnavailable
from taskflow.settings import Settings
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.logs import capture_logs
from tests.store.contract import failed, new_task
from tests.store.test_cells import memory_cells

TO = (StoredDestination(kind=DestinationKind.EMAIL, addresses=("ops@example.com",)),)


@pytest.fixture
async def store():
    return MemoryStore()


async def put(store: MemoryStore, name: str = "a", **fields) -> None:
    definition = AlertDefinition(**{"name": name, "on": AlertOn.TASK_FAILED, "to": TO, **fields})
    await store.alerts.put(name, lambda _: definition)


async def fail(store: MemoryStore, queue: str = "q") -> None:
    node = await store.register("here", lease_seconds=60)
    await store.add([new_task(queue=queue)])
    [claim] = await store.claim(node, limit=1)
    await store.settle([failed(claim)])
    await store.retire(node)


async def kinds(store: MemoryStore, name: str = "a") -> list[NoticeKind]:
    return [one.kind for one in reversed(await store.alerts.notifications(name))]


@pytest.fixture
async def evaluation(store, nursery):
    metrics = Metrics()
    nursery.start_soon(AlertEvaluation(store, Settings(), metrics).run)
    return metrics


async def test_failures_are_noticed_and_over_after_the_window(autojump_clock, store, evaluation):
    """Several evaluations make one notification; the end of the window is the recovery."""
    await put(store, queue="q", window_seconds=60.0)
    await fail(store)
    await trio.sleep(5 * EVALUATE_SECONDS)
    assert await kinds(store) == [NoticeKind.FIRING]
    await trio.sleep(180)
    assert await kinds(store) == [NoticeKind.FIRING, NoticeKind.RECOVERED]


async def test_failures_of_notifications_do_not_count(autojump_clock, store, evaluation):
    """An alert on all queues does not see them."""
    await put(store)
    await fail(store, ALERTS_QUEUE)
    await trio.sleep(5 * EVALUATE_SECONDS)
    assert await kinds(store) == []
    await fail(store)
    await trio.sleep(5 * EVALUATE_SECONDS)
    assert await kinds(store) == [NoticeKind.FIRING]


async def test_failures_while_nobody_evaluated(autojump_clock, store):
    """They are noticed afterwards, also if the window is over."""
    await put(store, window_seconds=60.0)
    one = AlertEvaluation(store, Settings(), Metrics())
    await one.step()
    await trio.sleep(30)
    await fail(store)
    await trio.sleep(1200)
    await one.step()
    assert await kinds(store) == [NoticeKind.FIRING]


async def test_a_lost_node(autojump_clock, store, evaluation):
    """It fires although the node is known for a moment only, and is over after minutes."""
    await put(store, on=AlertOn.NODE_LOST)
    await store.register("dead", lease_seconds=1)
    alive = await store.register("alive", lease_seconds=3600)
    await trio.sleep(3 * EVALUATE_SECONDS)
    assert await kinds(store) == [NoticeKind.FIRING]
    assert (await store.alerts.get("a")).state.subjects[0].name.startswith("dead ")
    store._nodes.pop(next(one for one in store._nodes if one != alive))
    await trio.sleep(LOST_NODE_SECONDS + 2 * EVALUATE_SECONDS)
    assert await kinds(store) == [NoticeKind.FIRING, NoticeKind.RECOVERED]


async def test_an_alert_that_cannot_be_evaluated(autojump_clock, store, monkeypatch):
    """Others are, and the log says which one was not."""
    await put(store, "broken")
    await put(store, "good")
    await fail(store)

    async def observe_good(store, alert: StoredAlert, *rest):
        if alert.definition.name == "broken":
            raise RuntimeError("it cannot be read")
        return await observe(store, alert, *rest)

    monkeypatch.setattr(alerts, "observe", observe_good)
    with capture_logs() as events:
        await AlertEvaluation(store, Settings(), Metrics()).step()
    assert await kinds(store, "good") == [NoticeKind.FIRING]
    assert await kinds(store, "broken") == []
    [complaint] = [one for one in events if one["event"] == Event.ALERT_NOT_EVALUATED.wording]
    assert complaint["alert"] == "broken"


async def test_an_outage_of_the_store(autojump_clock, store, nursery, monkeypatch):
    """The evaluation goes on afterwards."""
    await put(store)
    await fail(store)
    take_due = store.alerts.take_due

    async def unavailable(**_):
        raise StoreUnavailable

    monkeypatch.setattr(store.alerts, "take_due", unavailable)
    nursery.start_soon(AlertEvaluation(store, Settings(), Metrics()).run)
    await trio.sleep(5 * EVALUATE_SECONDS)
    assert await kinds(store) == []
    monkeypatch.setattr(store.alerts, "take_due", take_due)
    await trio.sleep(2 * EVALUATE_SECONDS)
    assert await kinds(store) == [NoticeKind.FIRING]


async def test_rows_that_no_version_wrote(autojump_clock, store):
    """A definition without its thresholds is shown and evaluated."""
    definition = AlertDefinition(name="a", on=AlertOn.FAILURE_RATE, to=TO)
    await store.alerts.put("a", lambda _: definition)
    broken = msgspec.structs.replace(
        definition,
        name="b",
        to=(StoredDestination(kind=DestinationKind.WEBHOOK),),
        on=AlertOn.TASK_FAILED,
    )
    await store.alerts.put("b", lambda _: broken)
    await fail(store)
    await AlertEvaluation(store, Settings(), Metrics()).step()
    assert await kinds(store) == []
    assert await kinds(store, "b") == [NoticeKind.FIRING]


async def test_cells(autojump_clock):
    """An alert watches all cells. While one does not answer, nothing recovers."""
    store = memory_cells()
    await put(store, window_seconds=60.0)
    queue = next(
        name for name in map("q{}".format, range(99)) if store.cells.home_of(name).number != 0
    )
    home = store.cells.home_of(queue)
    await fail(home.store, queue)
    evaluation = AlertEvaluation(store, Settings(), Metrics())
    await evaluation.step()
    assert await kinds(store) == [NoticeKind.FIRING]
    lost, home.store = home.store, None
    await trio.sleep(600)
    await evaluation.step()
    assert await kinds(store) == [NoticeKind.FIRING]
    home.store = lost
    await trio.sleep(600)
    await evaluation.step()
    assert await kinds(store) == [NoticeKind.FIRING, NoticeKind.RECOVERED]
    [*_, sent] = await store.alerts.notifications("a")
    assert await store.cells.first.store.get(sent.tasks[0]) is not None
