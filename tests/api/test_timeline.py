"""The timeline of a task: which phases it has, and that no times can break it."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.api.dashboard import timeline as timelines
from taskflow.api.dashboard.timeline import WIDTH, timeline
from taskflow.model.completion import Completion
from taskflow.model.order_keys import WaitingFor, WaitReason
from taskflow.model.queue_limits import Hold, HoldReason
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus

NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
ID = uuid.UUID(int=7)
BY_KEY = {"after": (ID,), "order_key": "k"}


def at(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else NOW + dt.timedelta(seconds=seconds)


def task_of(status="PENDING", run_at=0.0, finished_at=None, **fields) -> Task:
    return Task(
        id=ID,
        payload=msgspec.Raw(b'"http://a/"'),
        status=TaskStatus(status),
        created_at=NOW,
        run_at=at(run_at),
        finished_at=at(finished_at),
        **fields,
    )


def tried(number, status, start, end=None, code=None) -> AttemptRecord:
    return AttemptRecord(
        number=number,
        status=AttemptStatus(status),
        node="a:1",
        started_at=at(start),
        finished_at=at(end),
        status_code=code,
    )


def phases(task, *attempts, now=100.0):
    found = timeline(task, attempts, NOW.timestamp() + now)
    return [(one.kind, one.name, round(one.seconds, 3)) for one in found.phases]


@pytest.mark.parametrize(
    ("task", "attempts", "expected"),
    [
        (
            task_of("COMPLETED", 0, 3),
            [tried(1, "COMPLETED", 1, 3, 200)],
            [("wait", "Waited to start", 1), ("completed", "Attempt 1: COMPLETED", 2)],
        ),
        (
            task_of("COMPLETED", 5, 8),
            [tried(1, "COMPLETED", 6, 8)],
            [
                ("scheduled", "Scheduled", 5),
                ("wait", "Waited to start", 1),
                ("completed", "Attempt 1: COMPLETED", 2),
            ],
        ),
        (
            task_of("FAILED", 14, 16),
            [tried(1, "FAILED", 0, 2), tried(2, "FAILED", 5, 8), tried(3, "FAILED", 15, 16)],
            [
                ("failed", "Attempt 1: FAILED", 2),
                ("backoff", "Backed off and waited to start", 3),
                ("failed", "Attempt 2: FAILED", 3),
                ("backoff", "Backed off", 6),
                ("wait", "Waited to start", 1),
                ("failed", "Attempt 3: FAILED", 1),
            ],
        ),
        (
            task_of("COMPLETED", 4, 7, after=(ID,)),
            [tried(1, "COMPLETED", 5, 7)],
            [
                ("held", "Waited for its parents", 4),
                ("wait", "Waited to start", 1),
                ("completed", "Attempt 1: COMPLETED", 2),
            ],
        ),
        (
            task_of("COMPLETED", 4, 7, order_key="k"),
            [tried(1, "COMPLETED", 4, 7)],
            [
                ("held", "Waited for its turn", 4),
                ("completed", "Attempt 1: COMPLETED", 3),
            ],
        ),
        (
            task_of("RUNNING", 0, attempt=1),
            [tried(1, "LOST", 1, 30), tried(1, "RUNNING", 31)],
            [
                ("wait", "Waited to start", 1),
                ("canceled", "Attempt 1: LOST", 29),
                ("wait", "Waited to start", 1),
                ("running", "Attempt 1: RUNNING", 69),
            ],
        ),
        (
            task_of("COMPLETED", 50, 52),
            [tried(1, "FAILED", 0, 2), tried(1, "COMPLETED", 51, 52)],
            [
                ("failed", "Attempt 1: FAILED", 2),
                ("idle", "Finished, until a client retried it", 48),
                ("wait", "Waited to start", 1),
                ("completed", "Attempt 1: COMPLETED", 1),
            ],
        ),
        (
            task_of("CANCELED", 60, 20),
            [],
            [("scheduled", "Scheduled", 20)],
        ),
        (
            task_of("CANCELED", 60, 20),
            [tried(1, "FAILED", 0, 2)],
            [
                ("failed", "Attempt 1: FAILED", 2),
                ("backoff", "Backed off", 18),
            ],
        ),
        (
            task_of("FAILED", 0, 20),
            [],
            [("wait", "Waited to start", 20)],
        ),
    ],
    ids=[
        *("at once", "after a delay", "three attempts", "parents", "order key", "a lost node"),
        *("retried by a client", "canceled early", "canceled in a backoff", "expired"),
    ],
)
def test_a_task_that_started(task, attempts, expected):
    """Each phase has a name and a duration, and no time is left out."""
    assert phases(task, *attempts) == expected


@pytest.mark.parametrize(
    ("task", "attempts", "expected", "detail"),
    [
        (task_of(run_at=300), [], ("scheduled", "Scheduled", 100), "until 2026-11-27 12:05:00 UTC"),
        (task_of(run_at=0), [], ("wait", "Waits to start", 100), ""),
        (
            task_of(run_at=0, held=Hold(HoldReason.QUEUE_PAUSED, "the queue is paused")),
            [],
            ("held", "Held", 100),
            "the queue is paused",
        ),
        (
            task_of(run_at=None, waiting_for=WaitingFor(WaitReason.PARENTS, ID, "x"), after=(ID,)),
            [],
            ("held", "Waits for its parents", 100),
            "",
        ),
        (
            task_of(run_at=None, waiting_for=WaitingFor(WaitReason.ORDER_KEY, ID, "x")),
            [],
            ("held", "Waits for its turn", 100),
            "",
        ),
        (
            task_of(run_at=130, attempt=1),
            [tried(1, "FAILED", 0, 2)],
            ("backoff", "Backs off", 98),
            "until 2026-11-27 12:02:10 UTC",
        ),
        (
            task_of(
                "RUNNING",
                waiting_for=WaitingFor(WaitReason.COMPLETION, None, "x"),
                completion=Completion("poll", 60),
            ),
            [tried(1, "RUNNING", 40)],
            ("parked", "Attempt 1: waits for its outcome", 60),
            "",
        ),
    ],
)
def test_a_task_that_waits(task, attempts, expected, detail):
    """The last phase is open, ends now, and has its reason."""
    last = timeline(task, attempts, NOW.timestamp() + 100).phases[-1]
    assert (last.kind, last.name, last.seconds) == expected
    assert (last.detail, last.is_open) == (detail, True)


def test_a_task_that_a_client_has_retried():
    """It waits to start from then on, and was finished before."""
    assert phases(task_of(run_at=60), tried(1, "FAILED", 0, 2))[-2:] == [
        ("idle", "Finished, until a client retried it", 58),
        ("wait", "Waits to start", 40),
    ]


def test_many_attempts_share_a_phase():
    """The page stays small, and the time axis is the whole one."""
    attempts = [tried(n, "FAILED", 10 * n, 10 * n + 1) for n in range(1, 101)]
    found = timeline(task_of("FAILED", 1000, 1001), attempts, NOW.timestamp() + 2000)
    assert found.phases[0].name == "75 earlier attempts"
    assert found.phases[0].seconds == 760
    assert len(found.phases) < 3 * timelines.MAX_ATTEMPTS
    assert found.seconds == 1001


MOMENTS = st.one_of(
    st.none(),
    st.integers(-10, 10),
    st.sampled_from([-6e10, 2.5e11]),
)


@given(
    st.sampled_from(TaskStatus),
    MOMENTS,
    MOMENTS,
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(AttemptStatus), MOMENTS, MOMENTS)),
    st.booleans(),
)
def test_no_times_break_it(status, run_at, finished_at, rows, has_keys):
    """Phases follow each other, none is negative, and bars are within the chart."""
    task = task_of(status, run_at, finished_at, **(BY_KEY if has_keys else {}))
    attempts = [
        tried(number, kind, 0 if start is None else start, end) for number, kind, start, end in rows
    ]
    found = timeline(task, attempts, NOW.timestamp() + 5)
    assert found.seconds >= 0
    for before, after in zip(found.phases, found.phases[1:], strict=False):
        assert 0 <= after.start - before.end < 0.01
    for phase in found.phases:
        assert phase.seconds >= 0
        assert 0 <= phase.x <= phase.x + phase.width <= WIDTH + 0.1
        assert phase.started_at is None or phase.started_at.tzinfo is dt.UTC
