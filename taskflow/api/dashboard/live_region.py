"""The region of a page, kept up to date by server-sent events.

Regions that tell of many tasks are made anew by the clock and sent if they have changed: to record
what happens to each task would cost every write of a busy service, for one who looks on. A task's
own page follows its events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import trio
from quart import Response, request

from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.access.sessions import EndedSessions
from taskflow.api.dashboard.pages import environment
from taskflow.api.live.feed import Feed
from taskflow.api.responses import as_events
from taskflow.model.errors import StoreUnavailable
from taskflow.model.event import EventFilter

REFRESH_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 15.0
# Then the browser comes again by itself, and it is asked anew who looks: sessions and keys end.
LONGEST_SECONDS: Final = 600.0
_BEGINNING: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": heartbeat\n\n"
_END: Final = b"event: end\ndata: {}\n\n"

# Gets what a template is made with.
Look: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]


def by_the_clock(feed: Feed, template: str, look: Look) -> Response:
    """Send a region whenever it has changed, as far as a look every two seconds tells.

    Args:
        feed: Ends it.
        template: Of the region.
        look: Gets what it shows.
    """
    return as_events(_by_the_clock(feed, _Region(template, look, feed.ended_sessions)))


def by_events(feed: Feed, wanted: EventFilter, template: str, look: Look) -> Response:
    """Send a region whenever something happened, until ``is_final`` is among what it shows."""
    return as_events(_by_events(feed, wanted, _Region(template, look, feed.ended_sessions)))


class _Region:
    """The part of a page that is sent."""

    def __init__(self, template: str, look: Look, ended: EndedSessions) -> None:
        scope: Any = request.scope
        caller: Caller | None = scope.get(CALLER)
        session = caller and caller.session
        self._template = environment().get_template(template)
        self._look = look
        self._sent = b""
        self._session = session
        self._ended = ended
        self.is_final = False

    async def is_over(self) -> bool:
        """Return whether the person who sees it has signed out since."""
        if self._session is None:
            return False
        try:
            return await self._ended.is_session_ended(self._session)
        except StoreUnavailable:
            return False  # nothing new is shown then

    async def news(self) -> bytes:
        """The region as an event; nothing if it is as it was sent, or cannot be told now."""
        try:
            shown = await self._look()
        except StoreUnavailable:
            return b""
        text = await self._template.render_async(**shown)
        self.is_final = bool(shown.get("is_final"))
        event = b"event: region\ndata: %b\n\n" % msgspec.json.encode(text)
        if event == self._sent:
            return b""
        self._sent = event
        return event


async def _by_the_clock(feed: Feed, region: _Region) -> AsyncIterator[bytes]:
    yield _BEGINNING
    began_at = heard_at = trio.current_time()
    while trio.current_time() - began_at < LONGEST_SECONDS:
        if await region.is_over():
            return
        if event := await region.news():
            yield event
            heard_at = trio.current_time()
        elif trio.current_time() - heard_at >= HEARTBEAT_SECONDS:
            yield _HEARTBEAT
            heard_at = trio.current_time()
        with trio.move_on_after(REFRESH_SECONDS):
            await feed.wait_until_over()
            return


async def _by_events(feed: Feed, wanted: EventFilter, region: _Region) -> AsyncIterator[bytes]:
    yield _BEGINNING
    began_at = trio.current_time()
    with feed.watching(wanted) as watcher:
        await watcher.begun()
        yield await region.news()
        while not region.is_final and watcher.start is not None:
            if trio.current_time() - began_at >= LONGEST_SECONDS:
                return
            with trio.move_on_after(HEARTBEAT_SECONDS) as waiting:
                if not await watcher.next_events():
                    return  # the browser comes again, here or to another node
            if await region.is_over():
                return
            yield (await region.news()) or (_HEARTBEAT if waiting.cancelled_caught else b"")
    if region.is_final:
        yield _END
