"""Streams of server-sent events that keep the region of a page up to date.

A region that shows many tasks is rendered every two seconds, and sent if it has changed. Following
the events of all tasks instead would make every write of a busy service record events while a
single user watches. The page of one task follows the events of that task.

Each region is followed by an event ``current`` with the time of its data, and so is a period
without changes. If the data cannot be loaded, an event ``outage`` reports it. So the browser knows
how old the data is that it shows, and never shows old data without saying so. An event ``missing``
has the names of the cells that do not answer, so that the region lacks their data.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import trio
from quart import Response, request

from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.access.sessions import EndedSessions
from taskflow.api.dashboard.formatting import iso
from taskflow.api.dashboard.pages import environment
from taskflow.api.live.feed import Feed
from taskflow.api.responses import as_events
from taskflow.model.errors import StoreUnavailable
from taskflow.model.event import EventFilter
from taskflow.store.base.partial_reads import is_partial, partial_reads

REFRESH_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 15.0
# Then the browser reconnects by itself, which checks its session or key again.
MAX_STREAM_SECONDS: Final = 600.0
_RETRY: Final = b"retry: 2000\n\n"
_OUTAGE: Final = b"event: outage\ndata: {}\n\n"
_END: Final = b"event: end\ndata: {}\n\n"

Load: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
"""Loads the context of the region's template; with ``is_final`` if it cannot change again."""


def refreshed(feed: Feed, template: str, load: Load) -> Response:
    """Return a stream that renders a region every two seconds, and sends it if it has changed."""
    return as_events(_refreshed(feed, _Region(template, load, feed.ended_sessions)))


def followed(feed: Feed, wanted: EventFilter, template: str, load: Load) -> Response:
    """Return a stream that sends a region after each event, until it is final."""
    return as_events(_followed(feed, wanted, _Region(template, load, feed.ended_sessions)))


class _Region:
    """The part of a page that a stream sends."""

    def __init__(self, template: str, load: Load, ended_sessions: EndedSessions) -> None:
        scope: Any = request.scope
        caller: Caller | None = scope.get(CALLER)
        self._session = caller and caller.session
        self._template = environment().get_template(template)
        self._load = load
        self._sent: dict[str, bytes] = {}
        self._ended_sessions = ended_sessions
        self._freshness = b""
        self.is_final = False
        self.is_outage = False

    async def is_signed_out(self) -> bool:
        """Return whether the user has signed out since the stream began."""
        if self._session is None:
            return False
        try:
            return await self._ended_sessions.is_session_ended(self._session)
        except StoreUnavailable:
            return False  # then nothing new is sent either

    async def next_event(self) -> bytes:
        """Return the region and the time of its data; empty if the browser knows it already."""
        loaded_at, was_outage = dt.datetime.now(dt.UTC), self.is_outage
        try:
            context, missing = await self._loaded()
        except StoreUnavailable:
            self.is_outage = True
            return b"" if was_outage else self.heartbeat()
        self.is_outage = False
        self._freshness = _event(b"current", iso(loaded_at))
        text = await self._template.render_async(**context)
        self.is_final = bool(context.get("is_final"))
        events = {"missing": _event(b"missing", missing), "region": _event(b"region", text)}
        changed = b"".join(one for name, one in events.items() if self._sent.get(name) != one)
        self._sent = events
        return changed + self._freshness if changed or was_outage else b""

    async def _loaded(self) -> tuple[Mapping[str, Any], list[str]]:
        """Return the context of the template, and the names of the cells that it lacks."""
        if not is_partial():
            return await self._load(), []
        with partial_reads() as missing:
            return await self._load(), sorted(missing)

    def heartbeat(self) -> bytes:
        """Return the time of the data if the region is unchanged, or that it cannot be loaded."""
        return _OUTAGE if self.is_outage else self._freshness


def _event(name: bytes, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(data))


async def _refreshed(feed: Feed, region: _Region) -> AsyncIterator[bytes]:
    yield _RETRY
    began_at = sent_at = trio.current_time()
    while trio.current_time() - began_at < MAX_STREAM_SECONDS:
        if await region.is_signed_out():
            return
        event = await region.next_event()
        if not event and trio.current_time() - sent_at >= HEARTBEAT_SECONDS:
            event = region.heartbeat()
        if event:
            yield event
            sent_at = trio.current_time()
        with trio.move_on_after(REFRESH_SECONDS):
            await feed.wait_until_over()
            return


async def _followed(feed: Feed, wanted: EventFilter, region: _Region) -> AsyncIterator[bytes]:
    yield _RETRY
    began_at = trio.current_time()
    with feed.watching(wanted) as watcher:
        await watcher.started()
        yield await region.next_event()
        while not region.is_final and watcher.start is not None:
            if trio.current_time() - began_at >= MAX_STREAM_SECONDS:
                return
            with trio.move_on_after(HEARTBEAT_SECONDS) as waiting:
                if not await watcher.next_events():
                    return  # the browser reconnects, to this or to another node
            if await region.is_signed_out():
                return
            event = await region.next_event()
            yield event or (region.heartbeat() if waiting.cancelled_caught else b"")
    if region.is_final:
        yield _END
