"""``/openapi.json``: the routes as an OpenAPI 3.1 document."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import UNSET
from quart import Response

from taskflow.api import problems
from taskflow.api.document.common_parts import (
    INFO,
    KEY,
    MISSING_CELLS,
    ON_EVERY_RESPONSE,
    ON_LIMITED_RESPONSES,
    SHARED,
    TAGS,
)
from taskflow.api.document.problem_responses import (
    PROBLEMS,
    ProblemExample,
    ProblemResponse,
    problems_of,
)
from taskflow.api.document.schemas import Json, plain, prose, schema_of, schemas
from taskflow.api.responses import JSON, as_json
from taskflow.api.route import (
    MERGE_PATCH,
    OCTETS,
    Callback,
    Content,
    Parameter,
    Route,
    RouteResponse,
)
from taskflow.api.services import Services
from taskflow.schema.reader import Reader

_HOW_TO_PATCH: Final = (
    "A JSON merge patch (RFC 7396): a field that is absent stays as it is, and null removes it. "
    "Concurrent changes of different fields are all applied."
)
_WHOLE_VIEW: Final = "A key that is limited to some queues gets a 403."
_BODY_IGNORED: Final = "A request body is ignored."
_JSON_BODY: Final = "JSON in UTF-8, whatever `Content-Type` says."
_ANY_BODY: Final = "Anything, of any media type."
_BYTES: Final = {"type": "string", "format": "binary"}


@Route(
    "GET",
    "/openapi.json",
    "document",
    (
        RouteResponse(
            "OpenAPI 3.1.",
            dict[str, Any],
            {"openapi": "3.1.0", "info": {"title": "TaskFlow", "version": "0.1.0"}},
        ),
    ),
    reads_store=False,
)
async def describe(services: Services) -> Response:
    """Get this document.

    Built from the routes and from the types that validate requests.
    """
    return as_json(await services.document.get())


def document(routes: Sequence[Route], *, has_keys: bool) -> Json:
    """Return the document.

    Args:
        routes: The routes that it describes.
        has_keys: Whether the service requires API keys.
    """
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _operation(route, has_keys=has_keys)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": "/", "description": "The service that serves this document."}],
        "tags": TAGS,
        "externalDocs": {"url": "/docs", "description": "This document as a page."},
        "paths": paths,
        "security": [{"key": []}] if has_keys else [],
        "components": {
            "securitySchemes": {"key": KEY},
            "schemas": schemas(routes),
            "headers": {header.name: _header(header) for header in SHARED},
            "responses": {_name_of(status): _problem(text) for status, text in PROBLEMS.items()},
        },
    }


def _operation(route: Route, *, has_keys: bool) -> Json:
    summary, description = _prose_of(route)
    operation: Json = {
        "operationId": route.name,
        "tags": [route.group],
        "summary": summary,
        "description": description,
        "parameters": [
            *(_parameter(one, "path", is_required=True) for one in route.path_parameters),
            *_query_parameters(route),
            *(_parameter(one, "header") for one in route.headers),
        ],
        "responses": _responses(route),
    }
    if route.role is None:
        operation["security"] = []
    elif has_keys:
        operation["security"] = [{"key": [str(route.role)]}]
    if route.body is not None:
        operation["requestBody"] = _body(route)
    if route.callback is not None:
        operation["callbacks"] = _callbacks(route.callback)
    return operation


def _prose_of(route: Route) -> tuple[str, str]:
    """Return the summary and the description of a route."""
    summary, _, text = (inspect.getdoc(route.handler) or "").partition("\n\n")
    parts = [prose(text), route.note]
    if route.has_whole_view:
        parts.append(_WHOLE_VIEW)
    if route.body_type == MERGE_PATCH:
        parts.append(_HOW_TO_PATCH)
    elif route.method == "POST" and route.body is None:
        parts.append(_BODY_IGNORED)
    return prose(summary).removesuffix("."), " ".join(filter(None, parts))


def _callbacks(callback: Callback) -> Json:
    content = {"schema": schema_of(callback.kind), "example": plain(callback.example)}
    post = {
        "operationId": callback.name,
        "summary": callback.summary,
        "description": callback.description,
        "security": [],
        "parameters": [
            _parameter(one, "header", is_required=one.is_required) for one in callback.headers
        ],
        "requestBody": {"required": True, "content": {JSON: content}},
        "responses": {
            status: {"description": description}
            for status, description in callback.responses.items()
        },
    }
    return {callback.name: {callback.address: {"post": post}}}


def _query_parameters(route: Route) -> list[Json]:
    """Return a parameter for each field of the query's type."""
    if route.query is None:
        return []
    readers = Reader(route.query).fields
    parameters = []
    for field in msgspec.structs.fields(route.query):
        name, schema = field.encode_name, _schema_of_optional(field)
        description, [example] = schema.pop("description"), schema.pop("examples")
        parameter = Parameter(name, description, field.type, example)
        parameters.append(_parameter(parameter, "query", schema))
        if schema.get("type") == "array":
            parameters[-1]["explode"] = readers[name].is_repeated
    return parameters


