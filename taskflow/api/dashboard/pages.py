"""How pages are made: templates, static files, and the user who views them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any, Final, cast

from jinja2 import Environment
from quart import Blueprint, Response, current_app, request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.roles import ASSETS_PATH, CALLER, Caller
from taskflow.api.dashboard import formatting
from taskflow.api.dashboard.navigation import Viewer, navigation
from taskflow.api.dashboard.series import SPANS
from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import Forbidden
from taskflow.model.filter import tag_text
from taskflow.model.task import Task
from taskflow.store.base.partial_reads import missing_parts
from taskflow.version import __version__

MEDIA_TYPE: Final = "text/html; charset=utf-8"
# Only files of this service are run or loaded, and no other site can frame the pages.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ASSET_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


class Assets:
    """The static files by name. The URL of a file changes with its content."""

    def __init__(self) -> None:
        folder = resources.files("taskflow.api.dashboard").joinpath("static")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def url_of(self, name: str) -> str:
        """Return the URL of a file."""
        digest = hashlib.blake2b(self._files[name], digest_size=6).hexdigest()
        return f"{ASSETS_PATH}{name}?{digest}"

    def add_routes(self, routes: Blueprint) -> None:
        """Serve the files."""

        @routes.get(f"{ASSETS_PATH}<name>")
        async def asset(name: str) -> Response:
            content = self._files.get(name)
            if content is None:
                return Response(b"", status=HTTPStatus.NOT_FOUND, content_type="text/plain")
            media_type = _ASSET_TYPES["." + name.rpartition(".")[2]]
            response = Response(content, content_type=f"{media_type}; charset=utf-8")
            response.headers["Cache-Control"] = _IMMUTABLE
            return response


def install(routes: Blueprint) -> None:
    """Serve the static files, and give the templates their filters and globals."""
    assets = Assets()
    assets.add_routes(routes)
    filters: dict[str, Callable[..., Any]] = {
        name: getattr(formatting, name)
        for name in (
            *("visible", "count", "percent", "seconds", "size", "moment", "clock", "iso"),
            *("short", "target", "limits", "hold", "wait", "egress_label", "relative"),
        )
    }

    @routes.record_once
    def record(state: Any) -> None:
        environment = state.app.jinja_env
        environment.filters.update(filters, in_turns=in_turns, tag_text=tag_text)
        environment.globals.update(
            asset=assets.url_of, version=__version__, navigation=navigation, spans=SPANS
        )
        environment.trim_blocks = environment.lstrip_blocks = True


async def in_turns(items: Iterable[Any], item_bytes: int = 0) -> AsyncIterator[Any]:
    """Yield the items of a long list to a template; other requests proceed meanwhile.

    Args:
        items: The items.
        item_bytes: Cost of an item, as amount of work between two checkpoints.
    """
    checkpoints = Checkpoints()
    for item in items:
        yield item
        await checkpoints.after(item.size_bytes if isinstance(item, Task) else item_bytes)


def viewer() -> Viewer:
    """Return the user who makes the request."""
    scope = cast("Mapping[str, Any]", request.scope)
    caller: Caller = scope.get(CALLER) or Caller(None, Role.ADMIN)
    role = caller.role
    return Viewer(
        caller.name,
        may_read=role is not None,
        may_write=role is not None and role >= Role.WRITE,
        may_administer=role is Role.ADMIN and caller.scope is None,
        has_whole_view=role is not None and caller.scope is None,
    )


def require_writer() -> None:
    """Reject a viewer who could not send the form of a page.

    Raises:
        Forbidden: The role of their key is insufficient.
    """
    if not viewer().may_write:
        raise Forbidden(f"this form needs a key with the role {Role.WRITE}", scope=str(Role.WRITE))


def environment() -> Environment:
    """Return the environment of the templates, for streams that outlive the request's context."""
    return current_app.jinja_env


async def page(template: str, *, status: int = 200, **context: object) -> Response:
    """Render a whole page."""
    text = (
        await environment()
        .get_template(template)
        .render_async(
            viewer=viewer(), missing=missing_parts(), loaded_at=dt.datetime.now(dt.UTC), **context
        )
    )
    response = Response(text, status=status, content_type=MEDIA_TYPE)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def redirect_to(url: str) -> Response:
    """Redirect the browser to another page."""
    return Response(b"", status=HTTPStatus.SEE_OTHER, headers={"Location": url})
