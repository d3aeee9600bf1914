"""The pages of alerts: the list, and an alert with its notifications; and their actions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.alerts import found_alert
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.alert import AlertReading
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import alert_name_of, new_alert_name_of
from taskflow.model.alert_messages import tasks_of
from taskflow.model.alerts import CONDITIONS, FILTERS, THRESHOLDS, Alert, AlertOn, shown_alert
from taskflow.model.errors import FieldError, Unprocessable
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore

ALERTS_PAGE: Final = f"{PATH}/alerts"
_NUMBERS: Final = (*THRESHOLDS, "every_seconds")
_SILENCE_HOURS: Final = ("1", "4", "24", "168")
_END: Final = "end"
_FLAGS: Final = ("notify_recovery", "paused")
_HINTS: Final = {
    "queue": "Only this queue; empty for all",
    "schedule": "Only this schedule; empty for all",
    "host": "Only this host; empty for all",
    "credential": "Only this credential; empty for all",
    "heartbeat": "Only this heartbeat; empty for all",
    "minimum": "Minimum number of tasks",
    "rate": "Share of the finished tasks that FAILED, from 0 to 1",
    "window_seconds": "Tasks are counted within this time",
    "after_seconds": "It fires after this time",
}
WATCHED: Final[Mapping[AlertOn, str]] = {
    AlertOn.TASK_FAILED: "Tasks fail",
    AlertOn.FAILURE_RATE: "Failure rate",
    AlertOn.SCHEDULE_FAILED: "Schedule fails",
    AlertOn.SCHEDULE_MISSED: "Schedule misses its time",
    AlertOn.OLDEST_WAITING: "Tasks wait too long",
    AlertOn.HOST_OPEN: "Circuit breaker opens",
    AlertOn.NODE_LOST: "Node lost",
    AlertOn.CREDENTIAL_FAILING: "Credential fails",
    AlertOn.HEARTBEAT_MISSED: "Heartbeat is down",
}


class Field(NamedTuple):
    """A field of the form that belongs to the condition: its name, its label, and a hint."""

    name: str
    label: str
    hint: str


def add_routes(
    routes: Blueprint,
    store: TaskStore,
    settings: Settings,
    reading_of: Callable[[str], AlertReading],
) -> None:
    """Add the pages and their actions."""
    notify = partial(tasks_of, public_url=settings.public_url)

    @routes.get(ALERTS_PAGE)
    async def alerts() -> Response:
        return await _list(store, {"on": request.args.get("on", "")})

    @routes.post(ALERTS_PAGE)
    async def put_alert() -> Response:
        require_all_queues()
        form = await read_form(await read_body())
        try:
            name = new_alert_name_of(form.get("alert", "").strip())
            await _check_is_new(store, name)
            await _put(store, reading_of(name), form)
        except Unprocessable as error:
            return await _list(store, form, error)
        return redirect_to(f"{ALERTS_PAGE}/{name}")

    @routes.get(f"{ALERTS_PAGE}/<name>")
    async def alert(name: str) -> Response:
        return await _show(store, name)

    @routes.post(f"{ALERTS_PAGE}/<name>")
    async def change_alert(name: str) -> Response:
        require_all_queues()
        form = await read_form(await read_body())
        try:
            await _put(store, reading_of(alert_name_of(name)), form)
        except Unprocessable as error:
            return await _show(store, name, form, error)
        return redirect_to(f"{ALERTS_PAGE}/{name}")

    @routes.post(f"{ALERTS_PAGE}/<name>/test")
    async def test_alert(name: str) -> Response:
        require_all_queues()
        await read_body()
        with store_timeout():
            found_alert(await store.alerts.test(alert_name_of(name), notify, by=actor_of_request()))
        return redirect_to(f"{ALERTS_PAGE}/{name}")

    @routes.post(f"{ALERTS_PAGE}/<name>/silence")
    async def silence_alert(name: str) -> Response:
        require_all_queues()
        form = await read_form(await read_body())
        seconds = _silence_of(form.get("hours", ""))
        with store_timeout():
            found_alert(
                await store.alerts.silence(alert_name_of(name), seconds, by=actor_of_request())
            )
        return redirect_to(f"{ALERTS_PAGE}/{name}")

    @routes.post(f"{ALERTS_PAGE}/<name>/delete")
    async def delete_alert(name: str) -> Response:
        require_all_queues()
        await read_body()
        with store_timeout():
            deleted = await store.alerts.delete(alert_name_of(name), by=actor_of_request())
        found_alert(deleted or None)
        return redirect_to(ALERTS_PAGE)


def _silence_of(hours: str) -> float | None:
    """Return for how many seconds an alert is silenced; ``None`` ends it.

    Raises:
        Unprocessable: It is none of the choices of the form.
    """
    if hours == _END:
        return None
    if hours not in _SILENCE_HOURS:
        raise Unprocessable(f"hours must be {', '.join(_SILENCE_HOURS)} or {_END}")
    return 3600.0 * int(hours)


async def _check_is_new(store: TaskStore, name: str) -> None:
    """Reject the name of another alert, which the form would replace.

    Raises:
        Unprocessable: There is an alert with this name.
    """
    with store_timeout():
        if await store.alerts.get(name) is not None:
            detail = "an alert with this name exists"
            raise Unprocessable(detail, errors=[FieldError("#/alert", detail)])


async def _put(store: TaskStore, reading: AlertReading, form: Mapping[str, str]) -> None:
    change = reading.replacement_of(document_of(form))
    with store_timeout():
        await store.alerts.put(reading.name, change, by=actor_of_request())


async def _list(
    store: TaskStore, form: Mapping[str, str], error: Unprocessable | None = None
) -> Response:
    require_all_queues()
    with store_timeout():
        found = [shown_alert(one) for one in await store.alerts.all()]
    on = _on_of(form.get("on", ""))
    return await page(
        "alerts.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        alerts=sorted(found, key=lambda one: (one.status.value != "firing", one.name)),
        watched=WATCHED,
        now=dt.datetime.now(dt.UTC),
        on=on,
        fields=fields_of(on),
        form=form,
        **_errors_of(error),
    )


async def _show(
    store: TaskStore,
    name: str,
    form: Mapping[str, str] | None = None,
    error: Unprocessable | None = None,
) -> Response:
    require_all_queues()
    name = alert_name_of(name)
    with store_timeout():
        shown = shown_alert(found_alert(await store.alerts.get(name)))
        notifications = await store.alerts.notifications(name)
    on = shown.on if form is None else _on_of(form.get("on", ""))
    return await page(
        "alert.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        alert=shown,
        notifications=notifications or (),
        watched=WATCHED,
        now=dt.datetime.now(dt.UTC),
        on=on,
        fields=fields_of(on),
        form=form_of(shown) if form is None else form,
        **_errors_of(error),
    )


def fields_of(on: AlertOn) -> list[Field]:
    """Return the fields of a condition."""
    condition = CONDITIONS[on]
    names = [condition.filter] if condition.filter else []
    fields = []
    for name in (*names, *condition.thresholds):
        threshold = condition.thresholds.get(name)
        hint = _HINTS[name]
        if threshold is not None:
            default = "required" if threshold.default is None else f"default {threshold.default:g}"
            hint = f"{hint}; {default}"
        fields.append(Field(name, name.replace("_", " ").capitalize(), hint))
    return fields


def form_of(alert: Alert) -> dict[str, str]:
    """Return the form that would create the same alert."""
    form = {"on": alert.on.value, "to": "\n".join(map(_line_of, alert.to))}
    for name in (*FILTERS, *_NUMBERS):
        value = getattr(alert, name)
        if value is not None:
            form[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return form | {name: "yes" if getattr(alert, name) else "no" for name in _FLAGS}


def document_of(form: Mapping[str, str]) -> bytes:
    """Return the JSON document for the values of a form, without validating them."""
    document: dict[str, Any] = {"on": form.get("on", "")}
    given = {name: value.strip() for name, value in form.items() if value.strip()}
    document |= {name: given[name] for name in FILTERS if name in given}
    document |= {name: _number(given[name]) for name in _NUMBERS if name in given}
    document |= {name: given[name] == "yes" for name in _FLAGS if name in given}
    lines = [line.split(None, 1) for line in given.get("to", "").splitlines() if line.strip()]
    document["to"] = [_destination_of(*line) for line in lines]
    return msgspec.json.encode(document)


def _destination_of(kind: str, rest: str = "") -> dict[str, Any]:
    if kind == "email":
        return {"kind": kind, "addresses": rest.replace(",", " ").split()}
    return {"kind": kind, "url": rest.strip()}


def _line_of(destination: Any) -> str:
    addresses = ", ".join(destination.addresses or ())
    return f"{destination.kind} {destination.url or addresses}"


def _number(text: str) -> float | int | str:
    """Return a number; other text is rejected later, with the name of the field."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _on_of(text: str) -> AlertOn:
    return next((on for on in AlertOn if on == text), AlertOn.TASK_FAILED)


def _errors_of(error: Unprocessable | None) -> dict[str, Any]:
    found: Sequence[FieldError] = () if error is None else error.errors
    errors: dict[str, str] = {}
    for one in found:
        name = one.pointer.removeprefix("#/").partition("/")[0]
        errors[name] = f"{errors[name]}; {one.detail}" if name in errors else one.detail
    return {"error": None if error is None else str(error), "errors": errors}
