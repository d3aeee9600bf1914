"""What a check tells."""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        check: What.
        state: How it is.
        detail: The same in words; it holds no secrets.
        advice: What to do about it.
    """

    check: str
    state: State
    detail: str
    advice: str | None = None


def ok(check: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check, State.OK, detail)


def warning(check: str, detail: str, advice: str | None = None) -> Finding:
    """It will do, but have a look."""
    return Finding(check, State.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str | None = None) -> Finding:
    """It will not do."""
    return Finding(check, State.FAILED, detail, advice)
