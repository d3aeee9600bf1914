"""``/openapi.json``: the API as an OpenAPI 3.1 document, made of the types that validate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

import msgspec
import trio
from quart import Blueprint, Response

from taskflow.api import problems
from taskflow.api.access.roles import role_for
from taskflow.api.document.about import INFO, KEY, TAGS
from taskflow.api.document.operations import OPERATIONS
from taskflow.api.document.operations.headers import (
    ON_EVERY_ANSWER,
    ON_LIMITED_ANSWERS,
    SHARED,
)
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer, Callback, Content, Parameter
from taskflow.api.document.operations.problems import PROBLEMS, ProblemText
from taskflow.api.document.schemas import Json, plain, schema_of, schemas, told_of
from taskflow.model.errors import NoDocument
from taskflow.telemetry import Event, emit


class DocumentSource:
    """The document, built at its first use and kept. Tasks run whether or not it can be built.

    Args:
        build: Returns the document; takes about 0.1 s of CPU time.
    """

    def __init__(self, build: Callable[[], Json]) -> None:
        self._build = build
        self._building = trio.Lock()
        self._is_built = False
        self._document: Json | None = None

    async def get(self) -> Json:
        """Return the document.

        Raises:
            NoDocument: It could not be built; the log has the reason.
        """
        async with self._building:
            if not self._is_built:
                await self._build_once()
        if self._document is None:
            raise NoDocument
        return self._document

    async def _build_once(self) -> None:
        try:
            # In a thread, so that the event loop goes on meanwhile.
            self._document = await trio.to_thread.run_sync(self._build)
        except Exception as error:  # noqa: BLE001 - whatever it is, only the document is missing
            emit(Event.DOCUMENT_ERROR, error=error)
        self._is_built = True


def openapi_routes(source: DocumentSource) -> Blueprint:
    """``/openapi.json``."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    async def describe() -> Response:
        text = msgspec.json.encode(await source.get())
        return Response(text, content_type="application/json")

    return routes


def document(*, has_keys: bool) -> Json:
    """The whole document, of a service that asks for keys or of one that does not."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        told = _operation(operation, has_keys=has_keys)
        paths.setdefault(operation.path, {})[operation.method] = told
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": "/", "description": "The service that this document comes from."}],
        "tags": TAGS,
        "externalDocs": {"url": "/docs", "description": "This document as a page."},
        "paths": paths,
        "security": [{"key": []}] if has_keys else [],
        "components": {
            "securitySchemes": {"key": KEY},
            "schemas": schemas(),
            "headers": {field.name: _header(field) for field in SHARED},
            "responses": {_name_of(status): _problem(text) for status, text in PROBLEMS.items()},
        },
    }


def _operation(operation: Operation, *, has_keys: bool) -> Json:
    told: Json = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [
            *_path_parameters(operation),
            *_query(operation),
            *_fields(operation),
        ],
        "responses": _responses(operation),
    }
    if operation.is_open:
        told["security"] = []
    elif has_keys:
        told["security"] = [{"key": [str(role_for(operation.method.upper()))]}]
    if operation.body is not None:
        told["requestBody"] = _body(operation)
    if operation.callback is not None:
        told["callbacks"] = _callbacks(operation.callback)
    return told


def _callbacks(callback: Callback) -> Json:
    content = {"schema": schema_of(callback.kind), "example": plain(callback.example)}
    post = {
        "summary": "A task came to its end",
        "description": callback.description,
        "security": [],
        "parameters": [
            _parameter(one, "header", schema_of(one.kind), is_required=one.is_required)
            for one in callback.fields
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "2XX": {"description": "It was received."},
            "410": {"description": "It is not wanted, and not sent again."},
        },
    }
    return {callback.name: {callback.address: {"post": post}}}


def _path_parameters(operation: Operation) -> list[Json]:
    return [
        _parameter(one, "path", schema_of(one.kind), is_required=True)
        for one in operation.path_parameters
    ]


def _query(operation: Operation) -> list[Json]:
    """The fields of the query's type; all of them may be left out."""
    if operation.query is None:
        return []
    _, meanings = told_of(operation.query)
    told = []
    for field in msgspec.structs.fields(operation.query):
        name = field.encode_name
        example = operation.query_examples[name]
        parameter = Parameter(name, meanings[name], field.type, example)
        schema = _field_schema(field)
        told.append(_parameter(parameter, "query", schema, is_required=False))
        if schema.get("type") == "array":
            told[-1]["explode"] = name in operation.query_repeated
    return told


