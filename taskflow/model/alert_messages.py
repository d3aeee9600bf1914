"""What a notification of an alert says, and the tasks that deliver it: one for each destination."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from taskflow.model.alert_chats import body_for
from taskflow.model.alert_destinations import StoredDestination
from taskflow.model.alert_target import AlertTarget, DestinationKind
from taskflow.model.alerts import (
    ALERTS_QUEUE,
    AlertOn,
    AlertState,
    NoticeKind,
    StoredAlert,
    Subject,
)
from taskflow.model.options import TaskOptions
from taskflow.model.task import NewTask
from taskflow.model.untrusted_text import printable, shortened
from taskflow.model.url import place_in

MAX_LINE_CHARACTERS: Final = 300
MAX_SHOWN_SUBJECTS: Final = 10
BACKOFF_SECONDS: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
"""The waits between attempts: about two hours in all. Later, a notification is of no use."""

MAIL_URL: Final = "mailto:"
"""The URL of tasks that send e-mail. An address in it would be masked like a user."""

_LABELS: Final = {
    AlertOn.TASK_FAILED: "tasks failed",
    AlertOn.FAILURE_RATE: "failure rate is high",
    AlertOn.SCHEDULE_FAILED: "schedule failed",
    AlertOn.SCHEDULE_MISSED: "schedule missed its time",
    AlertOn.OLDEST_WAITING: "tasks wait too long",
    AlertOn.HOST_OPEN: "circuit breaker open",
    AlertOn.NODE_LOST: "node lost",
    AlertOn.CREDENTIAL_FAILING: "credential fails",
    AlertOn.HEARTBEAT_MISSED: "heartbeat is down",
}
_PREFIXES: Final = {
    NoticeKind.FIRING: "Firing",
    NoticeKind.RECOVERED: "Recovered",
    NoticeKind.FIRED: "Fired and recovered",
    NoticeKind.TEST: "Test",
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be notified.

    Attributes:
        kind: What it says.
        alert: The alert, as it was before.
        subjects: What it fires for, or fired for.
        subject_count: Number of these; the list may be shorter.
        times: How often it began to fire since the last notification.
        since: Since when it fires; for one that recovered, since when it fired.
        at: The time of the evaluation.
        lines: Examples.
    """

    kind: NoticeKind
    alert: StoredAlert
    subjects: tuple[Subject, ...] = ()
    subject_count: int = 0
    times: int = 1
    since: dt.datetime | None = None
    at: dt.datetime
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its first line."""
        name, on = self.alert.definition.name, self.alert.definition.on
        title = f"{_PREFIXES[self.kind]}: {name}: {_LABELS[on]}"
        if self.subjects:
            title += f" ({self._names})"
        return shortened(printable(title), MAX_LINE_CHARACTERS)

    @property
    def text_lines(self) -> list[str]:
        """Its other lines."""
        lines = [_line_of(one) for one in self.subjects[:MAX_SHOWN_SUBJECTS]]
        if self.subject_count > len(lines):
            lines.append(f"and {self.subject_count - len(lines)} more")
        if self.kind is NoticeKind.FIRED:
            lines.append(f"It fired {self.times} times since the last notification.")
        if self.kind is NoticeKind.TEST:
            lines.append("This is a test. Notifications of this alert arrive here.")
        if self.since is not None:
            lines.append(f"Since {self.since:%Y-%m-%d %H:%M:%S} UTC.")
        return [shortened(printable(line), MAX_LINE_CHARACTERS) for line in (*lines, *self.lines)]

    @property
    def _names(self) -> str:
        some = ", ".join(one.name for one in self.subjects[:3])
        return f"{some}, ..." if self.subject_count > 3 else some  # noqa: PLR2004 - as above


Notify: TypeAlias = Callable[[Notice], list[NewTask]]
"""Returns the tasks that deliver a notification; see ``tasks_of``."""


def notice_of(
    kind: NoticeKind,
    alert: StoredAlert,
    state: AlertState,
    lines: tuple[str, ...],
    now: dt.datetime,
) -> Notice:
    """Return what an evaluation notifies.

    Args:
        kind: What it says.
        alert: The alert before the evaluation.
        state: Its state afterwards.
        lines: Examples.
        now: The time of the evaluation.
    """
    before = alert.state
    shown = state if state.is_firing else before
    return Notice(
        kind=kind,
        alert=alert,
        subjects=shown.subjects,
        subject_count=shown.subject_count,
        times=before.unannounced,
        since=shown.since if shown.is_firing else None,
        at=now,
        lines=lines if state.is_firing else (),
    )


def tasks_of(notice: Notice, *, public_url: str = "") -> list[NewTask]:
    """Return the tasks that deliver a notification, in the order of the destinations.

    Args:
        notice: The notification.
        public_url: The public URL of the API, for a link to the alert; empty for none.
    """
    name = notice.alert.definition.name
    link = f"{public_url}/ui/alerts/{name}" if public_url else None
    return [_task_of(one, notice, link) for one in notice.alert.definition.to]


def _task_of(destination: StoredDestination, notice: Notice, link: str | None) -> NewTask:
    kind, name = destination.kind, notice.alert.definition.name
    is_mail = kind is DestinationKind.EMAIL
    url = MAIL_URL if is_mail else _url_of(destination)
    payload: dict[str, Any] = {"url": url, "method": "POST", "follow_redirects": False}
    payload["body"] = (
        _event_of(notice, link)
        if kind is DestinationKind.WEBHOOK
        else body_for(
            kind, notice.title, notice.text_lines, link, is_firing=notice.kind is NoticeKind.FIRING
        )
    )
    if is_mail:
        payload["body"] = {"to": destination.addresses, **payload["body"]}
    place = None if is_mail else place_in(url)
    return NewTask(
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        queue=ALERTS_QUEUE,
        max_attempts=len(BACKOFF_SECONDS) + 1,
        tags={"alert": name, "notification": notice.kind.value},
        host=(place.host or None) if place else None,
        authority=place.authority if place else "",
        options=TaskOptions(
            backoff=BACKOFF_SECONDS,
            sign=kind is DestinationKind.WEBHOOK,
            alert=AlertTarget(
                alert=name, kind=kind, url=destination.masked_url if kind.is_chat else None
            ),
        ),
    )


def _url_of(destination: StoredDestination) -> str:
    url = destination.masked_url if destination.kind.is_chat else destination.url
    return url or ""  # a row that no version wrote: the task fails, and says so


def _event_of(notice: Notice, link: str | None) -> dict[str, Any]:
    """Return the body for a webhook: the payload structure that the Standard Webhooks recommend."""
    alert = notice.alert.definition
    return {
        "type": f"alert.{notice.kind}",
        "timestamp": notice.at,
        "data": {
            "alert": alert.name,
            "on": alert.on,
            "title": notice.title,
            "since": notice.since,
            "subjects": [{"name": one.name, "detail": one.detail} for one in notice.subjects],
            "subject_count": notice.subject_count,
            "lines": notice.text_lines,
            "url": link,
        },
    }


def _line_of(subject: Subject) -> str:
    return f"{subject.name}: {subject.detail}" if subject.detail else subject.name
