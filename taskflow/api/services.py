"""What the handlers of the routes work with, and the source of ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from markupsafe import Markup

from taskflow.api.live.feed import Feed
from taskflow.api.submission import Submissions
from taskflow.metrics import Metrics
from taskflow.model.errors import NoDocument
from taskflow.model.masking import Masking
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import Event, emit


class Services(msgspec.Struct, frozen=True):
    """The collaborators of the handlers.

    Attributes:
        store: Where tasks, queues and schedules are kept.
        settings: The settings of the service.
        metrics: The counters that ``/metrics`` reports.
        feed: Reports events to requests that wait or watch.
        submissions: Validates and stores new tasks.
        masking: The rule that masks credentials.
        document: The source of ``/openapi.json``.
        is_running: Returns whether workers are running, for ``/readyz``.
    """

    store: TaskStore
    settings: Settings
    metrics: Metrics
    feed: Feed
    submissions: Submissions
    masking: Masking
    document: DocumentSource
    is_running: Callable[[], bool]


class DocumentSource:
    """Builds the document once, at its first use. Tasks run whether or not that succeeds.

    Args:
        build: Returns the document; takes about 0.1 s of CPU time.
    """

    def __init__(self, build: Callable[[], dict[str, Any]]) -> None:
        self._build = build
        self._building = trio.Lock()
        self._is_built = False
        self._document: dict[str, Any] | None = None
        self._page: Markup | None = None

    async def get(self) -> dict[str, Any]:
        """Return the document.

        Raises:
            NoDocument: It could not be built; the log has the reason.
        """
        async with self._building:
            if not self._is_built:
                await self._build_once()
        if self._document is None:
            raise NoDocument
        return self._document

    async def page(self, render: Callable[[dict[str, Any]], Awaitable[Markup]]) -> Markup:
        """Return the document as a page, rendered once.

        Raises:
            NoDocument: The document could not be built.
        """
        if self._page is None:
            self._page = await render(await self.get())
        return self._page

    async def _build_once(self) -> None:
        try:
            # In a thread, so that the event loop goes on meanwhile.
            self._document = await trio.to_thread.run_sync(self._build)
        except Exception as error:  # noqa: BLE001 - whatever it is, only the document is missing
            emit(Event.DOCUMENT_ERROR, error=error)
        self._is_built = True
