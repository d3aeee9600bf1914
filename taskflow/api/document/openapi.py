"""``/openapi.json``: the API as an OpenAPI 3.1 document, made of the types that validate."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET
from quart import Blueprint, Response

from taskflow import __version__
from taskflow.api import problems
from taskflow.api.document.operations import OPERATIONS
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer, Callback, Content, Parameter
from taskflow.api.document.operations.problems import PROBLEMS, ProblemText
from taskflow.api.document.operations.task_fields import TaskFields
from taskflow.api.intake import Added, Refused, Summary
from taskflow.api.listing import Broken
from taskflow.api.many_by_hand import ManyMoved
from taskflow.api.reading.many import FILTERS, ManyRequest
from taskflow.api.reading.new_task import TaskRequest
from taskflow.api.reading.queue import HostLimitsRequest, QueueRequest, RateRequest
from taskflow.api.reading.schedule import ScheduleRequest, TaskTemplate
from taskflow.model import outcome
from taskflow.model.errors import Fault
from taskflow.model.event import TaskEvent
from taskflow.model.flow import Hold, HostLimits, Rate
from taskflow.model.options import Backoff
from taskflow.model.queue import Queue
from taskflow.model.request import RequestPayload
from taskflow.model.shown_schedule import Schedule
from taskflow.model.statistics import (
    Ended,
    QueueStatistics,
    TaskStatistics,
    TotalStatistics,
)
from taskflow.model.task import AttemptRecord, Task

Json: TypeAlias = dict[str, Any]

_SENT: Final = (
    *(TaskRequest, RequestPayload, Backoff, ManyRequest),
    *(QueueRequest, HostLimitsRequest, RateRequest),
    *(TaskTemplate, ScheduleRequest),
)
_SHOWN: Final = (
    *(Task, TaskFields, TaskEvent, AttemptRecord, outcome.Response, problems.Problem, Fault),
    *(Added, Refused, Summary, ManyMoved, Broken, Schedule),
    *(Queue, HostLimits, Rate, Hold),
    *(TaskStatistics, QueueStatistics, TotalStatistics, Ended),
)
_SCHEMAS: Final = "#/components/schemas/{name}"


def openapi_routes(*, has_keys: bool) -> Blueprint:
    """``/openapi.json``, made once."""
    routes = Blueprint("openapi", __name__)
    text = msgspec.json.encode(document(has_keys=has_keys))

    @routes.get("/openapi.json")
    async def describe() -> Response:
        return Response(text, content_type="application/json")

    return routes


def document(*, has_keys: bool) -> Json:
    """The whole document, of a service that asks for keys or of one that does not."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "tags": [
            {"name": "tasks", "description": "Hand in URLs, read what became of them."},
            {"name": "queues", "description": "Pace what goes out."},
            {"name": "schedules", "description": "Have tasks handed in by the clock."},
            {"name": "events", "description": "Watch tasks as they go."},
            {"name": "health", "description": "For those who watch over the service."},
        ],
        "paths": paths,
        "security": [{"key": []}] if has_keys else [],
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `taskflow key new`.",
                }
            },
            "schemas": _components(),
            "responses": {
                _name_of(status): _problem(status, text) for status, text in PROBLEMS.items()
            },
        },
    }


def _info() -> Json:
    return {
        "title": "TaskFlow",
        "version": __version__,
        "summary": "A self-hosted HTTP task queue.",
        "description": "Hand in a URL and get an id back; TaskFlow fetches the URL in the "
        "background and keeps the outcome. Errors are `application/problem+json` (RFC 9457). A "
        "path that is not here answers with 404; a method that a path does not take with 405, and "
        "with those that it takes in `Allow`. Where GET is taken, so is HEAD.",
        "license": {"name": "MIT", "identifier": "MIT"},
    }


def _operation(operation: Operation) -> Json:
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
    if operation.body is not None:
        told["requestBody"] = _body(operation)
    if operation.callback is not None:
        told["callbacks"] = _callbacks(operation.callback)
    return told


def _callbacks(callback: Callback) -> Json:
    content = {"schema": _schema(callback.kind), "example": _plain(callback.example)}
    post = {
        "summary": "A task came to its end",
        "description": callback.description,
        "security": [],
        "parameters": [
            _parameter(one, "header", _schema(one.kind), is_required=one.is_required)
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
        _parameter(one, "path", _schema(one.kind), is_required=True)
        for one in operation.path_parameters
    ]


def _query(operation: Operation) -> list[Json]:
    """The fields of the query's type; all of them may be left out."""
    if operation.query is None:
        return []
    _, meanings = _told_of(operation.query)
    told = []
    for field in msgspec.structs.fields(operation.query):
        example = operation.query_examples[field.name]
        parameter = Parameter(field.name, meanings[field.name], field.type, example)
        schema = _field_schema(field)
        told.append(_parameter(parameter, "query", schema, is_required=False))
        if schema.get("type") == "array":
            told[-1]["explode"] = field.name in operation.query_repeated
    return told


def _fields(operation: Operation) -> list[Json]:
    return [
        _parameter(one, "header", _schema(one.kind), is_required=False) for one in operation.fields
    ]


def _parameter(parameter: Parameter, place: str, schema: Json, *, is_required: bool) -> Json:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "required": is_required,
        "schema": schema,
        "example": _plain(parameter.example),
    }


