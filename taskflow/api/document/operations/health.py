"""For those who watch over the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal

from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer

_HEALTHY: Final = "ok\n"
# What a POST that asks for no body may be answered with.
_BY_HAND: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
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
        group="health",
        summary="This document",
        description="Made at the start from the types that requests are validated by.",
        answer=Answer(
            description="OpenAPI 3.1.",
            kind=dict[str, Any],
            example={"openapi": "3.1.0", "info": {"title": "TaskFlow", "version": "0.1.0"}},
        ),
    ),
)
