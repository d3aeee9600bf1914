"""``/problems``: what each kind of problem means, and what to do about it."""

from __future__ import annotations

from typing import Final

import msgspec
from quart import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from taskflow.api.dashboard.pages import page
from taskflow.api.problems import document
from taskflow.api.reference.prose import line
from taskflow.api.responses import as_json
from taskflow.model.problem_types import PATH, PROBLEM_TYPES, ProblemType

_HTML: Final = "text/html"
_TYPES: Final = ("application/json", _HTML)


def problem_routes() -> Blueprint:
    """HTML for browsers, JSON for all others."""
    routes = Blueprint("problems", __name__)

    @routes.get(PATH)
    async def list_all() -> Response:
        return await _shown(list(PROBLEM_TYPES.values()), "All problems")

    @routes.get(f"{PATH}/<string:name>")
    async def show(name: str) -> Response:
        if (kind := PROBLEM_TYPES.get(name)) is None:
            raise NotFound
        return await _shown(kind, kind.title)

    return routes


async def _shown(what: ProblemType | list[ProblemType], title: str) -> Response:
    if request.accept_mimetypes.best_match(_TYPES) == _HTML:
        kinds = what if isinstance(what, list) else [what]
        response = await page(
            "problems.html", kinds=kinds, title=title, example_of=_example_of, line=line, path=PATH
        )
    else:
        response = as_json(what)
    response.headers["Vary"] = "Accept"
    return response


def _example_of(kind: ProblemType) -> str:
    """An answer of this kind."""
    return msgspec.json.format(
        msgspec.json.encode(document(kind, kind.example_detail)), indent=2
    ).decode()
