"""The evaluation of alerts: each is evaluated by one node at a time.

An evaluation reads what the alert watches, and then writes its state and the tasks that notify in
one transaction. If the node dies between the two, another one evaluates the alert seconds later:
what is watched is stored, and does not pass by unseen meanwhile.
"""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Final

import trio

from taskflow.engine.alert_conditions import observe
from taskflow.metrics import Metrics
from taskflow.model.alert_messages import Notify, tasks_of
from taskflow.model.alerts import AlertOn, NoticeKind, StoredAlert
from taskflow.model.errors import StoreUnavailable
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.alerts import Evaluated
from taskflow.store.base.partial_reads import partial_reads
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import Event, emit, emit_throttled

EVALUATE_SECONDS: Final = 10.0
"""Interval of evaluations, on all nodes together."""

TAKEN_SECONDS: Final = 9.0
"""Time after which another node takes an alert: it may be evaluated by each node in turn."""

SLOW_EVALUATE_SECONDS: Final = 60.0
"""The same of conditions that read each schedule, or search tasks."""

_EVENTS: Final = {
    NoticeKind.FIRING: Event.ALERT_FIRING,
    NoticeKind.FIRED: Event.ALERT_FIRING,
    NoticeKind.RECOVERED: Event.ALERT_RECOVERED,
}


class AlertEvaluation:
    """Evaluates alerts.

    Args:
        store: Has them, and what they watch.
        settings: All settings.
        metrics: Counts notifications.
    """

    def __init__(self, store: TaskStore, settings: Settings, metrics: Metrics) -> None:
        self._store: Final = store
        self._notify: Final[Notify] = partial(tasks_of, public_url=settings.public_url)
        self._metrics: Final = metrics
        self._masking: Final = Masking(settings.masked_headers)
        self._poll_seconds: Final = settings.poll_seconds

    async def run(self) -> None:
        """Evaluate the alerts that are due until cancelled. Other parts report outages."""
        while True:
            try:
                await self.step()
            except StoreUnavailable as error:
                emit_throttled(Event.ALERT_NOT_EVALUATED, reason=str(error))
            await trio.sleep(max(EVALUATE_SECONDS, self._poll_seconds))

    async def step(self) -> None:
        """Evaluate the alerts that are due, and that no other node has taken.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        due = await self._store.alerts.take_due(every_seconds=TAKEN_SECONDS)
        for alert in due.alerts:
            if _is_due(alert, due.now):
                await self._evaluate(alert, due.now)

    async def _evaluate(self, alert: StoredAlert, now: dt.datetime) -> None:
        name = alert.definition.name
        try:
            with partial_reads() as missing:
                observation = await observe(self._store, alert, now, self._masking, missing)
            done = await self._store.alerts.evaluate(alert, observation, self._notify)
        except StoreUnavailable as error:
            emit_throttled(Event.ALERT_NOT_EVALUATED, alert=name, reason=str(error))
            return
        except Exception as error:  # noqa: BLE001 - others are evaluated all the same
            emit_throttled(Event.ALERT_NOT_EVALUATED, alert=name, reason=repr(error))
            return
        if done is not None and done.notice is not None:
            self._report(name, done, done.notice)

    def _report(self, name: str, done: Evaluated, notice: NoticeKind) -> None:
        self._metrics.alert_notified(notice)
        emit(_EVENTS[notice], alert=name, notifications=len(done.tasks))


def _is_due(alert: StoredAlert, now: dt.datetime) -> bool:
    definition, at = alert.definition, alert.state.evaluated_at
    is_slow = definition.on is AlertOn.CREDENTIAL_FAILING or (
        definition.on is AlertOn.SCHEDULE_FAILED and definition.schedule is None
    )
    return not is_slow or at is None or at + dt.timedelta(seconds=SLOW_EVALUATE_SECONDS) <= now
