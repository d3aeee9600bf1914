"""A tool: its declaration, the schemas of its arguments and its result, and the reader of both."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from taskflow.client.arguments import json_of
from taskflow.client.asynchronous.client import Client
from taskflow.model.request import RequestPayload
from taskflow.schema.reader import Reader
from taskflow.schema.validation_errors import ValidationErrors

Json: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, msgspec.Raw]

_COMPONENTS: Final = "#/components/schemas/"
_DEFINITIONS: Final = "#/$defs/"
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Patterns have look-aheads, which not every client understands; the service validates by them.
_LEFT_OUT: Final = frozenset({"pattern", "title", "default"})
# Types that the declarations refer to by name.
_REFERENCED: Final = (RequestPayload,)


class Hints(NamedTuple):
    """What a tool does, as clients show it to their users before a call.

    Attributes:
        is_read_only: Whether it changes nothing.
        is_destructive: Whether it may replace or end something, or send a request that does.
        is_idempotent: Whether a second call with the same arguments changes nothing more.
        is_open_world: Whether it makes the service send requests to other systems.
    """

    is_read_only: bool = False
    is_destructive: bool = False
    is_idempotent: bool = False
    is_open_world: bool = False


READS: Final = Hints(is_read_only=True, is_idempotent=True)
SENDS: Final = Hints(is_destructive=True, is_open_world=True)


class Tool(NamedTuple):
    """A tool.

    Attributes:
        name: The name by which agents call it.
        description: What it does, for agents.
        hints: What it does, for clients.
        arguments: The declaration of its arguments.
        result: The declaration of its result.
        read: Reads the arguments; raises ``Unprocessable`` if they are invalid.
        call: Calls the service.
    """

    name: str
    description: str
    hints: Hints
    arguments: type[msgspec.Struct]
    result: type[msgspec.Struct]
    read: Callable[[Fields], Any]
    call: Callable[[Client, Any], Awaitable[msgspec.Struct]]

    @property
    def title(self) -> str:
        """The name, for people."""
        return self.name.replace("_", " ").capitalize()

    async def __call__(self, client: Client, arguments: Mapping[str, Any]) -> Json:
        """Read the arguments, call the service, and return the result as JSON.

        Raises:
            TaskFlowError: The arguments are invalid, or the service rejects the call.
        """
        given = self.read(_FIELDS.decode(json_of(arguments)))
        result: Json = msgspec.to_builtins(await self.call(client, given))
        return result


def tool(
    arguments: type[msgspec.Struct],
    result: type[msgspec.Struct],
    hints: Hints,
    read: Callable[[Fields], Any] | None = None,
) -> Callable[[Callable[[Client, Any], Awaitable[msgspec.Struct]]], Tool]:
    """Return a decorator that declares a function as a tool: its docstring is the description.

    Args:
        arguments: The declaration of its arguments.
        result: The declaration of its result.
        hints: What it does.
        read: Reads the arguments. Default: by their declaration.
    """

    def declare(function: Callable[[Client, Any], Awaitable[msgspec.Struct]]) -> Tool:
        description = " ".join((inspect.getdoc(function) or "").split())
        by_declaration = reader_of(arguments)
        name = function.__name__
        return Tool(name, description, hints, arguments, result, read or by_declaration, function)

    return declare


def reader_of(kind: type[msgspec.Struct]) -> Callable[[Fields], Any]:
    """Return a function that reads arguments by their declaration.

    It raises ``Unprocessable`` with all errors, in the words of the service.
    """
    reader = Reader(kind)
    required = [one.name for one in msgspec.structs.fields(kind) if one.required]

    def read(fields: Fields) -> Any:
        errors = ValidationErrors()
        for name in required:
            if name not in fields:
                errors.add(f"/{name}", f"{name} is required")
        given = reader.read(fields, errors)
        errors.raise_if_any()
        return kind(**given)

    return read


def argument_schema(kind: type[msgspec.Struct]) -> Json:
    """Return the schema of arguments.

    It does not say that null is accepted, too, which is what a field has that is not given.
    """
    schema: Json = _without_null(schema_of(kind))
    return schema


def schema_of(kind: type[msgspec.Struct]) -> Json:
    """Return the schema of a result, with the types that it refers to inside."""
    (root, *_), found = msgspec.json.schema_components(
        (kind, *_REFERENCED), ref_template=_DEFINITIONS + "{name}"
    )
    definitions = {name: _portable(schema) for name, schema in found.items()}
    schema: Json = definitions.pop(root["$ref"].removeprefix(_DEFINITIONS))
    if used := _used(schema, definitions):
        schema["$defs"] = {one: definitions[one] for one in sorted(used)}
    for one in (schema, *schema.get("$defs", {}).values()):
        one.pop("description", None)
    return schema


def _without_null(value: Any) -> Any:
    """Return a schema in which the members of unions are not null."""
    if isinstance(value, list):
        return [_without_null(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _without_null(part) for name, part in value.items()}
    members = parts.get("anyOf")
    if not isinstance(members, list) or {"type": "null"} not in members:
        return parts
    others = [member for member in members if member != {"type": "null"}]
    if len(others) > 1:
        return {**parts, "anyOf": others}
    return {**{name: part for name, part in parts.items() if name != "anyOf"}, **others[0]}


def _portable(value: Any, *, is_names: bool = False) -> Any:
    """Return a schema without what some clients do not understand, with plain JSON values."""
    if isinstance(value, dict):
        return {
            name: _portable(part, is_names=name == "properties" and not is_names)
            for name, part in value.items()
            if is_names or name not in _LEFT_OUT
        }
    if isinstance(value, list | tuple):
        return [_portable(part) for part in value]
    if isinstance(value, str):
        return value.replace(_COMPONENTS, _DEFINITIONS)
    return value


def _used(schema: Json, definitions: Mapping[str, Json]) -> set[str]:
    """Return the names of the definitions that a schema refers to, also by others."""
    found: set[str] = set()
    pending = set(_references(schema))
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.update(_references(definitions[name]))
    return found


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "$ref":
                yield part.removeprefix(_DEFINITIONS)
            else:
                yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
