"""The page."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup
from quart import Blueprint, Response, request

from taskflow.api.access.roles import REFERENCE_PATH
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.pages import environment, page, see, viewer
from taskflow.api.document.openapi import DocumentSource
from taskflow.api.reference import prose
from taskflow.api.reference.contents import Contents
from taskflow.api.reference.curl import ADDRESS
from taskflow.api.reference.kinds import anchor_of

SIGNED_IN_PATH: Final = f"{PATH}/docs"
# What may stand in a command unquoted; whatever else a Host may be is not repeated.
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]+")


def reference_routes(source: DocumentSource) -> Blueprint:
    """``/docs``, made of the document when it is first asked for, and kept."""
    routes = Blueprint("reference", __name__, template_folder="templates")
    made: list[Markup] = []

    @routes.get(REFERENCE_PATH)
    async def read() -> Response:
        # Sessions open what is under /ui alone.
        return await shown() if viewer().may_read else see(SIGNED_IN_PATH)

    @routes.get(SIGNED_IN_PATH)
    async def shown() -> Response:
        if not made:
            made.append(await _render(Contents(await source.get())))
        text = Markup(made[0].replace(ADDRESS, _address()))  # noqa: S704 - the page's own text
        return await page("reference.html", text=text)

    return routes


async def _render(contents: Contents) -> Markup:
    template = environment().get_template("reference_text.html")
    text = await template.render_async(
        contents=contents, line=prose.line, paragraphs=prose.paragraphs, anchor=anchor_of
    )
    return Markup(text)  # noqa: S704 - templates escape


def _address() -> str:
    """Where who looks at the page has reached this service."""
    if not _HOST.fullmatch(request.host):
        return ADDRESS
    return f"{request.scheme}://{request.host}"
