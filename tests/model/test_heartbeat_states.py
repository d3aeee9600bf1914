"""The states of heartbeats: each event in each state, deadlines, outages, and time zones."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.heartbeat_monitors import (
    HeartbeatState,
    MonitorDefinition,
    NewPing,
    Outage,
    Reason,
    Signal,
    StoredMonitor,
)
from taskflow.model.heartbeat_states import (
    apply_deadline,
    apply_definition,
    apply_ping,
    deadline_of,
    shown,
    state_at,
)
from taskflow.model.schedule import Timing

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
ID = uuid.UUID(int=1)
SUCCESS, START = NewPing(), NewPing(Signal.START)
FAIL = NewPing(Signal.FAIL, exit_code=3)
NEW, UP, STARTED = HeartbeatState.NEW, HeartbeatState.UP, HeartbeatState.STARTED
LATE, DOWN, PAUSED = HeartbeatState.LATE, HeartbeatState.DOWN, HeartbeatState.PAUSED


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def definition(**fields) -> MonitorDefinition:
    return MonitorDefinition(
        **{"name": "one", "timing": Timing(every_seconds=60), "grace_seconds": 30, **fields}
    )


def new(**fields) -> StoredMonitor:
    return apply_definition(definition(**fields), None, NOW, new_ping_id=ID).monitor


def pinged(monitor: StoredMonitor, *pings: tuple[float, NewPing]) -> StoredMonitor:
    for seconds, ping in pings:
        monitor = apply_ping(monitor, ping, after(seconds)).monitor
    return monitor


def redefined(monitor: StoredMonitor, seconds: float, **fields):
    changed = msgspec.structs.replace(monitor.definition, **fields)
    return apply_definition(changed, monitor, after(seconds), new_ping_id=ID)


def test_a_new_heartbeat_waits_for_its_first_ping():
    """It has no deadline before, however long that takes."""
    monitor = new()
    assert state_at(monitor, after(1e9)) is NEW
    assert deadline_of(monitor) is None
    assert apply_deadline(monitor, after(1e9)) is None
    up = apply_ping(monitor, SUCCESS, after(1e6))
    assert (up.transition.state, up.transition.reason, up.transition.number) == (
        UP,
        Reason.PINGED,
        2,
    )
    assert up.monitor.expected_at == after(1e6 + 60)


def test_a_ping_that_does_not_come():
    """It is due, then late during the grace time, and then missed: exactly once."""
    monitor = pinged(new(), (0, SUCCESS))
    assert state_at(monitor, after(59.9)) is UP
    assert state_at(monitor, after(60)) is LATE
    assert deadline_of(monitor) == after(90)
    assert apply_deadline(monitor, after(89.9)) is None
    missed = apply_deadline(monitor, after(95))
    assert (missed.transition.state, missed.transition.reason) == (DOWN, Reason.MISSED)
    assert missed.monitor.state_since == after(95)
    assert state_at(missed.monitor, after(95)) is DOWN
    assert apply_deadline(missed.monitor, after(1e6)) is None
    recovered = apply_ping(missed.monitor, SUCCESS, after(200))
    assert (recovered.transition.state, recovered.monitor.expected_at) == (UP, after(260))


def test_pings_in_time_are_no_transitions():
    """However many there are, late ones within the grace time too."""
    monitor = pinged(new(), (0, SUCCESS))
    for seconds in (60, 125, 210):
        step = apply_ping(monitor, SUCCESS, after(seconds))
        assert step.transition is None
        monitor = step.monitor
    assert (monitor.ping_count, monitor.transition_count) == (4, 2)


def test_a_job_that_reports_start_and_end():
    """It is started in between; the duration is that of the run."""
    monitor = pinged(new(), (0, SUCCESS), (60, START))
    assert state_at(monitor, after(61)) is STARTED
    done = apply_ping(monitor, SUCCESS, after(72.5))
    assert done.ping.duration_seconds == done.monitor.last_duration_seconds == 12.5
    assert (done.transition, done.monitor.started_at) == (None, None)
    again = apply_ping(done.monitor, SUCCESS, after(130))
    assert (again.ping.duration_seconds, again.monitor.last_duration_seconds) == (None, 12.5)


def test_a_job_that_starts_and_does_not_end():
    """It must end within its grace time, or within the time that it has."""
    monitor = pinged(new(), (0, SUCCESS), (10, START))
    assert deadline_of(monitor) == after(40)
    step = apply_deadline(monitor, after(40))
    assert (step.transition.state, step.transition.reason) == (DOWN, Reason.RAN_TOO_LONG)
    assert step.monitor.started_at is None
    slow = pinged(new(max_run_seconds=600), (0, SUCCESS), (70, START))
    assert deadline_of(slow) == after(670)


def test_a_job_that_starts_again_and_again():
    """It crashes each time: that does not defer the deadline for ever, not even at first."""
    known, first = pinged(new(max_run_seconds=50), (0, SUCCESS)), new(max_run_seconds=50)
    for seconds in range(0, 1000, 40):
        known, first = pinged(known, (seconds, START)), pinged(first, (seconds, START))
    assert deadline_of(known) == after(60 + 30 + 50)
    assert deadline_of(first) == after(0 + 30 + 50)


def test_failures():
    """They are down at once, one transition for many; a start after one changes nothing."""
    step = apply_ping(pinged(new(), (0, SUCCESS)), FAIL, after(5))
    assert (step.transition.state, step.transition.reason) == (DOWN, Reason.FAILED)
    assert step.monitor.last_exit_code == 3
    again = apply_ping(step.monitor, FAIL, after(6))
    assert again.transition is None
    started = apply_ping(again.monitor, START, after(7))
    assert (started.transition, state_at(started.monitor, after(8))) == (None, DOWN)
    assert deadline_of(started.monitor) is None
    assert apply_ping(started.monitor, SUCCESS, after(9)).transition.state is UP


def test_a_paused_heartbeat():
    """Pings are recorded, nothing is missed; resumed, it waits for the next ping from then on."""
    paused = redefined(pinged(new(), (0, SUCCESS), (55, START)), 60, paused=True)
    assert (paused.transition.state, paused.transition.reason) == (PAUSED, Reason.PAUSED)
    assert state_at(paused.monitor, after(1e6)) is PAUSED
    assert apply_deadline(paused.monitor, after(1e6)) is None
    failed = apply_ping(paused.monitor, FAIL, after(100))
    assert (failed.transition, failed.ping.number) == (None, 3)
    resumed = redefined(paused.monitor, 1000, paused=False)
    assert (resumed.transition.state, resumed.transition.reason) == (UP, Reason.RESUMED)
    assert resumed.monitor.expected_at == after(1060)
    assert redefined(failed.monitor, 1000, paused=False).transition.state is DOWN
    new_one = redefined(redefined(new(), 1, paused=True).monitor, 2, paused=False)
    assert (new_one.transition.state, deadline_of(new_one.monitor)) == (NEW, None)


def test_a_change_of_the_timing():
    """The next ping is due as if one had been received now; other changes leave it as it is."""
    monitor = pinged(new(), (0, SUCCESS))
    longer = redefined(monitor, 80, timing=Timing(every_seconds=3600))
    assert (longer.transition, longer.monitor.expected_at) == (None, after(3680))
    other = redefined(monitor, 80, description="x", grace_seconds=10)
    assert (other.monitor.expected_at, deadline_of(other.monitor)) == (after(60), after(70))
    down = apply_deadline(monitor, after(90)).monitor
    assert redefined(down, 95, timing=Timing(every_seconds=30)).monitor.state is DOWN


OUTAGES = [
    pytest.param(50, 65, id="when the ping was due"),
    pytest.param(70, 85, id="in the grace time"),
    pytest.param(80, 200, id="until long after"),
]


@pytest.mark.parametrize(("since", "until"), OUTAGES)
def test_a_ping_that_may_be_lost(since, until):
    """The next one is waited for, as from the end of the outage."""
    monitor = pinged(new(), (0, SUCCESS))
    outage = Outage(after(since), after(until))
    step = apply_deadline(monitor, after(max(90, until)), [outage])
    assert (step.transition.state, step.transition.reason) == (UP, Reason.OUTAGE)
    assert step.monitor.expected_at == after(until + 60)
    missed = apply_deadline(step.monitor, after(until + 90), [outage])
    assert missed.transition.state is DOWN


@pytest.mark.parametrize(("since", "until"), [(-100, 59), (90, 200)])
def test_a_ping_that_cannot_be_lost(since, until):
    """The outage was over before it was due, or began after the deadline."""
    monitor = pinged(new(), (0, SUCCESS))
    step = apply_deadline(monitor, after(200), [Outage(after(since), after(until))])
    assert step.transition.state is DOWN


def test_an_end_that_may_be_lost():
    """The outage began during the run; a heartbeat without any ping waits for its first again."""
    outage = [Outage(after(15), after(80))]
    known = pinged(new(), (0, SUCCESS), (10, START))
    step = apply_deadline(known, after(80), outage)
    assert (step.transition.reason, step.monitor.started_at) == (Reason.OUTAGE, None)
    assert step.monitor.expected_at == after(140)
    first = apply_deadline(pinged(new(), (10, START)), after(80), outage)
    assert (first.monitor.state, deadline_of(first.monitor)) == (NEW, None)


def test_times_of_cron_in_a_zone():
    """The gap and the overlap of a zone: a daily ping is expected once on each of these days."""
    for day, expected in (
        (dt.datetime(2027, 3, 27, 1, 30, tzinfo=dt.UTC), (3, 28, 1, 0)),  # 2:30 is skipped
        (dt.datetime(2027, 10, 30, 0, 30, tzinfo=dt.UTC), (10, 31, 0, 30)),  # the first 2:30
        (dt.datetime(2027, 10, 31, 0, 31, tzinfo=dt.UTC), (11, 1, 1, 30)),  # not the second one
    ):
        timing = Timing(cron="30 2 * * *", timezone="Europe/Berlin")
        monitor = apply_ping(new(timing=timing), SUCCESS, day).monitor
        assert monitor.expected_at == dt.datetime(2027, *expected, tzinfo=dt.UTC)


def test_a_ping_shortly_before_its_time():
    """The job's clock is ahead: the ping counts for that time. A minute before is another ping."""
    timing = Timing(cron="0 * * * *")
    monitor = pinged(new(timing=timing), (10, SUCCESS))
    assert monitor.expected_at == after(3600)
    assert pinged(monitor, (3596, SUCCESS)).expected_at == after(7200)
    assert pinged(monitor, (3540, SUCCESS)).expected_at == after(3600)


