"""The timeline of a task: its phases from the submission to the outcome, named and timed.

It is computed from the task and its attempts. Only the last due time of a task is stored, so a
delay between two earlier attempts is one phase with the time that the task then waited to start:
for a worker, or because a limit held it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from taskflow.model.order_keys import WaitReason
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus

WIDTH: Final = 1000
MAX_ATTEMPTS: Final = 25
"""Maximum number of attempts with a phase of their own; the earlier ones share a phase."""
_MIN_WIDTH: Final = 4.0
_SAME_MOMENT_SECONDS: Final = 1e-3
_UNCOUNTED: Final = (AttemptStatus.INTERRUPTED, AttemptStatus.LOST)
_WAITS: Final = ("wait", "scheduled", "held", "backoff", "idle")
_START: Final = ("wait", "Waited to start", "")
_RETRIED: Final = ("idle", "Finished, until a client retried it", "")
_BACKOFF: Final = ("backoff", "Backed off", "")
_SCHEDULED_OR_WAITED: Final = ("wait", "Scheduled, or waited to start", "")
_BACKOFF_AND_START: Final = ("backoff", "Backed off and waited to start", "")


class Phase(NamedTuple):
    """A phase of a task.

    Attributes:
        kind: What the task did, which decides the color: ``wait``, ``scheduled``, ``held``,
            ``backoff``, ``idle``, ``running``, ``parked``, or the status of an attempt in lower
            case.
        name: The name of the phase.
        detail: What else is known; may be empty.
        start: When it started, in seconds since 1970.
        end: When it ended, or the current time.
        is_open: True if it has not ended.
        x: The left edge of its bar, of ``WIDTH``.
        width: The width of its bar.
    """

    kind: str
    name: str
    detail: str
    start: float
    end: float
    is_open: bool = False
    x: float = 0.0
    width: float = 0.0

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.end - self.start

    @property
    def started_at(self) -> dt.datetime | None:
        """When it started; ``None`` if that is no time of the calendar."""
        try:
            return dt.datetime.fromtimestamp(self.start, dt.UTC)
        except (ValueError, OverflowError, OSError):
            return None


class Timeline(NamedTuple):
    """The phases of a task, in order.

    Attributes:
        phases: The phases, without gaps of a millisecond or more between them.
        seconds: Time from the submission to the outcome, or to now.
    """

    phases: list[Phase]
    seconds: float


def timeline(task: Task, attempts: Sequence[AttemptRecord], now: float) -> Timeline:
    """Return the timeline of a task. Times that contradict each other give phases without duration.

    Args:
        task: The task.
        attempts: Its attempts, in order.
        now: The current time, in seconds since 1970.
    """
    start = task.created_at.timestamp()
    phases: list[Phase] = []
    at = start
    if len(attempts) > MAX_ATTEMPTS:
        earlier, attempts = attempts[:-MAX_ATTEMPTS], attempts[-MAX_ATTEMPTS:]
        at = max(at, attempts[0].started_at.timestamp())
        phases.append(Phase("backoff", f"{len(earlier)} earlier attempts", "", start, at))
    previous = None
    for attempt in attempts:
        begin = max(at, attempt.started_at.timestamp())
        if not (phases and previous is None):
            is_retried = _is_retried(previous, attempt)
            phases += _gap(task, previous, at, begin, is_retried=is_retried)
        at = max(begin, attempt.finished_at.timestamp() if attempt.finished_at else now)
        phases.append(_run(task, attempt, begin, at))
        previous = attempt
    phases += _last(task, previous, at, now)
    end = max([start, *(phase.end for phase in phases)])
    shown = [_placed(phase, start, end) for phase in phases if _is_shown(phase)]
    return Timeline(shown, end - start)


def _is_shown(phase: Phase) -> bool:
    """Return whether a phase has a duration, or is an attempt."""
    is_wait = phase.kind in _WAITS and not phase.is_open
    return not is_wait or phase.seconds >= _SAME_MOMENT_SECONDS


def _gap(
    task: Task, previous: AttemptRecord | None, at: float, end: float, *, is_retried: bool
) -> Iterator[Phase]:
    """Return the phases between two attempts, split at the last due time if it is among them."""
    due = _due(task, at)
    if at <= due <= end:
        if due > at:
            yield Phase(*_delay(task, previous, is_retried=is_retried), at, due)
        yield Phase(*_START, due, end)
    elif previous is None:
        wait = _first_wait(task)
        yield Phase(*(_SCHEDULED_OR_WAITED if due > end and wait is _START else wait), at, end)
    elif is_retried:
        yield Phase(*_RETRIED, at, end)
    else:
        yield Phase(*(_START if previous.status in _UNCOUNTED else _BACKOFF_AND_START), at, end)


def _due(task: Task, at: float) -> float:
    return at if task.run_at is None else task.run_at.timestamp()


def _is_retried(previous: AttemptRecord | None, following: AttemptRecord) -> bool:
    """Return whether a client retried the finished task between two attempts: they count anew."""
    if previous is None or previous.status in _UNCOUNTED:
        return False
    return following.number <= previous.number


def _delay(task: Task, previous: AttemptRecord | None, *, is_retried: bool) -> tuple[str, str, str]:
    if is_retried:
        return _RETRIED
    if previous is None:
        kind, name, detail = _first_wait(task)
        return (kind, name, detail) if kind != "wait" else ("scheduled", "Scheduled", "")
    if previous.status in _UNCOUNTED:
        return "backoff", "Postponed", ""
    return _BACKOFF


def _first_wait(task: Task) -> tuple[str, str, str]:
    """Return the phase before the first attempt, if it is not known when the task became due."""
    if task.after is not None:
        return "held", "Waited for its parents", ""
    if task.order_key is not None:
        return "held", "Waited for its turn", "order key"
    return _START


def _run(task: Task, attempt: AttemptRecord, start: float, end: float) -> Phase:
    name = f"Attempt {attempt.number}"
    if attempt.status is not AttemptStatus.RUNNING:
        status = "" if attempt.status_code is None else f"status {attempt.status_code}"
        if task.completion is not None:
            status += f"{', ' if status else ''}with the work of its target"
        kind = "canceled" if attempt.status in _UNCOUNTED else attempt.status.lower()
        return Phase(kind, f"{name}: {attempt.status}", status, start, end)
    if _waits(task, WaitReason.COMPLETION):
        return Phase("parked", f"{name}: waits for its outcome", "", start, end, is_open=True)
    return Phase("running", f"{name}: {attempt.status}", "", start, end, is_open=True)


def _last(task: Task, previous: AttemptRecord | None, at: float, now: float) -> Iterator[Phase]:
    """Return the phases after the last attempt: of a task that waits, or finished while it did."""
    if task.status is TaskStatus.RUNNING:
        return
    if task.status.is_final:
        end = max(at, task.finished_at.timestamp() if task.finished_at else at)
        if previous is None or end - at > _SAME_MOMENT_SECONDS:
            yield from _unstarted(task, previous, at, end)
        return
    yield from _waiting(task, previous, at, max(at, now))


def _unstarted(
    task: Task, previous: AttemptRecord | None, at: float, end: float
) -> Iterator[Phase]:
    """Return the phases of a task that was finished before its next attempt."""
    if task.run_at is not None and task.run_at.timestamp() > end:
        yield Phase(*_delay(task, previous, is_retried=False), at, end)
    elif task.run_at is None and previous is not None:
        yield Phase(*_BACKOFF, at, end)
    else:
        yield from _gap(task, previous, at, end, is_retried=False)


def _waiting(task: Task, previous: AttemptRecord | None, at: float, now: float) -> Iterator[Phase]:
    if task.waiting_for is not None or task.run_at is None:
        name = (
            "Waits for its turn" if _waits(task, WaitReason.ORDER_KEY) else "Waits for its parents"
        )
        yield Phase("held", name, "", at, now, is_open=True)
        return
    due = task.run_at.timestamp()
    is_retried = previous is not None and task.attempt == 0 and previous.status not in _UNCOUNTED
    if due > now:
        name = "Scheduled" if previous is None else "Backs off"
        kind = "scheduled" if previous is None else "backoff"
        yield Phase(kind, name, f"until {_text(task.run_at)}", at, now, is_open=True)
        return
    if due > at:
        yield Phase(*_delay(task, previous, is_retried=is_retried), at, due)
    begin = max(at, due)
    if task.held is not None:
        yield Phase("held", "Held", task.held.detail, begin, now, is_open=True)
    else:
        yield Phase("wait", "Waits to start", "", begin, now, is_open=True)


def _waits(task: Task, reason: WaitReason) -> bool:
    return task.waiting_for is not None and task.waiting_for.reason is reason


def _text(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _placed(phase: Phase, start: float, end: float) -> Phase:
    """Return the phase with its place on the time axis; each bar is wide enough to be seen."""
    whole = max(end - start, 1e-3)
    width = min(WIDTH, max(phase.seconds / whole * WIDTH, _MIN_WIDTH))
    x = min(max(0.0, (phase.start - start) / whole * WIDTH), WIDTH - width)
    return phase._replace(x=round(x, 1), width=round(width, 1))
