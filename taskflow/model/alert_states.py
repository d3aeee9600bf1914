"""When an alert notifies: a pure function of its state, what was observed, and the time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

import msgspec

from taskflow.model.alerts import MAX_SUBJECTS, AlertState, NoticeKind, StoredAlert, Subject
from taskflow.model.untrusted_text import printable, shortened

MAX_NAME_CHARACTERS: Final = 300
MAX_DETAIL_CHARACTERS: Final = 300


class Observation(msgspec.Struct, frozen=True):
    """What an evaluation found.

    Attributes:
        subjects: What the condition holds for.
        is_complete: False if a part of the store did not answer: then what fired fires on.
        lines: Examples for the text of a notification.
    """

    subjects: tuple[Subject, ...] = ()
    is_complete: bool = True
    lines: tuple[str, ...] = ()


def evaluated(
    alert: StoredAlert, observation: Observation, now: dt.datetime
) -> tuple[AlertState, NoticeKind | None]:
    """Return the state of an alert after an evaluation, and what to notify.

    An alert that fires notifies at once, and again after each ``every_seconds`` while it fires. It
    notifies its end once. If it fires again within ``every_seconds``, that is notified when they
    are over, even if it has ended by then. While it is silenced, nothing is notified; what ended
    meanwhile, and was notified before, is notified afterwards.
    """
    definition, before = alert.definition, alert.state
    subjects = _subjects_of(alert, observation, now)
    is_firing = bool(subjects)
    has_changed = is_firing != before.is_firing or before.since is None
    is_silenced = alert.silenced_until is not None and alert.silenced_until > now
    begins = is_firing and not before.is_firing
    state = msgspec.structs.replace(
        before,
        is_firing=is_firing,
        since=now if has_changed else before.since,
        subjects=tuple(subjects[:MAX_SUBJECTS]),
        subject_count=len(subjects),
        evaluated_at=now,
        unannounced=0 if is_silenced else before.unannounced + begins,
    )
    if is_silenced:
        return state, None
    every = dt.timedelta(seconds=definition.every_seconds)
    if not is_firing and state.owes_recovery:
        done = msgspec.structs.replace(state, owes_recovery=False, unannounced=0)
        return done, NoticeKind.RECOVERED if definition.notify_recovery else None
    if state.notified_at is not None and now < state.notified_at + every:
        return state, None
    if is_firing:
        notified = msgspec.structs.replace(
            state, notified_at=now, owes_recovery=True, unannounced=0
        )
        return notified, NoticeKind.FIRING
    if state.unannounced:
        return msgspec.structs.replace(state, notified_at=now, unannounced=0), NoticeKind.FIRED
    return state, None


def _subjects_of(alert: StoredAlert, observation: Observation, now: dt.datetime) -> list[Subject]:
    """Return what the alert fires for: what was observed, and what still counts from before."""
    seen = (_seen(one, now) for one in observation.subjects)
    found = {one.name: one for one in seen}
    for one in _kept(alert, observation, now):
        found.setdefault(one.name, one)
    return [found[name] for name in sorted(found)]


def _seen(subject: Subject, now: dt.datetime) -> Subject:
    """Return a subject as it is stored: what targets send may be of any length."""
    name = shortened(printable(subject.name), MAX_NAME_CHARACTERS)
    return Subject(name, shortened(printable(subject.detail), MAX_DETAIL_CHARACTERS), now)


def _kept(alert: StoredAlert, observation: Observation, now: dt.datetime) -> Iterable[Subject]:
    hold = dt.timedelta(seconds=alert.definition.hold_seconds)
    return [
        one
        for one in alert.state.subjects
        if not observation.is_complete
        or (hold and one.seen_at is not None and now < one.seen_at + hold)
    ]