def test_what_is_shown():
    """The next time, the deadline and the last ping; of a paused one, nothing is expected."""
    monitor = pinged(new(description="backup"), (0, SUCCESS), (61, START), (64, FAIL))
    seen = shown(monitor, after(65), "https://t.example/ping/x")
    assert (seen.state, seen.ping_url, seen.last_signal) == (
        DOWN,
        "https://t.example/ping/x",
        Signal.FAIL,
    )
    assert (seen.last_exit_code, seen.last_duration_seconds, seen.ping_count) == (3, 3.0, 3)
    paused = shown(redefined(monitor, 70, paused=True).monitor, after(71))
    assert (paused.state, paused.next_expected_at, paused.down_at) == (PAUSED, None, None)


EVENTS = st.sampled_from(["success", "start", "fail", "deadline", "pause", "resume", "outage"])


@given(st.lists(st.tuples(EVENTS, st.integers(0, 100)), max_size=30))
def test_any_events_in_any_order(events):
    """Transitions alternate and are numbered without gaps, and a watched heartbeat ends as down."""
    monitor, at, numbers = new(), 0.0, [1]
    outages = []
    for event, pause in events:
        at += pause
        match event:
            case "deadline":
                step = apply_deadline(monitor, after(at), outages)
            case "outage":
                outages.append(Outage(after(at), after(at + 10)))
                at += 10
                step = None
            case "pause" | "resume":
                step = redefined(monitor, at, paused=event == "pause")
            case _:
                step = apply_ping(monitor, NewPing(Signal(event)), after(at))
        if step is None:
            continue
        if step.transition is not None:
            numbers.append(step.transition.number)
            assert step.monitor.state_since == step.transition.at == after(at)
        monitor = step.monitor
        assert monitor.state in {NEW, UP, DOWN}
    assert numbers == list(range(1, monitor.transition_count + 1))
    if monitor.state is UP and not monitor.definition.paused:
        assert apply_deadline(monitor, after(at + 1e4)).transition.state is DOWN or outages
