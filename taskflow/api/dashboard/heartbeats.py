"""The pages of heartbeats: their states, their pings, how a job pings, and a form."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, redirect_to, require_writer, viewer
from taskflow.api.heartbeats import history_of
from taskflow.api.live.feed import Feed
from taskflow.api.ping_urls import PingUrls
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.heartbeat import heartbeat_patch_of, heartbeat_replacement_of
from taskflow.api.reading.paths import heartbeat_name_of, new_heartbeat_name_of
from taskflow.model.display import duration
from taskflow.model.errors import HeartbeatNotFound, Unprocessable
from taskflow.model.heartbeat_monitors import (
    MonitorDefinition,
    Ping,
    Signal,
)
from taskflow.model.heartbeat_states import shown
from taskflow.schema.query import HEARTBEATS_QUERY
from taskflow.store.base.heartbeat_monitors import HeartbeatMonitorStore, ObservedMonitor
from taskflow.store.base.store import TaskStore

HEARTBEATS_PAGE: Final = f"{PATH}/heartbeats"
NEW_PAGE: Final = f"{PATH}/new-heartbeat"
MAX_SHOWN_DOWN: Final = 20
_FIELDS: Final = (
    *("name", "every_seconds", "cron", "timezone", "grace_seconds", "max_run_seconds"),
    "description",
)
_NUMBERS: Final = ("every_seconds", "grace_seconds", "max_run_seconds")
_UNIT_SECONDS: Final = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
_MAX_DURATION_CHARS: Final = 40
_DURATION_PART: Final = re.compile(r"([0-9]++(?:\.[0-9]++)?)\s*+(s|min|m|h|d)(?![a-z])\s*+")
_NUMBER: Final = re.compile(r"[0-9]++(?:\.[0-9]++)?")
_BAR_WIDTH: Final = 8
_BAR_GAP: Final = 2
_MAX_BARS: Final = 60
_BARS_HEIGHT: Final = 48
_MIN_BAR_HEIGHT: Final = 8


class PingBar(NamedTuple):
    """A bar of the chart of pings: its height is the duration of the run."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed, public_url: str | None) -> None:
    """Add the pages and their actions."""
    monitors = store.heartbeat_monitors
    urls = PingUrls(store, public_url)

    @routes.get(HEARTBEATS_PAGE)
    async def heartbeats() -> Response:
        require_all_queues()
        context = await _list_context(monitors, dict(request.args.lists()))
        return await page("heartbeats.html", **context)

    @routes.get(f"{PATH}/live/heartbeats")
    async def heartbeats_live() -> Response:
        require_all_queues()
        user, query = viewer(), dict(request.args.lists())

        async def load() -> dict[str, Any]:
            return {**await _list_context(monitors, query), "viewer": user}

        return refreshed(feed, "heartbeats_region.html", load)

    @routes.get(f"{HEARTBEATS_PAGE}/<string:name>")
    async def heartbeat(name: str) -> Response:
        require_all_queues()
        context = await _one_context(
            monitors, urls if viewer().may_write else None, name, request.url_root
        )
        return await page("heartbeat.html", **context)

    @routes.get(f"{HEARTBEATS_PAGE}/<string:name>/live")
    async def heartbeat_live(name: str) -> Response:
        require_all_queues()
        user, own_url = viewer(), request.url_root
        visible = urls if user.may_write else None
        await _observed(monitors, name)  # a 404 rather than an empty stream

        async def load() -> dict[str, Any]:
            try:
                context = await _one_context(monitors, visible, name, own_url)
            except HeartbeatNotFound:
                return {"is_deleted": True, "is_final": True, "viewer": user}
            return {**context, "viewer": user}

        return refreshed(feed, "heartbeat_region.html", load)

    _add_forms(routes, monitors)
    _add_actions(routes, monitors)


