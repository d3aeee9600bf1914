"""``components/schemas`` of the document, from the types that routes accept and return."""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from taskflow.api import problems
from taskflow.api.route import Route
from taskflow.model import outcome
from taskflow.model.request import RequestPayload
from taskflow.schema import heartbeats, queues, schedules, tasks
from taskflow.schema.filters import FILTERS

Json: TypeAlias = dict[str, Any]

_PARAGRAPH: Final = "\n\n"
_SCHEMAS: Final = "#/components/schemas/{name}"


def schema_of(kind: Any) -> Json:
    """Return the schema of a type, with references to named types."""
    [schema], _ = msgspec.json.schema_components([kind], ref_template=_SCHEMAS)
    return schema


def schemas(routes: Iterable[Route]) -> Json:
    """Return the named types of the routes, with the descriptions of their fields."""
    every = list(routes)
    in_queries = _named_types(route.query for route in every)
    # Parameters are described where they are, but refer to their enumerations.
    choices = {kind for kind in in_queries if issubclass(kind, enum.StrEnum)}
    sent = _named_types(_kinds_sent(every)) | choices
    shown = _named_types(_kinds_shown(every)) - sent
    _, found = msgspec.json.schema_components((*sent, *shown), ref_template=_SCHEMAS)
    components: Json = plain(found)  # defaults that are tuples become arrays
    for schema in components.values():
        schema["description"] = prose(schema["description"])
    for kind in sent | shown:
        if issubclass(kind, enum.StrEnum):
            components[kind.__name__] |= _values(kind)
        else:
            _explain(components[kind.__name__], kind)
    for kind in (one for one in shown if issubclass(one, msgspec.Struct)):
        _list_keys(components[kind.__name__], kind)
        _require_all_fields(components[kind.__name__], kind)
    _add_constraints(components)
    _complete(components)
    return dict(sorted(components.items()))


def _complete(part: object) -> None:
    """Write what code generators understand, where JSON Schema allows several ways.

    Several types are alternatives, arrays have items, an optional field has no default that means
    the same as its absence, and a field that is true if it is present is a boolean. Otherwise some
    generators leave the type out, or write code that does not compile.
    """
    if isinstance(part, dict):
        if isinstance(types := part.get("type"), list):
            part["anyOf"] = [{"type": one} for one in types]
            del part["type"]
        if part.get("type") == "array":
            part.setdefault("items", {})
        if part.get("default", UNSET) is None:
            del part["default"]
        if part.get("enum") == [True]:
            part["type"] = "boolean"
            del part["enum"]
    if isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            _complete(inner)


