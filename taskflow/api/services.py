"""What the handlers of the routes work with, and the source of ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from markupsafe import Markup

from taskflow.api.access.scoped_store import scoped_store
from taskflow.api.live.feed import Feed
from taskflow.api.live.positions import PLAIN, EncryptedPositions, Positions
from taskflow.api.ping_urls import PingUrls
from taskflow.api.published_keys import PublishedKeys
from taskflow.api.submission import Submissions
from taskflow.metrics import Metrics
from taskflow.model.errors import NoDocument
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.masking import Masking
from taskflow.model.queue_scope import QueueScope
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
        published_keys: The public keys of ID tokens.
        masking: The rule that masks credentials.
        document: The source of ``/openapi.json``.
        is_running: Returns whether workers are running, for ``/readyz``.
        positions: The ids of events as the caller sees them.
        keyring: Encrypts and decrypts data at rest.
        secret: Encrypts the ids of events for callers whose key is limited to some queues; the same
            on all nodes.
        ping_urls: Makes and reads the ping URLs of heartbeats.
        has_parts: Whether the store has several parts, of which some may not answer.
    """

    store: TaskStore
    settings: Settings
    metrics: Metrics
    feed: Feed
    submissions: Submissions
    published_keys: PublishedKeys
    masking: Masking
    document: DocumentSource
    is_running: Callable[[], bool]
    ping_urls: PingUrls
    positions: Positions = PLAIN
    keyring: Keyring = NO_KEYS
    secret: bytes = b""
    has_parts: bool = False

    def within(self, scope: QueueScope) -> Services:
        """Return these services as a caller with a scope sees them."""
        store = scoped_store(self.store, scope)
        return msgspec.structs.replace(
            self,
            store=store,
            feed=self.feed.within(scope),
            submissions=self.submissions.within(scope, store),
            positions=EncryptedPositions(self.secret),
        )


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
