"""For those who watch over the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer, Content, Parameter
from taskflow.model.problem_types import PROBLEM_TYPES, TASK_NOT_FOUND, ProblemType

_HEALTHY: Final = "ok\n"

_REFERRER_POLICY: Final = Parameter(
    "Referrer-Policy", "Nobody else is told of this page.", str, "same-origin", is_required=True
)
_REFERRER_POLICY_OF_HTML: Final = msgspec.structs.replace(_REFERRER_POLICY, is_required=False)
_AS_HTML: Final = Content("text/html", (str,), "<!doctype html>\n<title>Task not found</title>\n")
_IN_BOTH: Final = "HTML or JSON, by `Accept`; no key is needed."
# Without a key, but not by pages of other origins, nor under foreign names.
_REFUSED_TO_ALL: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST)
_ProblemName: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(PROBLEM_TYPES)})]

HEALTH: Final = (
    Operation(
        method="get",
        path="/livez",
        name="isAlive",
        group="health",
        summary="Whether the process lives",
        description="200 while it can answer at all.",
        is_open=True,
        answer=Answer(
            description="It lives.",
            kind=Literal["ok\n"],
            example=_HEALTHY,
            media_type="text/plain",
        ),
    ),
    Operation(
        method="get",
        path="/readyz",
        name="isReady",
        group="health",
        summary="Whether it takes tasks and runs them",
        description="Asks the database, and looks whether the workers are running.",
        is_open=True,
        answer=Answer(
            description="It does.",
            kind=Literal["ok\n"],
            example=_HEALTHY,
            media_type="text/plain",
        ),
        problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="describe",
        group="document",
        summary="This document",
        description="Made at the start from the types that requests are validated by.",
        answer=Answer(
            description="OpenAPI 3.1.",
            kind=dict[str, Any],
            example={"openapi": "3.1.0", "info": {"title": "TaskFlow", "version": "0.1.0"}},
        ),
    ),
    Operation(
        method="get",
        path="/docs",
        name="readDocument",
        group="document",
        summary="This document as a page",
        description="For people, in a browser; it needs no scripts. Who comes without a key where "
        "keys are asked for is led to the same page for those who have signed in.",
        answer=Answer(
            description="The page.",
            kind=str,
            example="<!doctype html>\n<title>API · TaskFlow</title>\n",
            media_type="text/html",
            fields=(_REFERRER_POLICY,),
        ),
        others=(
            Answer(
                status=HTTPStatus.SEE_OTHER,
                description="There is no key: to be signed in with first.",
                kind=str,
                example="",
                media_type="text/html",
                fields=(
                    Parameter(
                        "Location", "Where people read it.", str, "/ui/docs", is_required=True
                    ),
                ),
            ),
        ),
    ),
    Operation(
        method="get",
        path="/problems",
        name="listProblems",
        group="document",
        summary="All kinds of problems",
        description=f"What each `type` of a problem means, and what to do about it. {_IN_BOTH}",
        is_open=True,
        answer=Answer(
            description="The kinds.",
            kind=list[ProblemType],
            example=[TASK_NOT_FOUND],
            also=(_AS_HTML,),
            fields=(_REFERRER_POLICY_OF_HTML,),
        ),
        problems=_REFUSED_TO_ALL,
    ),
    Operation(
        method="get",
        path="/problems/{type}",
        name="explainProblem",
        group="document",
        summary="What a kind of problem means",
        description=f"Where the `type` of a problem leads. {_IN_BOTH}",
        is_open=True,
        path_parameters=(
            Parameter("type", "The name of the kind.", _ProblemName, TASK_NOT_FOUND.name),
        ),
        answer=Answer(
            description="The kind.",
            kind=ProblemType,
            example=TASK_NOT_FOUND,
            also=(_AS_HTML,),
            fields=(_REFERRER_POLICY_OF_HTML,),
        ),
        problems=(*_REFUSED_TO_ALL, HTTPStatus.NOT_FOUND),
    ),
)
