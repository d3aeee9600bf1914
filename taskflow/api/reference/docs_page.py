"""``/docs``: the document of the API as a page."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from markupsafe import Markup
from quart import Blueprint, Response, request

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.pages import environment, page, redirect_to, viewer
from taskflow.api.document.common_parts import REFERRER_POLICY, location
from taskflow.api.reference import prose
from taskflow.api.reference.contents import Contents
from taskflow.api.reference.prose import ADDRESS, anchor_of
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import DocumentSource, Services

SIGNED_IN_PATH: Final = f"{PATH}/docs"
# The characters that a command may have unquoted. Any other Host is not shown.
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]+")


@Route(
    "GET",
    "/docs",
    "document",
    (
        RouteResponse(
            "The page.",
            str,
            "<!doctype html>\n<title>API · TaskFlow</title>\n",
            media_type="text/html",
            headers=(REFERRER_POLICY,),
        ),
        RouteResponse(
            "The request has no key: sign in first.",
            str,
            "",
            HTTPStatus.SEE_OTHER,
            media_type="text/html",
            headers=(location(SIGNED_IN_PATH, "The page after the sign-in.", is_required=True),),
        ),
    ),
    access=AccessPolicy.KEY_OR_SIGN_IN,
    reads_store=False,
)
async def read_document(services: Services) -> Response:
    """Get this document as a page.

    For people, in a browser; it needs no scripts. Without a key, if the service requires one, it
    redirects to the same page for users who have signed in.
    """
    # Sessions are valid for paths under /ui alone.
    return await _shown(services.document) if viewer().may_read else redirect_to(SIGNED_IN_PATH)


def signed_in_routes(source: DocumentSource) -> Blueprint:
    """Return the same page for users who have signed in."""
    routes = Blueprint("reference", __name__, template_folder="templates")

    @routes.get(SIGNED_IN_PATH)
    async def shown() -> Response:
        return await _shown(source)

    return routes


async def _shown(source: DocumentSource) -> Response:
    text = await source.page(_render)
    text = Markup(text.replace(ADDRESS, _address()))  # noqa: S704 - the page's own text
    return await page("reference.html", text=text)


async def _render(document: dict[str, Any]) -> Markup:
    template = environment().get_template("reference_text.html")
    text = await template.render_async(
        contents=Contents(document),
        line=prose.line,
        paragraphs=prose.paragraphs,
        anchor=anchor_of,
    )
    return Markup(text)  # noqa: S704 - templates escape


def _address() -> str:
    """Return the address at which the client reached this service."""
    if not _HOST.fullmatch(request.host):
        return ADDRESS
    return f"{request.scheme}://{request.host}"


ROUTES: Final = (read_document,)