def _field_schema(field: msgspec.structs.FieldInfo) -> Json:
    """Of a field that may be left out: ``None`` says that it is, and cannot be written."""
    schema = _schema(field.type)
    if field.default is not None:
        return schema | {"default": field.default}
    [said] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    return dict(said)


def _body(operation: Operation) -> Json:
    examples = {name: {"value": value} for name, value in operation.body_examples.items()}
    content = {"schema": _schema(operation.body), "examples": examples}
    return {
        "description": "JSON in UTF-8, whatever `Content-Type` says.",
        "required": True,
        "content": {"application/json": content, **_also(operation.also_takes)},
    }


def _also(contents: Iterable[Content]) -> Json:
    """Lines are told of by a line, as OpenAPI 3.2 does it; they are text to all others."""
    return {
        one.media_type: {
            "schema": {"type": "string"},
            "x-itemSchema": {"anyOf": [_schema(kind) for kind in one.kinds]},
            "example": one.example,
        }
        for one in contents
    }


def _responses(operation: Operation) -> Json:
    answers = (operation.answer, *operation.others)
    told = {str(answer.status.value): _answer(answer) for answer in answers}
    for status in operation.all_problems():
        told[str(status.value)] = {"$ref": f"#/components/responses/{_name_of(status)}"}
    return told


def _answer(answer: Answer) -> Json:
    told: Json = {"description": answer.description}
    contents = _also(answer.also)
    if answer.kind is not None:
        content = {"schema": _answer_schema(answer), "example": _plain(answer.example)}
        contents = {answer.media_type: content, **contents}
    if contents:
        told["content"] = contents
    if answer.fields:
        told["headers"] = _head(answer.fields)
    if answer.links:
        told["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
            for name in answer.links
        }
    return told


def _answer_schema(answer: Answer) -> Json:
    if answer.picked_kind is None:
        return _schema(answer.kind)
    return {"anyOf": [_schema(answer.kind), _schema(answer.picked_kind)]}


def _problem(status: HTTPStatus, text: ProblemText) -> Json:
    example = problems.Problem("about:blank", status.phrase, status.value, text.detail)
    content = {"schema": _schema(problems.Problem), "example": _plain(example)}
    told: Json = {
        "description": text.description,
        "content": {problems.MEDIA_TYPE: content},
    }
    if text.fields:
        told["headers"] = _head(text.fields)
    return told


def _name_of(status: HTTPStatus) -> str:
    return f"Problem{status.value}"


def _head(fields: Iterable[Parameter]) -> Json:
    return {
        field.name: {
            "description": field.description,
            "required": field.is_required,
            "schema": _schema(field.kind),
            "example": _plain(field.example),
        }
        for field in fields
    }


def _schema(kind: Any) -> Json:
    """Of a type, with named ones by reference."""
    [schema], _ = msgspec.json.schema_components([kind], ref_template=_SCHEMAS)
    return schema


def _components() -> Json:
    """The named types, with the meanings of their fields."""
    _, components = msgspec.json.schema_components((*_SENT, *_SHOWN), ref_template=_SCHEMAS)
    for schema in components.values():
        schema["description"] = _prose(schema["description"])
    for kind in (*_SENT, *_SHOWN):
        _explain(components[kind.__name__], kind)
    for kind in _SHOWN:
        _make_whole(components[kind.__name__], kind)
    _forbid_both(components["TaskRequest"], "run_at", "delay")
    _demand_one(components["ManyRequest"], FILTERS, "all")
    _forbid_both(components["ScheduleRequest"], "cron", "start_at")
    components["ScheduleRequest"]["oneOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in ("cron", "every")
    ]
    for name in ("Task", "TaskFields"):  # to stores a result is text
        components[name]["properties"]["result"] |= {
            "anyOf": [_schema(outcome.Response), {"type": "null"}]
        }
    return components


def _explain(schema: Json, kind: type) -> None:
    schema["description"], meanings = _told_of(kind)
    for name, meaning in meanings.items():
        schema["properties"][name]["description"] = meaning


def _forbid_both(schema: Json, one: str, other: str) -> None:
    """Two fields must not be given together; null is as if it was not given."""
    properties = {name: {"not": {"type": "null"}} for name in (one, other)}
    schema["not"] = {"required": [one, other], "properties": properties}


def _demand_one(schema: Json, names: Iterable[str], flag: str) -> None:
    """One of the fields must be given, or the flag be true."""
    schema["anyOf"] = [
        *({"required": [name]} for name in names),
        {"required": [flag], "properties": {flag: {"const": True}}},
    ]


def _make_whole(schema: Json, kind: type) -> None:
    """What is shown has all its fields but those that can be unset, with whatever value."""
    schema["required"] = [
        field.encode_name for field in msgspec.structs.fields(kind) if field.default is not UNSET
    ]
    for field in schema["properties"].values():
        field.pop("default", None)
        if {} in field.get("anyOf", ()):  # any JSON, or something that is JSON too
            del field["anyOf"]


def _told_of(kind: type) -> tuple[str, dict[str, str]]:
    """What a class says of itself and of its attributes in its docstring."""
    text, _, attributes = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    # Each begins at an indentation of four; its further lines are indented by more.
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return _prose(text), {name: _prose(meaning) for name, meaning in entries}


def _prose(text: str) -> str:
    """A docstring's text as Markdown, in the words of JSON."""
    return re.sub(r"\s+", " ", text).replace("``None``", "null").replace("``", "`")


def _plain(value: object) -> Any:
    """A value as it looks when it was sent."""
    return msgspec.json.decode(msgspec.json.encode(value))
