"""Forms that edit what is stored: only fields that the user changed are sent, as a merge patch.

Each field has a hidden one with the value that the form was opened with, so that a change that
another user made meanwhile to another field is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from taskflow.model.display import YES_OR_NO
from taskflow.model.errors import FieldError
from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.model.schedule import Schedule

WAS: Final = "was-"
"""Prefix of the hidden field with the value that a field had when the form was opened."""

# By the field of the form, the members of the document that lead to it.
QUEUE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "max_concurrency": ("max_concurrency",),
    "rate": ("rate", "per_second"),
    "burst": ("rate", "burst"),
    "host_max_concurrency": ("per_host", "max_concurrency"),
    "host_rate": ("per_host", "rate", "per_second"),
    "host_burst": ("per_host", "rate", "burst"),
    "sign": ("sign",),
    "credential": ("credential",),
    "egress_proxy": ("egress_proxy",),
}
SCHEDULE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    name: (name,)
    for name in (
        *("cron", "timezone", "every_seconds", "start_at"),
        *("missed", "overlap", "conditional"),
    )
}
_NUMBERS: Final = frozenset(
    (
        *("max_concurrency", "rate", "burst", "every_seconds"),
        *("host_max_concurrency", "host_rate", "host_burst"),
    )
)
_CHOICES: Final[Mapping[str, bool]] = {"yes": True, "no": False}
_CHOICE_FIELDS: Final = frozenset(("sign", "conditional"))


def queue_form_of(settings: QueueSettings, shown_proxy: str | None) -> dict[str, str]:
    """Return the form for the settings of a queue.

    Args:
        settings: The settings.
        shown_proxy: Its proxy, with the credentials masked.
    """
    limits = settings.per_host or HostLimits()
    return {
        "max_concurrency": _text(settings.max_concurrency),
        **_rate_fields("rate", "burst", settings.rate),
        "host_max_concurrency": _text(limits.max_concurrency),
        **_rate_fields("host_rate", "host_burst", limits.rate),
        "sign": _choice(settings.sign),
        "credential": settings.credential or "",
        "egress_proxy": shown_proxy or "",
    }


def schedule_form_of(schedule: Schedule) -> dict[str, str]:
    """Return the form for the times and the rules of a schedule."""
    return {
        "cron": schedule.cron or "",
        "timezone": schedule.timezone if schedule.cron else "",
        "every_seconds": _text(schedule.every_seconds),
        "start_at": schedule.start_at.isoformat() if schedule.start_at else "",
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "conditional": _choice(schedule.conditional),
    }


def patch_of_form(form: Mapping[str, str], fields: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the merge patch for the fields of a form that differ from their hidden ones.

    Values are not validated here: a number that is none stays text.
    """
    patch: dict[str, Any] = {}
    for name, path in fields.items():
        given = form.get(name, "").strip()
        if name not in form or given == form.get(WAS + name, "").strip():
            continue
        place = patch
        for member in path[:-1]:
            place = place.setdefault(member, {})
        place[path[-1]] = _value(name, given)
    return _without_emptied_rates(patch, form)


def errors_by_field(
    found: Iterable[FieldError], fields: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Return the validation errors by the field of the form that shows them."""
    errors: dict[str, str] = {}
    for error in found:
        place = tuple(error.pointer.removeprefix("#/").split("/"))
        name = _field_at(place, fields)
        if name is not None:
            errors[name] = f"{errors[name]}; {error.detail}" if name in errors else error.detail
    return errors


def _field_at(place: tuple[str, ...], fields: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the field of the form for a place, or else the first one within that place."""
    exact = (name for name, path in fields.items() if path == place[: len(path)])
    within = (name for name, path in fields.items() if path[: len(place)] == place)
    return next(exact, None) or next(within, None)


def _without_emptied_rates(patch: dict[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """Remove a rate as a whole, with its burst, if the user emptied it."""
    for holder, name in ((patch, "rate"), (patch.get("per_host"), "host_rate")):
        if holder and "rate" in holder and form.get(WAS + name) and not form.get(name, "").strip():
            holder["rate"] = None
    return patch


def _value(name: str, text: str) -> Any:
    if not text:
        return None
    if name in _CHOICE_FIELDS:
        return _CHOICES.get(text, text)
    if name not in _NUMBERS:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _rate_fields(rate: str, burst: str, value: Rate | None) -> dict[str, str]:
    return {
        rate: _text(value.per_second if value else None),
        burst: _text(value.burst if value else None),
    }


def _choice(value: bool | None) -> str:  # noqa: FBT001 - a value, not a switch
    return YES_OR_NO[value] or ""


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.12g}"
