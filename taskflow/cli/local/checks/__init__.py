"""The checks of the doctor, one module per subject, and the type of their results."""

from __future__ import annotations

import enum

import msgspec

from taskflow.model.display import duration


class State(enum.StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes:
        check: What was checked.
        state: How serious it is.
        detail: The result in words, without secrets.
        advice: What to do about it.
    """

    check: str
    state: State
    detail: str
    advice: str | None = None


def ok(check: str, detail: str) -> Finding:
    """Return the result of a check that passed."""
    return Finding(check, State.OK, detail)


def warning(check: str, detail: str, advice: str | None = None) -> Finding:
    """Return a problem that TaskFlow can run with."""
    return Finding(check, State.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str | None = None) -> Finding:
    """Return a problem that must be solved."""
    return Finding(check, State.FAILED, detail, advice)


def skew_text(owner: str, ahead_seconds: float) -> str:
    """Return by how much a clock differs from the clock of this machine."""
    direction = "ahead" if ahead_seconds >= 0 else "behind"
    return f"the clock of the {owner} is {duration(abs(ahead_seconds))} {direction}"
