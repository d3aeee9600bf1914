"""What pages are made of beside their text: served by this service, to be kept for ever."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from importlib import resources
from typing import Final

from quart import Blueprint, Response

from taskflow.api.access.roles import ASSETS_PATH

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Assets:
    """The files, by name. Their addresses change with what is in them."""

    def __init__(self) -> None:
        folder = resources.files("taskflow.api.dashboard").joinpath("static")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def address_of(self, name: str) -> str:
        """Where a page finds one."""
        digest = hashlib.blake2b(self._files[name], digest_size=6).hexdigest()
        return f"{ASSETS_PATH}{name}?{digest}"

    def add_routes(self, routes: Blueprint) -> None:
        """Serve them."""

        @routes.get(f"{ASSETS_PATH}<name>")
        async def asset(name: str) -> Response:
            content = self._files.get(name)
            if content is None:
                return Response(b"", status=HTTPStatus.NOT_FOUND, content_type="text/plain")
            media_type = _TYPES["." + name.rpartition(".")[2]]
            response = Response(content, content_type=f"{media_type}; charset=utf-8")
            response.headers["Cache-Control"] = _FOR_EVER
            return response
