"""For those who watch over the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal

from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer, Parameter

_HEALTHY: Final = "ok\n"

_REFERRER_POLICY: Final = Parameter(
    "Referrer-Policy", "Nobody else is told of this page.", str, "same-origin", is_required=True
)

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
)