def _fields(operation: Operation) -> list[Json]:
    return [
        _parameter(one, "header", schema_of(one.kind), is_required=False)
        for one in operation.fields
    ]


def _parameter(parameter: Parameter, place: str, schema: Json, *, is_required: bool) -> Json:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "required": is_required,
        "schema": schema,
        "example": plain(parameter.example),
    }


def _field_schema(field: msgspec.structs.FieldInfo) -> Json:
    """Of a field that may be left out: ``None`` says that it is, and cannot be written."""
    schema = schema_of(field.type)
    if field.default is not None:
        return schema | {"default": field.default}
    [said] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    return dict(said)


def _body(operation: Operation) -> Json:
    examples = {name: {"value": value} for name, value in operation.body_examples.items()}
    content = {"schema": schema_of(operation.body), "examples": examples}
    return {
        "description": "JSON in UTF-8, whatever `Content-Type` says.",
        "required": True,
        "content": {operation.body_type: content, **_also(operation.also_takes)},
    }


def _also(contents: Iterable[Content]) -> Json:
    """Lines are told of by a line, as OpenAPI 3.2 does it; they are text to all others."""
    return {
        one.media_type: {
            "schema": {"type": "string"},
            "x-itemSchema": {"anyOf": [schema_of(kind) for kind in one.kinds]},
            "example": one.example,
        }
        for one in contents
    }


def _responses(operation: Operation) -> Json:
    answers = (operation.answer, *operation.others)
    always = (*ON_EVERY_ANSWER, *(ON_LIMITED_ANSWERS if operation.is_limited else ()))
    told = {str(answer.status.value): _answer(answer, always) for answer in answers}
    for status in operation.all_problems():
        told[str(status.value)] = {"$ref": f"#/components/responses/{_name_of(status)}"}
    return told


def _answer(answer: Answer, always: Iterable[Parameter]) -> Json:
    told: Json = {"description": answer.description}
    contents = _also(answer.also)
    if answer.kind is not None:
        content = {"schema": _answer_schema(answer), "example": plain(answer.example)}
        contents = {answer.media_type: content, **contents}
    if contents:
        told["content"] = contents
    told["headers"] = _head((*answer.fields, *always))
    if answer.links:
        told["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
            for name in answer.links
        }
    return told


def _answer_schema(answer: Answer) -> Json:
    if answer.picked_kind is None:
        return schema_of(answer.kind)
    return {"anyOf": [schema_of(answer.kind), schema_of(answer.picked_kind)]}


def _problem(text: ProblemText) -> Json:
    examples = {
        name: {"value": plain(problems.document(said.kind, said.detail, said.errors))}
        for name, said in text.examples.items()
    }
    content = {"schema": schema_of(problems.Problem), "examples": examples}
    return {
        "description": text.description,
        "content": {problems.MEDIA_TYPE: content},
        "headers": _head((*text.fields, *ON_EVERY_ANSWER, *ON_LIMITED_ANSWERS)),
    }


def _name_of(status: HTTPStatus) -> str:
    return f"Problem{status.value}"


def _head(fields: Iterable[Parameter]) -> Json:
    """Fields of the head of an answer; those that are shared by reference."""
    return {
        field.name: {"$ref": f"#/components/headers/{field.name}"}
        if field in SHARED
        else _header(field)
        for field in fields
    }


def _header(field: Parameter) -> Json:
    return {
        "description": field.description,
        "required": field.is_required,
        "schema": schema_of(field.kind),
        "example": plain(field.example),
    }