def _add_constraints(components: Json) -> None:
    """Add what the types themselves cannot express."""
    for name in ("TaskRequest", "TaskTemplate"):
        _ignore(components[name], tasks.ONLY_SHOWN)
    # The name is accepted if it is that in the path, which a schema cannot express.
    for name, shown in (
        ("Schedule", schedules.ONLY_SHOWN),
        ("Heartbeat", heartbeats.ONLY_SHOWN),
        ("Queue", queues.ONLY_SHOWN),
    ):
        for kind in ("Request", "Patch"):
            _ignore(components[f"{name}{kind}"], shown - {"name"})
    _forbid_both(components["TaskRequest"], "run_at", "delay_seconds")
    _demand_one(components["BulkRequest"], FILTERS, "all")
    _forbid_both(components["ScheduleRequest"], "cron", "start_at")
    for request in ("ScheduleRequest", "HeartbeatRequest"):
        components[request]["oneOf"] = [
            {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
            for name in ("cron", "every_seconds")
        ]
    for name in ("Task", "TaskFields"):  # a stored result is JSON text
        components[name]["properties"]["result"] |= {
            "anyOf": [schema_of(outcome.Response), {"type": "null"}]
        }


def _kinds_sent(routes: Iterable[Route]) -> Iterator[Any]:
    yield RequestPayload  # payloads are declared as any JSON
    for route in routes:
        yield route.body
        if route.query is not None:
            yield from (field.type for field in msgspec.structs.fields(route.query))
        for content in (*route.also_accepts, *route.streams):
            yield from content.kinds


def _kinds_shown(routes: Iterable[Route]) -> Iterator[Any]:
    yield from (problems.Problem, outcome.Response)  # results are declared as any JSON
    for route in routes:
        for response in route.responses:
            yield from (response.kind, response.selected_kind)
            for content in response.also:
                yield from content.kinds


def _named_types(kinds: Iterable[Any]) -> set[type]:
    """Return the structs and enumerations that types consist of."""
    found: set[type] = set()
    pending: list[object] = list(msgspec.inspect.multi_type_info(kinds))
    while pending:
        info = pending.pop()
        if isinstance(info, msgspec.inspect.StructType | msgspec.inspect.EnumType):
            if info.cls in found:
                continue
            found.add(info.cls)
        if isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
            pending += (getattr(info, name) for name in info.__struct_fields__)
        elif isinstance(info, tuple):
            pending += info
    return found


def _explain(schema: Json, kind: type) -> None:
    schema["description"], meanings = described(kind)
    config = getattr(kind, "__struct_config__", None)
    if config is not None and config.tag_field:
        meanings[config.tag_field] = "The kind."
    for name, meaning in meanings.items():
        schema["properties"][name]["description"] = meaning


def _values(kind: type[enum.StrEnum]) -> Json:
    """Return the schema of an enumeration, with the meaning of each value."""
    text, meanings = inspect.getdoc(kind) or "", _meanings_of(kind)
    meaning_of = {value.value: meanings[value.name] for value in kind}
    listed = "".join(f"\n- `{value}`: {meaning}" for value, meaning in meaning_of.items())
    return {
        "type": "string",
        "enum": list(meaning_of),
        "description": f"{prose(text.partition(_PARAGRAPH)[0])}\n{listed}",
        "x-enumDescriptions": meaning_of,
    }


@functools.cache
def _meanings_of(kind: type[enum.StrEnum]) -> dict[str, str]:
    """Return the meaning of each member: the first paragraph of the text below it."""
    # inspect.getsource of the class takes longer than parsing all of its module.
    module = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    [definition] = (
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    meanings = {}
    for member, below in itertools.pairwise(definition.body):
        match member, below:
            case ast.Assign(targets=[ast.Name(name)]), ast.Expr(ast.Constant(str(text))):
                meanings[name] = prose(inspect.cleandoc(text).partition(_PARAGRAPH)[0])
    return meanings


def _ignore(schema: Json, names: Iterable[str]) -> None:
    """Accept any value of fields that are shown, so that clients can send back what they got."""
    schema["patternProperties"] = {f"^({'|'.join(sorted(names))})$": True}


def _forbid_both(schema: Json, one: str, other: str) -> None:
    """Exclude two fields together, unless one of them is null."""
    properties = {name: {"not": {"type": "null"}} for name in (one, other)}
    schema["not"] = {"required": [one, other], "properties": properties}


def _demand_one(schema: Json, names: Iterable[str], flag: str) -> None:
    """Require one of the fields, or the flag."""
    schema["anyOf"] = [
        *({"required": [name]} for name in names),
        {"required": [flag], "properties": {flag: {"const": True}}},
    ]


def _list_keys(schema: Json, kind: type) -> None:
    """List the property names of objects whose keys are the values of an enumeration."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        match field.type:
            case msgspec.inspect.DictType(key_type=msgspec.inspect.EnumType(cls=names)):
                schema["properties"][field.encode_name]["propertyNames"] = schema_of(names)


def _require_all_fields(schema: Json, kind: type) -> None:
    """Require all fields of a type that is shown, except optional ones."""
    schema["required"] = [
        field.encode_name for field in msgspec.structs.fields(kind) if field.default is not UNSET
    ]
    for field in schema["properties"].values():
        field.pop("default", None)
        if {} in field.get("anyOf", ()):  # any JSON, or something that is JSON too
            del field["anyOf"]


def described(kind: type) -> tuple[str, dict[str, str]]:
    """Return what the docstring of a class says about it and about each attribute."""
    text, _, attributes = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    # Each entry is indented by four spaces, and its further lines by more.
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return prose(text), {name: prose(meaning) for name, meaning in entries}


def prose(text: str) -> str:
    """Return the text of a docstring as Markdown, in terms of JSON."""
    return re.sub(r"\s+", " ", text).replace("``None``", "null").replace("``", "`")


def plain(value: object) -> Any:
    """Return a value as it is after encoding and decoding as JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))