def _add_forms(routes: Blueprint, monitors: HeartbeatMonitorStore) -> None:
    @routes.get(NEW_PAGE)
    async def new_heartbeat() -> Response:
        require_all_queues()
        require_writer()
        return await _form_page({"grace_seconds": "5 min", "timezone": "UTC"}, is_new=True)

    @routes.post(NEW_PAGE)
    async def create_heartbeat() -> Response:
        require_all_queues()
        form = await read_form(await read_body())
        try:
            name = new_heartbeat_name_of(form.get("name", "").strip())
        except Unprocessable as error:
            return await _form_page(form, is_new=True, errors={"name": str(error)})
        with store_timeout():
            if await monitors.get(name) is not None:
                errors = {"name": "a heartbeat with this name exists"}
                return await _form_page(form, is_new=True, errors=errors)
        return await _save(monitors, name, form, is_new=True)

    @routes.get(f"{HEARTBEATS_PAGE}/<string:name>/edit")
    async def edit_heartbeat(name: str) -> Response:
        require_all_queues()
        require_writer()
        observed = await _observed(monitors, name)
        return await _form_page(_form_of(observed.monitor.definition), is_new=False)

    @routes.post(f"{HEARTBEATS_PAGE}/<string:name>/edit")
    async def change_heartbeat(name: str) -> Response:
        require_all_queues()
        form = {**await read_form(await read_body()), "name": name}
        await _observed(monitors, name)
        return await _save(monitors, name, form, is_new=False)


def _add_actions(routes: Blueprint, monitors: HeartbeatMonitorStore) -> None:
    @routes.post(f"{HEARTBEATS_PAGE}/<string:name>/pause")
    async def pause_heartbeat(name: str) -> Response:
        return await _set_paused(name, b'{"paused":true}')

    @routes.post(f"{HEARTBEATS_PAGE}/<string:name>/resume")
    async def resume_heartbeat(name: str) -> Response:
        return await _set_paused(name, b'{"paused":false}')

    async def _set_paused(name: str, patch: bytes) -> Response:
        require_all_queues()
        await read_body()
        change = heartbeat_patch_of(patch, heartbeat_name_of(name))
        with store_timeout():
            await monitors.change(name, change, by=actor_of_request())
        return _to_heartbeat(name)

    @routes.post(f"{HEARTBEATS_PAGE}/<string:name>/rotate")
    async def rotate_heartbeat(name: str) -> Response:
        require_all_queues()
        await read_body()
        with store_timeout():
            if await monitors.rotate(heartbeat_name_of(name), by=actor_of_request()) is None:
                raise HeartbeatNotFound
        return _to_heartbeat(name)

    @routes.post(f"{HEARTBEATS_PAGE}/<string:name>/delete")
    async def delete_heartbeat(name: str) -> Response:
        require_all_queues()
        await read_body()
        with store_timeout():
            if not await monitors.delete(heartbeat_name_of(name), by=actor_of_request()):
                raise HeartbeatNotFound
        return redirect_to(HEARTBEATS_PAGE)


async def _list_context(
    monitors: HeartbeatMonitorStore, query: Mapping[str, list[str]]
) -> dict[str, Any]:
    wanted = HEARTBEATS_QUERY.read_query(query)
    with store_timeout():
        counts = await monitors.count_states()
        found = await monitors.page(limit=wanted.limit, after=wanted.cursor)
        down = await monitors.down(limit=MAX_SHOWN_DOWN)
    return {
        "counts": counts,
        "heartbeats": [shown(one.monitor, one.at) for one in found.monitors],
        "down": [shown(one.monitor, one.at) for one in down],
        "now": found.monitors[0].at if found.monitors else dt.datetime.now(dt.UTC),
        "cursor": wanted.cursor,
        "next_cursor": found.next_after,
    }


async def _one_context(
    monitors: HeartbeatMonitorStore, urls: PingUrls | None, name: str, own_url: str
) -> dict[str, Any]:
    observed = await _observed(monitors, name)
    with store_timeout():
        history = await monitors.history(name)
        url = None
        if urls is not None:
            url = await urls.url_of(observed.monitor.ping_id, own_url)
    if history is None:
        raise HeartbeatNotFound
    shown_history = history_of(name, history)
    return {
        "heartbeat": shown(observed.monitor, observed.at, url),
        "now": observed.at,
        "pings": shown_history.pings,
        "transitions": shown_history.transitions,
        "bars": _bars_of(shown_history.pings),
    }


