"""Responses while a part of the store does not answer: the rest, and the names of what is missing.

Only a store of several cells has parts.
"""

from __future__ import annotations

from typing import Any, Final

from taskflow.api.access.request_head import Message, Receive, Send
from taskflow.store.base.partial_reads import partial_reads

HEADER: Final = b"taskflow-missing-cells"


class MissingParts:
    """An ASGI app around another one: its reads may leave out cells, which a header names."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request; pass on other events."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with partial_reads() as missing:

            async def send_next(message: Message) -> None:
                if message["type"] == "http.response.start" and missing:
                    value = ", ".join(sorted(missing)).encode()
                    message = {**message, "headers": [*message["headers"], (HEADER, value)]}
                await send(message)

            await self._app(scope, receive, send_next)
