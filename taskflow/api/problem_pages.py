"""``/problems``: what each type of problem means, and what to do about it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta
from quart import Response, request
from werkzeug.exceptions import NotFound

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.dashboard.pages import page
from taskflow.api.document.common_parts import REFERRER_POLICY
from taskflow.api.problems import document
from taskflow.api.reference.prose import line
from taskflow.api.responses import JSON, as_json
from taskflow.api.route import Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.problem_types import PATH, PROBLEM_TYPES, TASK_NOT_FOUND, ProblemType

_HTML: Final = "text/html"
_TYPES: Final = (JSON, _HTML)


_AS_HTML: Final = Content("text/html", (str,), "<!doctype html>\n<title>Task not found</title>\n")
_HEADERS: Final = (msgspec.structs.replace(REFERRER_POLICY, is_required=False),)
_NOTE: Final = "HTML or JSON, by `Accept`; no key is needed."
_ProblemName: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(PROBLEM_TYPES)})]


@Route(
    "GET",
    PATH,
    "document",
    (
        RouteResponse(
            "The types.", list[ProblemType], [TASK_NOT_FOUND], also=(_AS_HTML,), headers=_HEADERS
        ),
    ),
    access=AccessPolicy.NO_KEY,
    reads_store=False,
    note=_NOTE,
)
async def list_problems(_: Services) -> Response:
    """List all types of problems.

    What each ``type`` of a problem means, and what to do about it.
    """
    return await _shown(list(PROBLEM_TYPES.values()), "All problems")


@Route(
    "GET",
    f"{PATH}/{{type}}",
    "document",
    (RouteResponse("The type.", ProblemType, TASK_NOT_FOUND, also=(_AS_HTML,), headers=_HEADERS),),
    (HTTPStatus.NOT_FOUND,),
    (Parameter("type", "The name of the type.", _ProblemName, TASK_NOT_FOUND.name),),
    access=AccessPolicy.NO_KEY,
    reads_store=False,
    note=_NOTE,
)
async def explain_problem(_: Services, name: str) -> Response:
    """Explain a type of problem.

    The ``type`` of a problem leads here.
    """
    if (kind := PROBLEM_TYPES.get(name)) is None:
        raise NotFound
    return await _shown(kind, kind.title)


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
    """Return a problem of this type as JSON."""
    return msgspec.json.format(
        msgspec.json.encode(document(kind, kind.example_detail)), indent=2
    ).decode()


ROUTES: Final = (list_problems, explain_problem)