def _parameter(
    parameter: Parameter, place: str, schema: Json | None = None, *, is_required: bool = False
) -> Json:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "required": is_required,
        "schema": schema or schema_of(parameter.kind),
        "example": plain(parameter.example),
    }


def _schema_of_optional(field: msgspec.structs.FieldInfo) -> Json:
    """Return the schema of a parameter whose absence is ``None``, which no request can send."""
    schema = schema_of(field.type)
    if field.default not in (None, UNSET):
        return schema | {"default": field.default}
    if "anyOf" not in schema:
        return schema
    [sent] = [kind for kind in schema.pop("anyOf") if kind != {"type": "null"}]
    return {**schema, **sent}


def _body(route: Route) -> Json:
    examples = {name: {"value": value} for name, value in route.body_examples.items()}
    content = {"schema": schema_of(route.body), "examples": examples}
    body: Json = {
        "description": _ANY_BODY if route.also_accepts else _JSON_BODY,
        "required": route.needs_body,
        "content": {route.body_type: content, **_contents(route.also_accepts)},
    }
    if route.streams:
        body["x-streams"] = _contents(route.streams)
    return body


def _contents(contents: Iterable[Content]) -> Json:
    """Return contents; a stream with the schema of one item, as OpenAPI 3.2 has it."""
    return {one.media_type: _content(one) for one in contents}


def _content(content: Content) -> Json:
    if not content.kinds:
        return {
            "schema": _BYTES if content.media_type == OCTETS else {},
            "example": content.example,
        }
    return {
        "schema": {"type": "string"},
        "x-itemSchema": {"anyOf": [schema_of(kind) for kind in content.kinds]},
        "example": content.example,
    }


def _responses(route: Route) -> Json:
    limited = ON_LIMITED_RESPONSES if route.is_rate_limited else ()
    partial = (MISSING_CELLS,) if route.reads_store else ()
    common = (*ON_EVERY_RESPONSE, *limited, *partial)
    responses = {str(one.status.value): _response(one, common) for one in route.responses}
    for status in problems_of(route):
        responses[str(status.value)] = {"$ref": f"#/components/responses/{_name_of(status)}"}
    return responses


def _response(response: RouteResponse, common: Iterable[Parameter]) -> Json:
    shown: Json = {"description": response.description}
    contents = _contents(response.also)
    if response.kind is not None:
        content = {"schema": _response_schema(response), "example": plain(response.example)}
        contents = {response.media_type: content, **contents}
    if contents:
        shown["content"] = contents
    shown["headers"] = _headers((*response.headers, *common))
    if response.links:
        shown["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
            for name in response.links
        }
    return shown


def _response_schema(response: RouteResponse) -> Json:
    if response.selected_kind is None:
        return schema_of(response.kind)
    return {"anyOf": [schema_of(response.kind), schema_of(response.selected_kind)]}


def _problem(response: ProblemResponse) -> Json:
    examples = {
        name: {
            "value": plain(
                problems.document(one.kind, one.detail or one.kind.example_detail, one.errors)
            )
        }
        for name, one in response.examples.items()
    }
    content = {"schema": schema_of(problems.Problem), "examples": examples}
    return {
        "description": response.description,
        "content": {problems.MEDIA_TYPE: content},
        "headers": _headers(
            (*response.headers, *ON_EVERY_RESPONSE, *ON_LIMITED_RESPONSES, MISSING_CELLS)
        ),
    }


def _example_of(example: ProblemExample) -> problems.Problem:
    detail = example.detail or example.kind.example_detail
    return problems.document(example.kind, detail, example.errors)


def _name_of(status: HTTPStatus) -> str:
    return f"Problem{status.value}"


def _headers(headers: Iterable[Parameter]) -> Json:
    """Return headers by name: shared ones by reference."""
    return {
        header.name: {"$ref": f"#/components/headers/{header.name}"}
        if header in SHARED
        else _header(header)
        for header in headers
    }


def _header(header: Parameter) -> Json:
    return {
        "description": header.description,
        "required": header.is_required,
        "schema": schema_of(header.kind),
        "example": plain(header.example),
    }


ROUTES: Final = (describe,)
