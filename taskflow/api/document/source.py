"""The document of ``/openapi.json``, built when it is first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from markupsafe import Markup

from taskflow.model.errors import NoDocument
from taskflow.telemetry import Event, emit


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
