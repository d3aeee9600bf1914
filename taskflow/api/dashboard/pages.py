"""How a page is made: templates, and who looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from jinja2 import Environment
from quart import Blueprint, Response, current_app, request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.dashboard import formatting
from taskflow.api.dashboard.assets import Assets
from taskflow.version import __version__

MEDIA_TYPE: Final = "text/html; charset=utf-8"
# Nothing runs and nothing is loaded but what this service itself serves; nothing frames it.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Viewer(NamedTuple):
    """Who looks at a page.

    Attributes:
        name: That of the key they signed in with; ``None`` where there are no keys.
        may_read: Whether they are known, where keys are asked for.
        may_write: Whether they may do anything but look.
    """

    name: str | None
    may_read: bool
    may_write: bool


def install(routes: Blueprint, assets: Assets) -> None:
    """Give the templates of the app what they need."""
    filters: dict[str, Callable[..., Any]] = {
        name: getattr(formatting, name)
        for name in (
            *("visible", "count", "percent", "seconds", "milliseconds", "size", "moment", "iso"),
            *("short", "target", "pretty", "limits"),
        )
    }

    @routes.record_once
    def record(state: Any) -> None:
        environment = state.app.jinja_env
        environment.filters.update(filters)
        environment.globals.update(asset=assets.address_of, version=__version__)
        environment.trim_blocks = environment.lstrip_blocks = True


def viewer() -> Viewer:
    """Who makes the request."""
    scope = cast("Mapping[str, Any]", request.scope)
    caller: Caller = scope.get(CALLER) or Caller(None, Role.ADMIN)
    role = caller.role
    return Viewer(caller.name, role is not None, role is not None and role >= Role.WRITE)


def environment() -> Environment:
    """Where templates are, for what goes on after the request was answered."""
    return current_app.jinja_env


async def page(template: str, *, status: int = 200, **context: object) -> Response:
    """A whole page."""
    text = await environment().get_template(template).render_async(viewer=viewer(), **context)
    response = Response(text, status=status, content_type=MEDIA_TYPE)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def see(address: str) -> Response:
    """Have the browser show another page."""
    return Response(b"", status=303, headers={"Location": address})