async def _observed(monitors: HeartbeatMonitorStore, name: str) -> ObservedMonitor:
    with store_timeout():
        observed = await monitors.get(heartbeat_name_of(name))
    if observed is None:
        raise HeartbeatNotFound
    return observed


async def _save(
    monitors: HeartbeatMonitorStore, name: str, form: Mapping[str, str], *, is_new: bool
) -> Response:
    try:
        change = heartbeat_replacement_of(document_of(form), name)
        with store_timeout():
            await monitors.change(name, change, by=actor_of_request())
    except Unprocessable as error:
        found = {one.pointer.removeprefix("#/"): one.detail for one in error.errors}
        known: dict[str, str] = {one: found.pop(one) for one in _FIELDS if one in found}
        rest = "; ".join(found.values()) or ("" if known else str(error))
        return await _form_page(form, is_new=is_new, errors=known, error=rest)
    return _to_heartbeat(name)


async def _form_page(
    form: Mapping[str, str],
    *,
    is_new: bool,
    errors: Mapping[str, str] | None = None,
    error: str = "",
) -> Response:
    has_errors = bool(errors or error)
    return await page(
        "heartbeat_form.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if has_errors else HTTPStatus.OK,
        form={name: form.get(name, "") for name in _FIELDS},
        errors=errors or {},
        error=error,
        is_new=is_new,
    )


def document_of(form: Mapping[str, str]) -> bytes:
    """Return the JSON document for the values of a form, without validating them."""
    given = {name: form[name].strip() for name in _FIELDS if form.get(name, "").strip()}
    given.pop("name", None)
    if "cron" not in given:
        given.pop("timezone", None)
    return msgspec.json.encode(
        {name: _seconds_of(text) if name in _NUMBERS else text for name, text in given.items()}
    )


def _seconds_of(text: str) -> float | str:
    """Return a duration such as ``1 h 30 min``; the validation of the document reports others."""
    if len(text) > _MAX_DURATION_CHARS:
        return text
    if _NUMBER.fullmatch(text):
        return float(text)
    seconds, end = 0.0, 0
    while (part := _DURATION_PART.match(text, end)) is not None:
        seconds, end = seconds + float(part[1]) * _UNIT_SECONDS[part[2]], part.end()
    return seconds if 0 < end == len(text) else text


def _duration_text(seconds: float | None) -> str | None:
    """Return a duration that ``_seconds_of`` reads."""
    if seconds is None:
        return None
    text = duration(seconds, units=len(_UNIT_SECONDS))
    return text if _seconds_of(text) == seconds else f"{seconds:.12g}"


def _form_of(definition: MonitorDefinition) -> dict[str, str]:
    timing = definition.timing
    values: dict[str, object] = {
        "name": definition.name,
        "every_seconds": _duration_text(timing.every_seconds),
        "cron": timing.cron,
        "timezone": timing.timezone,
        "grace_seconds": _duration_text(definition.grace_seconds),
        "max_run_seconds": _duration_text(definition.max_run_seconds),
        "description": definition.description,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _bars_of(pings: Sequence[Ping]) -> list[PingBar]:
    """Return a bar for each of the last pings but starts, the oldest first."""
    ends = [one for one in pings if one.signal is not Signal.START][:_MAX_BARS][::-1]
    longest = max((one.duration_seconds or 0.0 for one in ends), default=0.0)
    bars = []
    for number, one in enumerate(ends):
        share = (one.duration_seconds or 0.0) / longest if longest else 0.0
        height = round(_MIN_BAR_HEIGHT + share * (_BARS_HEIGHT - _MIN_BAR_HEIGHT))
        bars.append(
            PingBar(
                x=number * (_BAR_WIDTH + _BAR_GAP),
                y=_BARS_HEIGHT - height,
                width=_BAR_WIDTH,
                height=height,
                kind="failed" if one.signal is Signal.FAIL else "completed",
                title=f"{one.at:%Y-%m-%d %H:%M:%S} {one.signal}",
            )
        )
    return bars


def _to_heartbeat(name: str) -> Response:
    return redirect_to(f"{HEARTBEATS_PAGE}/{quote(name)}")
