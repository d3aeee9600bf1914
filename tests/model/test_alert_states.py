"""When an alert notifies."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from taskflow.model.alert_destinations import StoredDestination
from taskflow.model.alert_states import Observation, evaluated
from taskflow.model.alert_target import DestinationKind
from taskflow.model.alerts import (
    CONDITIONS,
    LOST_NODE_SECONDS,
    MAX_SUBJECTS,
    AlertDefinition,
    AlertOn,
    AlertStatus,
    NoticeKind,
    StoredAlert,
    Subject,
    alert_after,
    shown_alert,
)

START = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
FIRING = Observation((Subject("mail", "3 FAILED"),))
OK = Observation()


def definition(**fields) -> AlertDefinition:
    to = (StoredDestination(kind=DestinationKind.EMAIL, addresses=("ops@example.com",)),)
    return AlertDefinition(
        **{"name": "mail", "on": AlertOn.TASK_FAILED, "to": to, "every_seconds": 600, **fields}
    )


class Clock:
    """An alert that is evaluated at given seconds."""

    def __init__(self, **fields) -> None:
        self.alert = alert_after(definition(**fields), None, START)

    def at(self, seconds: float, observation: Observation) -> NoticeKind | None:
        now = START + dt.timedelta(seconds=seconds)
        state, kind = evaluated(self.alert, observation, now)
        self.alert = msgspec.structs.replace(self.alert, state=state)
        return kind

    def silence(self, seconds: float) -> None:
        until = START + dt.timedelta(seconds=seconds)
        self.alert = msgspec.structs.replace(self.alert, silenced_until=until)


def test_firing_and_recovery():
    """It notifies at once when it fires, and once when that has ended."""
    clock = Clock()
    assert clock.at(0, OK) is None
    assert clock.at(10, FIRING) is NoticeKind.FIRING
    assert clock.at(20, FIRING) is None
    assert clock.alert.state.since == START + dt.timedelta(seconds=10)
    assert clock.at(30, OK) is NoticeKind.RECOVERED
    assert clock.at(40, OK) is None
    assert clock.alert.state.since == START + dt.timedelta(seconds=30)


def test_it_repeats_once_a_period():
    """While it fires, at most one notification is sent in every_seconds."""
    clock = Clock()
    sent = [seconds for seconds in range(0, 1900, 10) if clock.at(seconds, FIRING)]
    assert sent == [0, 600, 1200, 1800]


def test_a_flapping_condition_is_not_lost():
    """What fires again within the period is notified at its end, even if it is over by then."""
    clock = Clock()
    assert clock.at(0, FIRING) is NoticeKind.FIRING
    assert clock.at(10, OK) is NoticeKind.RECOVERED
    for seconds in range(20, 600, 20):
        assert clock.at(seconds, FIRING) is None
        assert clock.at(seconds + 10, OK) is None
    assert clock.alert.state.unannounced == 29
    assert clock.at(610, OK) is NoticeKind.FIRED
    assert clock.at(620, OK) is None
    assert clock.at(630, FIRING) is None  # a period after that one
    assert clock.at(1210, FIRING) is NoticeKind.FIRING


def test_without_notices_of_recovery():
    """Then only firing is notified, still once a period."""
    clock = Clock(notify_recovery=False)
    assert clock.at(0, FIRING) is NoticeKind.FIRING
    assert clock.at(10, OK) is None
    assert clock.at(20, FIRING) is None
    assert clock.at(600, FIRING) is NoticeKind.FIRING


def test_silence():
    """What begins and ends in it is not notified; what goes on is, afterwards."""
    clock = Clock()
    clock.silence(100)
    assert clock.at(0, FIRING) is None
    assert clock.at(10, OK) is None
    assert clock.at(110, OK) is None
    clock.silence(300)
    assert clock.at(200, FIRING) is None
    assert clock.at(290, FIRING) is None
    assert clock.at(310, FIRING) is NoticeKind.FIRING
    clock.silence(500)
    assert clock.at(400, OK) is None
    assert clock.at(510, OK) is NoticeKind.RECOVERED


def test_a_part_of_the_store_that_does_not_answer():
    """It makes nothing recover, and what it does see fires."""
    clock = Clock()
    blind = msgspec.structs.replace(OK, is_complete=False)
    assert clock.at(0, blind) is None
    assert clock.at(10, msgspec.structs.replace(FIRING, is_complete=False)) is NoticeKind.FIRING
    assert clock.at(20, blind) is None
    assert clock.alert.state.is_firing
    assert clock.at(30, OK) is NoticeKind.RECOVERED


def test_a_lost_node_is_remembered():
    """Its row is deleted after a minute, and the alert fires on for minutes."""
    clock = Clock(on=AlertOn.NODE_LOST)
    assert clock.at(0, Observation((Subject("a"),))) is NoticeKind.FIRING
    assert clock.at(LOST_NODE_SECONDS - 1, OK) is None
    assert clock.alert.state.is_firing
    assert clock.at(LOST_NODE_SECONDS, OK) is NoticeKind.RECOVERED


def test_subjects_are_bounded():
    """The state names some, and counts all."""
    clock = Clock()
    clock.at(0, Observation(tuple(Subject(f"host-{number}") for number in range(100))))
    assert len(clock.alert.state.subjects) == MAX_SUBJECTS
    assert clock.alert.state.subject_count == 100


def test_a_change_of_the_condition_begins_anew():
    """Another threshold forgets the state, another destination does not."""
    clock = Clock()
    clock.at(0, FIRING)
    same = alert_after(definition(every_seconds=60), clock.alert, START)
    assert same.state == clock.alert.state
    other = alert_after(definition(minimum=5), clock.alert, START)
    assert not other.state.is_firing
    assert other.revision > clock.alert.revision


def test_the_status():
    """Each has a name."""
    clock = Clock()
    assert shown_alert(clock.alert).status is AlertStatus.NEW
    clock.at(0, FIRING)
    assert shown_alert(clock.alert).status is AlertStatus.FIRING
    clock.at(10, OK)
    assert shown_alert(clock.alert).status is AlertStatus.OK
    paused = alert_after(definition(paused=True), clock.alert, START)
    assert shown_alert(paused).status is AlertStatus.PAUSED


@pytest.mark.parametrize("on", AlertOn)
def test_defaults_are_shown(on):
    """Each condition is declared, and shows the thresholds that apply."""
    thresholds = CONDITIONS[on].thresholds
    required = {name: one.minimum for name, one in thresholds.items() if one.default is None}
    alert = StoredAlert(
        definition=definition(on=on, **required), created_at=START, updated_at=START
    )
    shown = shown_alert(alert)
    assert all(getattr(shown, name) is not None for name in thresholds)
