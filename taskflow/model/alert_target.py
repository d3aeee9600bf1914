"""The destination of a task that delivers a notification of an alert."""

from __future__ import annotations

import enum

import msgspec


class DestinationKind(enum.StrEnum):
    """How a destination is notified."""

    WEBHOOK = "webhook"
    """A signed `POST` to a URL, in the format of the Standard Webhooks."""
    SLACK = "slack"
    """An incoming webhook of Slack, or of a chat that is compatible with it."""
    TEAMS = "teams"
    """A workflow of Microsoft Teams that posts webhook requests: an Adaptive Card."""
    DISCORD = "discord"
    """A webhook of Discord."""
    EMAIL = "email"
    """An e-mail, by `TASKFLOW_SMTP_URL`."""

    @property
    def is_chat(self) -> bool:
        """True if its URL is a secret."""
        return self not in (DestinationKind.WEBHOOK, DestinationKind.EMAIL)


class AlertTarget(msgspec.Struct, frozen=True):
    """The destination of a task that notifies.

    Attributes:
        alert: The name of the alert.
        kind: How it is notified.
        url: The masked URL of a chat, which identifies it; ``None`` for others.
    """

    alert: str
    kind: DestinationKind
    url: str | None = None
